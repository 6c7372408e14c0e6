//! The frames that a file consists of.
//!
//! Invariant: a frame ends with SHA-256 over everything in the file before that hash, so a frame that was changed, left
//! out, repeated or moved is noticed with it. It guards against damage, not against somebody who can write the file. It
//! does not know what is in a frame.
//!
//! A file is [`MAGIC`], [`VERSION`] in four bytes, and frames: a kind in one byte, a length in four, so many bytes, and
//! the hash. A reader passes over kinds from 128 up. Numbers are big-endian.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::{
    pki::UnixTime,
    state_dir::{self, Found},
};

/// What every file begins with.
pub(super) const MAGIC: [u8; 8] = *b"ostiabak";
/// The version of the layout; a later one is refused by its number.
pub(super) const VERSION: u32 = 1;
/// Bytes of a hash.
pub(super) const HASH: usize = 32;

/// [`Head`] as JSON. It comes first.
pub(super) const HEAD: u8 = 1;
/// The fingerprint of a CA in 32 bytes, and the tenant's name: records of this issuer follow.
pub(super) const ISSUER: u8 = 2;
/// Rows.
pub(super) const RECORDS: u8 = 3;
/// The number of the issuer's records in 8 bytes, when its sources were in order in 8 (0 if never), and its marks.
pub(super) const ISSUER_END: u8 = 4;
/// Two issuers by their numbers in the file, of four bytes: the first has left its tenant's name to the second.
pub(super) const SUCCESSION: u8 = 5;
/// The number of all records in 8 bytes. It comes last.
pub(super) const END: u8 = 6;
/// Why the file does not go on, as text.
pub(super) const FAILED: u8 = 7;
/// Kinds from here on may be passed over.
pub(super) const OTHER: u8 = 128;
/// Hashes of the last issuer's certificates that were pushed, behind its end, in order of serial.
pub(super) const HASHES: u8 = 128;

/// Where a file is from, for people. Nothing of it is restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// The identity of the server, if it had one.
    pub server: Option<String>,
    /// The machine.
    pub host: String,
    /// The cluster of the feed, if there is one.
    pub cluster: Option<String>,
    /// The version of the program.
    pub program: String,
    /// About how many records follow: for showing how far a reader is.
    pub records: u64,
}

impl Head {
    /// Of the book in `state_dir`, with so many records.
    pub(super) fn of(state_dir: &Path, cluster: Option<String>, records: u64, now: UnixTime) -> Self {
        let server = state_dir::server(state_dir).ok().flatten().map(|Found { id, .. }| id.to_string());
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { made: now.0, server, host: state_dir::host(), cluster, program, records }
    }
}

/// The hash over what a file has so far.
#[derive(Clone)]
pub(super) struct Check(Context);

impl Check {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn hash(&self) -> [u8; HASH] {
        let mut hash = [0; HASH];
        hash.copy_from_slice(self.0.clone().finish().as_ref());
        hash
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Check")
    }
}
