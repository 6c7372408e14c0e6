//! Whether a certificate may sign in place of the present one: what a start asks of it, without its key.

use std::time::Duration;

use crate::{
    ocsp::{Credential, ResponseForm, SignerIdentity},
    pki::{Algorithm, Certificate, UnixTime},
    signers::{TsaSigner, TsaSignerError},
};

/// What the certificate of a signer has to be.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The key that it has to certify: subjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// What it signs.
    pub signs: Signs,
}

/// What a signer signs, and what that asks of its certificate.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Signs {
    Answers { issuer: Box<Certificate>, designated: bool, algorithm: Algorithm, form: ResponseForm },
    TimeStamps { validity_left: Duration, key_usage_end: Option<UnixTime>, needs_alternative_name: bool },
}

impl Judge {
    /// An error says why this certificate, with those after it, cannot sign; it completes "the certificate …". One that is
    /// not valid yet may sign later.
    pub fn judge(&self, chain: &[Certificate], now: UnixTime) -> Result<(), String> {
        let Some((certificate, chain)) = chain.split_first() else { return Err("is missing".to_owned()) };
        if certificate.spki_der() != self.spki {
            return Err("belongs to another key than the signer's, which signed the request; have the CA certify the key of the request".to_owned());
        }
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if not_after <= now {
            return Err(format!("expired at {not_after}; check the clock of this machine and that of the CA"));
        }
        match &self.signs {
            Signs::Answers { issuer, designated, algorithm, form } => {
                let credential = Credential { certificate, chain, designated: *designated };
                SignerIdentity::new(issuer, credential, *algorithm, *form, now)
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
            Signs::TimeStamps { validity_left, key_usage_end, needs_alternative_name } => {
                if *needs_alternative_name && certificate.subject_alt_names().is_empty() {
                    return Err("has no subjectAltName, which `tsa_name` takes for the name in tokens; have the CA copy it from the request".to_owned());
                }
                // As it will be judged once it is valid.
                TsaSigner::check((certificate, chain), now.max(not_before), *validity_left, *key_usage_end)
                    .map(drop)
                    .map_err(|error: TsaSignerError| error.to_string())
            }
        }
    }

    /// The certificates that a CA gave, in whatever order, with that of the key first.
    pub(super) fn in_order(&self, mut given: Vec<Certificate>) -> Vec<Certificate> {
        if let Some(place) = given.iter().position(|certificate| certificate.spki_der() == self.spki) {
            given[..=place].rotate_right(1);
        }
        given
    }
}
