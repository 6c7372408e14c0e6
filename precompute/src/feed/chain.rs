//! The entries that a writer remembers, so that readers who were at one of them go on without a snapshot.
//!
//! Invariant: from what [`Ring::begin`] gives, a reader at any entry it names comes to the present state: every record
//! that has changed after it is among those to be stated again. With each comes what was told of it last, for a writer
//! whose book does not have its issuer. Hashes of certificates are the book's, and are stated again with their records;
//! here is how many were told. Memory is bounded by [`limits::RING_OCTETS_MAX`] of the stream and
//! [`limits::BEGIN_CHAINS_MAX`] entries. It does not know what the records say now.
//!
//! What entries have said lies in one row and not in boxes of their own: small blocks that stay, between pages of the book
//! that come and go, kept the allocator from using those again, 7 KiB for each push.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{Chain, Issuer, body::Section};
use crate::{limits::feed as limits, pki::Serial, records::Change};

/// Hashes that are told again: what was never told comes along with its own.
const HASHES_MAX: usize = limits::BEGIN_HASHES_MAX - limits::ENTRY_RECORDS_MAX;

/// Records, each with what was told of it last.
pub(crate) type LastTold = BTreeMap<(Issuer, Serial), Change>;

/// The entries that were last in the chain.
#[derive(Debug)]
pub(crate) struct Ring {
    /// The entry before the first of them.
    base: Chain,
    links: VecDeque<Link>,
    /// What they have said, one behind the other.
    said: VecDeque<(Issuer, Change)>,
    octets: usize,
}

#[derive(Debug)]
struct Link {
    chain: Chain,
    octets: usize,
    at: Duration,
    /// How many of [`Ring::said`] are its own,
    records: usize,
    /// and how many of those were told with a hash.
    hashes: usize,
}

impl Ring {
    /// Nothing but the entry that everything follows.
    pub(crate) fn new(base: Chain) -> Self {
        Self { base, links: VecDeque::new(), said: VecDeque::new(), octets: 0 }
    }

    /// The next entry, of `octets` bytes, and what it changes.
    pub(crate) fn push(&mut self, chain: Chain, octets: usize, now: Duration, sections: &[Section]) {
        let before = self.said.len();
        let said = sections.iter().flat_map(|section| section.changes.iter().map(|change| (section.issuer, *change)));
        self.said.extend(said);
        let (records, hashes) = (self.said.len() - before, sections.iter().map(|section| section.hashes.len()).sum());
        self.links.push_back(Link { chain, octets, at: now, records, hashes });
        self.octets += octets;
        while let Some(first) = self.links.front()
            && (self.links.len() > limits::BEGIN_CHAINS_MAX
                || self.octets > limits::RING_OCTETS_MAX && now.saturating_sub(first.at) > limits::RING_TIME_MIN)
        {
            self.base = first.chain;
            self.octets -= first.octets;
            self.said.drain(..first.records);
            self.links.pop_front();
        }
    }

    /// Whether this entry is remembered.
    pub(crate) fn has(&self, chain: Chain) -> bool {
        self.chains().any(|one| one == chain)
    }

    /// All entries that are.
    pub(crate) fn chains(&self) -> impl Iterator<Item = Chain> + '_ {
        std::iter::once(self.base).chain(self.links.iter().map(|link| link.chain))
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Chain {
        self.links.back().map_or(self.base, |link| link.chain)
    }

    /// The entries to continue from, and the records that have changed after the first of them: as many as fit.
    pub(crate) fn begin(&self) -> (Vec<Chain>, LastTold) {
        let (mut chains, mut changed) = (vec![self.last()], LastTold::new());
        let (mut end, mut hashes) = (self.said.len(), 0);
        for (number, link) in self.links.iter().enumerate().rev() {
            let before = number.checked_sub(1).map_or(self.base, |before| self.links[before].chain);
            hashes += link.hashes;
            let fits = changed.len() + link.records <= limits::BEGIN_RECORDS_MAX && hashes <= HASHES_MAX;
            if !fits || chains.len() == limits::BEGIN_CHAINS_MAX {
                break;
            }
            // From the last to the first: what was told later stays.
            let begin = end - link.records;
            for (issuer, change) in self.said.range(begin..end).rev() {
                changed.entry((*issuer, change.serial)).or_insert(*change);
            }
            end = begin;
            chains.push(before);
        }
        (chains, changed)
    }
}
