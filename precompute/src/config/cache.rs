//! How much memory answers may take.

use super::Section;
use crate::limits;

/// Limits on the memory for kept answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    /// Bytes that the table of answers about listed certificates may take.
    pub answers_octets: u64,
    /// Bytes of other kept answers.
    pub octets: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { answers_octets: limits::ANSWERS_OCTETS_DEFAULT as u64, octets: limits::CACHE_OCTETS_DEFAULT as u64 }
    }
}

pub(super) fn read(root: &mut Section<'_>) -> Cache {
    let default = Cache::default();
    if !root.has("cache") {
        return default;
    }
    let range = limits::CACHE_OCTETS_MIN..=limits::CACHE_OCTETS_MAX;
    let read = root.section("cache", |section| {
        let mut octets = |key, default| section.integer(key, range.clone()).map_or(default, |octets| octets as u64);
        Some(Cache {
            answers_octets: octets("answers_octets", default.answers_octets),
            octets: octets("octets", default.octets),
        })
    });
    read.unwrap_or(default)
}
