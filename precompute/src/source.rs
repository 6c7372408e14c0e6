//! Where records come from: the CA's own statements about its certificates, in the CA's formats.
//!
//! Purpose: reads a CA's statement (the database of `openssl ca`, a list of what was issued, a CRL) into [`crate::pki`]'s types, one record at a
//! time and within bounds. Invariant: everything that leaves a source is valid by construction. A source with anything
//! in it that is not understood is refused as a whole, and the place is named: a record that is misread or skipped
//! could turn a revoked certificate good. An odd value with a stricter meaning is read as that, and counted
//! ([`Oddities`]). It does not know what was said earlier (so not whether a change is allowed, or whether a serial
//! comes twice), how records are kept, or what time it is.

mod crl;
mod index;
mod issued;
mod listing;
mod mirrored;
#[cfg(test)]
pub(crate) mod openssl;

use std::{
    fmt,
    path::{Path, PathBuf},
};

#[cfg(test)]
pub(crate) use crl::tests::draft;
pub use crl::{
    Change, Coverage, Crl, CrlFile, CrlHeader, CrlIssuers, CrlMark, CrlMarks, CrlNumber, CrlScope, Entries, Entry,
    ScopeMarks, check_crl_issuer,
};
pub use issued::listed_by;
pub use listing::{Detail, Digest, Ended, Form, Listed, Listing, Mark, Prefix};
pub use mirrored::{BEGINNING as MIRROR_BEGINNING, CHANGES as MIRROR_CHANGES, line as mirror_line};

use crate::pki::{FileError, UnixTime};

/// The last revocation time that can be kept, 2106-02-07T06:28:15Z: a record has 32 bits of seconds for it.
pub const REVOCATION_TIME_MAX: UnixTime = UnixTime(u32::MAX as u64);

/// What was read differently from how a source writes it: how many, and the first in words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Oddities {
    count: u64,
    first: String,
}

impl Oddities {
    /// Notes `what` about one line or entry, which is called `place`.
    fn note(&mut self, place: &str, number: u64, what: &str) {
        if self.count == 0 {
            self.first = format!("{place} {number} {what}");
        }
        self.count += 1;
    }

    /// Notes `what` about a field that occurs once.
    fn note_field(&mut self, field: &str, what: &str) {
        if self.count == 0 {
            self.first = format!("{field} {what}");
        }
        self.count += 1;
    }

    /// Whether there are any.
    fn any(&self) -> Option<&Self> {
        Some(self).filter(|this| this.count > 0)
    }
}

impl fmt::Display for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        match self.count {
            0 | 1 => Ok(()),
            count => write!(f, " ({} more are odd in this or another way)", count - 1),
        }
    }
}

/// Why a source was refused; always names the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1, if the file has lines and one of them is wrong.
    pub line: Option<u64>,
    /// What is wrong, and what would be right.
    pub problem: String,
    /// The file was being written: the same read may succeed in a moment.
    pub unsteady: bool,
}

impl SourceError {
    /// The file changed while it was being read.
    pub fn unsteady(path: &Path) -> Self {
        Self { unsteady: true, ..Self::file(path, "changed while it was being read") }
    }

    /// `problem`: about the file as a whole.
    pub fn file(path: &Path, problem: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), line: None, problem: problem.to_string(), unsteady: false }
    }

    /// `problem`: about one line, counted from 1.
    pub fn line(path: &Path, line: u64, problem: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), line: Some(line), problem: problem.to_string(), unsteady: false }
    }
}

/// `path:line: problem`, which editors and terminals can jump to, or `path: problem`.
impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.problem),
            None => write!(f, "{}: {}", self.path.display(), self.problem),
        }
    }
}

impl std::error::Error for SourceError {}

impl From<FileError> for SourceError {
    fn from(error: FileError) -> Self {
        Self { path: error.path, line: None, problem: error.problem, unsteady: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_oddities_the_first_is_told_and_the_others_are_counted() {
        let mut oddities = Oddities::default();
        assert_eq!(oddities.any(), None);
        oddities.note("line", 3, "is odd");
        assert_eq!(oddities.any().unwrap().to_string(), "line 3 is odd");
        oddities.note("line", 4, "is too");
        assert_eq!(oddities.to_string(), "line 3 is odd (1 more are odd in this or another way)");
    }

    #[test]
    fn an_error_names_the_file_and_the_line() {
        let path = Path::new("/ca/index.txt");
        assert_eq!(SourceError::line(path, 7, "is odd").to_string(), "/ca/index.txt:7: is odd");
        assert_eq!(SourceError::file(path, "is odd").to_string(), "/ca/index.txt: is odd");
    }
}
