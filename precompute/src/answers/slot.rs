//! One answer in the table: a run of words under a sequence number (a seqlock).
//!
//! Invariant: a reader gets what one writer wrote, whole, under the key it asked for, or nothing. One writer at a time.
//! It does not know what the words mean.

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence, spin_loop,
};

/// Words before the signature: the key, the sequence number with 32 bits of the head, and two words of the head.
pub(crate) const HEAD_WORDS: usize = 6;
/// The place of the sequence number.
pub(crate) const SEQUENCE: usize = 3;

/// What a slot holds before its signature; only the low half of the word at [`SEQUENCE`].
pub(crate) type Head = [u64; HEAD_WORDS];

#[inline]
pub(crate) fn key_of(slot: &[AtomicU64]) -> [u64; 3] {
    std::array::from_fn(|at| slot[at].load(Relaxed))
}

/// The present head; whole if nobody writes.
#[inline]
pub(crate) fn head_of(slot: &[AtomicU64]) -> Head {
    let mut head: Head = std::array::from_fn(|at| slot[at].load(Relaxed));
    head[SEQUENCE] &= u64::from(u32::MAX);
    head
}

/// What a slot holds under `key`, with its signature in `packed`. `None` if it has another key, or is being written at
/// each of so many attempts.
#[inline]
pub(crate) fn read(slot: &[AtomicU64], key: &[u64; 3], packed: &mut Vec<u8>, looks: usize) -> Option<Head> {
    for _ in 0..looks {
        let before = slot[SEQUENCE].load(Acquire) >> 32;
        if before & 1 == 0 {
            let head = head_of(slot);
            let found = head[..key.len()] == *key;
            if found {
                packed.clear();
                slot[HEAD_WORDS..].iter().for_each(|word| packed.extend_from_slice(&word.load(Relaxed).to_ne_bytes()));
            }
            // All of it has been read before the number is read again.
            fence(Acquire);
            if slot[SEQUENCE].load(Relaxed) >> 32 == before {
                return found.then_some(head);
            }
        }
        spin_loop();
    }
    None
}

/// Writes a slot. The number is odd in the meantime.
pub(crate) fn write(slot: &[AtomicU64], head: &Head, packed: &[u8]) {
    let sequence = slot[SEQUENCE].load(Relaxed) >> 32;
    let number = |sequence: u64, low: u64| (sequence & u64::from(u32::MAX)) << 32 | low;
    slot[SEQUENCE].store(number(sequence + 1, 0), Relaxed);
    // A reader that sees any of the following words also sees the odd number.
    fence(Release);
    for (at, word) in head.iter().enumerate().filter(|(at, _)| *at != SEQUENCE) {
        slot[at].store(*word, Relaxed);
    }
    for (word, octets) in slot[HEAD_WORDS..].iter().zip(packed.chunks_exact(8)) {
        word.store(u64::from_ne_bytes(std::array::from_fn(|at| octets[at])), Relaxed);
    }
    slot[SEQUENCE].store(number(sequence + 2, head[SEQUENCE]), Release);
}
