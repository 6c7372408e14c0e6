//! An entry of the stream.
//!
//! Purpose: from values to signed bytes, and back. Invariant: what is opened was signed, whole, by a trusted key for this
//! cluster and for this place in the stream. It does not know whether the entry comes after what is known (`chain`), or
//! what its body means.
//!
//! In this order, numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 + n | the cluster's name behind its length |
//! | 1 | kind |
//! | 8, 8 | epoch, sequence: also the ID in the stream |
//! | 16 | the writer's server id |
//! | 8 | which key signed |
//! | 32 | SHA-256 of the entry before, whole |
//! | 4 + n | the body behind its length |
//! | 64 | Ed25519 over `Ostia feed entry`, a zero, and all of the above |
//!
//! Every later version keeps what stands up to the hash, and the signature at the end. So a program that knows only this
//! version still tells an entry of a writer that was updated before it from one that somebody forged.

use std::sync::Arc;

use super::{
    Chain, Cluster, Position, Trusted, WriterKey,
    body::{self, Body},
    keys::{KeyId, Purpose, SIGNATURE},
    wire::{Input, Read, Refusal, put_count},
};
use crate::{limits::feed as limits, state_dir::ServerId};

/// The version of the protocol.
pub const VERSION: u8 = 1;

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its place in the stream.
    pub position: Position,
    /// Who wrote it.
    pub author: ServerId,
    /// The entry before it.
    pub prev: Chain,
    /// What it is about.
    pub body: Body,
}

/// An entry as it stands in the stream. Copies share the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Its ID.
    pub position: Position,
    /// Its hash.
    pub chain: Chain,
    /// All of it.
    pub bytes: Arc<[u8]>,
}

/// An entry that was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// What it says.
    pub entry: Entry,
    /// Its hash.
    pub chain: Chain,
    /// How long it is.
    pub octets: usize,
}

impl Entry {
    /// Whether it comes after the entry with this hash.
    pub fn follows(&self, chain: Chain) -> bool {
        match &self.body {
            Body::Begin(begin) => begin.continues.contains(&chain),
            _ => self.prev == chain,
        }
    }

    /// Signs it for a cluster.
    pub fn seal(&self, cluster: &Cluster, key: &WriterKey) -> Sealed {
        let mut bytes = vec![VERSION];
        put_cluster(&mut bytes, cluster);
        bytes.push(self.body.kind());
        bytes.extend_from_slice(&self.position.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.position.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.author.bytes());
        bytes.extend_from_slice(&key.id().0);
        bytes.extend_from_slice(&self.prev.0);
        let length = bytes.len();
        put_count(&mut bytes, 0);
        self.body.write(&mut bytes);
        let body = u32::try_from(bytes.len() - length - 4).unwrap_or(u32::MAX);
        bytes[length..length + 4].copy_from_slice(&body.to_be_bytes());
        let signature = key.sign(Purpose::Entry, &bytes);
        bytes.extend_from_slice(&signature);
        Sealed { position: self.position, chain: Chain::of(&bytes), bytes: bytes.into() }
    }

    /// Whether an entry may say something of records, by its kind alone: nothing is verified.
    pub(super) fn may_say_records(bytes: &[u8]) -> bool {
        let kind = bytes.get(1).and_then(|length| bytes.get(2 + usize::from(*length)));
        matches!(kind, Some(&(body::BEGIN | body::RECORDS)))
    }

    /// Reads what stands at a position of the stream.
    pub fn open(position: Position, bytes: &[u8], cluster: &Cluster, trusted: &Trusted) -> Result<Opened, Refusal> {
        let mut input = Input::new(bytes);
        let version = version(&mut input)?;
        our_cluster(&mut input, cluster)?;
        let kind = input.u8()?;
        let said = Position { epoch: input.u64()?, sequence: input.u64()? };
        let author = ServerId::from_bytes(input.array()?);
        let key = KeyId(input.array()?);
        let prev = Chain(input.array()?);
        if version != VERSION {
            later(bytes, &input, key, Purpose::Entry, trusted)?;
            return Err(if said == position { Refusal::UnknownVersion(version) } else { ELSEWHERE });
        }
        let length = input.count(body::octets_max(kind), 1, "its body is too long")?;
        let body = input.take(length)?;
        let signed = &bytes[..bytes.len() - input.left()];
        let signature = input.take(SIGNATURE)?;
        input.end()?;
        trusted.check(key, Purpose::Entry, signed, signature)?;
        if said != position {
            return Err(ELSEWHERE);
        }
        let entry = Self { position, author, prev, body: Body::read(kind, body)? };
        Ok(Opened { entry, chain: Chain::of(bytes), octets: bytes.len() })
    }
}

pub(super) fn put_cluster(bytes: &mut Vec<u8>, cluster: &Cluster) {
    bytes.push(cluster.name().len() as u8);
    bytes.extend_from_slice(cluster.name().as_bytes());
}

const ELSEWHERE: Refusal = Refusal::Absurd("it stands at another position than it was written for");

/// The version, whichever it is: what it is worth is known once the signature was looked at.
pub(super) fn version(input: &mut Input<'_>) -> Read<u8> {
    if input.left() == 0 {
        return Err(Refusal::Absurd("it is empty, or what holds it in Redis is of another form"));
    }
    // Text begins like that, or a page in place of an answer.
    Some(input.u8()?).filter(|version| *version < b' ').ok_or(OF_ANOTHER_PROGRAM)
}

/// Before the signature, so that a wrong address is told as what it is, and not as a forgery.
pub(super) fn our_cluster(input: &mut Input<'_>, cluster: &Cluster) -> Read<()> {
    let length = usize::from(input.u8()?);
    if !(1..=limits::CLUSTER_OCTETS_MAX).contains(&length) {
        return Err(OF_ANOTHER_PROGRAM);
    }
    let name = input.take(length)?;
    if name == cluster.name().as_bytes() {
        return Ok(());
    }
    let other = std::str::from_utf8(name).ok().and_then(Cluster::new);
    Err(other.map_or(OF_ANOTHER_PROGRAM, Refusal::NotOurCluster))
}

const OF_ANOTHER_PROGRAM: Refusal = Refusal::Absurd("another program wrote it, or it is damaged");

/// What is in another version counts as that if a trusted key signed all of it up to the signature at its end. `read`: as
/// far as every version is alike.
pub(super) fn later(bytes: &[u8], read: &Input<'_>, key: KeyId, purpose: Purpose, trusted: &Trusted) -> Read<()> {
    if read.left() < SIGNATURE {
        return Err(Refusal::Truncated);
    }
    if read.left() > limits::LATER_OCTETS_MAX {
        return Err(Refusal::Absurd("it is too long for any version"));
    }
    let (signed, signature) = bytes.split_at(bytes.len() - SIGNATURE);
    trusted.check(key, purpose, signed, signature)
}
