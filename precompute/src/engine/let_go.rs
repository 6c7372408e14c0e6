//! Issuers that may leave the configuration although the book has of them what no source says.
//!
//! Purpose: `ostia-precompute forget` notes here what an operator means, for a start, a reload and `check`, also while a
//! service has the book. Invariants: an issuer is let go of once: when it is configured again, its line is removed, and the
//! next removal is asked about anew, and what is pushed after it was let go of is asked about as well. The file is replaced as a whole. A line that nobody can read counts for nothing, so that
//! the question is asked again. It does not know the book.
//!
//! A line is the fingerprint of the issuer in hexadecimal, what is known of it, when that was noted in seconds since 1970,
//! by whom, how many records it had then, and the tenant's name.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::Departed;
use crate::{
    issuer_id::IssuerId,
    pki::{
        UnixTime,
        hex::{self, Hex},
    },
    state_dir::{StateError, remedy_of_write, write_whole},
};

const FILE: &str = "forgotten";

/// Why an issuer may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// An operator has said so.
    Ordered,
    /// An operator has said so, and it has left.
    Taken,
    /// There was nothing that only the book had when it left.
    Nothing,
}

impl Why {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Ordered, "ordered"), (Self::Taken, "taken"), (Self::Nothing, "nothing")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(why, _)| *why == self).map_or("", |(_, name)| name)
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(why, _)| *why)
    }
}

/// What is noted of an issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// Why it may leave.
    pub(super) why: Why,
    at: UnixTime,
    /// Who has said so: a word without spaces.
    pub(super) by: String,
    /// How many records it had then that no source says.
    records: u64,
    /// The name of its tenant.
    pub(super) tenant: String,
}

/// All notes of a state directory.
#[derive(Debug)]
pub(super) struct LetGo {
    path: PathBuf,
    notes: BTreeMap<[u8; 32], Note>,
    /// Whether the file says something else.
    is_changed: bool,
}

impl LetGo {
    /// As the file has them; none where there is no file.
    pub(super) fn read(state_dir: &Path) -> Result<Self, StateError> {
        let path = state_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let remedy = "give the file to the user that runs this program";
                return Err(StateError::new(&path, format!("cannot be read: {error}"), remedy));
            }
            Ok(text) => text,
        };
        let mut notes = BTreeMap::new();
        for (line, number) in text.lines().zip(1..) {
            match note(line) {
                Some((issuer, note)) => drop(notes.insert(issuer, note)),
                None => {
                    warn!(file = %path.display(), line = number, "the line is none of this program's, and has no effect")
                }
            }
        }
        Ok(Self { path, notes, is_changed: false })
    }

    /// What is noted of an issuer.
    pub(super) fn get(&self, issuer: &IssuerId) -> Option<&Note> {
        self.notes.get(issuer.fingerprint())
    }

    /// Whether it may leave.
    pub(super) fn has(&self, issuer: &IssuerId) -> bool {
        self.get(issuer).is_some()
    }

    /// Whether one that leaves has nothing that was not let go of.
    pub(super) fn allows(&self, departed: &Departed) -> bool {
        let noted = self.get(&departed.issuer).map_or(0, |note| note.records);
        departed.records <= noted
    }

    /// Notes why an issuer may leave. `by`: a word; `records`: how many it has that no source says.
    pub(super) fn add(&mut self, issuer: &IssuerId, why: Why, by: &str, at: UnixTime, records: u64) {
        let note = Note { why, at, by: by.to_owned(), records, tenant: issuer.tenant().to_owned() };
        self.notes.insert(*issuer.fingerprint(), note);
        self.is_changed = true;
    }

    /// Notes that an issuer has left with so many records.
    pub(super) fn taken(&mut self, issuer: &IssuerId, records: u64) {
        if let Some(note) = self.notes.get_mut(issuer.fingerprint()) {
            note.why = Why::Taken;
            // It may have had more than an operator was asked about: what was accepted counts for all of it.
            note.records = note.records.max(records);
            self.is_changed = true;
        }
    }

    /// Notes that an issuer is there, and will be asked about when it leaves.
    pub(super) fn is_back(&mut self, issuer: &IssuerId) {
        self.is_changed |= self.notes.remove(issuer.fingerprint()).is_some();
    }

    /// Writes the file, if there is anything new.
    pub(super) fn write(&mut self) -> Result<(), StateError> {
        if !self.is_changed {
            return Ok(());
        }
        let line = |(issuer, note): (&[u8; 32], &Note)| {
            let Note { why, at, by, records, tenant } = note;
            format!("{} {} {} {by} {records} {tenant}\n", Hex(issuer), why.name(), at.0)
        };
        let text: String = self.notes.iter().map(line).collect();
        write_whole(&self.path, text.as_bytes(), 0o644).map_err(|error| {
            let usual = "run the command as root or as the user of the service, whose directory it is";
            StateError::new(&self.path, format!("cannot be written: {error}"), remedy_of_write(&error, usual))
        })?;
        self.is_changed = false;
        Ok(())
    }
}

fn note(line: &str) -> Option<([u8; 32], Note)> {
    let mut words = line.split(' ');
    let mut next = || words.next().filter(|word| !word.is_empty());
    let issuer = hex::array::<32>(next()?)?;
    let (why, at) = (Why::named(next()?)?, UnixTime(next()?.parse().ok()?));
    let (by, records, tenant) = (next()?.to_owned(), next()?.parse().ok()?, next()?.to_owned());
    words.next().is_none().then_some((issuer, Note { why, at, by, records, tenant }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_again_until_the_issuer_is_back_and_other_lines_count_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|tenant| IssuerId::new(tenant, [7; 32]));
        let mut notes = LetGo::read(dir.path()).unwrap();
        notes.write().unwrap();
        assert!(!dir.path().join(FILE).exists(), "nothing was noted");
        notes.add(&a, Why::Ordered, "uid:0", UnixTime(17), 3);
        notes.add(&b, Why::Nothing, "-", UnixTime(18), 0);
        notes.taken(&a, 2);
        notes.write().unwrap();
        let read = LetGo::read(dir.path()).unwrap();
        let of_a = Note { why: Why::Taken, at: UnixTime(17), by: "uid:0".into(), records: 3, tenant: "a".into() };
        assert_eq!(read.get(&a), Some(&of_a));
        assert!(read.has(&b) && !read.has(&c));
        let file = dir.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        let other = format!("{} sometimes 17 uid:0 3 c\n{}\nx\n", Hex(c.fingerprint()), Hex(c.fingerprint()));
        fs::write(&file, format!("{other}{text}")).unwrap();
        let mut read = LetGo::read(dir.path()).unwrap();
        assert!(read.has(&a) && !read.has(&c));
        read.is_back(&a);
        read.write().unwrap();
        let read = LetGo::read(dir.path()).unwrap();
        assert!(!read.has(&a) && read.has(&b));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(LetGo::read(dir.path()).unwrap_err().to_string().contains("forgotten: cannot be read"));
    }
}
