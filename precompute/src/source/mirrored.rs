//! A line of the mirror of a database or a directory, where a later line takes the place of an earlier one.
//!
//! Purpose: a feeder mirrors what lists certificates into a file ([`Form::Mirrored`](super::Form)): all of them, the line
//! [`CHANGES`], and behind that each that has changed since. Its lines are those of `openssl ca` ([`super::index`]). Invariant:
//! of each certificate the last line counts, also where that is milder: who keeps the list has released it. It does not know
//! where the lines are from.

use std::collections::HashMap;

use super::{
    index,
    listing::{Detail, Line, Listed, Odd},
};
use crate::pki::{Record, Serial, Status, UnixTime, hex};

/// How a mirror begins.
pub const BEGINNING: &str =
    "# what a database or a directory lists, and behind the next such line what has changed since\n";

/// The line in front of what has changed since.
pub const CHANGES: &str = "# changes\n";

/// What the file name of a line begins with that has the SHA-256 hash of the certificate, in hexadecimal.
const HASH: &str = "sha256:";

/// What a line says beside its record.
pub(super) fn detail(line: &[u8]) -> Detail {
    let digits = index::file_name(line).strip_prefix(HASH.as_bytes()).and_then(|digits| str::from_utf8(digits).ok());
    Detail { sha256: digits.and_then(hex::array), ..index::detail(line) }
}

/// What is known of the lines behind [`CHANGES`].
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// What the last line of each says, until that is given.
    last: HashMap<Serial, Option<Listed>>,
    is_behind: bool,
}

impl Lines {
    /// `changes`: whatever stands behind [`CHANGES`], and is read here; `is_behind`: whether it is all that is read.
    pub(super) fn new(changes: &[u8], is_behind: bool) -> Self {
        let mut last = HashMap::new();
        // Half a line is not read either.
        let whole = memchr::memrchr(b'\n', changes).map_or(0, |end| end + 1);
        for line in changes[..whole].split(|octet| *octet == b'\n') {
            if let Ok(Line::Listed(listed)) = index::read(line, &mut None) {
                last.insert(listed.serial, Some(listed));
            }
        }
        Self { last, is_behind }
    }

    pub(super) fn read(&mut self, line: &[u8], odd: &mut Odd) -> Result<Line, String> {
        if line == CHANGES.trim_end().as_bytes() {
            self.is_behind = true;
            return Ok(Line::Comment);
        }
        let Line::Listed(listed) = index::read(line, odd)? else { return Ok(Line::Comment) };
        Ok(match self.last.get_mut(&listed.serial) {
            None => Line::Listed(listed),
            Some(_) if !self.is_behind => Line::Comment,
            Some(last) => last.take().map_or(Line::Comment, Line::Listed),
        })
    }
}

/// Appends the line of a certificate; `sha256`: its hash.
pub fn line(listed: &Listed, sha256: Option<[u8; 32]>, out: &mut Vec<u8>) {
    let Listed { serial, record: Record { status, not_after } } = listed;
    let end = not_after.unwrap_or(UnixTime::MAX).generalized();
    match status {
        Status::Good => {
            out.extend_from_slice(b"V\t");
            out.extend_from_slice(&end);
            out.extend_from_slice(b"\t\t");
        }
        Status::Revoked { time, reason } => {
            out.extend_from_slice(b"R\t");
            out.extend_from_slice(&end);
            out.push(b'\t');
            out.extend_from_slice(&time.generalized());
            out.push(b',');
            out.extend_from_slice(reason.name().as_bytes());
            out.push(b'\t');
        }
    }
    let mut digits = [0; 40];
    out.extend_from_slice(hex::write(serial.magnitude(), &mut digits));
    out.push(b'\t');
    match sha256 {
        Some(hash) => {
            out.extend_from_slice(HASH.as_bytes());
            out.extend_from_slice(hex::write(&hash, &mut [0; 64]));
        }
        None => out.extend_from_slice(b"unknown"),
    }
    out.extend_from_slice(b"\t/\n");
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;
    use crate::source::{Ended, Form, Listing};

    const HELD: &str = "R\t21000101000000Z\t250101000000Z,certificateHold\t0A\tunknown\t/\n";

    fn good(serial: &str) -> String {
        format!("V\t21000101000000Z\t\t{serial}\tunknown\t/\n")
    }

    fn read(listing: &mut Listing) -> Vec<(String, bool)> {
        listing
            .map(|line| line.unwrap())
            .map(|line| (line.serial.to_string(), line.record.status == Status::Good))
            .collect()
    }

    #[test]
    fn of_each_certificate_the_last_line_counts_in_a_whole_reading_and_in_one_of_what_was_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let of = |serial: &str, is_good| (serial.to_owned(), is_good);
        fs::write(&path, format!("{BEGINNING}{HELD}{}{CHANGES}{}", good("0B"), good("0A"))).unwrap();
        let mut listing = Listing::open(&path, Form::Mirrored).unwrap();
        assert_eq!(read(&mut listing), [of("0B", true), of("0A", true)]);
        assert_ne!(listing.ended(), Ended::Torn);
        let mark = listing.mark().unwrap();

        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "{}{HELD}{}{HELD}V\t2100", good("0C"), good("0A")).unwrap();
        let mut after = Listing::open_after(&path, Form::Mirrored, &mark).unwrap().unwrap();
        let lines: Vec<_> = after.by_ref().map_while(Result::ok).map(|line| line.serial.to_string()).collect();
        assert_eq!(lines, ["0C", "0A"], "each once");
        assert_ne!(after.ended(), Ended::Torn);
        let mut listing = Listing::open(&path, Form::Mirrored).unwrap();
        let lines: Vec<_> = listing.by_ref().map_while(Result::ok).collect();
        let held = lines.iter().find(|line| line.serial.to_string() == "0A").unwrap();
        assert!(held.record.status != Status::Good && lines.len() == 3, "{lines:?}");

        // Another file in its place is no continuation.
        let text = fs::read(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::write(&path, text).unwrap();
        assert!(Listing::open_after(&path, Form::Mirrored, &mark).unwrap().is_none());
    }
}
