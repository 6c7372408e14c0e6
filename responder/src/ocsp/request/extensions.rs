//! Extensions of requests, RFC 6960 section 4.4.

use der::Tag;

use super::{DecodeError, Result, preferred::PreferredAlgorithms};
use crate::{elements::Elements, limits};

/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2
pub(super) const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
pub(super) const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-response (acceptable responses), 1.3.6.1.5.5.7.48.1.4
pub(super) const ACCEPTABLE_RESPONSES: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x04];
/// id-pkix-ocsp-pref-sig-algs, 1.3.6.1.5.5.7.48.1.8
pub(super) const PREFERRED_SIGNATURE_ALGORITHMS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x08];

/// requestExtensions: the nonce's octets, if there is one, and what is preferred.
pub(super) fn request_extensions(octets: &[u8]) -> Result<(Option<&[u8]>, PreferredAlgorithms<'_>)> {
    let (mut nonce, mut preferred) = (None, PreferredAlgorithms::NONE);
    each_extension(octets, |extension| {
        match extension.oid {
            NONCE => {
                let mut value = Elements::new(extension.value);
                let inner = value.expect(Tag::OctetString)?;
                value.finish()?;
                // RFC 9654 section 2.1.
                if !(1..=limits::NONCE_OCTETS_MAX).contains(&inner.len()) {
                    return Err(DecodeError::Malformed);
                }
                nonce = Some(inner);
            }
            ACCEPTABLE_RESPONSES => {
                let mut accepted = Elements::only(extension.value, Tag::Sequence)?;
                let mut basic = false;
                while !accepted.is_finished() {
                    basic |= accepted.expect(Tag::ObjectIdentifier)? == BASIC;
                }
                if !basic {
                    return Err(DecodeError::Malformed);
                }
            }
            PREFERRED_SIGNATURE_ALGORITHMS => preferred = PreferredAlgorithms::decode(extension.value)?,
            _ => extension.refuse_critical_unless(&[])?,
        }
        Ok(())
    })?;
    Ok((nonce, preferred))
}

/// An Extension, RFC 5280 section 4.1.
pub(in crate::ocsp) struct Extension<'a> {
    /// Content octets.
    pub(in crate::ocsp) oid: &'a [u8],
    pub(in crate::ocsp) critical: bool,
    /// The octets inside of extnValue.
    pub(in crate::ocsp) value: &'a [u8],
}

impl Extension<'_> {
    pub(in crate::ocsp) fn refuse_critical_unless(&self, known: &[&[u8]]) -> Result<()> {
        if self.critical && !known.contains(&self.oid) { Err(DecodeError::Malformed) } else { Ok(()) }
    }
}

/// Calls `each` with every one of the Extensions that `octets` are; one that stands twice is malformed.
pub(in crate::ocsp) fn each_extension<'a>(
    octets: &'a [u8],
    mut each: impl FnMut(Extension<'a>) -> Result<()>,
) -> Result<()> {
    let mut list = Elements::only(octets, Tag::Sequence)?;
    let mut seen: [&[u8]; limits::EXTENSIONS_MAX] = [&[]; limits::EXTENSIONS_MAX];
    for count in 0.. {
        if list.is_finished() {
            break;
        }
        let mut reader = Elements::new(list.expect(Tag::Sequence)?);
        let oid = reader.expect(Tag::ObjectIdentifier)?;
        // An explicit FALSE is not DER, and is common.
        let critical = match reader.optional(Tag::Boolean)? {
            None | Some([0]) => false,
            Some([0xff]) => true,
            Some(_) => return Err(DecodeError::Malformed),
        };
        let value = reader.expect(Tag::OctetString)?;
        reader.finish()?;
        if oid.is_empty() || count == seen.len() || seen[..count].contains(&oid) {
            return Err(DecodeError::Malformed);
        }
        seen[count] = oid;
        each(Extension { oid, critical, value })?;
    }
    Ok(())
}
