//! The witness: a small file beside the book that says how far the book had come.
//!
//! Purpose: a book that is whole, but older than it was when it was last written, is noticed: a copy of an earlier day
//! in its place, a disk that lost what it had acknowledged, or a bit in the header by which redb falls back to the commit
//! before. Invariant: it is written after a commit is on disk, so it never says more than the book had; it is never
//! flushed, so it may say less. One that is missing, torn or of another book says nothing. It does not know what was in
//! the commits.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{
    layout::{Identity, Made},
    seal::{Kind, SEAL, Seal},
};

/// Behind the book's name.
const END: &str = ".version";
const SAID: usize = 16 + 8;

/// The open file; nothing where it cannot be opened.
#[derive(Debug)]
pub(super) struct Witness(Option<File>);

impl Witness {
    /// That of the book with this path. It is made if it is not there.
    pub(super) fn open(book: &Path) -> Self {
        let mut path = book.as_os_str().to_owned();
        path.push(END);
        Self(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).ok())
    }

    /// What it says of the book that it was written for.
    pub(super) fn said(&self) -> Option<Made> {
        let mut bytes = [0; SAID + SEAL];
        self.0.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        let (said, seal) = bytes.split_first_chunk::<SAID>()?;
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| said[at + i]));
        let made = Made { identity: Identity::from_halves(number(0), number(8)), version: number(16) };
        (sealed(said) == seal).then_some(made)
    }

    /// Whether it is of this book, and says that it had come further.
    pub(super) fn has_seen_later(&self, made: Made) -> Option<u64> {
        let said = self.said().filter(|said| said.identity == made.identity)?;
        Some(said.version - made.version.min(said.version)).filter(|missing| *missing > 0)
    }

    /// Writes what the book is now. A failure leaves an older witness.
    pub(super) fn write(&self, made: Made) {
        let Some(file) = &self.0 else { return };
        let mut bytes = [0; SAID + SEAL];
        let (high, low) = made.identity.halves();
        for (place, number) in bytes.chunks_exact_mut(8).zip([high, low, made.version]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        let seal = sealed(&bytes[..SAID]);
        bytes[SAID..].copy_from_slice(&seal);
        let _ = file.write_all_at(&bytes, 0);
    }
}

fn sealed(said: &[u8]) -> [u8; SEAL] {
    let mut seal = Seal::default();
    seal.add(Kind::Witness, &[], said);
    seal.to_bytes()
}
