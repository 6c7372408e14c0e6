//! One record in the table: its key, its state and the end of its validity, in four words.
//!
//! Invariant: a reader sees a state and an end that belong together. While the end of a listed record changes, a reader
//! may see either end, but only with the stricter of both states, and under a word that is replaced right after, so
//! that nothing signed under it is kept. So no *good* is ever combined with an end that did not belong to it. A reader
//! waits for no writer; it only looks again if the record has changed.
//!
//! One writer at a time. It does not know what a state word says, except that 0 is an unused slot.

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The words of a serial number: 64, 64 and 32 bits.
pub(crate) type SerialWords = [u64; 3];

#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: AtomicU64,
    serial_high: AtomicU64,
    serial_mid: AtomicU64,
    /// The serial's last 32 bits, then the end of validity.
    serial_low_and_end: AtomicU64,
}

impl Slot {
    /// The present state. If it is not 0, the other methods return a complete key.
    #[inline]
    pub(crate) fn state(&self) -> u64 {
        self.state.load(Acquire)
    }

    /// Whether it has this key; to be called after [`Slot::state`].
    #[inline]
    pub(crate) fn holds(&self, key: &SerialWords) -> bool {
        self.key() == *key
    }

    #[inline]
    pub(crate) fn key(&self) -> SerialWords {
        let low = self.serial_low_and_end.load(Relaxed) >> 32;
        [self.serial_high.load(Relaxed), self.serial_mid.load(Relaxed), low]
    }

    /// The state and the end of validity together; `state` is what [`Slot::state`] gave. Where that was 0 there is no
    /// record, although another one may have come into the slot since.
    #[inline]
    pub(crate) fn read(&self, mut state: u64) -> (u64, u32) {
        if state == 0 {
            return (0, 0);
        }
        loop {
            // A reader that sees the new end also sees that the state has changed before it.
            let end = self.serial_low_and_end.load(Acquire) as u32;
            let now = self.state.load(Acquire);
            if now == state {
                return (state, end);
            }
            state = now;
        }
    }

    /// Fills an unused slot.
    pub(crate) fn fill(&self, key: &SerialWords, state: u64, end: u32) {
        self.serial_high.store(key[0], Relaxed);
        self.serial_mid.store(key[1], Relaxed);
        self.serial_low_and_end.store(key[2] << 32 | u64::from(end), Relaxed);
        // Publishes the key: readers load the state first.
        self.state.store(state, Release);
    }

    /// Sets another state.
    pub(crate) fn set_state(&self, state: u64) {
        self.state.store(state, Release);
    }

    /// Sets another state and another end. `meanwhile` differs from the old state and from `state`: readers see it with
    /// either end.
    pub(crate) fn set_both(&self, meanwhile: u64, state: u64, end: u32) {
        self.state.store(meanwhile, Release);
        let low = self.serial_low_and_end.load(Relaxed) & !u64::from(u32::MAX);
        self.serial_low_and_end.store(low | u64::from(end), Release);
        self.state.store(state, Release);
    }

    /// The end of validity, for the writer.
    pub(crate) fn end(&self) -> u32 {
        self.serial_low_and_end.load(Relaxed) as u32
    }
}
