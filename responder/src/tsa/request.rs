//! TimeStampReq, RFC 3161 section 2.4.1, decoded in place.
//!
//! Purpose: from hostile bytes to the request, without copying or allocating. Invariant: a [`Request`] has passed every
//! check of form (`badDataFormat`). [`Request::check`] compares it with a policy, always in one order: version,
//! imprint, policy, extensions, nonce. It does not know keys or clocks.

use precompute::{
    pki::{
        elements::{Elements, algorithm_identifier, checked_integer},
        tag,
    },
    tsp::{ImprintHash, Oid, TsaPolicy},
};

use super::failure::Failure;
use crate::limits;

type Result<T> = std::result::Result<T, Failure>;

/// A request that conforms to the syntax.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// Content bytes.
    version: &'a [u8],
    /// messageImprint, the whole element, to be repeated as it is.
    pub imprint: &'a [u8],
    hash_oid: &'a [u8],
    parameters: Option<&'a [u8]>,
    /// hashedMessage.
    pub digest: &'a [u8],
    /// The content bytes of reqPolicy.
    pub policy: Option<&'a [u8]>,
    /// The content bytes of nonce.
    pub nonce: Option<&'a [u8]>,
    /// Whether the token should carry certificates.
    pub cert_req: bool,
    has_extensions: bool,
}

impl<'a> Request<'a> {
    /// Decodes a whole TimeStampReq; trailing bytes are a format error.
    pub fn decode(der: &'a [u8]) -> Result<Self> {
        let mut fields = Elements::only(der, tag::SEQUENCE)?;
        let version = checked_integer(fields.expect(tag::INTEGER)?)?;
        let imprint = fields.whole()?;
        let mut inside = Elements::only(imprint, tag::SEQUENCE)?;
        let (hash_oid, parameters) = algorithm_identifier(inside.expect(tag::SEQUENCE)?)?;
        let hash_oid = oid(hash_oid)?;
        let digest = inside.expect(tag::OCTET_STRING)?;
        inside.finish()?;
        let policy = match fields.optional(tag::OBJECT_IDENTIFIER)? {
            Some(content) => Some(oid(content)?),
            None => None,
        };
        let nonce = match fields.optional(tag::INTEGER)? {
            Some(content) => Some(checked_integer(content)?),
            None => None,
        };
        let cert_req = match fields.optional(tag::BOOLEAN)? {
            Some([0xff]) => true,
            // DER omits a default value; clients that write it do no harm.
            Some([0x00]) | None => false,
            Some(_) => return Err(Failure::BadDataFormat),
        };
        let extensions = fields.optional(tag::explicit(0))?;
        if let Some(list) = extensions {
            check_extensions(Elements::new(list))?;
        }
        fields.finish()?;
        let has_extensions = extensions.is_some();
        Ok(Self { version, imprint, hash_oid, parameters, digest, policy, nonce, cert_req, has_extensions })
    }

    /// Checks the version; comes before all other checks.
    pub fn check_version(&self) -> Result<()> {
        if self.version == [1] { Ok(()) } else { Err(Failure::BadRequest) }
    }

    /// Checks the imprint, the policy, the extensions and the nonce against the authority's policy. `is_served`:
    /// whether it serves the requested policy, if one is requested.
    pub fn check(&self, policy: &TsaPolicy, is_served: bool) -> Result<ImprintHash> {
        let hash = ImprintHash::from_oid(self.hash_oid).filter(|hash| policy.hashes.contains(hash));
        let hash = hash.ok_or(Failure::BadAlg)?;
        if self.parameters.is_some_and(|parameters| parameters != NULL) {
            return Err(Failure::BadAlg);
        }
        if self.digest.len() != hash.len() {
            return Err(Failure::BadDataFormat);
        }
        if !is_served {
            return Err(Failure::UnacceptedPolicy);
        }
        if self.has_extensions {
            return Err(Failure::UnacceptedExtension);
        }
        match self.nonce {
            Some(nonce) if !fits(nonce) => Err(Failure::BadRequest),
            _ => Ok(hash),
        }
    }
}

/// NULL, DER.
const NULL: [u8; 2] = [0x05, 0x00];

/// Whether a nonce is within its bound; a byte that only holds the sign does not count.
fn fits(nonce: &[u8]) -> bool {
    let sign = usize::from(matches!(nonce, [0x00 | 0xff, _, ..]));
    nonce.len() - sign <= limits::TSA_NONCE_BYTES_MAX
}

/// An OBJECT IDENTIFIER's content, of any length: a policy that is not served is unaccepted, however long it is.
fn oid(content: &[u8]) -> Result<&[u8]> {
    if Oid::is_content(content) { Ok(content) } else { Err(Failure::BadDataFormat) }
}

/// `[0] IMPLICIT SEQUENCE SIZE (1..MAX) OF Extension`, each of the right form. Only the body's length bounds their
/// number: many are as unaccepted as one.
fn check_extensions(mut extensions: Elements<'_>) -> Result<()> {
    loop {
        let mut extension = Elements::new(extensions.expect(tag::SEQUENCE)?);
        oid(extension.expect(tag::OBJECT_IDENTIFIER)?)?;
        if !matches!(extension.optional(tag::BOOLEAN)?, None | Some([0x00 | 0xff])) {
            return Err(Failure::BadDataFormat);
        }
        extension.expect(tag::OCTET_STRING)?;
        extension.finish()?;
        if extensions.is_finished() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
