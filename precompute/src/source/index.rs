//! The database of `openssl ca` (`index.txt`), read line by line.
//!
//! Purpose: one [`Listed`] for each certificate that the CA has issued. Invariant: a line is taken only if it is whole,
//! and says which certificate it is about and whether that is valid. The first line that does not ends the reading, so
//! a database with a bad line never counts as a shorter database. Only [`Index::readable`] reads on: its caller wants
//! the revocations in the other lines. Other odd values (a date that cannot be represented, an unknown reason) spoil
//! nothing else. They are read with the stricter of their possible meanings, never as *good* if anything indicates a
//! revocation, and are counted ([`Index::oddities`]). A serial number that is 0, negative or over 20 bytes is skipped
//! and counted: nobody can ask for it (RFC 5280 section 4.1.2.2).
//!
//! It does not know whether a serial comes twice. `openssl ca` replaces the file by renaming a new one over it, so an
//! open [`Index`] keeps reading the state it began with; another program may write the open file, and [`prefix`] says
//! whether what was read is one state of it. [`mark`] is where the next read may begin.
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

use std::{
    fmt,
    io::{self, BufRead, Read as _},
    iter::FusedIterator,
    path::{Path, PathBuf},
    str,
};

use self::prefix::Proved;
pub use self::{
    mark::Mark,
    prefix::{Digest, Ended, Prefix},
};
use super::{Oddities, REVOCATION_TIME_MAX, SourceError};
use crate::{
    limits,
    pki::{Excerpt, Instant, Reason, Record, Serial, Status, UnixTime, open_regular},
};

mod mark;
mod prefix;
#[cfg(test)]
mod tests;

/// One certificate that the CA lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its serial number.
    pub serial: Serial,
    /// What the CA says about it.
    pub record: Record,
}

/// An iterator over the lines of an `index.txt`. It ends after its first error.
#[derive(Debug)]
pub struct Index<R = Prefix> {
    reader: R,
    path: PathBuf,
    line: Vec<u8>,
    /// Lines read so far: the number of the one in `line`.
    number: u64,
    ended: bool,
    /// Whether the last line has no line end.
    is_cut: bool,
    /// Whether that is because the file ends in it.
    is_half: bool,
    /// Whether every line was read, and whether one was refused.
    is_read: bool,
    is_refused: bool,
    listed: u64,
    passed_over: u64,
    oddities: Oddities,
    /// What [`Index::ended`] has found.
    proved: Option<Proved>,
}

impl Index {
    /// Opens the file, to be read up to the length that it has now; nothing is read yet.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self::new(opened(path, None)?, path))
    }

    /// Opens the file to read what was appended since `mark`; `None` if its lines are another beginning. Whether all of
    /// it is as it was, [`Index::ended`] says. Counts and line numbers go on from those of the mark.
    pub fn open_after(path: &Path, mark: &Mark) -> Result<Option<Self>, SourceError> {
        let prefix = opened(path, Some(mark.digest()))?;
        Ok(mark.may_precede(&prefix).then(|| Self {
            number: mark.lines,
            listed: mark.listed,
            passed_over: mark.passed_over,
            oddities: mark.oddities.clone(),
            ..Self::new(prefix, path)
        }))
    }

    /// Says whether the whole lines that were read, with those of the mark before them, are one state of the file. To
    /// be called when nothing more is to be read.
    pub fn ended(&mut self) -> Ended {
        // What cannot be read again proves nothing.
        let (ended, proved) = self.reader.prove().unwrap_or((Ended::Torn, None));
        self.proved = proved;
        ended
    }

    /// Whether the last change of the file was long enough before [`Index::ended`] that another one would have shown.
    pub fn is_settled(&self) -> bool {
        self.proved.is_some_and(|proved| proved.settled)
    }

    /// Whether the last line was still without its end when the file was opened. It is not among those that were read.
    pub fn ends_in_half_a_line(&self) -> bool {
        self.is_half
    }

    /// A hash of all bytes of a file, which need not be an index, up to the length that it has now.
    pub fn hash_of(path: &Path) -> Result<Digest, SourceError> {
        mark::hash_of(path).map_err(|error| SourceError::file(path, unreadable(&error)))
    }
}

fn opened(path: &Path, before: Option<Digest>) -> Result<Prefix, SourceError> {
    let prefix = open_regular(path).and_then(|file| Prefix::new(file, before));
    prefix.map_err(|error| SourceError::file(path, unreadable(&error)))
}

impl<R: BufRead> Index<R> {
    /// How many certificates were listed so far.
    pub fn listed(&self) -> u64 {
        self.listed
    }

    /// How many lines were skipped so far because no certificate can have their serial number.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// What was read so far differently from how the file writes it.
    pub fn oddities(&self) -> Option<&Oddities> {
        self.oddities.any()
    }

    /// Reads from `reader`; errors name `path`.
    pub fn new(reader: R, path: &Path) -> Self {
        Self {
            reader,
            path: path.to_owned(),
            line: Vec::with_capacity(1024),
            number: 0,
            ended: false,
            is_cut: false,
            is_half: false,
            is_read: false,
            is_refused: false,
            listed: 0,
            passed_over: 0,
            oddities: Oddities::default(),
            proved: None,
        }
    }

    /// Reads the next line into `self.line`, without its line end. `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool, SourceError> {
        self.line.clear();
        let limit = limits::INDEX_LINE_OCTETS_MAX;
        // One byte more than allowed, for the newline.
        let mut bounded = (&mut self.reader).take(limit as u64 + 1);
        let read = bounded.read_until(b'\n', &mut self.line);
        if read.map_err(|error| SourceError::file(&self.path, unreadable(&error)))? == 0 {
            self.is_read = true;
            return Ok(false);
        }
        self.number += 1;
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            self.is_cut = true;
            self.is_half = self.line.len() <= limit;
            self.is_read = self.is_half;
            return Err(self.refused(if self.line.len() > limit {
                format!("is longer than the {limit} bytes allowed")
            } else {
                "ends in the middle of a line: the file is half-written, expected a newline after the last line"
                    .to_owned()
            }));
        }
        // OpenSSL on Windows ends lines in CR LF.
        self.line.pop_if(|last| *last == b'\r');
        Ok(true)
    }

    fn read_listed(&mut self) -> Result<Option<Listed>, SourceError> {
        while self.read_line()? {
            // Editors put a byte order mark at the beginning, and it stays there when files are joined.
            let line = self.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.line);
            // TXT_DB_read refuses an empty line; it hides nothing.
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let mut odd = None;
            let read = listed(line, &mut odd);
            if let (Ok(_), Some(odd)) = (&read, odd) {
                self.oddities.note("line", self.number, &odd);
            }
            match read {
                Ok(Some(listed)) => {
                    self.listed += 1;
                    return Ok(Some(listed));
                }
                Ok(None) => self.passed_over += 1,
                Err(problem) => {
                    self.is_refused = true;
                    return Err(self.refused(problem));
                }
            }
        }
        Ok(None)
    }

    /// The readable lines of a database that is refused, without the others.
    pub fn readable(&mut self) -> impl Iterator<Item = Listed> + '_ {
        std::iter::from_fn(move || {
            loop {
                let before = self.number;
                match self.read_listed() {
                    Ok(listed) => return listed,
                    // The file cannot be read any further, or it ends here.
                    Err(_) if self.number == before || self.is_cut => return None,
                    Err(_) => {}
                }
            }
        })
    }

    /// `problem`: about the last line that was read.
    fn refused(&self, problem: String) -> SourceError {
        SourceError::line(&self.path, self.number, problem)
    }
}

impl<R: BufRead> Iterator for Index<R> {
    type Item = Result<Listed, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_listed();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl<R: BufRead> FusedIterator for Index<R> {}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// What is odd about a line that is taken all the same: the first finding.
type Odd = Option<String>;

/// Reads one line that is no comment; `None` if no certificate can have its serial number.
fn listed(line: &[u8], odd: &mut Odd) -> Result<Option<Listed>, String> {
    if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
        return Err("is UTF-16 text: expected ASCII or UTF-8, as `openssl ca` writes it".to_owned());
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

fn begins_a_record(text: &[u8]) -> bool {
    matches!(text, [b'V' | b'R' | b'E' | b'S', b'\t', ..])
}

/// A field as a message shows it. A value longer than any field needs is not shown: the file may be a different one,
/// with a key in it.
struct Field<'a>(&'a [u8]);

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
