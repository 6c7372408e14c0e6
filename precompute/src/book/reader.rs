//! Reads a book while it is written.
//!
//! Purpose: a load takes seconds, and a push waits for none. Invariant: everything that one reader gives is of one commit:
//! the last one when it was taken. It names the file that it reads, so whoever writes notices if another one has taken
//! its place since. If that file is closed meanwhile, it fails. It does not know who writes.
//!
//! While there is a reader, the pages that later commits replace are not used again: the file grows by about what is
//! written meanwhile, and that room is used afterwards.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{ReadTransaction, ReadableTableMetadata as _};

use super::{
    Held, Lineage, describe, hashes,
    layout::{Made, RECORDS, SEALS},
    loading::{load, named_issuers, number_of, walk_issuer},
    seal::Seal,
};
use crate::{
    issuer_id::IssuerId,
    pki::{Record, Serial},
    records::{CertificateHash, Origin},
    state_dir::{StateError, damage::guarded},
};

/// A commit of a book. Drop it soon: see above.
#[derive(Debug)]
pub struct BookReader {
    pub(super) read: ReadTransaction,
    pub(super) made: Made,
    /// That of the open database which it reads.
    pub(super) opening: Arc<()>,
    pub(super) path: PathBuf,
}

impl BookReader {
    /// Calls `each` with every record of `issuer`, in order of serial. After an error, discard everything it was called
    /// with.
    pub fn load(&self, issuer: &IssuerId, each: impl FnMut(Serial, Record, Origin)) -> Result<Held, StateError> {
        self.run(|| load(&self.read, self.made, issuer, each))
    }

    /// Calls `each` with the hash of every certificate of `issuer` that was pushed.
    pub fn load_hashes(&self, issuer: &IssuerId, each: impl FnMut(Serial, CertificateHash)) -> Result<(), StateError> {
        self.run(|| hashes::load(&self.read, issuer, each))
    }

    /// The hash of each of these certificates, if it was pushed.
    pub fn hashes_of<'s>(
        &self,
        issuer: &IssuerId,
        serials: impl Iterator<Item = &'s Serial>,
    ) -> Result<Vec<Option<CertificateHash>>, StateError> {
        self.run(|| hashes::of(&self.read, issuer, serials))
    }

    /// Calls `each` with every record of `issuer`, in order of serial, until it returns false. `None` if it did, and where the book does not know the issuer.
    pub fn walk(
        &self,
        issuer: &IssuerId,
        mut each: impl FnMut(Serial, Record, Origin) -> bool,
    ) -> Result<Option<Held>, StateError> {
        self.run(|| walk_issuer(&self.read, self.made, issuer, |(serial, record, origin)| each(serial, record, origin)))
    }

    /// The issuers that the book knows: all whose tenants it has, and of `configured` those that it had before it kept
    /// tenants.
    pub fn issuers(&self, configured: &[IssuerId]) -> Result<Vec<IssuerId>, StateError> {
        self.run(|| {
            let mut issuers = named_issuers(&self.read)?;
            for id in configured {
                if !issuers.contains(id) && number_of(&self.read, id)?.is_some() {
                    issuers.push(id.clone());
                }
            }
            Ok(issuers)
        })
    }

    /// See [`Lineage`].
    pub fn lineage(&self) -> Result<Lineage, StateError> {
        self.run(|| Lineage::read(&self.read))
    }

    /// How many records the book holds, of all issuers.
    pub fn record_count(&self) -> Result<u64, StateError> {
        self.run(|| Ok(self.read.open_table(RECORDS)?.len()?))
    }

    /// The directory of the book.
    pub fn state_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The version of the book that it reads.
    #[cfg(test)]
    pub(crate) fn version(&self) -> u64 {
        self.made.version
    }

    /// How many records of an issuer a load will have, or a few more, without reading them: for making room beforehand.
    pub fn room_for(&self, issuer: &IssuerId) -> Result<usize, StateError> {
        self.run(|| {
            let Some(number) = number_of(&self.read, issuer)? else { return Ok(0) };
            let sealed = self.read.open_table(SEALS)?.get(number)?;
            let sealed = sealed.map_or(0, |seal| Seal::from_bytes(seal.value()).entries());
            // A damaged seal says anything.
            Ok(sealed.min(self.read.open_table(RECORDS)?.len()?) as usize)
        })
    }

    pub(super) fn run<T>(&self, step: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StateError> {
        guarded(step).map_err(|broken| describe(&self.path, &broken.into(), false))
    }
}
