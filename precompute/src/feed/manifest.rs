//! What a snapshot consists of.
//!
//! Purpose: a signed list of its chunks' hashes, small enough for Redis, so that chunks may come from anybody. Invariant:
//! a chunk counts only if its hash stands here, and the manifest only if a trusted key signed it for this cluster. It
//! does not know what is in a chunk (`snapshot`), or where one can be had.
//!
//! Every later version keeps the version, the cluster, the author and the key in front, and the signature at the end.

use std::sync::Arc;

use super::{
    Chain, Cluster, Position, Trusted, WriterKey,
    entry::{VERSION, later, our_cluster, put_cluster, version},
    keys::{KeyId, Purpose, SIGNATURE},
    sha256,
    wire::{Input, Refusal, put_count},
};
use crate::{limits::feed as limits, state_dir::ServerId};

/// What a snapshot consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The last entry in it.
    pub position: Position,
    /// The hash of that entry.
    pub chain: Chain,
    /// Who made it.
    pub author: ServerId,
    /// When, by its clock: microseconds since 1970.
    pub made: u64,
    /// How many records it has.
    pub records: u64,
    /// How long it is.
    pub octets: u64,
    /// How long each chunk is but the last one.
    pub chunk_octets: u32,
    /// After how many chunks all records have come; answers follow.
    pub record_chunks: u32,
    /// SHA-256 of each chunk.
    pub chunks: Arc<[[u8; 32]]>,
}

impl Manifest {
    /// Signs it for a cluster.
    pub fn seal(&self, cluster: &Cluster, key: &WriterKey) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_cluster(&mut bytes, cluster);
        bytes.extend_from_slice(&self.author.bytes());
        bytes.extend_from_slice(&key.id().0);
        for number in [self.position.epoch, self.position.sequence] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.chain.0);
        for number in [self.made, self.records, self.octets] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for number in [self.chunk_octets, self.record_chunks] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        put_count(&mut bytes, self.chunks.len());
        self.chunks.iter().for_each(|hash| bytes.extend_from_slice(hash));
        let signature = key.sign(Purpose::Manifest, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads and verifies one.
    pub fn open(bytes: &[u8], cluster: &Cluster, trusted: &Trusted) -> Result<Self, Refusal> {
        let mut input = Input::new(bytes);
        let version = version(&mut input)?;
        our_cluster(&mut input, cluster)?;
        let author = ServerId::from_bytes(input.array()?);
        let key = KeyId(input.array()?);
        if version != VERSION {
            later(bytes, &input, key, Purpose::Manifest, trusted)?;
            return Err(Refusal::UnknownVersion(version));
        }
        let position = Position { epoch: input.u64()?, sequence: input.u64()? };
        let chain = Chain(input.array()?);
        let (made, records, octets) = (input.u64()?, input.u64()?, input.u64()?);
        let (chunk_octets, record_chunks) = (input.u32()?, input.u32()?);
        let count = input.count(limits::CHUNKS_MAX, 32, "it has too many chunks")?;
        let chunks = (0..count).map(|_| input.array()).collect::<Result<Arc<[_]>, _>>()?;
        let signed = &bytes[..bytes.len() - input.left()];
        let signature = input.take(SIGNATURE)?;
        input.end()?;
        trusted.check(key, Purpose::Manifest, signed, signature)?;
        let manifest = Self { position, chain, author, made, records, octets, chunk_octets, record_chunks, chunks };
        if manifest.is_possible() { Ok(manifest) } else { Err(Refusal::Absurd("its numbers do not fit each other")) }
    }

    fn is_possible(&self) -> bool {
        let of_chunk = u64::from(self.chunk_octets);
        (1..=limits::CHUNK_OCTETS as u64).contains(&of_chunk)
            && self.octets > 0
            && self.octets.div_ceil(of_chunk) == self.chunks.len() as u64
            && self.record_chunks as usize <= self.chunks.len()
            // A record takes 33 bytes, so nobody reserves memory for records that cannot be there.
            && self.records <= self.octets / 33
    }

    /// Where a chunk lies in the snapshot: its first byte and its length. `None` if there is no such chunk.
    pub fn place(&self, chunk: usize) -> Option<(u64, usize)> {
        if chunk >= self.chunks.len() {
            return None;
        }
        let start = chunk as u64 * u64::from(self.chunk_octets);
        let length = self.octets.checked_sub(start)?.min(self.chunk_octets.into());
        Some((start, usize::try_from(length).ok()?))
    }

    /// Whether these bytes are that chunk.
    pub fn check(&self, chunk: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let (_, length) = self.place(chunk).ok_or(Refusal::Absurd("there is no such chunk"))?;
        if bytes.len() < length {
            return Err(Refusal::Truncated);
        }
        if sha256(bytes) == self.chunks[chunk] { Ok(()) } else { Err(Refusal::Forged) }
    }
}
