//! A sign of life.
//!
//! Invariant: the digests are of the state that the writer had told when it wrote this. It does not know how old a sign
//! may be (`freshness`).

use crate::{
    feed::{
        Issuer,
        wire::{Input, Read, put_count, put_text},
    },
    limits::feed as limits,
    records::Digest,
};

/// A writer's sign of life.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Heartbeat {
    /// The writer's clock: microseconds since 1970.
    pub time: u64,
    /// Where debts and pushes reach this writer: a URL, or nothing. Here and not in the `begin`, which is trimmed while the
    /// writer leads: whoever comes later learns it within a second.
    pub address: String,
    /// What some issuers' records amount to at this position.
    pub digests: Vec<(Issuer, Digest)>,
}

impl Heartbeat {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.time.to_be_bytes());
        put_text(bytes, &self.address, limits::NAME_OCTETS_MAX);
        put_count(bytes, self.digests.len());
        for (issuer, digest) in &self.digests {
            bytes.extend_from_slice(&issuer.0);
            bytes.extend_from_slice(&digest.to_bytes());
        }
    }

    pub(super) fn read(input: &mut Input<'_>) -> Read<Self> {
        let time = input.u64()?;
        let address = input.text(limits::NAME_OCTETS_MAX, "its address is no URL")?.to_owned();
        let count = input.count(limits::HEARTBEAT_DIGESTS_MAX, 32 + 16, "it has too many digests")?;
        let mut digest = || Ok((Issuer(input.array()?), Digest::from_bytes(input.array()?)));
        Ok(Self { time, address, digests: (0..count).map(|_| digest()).collect::<Read<_>>()? })
    }
}
