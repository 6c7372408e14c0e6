//! OCSPResponse reading.
//!
//! Invariant: total over any bytes: an error status, a borrowed view of a basic response, or `Malformed`; never a
//! panic, never an allocation. It does not know what was asked, and believes nothing it reads.

use crate::certificate::Extension;
use crate::der::{AlgorithmIdentifier, Malformed, Read, Reader, only, small, tag};
use crate::hash::Hash;
use crate::limits::SINGLE_RESPONSES_MAX;
use crate::ocsp::request::IssuerId;
use crate::oid;
use crate::outcome::Kind;
use crate::time::{UnixSeconds, generalized};

/// What a well-formed OCSPResponse says.
#[derive(Debug)]
pub(crate) enum OcspResponse<'a> {
    /// responseStatus other than successful.
    Error(Kind),
    /// A BasicOCSPResponse.
    Basic(BasicResponse<'a>),
}

/// BasicOCSPResponse, borrowed.
#[derive(Debug)]
pub(crate) struct BasicResponse<'a> {
    /// The whole encoding of tbsResponseData: what is signed.
    pub(crate) signed: &'a [u8],
    pub(crate) responder: ResponderId<'a>,
    pub(crate) produced_at: UnixSeconds,
    pub(crate) nonce: Option<&'a [u8]>,
    pub(crate) signature_algorithm: AlgorithmIdentifier<'a>,
    pub(crate) signature: &'a [u8],
    singles: &'a [u8],
    certificates: &'a [u8],
}

/// ResponderID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponderId<'a> {
    /// The whole encoding of a Name.
    ByName(&'a [u8]),
    /// SHA-1 of the key bits.
    ByKey(&'a [u8]),
}

/// CertStatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertStatus {
    Good,
    Revoked { at: UnixSeconds, reason: Option<u8> },
    Unknown,
}

/// SingleResponse, without its CertID, which has been matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SingleResponse {
    pub(crate) status: CertStatus,
    pub(crate) this_update: UnixSeconds,
    pub(crate) next_update: Option<UnixSeconds>,
}

impl<'a> OcspResponse<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Read<Self> {
        let mut fields = Reader::new(only(body, tag::SEQUENCE, "OCSPResponse")?.content);
        let status = small(fields.content(tag::ENUMERATED, "responseStatus")?, "responseStatus")?;
        let bytes = fields.optional(tag::context(0), "responseBytes")?;
        fields.finish("OCSPResponse")?;
        let error = match status {
            0 => None,
            1 => Some(Kind::OcspMalformedRequest),
            2 => Some(Kind::OcspInternalError),
            3 => Some(Kind::OcspTryLater),
            5 => Some(Kind::OcspSigRequired),
            6 => Some(Kind::OcspUnauthorized),
            _ => return Err(Malformed("responseStatus")),
        };
        match (error, bytes) {
            (Some(kind), None) => Ok(OcspResponse::Error(kind)),
            // RFC 6960 section 4.2.1: responseBytes are not set with an error.
            (Some(_), Some(_)) => Err(Malformed("responseBytes in an error response")),
            (None, None) => Err(Malformed("responseBytes absent")),
            (None, Some(field)) => {
                let mut inner = Reader::new(only(field.content, tag::SEQUENCE, "ResponseBytes")?.content);
                if inner.content(tag::OID, "responseType")? != oid::OCSP_BASIC {
                    return Err(Malformed("responseType"));
                }
                let basic = inner.content(tag::OCTET_STRING, "response")?;
                inner.finish("ResponseBytes")?;
                BasicResponse::read(basic).map(OcspResponse::Basic)
            }
        }
    }
}

impl<'a> BasicResponse<'a> {
    fn read(der: &'a [u8]) -> Read<Self> {
        let mut fields = Reader::new(only(der, tag::SEQUENCE, "BasicOCSPResponse")?.content);
        let signed = fields.tlv(tag::SEQUENCE, "tbsResponseData")?;
        let signature_algorithm = AlgorithmIdentifier::read(&mut fields, "signatureAlgorithm")?;
        let signature = fields.bit_string("signature")?;
        let certificates = match fields.optional(tag::context(0), "certs")? {
            Some(field) => only(field.content, tag::SEQUENCE, "certs")?.content,
            None => &[],
        };
        fields.finish("BasicOCSPResponse")?;

        let mut data = Reader::new(signed.content);
        if let Some(version) = data.optional(tag::context(0), "version")?
            && Reader::new(version.content).small_integer("version")? != 0
        {
            return Err(Malformed("version"));
        }
        let responder = data.any("responderID")?;
        let responder = match responder.tag {
            t if t == tag::context(1) => ResponderId::ByName(only(responder.content, tag::SEQUENCE, "byName")?.whole),
            t if t == tag::context(2) => {
                ResponderId::ByKey(only(responder.content, tag::OCTET_STRING, "byKey")?.content)
            }
            _ => return Err(Malformed("responderID")),
        };
        let produced_at = generalized(data.content(tag::GENERALIZED_TIME, "producedAt")?)?;
        let singles = data.content(tag::SEQUENCE, "responses")?;
        let nonce = match data.optional(tag::context(1), "responseExtensions")? {
            Some(field) => nonce_among(only(field.content, tag::SEQUENCE, "responseExtensions")?.content)?,
            None => None,
        };
        data.finish("tbsResponseData")?;
        Ok(Self {
            signed: signed.whole,
            responder,
            produced_at,
            nonce,
            signature_algorithm,
            signature,
            singles,
            certificates,
        })
    }

    /// The SingleResponse for this very CertID; `None` if there is none among them.
    pub(crate) fn single_for(&self, issuer: &IssuerId, serial: &[u8]) -> Read<Option<SingleResponse>> {
        let mut singles = Reader::new(self.singles);
        for _ in 0..SINGLE_RESPONSES_MAX {
            if singles.is_empty() {
                break;
            }
            let mut fields = singles.nested(tag::SEQUENCE, "SingleResponse")?;
            let same = is_cert_id(fields.content(tag::SEQUENCE, "certID")?, issuer, serial)?;
            let single = SingleResponse::read(fields)?;
            if same {
                return Ok(Some(single));
            }
        }
        Ok(None)
    }

    /// The encodings in certs, in order.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.certificates);
        std::iter::from_fn(move || reader.tlv(tag::SEQUENCE, "certs").ok().map(|t| t.whole))
    }
}

impl SingleResponse {
    /// After the CertID.
    fn read(mut fields: Reader<'_>) -> Read<Self> {
        let status = fields.any("certStatus")?;
        let status = match (status.tag, status.content) {
            (0x80, []) => CertStatus::Good,
            (0x82, []) => CertStatus::Unknown,
            (0xa1, content) => {
                let mut info = Reader::new(content);
                let at = generalized(info.content(tag::GENERALIZED_TIME, "revocationTime")?)?;
                let reason = match info.optional(tag::context(0), "revocationReason")? {
                    Some(field) => {
                        let code = only(field.content, tag::ENUMERATED, "revocationReason")?.content;
                        // CRLReason: 0 to 10 without 7 (RFC 5280 section 5.3.1).
                        match small(code, "revocationReason")? {
                            code @ (0..=6 | 8..=10) => Some(code as u8),
                            _ => return Err(Malformed("revocationReason")),
                        }
                    }
                    None => None,
                };
                info.finish("revoked")?;
                CertStatus::Revoked { at, reason }
            }
            _ => return Err(Malformed("certStatus")),
        };
        let this_update = generalized(fields.content(tag::GENERALIZED_TIME, "thisUpdate")?)?;
        let next_update = match fields.optional(tag::context(0), "nextUpdate")? {
            Some(field) => Some(generalized(only(field.content, tag::GENERALIZED_TIME, "nextUpdate")?.content)?),
            None => None,
        };
        fields.optional(tag::context(1), "singleExtensions")?;
        fields.finish("SingleResponse")?;
        Ok(Self { status, this_update, next_update })
    }
}

fn is_cert_id(content: &[u8], issuer: &IssuerId, serial: &[u8]) -> Read<bool> {
    let mut fields = Reader::new(content);
    let algorithm = AlgorithmIdentifier::read(&mut fields, "certID hashAlgorithm")?;
    let name_hash = fields.content(tag::OCTET_STRING, "issuerNameHash")?;
    let key_hash = fields.content(tag::OCTET_STRING, "issuerKeyHash")?;
    let number = fields.content(tag::INTEGER, "serialNumber")?;
    fields.finish("certID")?;
    Ok(number == serial
        && Hash::identified(&algorithm) == Some(issuer.hash)
        && name_hash == issuer.name_hash
        && key_hash == issuer.key_hash)
}

fn nonce_among(extensions: &[u8]) -> Read<Option<&[u8]>> {
    let mut reader = Reader::new(extensions);
    let mut nonce = None;
    while !reader.is_empty() {
        let extension = Extension::read(&mut reader)?;
        if extension.oid == oid::OCSP_NONCE {
            nonce = Some(only(extension.value, tag::OCTET_STRING, "nonce")?.content);
        }
    }
    Ok(nonce)
}
