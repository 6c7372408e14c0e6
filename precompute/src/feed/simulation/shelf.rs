//! Where snapshots lie: with who made them and with everybody who took them, slow to fetch or lost.

use std::collections::BTreeMap;

use super::Rng;
use crate::feed::{Chain, Manifest, store::Snapshots};

#[derive(Default, Debug)]
pub(super) struct Shelf {
    pub(super) snapshots: BTreeMap<Chain, Vec<Vec<u8>>>,
}

/// One actor's view of it.
pub(super) struct Fetcher<'a> {
    pub(super) shelf: &'a Shelf,
    /// When what this actor has asked for is at hand.
    pub(super) asked: &'a mut BTreeMap<Chain, u64>,
    pub(super) tick: u64,
    pub(super) rng: &'a mut Rng,
}

impl Snapshots for Fetcher<'_> {
    fn here(&mut self, manifest: &Manifest) -> Option<usize> {
        let chunks = self.shelf.snapshots.get(&manifest.chain)?;
        let (tick, rng) = (self.tick, &mut *self.rng);
        let delay = if rng.chance(10) { rng.below(120) } else { rng.below(6) };
        let ready = *self.asked.entry(manifest.chain).or_insert(tick + delay as u64);
        Some(if tick >= ready { chunks.len() } else { 0 })
    }

    fn chunk(&mut self, manifest: &Manifest, number: usize) -> Option<Vec<u8>> {
        self.shelf.snapshots.get(&manifest.chain)?.get(number).cloned()
    }
}
