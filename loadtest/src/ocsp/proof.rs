//! Whether an answer is the responder's: signature and signer.
//!
//! Invariant: an answer is proven only by the issuer's key, or by a delegate that the issuer itself certified for
//! OCSPSigning and that is valid now (RFC 6960 section 4.2.2.2). It does not know what the answer says.

use crate::certificate::Certificate;
use crate::limits::{CERTS_IN_RESPONSE_MAX, SIGNERS_REMEMBERED};
use crate::ocsp::response::{BasicResponse, OcspResponse, ResponderId};
use crate::oid;
use crate::outcome::Kind;
use crate::signature::Refused;
use crate::time::UnixSeconds;
use std::sync::Arc;

/// Checks answers for one issuer; remembers delegates it has judged.
#[derive(Debug, Clone)]
pub(crate) struct OcspProver {
    issuer: Arc<Certificate>,
    /// Delegates whose issuance by `issuer` has been verified, or that could not be.
    delegates: Vec<(Certificate, Result<(), Kind>)>,
}

impl OcspProver {
    pub(crate) fn new(issuer: Arc<Certificate>) -> Self {
        Self { issuer, delegates: Vec::new() }
    }

    /// Proves the body of a response.
    pub(crate) fn prove(&mut self, body: &[u8], now: UnixSeconds) -> Result<(), Kind> {
        match OcspResponse::read(body) {
            Ok(OcspResponse::Basic(response)) => self.prove_basic(&response, now),
            Ok(OcspResponse::Error(kind)) => Err(kind),
            Err(_) => Err(Kind::Malformed),
        }
    }

    fn prove_basic(&mut self, response: &BasicResponse<'_>, now: UnixSeconds) -> Result<(), Kind> {
        if names(response.responder, &self.issuer) {
            // A delegate may share the issuer's name, though it should not; so this verdict is final only if it is yes.
            let by_issuer = verify(response, &self.issuer);
            if by_issuer.is_ok() || response.certificates().next().is_none() {
                return by_issuer;
            }
        }
        let mut verdict = Err(Kind::UntrustedSigner);
        for der in response.certificates().take(CERTS_IN_RESPONSE_MAX) {
            let Some(slot) = self.delegate(der) else { continue };
            let (certificate, authorised) = &self.delegates[slot];
            if !names(response.responder, certificate) {
                continue;
            }
            verdict = match authorised {
                Err(kind) => Err(*kind),
                Ok(()) if !certificate.is_valid_at(now) => Err(Kind::UntrustedSigner),
                Ok(()) => verify(response, certificate),
            };
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    /// The place in `delegates` of this certificate, judged.
    fn delegate(&mut self, der: &[u8]) -> Option<usize> {
        if let Some(known) = self.delegates.iter().position(|(c, _)| c.der == der) {
            return Some(known);
        }
        let certificate = Certificate::from_der(der).ok()?;
        let authorised = authorise(&certificate, &self.issuer);
        if self.delegates.len() >= SIGNERS_REMEMBERED {
            self.delegates.drain(..1);
        }
        self.delegates.push((certificate, authorised));
        Some(self.delegates.len() - 1)
    }
}

/// RFC 6960 section 4.2.2.2: issued directly by the issuer, with id-kp-OCSPSigning.
fn authorise(certificate: &Certificate, issuer: &Certificate) -> Result<(), Kind> {
    if !certificate.has_purpose(oid::KP_OCSP_SIGNING) || !certificate.may_sign() {
        return Err(Kind::UntrustedSigner);
    }
    certificate.is_issued_by(issuer).map_err(|refused| match refused {
        Refused::Bad => Kind::UntrustedSigner,
        Refused::Unsupported => Kind::UnsupportedAlgorithm,
    })
}

fn names(responder: ResponderId<'_>, certificate: &Certificate) -> bool {
    match responder {
        ResponderId::ByName(name) => name == certificate.subject,
        ResponderId::ByKey(hash) => hash == certificate.key_hash().as_ref(),
    }
}

fn verify(response: &BasicResponse<'_>, signer: &Certificate) -> Result<(), Kind> {
    signer.key.verify(&response.signature_algorithm, None, response.signed, response.signature).map_err(|r| match r {
        Refused::Bad => Kind::BadSignature,
        Refused::Unsupported => Kind::UnsupportedAlgorithm,
    })
}
