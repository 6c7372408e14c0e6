//! The database of `openssl ca` (`index.txt`), read line by line.
//!
//! Purpose: one [`Listed`] for each certificate that the CA has issued. Invariant: a line is
//! taken only if it is whole and every field of it makes sense to OpenSSL, and the first one that
//! is not ends the reading, so that a database with a bad line never counts as a shorter database. A serial number that
//! is 0, negative or over 20 octets is passed over and counted: nobody can ask for it (RFC 5280 section 4.1.2.2).
//! It does not know whether a serial comes twice, nor what was read before: `openssl ca` replaces the file
//! by renaming a new one over it, so an open [`Index`] keeps reading the state it began with.
//!
//! The format is that of OpenSSL's TXT_DB (`crypto/txt_db/txt_db.c`) with the six fields of
//! `apps/ca.c`, separated by tabs; lines that start with `#` are comments:
//!
//! | field | content |
//! |---|---|
//! | type | `V` valid, `R` revoked, `E` expired |
//! | expiry | UTCTime (13 characters) or GeneralizedTime (15), as in the certificate |
//! | revocation | empty, or `time[,reason[,argument]]` for `R` |
//! | serial | hexadecimal |
//! | file name | `unknown` |
//! | subject | one line, in no particular encoding |
//!
//! A tab inside a field has a backslash before it. Nothing else is escaped, a backslash neither.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    iter::FusedIterator,
    path::{Path, PathBuf},
    str,
    time::SystemTime,
};

use super::{Excerpt, REVOCATION_TIME_MAX, SourceError};
use crate::{
    limits,
    pki::{Reason, Record, Serial, Status, UnixTime, open_regular},
};

#[cfg(test)]
mod tests;

/// Octets asked of the file at a time: about a thousand lines, so that system calls do not show.
const READ_OCTETS: usize = 128 << 10;

/// One certificate that the CA lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its serial number.
    pub serial: Serial,
    /// What the CA says of it.
    pub record: Record,
}

/// An iterator over the lines of an `index.txt`. It ends after its first error.
#[derive(Debug)]
pub struct Index<R = BufReader<File>> {
    reader: R,
    path: PathBuf,
    line: Vec<u8>,
    /// Lines read so far: the number of the one in `line`.
    number: u64,
    ended: bool,
    passed_over: u64,
    /// Length and time of the last change when the file was opened.
    opened: Option<(u64, SystemTime)>,
}

impl Index {
    /// Opens the file; nothing is read yet.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let file = open_regular(path).map_err(|error| SourceError::file(path, unreadable(&error)))?;
        let opened = length_and_change(&file);
        Ok(Self { opened, ..Self::new(BufReader::with_capacity(READ_OCTETS, file), path) })
    }

    /// Whether the open file is as it was when it was opened. That another file has its name by now
    /// does not matter: `openssl ca` replaces its database whole, and what is open is one whole version.
    pub fn is_steady(&self) -> bool {
        self.opened.is_some() && self.opened == length_and_change(self.reader.get_ref())
    }
}

fn length_and_change(file: &File) -> Option<(u64, SystemTime)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

impl<R: BufRead> Index<R> {
    /// How many lines were passed over so far for a serial number that no certificate can have.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Reads from `reader`; `path` is what errors name.
    pub fn new(reader: R, path: &Path) -> Self {
        Self {
            reader,
            path: path.to_owned(),
            line: Vec::with_capacity(1024),
            number: 0,
            ended: false,
            passed_over: 0,
            opened: None,
        }
    }

    /// Puts the next line into `self.line`, without its end. `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool, SourceError> {
        self.line.clear();
        let limit = limits::INDEX_LINE_OCTETS_MAX;
        // One octet more than allowed, for the newline.
        let mut bounded = (&mut self.reader).take(limit as u64 + 1);
        let read = bounded.read_until(b'\n', &mut self.line);
        if read.map_err(|error| SourceError::file(&self.path, unreadable(&error)))? == 0 {
            return Ok(false);
        }
        self.number += 1;
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            return Err(self.refused(if self.line.len() > limit {
                format!("is longer than the {limit} octets allowed")
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
            if self.line.first() != Some(&b'#') {
                match listed(&self.line) {
                    Ok(Some(listed)) => return Ok(Some(listed)),
                    Ok(None) => self.passed_over += 1,
                    Err(problem) => return Err(self.refused(problem)),
                }
            }
        }
        Ok(None)
    }

    /// `problem` with the line read last.
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

/// One line, which is no comment; `None` if its serial number is one that no certificate can have.
fn listed(line: &[u8]) -> Result<Option<Listed>, String> {
    if line.is_empty() {
        // TXT_DB_read refuses it too.
        return Err("is empty: expected six fields with tabs between them".to_owned());
    }
    let (mut rest, mut found) = (line, 0);
    let mut field = || {
        found += 1;
        let field;
        (field, rest) = split_field(rest).ok_or_else(|| {
            format!("has {found} of the six fields (type, expiry, revocation, serial, file, subject)")
        })?;
        Ok::<_, String>(field)
    };
    let (kind, expiry, revocation, serial, file) = (field()?, field()?, field()?, field()?, field()?);
    // The subject is the longest field by far and rarely has a tab of either kind; `contains` goes
    // over it a word at a time.
    if rest.contains(&b'\t') && split_field(rest).is_some() {
        return Err("has more than six fields: a tab inside a field needs a backslash before it".to_owned());
    }
    if file.contains(&0) || str::from_utf8(file).is_err() {
        return Err(format!("has `{}` as the file name: expected UTF-8 text, mostly `unknown`", Excerpt(file)));
    }
    let not_after = UnixTime::from_asn1_text(expiry).ok_or_else(|| {
        format!("expires `{}`: expected YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ, from 1970 on", Excerpt(expiry))
    })?;
    let record = Record { status: status(kind, revocation)?, not_after: Some(not_after) };
    Ok(serial_number(serial)?.map(|serial| Listed { serial, record }))
}

/// The octets before the first tab that has no backslash before it, and those after it.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // As TXT_DB_read: a backslash is not escaped by one before it.
    let mut escaped = false;
    let tab = line.iter().position(|&octet| {
        let separates = octet == b'\t' && !escaped;
        escaped = octet == b'\\';
        separates
    })?;
    Some((&line[..tab], &line[tab + 1..]))
}

fn serial_number(text: &[u8]) -> Result<Option<Serial>, String> {
    // OpenSSL writes a minus before a negative one.
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(format!("has the serial number `{}`: expected hexadecimal digits", Excerpt(text)));
    }
    Ok(str::from_utf8(text).ok().and_then(Serial::from_hex))
}

fn status(kind: &[u8], revocation: &[u8]) -> Result<Status, String> {
    match kind {
        b"R" if revocation.is_empty() => {
            Err("is of type R (revoked) without a revocation time: expected `time[,reason]` in the third field"
                .to_owned())
        }
        b"R" => revoked(revocation),
        b"V" | b"E" if revocation.is_empty() => Ok(Status::Good),
        b"V" | b"E" => Err(format!(
            "is of type {} and yet has the revocation `{}`: expected the type R, or an empty third field",
            Excerpt(kind),
            Excerpt(revocation)
        )),
        _ => Err(format!("is of type `{}`: expected V (valid), R (revoked) or E (expired)", Excerpt(kind))),
    }
}

/// `time[,reason[,argument]]`, as `unpack_revinfo` in OpenSSL's `apps/ca.c` takes it apart.
fn revoked(revocation: &[u8]) -> Result<Status, String> {
    let mut parts = revocation.splitn(3, |&octet| octet == b',');
    let (text, reason, argument) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let time = UnixTime::from_asn1_text(text).ok_or_else(|| {
        format!("was revoked at `{}`: expected YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ, from 1970 on", Excerpt(text))
    })?;
    if time > REVOCATION_TIME_MAX {
        return Err(format!("was revoked at {time}: expected no time after {REVOCATION_TIME_MAX}"));
    }
    let reason = reason.map_or(Ok(Reason::Unspecified), |name| reason_named(name, argument.unwrap_or_default()))?;
    Ok(Status::Revoked { time, reason })
}

/// OpenSSL's names of the reasons, in any case, and its three pseudo reasons. Those need an
/// argument (the hold instruction, the time of the compromise) that OCSP has no place for;
/// after another reason OpenSSL passes over an argument, and so does this.
fn reason_named(name: &[u8], argument: &[u8]) -> Result<Reason, String> {
    if let Some(reason) = Reason::ALL.into_iter().find(|reason| name.eq_ignore_ascii_case(reason.name().as_bytes())) {
        return Ok(reason);
    }
    let pseudo: [(&[u8], Reason); 3] = [
        (b"holdInstruction", Reason::CertificateHold),
        (b"keyTime", Reason::KeyCompromise),
        (b"CAkeyTime", Reason::CaCompromise),
    ];
    match pseudo.into_iter().find(|(pseudo, _)| name.eq_ignore_ascii_case(pseudo)) {
        Some((_, reason)) if !argument.is_empty() => Ok(reason),
        Some((name, _)) => {
            Err(format!("has the reason {0} without its argument: expected `time,{0},argument`", Excerpt(name)))
        }
        None if name.eq_ignore_ascii_case(b"removeFromCRL") => {
            Err("has the reason removeFromCRL, which is an instruction in a delta CRL and no state of a \
                 certificate: expected type V and no revocation for one that is off hold"
                .to_owned())
        }
        None => Err(format!("has the reason `{}`: expected one of RFC 5280, 5.3.1, like keyCompromise", Excerpt(name))),
    }
}
