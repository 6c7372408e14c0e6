//! What can be had from a damaged book.
//!
//! Purpose: somebody decided to go on without a backup; then no revocation that can still be read may be lost. Invariant:
//! the damaged file is only read, and put aside; the new one holds nothing but revocations: who is good is for the
//! sources to say. It does not know configurations: records whose issuer is no longer known are counted, and left out.

use std::{
    collections::BTreeMap,
    fmt, fs,
    fs::File,
    path::{Path, PathBuf},
};

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::{
    Batch, Book, IssuerId,
    codec::decode,
    database,
    layout::{KEY, RECORDS, TENANTS, VALUE},
    overlay::Overlay,
};
use crate::{
    pki::Status,
    records::Change,
    state_dir::{BOOK, OF_DIRECTORY, StateError, damage::guarded},
};

/// What was had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// Where the damaged file lies now.
    pub aside: PathBuf,
    /// Revocations that are in the new book, holds included.
    pub revocations: usize,
    /// Revocations that could be read and not whose they are.
    pub unassigned: usize,
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { aside, revocations, unassigned } = self;
        write!(f, "the damaged book is put aside as {}; {revocations} revocations were read from it", aside.display())?;
        if *unassigned > 0 {
            write!(f, ", and {unassigned} more of which nobody can say to which issuer they belong")?;
        }
        Ok(())
    }
}

/// Makes the book anew from what can be read of a damaged one; `None` where it is in order, or where there is none.
pub fn salvage(state_dir: &Path) -> Result<Option<Salvaged>, StateError> {
    let path = state_dir.join(BOOK);
    if !path.exists() || is_in_order(state_dir)? {
        return Ok(None);
    }
    let (issuers, revocations) = read(&path);
    let problem = |what: &str, error| StateError::new(&path, format!("{what}: {error}"), OF_DIRECTORY);
    let (aside, beside) = (unused(&path.with_extension("redb.damaged")), state_dir.join("salvaged"));
    let mut salvaged = Salvaged { aside, revocations: 0, unassigned: 0 };
    // A try before this one may have been killed.
    let _ = fs::remove_dir_all(&beside);
    let mut book = Book::open(&beside)?;
    for (number, changes) in revocations {
        let Some(issuer) = issuers.get(&number) else {
            salvaged.unassigned += changes.len();
            continue;
        };
        let changes: Vec<_> = changes.into_values().collect();
        let batch =
            Batch { issuer, book: book.identity()?, changes: &changes, crl_marks: None, verified: None, succeeds: &[] };
        book.commit(&batch)?;
        salvaged.revocations += changes.len();
    }
    drop(book);
    // At no instant is there no book.
    fs::hard_link(&path, &salvaged.aside).map_err(|error| problem("cannot be put aside", error))?;
    fs::rename(beside.join(BOOK), &path).map_err(|error| problem("cannot be replaced", error))?;
    let _ = fs::remove_dir(&beside);
    Ok(Some(salvaged))
}

/// Whether every seal holds. An error where that cannot be said, or another process has the file.
fn is_in_order(state_dir: &Path) -> Result<bool, StateError> {
    let mut book = match Book::open(state_dir) {
        Ok(book) => book,
        Err(error) if error.is_damage() => return Ok(false),
        Err(error) => return Err(error),
    };
    for issuer in book.issuers()? {
        match book.load(&issuer, |_, _| ()) {
            Ok(_) => {}
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

type Revocations = BTreeMap<u32, BTreeMap<[u8; KEY], Change>>;

/// Whoever can be read, and the revocations, from both ends: what lies behind a broken page is met from the other side.
fn read(path: &Path) -> (BTreeMap<u32, IssuerId>, Revocations) {
    let (mut issuers, mut revocations) = (BTreeMap::new(), Revocations::new());
    for backwards in [false, true] {
        // Each look opens the file anew: after a panic nothing of redb's is used again.
        let _ = guarded(|| {
            let database = open(path)?;
            let read = database.begin_read()?;
            read_issuers(&read, backwards, &mut issuers)
        });
        let _ = guarded(|| {
            let database = open(path)?;
            let read = database.begin_read()?;
            read_revocations(&read, backwards, &mut revocations)
        });
    }
    (issuers, revocations)
}

fn open(path: &Path) -> Result<Database, redb::Error> {
    Ok(database().create_with_backend(Overlay::new(File::open(path)?)?)?)
}

fn read_issuers(
    read: &ReadTransaction,
    backwards: bool,
    issuers: &mut BTreeMap<u32, IssuerId>,
) -> Result<(), redb::Error> {
    let table = read.open_table(TENANTS)?;
    let mut entries = table.iter()?;
    while let Some(entry) = if backwards { entries.next_back() } else { entries.next() } {
        let (number, whose) = entry?;
        let (issuer, tenant) = whose.value();
        issuers.insert(number.value(), IssuerId::new(tenant, *issuer));
    }
    Ok(())
}

fn read_revocations(read: &ReadTransaction, backwards: bool, revocations: &mut Revocations) -> Result<(), redb::Error> {
    let table = read.open_table(RECORDS)?;
    let mut entries = table.iter()?;
    while let Some(entry) = if backwards { entries.next_back() } else { entries.next() } {
        let (key, value): (redb::AccessGuard<'_, &[u8; KEY]>, redb::AccessGuard<'_, &[u8; VALUE]>) = entry?;
        let key = *key.value();
        if let Some((serial, record)) = decode(&key, value.value())
            && record.status != Status::Good
        {
            let number = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
            revocations.entry(number).or_default().insert(key, Change { serial, record: Some(record) });
        }
    }
    Ok(())
}

/// `path`, or with a number behind it: what was put aside before is not lost.
fn unused(path: &Path) -> PathBuf {
    let numbered = (1u32..).map(|number| path.with_extension(format!("damaged.{number}")));
    std::iter::once(path.to_owned()).chain(numbered).find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}
