//! What operators hear of shared answers. It does not know how they are asked for.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What became of questions and offers, as of now.
#[derive(Debug, Default)]
pub struct SharingStatus {
    state: AtomicU8,
    /// An answer of another replica was used.
    pub taken: AtomicU64,
    /// There was none.
    pub absent: AtomicU64,
    /// It says what the record no longer says, or is due to be replaced.
    pub outdated: AtomicU64,
    /// It is no answer that this replica would have signed: damaged, forged, or of another.
    pub refused: AtomicU64,
    /// Nobody could tell in time.
    pub late: AtomicU64,
    /// Redis was not asked, as it had not answered in time before.
    pub not_asked: AtomicU64,
    /// Answers put into Redis.
    pub offered: AtomicU64,
    /// Answers not offered, as this process has as much in Redis as it may.
    pub no_room: AtomicU64,
    /// Answers not offered, as too many waited or Redis took none.
    pub dropped: AtomicU64,
}

/// Whether others are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SharingState {
    /// Nobody has wanted to ask yet.
    Idle,
    /// They are.
    Asked,
    /// Redis has not answered in time.
    Away,
}

impl SharingStatus {
    /// Whether others are asked.
    pub fn state(&self) -> SharingState {
        match self.state.load(Relaxed) {
            0 => SharingState::Idle,
            1 => SharingState::Asked,
            _ => SharingState::Away,
        }
    }

    pub(super) fn set(&self, state: SharingState) {
        self.state.store(state as u8, Relaxed);
    }
}
