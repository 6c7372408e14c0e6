//! Answers signed on demand, bounded in octets, gone at nextUpdate.
//!
//! It does not know whether what it holds is still right: [`super::answer`] compares each with
//! the record before use.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, sync::Cache as Moka};
use precompute::{
    ocsp::HashAlgorithm,
    pki::{Serial, UnixTime},
};

use super::answer::Answer;

/// Which answer: keys are compared in full.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The issuer's place in the site; an issuer of another tenant has another.
    pub issuer: u32,
    /// The hash algorithm of the CertID, which the response repeats.
    pub hash: HashAlgorithm,
    /// The certificate.
    pub serial: Serial,
}

/// The answers, shared by all workers.
#[derive(Clone, Debug)]
pub struct Cache(Moka<Key, Arc<Answer>>);

/// What an entry costs beside its octets: key, Arc, Bytes, and moka's own of about 350 octets.
const ENTRY_OVERHEAD: u32 = 512;

struct AtNextUpdate;

impl AtNextUpdate {
    fn left(answer: &Answer) -> Option<Duration> {
        Some(answer.times.next_update.since(UnixTime::now()))
    }
}

impl Expiry<Key, Arc<Answer>> for AtNextUpdate {
    fn expire_after_create(&self, _: &Key, answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Self::left(answer)
    }

    fn expire_after_update(&self, _: &Key, answer: &Arc<Answer>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Self::left(answer)
    }
}

impl Cache {
    /// Holds up to `octets` octets of answers.
    pub fn new(octets: u64) -> Self {
        let weigh = |_: &Key, answer: &Arc<Answer>| {
            u32::try_from(answer.body.len() + answer.head.len()).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD)
        };
        Self(Moka::builder().max_capacity(octets).weigher(weigh).expire_after(AtNextUpdate).build())
    }

    /// The answer kept.
    pub fn get(&self, key: &Key) -> Option<Arc<Answer>> {
        self.0.get(key)
    }

    /// Keeps an answer in the place of any other with this key.
    pub fn insert(&self, key: Key, answer: Arc<Answer>) {
        self.0.insert(key, answer);
    }

    /// (entries, octets), as of the last housekeeping.
    pub fn size(&self) -> (u64, u64) {
        (self.0.entry_count(), self.0.weighted_size())
    }
}
