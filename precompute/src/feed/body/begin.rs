//! Where a new epoch goes on from.
//!
//! Invariant: whoever was at one of the entries that a `begin` names has the writer's state after it. It does not know
//! how a writer chooses them (`chain`).

use super::sections::{self, Section};
use crate::{
    feed::{
        Chain,
        wire::{Input, Read, put_count},
    },
    limits::feed as limits,
};

/// The first entry of an epoch behind its fence.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Begin {
    /// The entries that it continues from.
    pub continues: Vec<Chain>,
    /// What every record says that has changed after any of them.
    pub again: Vec<Section>,
}

impl Begin {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        put_count(bytes, self.continues.len());
        self.continues.iter().for_each(|chain| bytes.extend_from_slice(&chain.0));
        sections::write(&self.again, bytes);
    }

    pub(super) fn read(input: &mut Input<'_>) -> Read<Self> {
        let count = input.count(limits::BEGIN_CHAINS_MAX, 32, "it continues from too many entries")?;
        let continues = (0..count).map(|_| input.array().map(Chain)).collect::<Read<_>>()?;
        Ok(Self { continues, again: sections::read(input, limits::BEGIN_RECORDS_MAX)? })
    }
}
