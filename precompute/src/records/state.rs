//! What a record says, in one word.
//!
//! Invariant: two equal words mean that a record has not changed while it stayed listed. A slot's word also has the
//! record's origin, which is no part of what it says. It does not know serials.

use super::Origin;
use crate::pki::{Reason, Status, UnixTime};

/// The state of a record as one word. Two equal words mean that the record says the same, and has not changed in
/// between as long as it stayed listed: a counter goes up with each change, and restarts when a removed record has been
/// cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateWord(pub(super) u64);

impl StateWord {
    // bits 0–3 tag, 4–7 reason, 8–27 generation, 28–31 origin (in a slot only), 32–63 revocation time
    const GOOD: u64 = 1;
    const REVOKED: u64 = 2;
    const REMOVED: u64 = 3;
    const TAG: u64 = 0xf;
    const GENERATION: u64 = 0xf_ffff << 8;
    /// The counter of a record that has just come.
    const FIRST: u64 = 1 << 8;
    const ORIGIN_SHIFT: u32 = 28;
    const ORIGIN: u64 = 0xf << Self::ORIGIN_SHIFT;

    /// The state and the origin from the word of a slot.
    #[inline]
    pub(super) const fn of_slot(word: u64) -> (Self, Origin) {
        (Self(word & !Self::ORIGIN), Origin::from_bits((word >> Self::ORIGIN_SHIFT) as u8))
    }

    /// The word, to be stored elsewhere.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The state from such a word.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word without its counter: equal for all states that say the same, in this and other processes.
    pub const fn said(self) -> u64 {
        self.0 & !Self::GENERATION & !Self::ORIGIN
    }

    /// Whether the record has not changed since this process knows it: nothing that was said of it before was said in
    /// another state that this process has seen.
    pub const fn is_first(self) -> bool {
        self.0 & Self::GENERATION == Self::FIRST
    }

    /// The word that says `status`, without a counter; of a removed record for `None`. What others send is such a word.
    pub fn saying(status: Option<Status>) -> Self {
        Self(Self::said_of(status))
    }

    /// A word that says `status`, and has changed as often.
    pub fn saying_instead(self, status: Status) -> Self {
        Self(self.0 & Self::GENERATION | Self::said_of(Some(status)))
    }

    /// What the word says; `None` for a removed record.
    pub fn status(self) -> Option<Status> {
        match self.0 & Self::TAG {
            Self::GOOD => Some(Status::Good),
            Self::REVOKED => Some(Status::Revoked {
                time: UnixTime(self.0 >> 32),
                reason: Reason::from_code((self.0 >> 4) as u8 & 0xf).unwrap_or(Reason::Unspecified),
            }),
            _ => None,
        }
    }

    /// `status` as the word that follows `previous` in a slot.
    pub(super) fn next(previous: u64, status: Option<Status>, origin: Origin) -> u64 {
        let generation = previous.wrapping_add(Self::FIRST) & Self::GENERATION;
        Self::with_origin(generation | Self::said_of(status), origin)
    }

    /// The word of a slot with another origin, which is no change of the state.
    pub(super) const fn with_origin(word: u64, origin: Origin) -> u64 {
        word & !Self::ORIGIN | (origin.bits() as u64) << Self::ORIGIN_SHIFT
    }

    /// The word of a status without its counter.
    fn said_of(status: Option<Status>) -> u64 {
        match status {
            None => Self::REMOVED,
            Some(Status::Good) => Self::GOOD,
            Some(Status::Revoked { time, reason }) => {
                Self::REVOKED | u64::from(reason.code()) << 4 | u64::from(seconds32(time)) << 32
            }
        }
    }
}

/// Seconds in 32 bits: the last is 2106-02-07T06:28:15Z. Sources refuse later revocation times; for an end of validity
/// the last value means "later than that".
pub(super) fn seconds32(time: UnixTime) -> u32 {
    u32::try_from(time.0).unwrap_or(u32::MAX)
}
