//! Verifies journals, and hands out one tenant's part of them.
//!
//! Purpose: says whether any line was changed, removed, inserted or swapped since it was written, and where. Invariant: it
//! reads what [`crate::journal`] describes and shares no code with it, so that no mistake of the writer is one of the reader;
//! both have SHA-256 and Ed25519 from the same library. Nothing is written but the export. It does not know what lines say,
//! but for the tenant that they name.
//!
//! - `line`: a line, taken apart; pure. `chain`: whether lines follow each other; pure.
//! - `files`: which files belong together, and their lines. `export`: one tenant's part. `latest`: the last lines, unverified.
//!
//! **What it finds.** A line whose chain does not fit the next one was changed; numbers tell what is missing or out of place; a
//! head whose signature is wrong was changed. Nothing vouches for the lines behind the last head: they are counted. A journal
//! that ends early, at a head, is a whole one: whoever needs to know keeps the last head elsewhere. Whoever has the key can
//! write another journal: `--key` names the one that counts.
//!
//! **An export** is a file of lines as well. The first is `{"export":1,"tenant":"NAME"}`. Those of the tenant, heads, first lines of
//! files and lines about lost entries are there as they were. Each other line is `{"hidden":"…"}` with its SHA-256, from which
//! nothing can be guessed, because each line has a salt. So it shows how many lines others have, and nothing else of them. It proves
//! that what it shows stood in the journal at its place; it cannot prove that no line of the tenant was hidden.

mod chain;
mod export;
mod files;
mod latest;
mod line;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::{
    export::export,
    files::{Group, find},
    latest::{files_of, latest},
};
use crate::pki::hex::Hex;

/// An Ed25519 public key.
pub type Key = [u8; 32];

/// A line of a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Its number there, from 1 on.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Something that is wrong, or worth knowing, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What, for people.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What was found in the files of one journal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Its server, as the first line says.
    pub server: String,
    /// What the journal is for.
    pub journal: String,
    /// The files, in the order of their lines.
    pub files: Vec<PathBuf>,
    /// The numbers of the first and the last line.
    pub numbers: Option<(u64, u64)>,
    /// How many lines were read.
    pub lines: u64,
    /// How many of those are hidden.
    pub hidden: u64,
    /// Heads whose signature is right.
    pub heads: u64,
    /// When the last of them was signed, as it says.
    pub last_head: Option<String>,
    /// Lines behind it, which nothing vouches for yet.
    pub behind_head: u64,
    /// The keys of heads, in the order of their use.
    pub keys: Vec<Key>,
    /// What was changed, the first of it.
    pub faults: Vec<Finding>,
    /// How much that is in all.
    pub faults_all: u64,
    /// What is worth knowing: the first of it.
    pub notes: Vec<Finding>,
}

impl Report {
    /// Whether nothing was changed.
    pub fn is_in_order(&self) -> bool {
        self.faults_all == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, journal, files, lines, heads, .. } = self;
        for fault in &self.faults {
            writeln!(f, "FAULT {fault}")?;
        }
        let more = self.faults_all - self.faults.len() as u64;
        if more > 0 {
            writeln!(f, "FAULT and {more} more")?;
        }
        for note in &self.notes {
            writeln!(f, "note  {note}")?;
        }
        let (first, last) = self.numbers.unwrap_or_default();
        let word = if self.is_in_order() { "in order" } else { "NOT IN ORDER" };
        write!(
            f,
            "{word}: journal `{journal}` of server {server}: {} files, {lines} lines, numbers {first} to {last}",
            files.len()
        )?;
        if self.hidden > 0 {
            write!(f, ", {} of them hidden", self.hidden)?;
        }
        let last_head = self.last_head.as_deref().unwrap_or("none");
        write!(
            f,
            "; {heads} heads, the last of {last_head}; {} lines behind it are not vouched for",
            self.behind_head
        )?;
        for key in &self.keys {
            write!(f, "; key {}", Hex(key))?;
        }
        Ok(())
    }
}

/// Verifies the files of one journal, in the order of their lines. `key`: the one that counts; without it, whichever the files
/// name. An error is one of reading.
pub fn verify(files: &[PathBuf], key: Option<Key>) -> io::Result<Report> {
    let mut chain = chain::Chain::new(key);
    files::each_line(files, |place, line, is_whole| {
        chain.next(&place, line, is_whole);
        Ok(())
    })?;
    Ok(chain.report(files.to_vec()))
}

/// The same of the content of one file.
pub fn verify_content(path: &Path, content: &[u8], key: Option<Key>) -> Report {
    let mut chain = chain::Chain::new(key);
    // Memory can be read.
    let _ = files::lines_of(content, path, |place, line, is_whole| {
        chain.next(&place, line, is_whole);
        Ok(())
    });
    chain.report(vec![path.to_owned()])
}
