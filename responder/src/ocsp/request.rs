//! OCSPRequest, RFC 6960 section 4.1, decoded in place.
//!
//! Purpose: from hostile octets to the CertIDs asked about, without copying or allocating.
//! Invariant: a [`Request`] has passed every check of form, so that walking its CertIDs again
//! cannot fail. It does not know which issuers exist.

use der::{Decode as _, Header, Reader as _, SliceReader, Tag, TagNumber};
use precompute::ocsp::{CertId, HashAlgorithm, OcspError};

use crate::limits;

/// Why a request is not answered; says what the client gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// `malformedRequest`.
    Malformed,
    /// `unauthorized`: well formed, in a hash algorithm that names none of our issuers.
    UnknownHash,
}

impl From<der::Error> for DecodeError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

impl From<DecodeError> for OcspError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::MalformedRequest,
            DecodeError::UnknownHash => Self::Unauthorized,
        }
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// A request that conforms to the syntax.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    first: CertId<'a>,
    /// The content of requestList behind the first Request.
    rest: &'a [u8],
    /// The nonce's octets.
    pub nonce: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Decodes a whole OCSPRequest; trailing octets are malformed.
    pub fn decode(der: &'a [u8]) -> Result<Self> {
        let mut outer = only(der, Tag::Sequence)?;
        let tbs = expect(&mut outer, Tag::Sequence)?;
        // A signature is not asked for, so that it may be anything of the right outline.
        if let Some(signature) = optional(&mut outer, 0)? {
            only(signature, Tag::Sequence)?;
        }
        finish(&outer)?;

        let mut tbs = SliceReader::new(tbs)?;
        if let Some(version) = optional(&mut tbs, 0)? {
            // DER leaves a default out; clients that write v1(0) all the same are many.
            if integer(version)? != [0] {
                return Err(DecodeError::Malformed);
            }
        }
        optional(&mut tbs, 1)?; // requestorName
        let list = expect(&mut tbs, Tag::Sequence)?;
        let nonce = match optional(&mut tbs, 2)? {
            Some(extensions) => request_extensions(extensions)?,
            None => None,
        };
        finish(&tbs)?;

        let (first, rest) = single_request(list)?;
        let request = Self { first, rest, nonce };
        let mut rest = rest;
        for count in 2.. {
            if rest.is_empty() {
                break;
            }
            if count > limits::CERT_IDS_MAX {
                return Err(DecodeError::Malformed);
            }
            rest = single_request(rest)?.1;
        }
        Ok(request)
    }

    /// The CertID of a request for one certificate.
    pub fn single(&self) -> Option<&CertId<'a>> {
        self.rest.is_empty().then_some(&self.first)
    }

    /// Every CertID, in order.
    pub fn cert_ids(&self) -> impl Iterator<Item = CertId<'a>> + use<'a> {
        let mut rest = self.rest;
        std::iter::once(self.first).chain(std::iter::from_fn(move || {
            let (id, left) = single_request(rest).ok()?;
            rest = left;
            Some(id)
        }))
    }
}

/// The first Request of a list, and the octets behind it.
fn single_request(list: &[u8]) -> Result<(CertId<'_>, &[u8])> {
    let mut reader = SliceReader::new(list)?;
    let mut request = SliceReader::new(expect(&mut reader, Tag::Sequence)?)?;
    let id = cert_id(expect(&mut request, Tag::Sequence)?)?;
    if let Some(extensions) = optional(&mut request, 0)? {
        // None is served here; a nonce in this place is ignored as any other.
        each_extension(extensions, |extension| extension.refuse_critical_unless(&[NONCE]))?;
    }
    finish(&request)?;
    let left = reader.remaining_len();
    Ok((id, reader.read_slice(left)?))
}

fn cert_id(content: &[u8]) -> Result<CertId<'_>> {
    let mut reader = SliceReader::new(content)?;
    let mut algorithm = SliceReader::new(expect(&mut reader, Tag::Sequence)?)?;
    let oid = expect(&mut algorithm, Tag::ObjectIdentifier)?;
    if !algorithm.is_finished() && !expect(&mut algorithm, Tag::Null)?.is_empty() {
        return Err(DecodeError::Malformed);
    }
    finish(&algorithm)?;
    let issuer_name_hash = expect(&mut reader, Tag::OctetString)?;
    let issuer_key_hash = expect(&mut reader, Tag::OctetString)?;
    let serial = checked_integer(expect(&mut reader, Tag::Integer)?)?;
    finish(&reader)?;
    let hash = HashAlgorithm::from_oid(oid).ok_or(DecodeError::UnknownHash)?;
    if issuer_name_hash.len() != hash.len() || issuer_key_hash.len() != hash.len() {
        return Err(DecodeError::Malformed);
    }
    Ok(CertId { hash, issuer_name_hash, issuer_key_hash, serial })
}

/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2
const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-response (acceptable responses), 1.3.6.1.5.5.7.48.1.4
const ACCEPTABLE_RESPONSES: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x04];
/// id-pkix-ocsp-pref-sig-algs, 1.3.6.1.5.5.7.48.1.8
const PREFERRED_SIGNATURE_ALGORITHMS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x08];

/// requestExtensions; the nonce's octets if there is one.
fn request_extensions(octets: &[u8]) -> Result<Option<&[u8]>> {
    let mut nonce = None;
    each_extension(octets, |extension| {
        match extension.oid {
            NONCE => {
                let mut value = SliceReader::new(extension.value)?;
                let inner = expect(&mut value, Tag::OctetString)?;
                finish(&value)?;
                // RFC 9654 section 2.1.
                if !(1..=limits::NONCE_OCTETS_MAX).contains(&inner.len()) {
                    return Err(DecodeError::Malformed);
                }
                nonce = Some(inner);
            }
            ACCEPTABLE_RESPONSES => {
                let mut accepted = only(extension.value, Tag::Sequence)?;
                let mut basic = false;
                while !accepted.is_finished() {
                    basic |= expect(&mut accepted, Tag::ObjectIdentifier)? == BASIC;
                }
                if !basic {
                    return Err(DecodeError::Malformed);
                }
            }
            _ => extension.refuse_critical_unless(&[PREFERRED_SIGNATURE_ALGORITHMS])?,
        }
        Ok(())
    })?;
    Ok(nonce)
}

struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

impl Extension<'_> {
    fn refuse_critical_unless(&self, known: &[&[u8]]) -> Result<()> {
        if self.critical && !known.contains(&self.oid) { Err(DecodeError::Malformed) } else { Ok(()) }
    }
}

/// Calls `each` with every one of the Extensions that `octets` are; one that stands twice is malformed.
fn each_extension<'a>(octets: &'a [u8], mut each: impl FnMut(Extension<'a>) -> Result<()>) -> Result<()> {
    let mut list = only(octets, Tag::Sequence)?;
    let mut seen: [&[u8]; limits::EXTENSIONS_MAX] = [&[]; limits::EXTENSIONS_MAX];
    for count in 0.. {
        if list.is_finished() {
            break;
        }
        let mut reader = SliceReader::new(expect(&mut list, Tag::Sequence)?)?;
        let oid = expect(&mut reader, Tag::ObjectIdentifier)?;
        // An explicit FALSE is not DER, and is common.
        let critical = match reader.peek_byte() {
            Some(0x01) => match expect(&mut reader, Tag::Boolean)? {
                [0] => false,
                [0xff] => true,
                _ => return Err(DecodeError::Malformed),
            },
            _ => false,
        };
        let value = expect(&mut reader, Tag::OctetString)?;
        finish(&reader)?;
        if oid.is_empty() || count == seen.len() || seen[..count].contains(&oid) {
            return Err(DecodeError::Malformed);
        }
        seen[count] = oid;
        each(Extension { oid, critical, value })?;
    }
    Ok(())
}

/// A reader inside of the one element with `tag` that `octets` are.
fn only(octets: &[u8], tag: Tag) -> Result<SliceReader<'_>> {
    let mut reader = SliceReader::new(octets)?;
    let content = expect(&mut reader, tag)?;
    finish(&reader)?;
    Ok(SliceReader::new(content)?)
}

/// The content of the next element, which must have `tag`.
fn expect<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    if header.tag != tag {
        return Err(DecodeError::Malformed);
    }
    Ok(reader.read_slice(header.length)?)
}

/// The content of the next element if it is `[number] EXPLICIT`.
fn optional<'a>(reader: &mut SliceReader<'a>, number: u8) -> Result<Option<&'a [u8]>> {
    if reader.peek_byte() != Some(0xa0 | number) {
        return Ok(None);
    }
    expect(reader, Tag::ContextSpecific { constructed: true, number: TagNumber::new(number) }).map(Some)
}

/// The content of the one INTEGER that `octets` are.
fn integer(octets: &[u8]) -> Result<&[u8]> {
    let mut reader = SliceReader::new(octets)?;
    let content = expect(&mut reader, Tag::Integer)?;
    finish(&reader)?;
    checked_integer(content)
}

/// The content of an INTEGER, in the fewest octets that hold it (X.690 section 8.3.2).
fn checked_integer(content: &[u8]) -> Result<&[u8]> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(DecodeError::Malformed),
        _ => Ok(content),
    }
}

fn finish(reader: &SliceReader<'_>) -> Result<()> {
    if reader.is_finished() { Ok(()) } else { Err(DecodeError::Malformed) }
}

#[cfg(test)]
mod tests;
