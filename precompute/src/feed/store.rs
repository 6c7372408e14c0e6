//! What a reader and a writer keep: records, the place in the feed that they are from, and what is not told yet.
//!
//! Purpose: what the machines ask of a table of records, and of a book. Invariant: records and place change in one
//! commit, so that after a crash they still belong together. It does not know how they are kept.

use std::fmt;

use super::{Chain, Issuer, Manifest, Position, Refusal, body::Section};
use crate::{
    pki::Serial,
    records::{CertificateHash, Change, Digest},
};

/// An entry of the chain, after which records are as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its position.
    pub position: Position,
    /// Its hash.
    pub chain: Chain,
}

impl Place {
    /// Before the first entry.
    pub const START: Self = Self { position: Position::START, chain: Chain::START };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.position, self.chain)
    }
}

/// It cannot be written. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(pub String);

/// Gives everything that a snapshot and the entries after it say.
pub type Walk<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Walked<'_>)) -> Result<(), Refusal>;

/// A part of that.
#[derive(Clone, Copy, Debug)]
pub enum Walked<'a> {
    /// So many records of this issuer come, or fewer, and a few that the entries have: then everything was given that the
    /// feed says of it. Of an issuer that does not come so, something may be missing, or the writer does not have it.
    Coming(Issuer, usize),
    /// Some of them.
    Records(Issuer, &'a [Change]),
    /// The hashes of some of its certificates. They decide no status, and none is taken back.
    Hashes(Issuer, &'a [(Serial, CertificateHash)]),
}

/// Records, and where they are from. Whatever the feed says goes through [`by_feed`](super::by_feed) against the present
/// record; where that stays, it is a contradiction, which ends when the feed says the same.
pub trait Store {
    /// What they are from; `None` while nothing was ever taken from the feed.
    fn place(&self) -> Option<Place>;

    /// Applies what an entry says. A row of the outbox about the same record then has this as what was told last, and is
    /// none if nothing else is to be told.
    fn apply(&mut self, place: Place, sections: &[Section]) -> Result<(), Fault>;

    /// Applies what `walk` gives, once for each record, and takes for unlisted what it does not give, of issuers that it
    /// has. If it fails, nothing has changed, or the store has no place any more.
    fn reconcile(&mut self, place: Place, walk: Walk<'_>) -> Result<(), Fault>;

    /// What an issuer's records amount to; `None` if it is unknown, or contradictions make it another's for good.
    fn digest(&self, issuer: Issuer) -> Option<Digest>;
}

/// A change that was committed and not told yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// Whose.
    pub issuer: Issuer,
    /// What the record says now.
    pub change: Change,
    /// The commit that changed it last.
    pub version: u64,
}

/// The book of a writer.
pub trait Book: Store {
    /// What a record says now; `None` of an issuer that this book does not have, of which it can say nothing.
    fn present(&self, issuer: Issuer, serial: &Serial) -> Option<Change>;

    /// At most so many rows of the outbox: pushes first.
    fn owed(&self, most: usize) -> Vec<Owed>;

    /// The hash of each of these certificates, if it was pushed; it is told with its record, whatever else that says. Empty
    /// if none was.
    fn hashes(&self, issuer: Issuer, changes: &[Change]) -> Vec<Option<CertificateHash>>;

    /// They were told, and this is the place now. A row that has changed since keeps its place in the outbox, and what
    /// was told last is this.
    fn told(&mut self, place: Place, rows: &[Owed]) -> Result<(), Fault>;

    /// Takes back what was not told, but for final revocations: those become debts (rule 16).
    fn undo_untold(&mut self) -> Result<(), Fault>;

    /// What this book knows better than the feed.
    fn debts(&self) -> Vec<(Issuer, Change)>;

    /// From now on the debts are rows of the outbox: this writer tells them itself.
    fn owe_debts(&mut self) -> Result<(), Fault>;

    /// Takes over what is stricter, with a row in the outbox (rule 12).
    fn absorb(&mut self, said: &[(Issuer, Change)]) -> Result<(), Fault>;

    /// Some issuers with their digests, for a heartbeat; by turns if there are more.
    fn digests(&mut self, most: usize) -> Vec<(Issuer, Digest)>;
}

/// Where the chunks of snapshots come from.
pub trait Snapshots: Send {
    /// How many chunks from the first one on are at hand; `None` if nobody has this snapshot. It begins to fetch it.
    fn here(&mut self, manifest: &Manifest) -> Option<usize>;

    /// One that is at hand.
    fn chunk(&mut self, manifest: &Manifest, number: usize) -> Option<Vec<u8>>;
}
