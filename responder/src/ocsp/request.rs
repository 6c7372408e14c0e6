//! OCSPRequest, RFC 6960 section 4.1, decoded in place.
//!
//! Purpose: from hostile bytes to the requested CertIDs, without copying or allocating. Invariant: a [`Request`] has
//! passed every check of form, so walking its CertIDs again cannot fail; only the inside of a signature is left to its
//! verifier. It does not know which issuers exist.

pub(super) mod extensions;
mod preferred;
mod signature;

use precompute::{
    ocsp::{CertId, HashAlgorithm, OcspError},
    pki::{
        elements::{DerError, Elements, checked_integer, integer},
        tag,
    },
};

use self::extensions::{NONCE, each_extension, request_extensions};
pub use self::preferred::PreferredAlgorithms;
pub use self::signature::RequestSignature;
use crate::limits;

/// Why a request gets no answer; determines the error for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// `malformedRequest`.
    Malformed,
    /// `unauthorized`: well formed, but in a hash algorithm that names none of our issuers.
    UnknownHash,
}

impl From<DerError> for DecodeError {
    fn from(_: DerError) -> Self {
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
    /// All of it.
    der: &'a [u8],
    first: CertId<'a>,
    /// The content of requestList after the first Request.
    rest: &'a [u8],
    count: usize,
    /// The bytes inside of the nonce extension's extnValue.
    nonce_value: Option<&'a [u8]>,
    /// The client's preferred signature algorithms.
    pub preferred: PreferredAlgorithms<'a>,
}

impl<'a> Request<'a> {
    /// Decodes a whole OCSPRequest; trailing bytes are malformed.
    pub fn decode(der: &'a [u8]) -> Result<Self> {
        let mut outer = Elements::only(der, tag::SEQUENCE)?;
        let tbs = outer.expect(tag::SEQUENCE)?;
        // If no signature is required, anything with the right outline is accepted.
        if let Some(signature) = outer.optional(tag::explicit(0))? {
            Elements::only(signature, tag::SEQUENCE)?;
        }
        outer.finish()?;

        let mut tbs = Elements::new(tbs);
        if let Some(version) = tbs.optional(tag::explicit(0))? {
            // DER omits a default value, but many clients write v1(0).
            if integer(version)? != [0] {
                return Err(DecodeError::Malformed);
            }
        }
        tbs.optional(tag::explicit(1))?; // requestorName
        let list = tbs.expect(tag::SEQUENCE)?;
        let (nonce_value, preferred) = match tbs.optional(tag::explicit(2))? {
            Some(extensions) => request_extensions(extensions)?,
            None => (None, PreferredAlgorithms::NONE),
        };
        tbs.finish()?;

        let (first, rest) = single_request(list)?;
        let mut count = 1;
        let mut left = rest;
        while !left.is_empty() {
            if count == limits::CERT_IDS_MAX {
                return Err(DecodeError::Malformed);
            }
            left = single_request(left)?.1;
            count += 1;
        }
        Ok(Self { der, first, rest, count, nonce_value, preferred })
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

    /// How many CertIDs there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The nonce's bytes, for a policy that does not ignore it. Malformed if the extension has no nonce, or one of a
    /// length that RFC 9654 section 2.1 does not allow. Many clients put the bytes into extnValue without a separate
    /// OCTET STRING, as RFC 2560 could be read; where nonces are ignored that does no harm.
    pub fn nonce(&self) -> Result<Option<&'a [u8]>> {
        let Some(value) = self.nonce_value else { return Ok(None) };
        let mut value = Elements::new(value);
        let nonce = value.expect(tag::OCTET_STRING)?;
        value.finish()?;
        let allowed = (1..=limits::NONCE_OCTETS_MAX).contains(&nonce.len());
        if allowed { Ok(Some(nonce)) } else { Err(DecodeError::Malformed) }
    }

    /// The same, if the answer should repeat it. RFC 9654 section 2.1 allows others to be omitted: shorter ones can be
    /// guessed, longer ones only make the answer longer.
    pub fn nonce_to_echo(&self) -> Result<Option<&'a [u8]>> {
        Ok(self.nonce()?.filter(|nonce| NONCE_OCTETS_ECHOED.contains(&nonce.len())))
    }

    /// The signature, if there is one; malformed if its inside does not conform.
    pub fn signature(&self) -> Result<Option<RequestSignature<'a>>> {
        RequestSignature::of_request(self.der)
    }
}

/// The lengths of nonces that are echoed: RFC 9654 section 2.1 requires servers to accept 16 to 32 bytes.
const NONCE_OCTETS_ECHOED: std::ops::RangeInclusive<usize> = 16..=32;
const _: () = assert!(*NONCE_OCTETS_ECHOED.end() <= limits::NONCE_OCTETS_MAX);

/// The first Request of a list, and the bytes after it.
fn single_request(list: &[u8]) -> Result<(CertId<'_>, &[u8])> {
    let mut reader = Elements::new(list);
    let mut request = Elements::new(reader.expect(tag::SEQUENCE)?);
    let id = cert_id(request.expect(tag::SEQUENCE)?)?;
    if let Some(extensions) = request.optional(tag::explicit(0))? {
        // No extension is supported here; a nonce at this place is ignored like any other.
        each_extension(extensions, |extension| extension.refuse_critical_unless(&[NONCE]))?;
    }
    request.finish()?;
    Ok((id, reader.rest()))
}

fn cert_id(content: &[u8]) -> Result<CertId<'_>> {
    let mut reader = Elements::new(content);
    let mut algorithm = Elements::new(reader.expect(tag::SEQUENCE)?);
    let oid = algorithm.expect(tag::OBJECT_IDENTIFIER)?;
    if !algorithm.is_finished() && !algorithm.expect(tag::NULL)?.is_empty() {
        return Err(DecodeError::Malformed);
    }
    algorithm.finish()?;
    let issuer_name_hash = reader.expect(tag::OCTET_STRING)?;
    let issuer_key_hash = reader.expect(tag::OCTET_STRING)?;
    let serial = checked_integer(reader.expect(tag::INTEGER)?)?;
    reader.finish()?;
    let hash = HashAlgorithm::from_oid(oid).ok_or(DecodeError::UnknownHash)?;
    if issuer_name_hash.len() != hash.len() || issuer_key_hash.len() != hash.len() {
        return Err(DecodeError::Malformed);
    }
    Ok(CertId { hash, issuer_name_hash, issuer_key_hash, serial })
}

#[cfg(test)]
mod tests;
