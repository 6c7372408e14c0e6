//! A line of the database of `openssl ca` (`index.txt`).
//!
//! Purpose: says which certificate a line is about, and what the CA says of it. Invariant: a line that does not say both is
//! refused. Other odd values (a date that cannot be represented, an unknown reason) are read with the stricter of their
//! possible meanings, never as *good* if anything indicates a revocation. Pure. It does not know the other lines: neither
//! whether a serial comes twice, nor whether the file is whole ([`super::Listing`]).
//!
//! The format is that of OpenSSL's TXT_DB (`crypto/txt_db/txt_db.c`) with the six fields of
//! `apps/ca.c`, separated by tabs; lines that start with `#` are comments:
//!
//! | field | content |
//! |---|---|
//! | type | `V` valid, `R` revoked, `E` expired; `S` suspended, which OpenSSL names and never writes |
//! | expiry | UTCTime (13 characters) or GeneralizedTime (15), as in the certificate |
//! | revocation | empty, or `time[,reason[,argument]]` for `R` |
//! | serial | hexadecimal |
//! | file name | `unknown` |
//! | subject | one line, in no particular encoding |
//!
//! A tab inside a field has a backslash before it. Nothing else is escaped, not even a backslash.

use std::{fmt, str};

use super::{
    REVOCATION_TIME_MAX,
    listing::{Detail, Line, Listed, Odd},
};
use crate::pki::{Excerpt, Instant, Reason, Record, Serial, Status, UnixTime};

#[cfg(test)]
mod tests;

/// Reads one line.
pub(super) fn read(line: &[u8], odd: &mut Odd) -> Result<Line, String> {
    // TXT_DB_read refuses an empty line; it hides nothing.
    if line.is_empty() || line[0] == b'#' {
        return Ok(Line::Comment);
    }
    Ok(listed(line, odd)?.map_or(Line::PassedOver, Line::Listed))
}

/// Reads one line that is no comment; `None` if no certificate can have its serial number.
fn listed(line: &[u8], odd: &mut Odd) -> Result<Option<Listed>, String> {
    if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
        return Err("is UTF-16 text: expected ASCII or UTF-8, as `openssl ca` writes it; convert it with `iconv -f UTF-16 -t UTF-8`".to_owned());
    }
    let (mut rest, mut found) = (line, 0);
    let mut field = || {
        found += 1;
        let field;
        (field, rest) = split_field(rest).ok_or_else(|| too_few_fields(line, found))?;
        Ok::<_, String>(field)
    };
    let (kind, expiry, revocation, serial, file) = (field()?, field()?, field()?, field()?, field()?);
    // The subject is by far the longest field and rarely has a tab of either kind; `contains` scans it a word at a
    // time.
    if rest.contains(&b'\t') && split_field(rest).is_some() {
        odd.get_or_insert_with(|| "has more than six fields: everything after the fifth is ignored".to_owned());
    }
    // Nothing here uses the file name, whatever its encoding. Zero bytes come from a damaged disk.
    if file.contains(&0) {
        return Err(format!("has `{}` as the file name: expected text, mostly `unknown`", Field(file)));
    }
    // A file with carriage returns as line ends would hide records in a subject.
    if rest.contains(&b'\r') && rest.split(|octet| *octet == b'\r').skip(1).any(begins_a_record) {
        return Err("has another record after a carriage return: expected a newline after each".to_owned());
    }
    let not_after = match end_of_validity(expiry, odd) {
        // A revoked certificate stays revoked, whenever its validity ends.
        Err(problem) if kind == b"R" => {
            odd.get_or_insert(problem);
            None
        }
        read => read?,
    };
    let record = Record { status: status(kind, revocation, odd)?, not_after };
    Ok(serial_number(serial, odd)?.map(|serial| Listed { serial, record }))
}

/// What a line says beside its record: the time of a compromise, behind the reasons keyTime and CAkeyTime.
pub(super) fn detail(line: &[u8]) -> Detail {
    let revocation = line.split(|octet| *octet == b'\t').nth(2).unwrap_or_default();
    let mut parts = revocation.splitn(3, |octet| *octet == b',').skip(1);
    let (reason, argument) = (parts.next().unwrap_or_default().trim_ascii(), parts.next().unwrap_or_default());
    let is_timed = [&b"keyTime"[..], b"CAkeyTime"].iter().any(|timed| reason.eq_ignore_ascii_case(timed));
    let invalid_since = match Instant::from_asn1_text(argument.trim_ascii()) {
        Some(Instant::Held(time)) if is_timed => Some(time),
        _ => None,
    };
    Detail { invalid_since, sha256: None }
}

/// The fifth field, which programs other than this one fill with `unknown` mostly.
pub(super) fn file_name(line: &[u8]) -> &[u8] {
    line.split(|octet| *octet == b'\t').nth(4).unwrap_or_default()
}

fn begins_a_record(text: &[u8]) -> bool {
    matches!(text, [b'V' | b'R' | b'E' | b'S', b'\t', ..])
}

/// A field as a message shows it. A value longer than any field needs is not shown: the file may be a different one,
/// with a key in it.
pub(super) struct Field<'a>(pub(super) &'a [u8]);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 24;
        match self.0.len() {
            ..=SHOWN_MAX => Excerpt(self.0).fmt(f),
            length => write!(f, "a text of {length} bytes"),
        }
    }
}

fn too_few_fields(line: &[u8], found: usize) -> String {
    if !line.contains(&b'\t') && matches!(line, [b'V' | b'R' | b'E', b' ', ..]) {
        return "has spaces instead of tabs between its fields, like text copied from a terminal: use the file itself"
            .to_owned();
    }
    format!("has {found} of the six fields (type, expiry, revocation, serial, file, subject), with tabs between them")
}

/// The second field. `None` if it cannot be represented: the record then has no end, and its status stays the same.
fn end_of_validity(text: &[u8], odd: &mut Odd) -> Result<Option<UnixTime>, String> {
    match Instant::from_asn1_text(text) {
        Some(Instant::Held(time)) => return Ok(Some(time)),
        // Other forms of the two types, and days that no month has.
        None if !looks_like_a_date(text) => {
            return Err(format!("expires `{}`: expected YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ, from 1970 on", Field(text)));
        }
        Some(Instant::Before1970) | None => {}
    }
    odd.get_or_insert_with(|| {
        format!(
            "expires `{}`, which is before 1970 (two digits mean 1950 to 2049) or no date: taken as without an end",
            Field(text)
        )
    });
    Ok(None)
}

/// At least ten digits, and then only characters that occur in some form of a date.
fn looks_like_a_date(text: &[u8]) -> bool {
    const CHARACTERS_MAX: usize = 24;
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let rest = &text[digits..];
    digits >= 10
        && text.len() <= CHARACTERS_MAX
        && rest.iter().all(|octet| octet.is_ascii_digit() || b"Z+-.,".contains(octet))
}

/// The bytes before and after the first tab that has no backslash before it.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // As in TXT_DB_read: a backslash does not escape a backslash.
    let mut escaped = false;
    let tab = line.iter().position(|&octet| {
        let separates = octet == b'\t' && !escaped;
        escaped = octet == b'\\';
        separates
    })?;
    Some((&line[..tab], &line[tab + 1..]))
}

fn serial_number(text: &[u8], odd: &mut Odd) -> Result<Option<Serial>, String> {
    // OpenSSL writes a minus sign before a negative number.
    let digits = |text: &[u8]| {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit)
    };
    let number = |text: &[u8]| str::from_utf8(text).ok().and_then(Serial::from_hex);
    if digits(text) {
        return Ok(number(text));
    }
    // As other programs show serial numbers.
    let trimmed = text.trim_ascii();
    let bare = trimmed.strip_prefix(b"0x").or_else(|| trimmed.strip_prefix(b"0X")).unwrap_or(trimmed);
    let bare: Vec<u8> = bare.split(|octet| *octet == b':').collect::<Vec<_>>().concat();
    if !digits(&bare) {
        return Err(format!("has the serial number `{}`: expected hexadecimal digits", Field(text)));
    }
    odd.get_or_insert_with(|| format!("has the serial number `{}`: taken as its hexadecimal digits", Field(text)));
    Ok(number(&bare))
}

fn status(kind: &[u8], revocation: &[u8], odd: &mut Odd) -> Result<Status, String> {
    match kind {
        b"R" => Ok(revoked(revocation, odd)),
        b"V" | b"E" if revocation.is_empty() => Ok(Status::Good),
        // Somebody may have released it by changing only the letter, or revoked it by adding only the time. The
        // stricter meaning counts, and a hold can still be released once the line is clear.
        b"V" | b"E" | b"S" => {
            odd.get_or_insert_with(|| {
                format!(
                    "is of type {} and has the revocation `{}`: taken as on hold; write type R to revoke it, or an empty \
                     third field and type V if it is valid",
                    Field(kind),
                    Field(revocation)
                )
            });
            let time = match revoked(revocation, odd) {
                Status::Revoked { time, .. } => time,
                Status::Good => UnixTime(0),
            };
            Ok(Status::Revoked { time, reason: Reason::CertificateHold })
        }
        _ => Err(format!("is of type `{}`: expected V (valid), R (revoked) or E (expired)", Field(kind))),
    }
}

/// `time[,reason[,argument]]`, split as `unpack_revinfo` in OpenSSL's `apps/ca.c` does. The certificate is revoked,
/// however odd the time and reason are: a time out of range becomes the nearest one in range, and text that is no time
/// becomes 1970.
fn revoked(revocation: &[u8], odd: &mut Odd) -> Status {
    let mut parts = revocation.splitn(3, |&octet| octet == b',');
    let (text, reason, argument) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let instant = Instant::from_asn1_text(text);
    let time = instant.map_or(UnixTime(0), Instant::clamped).min(REVOCATION_TIME_MAX);
    if instant != Some(Instant::Held(time)) {
        odd.get_or_insert_with(|| {
            format!(
                "was revoked at `{}`: expected YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ from 1970 to {REVOCATION_TIME_MAX}; taken \
                 as revoked at {time}",
                Field(text)
            )
        });
    }
    let reason = reason.map_or(Reason::Unspecified, |name| reason_named(name, argument.unwrap_or_default(), odd));
    Status::Revoked { time, reason }
}

/// OpenSSL's names of the reasons, in any case, and its three pseudo reasons. Those have an argument (the hold
/// instruction, the time of the compromise) that OCSP has no place for. After another reason OpenSSL ignores an
/// argument, and so does this.
fn reason_named(text: &[u8], argument: &[u8], odd: &mut Odd) -> Reason {
    let name = text.trim_ascii();
    if let Some(reason) = Reason::ALL.into_iter().find(|reason| name.eq_ignore_ascii_case(reason.name().as_bytes())) {
        return reason;
    }
    let pseudo: [(&[u8], Reason); 3] = [
        (b"holdInstruction", Reason::CertificateHold),
        (b"keyTime", Reason::KeyCompromise),
        (b"CAkeyTime", Reason::CaCompromise),
    ];
    let found = pseudo.into_iter().find(|(pseudo, _)| name.eq_ignore_ascii_case(pseudo)).map(|(_, reason)| reason);
    let reason = match found {
        Some(reason) if !argument.is_empty() => return reason,
        Some(reason) => reason,
        // It only applies to a certificate on hold, and in a delta CRL: a line of type R says that it is still revoked.
        None if name.eq_ignore_ascii_case(b"removeFromCRL") => Reason::CertificateHold,
        None => Reason::Unspecified,
    };
    odd.get_or_insert_with(|| {
        format!(
            "is revoked with the reason `{}`: expected one of RFC 5280, 5.3.1, like keyCompromise, with its argument where \
             it needs one; taken as {} (a certificate that is off hold has type V and no revocation)",
            Field(text),
            reason.name()
        )
    });
    reason
}
