//! The feed: what one writer knows, in as many readers as there are.
//!
//! Purpose: the protocol as pure code. A writer tells each change of its records in an [`Entry`] of a stream; readers
//! follow, and whoever cannot takes a snapshot. The stream carries, and is never the truth: the book is. Invariants:
//!
//! - What an entry says counts only if a trusted key signed it for this cluster, and only after the very entry that it
//!   follows: each has the hash of the one before ([`Chain`]).
//! - No entry, snapshot or writer takes back a final revocation that a reader has shown.
//! - Of two writers the one with the higher epoch writes; the other finds out before it acknowledges anything more.
//! - A decoder takes any bytes, and allocates no more than those bytes justify.
//!
//! The modules: `wire` reads and writes numbers within bounds; [`keys`] has the cluster's name and who may write;
//! [`entry`] is an entry, [`body`] what it says; [`manifest`] and [`snapshot`] are everything at one position. [`reader`]
//! and [`writer`] are machines: they are stepped at a moment, over a [`transport`] and a [`store`], and say what came of
//! it. [`ledgers`] is the store of a writer, and [`replica`] that of a reader that serves. `chain` has the entries that a
//! writer remembers, `pulse` signs of life, [`acknowledgement`] what a standby has on disk, and `rule` what may become of a record; `ahead` lends a thread to what is read
//! ahead. [`shelf`] keeps snapshots as files,
//! gives them out and fetches them. [`servers`] is the registry of who takes part, [`configuration`] a version of what all are to be configured with. [`probe`] looks at a feed from outside. `simulation` runs the machines against everything that may go wrong.
//!
//! An issuer is called here by the fingerprint of its [`IssuerId`], as in the book: SHA-256 over the tenant's name and
//! the CA. So two tenants with one CA are apart in the feed as well, and an entry has no names in it. Which tenant and CA
//! that is stands in [`IssuerStatus`](body::IssuerStatus), for people and for the book of a standby.
//!
//! Nothing here but [`redis`], [`shelf`] and [`probe`], which asks both, reads a clock or does I/O; only the first knows
//! Redis, and only the second HTTP and files. None of it knows how a ledger decides what it tells.

pub mod acknowledgement;
mod ahead;
pub mod body;
pub mod carrier;
mod chain;
pub mod configuration;
pub mod entry;
pub mod https;
pub mod keys;
pub mod ledgers;
pub mod manifest;
#[cfg(test)]
mod over_redis;
pub mod poll;
pub mod probe;
mod pulse;
pub mod reader;
pub mod redis;
pub mod replica;
mod rule;
pub mod servers;
pub mod shelf;
#[cfg(test)]
mod simulation;
pub mod snapshot;
pub mod store;
pub mod transport;
mod walking;
mod wire;
pub mod writer;

use std::fmt;

use aws_lc_rs::digest;

pub(crate) use self::wire::{Input, put_text};
pub use self::{
    ahead::ahead,
    body::Body,
    entry::{Entry, Opened, Sealed},
    keys::{Cluster, KeyId, PublicKey, Trusted, WriterKey},
    manifest::Manifest,
    pulse::{Apart, Freshness, Moment},
    reader::Reader,
    rule::{Verdict, by_feed},
    walking::{Later, LaterHashes, walk, walk_hashes},
    wire::Refusal,
    writer::Writer,
};
use crate::{issuer_id::IssuerId, pki::hex::Hex};

/// The place of an entry in the stream, and its ID there: `<epoch>-<sequence>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Position {
    /// Of one leadership: microseconds since 1970 when it began, or one more than any seen.
    pub epoch: u64,
    /// Within it: 0 is the fence, 1 the `begin`.
    pub sequence: u64,
}

impl Position {
    /// Before every entry.
    pub const START: Self = Self { epoch: 0, sequence: 0 };

    /// The next one of the same epoch.
    pub const fn next(self) -> Self {
        Self { epoch: self.epoch, sequence: self.sequence.saturating_add(1) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// SHA-256 of an entry. It depends on every entry before it, so that equal ones mean an equal history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// Before the first entry.
    pub const START: Self = Self([0; 32]);

    /// That of an entry as it stands in the stream.
    pub fn of(entry: &[u8]) -> Self {
        Self(sha256(entry))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0[..4]).fmt(f)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

/// What an issuer is called in the feed: [`IssuerId::fingerprint`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(pub [u8; 32]);

impl From<&IssuerId> for Issuer {
    fn from(id: &IssuerId) -> Self {
        Self(*id.fingerprint())
    }
}

/// As [`IssuerId`].
impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0[..4]).fmt(f)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({self})")
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests;
