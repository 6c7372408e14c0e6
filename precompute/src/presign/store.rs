//! The answer store: answers signed ahead, on disk, so that a restart need not sign them again.
//!
//! Purpose: appends signed answers in large runs, and reads ten million answers back in seconds. Invariant: a run is
//! stored whole or not at all, and is loaded only under the fingerprint of the form it was signed in. Losing the file
//! costs only signatures: a damaged file, which redb may report at any time by an error or a panic, is put aside for a
//! new one. It does not know records, or whether an answer is still right: the caller compares each with its record.
//!
//! It is one redb file, `answers.redb` in the state directory. Entries have no place of their own in the tree: serial
//! numbers are random, and sorting ten million of them would rewrite every page again and again. Entries of one form
//! that were signed together are one value, a run; later runs take precedence over earlier ones. Replaced entries stay
//! until their run has expired, at most one validity later.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tracing::warn;

pub use crate::answers::{Stored, each_entry};
use crate::{
    limits,
    pki::UnixTime,
    state_dir::{
        StateError,
        damage::{Broken, guarded},
        remedy,
    },
};

/// Numbers about the whole file.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Fingerprint of a form → its number in this file.
const FORMS: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("forms");
/// Number of a form, number of a run → seal, entries.
const RUNS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("runs");
/// The same → when the last of its entries ends, and bytes of the run.
const ENDS: TableDefinition<'_, (u32, u64), (u64, u64)> = TableDefinition::new("ends");

/// The format of this file; a file in another format is replaced by a new one.
const FORMAT: u64 = 1;

/// Bytes of a run before its entries.
const SEAL: usize = 16;

/// Entries of one form that are written together.
#[derive(Clone, Debug)]
pub struct Run {
    fingerprint: [u8; 32],
    entries: Vec<u8>,
    count: u64,
    /// When the last of them ends.
    end: UnixTime,
}

impl Run {
    /// Empty, for the form with this fingerprint.
    pub fn new(fingerprint: [u8; 32]) -> Self {
        Self { fingerprint, entries: Vec::new(), count: 0, end: UnixTime(0) }
    }

    /// The fingerprint of its form.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// How many entries it has.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Bytes of its entries.
    pub fn octets(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an answer. One with times after 2106 is left out; the table does not accept it either.
    pub fn push(&mut self, stored: &Stored) {
        if !stored.write(&mut self.entries) {
            return;
        }
        self.count += 1;
        self.end = self.end.max(stored.entry.next_update);
    }

    /// The start of a hash over the form and the entries, so that damaged entries are not served.
    fn seal(fingerprint: &[u8; 32], entries: &[u8]) -> [u8; SEAL] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(fingerprint);
        context.update(entries);
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&context.finish().as_ref()[..SEAL]);
        seal
    }
}

/// The file. No other process can open it at the same time.
#[derive(Debug)]
pub struct AnswerStore {
    path: PathBuf,
    database: Option<Database>,
    octets_max: u64,
}

impl AnswerStore {
    /// Opens `answers.redb` in a state directory that exists; it may grow to about `octets_max` bytes.
    pub fn open(state_dir: &Path, octets_max: u64) -> Result<Self, StateError> {
        let mut store = Self { path: state_dir.join("answers.redb"), database: None, octets_max };
        store.run(|_| Ok(()))?;
        Ok(store)
    }

    fn error(&self, error: &redb::Error) -> StateError {
        let remedy = remedy(error).unwrap_or(match error {
            redb::Error::Io(_) => "check the disk and its mount",
            _ => "check the disk; the file may be removed, its answers are signed again",
        });
        StateError::new(&self.path, format!("answers cannot be stored: {error}"), remedy)
    }

    /// Runs `step` on the database. After an error it is opened again, because redb's memory can no longer be trusted.
    /// If the file is damaged, `step` runs once more on a new one.
    fn run<T>(&mut self, mut step: impl FnMut(&Database) -> Result<T, redb::Error>) -> Result<T, StateError> {
        let damage = match self.attempt(&mut step) {
            Err(Broken::Damaged(damage)) => damage,
            other => return other.map_err(|broken| self.error(&broken.into())),
        };
        let aside = self.path.with_extension("redb.damaged");
        match fs::rename(&self.path, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.error(&redb::Error::Io(error))),
            _ => {}
        }
        warn!(
            file = %self.path.display(),
            damage,
            aside = %aside.display(),
            "the answer store cannot be read and is replaced; its answers are signed again, and the file put aside may be removed"
        );
        self.attempt(&mut step).map_err(|broken| self.error(&broken.into()))
    }

    fn attempt<T>(&mut self, step: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Broken> {
        let database = match self.database.take() {
            Some(database) => database,
            None => guarded(|| open_database(&self.path))?,
        };
        let outcome = guarded(|| step(&database));
        self.database = Some(database);
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    /// Closing may panic again.
    fn close(&mut self) {
        if let Some(database) = self.database.take() {
            let _ = guarded(|| {
                drop(database);
                Ok(())
            });
        }
    }

    /// Writes runs; they are on disk when this returns.
    pub fn append(&mut self, runs: &[Run]) -> Result<(), StateError> {
        let octets_max = self.octets_max;
        let octets = self.run(|database| {
            let mut transaction = database.begin_write()?;
            // After a crash, a start need not walk the whole file.
            transaction.set_quick_repair(true);
            let octets = {
                let mut meta = transaction.open_table(META)?;
                let mut forms = transaction.open_table(FORMS)?;
                let mut table = transaction.open_table(RUNS)?;
                let mut ends = transaction.open_table(ENDS)?;
                let number = |meta: &redb::Table<'_, &str, u64>, name| -> Result<u64, redb::Error> {
                    Ok(meta.get(name)?.map_or(0, |guard| guard.value()))
                };
                let mut next = number(&meta, "next run")?;
                let mut octets = number(&meta, "octets")?;
                for run in runs.iter().filter(|run| !run.is_empty()) {
                    let known = forms.get(&run.fingerprint)?.map(|guard| guard.value());
                    let form = match known {
                        Some(form) => form,
                        None => {
                            let form = number(&meta, "next form")?;
                            meta.insert("next form", form + 1)?;
                            forms.insert(&run.fingerprint, form as u32)?;
                            form as u32
                        }
                    };
                    let value = [&Run::seal(&run.fingerprint, &run.entries)[..], &run.entries].concat();
                    table.insert((form, next), &value[..])?;
                    ends.insert((form, next), (run.end.0, value.len() as u64))?;
                    octets += value.len() as u64;
                    next += 1;
                }
                meta.insert("next run", next)?;
                meta.insert("octets", octets)?;
                octets
            };
            transaction.commit()?;
            Ok(octets)
        })?;
        if octets > octets_max {
            self.remove(|_, _| false, octets_max)?;
        }
        Ok(())
    }

    /// Removes runs whose entries have all ended.
    pub fn remove_expired(&mut self, now: UnixTime) -> Result<(), StateError> {
        self.remove(|_, end| end <= now, self.octets_max)
    }

    /// Removes the runs that `unwanted` (form, end) selects, then the oldest of the others until at most `octets_max`
    /// bytes are left, then the forms without runs.
    fn remove(&mut self, unwanted: impl Fn(u32, UnixTime) -> bool, octets_max: u64) -> Result<(), StateError> {
        self.run(|database| {
            let (mut all, mut octets) = (Vec::new(), 0);
            for run in database.begin_read()?.open_table(ENDS)?.range::<(u32, u64)>(..)? {
                let (key, value) = run?;
                let ((form, number), (end, length)) = (key.value(), value.value());
                all.push((number, form, UnixTime(end), length));
                octets += length;
            }
            // By age.
            all.sort_unstable();
            let (mut gone, mut used) = (Vec::new(), BTreeSet::new());
            for (number, form, end, length) in all {
                if unwanted(form, end) || octets > octets_max {
                    octets -= length;
                    gone.push((form, number));
                } else {
                    used.insert(form);
                }
            }
            if gone.is_empty() {
                return Ok(());
            }
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let (mut runs, mut ends) = (transaction.open_table(RUNS)?, transaction.open_table(ENDS)?);
                for key in gone {
                    runs.remove(key)?;
                    ends.remove(key)?;
                }
                transaction.open_table(FORMS)?.retain(|_, form| used.contains(&form))?;
                transaction.open_table(META)?.insert("octets", octets)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Bytes of all runs.
    pub fn octets(&mut self) -> Result<u64, StateError> {
        self.run(|database| {
            let meta = database.begin_read()?.open_table(META)?;
            Ok(meta.get("octets")?.map_or(0, |guard| guard.value()))
        })
    }

    /// Calls `each` with the entries of every run of a form, the earliest run first. `each` returns false to stop. A
    /// damaged run is left out.
    pub fn load(&mut self, fingerprint: &[u8; 32], mut each: impl FnMut(&[u8]) -> bool) -> Result<(), StateError> {
        let path = self.path.clone();
        self.run(|database| {
            let transaction = database.begin_read()?;
            let Some(form) = transaction.open_table(FORMS)?.get(fingerprint)?.map(|guard| guard.value()) else {
                return Ok(());
            };
            for run in transaction.open_table(RUNS)?.range((form, 0)..=(form, u64::MAX))? {
                let (_, value) = run?;
                let value = value.value();
                match value.split_at_checked(SEAL) {
                    Some((seal, entries)) if *seal == Run::seal(fingerprint, entries) => {
                        if !each(entries) {
                            break;
                        }
                    }
                    _ => {
                        warn!(file = %path.display(), "a run of answers in the store is damaged; its answers are signed again")
                    }
                }
            }
            Ok(())
        })
    }
}

impl Drop for AnswerStore {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_database(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::builder().set_cache_size(limits::ANSWER_STORE_CACHE_OCTETS).create(path);
    let database = database.map_err(|error: DatabaseError| redb::Error::from(error))?;
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    let format = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|guard| guard.value());
        if format.is_none() {
            meta.insert("format", FORMAT)?;
        }
        transaction.open_table(FORMS)?;
        transaction.open_table(RUNS)?;
        transaction.open_table(ENDS)?;
        format.unwrap_or(FORMAT)
    };
    transaction.commit()?;
    if format != FORMAT {
        return Err(redb::Error::Corrupted(format!(
            "it was written in format {format}, this program reads format {FORMAT}"
        )));
    }
    Ok(database)
}

#[cfg(test)]
mod tests;
