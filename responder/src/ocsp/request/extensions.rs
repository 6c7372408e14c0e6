//! Extensions of requests, RFC 6960 section 4.4.
//!
//! Invariant: an unknown critical extension refuses the request. It does not know policies.

use precompute::pki::{elements::Elements, tag};

use super::{DecodeError, Result, preferred::PreferredAlgorithms};
use crate::limits;

/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2
pub(super) const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
pub(super) const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-response (acceptable responses), 1.3.6.1.5.5.7.48.1.4
pub(super) const ACCEPTABLE_RESPONSES: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x04];
/// id-pkix-ocsp-pref-sig-algs, 1.3.6.1.5.5.7.48.1.8
pub(super) const PREFERRED_SIGNATURE_ALGORITHMS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x08];

/// requestExtensions: the value of the nonce extension, if there is one, and the preferences.
pub(super) fn request_extensions(octets: &[u8]) -> Result<(Option<&[u8]>, PreferredAlgorithms<'_>)> {
    let (mut nonce, mut preferred) = (None, PreferredAlgorithms::NONE);
    each_extension(octets, |extension| {
        match extension.oid {
            NONCE => nonce = Some(extension.value),
            ACCEPTABLE_RESPONSES => {
                let mut accepted = Elements::only(extension.value, tag::SEQUENCE)?;
                let mut basic = false;
                while !accepted.is_finished() {
                    basic |= accepted.expect(tag::OBJECT_IDENTIFIER)? == BASIC;
                }
                if !basic {
                    return Err(DecodeError::Malformed);
                }
            }
            // An unreadable preference is ignored and does not refuse an answer, unless it is critical.
            PREFERRED_SIGNATURE_ALGORITHMS => match PreferredAlgorithms::decode(extension.value) {
                Ok(read) => preferred = read,
                Err(error) if extension.critical => return Err(error),
                Err(_) => {}
            },
            _ => extension.refuse_critical_unless(&[])?,
        }
        Ok(())
    })?;
    Ok((nonce, preferred))
}

/// An Extension, RFC 5280 section 4.1.
pub(in crate::ocsp) struct Extension<'a> {
    /// Content bytes.
    pub(in crate::ocsp) oid: &'a [u8],
    pub(in crate::ocsp) critical: bool,
    /// The bytes inside of extnValue.
    pub(in crate::ocsp) value: &'a [u8],
}

impl Extension<'_> {
    pub(in crate::ocsp) fn refuse_critical_unless(&self, known: &[&[u8]]) -> Result<()> {
        if self.critical && !known.contains(&self.oid) { Err(DecodeError::Malformed) } else { Ok(()) }
    }
}

/// Calls `each` with every extension in `octets`; a repeated one is malformed.
pub(in crate::ocsp) fn each_extension<'a>(
    octets: &'a [u8],
    mut each: impl FnMut(Extension<'a>) -> Result<()>,
) -> Result<()> {
    let mut list = Elements::only(octets, tag::SEQUENCE)?;
    let all = list;
    let mut seen: [&[u8]; limits::EXTENSIONS_USUAL] = [&[]; limits::EXTENSIONS_USUAL];
    let mut count = 0;
    while let Some(extension) = next_extension(&mut list)? {
        if let Some(place) = seen.get_mut(count) {
            *place = extension.oid;
            if seen[..count].contains(&extension.oid) {
                return Err(DecodeError::Malformed);
            }
        }
        count += 1;
        each(extension)?;
    }
    if count > seen.len() { none_twice(all) } else { Ok(()) }
}

/// The next Extension in a list.
fn next_extension<'a>(list: &mut Elements<'a>) -> Result<Option<Extension<'a>>> {
    if list.is_finished() {
        return Ok(None);
    }
    let mut reader = Elements::new(list.expect(tag::SEQUENCE)?);
    let oid = reader.expect(tag::OBJECT_IDENTIFIER)?;
    // An explicit FALSE is not DER, but common.
    let critical = match reader.optional(tag::BOOLEAN)? {
        None | Some([0]) => false,
        Some([0xff]) => true,
        Some(_) => return Err(DecodeError::Malformed),
    };
    let value = reader.expect(tag::OCTET_STRING)?;
    reader.finish()?;
    if oid.is_empty() { Err(DecodeError::Malformed) } else { Ok(Some(Extension { oid, critical, value })) }
}

/// Checks that no Extension in a long list occurs twice: sorted, so that the work stays in proportion to the length.
#[cold]
fn none_twice(mut list: Elements<'_>) -> Result<()> {
    let mut seen = Vec::new();
    while let Some(extension) = next_extension(&mut list)? {
        seen.push(extension.oid);
    }
    seen.sort_unstable();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) { Err(DecodeError::Malformed) } else { Ok(()) }
}
