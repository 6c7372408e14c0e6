//! The key of a signer, opened: from a file, or on one or several tokens.
//!
//! For a key on tokens, the certificate determines the algorithm and which key it must be. It does not know what is
//! signed.

use std::sync::Arc;

use der::{Decode as _, Encode as _, asn1::UintRef};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::{Assembler, tokens};
use crate::{
    config::{At, KeyConfig, SignerConfig},
    limits,
    pki::Certificate,
    sign::{Algorithm, Holder, KeyPurpose, Pkcs11Token, Pool, PoolSettings, SoftwareKey, pkcs11::Uri},
    signers::SignerError,
};

/// What a key is needed for.
pub(super) struct Wanted<'a> {
    /// The signer's name in logs.
    pub(super) name: &'a str,
    /// Its purpose.
    pub(super) purpose: KeyPurpose,
}

/// What signs.
pub(super) enum SignerKey {
    File { key: SoftwareKey, name: String },
    Tokens { algorithm: Algorithm, tokens: Vec<tokens::Token>, uris: Vec<Uri> },
}

impl Assembler<'_> {
    /// The key, set to the requested algorithm. `certificate`: its certificate; `None` if that could not be read, which
    /// has been noted.
    pub(super) fn key(&self, config: &SignerConfig, certificate: Option<&Certificate>) -> Option<SignerKey> {
        let at = self.at(&config.place);
        match &config.key {
            KeyConfig::File(file) => {
                let path = at.noted("key", file.find_now())?;
                let key = at.noted("key", SoftwareKey::from_file(&path))?;
                let name = path.display().to_string();
                let Some(algorithm) = config.algorithm else { return Some(SignerKey::File { key, name }) };
                let is = key.algorithm();
                let key = key.with_algorithm(algorithm);
                if key.is_none() {
                    cannot(&at, algorithm, format_args!("the key {name}"), is);
                }
                key.map(|key| SignerKey::File { key, name })
            }
            // Their problems have been noted.
            KeyConfig::Tokens(uris) if uris.is_empty() => None,
            KeyConfig::Tokens(uris) => self.on_tokens(&at, uris, certificate?, config.algorithm),
            // There is nothing to open.
            KeyConfig::Elsewhere => None,
        }
    }

    /// What a signer signs with whose key is elsewhere, by its certificate; `None` if a problem was noted.
    pub(super) fn algorithm_elsewhere(&self, config: &SignerConfig, certificate: &Certificate) -> Option<Algorithm> {
        algorithm(&self.at(&config.place), certificate_key(config), certificate, config.algorithm)
    }

    fn on_tokens(
        &self,
        at: &At<'_>,
        uris: &[Uri],
        certificate: &Certificate,
        algorithm: Option<Algorithm>,
    ) -> Option<SignerKey> {
        let algorithm = self::algorithm(at, "key", certificate, algorithm)?;
        let base = self.problems.resolve("");
        let place = |number: usize| if uris.len() > 1 { format!("number {} ", number + 1) } else { String::new() };
        let tokens = uris.iter().enumerate().map(|(number, uri)| {
            let token = Pkcs11Token::new(uri, &base, certificate, algorithm);
            at.noted("key", token.map_err(|fault| format!("{}{fault}", place(number))))
        });
        // All of them, so that all problems are reported.
        let tokens: Vec<_> = tokens.collect();
        let token = |(uri, token): (&Uri, Option<Pkcs11Token>)| {
            let place = format!("{:?} {}", uri.module, uri.token);
            Some(tokens::Token { place, holder: Arc::new(token?) as Arc<dyn Holder> })
        };
        let tokens = uris.iter().zip(tokens).map(token).collect::<Option<_>>()?;
        Some(SignerKey::Tokens { algorithm, tokens, uris: uris.to_vec() })
    }

    /// The threads that sign with it; for a key on tokens so many per token.
    pub(super) fn pool(
        &self,
        config: &SignerConfig,
        key: &SignerKey,
        certificate: &Certificate,
        wanted: &Wanted<'_>,
    ) -> Option<Pool> {
        let at = self.at(&config.place);
        if key.public_key_octets(certificate) != certificate.public_key_octets() {
            at.problem(certificate_key(config), SignerError::KeyMismatch);
            return None;
        }
        let settings = PoolSettings {
            name: wanted.name.to_owned(),
            purpose: wanted.purpose,
            key: key.place(),
            threads: config.threads.unwrap_or_else(|| key.default_threads()),
            queue_length_max: limits::SIGN_QUEUE_LENGTH_MAX,
            primary_first: config.primary_first,
            verify: config.verify,
        };
        let threads = settings.threads;
        let pool = match key {
            SignerKey::File { key, .. } => Pool::software(key, certificate.spki_der(), settings),
            SignerKey::Tokens { algorithm, tokens, .. } => {
                let holders = tokens::opened(self.tokens, &at, wanted, tokens, threads)?;
                Pool::new(*algorithm, certificate.spki_der(), holders, settings)
            }
        };
        at.noted("threads", pool.map_err(|error| format!("{threads} cannot be started: {error}")))
    }
}

/// The key in the file for a signer's certificate; without one, it is the CA's own.
pub(super) fn certificate_key(config: &SignerConfig) -> &'static str {
    if config.certificate.is_some() || config.key == KeyConfig::Elsewhere { "certificate" } else { "key" }
}

fn cannot(at: &At<'_>, wanted: Algorithm, key: impl std::fmt::Display, is: Algorithm) {
    at.problem(
        "algorithm",
        format_args!(
            "asks for {wanted}, which {key} cannot; it signs with {is}: remove `algorithm`, or name another key"
        ),
    );
}

/// The algorithm of a key that only its certificate describes; `wanted` if that is one of those that it can use.
/// `about`: the key in the file for problems.
fn algorithm(at: &At<'_>, about: &str, certificate: &Certificate, wanted: Option<Algorithm>) -> Option<Algorithm> {
    let can = at.noted(about, algorithms(certificate))?;
    if let Some(wanted) = wanted.filter(|wanted| !can.contains(wanted)) {
        cannot(at, wanted, "the key of this certificate", *can.first()?);
        return None;
    }
    wanted.or_else(|| can.first().copied())
}

/// The algorithms that the key of a certificate can use; the first is the default.
fn algorithms(certificate: &Certificate) -> Result<Vec<Algorithm>, String> {
    let kind = |what: &str| {
        format!(
            "belongs to a certificate with {what}; keys on tokens and elsewhere are ECDSA P-256, ECDSA P-384, RSA 2048–4096, Ed25519 or ML-DSA"
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

impl SignerKey {
    /// The public half, as in a certificate's subjectPublicKey. For a key on tokens, it is compared with the
    /// certificate when a session is opened.
    pub(super) fn public_key_octets<'a>(&'a self, certificate: &'a Certificate) -> &'a [u8] {
        match self {
            Self::File { key, .. } => key.public_key_octets(),
            Self::Tokens { .. } => certificate.public_key_octets(),
        }
    }

    /// Its names for people: its file, or its name on each of the tokens.
    pub(super) fn names(self) -> Vec<String> {
        match self {
            Self::File { name, .. } => vec![name],
            Self::Tokens { uris, .. } => uris.iter().map(|uri| uri.key.to_string()).collect(),
        }
    }

    /// Where it is, as text for comparison.
    fn place(&self) -> String {
        match self {
            Self::File { name, .. } => name.clone(),
            Self::Tokens { uris, .. } => uris.iter().map(Uri::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    /// For a key in a file: the number of cores, since software signing only computes. One thread if the serving
    /// threads sign themselves and only refreshes are left.
    fn default_threads(&self) -> usize {
        match self {
            Self::Tokens { .. } => limits::TOKEN_THREADS_DEFAULT,
            Self::File { key, .. } if key.algorithm().is_cheap() => 1,
            Self::File { .. } => std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().min(limits::SIGN_THREADS_MAX as usize)),
        }
    }
}
