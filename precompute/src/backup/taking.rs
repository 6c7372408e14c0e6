//! Fills a file from a book.
//!
//! Invariant: all of it is of the commit that the reader has, and an issuer ends in the file only after its seal was found
//! to hold. It does not know who writes the book meanwhile.

use std::{collections::HashMap, fmt, io};

use super::{
    framing::Head,
    writing::{Out, Writer},
};
use crate::{book::BookReader, issuer_id::IssuerId, pki::UnixTime, state_dir::StateError};

/// Why there is no backup.
#[derive(Debug)]
pub enum NotTaken {
    /// The book cannot be read.
    Book(StateError),
    /// What was read cannot be written.
    Out(io::Error),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Book(error) => error.fmt(f),
            Self::Out(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotTaken {}

impl From<StateError> for NotTaken {
    fn from(error: StateError) -> Self {
        Self::Book(error)
    }
}

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        Self::Out(error)
    }
}

/// Writes all of the commit that `reader` has to `out`, piece by piece; gives the numbers of records and of bytes.
/// `configured`: issuers that the book may know without their tenants. `cluster`: of the feed. Where the book cannot be
/// read, the file says so to whoever reads it.
pub fn take(
    reader: &BookReader,
    configured: &[IssuerId],
    cluster: Option<String>,
    out: &mut Out<'_>,
) -> Result<(u64, u64), NotTaken> {
    let head = Head::of(reader.state_dir(), cluster, reader.record_count()?, UnixTime::now());
    let mut writer = Writer::begin(&head, out)?;
    match fill(reader, configured, &mut writer) {
        Ok(()) => Ok(writer.end()?),
        Err(NotTaken::Book(error)) => {
            writer.fail(&error.to_string())?;
            Err(NotTaken::Book(error))
        }
        Err(error) => Err(error),
    }
}

fn fill(reader: &BookReader, configured: &[IssuerId], writer: &mut Writer<'_>) -> Result<(), NotTaken> {
    let issuers = reader.issuers(configured)?;
    for id in &issuers {
        writer.issuer(id)?;
        let mut written = Ok(());
        let held = reader.walk(id, |serial, record, origin| {
            written = writer.record(&serial, &record, origin);
            written.is_ok()
        });
        written?;
        // It is one of those that the book has, and nothing has stopped the walk.
        if let Some(held) = held? {
            writer.end_of_issuer(&held)?;
            let mut written = Ok(());
            reader.load_hashes(id, |serial, hash| {
                if written.is_ok() {
                    written = writer.hash(&serial, &hash);
                }
            })?;
            written?;
            writer.end_of_hashes()?;
        }
    }
    let places: HashMap<&IssuerId, u32> = issuers.iter().zip(0..).collect();
    for (former, successor) in reader.lineage()?.successions() {
        if let (Some(former), Some(successor)) = (places.get(&former), places.get(&successor)) {
            writer.succession(*former, *successor)?;
        }
    }
    Ok(())
}
