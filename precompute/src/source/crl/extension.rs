//! Extensions of a CRL and of its entries (RFC 5280 sections 4.2, 5.2 and 5.3).
//!
//! Invariant: an unknown critical extension is an error. It does not know entries or signatures.

use der::asn1::ObjectIdentifier;

use super::{Coverage, CrlNumber, distribution::FRESHEST_CRL};
use crate::pki::{
    Excerpt,
    elements::{Elements, Named},
    tag::{BOOLEAN, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE},
};

// Content bytes of the object identifiers; id-ce is 2.5.29, of two bytes.
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
pub(super) const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
pub(super) const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 24];
const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
pub(super) const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];

/// One extension.
pub(super) struct Extension<'a> {
    /// Content bytes of extnID.
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    /// Content bytes of extnValue.
    pub(super) value: &'a [u8],
}

/// The elements of `Extensions`, from its content bytes; ends after the first error.
pub(super) fn extensions(content: &[u8]) -> impl Iterator<Item = Result<Extension<'_>, String>> {
    let mut rest = Elements::new(content);
    std::iter::from_fn(move || {
        if rest.is_finished() {
            return None;
        }
        let extension = extension(&mut rest);
        if extension.is_err() {
            rest = Elements::new(&[]);
        }
        Some(extension)
    })
}

fn extension<'a>(extensions: &mut Elements<'a>) -> Result<Extension<'a>, String> {
    let mut fields = Elements::new(extensions.expect(SEQUENCE).named("Extension")?);
    let oid = fields.expect(OBJECT_IDENTIFIER).named("extnID")?;
    // DER omits a default value, but an explicit FALSE is a common mistake and has one meaning.
    let critical =
        fields.optional(BOOLEAN).named("critical")?.map_or(Ok(false), |content| boolean(content, "critical"))?;
    let value = fields.expect(OCTET_STRING).named("extnValue")?;
    fields.finish().named("Extension")?;
    Ok(Extension { oid, critical, value })
}

/// The problem with a critical extension that is not understood (RFC 5280 sections 5.2 and 5.3).
pub(super) fn unknown(oid: &[u8]) -> String {
    match ObjectIdentifier::from_bytes(oid) {
        Ok(oid) => format!("has the critical extension {oid}, which is not understood"),
        Err(_) => format!("has a critical extension with a malformed identifier `{}`", Excerpt(oid)),
    }
}

/// Fills `slot`; an extension must not occur twice (RFC 5280 section 4.2).
pub(super) fn once<T>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), String> {
    if slot.replace(value).is_some() { Err(format!("{what}: occurs twice")) } else { Ok(()) }
}

/// What the extensions of a CRL say.
#[derive(Default)]
pub(super) struct CrlExtensions<'a> {
    pub(super) number: Option<CrlNumber>,
    pub(super) base: Option<CrlNumber>,
    /// The value of issuingDistributionPoint, DER.
    pub(super) distribution_point: Option<&'a [u8]>,
    pub(super) coverage: Coverage,
    /// The value of freshestCRL, DER.
    pub(super) freshest: Option<&'a [u8]>,
}

impl<'a> CrlExtensions<'a> {
    /// From the content bytes of crlExtensions.
    pub(super) fn parse(content: &'a [u8]) -> Result<Self, String> {
        let mut this = Self::default();
        for extension in extensions(content) {
            let Extension { oid, critical, value } = extension?;
            match oid {
                CRL_NUMBER => once(&mut this.number, crl_number(value, "cRLNumber")?, "cRLNumber")?,
                // RFC 5280 section 5.2.4: a reader that does not know this extension must not take a delta for a
                // complete CRL.
                DELTA_CRL_INDICATOR if !critical => {
                    return Err("deltaCRLIndicator: expected it to be critical (RFC 5280, 5.2.4)".to_owned());
                }
                DELTA_CRL_INDICATOR => {
                    once(&mut this.base, crl_number(value, "deltaCRLIndicator")?, "deltaCRLIndicator")?;
                }
                ISSUING_DISTRIBUTION_POINT => {
                    this.coverage = Coverage::read(value)?;
                    once(&mut this.distribution_point, value, "issuingDistributionPoint")?;
                }
                FRESHEST_CRL => once(&mut this.freshest, value, "freshestCRL")?,
                // Helps to find the key; the signature itself shows whether it was the right one.
                AUTHORITY_KEY_IDENTIFIER => {}
                _ if critical => return Err(unknown(oid)),
                _ => {}
            }
        }
        Ok(this)
    }
}

fn crl_number(value: &[u8], what: &str) -> Result<CrlNumber, String> {
    let content = Elements::only(value, INTEGER).named(what)?.rest();
    CrlNumber::from_der_content(content)
        .ok_or_else(|| format!("{what}: expected 0 to 2^160-1 (RFC 5280, 5.2.3), found {} bytes", content.len()))
}

/// A BOOLEAN from its content bytes.
pub(super) fn boolean(content: &[u8], what: &str) -> Result<bool, String> {
    match content {
        [0x00] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(format!("{what}: expected a BOOLEAN of 0x00 or 0xff")),
    }
}
