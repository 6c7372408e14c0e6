//! Signs of life: whether there is a writer, and how fresh a reader is.
//!
//! Invariant: a heartbeat counts only near the time at which it was written (rule 25), so a stream that is replayed never
//! looks fresh. How long ago that was is measured on the monotonic clock, which nobody sets. It does not
//! know the chain.

use std::time::Duration;

use super::{
    Position,
    rule::{Rule, Rules},
};
use crate::limits::{self, feed};

/// The two clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Since an arbitrary moment: the clock that is never set.
    pub monotonic: Duration,
    /// Microseconds since 1970: the clock on the wall.
    pub wall: u64,
}

/// How fresh a reader is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Freshness {
    /// It has everything that was told up to some seconds ago.
    Fresh,
    /// Up to a minute ago.
    Lagging,
    /// Older, or nothing is known.
    Stale,
}

impl Freshness {
    /// That of a reader who heard the last heartbeat that counts so long ago; `None`: never.
    pub fn of(age: Option<Duration>) -> Self {
        match age {
            Some(age) if age <= feed::FRESH_MAX => Self::Fresh,
            Some(age) if age <= feed::LAGGING_MAX => Self::Lagging,
            _ => Self::Stale,
        }
    }
}

/// Whether a heartbeat of this time may count (rule 25).
pub(crate) fn is_current(rules: Rules, time: u64, now: Moment) -> bool {
    !rules.keep(Rule::Current) || time.abs_diff(now.wall) <= limits::CLOCK_SKEW_MAX.as_micros() as u64
}

/// The heartbeats of the writer whose entries are followed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    heard: Option<Duration>,
    apart: Option<Apart>,
}

/// How far the clock of a writer is from this machine's, as its last heartbeat has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Apart {
    /// So much.
    pub by: Duration,
    /// Whether the writer's is behind, or what it wrote is old.
    pub is_behind: bool,
}

impl Pulse {
    /// A heartbeat that was applied: once, as every entry is.
    pub(crate) fn beat(&mut self, rules: Rules, time: u64, now: Moment) {
        let counts = is_current(rules, time, now);
        if counts {
            self.heard = Some(now.monotonic);
        }
        let by = Duration::from_micros(time.abs_diff(now.wall));
        self.apart = (!counts).then_some(Apart { by, is_behind: time < now.wall });
    }

    /// How far off the last heartbeat was, if it did not count for that.
    pub(crate) fn apart(&self) -> Option<Apart> {
        self.apart
    }

    /// How fresh that is.
    pub(crate) fn freshness(&self, now: Moment) -> Freshness {
        Freshness::of(self.heard.map(|heard| now.monotonic.saturating_sub(heard)))
    }

    /// When one counted last.
    pub(crate) fn heard(&self) -> Option<Duration> {
        self.heard
    }
}

/// Whether anybody writes (rule 10). No clock on a wall has a part in it: a writer whose clock is wrong is told by
/// readers that never are fresh, and not by standbys that take over again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    highest: Position,
    heard: Option<Duration>,
}

impl Lease {
    /// An entry of a trusted writer. One that was read before does not count.
    pub(crate) fn hear(&mut self, position: Position, now: Moment) {
        if position > self.highest {
            self.highest = position;
            self.heard = Some(now.monotonic);
        }
    }

    /// One that was appended while the stream was watched, wherever it stands.
    pub(crate) fn hear_new(&mut self, now: Moment) {
        self.heard = Some(now.monotonic);
    }

    /// When one counted last.
    pub(crate) fn heard(&self) -> Option<Duration> {
        self.heard
    }
}
