//! Whether the clock may be trusted, and for how long: decisions without a clock of their own.
//!
//! Invariant: under a [`Lease`] every time that [`Lease::read`] gives is within the promised accuracy of UTC, if the
//! source told the truth. It does not know sources; time is a parameter.
//!
//! The proof: let E = |offset| + uncertainty + precision + the possible drift of an oscillator during a lease. A lease
//! is given only if E ≤ accuracy; the rest is its *slack*. The clock, continued from the reading by the monotonic
//! clock, is within E of UTC while the lease lasts, and what `read` gives is within the slack of that.

use std::time::Duration;

use super::{History, NotTrusted};
use crate::limits;

/// The promise of a TSA about its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The accuracy of genTime, as stated in tokens.
    pub accuracy: Duration,
    /// How far genTime may be before the time read here: the digits that are cut off, and the change that keeps its
    /// last digit from being 0.
    pub precision: Duration,
    /// How long a reading of the source counts.
    pub lease: Duration,
}

impl Policy {
    /// What is wrong with it, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let Self { accuracy, precision, lease } = self;
        let (accuracies, leases) = (limits::CLOCK_ACCURACY_RANGE, limits::CLOCK_LEASE_RANGE);
        if !accuracies.contains(accuracy) {
            return Err(format!(
                "an accuracy of {accuracy:?}: from {:?} to {:?}",
                accuracies.start(),
                accuracies.end()
            ));
        }
        if !leases.contains(lease) {
            return Err(format!("a lease of {lease:?}: from {:?} to {:?}", leases.start(), leases.end()));
        }
        let error = precision.saturating_add(drift(*lease));
        if error >= *accuracy {
            return Err(format!(
                "the precision of {precision:?} and the drift of a clock during {lease:?} use up the accuracy of {accuracy:?}: choose a finer `precision`, or a larger `accuracy`"
            ));
        }
        Ok(())
    }

    /// How far the clock may move against the monotonic one without that being a step.
    fn step(&self) -> i64 {
        nanos(self.accuracy) / limits::CLOCK_STEP_SHARE
    }

    /// How long before and after an announced leap second no time is given.
    pub(super) fn leap_margin(&self) -> i64 {
        nanos(limits::LEAP_MARGIN + self.accuracy)
    }
}

/// Both clocks at once, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Since some start; slewed with the wall clock, never stepped.
    pub monotonic: i64,
    /// Since 1970-01-01T00:00:00Z without leap seconds.
    pub wall: i64,
}

impl Moment {
    /// How far the wall clock is ahead of the monotonic one. Only a step changes it.
    pub(super) fn ahead(self) -> i64 {
        self.wall.saturating_sub(self.monotonic)
    }
}

/// What the source says about the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discipline {
    /// Whether it follows a source that knows UTC.
    pub synchronised: bool,
    /// How far the clock is ahead of UTC, in nanoseconds, as far as the source knows.
    pub offset: i64,
    /// How wrong the source may be about the offset, in nanoseconds.
    pub uncertainty: u64,
    /// A leap second.
    pub leap: Leap,
    /// The time of the measurement behind it, in nanoseconds, for a source that does not notice when the clock is set:
    /// see [`History`]. `None`: the source then reports that it is not synchronised.
    pub measurement: Option<u64>,
}

/// An announcement about a leap second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leap {
    /// None is near.
    None,
    /// At the next midnight UTC a second is inserted or removed.
    Announced,
    /// It is happening.
    Now,
}

/// Trust in the clock for a while. All in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// When it ends, by the monotonic clock.
    pub until: i64,
    /// How far the wall clock was ahead of the monotonic one.
    pub ahead: i64,
    /// How far it may move from there: what is left of the accuracy, and not a step.
    pub bound: i64,
    /// How far a time that is given may be ahead of there.
    pub slack: i64,
    /// See [`Discipline::offset`].
    pub offset: i64,
    /// See [`Discipline::uncertainty`].
    pub uncertainty: u64,
}

/// A time that may be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Nanoseconds since 1970-01-01T00:00:00Z without leap seconds. genTime may be before it by [`Policy::precision`].
    pub unix_nanos: u64,
    /// How far the clock is ahead of UTC as far as its source knows.
    pub offset_nanos: i64,
    /// How wrong the source may be about the offset.
    pub uncertainty_nanos: u64,
    /// Whether there is a source: false for `clock = "unchecked"`.
    pub checked: bool,
}

/// For [`Lease::bound`]: no source checks the clock, and it may be set to anything.
const UNBOUND: i64 = i64::MAX;

impl Lease {
    /// For an unchecked clock, for ever.
    pub fn unchecked(policy: &Policy) -> Self {
        let slack = nanos(policy.accuracy.saturating_sub(policy.precision));
        Self { until: i64::MAX, ahead: 0, bound: UNBOUND, slack, offset: 0, uncertainty: 0 }
    }

    /// The time that may be given now. `raise` returns the latest time given so far, if it is later than its argument.
    #[inline]
    pub fn read(&self, now: Moment, raise: impl FnOnce(i64) -> i64) -> Result<Reading, NotTrusted> {
        if now.monotonic >= self.until {
            return Err(NotTrusted::Silent);
        }
        let checked = self.bound != UNBOUND;
        let expected = if checked { now.monotonic.saturating_add(self.ahead) } else { now.wall };
        if now.wall.abs_diff(expected) > self.bound.unsigned_abs() {
            return Err(NotTrusted::Stepped);
        }
        let told = raise(now.wall);
        if told.saturating_sub(expected) > self.slack {
            return Err(NotTrusted::Behind);
        }
        let Ok(unix_nanos) = u64::try_from(told) else { return Err(NotTrusted::Behind) };
        Ok(Reading { unix_nanos, offset_nanos: self.offset, uncertainty_nanos: self.uncertainty, checked })
    }
}

/// The verdict on an answer of the source. It was asked no earlier than the monotonic time `asked`, and answered before
/// `now`; `history` has noted the answer.
pub fn judge(
    policy: &Policy,
    history: &History,
    said: &Discipline,
    asked: i64,
    now: Moment,
) -> Result<Lease, NotTrusted> {
    if said.leap == Leap::Now || history.leaps(policy, now) {
        return Err(NotTrusted::Leap);
    }
    if has_stepped(policy, history) {
        return Err(NotTrusted::Stepped);
    }
    if !said.synchronised {
        return Err(NotTrusted::Unsynchronised);
    }
    let span = history.span().ok_or(NotTrusted::Unmeasured)?;
    let known = nanos(policy.precision).saturating_add(nanos(drift(policy.lease)));
    let said_error = said.offset.unsigned_abs().saturating_add(said.uncertainty);
    let error = i64::try_from(said_error).unwrap_or(i64::MAX).saturating_add(known);
    let slack = nanos(policy.accuracy).saturating_sub(error);
    if slack < 0 {
        return Err(NotTrusted::Inaccurate);
    }
    let bound = slack.min(policy.step());
    if span.width() > bound {
        return Err(NotTrusted::Stepped);
    }
    // The clock may have been anywhere in its span at the measurement: the bound covers both ends.
    let half = span.width() - span.width() / 2;
    Ok(Lease {
        until: asked.saturating_add(nanos(policy.lease)),
        ahead: span.low + half,
        bound: bound - half,
        slack: slack - half,
        offset: said.offset,
        uncertainty: said.uncertainty,
    })
}

/// The verdict without an answer: the last answer counts until its lease ends.
pub fn unanswered(
    policy: &Policy,
    history: &History,
    verdict: Result<Lease, NotTrusted>,
    now: Moment,
) -> Result<Lease, NotTrusted> {
    if has_stepped(policy, history) {
        return Err(NotTrusted::Stepped);
    }
    verdict.ok().filter(|lease| now.monotonic < lease.until).ok_or(NotTrusted::Silent)
}

/// Whether the clock was set since before the latest measurement. Small steps add up.
fn has_stepped(policy: &Policy, history: &History) -> bool {
    history.span().is_some_and(|span| span.width() > policy.step())
}

/// How far a clock may drift in that time without its source noticing.
fn drift(time: Duration) -> Duration {
    time * limits::CLOCK_DRIFT_PPM / 1_000_000
}

/// Nanoseconds of a duration that `limits` bounds.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
