//! What a snapshot is called, in names of files and in URLs.
//!
//! Invariant: one name, one content. So what a URL gives never changes, and whoever stands between may keep it for good.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256};

use super::super::{Manifest, Position};
use crate::{limits::shelf as limits, pki::hex::Hex};

/// The name of a snapshot: `<epoch>-<sequence>-<print>`. Two snapshots at one position may differ in the order of
/// records and in their answers, and two histories in everything, so the position and the chain alone do not name one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotId {
    position: Position,
    /// The first half of SHA-256 over the chain and everything that says which bytes these are.
    print: [u8; 16],
}

impl SnapshotId {
    /// That of the snapshot with this manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let Manifest { position, chain, octets, chunk_octets, record_chunks, records, chunks, .. } = manifest;
        let mut hash = Context::new(&SHA256);
        hash.update(&chain.0);
        [octets, records].iter().for_each(|number| hash.update(&number.to_be_bytes()));
        [chunk_octets, record_chunks].iter().for_each(|number| hash.update(&number.to_be_bytes()));
        chunks.iter().for_each(|chunk| hash.update(chunk));
        let mut print = [0; 16];
        print.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self { position: *position, print }
    }

    /// A name that no snapshot has: nothing stands before the first entry.
    pub(super) fn none() -> Self {
        Self { position: Position::START, print: [0; 16] }
    }

    /// The last entry in it.
    pub fn position(&self) -> Position {
        self.position
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, Hex(&self.print))
    }
}

/// It is no snapshot's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSnapshotId;

impl FromStr for SnapshotId {
    type Err = NoSnapshotId;

    /// Exactly as it is written: no sign, no leading zero, lower case.
    fn from_str(text: &str) -> Result<Self, NoSnapshotId> {
        let parse = || {
            let mut parts = text.splitn(3, '-');
            let (epoch, sequence, print) = (parts.next()?, parts.next()?, parts.next()?);
            let print = u128::from_str_radix(print, 16).ok()?.to_be_bytes();
            let position = Position { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? };
            Some(Self { position, print }).filter(|id| id.to_string() == text)
        };
        if text.len() > limits::ID_OCTETS_MAX {
            return Err(NoSnapshotId);
        }
        parse().ok_or(NoSnapshotId)
    }
}

/// A part of a snapshot, as the last segment of a URL names it: `manifest`, or the number of a chunk from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Manifest,
    Chunk(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::Chunk(number) => number.fmt(f),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    /// Exactly as it is written: one part, one URL.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "manifest" {
            return Ok(Self::Manifest);
        }
        if text.len() > limits::NUMBER_OCTETS_MAX {
            return Err(());
        }
        text.parse().map(Self::Chunk).ok().filter(|part| part.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(epoch: u64, sequence: u64, print: [u8; 16]) {
            let id = SnapshotId { position: Position { epoch, sequence }, print };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert!(id.to_string().len() <= limits::ID_OCTETS_MAX);
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[0-9+]{0,3}-[0-9]{0,3}-[0-9A-Fa-f+]{0,34}") {
            if let Ok(id) = text.parse::<SnapshotId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn other_spellings_are_no_names() {
        let zeros = "0".repeat(32);
        assert!(format!("1-2-{zeros}").parse::<SnapshotId>().is_ok());
        for text in [
            "",
            "1-2",
            "1-2-",
            "../../etc/passwd",
            &format!("01-2-{zeros}"),
            &format!("+1-2-{zeros}"),
            &format!("1-2-{}", &zeros[1..]),
            &format!("1-2-0{zeros}"),
            &format!("1-2-+{}", &zeros[1..]),
            &format!("1-2-A{}", &zeros[1..]),
            &format!("1-2-{zeros}/"),
            &format!("1--2-{zeros}"),
            &format!("18446744073709551616-2-{zeros}"),
        ] {
            assert_eq!(text.parse::<SnapshotId>(), Err(NoSnapshotId), "{text}");
        }
    }
}
