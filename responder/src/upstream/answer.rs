//! What an upstream has answered, RFC 6960 section 4.2, read in place.
//!
//! Invariant: what is read is DER in full, with nothing left over, and bounded in the numbers of its parts. Nothing in it is
//! believed: see [`super::verify`].

use precompute::{
    ocsp::{CertId, CertStatus, HashAlgorithm, OcspError},
    pki::{
        Reason, UnixTime,
        elements::{DerError, Elements, checked_integer},
        encode::wrapped,
        tag,
    },
};

use super::question::NONCE;
use crate::limits::upstream as limits;

/// id-pkix-ocsp-basic
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-extended-revoke
const EXTENDED_REVOKE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x09];
/// id-pkix-ocsp-archive-cutoff
const ARCHIVE_CUTOFF: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x06];
/// id-pkix-ocsp-crl
const CRL_REFERENCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x03];
/// id-commonpki-at-certHash
const CERT_HASH: &[u8] = &[0x2b, 0x24, 0x08, 0x03, 0x0d];
/// Those that may be critical: none of them changes what the rest says.
const UNDERSTOOD: [&[u8]; 5] = [NONCE, EXTENDED_REVOKE, ARCHIVE_CUTOFF, CRL_REFERENCE, CERT_HASH];

/// An OCSPResponse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response<'a> {
    /// An error without content.
    Refused(OcspError),
    /// An answer.
    Basic(Basic<'a>),
}

/// BasicOCSPResponse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basic<'a> {
    /// What is signed.
    pub data: &'a [u8],
    /// How it names its signer.
    pub responder: Responder<'a>,
    /// When it was signed.
    pub produced_at: UnixTime,
    /// What it says of each certificate; at least one.
    pub singles: Vec<Single<'a>>,
    /// The nonce inside of its extension.
    pub nonce: Option<&'a [u8]>,
    /// The whole AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The signature's bits.
    pub signature: &'a [u8],
    /// The certificates that it carries, DER.
    pub certificates: Vec<&'a [u8]>,
}

/// ResponderID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Responder<'a> {
    /// The subject, a whole Name.
    Name(&'a [u8]),
    /// The SHA-1 of the key bits.
    KeyHash(&'a [u8]),
}

/// SingleResponse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Single<'a> {
    /// The certificate.
    pub id: CertId<'a>,
    /// Its status.
    pub status: CertStatus,
    /// When that was right.
    pub this_update: UnixTime,
    /// Until when it counts; `None` where newer information is always available.
    pub next_update: Option<UnixTime>,
}

/// Why bytes are no OCSPResponse; for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable(pub &'static str);

impl From<DerError> for Unreadable {
    fn from(_: DerError) -> Self {
        Self("it is not the DER of an OCSPResponse")
    }
}

type Result<T> = std::result::Result<T, Unreadable>;

impl<'a> Response<'a> {
    /// Reads a whole OCSPResponse.
    pub fn read(der: &'a [u8]) -> Result<Self> {
        let mut outer = Elements::only(der, tag::SEQUENCE)?;
        let status = outer.expect(tag::ENUMERATED)?;
        let bytes = outer.optional(tag::explicit(0))?;
        outer.finish()?;
        let refused = match *status {
            [0] => None,
            [1] => Some(OcspError::MalformedRequest),
            [2] => Some(OcspError::InternalError),
            [3] => Some(OcspError::TryLater),
            [5] => Some(OcspError::SigRequired),
            [6] => Some(OcspError::Unauthorized),
            _ => return Err(Unreadable("its responseStatus is none that there is")),
        };
        match (refused, bytes) {
            (Some(error), None) => Ok(Self::Refused(error)),
            (Some(_), Some(_)) => Err(Unreadable("it is an error with an answer in it")),
            (None, None) => Err(Unreadable("it is successful and has no answer in it")),
            (None, Some(bytes)) => {
                let mut bytes = Elements::only(bytes, tag::SEQUENCE)?;
                if bytes.expect(tag::OBJECT_IDENTIFIER)? != BASIC {
                    return Err(Unreadable("its answer is of a type other than id-pkix-ocsp-basic"));
                }
                let basic = bytes.expect(tag::OCTET_STRING)?;
                bytes.finish()?;
                Basic::read(basic).map(Self::Basic)
            }
        }
    }
}

impl<'a> Basic<'a> {
    /// The whole OCSPResponse, with these certificates ([`carrying`]) in place of those that came: they are not signed.
    pub fn with(&self, certificates: &[u8]) -> Vec<u8> {
        let signature = wrapped(tag::BIT_STRING, &[&[0], self.signature]);
        let basic = wrapped(tag::SEQUENCE, &[self.data, self.algorithm, &signature, certificates]);
        let content = [wrapped(tag::OBJECT_IDENTIFIER, &[BASIC]), wrapped(tag::OCTET_STRING, &[&basic])].concat();
        let bytes = wrapped(tag::explicit(0), &[&wrapped(tag::SEQUENCE, &[&content])]);
        wrapped(tag::SEQUENCE, &[&[tag::ENUMERATED, 1, 0], &bytes])
    }

    fn read(der: &'a [u8]) -> Result<Self> {
        let mut outer = Elements::only(der, tag::SEQUENCE)?;
        let data = outer.whole()?;
        let algorithm = outer.whole()?;
        let [0, signature @ ..] = outer.expect(tag::BIT_STRING)? else {
            return Err(Unreadable("its signature is not whole bytes"));
        };
        let certificates = outer.optional(tag::explicit(0))?;
        outer.finish()?;
        let certificates = certificates.map(read_certificates).transpose()?.unwrap_or_default();

        let mut fields = Elements::only(data, tag::SEQUENCE)?;
        if let Some(version) = fields.optional(tag::explicit(0))?
            && version != [tag::INTEGER, 1, 0]
        {
            return Err(Unreadable("it has a version other than v1"));
        }
        let responder = fields.any()?;
        let responder = match responder.tag {
            0xa1 => Responder::Name(responder.content),
            0xa2 => Responder::KeyHash(Elements::only(responder.content, tag::OCTET_STRING)?.rest()),
            _ => return Err(Unreadable("its ResponderID is neither a name nor a key")),
        };
        let produced_at = time(fields.expect(tag::GENERALIZED_TIME)?)?;
        let singles = read_singles(fields.expect(tag::SEQUENCE)?)?;
        let nonce = match fields.optional(tag::explicit(1))? {
            Some(extensions) => read_extensions(extensions)?,
            None => None,
        };
        fields.finish()?;
        Ok(Self { data, responder, produced_at, singles, nonce, algorithm, signature, certificates })
    }
}

/// The certificates of an answer, `[0] EXPLICIT SEQUENCE OF Certificate`; nothing if there are none.
pub fn carrying(certificates: &[&[u8]]) -> Vec<u8> {
    if certificates.is_empty() {
        return Vec::new();
    }
    wrapped(tag::explicit(0), &[&wrapped(tag::SEQUENCE, certificates)])
}

fn read_certificates(content: &[u8]) -> Result<Vec<&[u8]>> {
    let mut list = Elements::only(content, tag::SEQUENCE)?;
    let mut certificates = Vec::new();
    while !list.is_finished() {
        certificates.push(list.whole()?);
    }
    Ok(certificates)
}

fn read_singles(content: &[u8]) -> Result<Vec<Single<'_>>> {
    let mut list = Elements::new(content);
    let (mut singles, mut count) = (Vec::new(), 0);
    while !list.is_finished() {
        count += 1;
        if count > limits::SINGLES_MAX {
            return Err(Unreadable("it speaks of too many certificates"));
        }
        singles.extend(single(list.expect(tag::SEQUENCE)?)?);
    }
    Ok(singles)
}

/// `None` where its CertID has a hash algorithm that is not known here, which nobody has asked for.
fn single(content: &[u8]) -> Result<Option<Single<'_>>> {
    let mut fields = Elements::new(content);
    let id = cert_id(fields.expect(tag::SEQUENCE)?)?;
    let status = fields.any()?;
    let status = match (status.tag, status.content) {
        (0x80, []) => CertStatus::Good,
        (0x82, []) => CertStatus::Unknown,
        (0xa1, content) => revoked(content)?,
        _ => return Err(Unreadable("its certStatus is none that there is")),
    };
    let this_update = time(fields.expect(tag::GENERALIZED_TIME)?)?;
    let next_update = match fields.optional(tag::explicit(0))? {
        Some(content) => Some(time(Elements::only(content, tag::GENERALIZED_TIME)?.rest())?),
        None => None,
    };
    if let Some(extensions) = fields.optional(tag::explicit(1))? {
        read_extensions(extensions)?;
    }
    fields.finish()?;
    Ok(id.map(|id| Single { id, status, this_update, next_update }))
}

fn cert_id(content: &[u8]) -> Result<Option<CertId<'_>>> {
    let mut fields = Elements::new(content);
    let mut algorithm = Elements::new(fields.expect(tag::SEQUENCE)?);
    let hash = HashAlgorithm::from_oid(algorithm.expect(tag::OBJECT_IDENTIFIER)?);
    let issuer_name_hash = fields.expect(tag::OCTET_STRING)?;
    let issuer_key_hash = fields.expect(tag::OCTET_STRING)?;
    let serial = checked_integer(fields.expect(tag::INTEGER)?)?;
    fields.finish()?;
    Ok(hash.map(|hash| CertId { hash, issuer_name_hash, issuer_key_hash, serial }))
}

fn revoked(content: &[u8]) -> Result<CertStatus> {
    let mut fields = Elements::new(content);
    let time = time(fields.expect(tag::GENERALIZED_TIME)?)?;
    let reason = match fields.optional(tag::explicit(0))? {
        None => Reason::Unspecified,
        Some(reason) => match *Elements::only(reason, tag::ENUMERATED)?.rest() {
            [code] => Reason::from_code(code).ok_or(Unreadable("its reason is none that there is"))?,
            _ => return Err(Unreadable("its reason is none that there is")),
        },
    };
    fields.finish()?;
    Ok(CertStatus::Revoked { time, reason })
}

/// The nonce, if there is one. A critical extension that is not understood makes an answer one that nobody may use.
fn read_extensions(content: &[u8]) -> Result<Option<&[u8]>> {
    let mut list = Elements::only(content, tag::SEQUENCE)?;
    let mut nonce = None;
    while !list.is_finished() {
        let mut extension = Elements::new(list.expect(tag::SEQUENCE)?);
        let oid = extension.expect(tag::OBJECT_IDENTIFIER)?;
        let is_critical = extension.optional(tag::BOOLEAN)?.is_some_and(|value| value != [0]);
        let value = extension.expect(tag::OCTET_STRING)?;
        extension.finish()?;
        if is_critical && !UNDERSTOOD.contains(&oid) {
            return Err(Unreadable("it has a critical extension that is not understood"));
        }
        if oid == NONCE {
            if nonce.is_some() {
                return Err(Unreadable("it has two nonces"));
            }
            // Some responders give the bytes back without a separate OCTET STRING.
            nonce = Some(Elements::only(value, tag::OCTET_STRING).map_or(value, |inner| inner.rest()));
        }
    }
    Ok(nonce)
}

/// A GeneralizedTime. RFC 5280 allows no fraction, and some responders write one: it is cut off.
fn time(content: &[u8]) -> Result<UnixTime> {
    const WRONG: Unreadable = Unreadable("a time in it is none of RFC 5280");
    if let Some(time) = UnixTime::from_asn1_text(content) {
        return Ok(time);
    }
    let text = content.strip_suffix(b"Z").ok_or(WRONG)?;
    let (whole, fraction) = text.split_at_checked(14).ok_or(WRONG)?;
    let is_fraction = matches!(fraction, [b'.', digits @ ..] if digits.iter().all(u8::is_ascii_digit));
    let whole = is_fraction.then(|| [whole, b"Z"].concat()).ok_or(WRONG)?;
    UnixTime::from_asn1_text(&whole).ok_or(WRONG)
}
