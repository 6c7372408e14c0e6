//! CertificateList of RFC 5280 section 5.1, field by field.
//!
//! Invariant: the structure is that of the RFC, in DER, or there is no outline. It does not interpret extensions or
//! entries, and verifies no signature.

use super::{Oddities, date::Date};
use crate::pki::{
    Instant, UnixTime,
    elements::{Elements, Named},
    tag::{BIT_STRING, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME},
};

/// The fields, without interpretation.
pub(super) struct Outline<'a> {
    pub(super) tbs: &'a [u8],
    /// Whether it may have extensions.
    pub(super) is_version_2: bool,
    pub(super) inner_algorithm: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) this_update: UnixTime,
    pub(super) next_update: Option<UnixTime>,
    /// Content of revokedCertificates. Absent if there are none (RFC 5280 section 5.1.2.6 says MUST; an empty list,
    /// which some CAs write, means the same).
    pub(super) entries: &'a [u8],
    /// Content of crlExtensions' SEQUENCE.
    pub(super) extensions: Option<&'a [u8]>,
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// What was read differently from how it is written.
    pub(super) oddities: Oddities,
}

impl<'a> Outline<'a> {
    pub(super) fn find(der: &'a [u8]) -> Result<Self, String> {
        let mut parts = Elements::only(der, SEQUENCE).named("CertificateList")?;
        let tbs = parts.any().named("tbsCertList")?.whole;
        let algorithm = parts.any().named("signatureAlgorithm")?.whole;
        let signature = match parts.expect(BIT_STRING).named("signatureValue")? {
            [0, signature @ ..] => signature,
            _ => return Err("signatureValue: expected a BIT STRING of whole bytes".to_owned()),
        };
        parts.finish().named("CertificateList")?;

        let mut fields = Elements::only(tbs, SEQUENCE).named("tbsCertList")?;
        let mut oddities = Oddities::default();
        let is_version_2 = match fields.optional(INTEGER).named("version")? {
            None => false,
            Some([1]) => true,
            // DER leaves the default out.
            Some([0]) => {
                oddities.note_field("version", "is written as v1 (0), which is to be left out");
                false
            }
            Some(_) => return Err("version: expected none, or v2 (1)".to_owned()),
        };
        let inner_algorithm = fields.any().named("signature")?.whole;
        let issuer = fields.any().named("issuer")?.whole;
        let (this_update, next_update) = dates(&mut fields, &mut oddities)?;
        let entries = fields.optional(SEQUENCE).named("revokedCertificates")?.unwrap_or_default();
        let extensions = match fields.optional(0xa0).named("crlExtensions")? {
            None => None,
            Some(explicit) => Some(Elements::only(explicit, SEQUENCE).named("crlExtensions")?.rest()),
        };
        fields.finish().named("tbsCertList")?;
        if extensions.is_some() && !is_version_2 {
            oddities.note_field("version", "is v1, which has no extensions: taken as v2");
        }
        Ok(Self {
            tbs,
            is_version_2,
            inner_algorithm,
            issuer,
            this_update,
            next_update,
            entries,
            extensions,
            algorithm,
            signature,
            oddities,
        })
    }
}

/// thisUpdate and nextUpdate. An end that cannot be is long past: the CRL ended when it began.
fn dates(fields: &mut Elements<'_>, oddities: &mut Oddities) -> Result<(UnixTime, Option<UnixTime>), String> {
    // Without it nobody knows which of two CRLs is older.
    let this = Date::read(fields, "thisUpdate")?.map_err(|none| none.in_words("thisUpdate"))?;
    let this_update = noted("thisUpdate", this, oddities).clamped();
    if !matches!(fields.peek(), Some(UTC_TIME | GENERALIZED_TIME)) {
        return Ok((this_update, None));
    }
    let next = match Date::read(fields, "nextUpdate")? {
        Ok(date) => match noted("nextUpdate", date, oddities) {
            Instant::Held(next) => Some(next),
            Instant::Before1970 => None,
        },
        Err(_) => {
            oddities.note_field("nextUpdate", "is no date: taken as over");
            None
        }
    };
    if next.is_some_and(|next| next < this_update) {
        oddities.note_field("nextUpdate", "is before thisUpdate: taken as over");
    }
    Ok((this_update, Some(next.map_or(this_update, |next| next.max(this_update)))))
}

fn noted(field: &str, date: Date, oddities: &mut Oddities) -> Instant {
    if date.instant == Instant::Before1970 {
        oddities.note_field(field, "is before 1970 (a UTCTime means 1950 to 2049): taken as over");
    } else if date.is_odd {
        oddities.note_field(field, "is in a form that RFC 5280 does not allow (4.1.2.5)");
    }
    date.instant
}
