//! The key of a signer: in a file, or on one or several tokens.
//!
//! A key on tokens is told by its certificate: with what it signs, and whether the one that a token has is it.

mod first;

use std::sync::Arc;

use der::{Decode as _, Encode as _, asn1::UintRef};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::super::{Section, noted};
use crate::{
    limits,
    pki::Certificate,
    sign::{
        Algorithm, Holder, KeyPurpose, Pkcs11Token, Pool, PoolSettings, SoftwareKey, Verify,
        pkcs11::{Uri, UriError},
    },
    signers::SignerError,
};

/// How a key is to be used.
pub(in crate::config::tenant) struct Wanted<'a> {
    /// The signer's name in logs.
    pub(in crate::config::tenant) name: &'a str,
    /// What for.
    pub(in crate::config::tenant) purpose: KeyPurpose,
    /// Where it is, as the configuration says.
    pub(in crate::config::tenant) key: String,
    /// Threads, where the configuration says so.
    pub(in crate::config::tenant) threads: Option<usize>,
    /// Whether the first token does all while it is at work.
    pub(in crate::config::tenant) primary_first: bool,
    /// Which signatures of tokens are verified.
    pub(in crate::config::tenant) verify: Verify,
}

/// What signs.
pub(in crate::config::tenant) enum Key {
    File { key: SoftwareKey, name: String },
    Tokens { algorithm: Algorithm, tokens: Vec<first::Token>, names: Vec<String> },
}

impl<'a> Wanted<'a> {
    /// What stands beside the key in the section of a signer.
    pub(in crate::config::tenant) fn read(section: &mut Section<'_>, name: &'a str, purpose: KeyPurpose) -> Self {
        Self {
            name,
            purpose,
            key: section.strings("key").unwrap_or_default().join(" "),
            threads: section.integer("threads", 1..=limits::SIGN_THREADS_MAX).map(|threads| threads as usize),
            primary_first: section.boolean("primary_first").unwrap_or(false),
            verify: section.choice("verify", &[("all", Verify::All), ("sample", Verify::Sample)]).unwrap_or_default(),
        }
    }
}

/// The key, set to the algorithm that is asked for. `certificate` is the one that belongs to it, `None` where that
/// could not be read, which has been told.
pub(in crate::config::tenant) fn read(section: &mut Section<'_>, certificate: Option<&Certificate>) -> Option<Key> {
    const ALGORITHMS: [(&str, Algorithm); 2] =
        [("rsa-pkcs1", Algorithm::RsaPkcs1Sha256), ("rsa-pss", Algorithm::RsaPssSha256)];
    let algorithm = section.choice("algorithm", &ALGORITHMS);
    if !section.has("key") {
        section.problem("key", "is missing; name the private key in PEM, or on a token by a pkcs11: URI");
    }
    let written = section.strings("key")?;
    if written.iter().any(|text| Uri::is_meant(text)) {
        return on_tokens(section, &written, certificate, algorithm);
    }
    let [_] = written[..] else {
        section.problem("key", "is a list; only keys on tokens may be several, each named by a pkcs11: URI");
        return None;
    };
    in_file(section, algorithm)
}

fn in_file(section: &mut Section<'_>, algorithm: Option<Algorithm>) -> Option<Key> {
    let path = section.path("key")?;
    let key = noted(section, "key", SoftwareKey::from_file(&path))?;
    let name = path.display().to_string();
    let Some(algorithm) = algorithm else { return Some(Key::File { key, name }) };
    let is = key.algorithm();
    let key = key.with_algorithm(algorithm);
    if key.is_none() {
        cannot(section, algorithm, format_args!("the key {}", path.display()), is);
    }
    key.map(|key| Key::File { key, name })
}

fn cannot(section: &Section<'_>, wanted: Algorithm, key: impl std::fmt::Display, is: Algorithm) {
    section.problem(
        "algorithm",
        format_args!(
            "asks for {wanted}, which {key} cannot; it signs with {is}: remove `algorithm`, or name another key"
        ),
    );
}

fn on_tokens(
    section: &mut Section<'_>,
    written: &[String],
    certificate: Option<&Certificate>,
    algorithm: Option<Algorithm>,
) -> Option<Key> {
    let (count, allowed) = (written.len(), limits::SIGNER_TOKENS_MAX);
    if count > allowed {
        section.problem("key", format_args!("names {count} keys; a signer's key may be on at most {allowed} tokens"));
        return None;
    }
    // All of them, so that all problems are told.
    let uris: Vec<_> = written.iter().enumerate().map(|(number, text)| (number, Uri::parse(text))).collect();
    let place = |number: usize| if count > 1 { format!("number {} ", number + 1) } else { String::new() };
    for (number, error) in uris.iter().filter_map(|(number, uri)| Some((number, uri.as_ref().err()?))) {
        section.problem("key", format_args!("{}{error}", place(*number)));
    }
    let uris: Vec<_> = uris.into_iter().map(|(_, uri)| uri).collect::<Result<_, UriError>>().ok()?;
    for (number, uri) in uris.iter().enumerate() {
        if uris[..number].contains(uri) {
            section.problem("key", format_args!("{}is the same as another one; remove it", place(number)));
            return None;
        }
    }
    let certificate = certificate?;
    let can = noted(section, "key", algorithms(certificate))?;
    if let Some(wanted) = algorithm.filter(|wanted| !can.contains(wanted)) {
        cannot(section, wanted, "the key of this certificate", *can.first()?);
        return None;
    }
    let algorithm = algorithm.or_else(|| can.first().copied())?;
    let base = section.resolve("");
    let tokens = uris.iter().enumerate().map(|(number, uri)| {
        let token = Pkcs11Token::new(uri, &base, certificate, algorithm);
        noted(section, "key", token.map_err(|fault| format!("{}{fault}", place(number))))
    });
    let tokens: Vec<_> = tokens.collect();
    let token = |(uri, token): (&Uri, Option<Pkcs11Token>)| {
        let place = format!("{:?} {}", uri.module, uri.token);
        Some(first::Token { place, holder: Arc::new(token?) as Arc<dyn Holder> })
    };
    let tokens = uris.iter().zip(tokens).map(token).collect::<Option<_>>()?;
    let names = uris.iter().map(|uri| uri.key.to_string()).collect();
    Some(Key::Tokens { algorithm, tokens, names })
}

/// With what the key of a certificate can sign; the first is used where nobody says otherwise.
fn algorithms(certificate: &Certificate) -> Result<Vec<Algorithm>, String> {
    let kind = |what: &str| {
        format!(
            "belongs to a certificate with {what}; tokens sign here with ECDSA P-256, ECDSA P-384, RSA 2048–4096, Ed25519 or ML-DSA"
        )
    };
    let spki =
        SubjectPublicKeyInfoRef::from_der(certificate.spki_der()).map_err(|_| kind("a key that is unreadable"))?;
    let parameters = spki.algorithm.parameters.and_then(|parameters| parameters.to_der().ok());
    let oid = spki.algorithm.oid;
    let all = Algorithm::ALL.into_iter();
    let can: Vec<_> = all.filter(|algorithm| algorithm.is_of_key(oid.as_bytes(), parameters.as_deref())).collect();
    if can.is_empty() {
        return Err(kind(&format!("a key of another kind ({oid})")));
    }
    if can.contains(&Algorithm::RsaPssSha256) {
        let numbers = Vec::<UintRef<'_>>::from_der(certificate.public_key_octets()).unwrap_or_default();
        let octets = numbers.first().map_or(0, |modulus| modulus.as_bytes().len());
        if !(256..=512).contains(&octets) {
            return Err(kind(&format!("an RSA key of {} bits", octets * 8)));
        }
    }
    Ok(can)
}

impl Key {
    /// The public half as it stands in a certificate's subjectPublicKey. That of a key on tokens is compared with the
    /// certificate's when a session is opened.
    pub(in crate::config::tenant) fn public_key_octets<'a>(&'a self, certificate: &'a Certificate) -> &'a [u8] {
        match self {
            Self::File { key, .. } => key.public_key_octets(),
            Self::Tokens { .. } => certificate.public_key_octets(),
        }
    }

    /// What people call it: its file, or what it goes by on each of the tokens.
    pub(in crate::config::tenant) fn names(self) -> Vec<String> {
        match self {
            Self::File { name, .. } => vec![name],
            Self::Tokens { names, .. } => names,
        }
    }

    /// For a key in a file as many as there are cores: software signing is arithmetic and nothing else. One where the
    /// serving threads sign themselves and only refreshes are left.
    fn default_threads(&self) -> usize {
        match self {
            Self::Tokens { .. } => limits::TOKEN_THREADS_DEFAULT,
            Self::File { key, .. } if key.algorithm().is_cheap() => 1,
            Self::File { .. } => std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().min(limits::SIGN_THREADS_MAX as usize)),
        }
    }

    /// Threads that sign with it; for a key on tokens so many with each.
    pub(in crate::config::tenant) fn pool(
        &self,
        section: &mut Section<'_>,
        certificate: &Certificate,
        wanted: &Wanted<'_>,
    ) -> Option<Pool> {
        if self.public_key_octets(certificate) != certificate.public_key_octets() {
            section.problem(if section.has("certificate") { "certificate" } else { "key" }, SignerError::KeyMismatch);
            return None;
        }
        let settings = PoolSettings {
            name: wanted.name.to_owned(),
            purpose: wanted.purpose,
            key: wanted.key.clone(),
            threads: wanted.threads.unwrap_or_else(|| self.default_threads()),
            queue_length_max: limits::SIGN_QUEUE_LENGTH_MAX,
            primary_first: wanted.primary_first,
            verify: wanted.verify,
        };
        let threads = settings.threads;
        let pool = match self {
            Self::File { key, .. } => Pool::software(key, certificate.spki_der(), settings),
            Self::Tokens { algorithm, tokens, .. } => {
                let holders = first::opened(section, wanted, tokens, threads)?;
                Pool::new(*algorithm, certificate.spki_der(), holders, settings)
            }
        };
        noted(section, "threads", pool.map_err(|error| format!("{threads} cannot be started: {error}")))
    }
}
