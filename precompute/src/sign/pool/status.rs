//! The condition of a pool, for those who watch it. It does not know how the pool works.

use std::time::Duration;

use super::Priority;

/// A pool at one moment.
#[derive(Clone, Debug, Default)]
pub struct PoolStatus {
    /// Jobs that wait, in each priority.
    pub waiting: [usize; Priority::COUNT],
    /// How long the first job has waited.
    pub oldest: Option<Duration>,
    /// Its holders.
    pub members: Vec<MemberStatus>,
}

impl PoolStatus {
    /// How many holders are not asked again before somebody has fixed the fault in the log.
    pub fn locked(&self) -> usize {
        self.members.iter().filter(|member| member.health == Health::Locked).count()
    }

    /// Whether no holder is at work, so that nothing can be signed.
    pub fn is_down(&self) -> bool {
        !self.members.iter().any(|member| member.health == Health::AtWork)
    }

    /// Whether nothing is signed now only because the holders have no free session yet.
    pub fn is_waiting(&self) -> bool {
        let waits = |member: &MemberStatus| member.health == Health::AtWork && member.why.is_some();
        self.members.iter().any(waits)
            && self.members.iter().all(|member| member.health != Health::AtWork || waits(member))
    }
}

/// One holder of the key.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Whether it is given work.
    pub health: Health,
    /// What is wrong with it; for a holder at work: why it has no session yet.
    pub why: Option<String>,
    /// Threads that have a session there.
    pub sessions: usize,
    /// How many of them are in a call.
    pub busy: usize,
    /// Threads that were abandoned in a call that never returned.
    pub written_off: usize,
    /// Signatures made, tests included.
    pub signed: u64,
    /// Calls that failed.
    pub failed: u64,
    /// How long signatures took.
    pub times: Times,
}

/// Whether a holder is given work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It is given work.
    AtWork,
    /// It has been away for so long, and is being probed.
    Away(Duration),
    /// It is not asked again before somebody has fixed the fault in the log.
    Locked,
}

/// How long signatures took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// How many took less than 2^n microseconds and at least half of that; the last also counts all longer ones.
    pub counts: [u64; Self::BUCKETS],
    /// The sum of all times.
    pub total: Duration,
}

impl Times {
    /// Up to 8.4 s.
    pub const BUCKETS: usize = 24;

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.counts[bucket.min(Self::BUCKETS - 1)] += 1;
        self.total += took;
    }
}
