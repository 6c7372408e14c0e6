//! OCSPResponse, RFC 6960 section 4.2, from values to DER.
//!
//! What all responses of one signer share is encoded once, in a [`Template`]; what differs is
//! written around the signature: first [`Template::response_data`] (what is signed), then
//! [`Template::response`].

use crate::{
    ocsp::CertId,
    pki::{Reason, UnixTime},
};

/// OCSPResponseStatus of an unsigned answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum OcspError {
    /// The request does not conform to the syntax.
    MalformedRequest = 1,
    /// A fault on our side.
    InternalError = 2,
    /// Ask again later.
    TryLater = 3,
    /// The request must be signed.
    SigRequired = 5,
    /// Not a certificate that this responder answers for.
    Unauthorized = 6,
}

impl OcspError {
    /// RFC 6960's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformedRequest",
            Self::InternalError => "internalError",
            Self::TryLater => "tryLater",
            Self::SigRequired => "sigRequired",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// The whole response for an error: a status without responseBytes.
pub const fn error_response(error: OcspError) -> [u8; 5] {
    [0x30, 0x03, 0x0a, 0x01, error as u8]
}

/// CertStatus of a SingleResponse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertStatus {
    /// good [0]
    Good,
    /// revoked [1]; reason `unspecified` is left out
    Revoked {
        /// revocationTime
        time: UnixTime,
        /// revocationReason
        reason: Reason,
    },
    /// unknown [2]
    Unknown,
}

/// SingleResponse.
#[derive(Clone, Copy, Debug)]
pub struct Single<'a> {
    /// As in the request.
    pub cert_id: CertId<'a>,
    /// The answer.
    pub status: CertStatus,
    /// When the status was known to be right.
    pub this_update: UnixTime,
    /// When there will be newer information.
    pub next_update: UnixTime,
}

/// What all responses of one signer share, encoded.
#[derive(Clone, Debug)]
pub struct Template {
    responder_id: Vec<u8>,
    signature_algorithm: Vec<u8>,
    /// `[0] EXPLICIT SEQUENCE OF Certificate`, or nothing.
    certificates: Vec<u8>,
}

/// How a response names its signer.
#[derive(Clone, Copy, Debug)]
pub enum ResponderId<'a> {
    /// By the SHA-1 hash of the key bits.
    ByKey(&'a [u8; 20]),
    /// By its subject Name, DER.
    ByName(&'a [u8]),
}

impl Template {
    /// `signature_algorithm` is a whole AlgorithmIdentifier; each of `certificates` is one whole
    /// Certificate. Without certificates the field is absent.
    pub fn new(responder_id: ResponderId<'_>, signature_algorithm: &[u8], certificates: &[&[u8]]) -> Self {
        let mut id = Vec::new();
        match responder_id {
            ResponderId::ByName(name) => nest(&mut id, 0xa1, |out| out.extend_from_slice(name)),
            ResponderId::ByKey(hash) => nest(&mut id, 0xa2, |out| nest(out, 0x04, |out| out.extend_from_slice(hash))),
        }
        let mut encoded = Vec::new();
        if !certificates.is_empty() {
            nest(&mut encoded, 0xa0, |out| {
                nest(out, 0x30, |out| certificates.iter().for_each(|certificate| out.extend_from_slice(certificate)));
            });
        }
        Self { responder_id: id, signature_algorithm: signature_algorithm.to_vec(), certificates: encoded }
    }

    /// ResponseData: what is signed. `extended_revoke` adds the extension with which a responder
    /// says that it answers `revoked` for certificates that were never issued (section 4.4.8).
    pub fn response_data(&self, produced_at: UnixTime, singles: &[Single<'_>], extended_revoke: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 * singles.len() + 128);
        nest(&mut out, 0x30, |out| {
            out.extend_from_slice(&self.responder_id);
            generalized_time(out, produced_at);
            nest(out, 0x30, |out| singles.iter().for_each(|single| single_response(out, single)));
            if extended_revoke {
                out.extend_from_slice(EXTENDED_REVOKE);
            }
        });
        out
    }

    /// The whole OCSPResponse around what was signed and its signature.
    pub fn response(&self, response_data: &[u8], signature: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(response_data.len() + signature.len() + self.certificates.len() + 96);
        nest(&mut out, 0x30, |out| {
            out.extend_from_slice(&[0x0a, 0x01, 0x00]); // successful
            nest(out, 0xa0, |out| {
                nest(out, 0x30, |out| {
                    out.extend_from_slice(ID_PKIX_OCSP_BASIC);
                    nest(out, 0x04, |out| {
                        nest(out, 0x30, |out| {
                            out.extend_from_slice(response_data);
                            out.extend_from_slice(&self.signature_algorithm);
                            nest(out, 0x03, |out| {
                                out.push(0); // no unused bits
                                out.extend_from_slice(signature);
                            });
                            out.extend_from_slice(&self.certificates);
                        });
                    });
                });
            });
        });
        out
    }
}

/// OBJECT IDENTIFIER 1.3.6.1.5.5.7.48.1.1
const ID_PKIX_OCSP_BASIC: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// responseExtensions [1] with id-pkix-ocsp-extended-revoke (1.3.6.1.5.5.7.48.1.9), not critical, value NULL.
const EXTENDED_REVOKE: &[u8] = &[
    0xa1, 0x13, 0x30, 0x11, 0x30, 0x0f, 0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x09, 0x04, 0x02,
    0x05, 0x00,
];

fn single_response(out: &mut Vec<u8>, single: &Single<'_>) {
    nest(out, 0x30, |out| {
        cert_id(out, &single.cert_id);
        match single.status {
            CertStatus::Good => out.extend_from_slice(&[0x80, 0x00]),
            CertStatus::Unknown => out.extend_from_slice(&[0x82, 0x00]),
            CertStatus::Revoked { time, reason } => nest(out, 0xa1, |out| {
                generalized_time(out, time);
                // RFC 5280 section 5.3.1: absent rather than unspecified.
                if reason != Reason::Unspecified {
                    out.extend_from_slice(&[0xa0, 0x03, 0x0a, 0x01, reason.code()]);
                }
            }),
        }
        generalized_time(out, single.this_update);
        nest(out, 0xa0, |out| generalized_time(out, single.next_update));
    });
}

fn cert_id(out: &mut Vec<u8>, id: &CertId<'_>) {
    nest(out, 0x30, |out| {
        nest(out, 0x30, |out| {
            nest(out, 0x06, |out| out.extend_from_slice(id.hash.oid()));
            out.extend_from_slice(&[0x05, 0x00]); // parameters NULL, whatever the request had
        });
        nest(out, 0x04, |out| out.extend_from_slice(id.issuer_name_hash));
        nest(out, 0x04, |out| out.extend_from_slice(id.issuer_key_hash));
        nest(out, 0x02, |out| out.extend_from_slice(id.serial));
    });
}

fn generalized_time(out: &mut Vec<u8>, time: UnixTime) {
    out.extend_from_slice(&[0x18, 15]);
    out.extend_from_slice(&time.generalized());
}

/// Writes `tag`, the length of what `content` writes, and that content. Room for the commonest
/// form of the length (one octet) is kept; a longer one moves the content.
fn nest(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[tag, 0]);
    let start = out.len();
    content(out);
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let octets = length.to_be_bytes();
    let octets = &octets[octets.iter().position(|&b| b != 0).unwrap_or(octets.len() - 1)..];
    out[start - 1] = 0x80 | octets.len() as u8;
    out.splice(start..start, octets.iter().copied());
}

#[cfg(test)]
mod tests {
    use der::{Decode as _, Encode as _};
    use proptest::prelude::*;
    use x509_ocsp::{BasicOcspResponse, OcspResponse, OcspResponseStatus};

    use super::*;
    use crate::ocsp::HashAlgorithm;

    const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

    fn status() -> impl Strategy<Value = CertStatus> {
        let revoked = (0u64..4_294_967_296, proptest::sample::select(&Reason::ALL[..]))
            .prop_map(|(time, reason)| CertStatus::Revoked { time: UnixTime(time), reason });
        prop_oneof![Just(CertStatus::Good), Just(CertStatus::Unknown), revoked]
    }

    proptest! {
        #[test]
        fn equals_what_the_oracle_encodes(
            statuses in proptest::collection::vec(status(), 1..4),
            hash in proptest::sample::select(&HashAlgorithm::ALL[..]),
            mut serial in proptest::collection::vec(any::<u8>(), 1..21),
            by_key in any::<bool>(),
            extended_revoke in any::<bool>(),
            times in (0u64..253_402_300_799, 0u64..253_402_300_799),
            signature in proptest::collection::vec(any::<u8>(), 64..600),
        ) {
            serial[0] = serial[0] & 0x7f | 1;
            let octets = [0xabu8; 64];
            let cert_id = CertId {
                hash,
                issuer_name_hash: &octets[..hash.len()],
                issuer_key_hash: &octets[..hash.len()],
                serial: &serial,
            };
            let singles: Vec<_> = statuses
                .into_iter()
                .map(|status| Single { cert_id, status, this_update: UnixTime(times.0), next_update: UnixTime(times.1) })
                .collect();
            let name = x509_cert::name::Name::default().to_der().unwrap();
            let key_hash = [7; 20];
            let id = if by_key { ResponderId::ByKey(&key_hash) } else { ResponderId::ByName(&name) };
            let template = Template::new(id, ECDSA_WITH_SHA256, &[]);
            let data = template.response_data(UnixTime(times.0), &singles, extended_revoke);
            let response = template.response(&data, &signature);

            let parsed = OcspResponse::from_der(&response).unwrap();
            prop_assert_eq!(parsed.response_status, OcspResponseStatus::Successful);
            let bytes = parsed.response_bytes.as_ref().unwrap();
            let basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).unwrap();
            prop_assert_eq!(basic.tbs_response_data.to_der().unwrap(), data);
            prop_assert_eq!(basic.to_der().unwrap(), bytes.response.as_bytes());
            prop_assert_eq!(parsed.to_der().unwrap(), response);
            prop_assert_eq!(basic.signature.raw_bytes(), &signature[..]);
            prop_assert_eq!(basic.certs, None);
            prop_assert_eq!(basic.tbs_response_data.responses.len(), singles.len());
            prop_assert_eq!(basic.tbs_response_data.response_extensions.is_some(), extended_revoke);
            for (parsed, single) in basic.tbs_response_data.responses.iter().zip(&singles) {
                prop_assert_eq!(parsed.cert_id.serial_number.as_bytes(), single.cert_id.serial);
                prop_assert_eq!(parsed.next_update.unwrap().0.to_unix_duration().as_secs(), times.1);
                match (&parsed.cert_status, single.status) {
                    (x509_ocsp::CertStatus::Good(_), CertStatus::Good) => {}
                    (x509_ocsp::CertStatus::Unknown(_), CertStatus::Unknown) => {}
                    (x509_ocsp::CertStatus::Revoked(info), CertStatus::Revoked { time, reason }) => {
                        prop_assert_eq!(info.revocation_time.0.to_unix_duration().as_secs(), time.0);
                        let code = info.revocation_reason.map_or(0, |reason| reason as u8);
                        prop_assert_eq!(code, reason.code());
                        prop_assert_eq!(info.revocation_reason.is_none(), reason == Reason::Unspecified);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    #[test]
    fn errors_have_no_response_bytes() {
        for (error, code) in [
            (OcspError::MalformedRequest, OcspResponseStatus::MalformedRequest),
            (OcspError::InternalError, OcspResponseStatus::InternalError),
            (OcspError::TryLater, OcspResponseStatus::TryLater),
            (OcspError::SigRequired, OcspResponseStatus::SigRequired),
            (OcspError::Unauthorized, OcspResponseStatus::Unauthorized),
        ] {
            let parsed = OcspResponse::from_der(&error_response(error)).unwrap();
            assert_eq!((parsed.response_status, parsed.response_bytes), (code, None));
        }
    }
}
