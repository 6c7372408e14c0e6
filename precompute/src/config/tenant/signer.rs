//! A signer as the file names it: `signer = { … }`, or several as `[[issuer.signer]]`. No key is opened here, and no
//! certificate is known.

use std::path::PathBuf;

use super::{
    super::{Place, SecretFile, Section},
    renew::{self, RenewConfig},
};
use crate::{
    limits,
    pki::Algorithm,
    sign::{
        Verify,
        pkcs11::{Uri, UriError},
    },
};

/// A key with its certificate, and how it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignerConfig {
    /// Its place in the file.
    pub place: Place,
    /// The key.
    pub key: KeyConfig,
    /// A file with its certificate and the chain; `None` for the issuer's own certificate.
    pub certificate: Option<PathBuf>,
    /// Whether clients are configured to trust the certificate for this issuer (RFC 6960 section 4.2.2.2, case 1).
    pub designated: bool,
    /// The algorithm of an RSA key; `None` for the default of the key.
    pub algorithm: Option<Algorithm>,
    /// The number of threads, for a key on tokens per token; `None` for the default of the key.
    pub threads: Option<usize>,
    /// Whether the first token does all the work while it is available.
    pub primary_first: bool,
    /// Which signatures of tokens are verified.
    pub verify: Verify,
    /// How it gets its next certificate, if it is to.
    pub renew: Option<RenewConfig>,
}

/// Where a private key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyConfig {
    /// In a PEM file.
    File(SecretFile),
    /// On tokens, each of which has it. Empty if a problem was noted.
    Tokens(Vec<Uri>),
    /// Not here: on a replica, what it signs comes from the feed.
    Elsewhere,
}

/// The values of `algorithm`.
pub(in crate::config) const ALGORITHMS: [(&str, Algorithm); 2] =
    [("rsa-pkcs1", Algorithm::RsaPkcs1Sha256), ("rsa-pss", Algorithm::RsaPssSha256)];
/// The values of `verify`.
pub(in crate::config) const VERIFY: [(&str, Verify); 2] = [("all", Verify::All), ("sample", Verify::Sample)];

/// All signers of the issuer in `section`. `is_of_replica`: as in [`super::read_all`].
pub(super) fn read_all(section: &mut Section<'_>, is_of_replica: bool) -> Vec<SignerConfig> {
    let Some(count) = section.count("signer") else {
        let problem = if is_of_replica {
            "is missing; add `signer = { certificate = \"ocsp.pem\" }` with the certificate of the writer's signer"
        } else {
            "is missing; add `signer = { key = \"ocsp.key\", certificate = \"ocsp.pem\" }`"
        };
        section.problem("signer", problem);
        return Vec::new();
    };
    if count > limits::CONFIGURED_SIGNERS_MAX {
        section.problem(
            "signer",
            format_args!(
                "names {count}; an issuer has at most {} signers, remove those no longer used",
                limits::CONFIGURED_SIGNERS_MAX
            ),
        );
    }
    if count == 0 {
        section.problem("signer", "is an empty list; name at least one signer");
    }
    section.one_or_more("signer", |section| {
        let designated = section.boolean("designated").unwrap_or(false);
        if designated && !section.has("certificate") {
            let remedy = "needs the certificate that clients are configured to trust; add `certificate`";
            section.problem("designated", remedy);
        }
        Some(read(section, designated, !is_of_replica))
    })
}

/// Reads what every signer has. `needs_key`: whether the key has to be here.
pub(super) fn read(section: &mut Section<'_>, designated: bool, needs_key: bool) -> SignerConfig {
    let certificate = section.path("certificate");
    let key = read_key(section, needs_key).unwrap_or(KeyConfig::Tokens(Vec::new()));
    let renew = renew::read(section, key != KeyConfig::Elsewhere, section.has("certificate"));
    SignerConfig {
        place: section.place(),
        // A wrong certificate has been noted; it must not count as the issuer's own.
        certificate: certificate.or_else(|| section.has("certificate").then(PathBuf::new)),
        designated,
        threads: section.integer("threads", 1..=limits::SIGN_THREADS_MAX).map(|threads| threads as usize),
        primary_first: section.boolean("primary_first").unwrap_or(false),
        verify: section.choice("verify", &VERIFY).unwrap_or_default(),
        algorithm: section.choice("algorithm", &ALGORITHMS),
        key,
        renew,
    }
}

impl SignerConfig {
    /// A signer that is missing, which has been noted.
    pub(super) fn missing(section: &Section<'_>) -> Self {
        Self {
            place: section.place(),
            key: KeyConfig::Tokens(Vec::new()),
            certificate: Some(PathBuf::new()),
            designated: false,
            algorithm: None,
            threads: None,
            primary_first: false,
            verify: Verify::default(),
            renew: None,
        }
    }
}

fn read_key(section: &mut Section<'_>, needs_key: bool) -> Option<KeyConfig> {
    if !section.has("key") {
        if !needs_key {
            return Some(KeyConfig::Elsewhere);
        }
        section.problem("key", "is missing; name the private key in PEM, or on a token by a pkcs11: URI");
    }
    let written = section.strings("key")?;
    if written.iter().any(|text| Uri::is_meant(text)) {
        return Some(KeyConfig::Tokens(read_uris(section, &written)?));
    }
    let [_] = written[..] else {
        section.problem("key", "is a list; only keys on tokens may be several, each named by a pkcs11: URI");
        return None;
    };
    SecretFile::of_private_key(section, "key").map(KeyConfig::File)
}

fn read_uris(section: &Section<'_>, written: &[String]) -> Option<Vec<Uri>> {
    let (count, allowed) = (written.len(), limits::SIGNER_TOKENS_MAX);
    if count > allowed {
        section.problem("key", format_args!("names {count} keys; a signer's key may be on at most {allowed} tokens"));
        return None;
    }
    // All of them, so that all problems are reported.
    let uris: Vec<_> = written.iter().map(|text| Uri::parse(text)).collect();
    let place = |number: usize| if count > 1 { format!("number {} ", number + 1) } else { String::new() };
    for (number, error) in uris.iter().enumerate().filter_map(|(number, uri)| Some((number, uri.as_ref().err()?))) {
        section.problem("key", format_args!("{}{error}", place(number)));
    }
    let uris: Vec<_> = uris.into_iter().collect::<Result<_, UriError>>().ok()?;
    for (number, uri) in uris.iter().enumerate() {
        if uris[..number].contains(uri) {
            section.problem("key", format_args!("{}is the same as another one; remove it", place(number)));
            return None;
        }
    }
    Some(uris)
}
