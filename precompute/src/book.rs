//! The book: the durable set of all records.
//!
//! Purpose: keeps what sources said, so that a process killed at any instant finds everything it had acknowledged.
//! Invariant: [`Book::commit`] has returned if and only if the whole batch is on disk. A batch is there as a whole or
//! not at all. What is loaded is what was written: each issuer's records are under one seal, which is written in the
//! same commit and verified when they are loaded. The book does not know sources or policies, and does not judge a
//! change.
//!
//! It is one redb file. Records are keyed by the issuer's number in this file and the serial number, so an issuer's
//! records are adjacent and in order. The number is not used outside this module: an issuer is known by its
//! [`IssuerId`], and the file by its [`Identity`]. A writer names the file that its batch is for, so a file that was
//! replaced while the process runs is never mistaken for the old one.

mod codec;
mod layout;
mod lineage;
mod overlay;
mod salvage;
mod seal;

pub use self::{
    layout::Identity,
    lineage::Lineage,
    salvage::{Salvaged, salvage},
};

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use tracing::warn;

use self::{
    codec::{decode, decode_mark, encode, encode_mark, key, mark_key, range},
    layout::{
        COMPLETE, CRL_MARKS, DELTA, FORMAT, HOLDS, ISSUERS, KEY, META, Made, RECORDS, SEALS, SUCCESSORS, TENANTS,
        Unready, VERIFIED, damaged, issuer_seal, make_ready, successor_seal,
    },
    overlay::Overlay,
    seal::{Kind, Seal},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial, UnixTime},
    records::Change,
    source::{CrlMark, CrlMarks, CrlScope},
    state_dir::{
        BOOK, OF_DIRECTORY, StateError,
        damage::{Broken, guarded},
        remedy,
        stamp::FileStamp,
    },
};

/// Changes of one issuer's records that belong together.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The issuer whose records these are.
    pub issuer: &'a IssuerId,
    /// The file that they are for.
    pub book: Identity,
    /// Fastest in order of serial.
    pub changes: &'a [Change],
    /// The CRLs they come from.
    pub crl_marks: Option<CrlMarks>,
    /// When the sources were in order.
    pub verified: Option<UnixTime>,
    /// The predecessors of this issuer.
    pub succeeds: &'a [IssuerId],
}

/// What a book holds about an issuer, beside its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Whether it knows the issuer at all.
    pub known: bool,
    /// The newest CRLs taken.
    pub crl_marks: CrlMarks,
    /// When the sources were last known to be in order.
    pub verified: Option<UnixTime>,
    /// The file that it was read from.
    pub book: Identity,
}

/// The open file. No other process can open it at the same time.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    open: Option<Open>,
    /// What the file was when it was last used; `None` before it was opened.
    seen: Option<Made>,
    /// Whether this process has written it, and so has everything about the configured issuers in memory.
    is_ours: bool,
    /// Whether it is only read, while another process has it open.
    is_look: bool,
}

#[derive(Debug)]
struct Open {
    database: Database,
    /// The stamp after the last use. Only this process writes the file, and then reads the stamp again; a copy written
    /// over it in place shows in its time or length.
    file: FileStamp,
}

impl Book {
    /// Opens `book.redb` in the state directory; creates both if missing.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(state_dir)
            .map_err(|error| StateError::new(state_dir, format!("cannot be made: {error}"), OF_DIRECTORY))?;
        let mut book = Self { path: state_dir.join(BOOK), open: None, seen: None, is_ours: false, is_look: false };
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
        let mut book = Self { path, open: None, seen: None, is_ours: false, is_look: true };
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
        Self { path: state_dir.join("absent/book.redb"), open: None, seen: None, is_ours: false, is_look: false }
    }

    /// Makes sure that the file in the book's place is the open one. A missing file is created. A file that was
    /// replaced, or is older than the last write, gets an identity that no process has seen.
    fn ready(&mut self) -> Result<Made, StateError> {
        if !self.is_look && self.open.as_ref().is_some_and(|open| FileStamp::of(&self.path) != Some(open.file)) {
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
        self.take_up(file, |file| database().create_file(file))
    }

    fn take_up(
        &mut self,
        file: File,
        open: impl FnOnce(File) -> Result<Database, redb::DatabaseError>,
    ) -> Result<Made, StateError> {
        let before = self.seen;
        let of_file = file.metadata().map(|metadata| FileStamp::from(&metadata));
        let of_file = of_file.map_err(|error| describe(&self.path, &redb::Error::Io(error), self.is_ours))?;
        let opened = guarded(|| {
            let database = open(file)?;
            let made = match make_ready(&database) {
                Ok(made) => made,
                Err(Unready::Redb(error)) => return Err(error),
                Err(Unready::Format(format)) => return Ok(Err(format)),
            };
            // Also a file that this process had before, because it lacks what was written since.
            let is_same =
                before.is_none_or(|before| before.identity == made.identity && before.version <= made.version);
            let made = if is_same { made } else { Made { identity: layout::rename(&database)?, ..made } };
            Ok(Ok((database, made)))
        });
        let (database, made) = match opened {
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
        // Opening writes, and may take long: another file may be in its place by now.
        let file = FileStamp::of(&self.path).filter(|now| of_file.is_same_file(now)).unwrap_or(of_file);
        self.open = Some(Open { database, file });
        self.seen = Some(made);
        Ok(made)
    }

    fn broken(&self, broken: Broken) -> StateError {
        describe(&self.path, &broken.into(), self.is_ours)
    }

    /// Closing may panic again.
    fn close(&mut self) {
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

    /// Calls `each` with every record of `issuer`, in order of serial. After an error, discard everything it was called
    /// with.
    pub fn load(&mut self, issuer: &IssuerId, each: impl FnMut(Serial, Record)) -> Result<Held, StateError> {
        // What is loaded is not in memory yet, whatever else is.
        let is_ours = std::mem::take(&mut self.is_ours);
        let held = self.run(|database, made| load(database, made, issuer, each));
        self.is_ours = is_ours;
        held
    }

    /// Its list of issuers, for [`Lineage::predecessors`].
    pub fn lineage(&mut self) -> Result<Lineage, StateError> {
        self.run(|database, _| Lineage::read(database))
    }

    /// The issuers it holds records of, if it knows their tenants.
    fn issuers(&mut self) -> Result<Vec<IssuerId>, StateError> {
        self.run(|database, _| {
            let tenants = database.begin_read()?.open_table(TENANTS)?;
            let issuer = |(issuer, tenant): (&[u8; 32], &str)| IssuerId::new(tenant, *issuer);
            tenants.iter()?.map(|entry| Ok(issuer(entry?.1.value()))).collect()
        })
    }

    /// How many records the book holds, of all issuers.
    pub fn record_count(&mut self) -> Result<u64, StateError> {
        self.run(|database, _| Ok(redb::ReadableTableMetadata::len(&database.begin_read()?.open_table(RECORDS)?)?))
    }

    /// One record.
    pub fn get(&mut self, issuer: &IssuerId, serial: &Serial) -> Result<Option<Record>, StateError> {
        self.run(|database, _| {
            let read = database.begin_read()?;
            let Some(number) = read.open_table(ISSUERS)?.get(issuer.fingerprint())?.map(|guard| guard.value()) else {
                return Ok(None);
            };
            let records = read.open_table(RECORDS)?;
            let key = key(number, *serial.padded());
            let value = records.get(&key)?;
            Ok(value.and_then(|value| decode(&key, value.value())).map(|(_, record)| record))
        })
    }

    /// Writes a batch and returns when it is on disk. Every changed record gets the returned version, which is higher
    /// than all before. Fails if the book in place is not the one that the batch is for.
    pub fn commit(&mut self, batch: &Batch<'_>) -> Result<u64, StateError> {
        let made = self.ready()?;
        if made.identity != batch.book {
            let problem = "is not the book that these changes are meant for";
            return Err(StateError::new(&self.path, problem, "it will be written as a whole within seconds"));
        }
        // Into exactly this file, wherever it is by now.
        let Some(open) = &mut self.open else {
            return Err(describe(&self.path, &damaged("it is closed"), self.is_ours));
        };
        let version = made.version + 1;
        let outcome = guarded(|| {
            let mut transaction = open.database.begin_write()?;
            // After a crash, a start need not walk the whole file.
            transaction.set_quick_repair(true);
            write(&transaction, batch, version)?;
            Ok(transaction.commit()?)
        });
        open.file = FileStamp::of(&self.path).filter(|now| open.file.is_same_file(now)).unwrap_or(open.file);
        outcome.map_err(|broken| {
            self.close();
            self.broken(broken)
        })?;
        self.seen = Some(Made { version, ..made });
        self.is_ours = true;
        Ok(version)
    }
}

/// Closing a damaged one may panic as well.
impl Drop for Book {
    fn drop(&mut self) {
        self.close();
    }
}

fn load(
    database: &Database,
    made: Made,
    issuer: &IssuerId,
    mut each: impl FnMut(Serial, Record),
) -> Result<Held, redb::Error> {
    let read = database.begin_read()?;
    let nothing = Held { known: false, crl_marks: CrlMarks::default(), verified: None, book: made.identity };
    let Some(number) = read.open_table(ISSUERS)?.get(issuer.fingerprint())?.map(|guard| guard.value()) else {
        return Ok(nothing);
    };
    let mut seal = Seal::default();
    let (first, last) = range(number);
    for entry in read.open_table(RECORDS)?.range::<&[u8; KEY]>(&first..=&last)? {
        let (key, value) = entry?;
        seal.add(Kind::Record, key.value(), value.value());
        if let Some((serial, record)) = decode(key.value(), value.value()) {
            each(serial, record);
        }
    }
    let marks = read.open_table(CRL_MARKS)?;
    let mut mark = |kind| -> Result<Option<CrlMark>, redb::Error> {
        let Some(mark) = marks.get((number, kind))? else { return Ok(None) };
        seal.add(Kind::CrlMark, &mark_key(number, kind), mark.value());
        Ok(Some(decode_mark(mark.value())))
    };
    let (complete, delta) = (mark(COMPLETE)?, mark(DELTA)?);
    let crl_marks = CrlMarks { complete, delta, holds: mark(HOLDS)?.map(|mark| CrlScope(mark.digest)) };
    let verified = read.open_table(VERIFIED)?.get(number)?.map(|time| time.value());
    if let Some(time) = verified {
        seal.add(Kind::Verified, &number.to_be_bytes(), &time.to_be_bytes());
    }
    let sealed = read.open_table(SEALS)?.get(number)?.map(|seal| Seal::from_bytes(seal.value()));
    if sealed != Some(seal) {
        let tenant = issuer.tenant();
        return Err(damaged(&format!("the records of an issuer of `{tenant}` do not match their seal")));
    }
    Ok(Held { known: true, crl_marks, verified: verified.map(UnixTime), ..nothing })
}

fn write(transaction: &redb::WriteTransaction, batch: &Batch<'_>, version: u64) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("version", version)?;
    let mut seals = transaction.open_table(SEALS)?;
    let mut issuers = transaction.open_table(ISSUERS)?;
    let known = issuers.get(batch.issuer.fingerprint())?.map(|guard| guard.value());
    let (number, mut seal) = match known {
        Some(number) => {
            let seal = seals.get(number)?.map(|seal| Seal::from_bytes(seal.value()));
            (number, seal.ok_or_else(|| damaged("an issuer has no seal"))?)
        }
        None => {
            let number = redb::ReadableTableMetadata::len(&issuers)? as u32;
            let tenant = (batch.issuer.ca(), batch.issuer.tenant());
            let before = meta.get("issuers")?.map_or(0, |guard| guard.value());
            let list = before.wrapping_add(issuer_seal(batch.issuer.fingerprint(), number, Some(tenant)));
            meta.insert("issuers", list)?;
            issuers.insert(batch.issuer.fingerprint(), number)?;
            transaction.open_table(TENANTS)?.insert(number, tenant)?;
            (number, Seal::default())
        }
    };
    if !batch.succeeds.is_empty() {
        let mut successors = transaction.open_table(SUCCESSORS)?;
        let mut list = meta.get("issuers")?.map_or(0, |guard| guard.value());
        for former in batch.succeeds {
            let Some(former) = issuers.get(former.fingerprint())?.map(|guard| guard.value()) else { continue };
            if successors.insert((former, number), ())?.is_none() {
                list = list.wrapping_add(successor_seal((former, number)));
            }
            // It may have been the predecessor of that one before.
            if successors.remove((number, former))?.is_some() {
                list = list.wrapping_sub(successor_seal((number, former)));
            }
        }
        meta.insert("issuers", list)?;
    }
    let mut records = transaction.open_table(RECORDS)?;
    for change in batch.changes {
        let key = key(number, *change.serial.padded());
        let before = match change.record {
            Some(record) => {
                let value = encode(&record, version);
                seal.add(Kind::Record, &key, &value);
                records.insert(&key, &value)?
            }
            None => records.remove(&key)?,
        };
        if let Some(before) = before {
            seal.remove(Kind::Record, &key, before.value());
        }
    }
    if let Some(CrlMarks { complete, delta, holds }) = batch.crl_marks {
        let mut marks = transaction.open_table(CRL_MARKS)?;
        let holds = holds.map(|scope| CrlMark { number: None, this_update: UnixTime(0), digest: scope.0 });
        for (kind, mark) in [(COMPLETE, complete), (DELTA, delta), (HOLDS, holds)] {
            let sealed_as = mark_key(number, kind);
            let before = match mark {
                Some(mark) => {
                    let value = encode_mark(&mark);
                    seal.add(Kind::CrlMark, &sealed_as, &value);
                    marks.insert((number, kind), &value)?
                }
                None => marks.remove((number, kind))?,
            };
            if let Some(before) = before {
                seal.remove(Kind::CrlMark, &sealed_as, before.value());
            }
        }
    }
    if let Some(time) = batch.verified {
        let sealed_as = number.to_be_bytes();
        seal.add(Kind::Verified, &sealed_as, &time.0.to_be_bytes());
        if let Some(before) = transaction.open_table(VERIFIED)?.insert(number, time.0)? {
            seal.remove(Kind::Verified, &sealed_as, &before.value().to_be_bytes());
        }
    }
    seals.insert(number, &seal.to_bytes())?;
    Ok(())
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
