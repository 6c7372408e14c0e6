//! What a pool tells those who watch it.

use std::time::Duration;

use super::Priority;

/// A pool at one moment.
#[derive(Clone, Debug, Default)]
pub struct PoolStatus {
    /// Jobs that wait, in each priority.
    pub waiting: [usize; Priority::COUNT],
    /// How long the first of them has waited.
    pub oldest: Option<Duration>,
    /// Its holders.
    pub members: Vec<MemberStatus>,
}

impl PoolStatus {
    /// How many holders are not asked again before somebody has mended what is told.
    pub fn locked(&self) -> usize {
        self.members.iter().filter(|member| member.health == Health::Locked).count()
    }

    /// Whether no holder is at work, so that nothing can be signed.
    pub fn is_down(&self) -> bool {
        !self.members.iter().any(|member| member.health == Health::AtWork)
    }

    /// Whether nobody signs now because those that would have no session to give yet.
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
    /// What is wrong with it; of one that is at work: why it has no session yet.
    pub why: Option<String>,
    /// Threads that have a session there.
    pub sessions: usize,
    /// How many of them are in a call.
    pub busy: usize,
    /// Threads that were left alone in a call that never returned.
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
    /// It is.
    AtWork,
    /// It is not, for so long already; it is looked for.
    Away(Duration),
    /// It is not asked again before somebody has mended what is told.
    Locked,
}

/// How long signatures took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// How many took less than 2^n microseconds and not less than half of that; the last, that or longer.
    pub counts: [u64; Self::BUCKETS],
    /// All of them together.
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
