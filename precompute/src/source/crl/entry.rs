//! The entries of a CRL: `revokedCertificates` of RFC 5280 section 5.1.2.6.
//!
//! Invariant: an entry is read as the CA signed it, or the CRL is refused. It does not know the time or other CRLs.

use std::{fmt, iter::FusedIterator};

use super::{
    Oddities, REVOCATION_TIME_MAX,
    extension::{self, Extension},
};
use crate::pki::{
    Instant, Reason, Serial, UnixTime,
    elements::{Elements, Named},
    tag::{ENUMERATED, INTEGER, SEQUENCE},
};

/// One certificate that a CRL lists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Its serial number.
    pub serial: Serial,
    /// What the CRL says about it.
    pub change: Change,
}

/// What an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// The certificate is revoked, or on hold.
    Revoked {
        /// revocationDate, at most 2106-02-07T06:28:15Z.
        time: UnixTime,
        /// reasonCode; [`Reason::Unspecified`] if there is none.
        reason: Reason,
    },
    /// removeFromCRL, in a delta CRL only: no longer on hold, or expired (RFC 5280 section 5.3.1).
    Remove,
}

/// What an entry may contain depends on its CRL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    /// Version 2: extensions are allowed.
    pub(super) extensions: bool,
    /// A delta CRL: removeFromCRL is allowed.
    pub(super) remove: bool,
}

/// Entries in the order of the CRL, without those whose serial number no certificate can have (RFC 5280 section
/// 4.1.2.2): no client can ask for them. All entries were parsed once when the CRL was read, so none can fail here.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    octets: Elements<'a>,
    rules: Rules,
    left: usize,
}

impl<'a> Entries<'a> {
    /// Parses every entry in `octets`. Returns how many there are and how many are skipped, and notes the odd ones; the
    /// error names the first bad one, counted from 1.
    pub(super) fn validate(octets: &'a [u8], rules: Rules, oddities: &mut Oddities) -> Result<(usize, usize), String> {
        let mut entries = Elements::new(octets);
        let (mut taken, mut passed_over) = (0, 0);
        while !entries.is_finished() {
            let number = taken + passed_over + 1;
            let Read { entry, odd } =
                entry(&mut entries, rules).map_err(|problem| format!("entry {number}: {problem}"))?;
            if let Some(odd) = odd {
                oddities.note("entry", number as u64, odd);
            }
            match entry {
                Some(_) => taken += 1,
                None => passed_over += 1,
            }
        }
        Ok((taken, passed_over))
    }

    /// `octets`, `rules` and the number of entries as for [`Entries::validate`].
    pub(super) fn validated(octets: &'a [u8], rules: Rules, left: usize) -> Self {
        Self { octets: Elements::new(octets), rules, left }
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let entry = entry(&mut self.octets, self.rules);
            debug_assert!(entry.is_ok(), "parsed before from the same bytes under the same rules");
            if let Some(entry) = entry.ok()?.entry {
                return Some(entry);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries<'_> {}
impl FusedIterator for Entries<'_> {}

/// An element of revokedCertificates.
struct Read {
    /// `None` if no certificate can have its serial number.
    entry: Option<Entry>,
    /// What was read differently from how the entry writes it.
    odd: Option<&'static str>,
}

/// The next entry.
fn entry(entries: &mut Elements<'_>, rules: Rules) -> Result<Read, String> {
    let mut fields = Elements::new(entries.expect(SEQUENCE).named("SEQUENCE")?);
    let number = fields.expect(INTEGER).named("userCertificate")?;
    let instant = Instant::read(&mut fields, "revocationDate")?;
    let extensions = fields.optional(SEQUENCE).named("crlEntryExtensions")?;
    fields.finish().named("SEQUENCE")?;

    if number.is_empty() {
        return Err("userCertificate: expected an INTEGER of one byte at least".to_owned());
    }
    // A revoked certificate stays revoked: a date out of range becomes the nearest one in range.
    let time = instant.clamped().min(REVOCATION_TIME_MAX);
    let odd = (instant != Instant::Held(time)).then_some(match instant {
        Instant::Before1970 => "has a revocationDate before 1970 (a UTCTime means 1950 to 2049): taken as 1970",
        Instant::Held(_) => "has a revocationDate later than 2106-02-07T06:28:15Z: taken as of then",
    });
    let code = match extensions {
        None => None,
        Some(_) if !rules.extensions => return Err("has extensions, which a CRL of version 1 cannot have".to_owned()),
        Some(extensions) => reason_code(extensions)?,
    };
    let change = match code {
        None => Change::Revoked { time, reason: Reason::Unspecified },
        Some(8) if rules.remove => Change::Remove,
        Some(8) => return Err("reasonCode: removeFromCRL occurs in delta CRLs only (RFC 5280, 5.3.1)".to_owned()),
        Some(code) => {
            let reason = Reason::from_code(code);
            let reason = reason.ok_or_else(|| format!("reasonCode: RFC 5280, 5.3.1, knows no reason {code}"))?;
            Change::Revoked { time, reason }
        }
    };
    Ok(Read { entry: Serial::from_der_content(number).map(|serial| Entry { serial, change }), odd })
}

/// The value of reasonCode, if the entry's extensions have one (RFC 5280 section 5.3).
fn reason_code(extensions: &[u8]) -> Result<Option<u8>, String> {
    let mut code = None;
    for extension in extension::extensions(extensions) {
        let Extension { oid, critical, value } = extension?;
        match oid {
            extension::REASON_CODE => {
                let content = Elements::only(value, ENUMERATED).named("reasonCode")?.rest();
                let &[value] = content else {
                    return Err(format!("reasonCode: expected one byte, found {}", Hex(content)));
                };
                extension::once(&mut code, value, "reasonCode")?;
            }
            // Says when the key was lost; CertStatus of RFC 6960 has no place for it.
            extension::INVALIDITY_DATE => {}
            // Critical or not: the entry would be about another issuer's certificate.
            extension::CERTIFICATE_ISSUER => {
                return Err("certificateIssuer: entries of other issuers (an indirect CRL) are not taken".to_owned());
            }
            _ if critical => return Err(extension::unknown(oid)),
            _ => {}
        }
    }
    Ok(code)
}

/// The bytes of an INTEGER for an error message, at most 24.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..24).unwrap_or(self.0);
        f.write_str("0x")?;
        shown.iter().try_for_each(|octet| write!(f, "{octet:02X}"))?;
        f.write_str(if shown.len() < self.0.len() { "…" } else { "" })
    }
}
