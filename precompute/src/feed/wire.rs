//! Numbers and bytes in what is sent, and every reason to refuse it.
//!
//! Invariant: reading ends with a value or a [`Refusal`], whatever the bytes are; a count is compared with the bytes that
//! are left before room is made for it. All numbers are big-endian. It does not know what it reads.

use std::fmt;

use super::{Cluster, KeyId};

/// Why bytes are not taken. Nothing of them counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// They end before what they announce.
    Truncated,
    /// A trusted writer wrote them in another version of the protocol.
    UnknownVersion(u8),
    /// They are another cluster's.
    NotOurCluster(Cluster),
    /// They are signed with a key that is not trusted here.
    UntrustedKey(KeyId),
    /// The signature does not fit, so not every byte is as it was signed; for a chunk: the hash does not.
    Forged,
    /// A kind of entry that has to be understood, from a later version.
    UnknownKind(u8),
    /// Signed, and yet impossible.
    Absurd(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it is cut short"),
            Self::UnknownVersion(version) => write!(
                f,
                "a trusted writer wrote it in version {version} of the feed, and this program knows version {}; update this program (readers before writers)",
                super::entry::VERSION
            ),
            Self::NotOurCluster(cluster) => write!(
                f,
                "it belongs to the cluster `{cluster}`; set `feed.cluster` or point `feed.redis` at the right server"
            ),
            Self::UntrustedKey(key) => write!(
                f,
                "it is signed with the key {key}, which `feed.trusted` does not list; add that writer's public key, or find out who writes"
            ),
            Self::Forged => f.write_str("its signature is wrong: it was changed after it was written, or forged"),
            Self::UnknownKind(kind) => {
                write!(f, "its kind {kind} is unknown and must not be passed over; update this program")
            }
            Self::Absurd(what) => write!(f, "it makes no sense: {what}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Whether a trusted writer wrote it all the same, for programs of a later version: nobody attacks.
    pub fn is_of_later_version(&self) -> bool {
        matches!(self, Self::UnknownVersion(_) | Self::UnknownKind(_))
    }
}

pub(crate) type Read<T> = Result<T, Refusal>;

/// What is still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A count of things that take at least `octets` bytes each, at most `most`.
    pub(crate) fn count(&mut self, most: usize, octets: usize, absurd: &'static str) -> Read<usize> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(Refusal::Absurd(absurd));
        }
        if count.saturating_mul(octets) > self.left() {
            return Err(Refusal::Truncated);
        }
        Ok(count)
    }

    /// A text of at most `most` bytes behind its length.
    pub(crate) fn text(&mut self, most: usize, absurd: &'static str) -> Read<&'a str> {
        let length = usize::from(self.u16()?);
        if length > most {
            return Err(Refusal::Absurd(absurd));
        }
        std::str::from_utf8(self.take(length)?)
            .ok()
            .filter(|text| !text.contains(char::is_control))
            .ok_or(Refusal::Absurd(absurd))
    }

    /// Nothing may stand behind what was read.
    pub(crate) fn end(self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Absurd("something stands behind its end")) }
    }
}

/// A count, written as it is read.
pub(crate) fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// A text behind its length; what does not fit is left out.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let text = &text[..end];
    bytes.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
