//! How far a listing was read.
//!
//! Purpose: a file to which lines were appended is read from where the last read ended, and one that looks as it
//! did is not read at all. Invariant: a [`Mark`] is only made of lines that were one state of the file. It does not
//! know what the lines said: its caller has taken them.

use std::{io, path::Path};

use super::{
    super::Oddities,
    Form, Listing,
    prefix::{Digest, Prefix, Proved, Stamp},
};
use crate::pki::{open_regular, written::Radix};

/// Bytes of the longest text in a mark: the first oddity, which names one line and shows one field of it.
const TEXT_OCTETS_MAX: usize = 512;

/// The beginning of [`Mark::to_bytes`], with the number of its form.
const FORM: &[u8; 4] = b"OIM\x02";

/// The lines of a listing that were taken, and the file that they were read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    pub(super) taken: Digest,
    /// How they were read.
    pub(super) form: Form,
    /// Of the last bytes of what was taken.
    last: Digest,
    stamp: Stamp,
    settled: bool,
    /// Lines taken, with comments.
    pub(super) lines: u64,
    /// Certificates in them.
    pub(super) listed: u64,
    pub(super) passed_over: u64,
    pub(super) oddities: Oddities,
}

impl Listing<Prefix> {
    /// What was read, if that was every whole line and [`Listing::ended`] has found one state of the file; for the next
    /// read. None of UTF-16, whose line ends `prefix` does not find.
    pub fn mark(&self) -> Option<Mark> {
        if !self.is_read || self.is_refused || self.utf16.is_some() {
            return None;
        }
        let Proved { digest: taken, last, stamp, settled } = self.proved?;
        Some(Mark {
            taken,
            last,
            form: self.form,
            // Bytes that were left out are still to be read.
            settled: settled && taken.length == stamp.length,
            stamp,
            lines: self.number - u64::from(self.is_cut),
            listed: self.listed,
            passed_over: self.passed_over,
            oddities: self.oddities.clone(),
        })
    }
}

impl Mark {
    /// Whether the file looks as it did when it was read, so that it has the same bytes. One `stat`. An unsettled mark
    /// matches nothing: the file may have changed without showing it.
    pub fn still_matches(&self, path: &Path, form: Form) -> bool {
        self.settled
            && self.form == form
            && std::fs::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp)
    }

    /// Whether what was taken may be the beginning of `file`, as its last bytes are.
    pub(super) fn may_precede(&self, file: &Prefix) -> bool {
        file.last_of(self.taken.length).is_ok_and(|last| last == Some(self.last))
    }

    /// Whether `file` is the one that was read, which may have grown.
    pub(super) fn is_of(&self, file: &Prefix) -> bool {
        let stamp = file.stamp();
        (stamp.device, stamp.inode) == (self.stamp.device, self.stamp.inode) && stamp.length >= self.taken.length
    }

    /// What [`Listing::hash_of`] says of a file with these lines and nothing else; of a mirror, only the length.
    pub fn digest(&self) -> Digest {
        self.taken
    }

    /// Certificates that the lines list.
    pub fn listed(&self) -> u64 {
        self.listed
    }

    /// For the disk: at most 750 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut octets = FORM.to_vec();
        octets.push(u8::from(self.settled));
        octets.push(match self.form {
            Form::Database => 0,
            Form::Issued(Radix::Hexadecimal) => 1,
            Form::Issued(Radix::Decimal) => 2,
            Form::Mirrored => 3,
        });
        for number in [
            self.taken.length,
            self.last.length,
            self.stamp.device,
            self.stamp.inode,
            self.stamp.length,
            self.stamp.modified.0 as u64,
            self.stamp.modified.1 as u64,
            self.stamp.changed.0 as u64,
            self.stamp.changed.1 as u64,
            self.lines,
            self.listed,
            self.passed_over,
            self.oddities.count,
        ] {
            octets.extend(number.to_be_bytes());
        }
        octets.extend(self.taken.hash);
        octets.extend(self.last.hash);
        let text = &self.oddities.first;
        let end = (0..=text.len().min(TEXT_OCTETS_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        octets.extend(&text.as_bytes()[..end]);
        octets
    }

    /// From such bytes; `None` if they are of another form.
    pub fn from_bytes(octets: &[u8]) -> Option<Self> {
        let mut rest = octets.strip_prefix(FORM)?;
        let (&[settled, form], after) = rest.split_first_chunk()?;
        let form = match form {
            0 => Form::Database,
            1 => Form::Issued(Radix::Hexadecimal),
            2 => Form::Issued(Radix::Decimal),
            3 => Form::Mirrored,
            _ => return None,
        };
        rest = after;
        let mut numbers = [0; 13];
        for number in &mut numbers {
            let (octets, after) = rest.split_first_chunk()?;
            (*number, rest) = (u64::from_be_bytes(*octets), after);
        }
        let (&taken, rest) = rest.split_first_chunk()?;
        let (&last, text) = rest.split_first_chunk()?;
        if settled > 1 || text.len() > TEXT_OCTETS_MAX {
            return None;
        }
        let [
            taken_length,
            last_length,
            device,
            inode,
            length,
            modified,
            modified_nanoseconds,
            changed,
            changed_nanoseconds,
            lines,
            listed,
            passed_over,
            count,
        ] = numbers;
        Some(Self {
            taken: Digest { length: taken_length, hash: taken },
            form,
            last: Digest { length: last_length, hash: last },
            stamp: Stamp {
                device,
                inode,
                length,
                modified: (modified as i64, modified_nanoseconds as i64),
                changed: (changed as i64, changed_nanoseconds as i64),
            },
            settled: settled == 1,
            lines,
            listed,
            passed_over,
            oddities: Oddities { count, first: str::from_utf8(text).ok()?.to_owned() },
        })
    }
}

/// The digest of a file as it is now.
pub(super) fn hash_of(path: &Path) -> io::Result<Digest> {
    super::prefix::digest_of(&open_regular(path)?)
}
