//! Answers that have been judged right, kept to be recognised.
//!
//! Invariant: an answer is recognised only by comparing it whole with one that was judged right for the same
//! certificate and target, and only while the times allow it. Memory is bounded by `limits`. It does not know why the
//! answer was right.

use crate::engine::stats::Said;
use crate::limits::{REMEMBERED_BODIES_MAX, REMEMBERED_BODY_OCTETS_MAX};
use crate::proof::Proof;
use crate::time::UnixSeconds;
use std::sync::Arc;

/// A remembered answer.
#[derive(Debug)]
pub(super) struct Remembered {
    key: u64,
    body: Vec<u8>,
    right_from: UnixSeconds,
    right_until: UnixSeconds,
    pub(super) said: Said,
    /// Set once it has been handed over for proof.
    pub(super) proof: Option<Arc<Proof>>,
}

/// A direct-mapped table: a newcomer takes its place from whoever had it.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Remembered>>,
}

impl Table {
    /// For so many (certificate, target) pairs.
    pub(super) fn new(pairs: usize) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(pairs.clamp(1, REMEMBERED_BODIES_MAX)).collect() }
    }

    /// The same answer as before, still right?
    #[inline]
    pub(super) fn recognise(&mut self, key: u64, body: &[u8], now: UnixSeconds) -> Option<&mut Remembered> {
        let place = (key % self.slots.len() as u64) as usize;
        self.slots[place]
            .as_mut()
            .filter(|r| r.key == key && (r.right_from..=r.right_until).contains(&now) && r.body == body)
    }

    /// Keeps an answer; `None` if it is too large to be kept.
    pub(super) fn keep(
        &mut self,
        key: u64,
        body: &[u8],
        right: (UnixSeconds, UnixSeconds),
        said: Said,
    ) -> Option<&mut Remembered> {
        if body.len() > REMEMBERED_BODY_OCTETS_MAX {
            return None;
        }
        let place = (key % self.slots.len() as u64) as usize;
        let slot = &mut self.slots[place];
        // The old body's memory is used again.
        let mut memory = slot.take().map(|old| old.body).unwrap_or_default();
        memory.clear();
        memory.extend_from_slice(body);
        Some(slot.insert(Remembered {
            key,
            body: memory,
            right_from: right.0,
            right_until: right.1,
            said,
            proof: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_only_the_same_bytes_for_the_same_certificate_in_time() {
        let mut table = Table::new(4);
        table.keep(1, b"answer", (10, 20), Said::Good).unwrap();
        assert_eq!(table.recognise(1, b"answer", 10).unwrap().said, Said::Good);
        assert!(table.recognise(1, b"answer", 20).is_some());
        assert!(table.recognise(1, b"answer", 21).is_none(), "expired");
        assert!(table.recognise(1, b"answer", 9).is_none(), "not yet valid");
        assert!(table.recognise(1, b"answe", 15).is_none());
        assert!(table.recognise(1, b"answeR", 15).is_none());
        assert!(table.recognise(5, b"answer", 15).is_none(), "another certificate in the same place");
        table.keep(5, b"other", (10, 20), Said::Revoked).unwrap();
        assert!(table.recognise(1, b"answer", 15).is_none(), "forgotten");
    }

    #[test]
    fn does_not_keep_what_is_over_its_bound() {
        assert!(Table::new(1).keep(0, &[0; REMEMBERED_BODY_OCTETS_MAX + 1], (0, 1), Said::Good).is_none());
    }
}
