//! The book: the durable set of all records.
//!
//! Purpose: keeps what sources said, so that a process killed at any instant finds everything it had acknowledged.
//! Invariant: [`Book::commit`] has returned if and only if the whole batch is on disk. A batch is there as a whole or
//! not at all. What is loaded is what was written: everything of an issuer is under one seal, which is written in the
//! same commit and verified when it is loaded. The book does not know sources or policies, and does not judge a change.
//!
//! It is one redb file. Records are keyed by the issuer's number in this file and the serial number, so an issuer's
//! records are adjacent and in order. The number is not used outside this module: an issuer is known by its
//! [`IssuerId`], and the file by its [`Identity`]. A writer names the file that its batch is for, so a file that was
//! replaced while the process runs is never mistaken for the old one.
//!
//! Who tells changes to others, or is told, keeps three more things: the outbox and the debts of each issuer (`outbox`),
//! under its seal, and the place in the feed (`place`), under a seal of its own. [`Book::commit_all`] changes records,
//! outbox, debts and place of any number of issuers at once, so a crash finds all of them from before a step or from after
//! it, and each step can be repeated:
//!
//! - A change and its row are one commit; it is told after that. Killed in between, the row is told or undone.
//! - [`Book::told`] removes rows and moves the place, and need not be on disk at once. What is lost with it is the last
//!   entries: the place is before them and their rows are there. Their writer reads them as others do, and they say the same.
//! - An entry that is applied moves records, rows, debts and place together. Killed before, it is read again.
//! - A row that becomes a debt, and a debt that becomes a row, has what was told last in either form.

mod answered;
mod batch;
mod codec;
mod hashes;
mod layout;
mod left;
mod lineage;
mod loading;
mod of_feed;
mod outbox;
mod overlay;
mod pace;
mod place;
mod reader;
mod salvage;
mod seal;
mod told;
mod witness;
mod writing;

pub use self::{
    answered::Answered,
    batch::{Batch, Committed, Contradicted, Joint, Told},
    layout::Identity,
    lineage::Lineage,
    outbox::Owed,
    pace::Pace,
    place::{Move, Place},
    reader::BookReader,
    salvage::{OfIssuer, Salvaged, salvage},
};

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, ReadableDatabase as _, WriteTransaction};
use tracing::warn;

use self::{
    codec::{decode_value, key},
    layout::{FORMAT, META, Made, RECORDS, Unready, damaged, make_ready},
    left::Left,
    loading::{named_issuers, number_of},
    of_feed::Remembered,
    overlay::Overlay,
    witness::Witness,
    writing::{take_back, write},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial, UnixTime},
    records::Origin,
    source::CrlMarks,
    state_dir::{
        BOOK, OF_DIRECTORY, StateError,
        damage::{Broken, guarded},
        patiently, remedy,
        stamp::FileStamp,
    },
};

/// What a book holds about an issuer, beside its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Whether it knows the issuer at all.
    pub known: bool,
    /// The newest CRLs taken.
    pub crl_marks: CrlMarks,
    /// When the sources were last known to be in order.
    pub verified: Option<UnixTime>,
    /// What the sources looked like when everything that they said was in the book.
    pub stamps: Option<Vec<u8>>,
    /// The file that it was read from.
    pub book: Identity,
}

impl Held {
    fn nothing(book: Identity) -> Self {
        Self { known: false, crl_marks: CrlMarks::default(), verified: None, stamps: None, book }
    }
}

/// The open file. No other process can open it at the same time.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    open: Option<Open>,
    /// What the file was when it was last used; `None` before it was opened.
    seen: Option<Made>,
    /// How many commits since the last one that is surely on disk.
    unflushed: u32,
    /// Whether this process has written it, and so has everything about the configured issuers in memory.
    is_ours: bool,
    /// Whether it is only read, while another process has it open.
    is_look: bool,
    /// Bytes of memory for its pages.
    cache: usize,
    remembered: Remembered,
    /// Whether commits fail.
    #[cfg(test)]
    pub(crate) disk: Disk,
}

/// What becomes of commits in a test.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Disk {
    #[default]
    Fine,
    /// Nothing more fits on it.
    Full,
    /// It has taken everything, and says that it has not.
    Lies,
}

#[derive(Debug)]
struct Open {
    database: Database,
    /// Readers of this database have the same one.
    opening: Arc<()>,
    /// How it was after the last commit.
    left: Left,
    /// `None` for a look, which writes nothing.
    witness: Option<Witness>,
}

impl Book {
    /// One whose file was not looked at yet.
    fn unopened(path: PathBuf, is_look: bool) -> Self {
        Self {
            path,
            open: None,
            seen: None,
            unflushed: 0,
            is_ours: false,
            is_look,
            cache: limits::BOOK_CACHE_OCTETS,
            remembered: Remembered::default(),
            #[cfg(test)]
            disk: Disk::Fine,
        }
    }

    /// Opens `book.redb` in the state directory; creates both if missing.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(state_dir)
            .map_err(|error| StateError::new(state_dir, format!("cannot be made: {error}"), OF_DIRECTORY))?;
        let mut book = Self::unopened(state_dir.join(BOOK), false);
        book.ready()?;
        Ok(book)
    }

    /// The book as it is now, even if another process has it open; `None` if there is none. Nothing is written. A read
    /// may fail because the other process is writing: then the caller looks again.
    pub fn look(state_dir: &Path) -> Result<Option<Self>, StateError> {
        let path = state_dir.join(BOOK);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(describe(&path, &redb::Error::Io(error), false)),
        };
        let mut book = Self::unopened(path, true);
        book.take_up(file, |file| database().create_with_backend(Overlay::new(file)?))?;
        Ok(Some(book))
    }

    /// Its directory.
    pub fn state_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A book that can never be opened, in the same place as the one in `state_dir`.
    #[cfg(test)]
    pub(crate) fn lost(state_dir: &Path) -> Self {
        Self::unopened(state_dir.join("absent/book.redb"), false)
    }

    /// Makes sure that the file in the book's place is the open one. A missing file is created. A file that was
    /// replaced, or is older than the last write, gets an identity that no process has seen.
    fn ready(&mut self) -> Result<Made, StateError> {
        if !self.is_look && self.open.as_mut().is_some_and(|open| !open.left.is_there(&self.path)) {
            warn!(file = %self.path.display(), "the book was moved, removed or written by another process while this one was running");
            self.close();
        }
        if let (Some(_), Some(made)) = (&self.open, self.seen) {
            return Ok(made);
        }
        if self.is_look {
            return Err(describe(&self.path, &damaged("it changed while it was being checked"), false));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = file.map_err(|error| describe(&self.path, &redb::Error::Io(error), self.is_ours))?;
        let cache = self.cache;
        self.take_up(file, |file| {
            patiently(
                |error| matches!(error, redb::DatabaseError::DatabaseAlreadyOpen),
                || database().set_cache_size(cache).create_file(file.try_clone()?),
            )
        })
    }

    fn take_up(
        &mut self,
        file: File,
        open: impl FnOnce(File) -> Result<Database, redb::DatabaseError>,
    ) -> Result<Made, StateError> {
        let before = self.seen;
        let witness = (!self.is_look).then(|| Witness::open(&self.path));
        let of_file = file.metadata().map(|metadata| FileStamp::from(&metadata));
        let of_file = of_file.map_err(|error| describe(&self.path, &redb::Error::Io(error), self.is_ours))?;
        let opened = guarded(|| {
            let database = open(file)?;
            let made = match make_ready(&database) {
                Ok(made) => made,
                Err(Unready::Redb(error)) => return Err(error),
                Err(Unready::Format(format)) => return Ok(Err(format)),
            };
            // Also a file that this process had before: it may lack what was written since, or have a commit that failed
            // here and is on disk nevertheless.
            let is_same = before.is_none_or(|before| before == made);
            let missing = witness.as_ref().and_then(|witness| witness.has_seen_later(made));
            let is_as_left = is_same && missing.is_none();
            let made = if is_as_left { made } else { Made { identity: layout::rename(&database)?, ..made } };
            Ok(Ok((database, made, missing)))
        });
        let (database, made, missing) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(format)) => {
                let problem = format!("was written in format {format}, this program reads format {FORMAT}");
                let remedy = "use the program version that wrote it; without the file, revocations that the sources no longer list are lost";
                return Err(StateError::new(&self.path, problem, remedy));
            }
            Err(broken) => return Err(self.broken(broken)),
        };
        if before.is_some_and(|before| before.identity != made.identity) {
            warn!(
                file = %self.path.display(),
                "this is not the book that this process has written; everything known is written into it"
            );
        }
        if let (None, Some(missing)) = (before, missing) {
            warn!(
                file = %self.path.display(),
                commits = missing,
                "the book is older than it was when it was last written: it is a copy of an earlier time, or the disk lost what was written; what the sources list is read again, and revocations since then that only the book had are lost: if there is a later copy, stop this process and put it there"
            );
        }
        if let Some(witness) = &witness {
            witness.write(made);
        }
        // Opening writes, and may take long: another file may be in its place by now.
        let left = Left::now(&self.path, of_file);
        self.open = Some(Open { database, opening: Arc::default(), left, witness });
        self.seen = Some(made);
        Ok(made)
    }

    fn broken(&self, broken: Broken) -> StateError {
        describe(&self.path, &broken.into(), self.is_ours)
    }

    /// Closing may panic again.
    fn close(&mut self) {
        self.remembered = Remembered::default();
        if let Some(open) = self.open.take() {
            let _ = guarded(|| {
                drop(open);
                Ok(())
            });
        }
    }

    /// Runs `step`, which only reads, on the database. On an error it closes the database: redb's memory can no longer
    /// be trusted, but the disk can. The next call opens it again.
    fn run<T>(&mut self, step: impl FnOnce(&Database, Made) -> Result<T, redb::Error>) -> Result<T, StateError> {
        let made = self.ready()?;
        let Some(open) = &self.open else { return Err(describe(&self.path, &damaged("it is closed"), self.is_ours)) };
        guarded(|| step(&open.database, made)).map_err(|broken| {
            self.close();
            self.broken(broken)
        })
    }

    /// The identity of the file now in the book's place; opens or creates it if needed.
    pub fn identity(&mut self) -> Result<Identity, StateError> {
        Ok(self.ready()?.identity)
    }

    /// Reads the last commit, also while later ones are written.
    pub fn reader(&mut self) -> Result<BookReader, StateError> {
        // What is loaded is not in memory yet, whatever else is.
        let is_ours = std::mem::take(&mut self.is_ours);
        let read = self.run(|database, made| Ok((database.begin_read()?, made)));
        self.is_ours = is_ours;
        let (read, made) = read?;
        let opening = self.open.as_ref().map(|open| Arc::clone(&open.opening));
        Ok(BookReader { read, made, opening: opening.unwrap_or_default(), path: self.path.clone() })
    }

    /// A reader has failed. True if the database that it read is still the open one: then it is closed, and the next
    /// call opens it again. Otherwise it was closed while the reader had it, and another reader may do better.
    pub fn distrust(&mut self, reader: &BookReader) -> bool {
        let is_open = self.open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.opening, &reader.opening));
        if is_open {
            self.close();
        }
        is_open
    }

    /// See [`BookReader::load`].
    pub fn load(&mut self, issuer: &IssuerId, each: impl FnMut(Serial, Record, Origin)) -> Result<Held, StateError> {
        let reader = self.reader()?;
        reader.load(issuer, each).inspect_err(|_| _ = self.distrust(&reader))
    }

    /// Its list of issuers, for [`Lineage::predecessors`].
    pub fn lineage(&mut self) -> Result<Lineage, StateError> {
        self.run(|database, _| Lineage::read(&database.begin_read()?))
    }

    /// The issuers it holds records of, if it knows their tenants.
    fn issuers(&mut self) -> Result<Vec<IssuerId>, StateError> {
        self.run(|database, _| named_issuers(&database.begin_read()?))
    }

    /// How many records the book holds, of all issuers.
    pub fn record_count(&mut self) -> Result<u64, StateError> {
        self.run(|database, _| Ok(redb::ReadableTableMetadata::len(&database.begin_read()?.open_table(RECORDS)?)?))
    }

    /// One record, and who says so.
    pub fn get(&mut self, issuer: &IssuerId, serial: &Serial) -> Result<Option<(Record, Origin)>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            let Some(number) = number_of(&read, issuer)? else { return Ok(None) };
            let value = read.open_table(RECORDS)?.get(&key(number, *serial.padded()))?;
            Ok(value.map(|value| decode_value(value.value())))
        })
    }

    /// The answer to the request with this idempotency key (SHA-256), if it is still kept.
    pub fn answered(&mut self, issuer: &IssuerId, key: &[u8; 32]) -> Result<Option<Answered>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            number_of(&read, issuer)?.map_or(Ok(None), |number| answered::find(&read, number, key))
        })
    }

    /// Writes a batch and returns when it is on disk. Every changed record gets the returned version, which is higher
    /// than all before. Fails if the book in place is not the one that the batch is for.
    pub fn commit(&mut self, batch: &Batch<'_>) -> Result<Committed, StateError> {
        let made = self.ready()?;
        self.is_for(made, batch)?;
        self.flush(|transaction, version| write(transaction, batch, version))
    }

    /// Notes that these issuers are configured, so that nobody has their place. Nothing is written where that is known.
    pub fn are_there(&mut self, issuers: &HashSet<IssuerId>) -> Result<(), StateError> {
        let mut successions = self.lineage()?.successions();
        successions.retain(|(former, _)| issuers.contains(former));
        if successions.is_empty() {
            return Ok(());
        }
        self.flush(|transaction, _| take_back(transaction, &successions)).map(drop)
    }

    fn is_for(&self, made: Made, batch: &Batch<'_>) -> Result<(), StateError> {
        if made.identity == batch.book {
            return Ok(());
        }
        let problem = "is not the book that these changes are meant for";
        Err(StateError::new(&self.path, problem, "it will be written as a whole within seconds"))
    }

    /// Writes with the next version, and returns when it is on disk.
    fn flush(
        &mut self,
        step: impl FnOnce(&WriteTransaction, u64) -> Result<usize, redb::Error>,
    ) -> Result<Committed, StateError> {
        let made = self.ready()?;
        self.remembered = Remembered::default();
        let version = made.version + 1;
        #[cfg(test)]
        let disk = self.disk;
        let changes = self.write(|database| {
            let mut transaction = database.begin_write()?;
            // After a crash, a start need not walk the whole file.
            transaction.set_quick_repair(true);
            transaction.open_table(META)?.insert("version", version)?;
            let changes = step(&transaction, version)?;
            #[cfg(test)]
            if disk == Disk::Full {
                return Err(redb::Error::Io(io::ErrorKind::StorageFull.into()));
            }
            transaction.commit()?;
            #[cfg(test)]
            if disk == Disk::Lies {
                return Err(redb::Error::Io(io::ErrorKind::StorageFull.into()));
            }
            Ok(changes)
        })?;
        let made = Made { version, ..made };
        if let Some(Open { witness: Some(witness), .. }) = &self.open {
            witness.write(made);
        }
        self.seen = Some(made);
        self.unflushed = 0;
        self.is_ours = true;
        Ok(Committed { version, changes })
    }

    /// Runs `step`, which writes, on the open file, wherever that is by now. Otherwise like [`Book::run`].
    fn write<T>(&mut self, step: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StateError> {
        let Some(open) = &mut self.open else {
            return Err(describe(&self.path, &damaged("it is closed"), self.is_ours));
        };
        let outcome = guarded(|| step(&open.database));
        open.left.renew(&self.path);
        outcome.map_err(|broken| {
            self.close();
            self.broken(broken)
        })
    }
}

/// Closing a damaged one may panic as well.
impl Drop for Book {
    fn drop(&mut self) {
        self.close();
    }
}

fn database() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(limits::BOOK_CACHE_OCTETS);
    builder
}

/// The remedy at a start if the file is not a book, or is damaged.
const OF_DAMAGE: &str = "restore it from a backup, or run `ostia-precompute sync --accept-damaged --config FILE` once, which puts it aside and rebuilds it from the sources and every revocation that can still be read; then check the disk";
/// The same for a process that has the records of the configured issuers in memory.
const OF_DAMAGE_WHILE_RUNNING: &str = "move the file away and keep it: this process writes a new one, and nothing is lost of the issuers configured now; then check the disk";

/// `is_ours`: whether this process has in memory what the book held.
fn describe(path: &Path, error: &redb::Error, is_ours: bool) -> StateError {
    let of_damage = if is_ours { OF_DAMAGE_WHILE_RUNNING } else { OF_DAMAGE };
    let remedy = remedy(error).unwrap_or(match error {
        redb::Error::Io(error) => match error.kind() {
            // The file is not a book, or only half of one.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => of_damage,
            _ => "check the disk and its mount",
        },
        redb::Error::Corrupted(_) => of_damage,
        _ => "check the disk",
    });
    let problem = match error {
        redb::Error::DatabaseAlreadyOpen => "is in use by another process".into(),
        redb::Error::Corrupted(damage) => format!("the book is damaged: {damage}"),
        error => format!("the book cannot be read or written: {error}"),
    };
    let error = StateError::new(path, problem, remedy);
    if remedy == of_damage { error.damage() } else { error }
}

#[cfg(test)]
mod tests;
