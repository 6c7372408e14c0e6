//! What carries the feed: a stream with rising IDs, and beside it a manifest and what standbys have on disk.
//!
//! Purpose: what the machines ask of Redis, so that a model can stand in for it. Invariant: an implementation may lose,
//! repeat, forge, restore and withhold whatever it likes, and answer late or not at all; the machines count on nothing
//! but what each outcome says.

use std::sync::Arc;

use super::{KeyId, Position, Sealed};

/// There was no answer, and nothing was done; or nobody can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// The outcome of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It is the last entry.
    Written,
    /// An equal or higher ID is there, or was.
    Lower,
    /// There is no stream, and this entry must not create it.
    NoStream,
    /// It was sent, and no answer came.
    Ambiguous,
    /// The server has no room for it.
    Full,
    /// It was not sent.
    Gone,
}

/// The state of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// The highest ID that it ever had.
    pub last: Position,
    /// How many entries it has.
    pub length: u64,
}

/// An entry as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    /// Its ID.
    pub position: Position,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// What was found under the name of a key.
pub type UnderKey = (KeyId, Arc<[u8]>);

/// What carries the feed.
pub trait Transport {
    /// Which connection the next call uses: another number after each time that it was lost, or went to another server.
    /// `None` while nobody is reached.
    fn connection(&mut self) -> Option<u64>;

    /// Appends an entry. `may_create`: also where there is no stream.
    fn append(&mut self, entry: &Sealed, may_create: bool) -> Appended;

    /// At most `most` entries after this position, in order. It may wait for the first of them.
    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone>;

    /// The stream; `None` if there is none.
    fn info(&mut self) -> Result<Option<Info>, Gone>;

    /// The manifest of the newest snapshot.
    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone>;

    /// Replaces it.
    fn set_head(&mut self, manifest: &[u8]) -> Result<(), Gone>;

    /// Puts what a standby has on disk under the name of its key.
    fn acknowledge(&mut self, by: KeyId, acknowledgement: &[u8]) -> Result<(), Gone>;

    /// What is there under these names, as far as there is anything.
    fn acknowledgements(&mut self, by: &[KeyId]) -> Result<Vec<UnderKey>, Gone>;

    /// Removes entries before this position.
    fn trim(&mut self, before: Position) -> Result<(), Gone>;

    /// Removes the stream, with its last ID.
    fn unlink(&mut self) -> Result<(), Gone>;
}
