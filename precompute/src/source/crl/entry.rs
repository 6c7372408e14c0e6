//! The entries of a CRL: `revokedCertificates` of RFC 5280 section 5.1.2.6.
//!
//! Invariant: no entry is read towards good. An odd value (a date or a reason that is none) is read as the stricter of what
//! it can mean, and told; an entry that is no entry, or has a critical extension that is not understood, refuses the CRL.
//! An entry about another CA's certificate says nothing. It does not know the time or other CRLs.

use std::iter::FusedIterator;

use super::{
    Oddities, REVOCATION_TIME_MAX,
    date::Date,
    extension::{self, Extension},
};
use crate::pki::{
    Instant, Reason, Serial, UnixTime,
    elements::{Elements, Named},
    is_same_name,
    tag::{DIRECTORY_NAME, ENUMERATED, INTEGER, SEQUENCE},
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

/// How the entries of one CRL are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules<'a> {
    /// Version 2: extensions are allowed.
    pub(super) extensions: bool,
    /// A delta CRL: removeFromCRL is allowed.
    pub(super) remove: bool,
    /// The CA's Name, DER.
    pub(super) ca: &'a [u8],
    /// Whether entries are about the CA's certificates until one says whose (RFC 5280 section 5.3.3): the CRL is the CA's
    /// own.
    pub(super) of_ca: bool,
}

/// Entries about certificates of the CA, in the order of the CRL, without those whose serial number no certificate can
/// have (RFC 5280 section 4.1.2.2): no client can ask for them. All entries were parsed once when the CRL was read, so
/// none can fail here.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    reader: Reader<'a>,
    left: usize,
}

/// How many entries a CRL has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counts {
    /// Those that count.
    pub(super) taken: usize,
    /// Those whose serial number no certificate can have.
    pub(super) passed_over: usize,
    /// Those of other CAs.
    pub(super) of_others: usize,
}

impl<'a> Entries<'a> {
    /// Parses every entry in `octets` and counts them. The odd ones are noted; the error names the first bad one, counted
    /// from 1.
    pub(super) fn validate(octets: &'a [u8], rules: Rules<'a>, oddities: &mut Oddities) -> Result<Counts, String> {
        let mut reader = Reader::new(octets, rules);
        let mut counts = Counts::default();
        for number in 1.. {
            let Some(read) = reader.next() else { break };
            let Read { whose, odd, .. } = read.map_err(|problem| format!("entry {number}: {problem}"))?;
            if let Some(odd) = odd {
                oddities.note("entry", number, odd);
            }
            match whose {
                Whose::Ca(_) => counts.taken += 1,
                Whose::Nobody => counts.passed_over += 1,
                Whose::Other => counts.of_others += 1,
            }
        }
        Ok(counts)
    }

    /// `octets`, `rules` and the number of entries as for [`Entries::validate`].
    pub(super) fn validated(octets: &'a [u8], rules: Rules<'a>, left: usize) -> Self {
        Self { reader: Reader::new(octets, rules), left }
    }
}

impl Entries<'_> {
    /// The next one, with its invalidityDate.
    pub fn next_dated(&mut self) -> Option<(Entry, Option<UnixTime>)> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let read = self.reader.next()?;
            debug_assert!(read.is_ok(), "parsed before from the same bytes under the same rules");
            let Read { whose, invalid_since, .. } = read.ok()?;
            if let Whose::Ca(entry) = whose {
                return Some((entry, invalid_since));
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.next_dated().map(|(entry, _)| entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries<'_> {}
impl FusedIterator for Entries<'_> {}

/// An element of revokedCertificates.
struct Read {
    whose: Whose,
    /// What was read differently from how the entry writes it.
    odd: Option<&'static str>,
    /// invalidityDate, if it is one.
    invalid_since: Option<UnixTime>,
}

/// Whose certificate it is about.
enum Whose {
    Ca(Entry),
    /// No certificate can have its serial number.
    Nobody,
    Other,
}

/// Reads one entry after the other.
#[derive(Clone, Debug)]
struct Reader<'a> {
    octets: Elements<'a>,
    rules: Rules<'a>,
    /// Whether the next entry is about a certificate of the CA, unless it says whose. What one says holds for those behind
    /// it (RFC 5280 section 5.3.3).
    of_ca: bool,
}

impl<'a> Reader<'a> {
    fn new(octets: &'a [u8], rules: Rules<'a>) -> Self {
        Self { octets: Elements::new(octets), rules, of_ca: rules.of_ca }
    }

    fn next(&mut self) -> Option<Result<Read, String>> {
        (!self.octets.is_finished()).then(|| self.entry())
    }

    fn entry(&mut self) -> Result<Read, String> {
        let mut fields = Elements::new(self.octets.expect(SEQUENCE).named("SEQUENCE")?);
        let number = fields.expect(INTEGER).named("userCertificate")?;
        let (time, mut odd) = revocation_date(&mut fields)?;
        let extensions = fields.optional(SEQUENCE).named("crlEntryExtensions")?;
        fields.finish().named("SEQUENCE")?;
        let mut change = Change::Revoked { time, reason: Reason::Unspecified };
        let mut invalid_since = None;
        if let Some(extensions) = extensions {
            if !self.rules.extensions {
                odd = Some("has extensions, which a CRL of version 1 cannot have: they count");
            }
            let said = Said::read(extensions, self.rules.ca)?;
            self.of_ca = said.of_ca.unwrap_or(self.of_ca);
            invalid_since = said.invalid_since;
            change = match (said.reason, self.rules.remove) {
                (None, _) => change,
                (Some(Code::Reason(reason)), _) => Change::Revoked { time, reason },
                (Some(Code::Remove), true) => Change::Remove,
                (Some(Code::Remove), false) => {
                    odd = Some("has the reason removeFromCRL, which only delta CRLs have: taken as on hold");
                    Change::Revoked { time, reason: Reason::CertificateHold }
                }
                (Some(Code::Unknown), _) => {
                    odd = Some("has a reasonCode that RFC 5280 does not know (5.3.1): taken as unspecified");
                    change
                }
            };
        }
        let whose = match Serial::from_der_content(number) {
            _ if !self.of_ca => Whose::Other,
            Some(serial) => Whose::Ca(Entry { serial, change }),
            None => Whose::Nobody,
        };
        Ok(Read { whose, odd, invalid_since })
    }
}

/// A revoked certificate stays revoked: a date out of range becomes the nearest one in range, and what is no date the
/// earliest.
fn revocation_date(fields: &mut Elements<'_>) -> Result<(UnixTime, Option<&'static str>), String> {
    let Ok(Date { instant, is_odd }) = Date::read(fields, "revocationDate")? else {
        return Ok((UnixTime(0), Some("has a revocationDate that is no date: taken as 1970")));
    };
    let time = instant.clamped().min(REVOCATION_TIME_MAX);
    let odd = match instant {
        Instant::Before1970 => Some("has a revocationDate before 1970 (a UTCTime means 1950 to 2049): taken as 1970"),
        Instant::Held(held) if held > time => {
            Some("has a revocationDate later than 2106-02-07T06:28:15Z: taken as of then")
        }
        Instant::Held(_) => is_odd.then_some("has a revocationDate in a form that RFC 5280 does not allow (4.1.2.5)"),
    };
    Ok((time, odd))
}

/// What the extensions of an entry say (RFC 5280 section 5.3).
#[derive(Default)]
struct Said {
    reason: Option<Code>,
    /// Whether the entry is about a certificate of the CA.
    of_ca: Option<bool>,
    invalid_since: Option<UnixTime>,
}

/// reasonCode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Reason(Reason),
    Remove,
    /// None that there is, or two that differ.
    Unknown,
}

impl Said {
    /// `ca`: the CA's Name, DER.
    fn read(extensions: &[u8], ca: &[u8]) -> Result<Self, String> {
        let mut said = Self::default();
        for extension in extension::extensions(extensions) {
            let Extension { oid, critical, value } = extension?;
            match oid {
                extension::REASON_CODE => {
                    let code = Code::read(value);
                    said.reason =
                        Some(if said.reason.is_none_or(|before| before == code) { code } else { Code::Unknown });
                }
                extension::INVALIDITY_DATE => said.invalid_since = invalidity_date(value),
                // Critical or not: the entry is about that issuer's certificate.
                extension::CERTIFICATE_ISSUER => said.of_ca = Some(names(value, ca)?),
                _ if critical => return Err(extension::unknown(oid)),
                _ => {}
            }
        }
        Ok(said)
    }
}

impl Code {
    fn read(value: &[u8]) -> Self {
        match Elements::only(value, ENUMERATED).map(Elements::rest) {
            Ok([8]) => Self::Remove,
            Ok(&[code]) => Reason::from_code(code).map_or(Self::Unknown, Self::Reason),
            _ => Self::Unknown,
        }
    }
}

/// When the key was lost. It decides nothing, so what is no date is passed over.
fn invalidity_date(value: &[u8]) -> Option<UnixTime> {
    match Date::read(&mut Elements::new(value), "invalidityDate") {
        Ok(Ok(Date { instant: Instant::Held(time), .. })) => Some(time),
        _ => None,
    }
}

/// Whether a certificateIssuer names the CA. One that names nobody is refused: whom the entries behind it are about would
/// be a guess.
fn names(value: &[u8], ca: &[u8]) -> Result<bool, String> {
    const WHAT: &str = "certificateIssuer";
    let mut names = Elements::only(value, SEQUENCE).named(WHAT)?;
    let (mut is_ca, mut any) = (false, false);
    while !names.is_finished() {
        let name = names.any().named(WHAT)?;
        if name.tag == DIRECTORY_NAME {
            any = true;
            is_ca |= is_same_name(name.content, ca);
        }
    }
    if any { Ok(is_ca) } else { Err(format!("{WHAT}: expected a directoryName (RFC 5280, 5.3.3)")) }
}
