//! What stops a run before or beside the measuring: a sentence for the person who started it.
//!
//! Invariant: the text names the flag or file, the value found there and what would be right. It does not know about
//! wrong answers: those are results, not problems (see `outcome`).

use std::fmt;
use std::path::Path;

/// A usage, configuration or local I/O error, worded for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A file that cannot be read or written.
    pub(crate) fn file(flag: &str, path: &Path, error: &std::io::Error) -> Self {
        Self(format!("{flag} {}: {error}; name a file that exists and that this user may open", path.display()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}
