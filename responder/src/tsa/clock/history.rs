//! What is known of the clock's past, kept across reloads, and across restarts with the file of
//! [`super::super::remembered`].
//!
//! A source that does not notice that the clock was set (chronyd below 10 s) keeps reporting its old measurement. Its
//! report counts as long as the clock is where it was at that measurement. Invariant: [`History::span`] covers every
//! observed difference between wall clock and monotonic clock since before the latest reported measurement, with the
//! observations before and after it. It does not know promises or files; time is a parameter.

use super::{Discipline, Leap, Moment, Policy};
use crate::limits;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A range of differences: how far the wall clock was ahead of the monotonic one, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The least,
    pub low: i64,
    /// and the greatest.
    pub high: i64,
}

impl Span {
    fn at(ahead: i64) -> Self {
        Self { low: ahead, high: ahead }
    }

    fn with(self, ahead: i64) -> Self {
        Self { low: self.low.min(ahead), high: self.high.max(ahead) }
    }

    fn moved(self, by: i64) -> Self {
        Self { low: self.low.saturating_add(by), high: self.high.saturating_add(by) }
    }

    /// The distance between the ends.
    pub fn width(self) -> i64 {
        self.high.saturating_sub(self.low)
    }
}

/// What is remembered between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// See [`Discipline::measurement`]: the latest one, and the monotonic time when it was first reported.
    pub(super) measurement: Option<(u64, i64)>,
    /// Where the clock has been since before that; `None` if it was not observed then.
    pub(super) span: Option<Span>,
    /// Where it has been since the source last answered: the next measurement was made at one of these.
    pub(super) since: Option<Span>,
    /// Where it was last,
    pub(super) last: i64,
    /// and the monotonic time of the source's last answer.
    pub(super) answered: Option<i64>,
    /// The last leap second that was near.
    pub(super) leap: Option<LeapSecond>,
}

/// A leap second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeapSecond {
    /// The midnight, in nanoseconds since 1970.
    pub(super) midnight: i64,
    /// What the clock showed at the last announcement: if it is withdrawn in time, there is no leap second.
    pub(super) told: i64,
    /// Whether the clock has made its step.
    pub(super) made: bool,
}

impl LeapSecond {
    /// Whether it is near, and was announced then. `before` and `after`: how long around midnight.
    fn is_near(&self, before: i64, after: i64, now: Moment) -> bool {
        // One second more: an inserted second occurs twice.
        let window = self.midnight.saturating_sub(before)..self.midnight.saturating_add(after + SECOND);
        window.contains(&now.wall) && window.contains(&self.told)
    }

    /// The same with the widest margin of all policies.
    fn is_near_any(&self, now: Moment) -> bool {
        let margin = limits::LEAP_MARGIN_MAX.as_nanos() as i64;
        self.is_near(margin, margin, now)
    }
}

impl History {
    /// Where the clock has been since before the latest measurement; `None` if that is unknown.
    pub fn span(&self) -> Option<Span> {
        self.span
    }

    /// Takes an answer of the source, which was asked at the monotonic time `asked`; both clocks were read afterwards.
    /// False if another caller has had an answer in between and this one may be older: it does not count.
    pub fn answer(&mut self, said: &Discipline, asked: i64, now: Moment) -> bool {
        self.hear(said.leap, now);
        let begins = self.since.is_none();
        self.pass(now);
        let is_known = said.measurement.is_some_and(|measurement| self.is_known(measurement, now));
        if self.answered.is_some_and(|answered| asked < answered) {
            // For the latest measurement it is as good as the other answer.
            return is_known;
        }
        match said.measurement {
            // Such a source reports itself whether the clock was set.
            None => self.span = self.since,
            Some(_) if is_known => {}
            Some(measurement) => {
                self.measurement = Some((measurement, now.monotonic));
                self.span = self.since.filter(|_| !begins);
            }
        }
        self.since = Some(Span::at(now.ahead()));
        self.answered = Some(now.monotonic);
        true
    }

    /// Notes where the clock is, without an answer of the source.
    pub fn silence(&mut self, now: Moment) {
        if self.since.is_some() {
            self.pass(now);
        }
    }

    /// Whether a measurement is the latest reported one. A daemon that adjusts its frequency in between reports the
    /// same measurement with a slightly different time.
    fn is_known(&self, measurement: u64, now: Moment) -> bool {
        self.measurement.is_some_and(|(latest, first_told)| {
            let since = now.monotonic.saturating_sub(first_told).max(0).unsigned_abs();
            measurement.abs_diff(latest) <= since / 1_000_000 * u64::from(limits::CLOCK_DRIFT_PPM)
        })
    }

    /// Notes where the clock is.
    fn pass(&mut self, now: Moment) {
        let ahead = now.ahead();
        let moved = ahead.saturating_sub(self.last);
        let watched = self.since.is_some();
        if let Some(leap) = self.leap.as_mut().filter(|leap| watched && !leap.made && leap.is_near_any(now))
            && (SECOND / 2..SECOND * 3 / 2).contains(&moved.saturating_abs())
        {
            // Earlier measurements count for the clock after the step.
            leap.made = true;
            let by = SECOND * moved.signum();
            self.span = self.span.map(|span| span.moved(by));
            self.since = self.since.map(|since| since.moved(by));
        }
        self.span = self.span.map(|span| span.with(ahead));
        self.since = Some(self.since.map_or(Span::at(ahead), |since| since.with(ahead)));
        self.last = ahead;
    }

    /// Whether an announced leap second is near.
    pub fn leaps(&self, policy: &Policy, now: Moment) -> bool {
        let margin = policy.leap_margin();
        let before = margin + policy.lease.as_nanos() as i64;
        self.leap.is_some_and(|leap| leap.is_near(before, margin, now))
    }

    /// Notes an announcement of a leap second. It is for the next midnight, except for a while after its own midnight.
    fn hear(&mut self, said: Leap, now: Moment) {
        let midnight = now.wall.div_euclid(DAY).saturating_add(1).saturating_mul(DAY);
        let known = self.leap.filter(|leap| leap.midnight == midnight || leap.is_near_any(now));
        let told = LeapSecond { told: now.wall, ..known.unwrap_or(LeapSecond { midnight, told: 0, made: false }) };
        // A source that still announces it afterwards does not make it last longer.
        let is_over = said == Leap::Announced && told.midnight <= now.wall;
        if said != Leap::None && !is_over {
            self.leap = Some(told);
        }
    }
}

/// What is noted for the next process: the latest measurement and where the clock has been since before it. A
/// measurement that is later than the note may have been made with any clock setting, because no process observed it.
impl History {
    /// Whether the present note would tell a start less than this.
    pub fn says_more_than(&self, noted: Option<&Self>) -> bool {
        let Some(noted) = noted else { return self.measurement.is_some() };
        let within = limits::CLOCK_NOTED_WITHIN.as_nanos() as i64;
        let is_wider = match (self.span, noted.span) {
            (Some(span), Some(noted)) => noted.with(span.low).with(span.high).width() > noted.width() + within,
            (span, noted) => span != noted,
        };
        self.measurement != noted.measurement || is_wider || self.leap != noted.leap
    }

    /// As lines: `measurement` with the time of its first report, `span`, `leap`; those that exist.
    pub fn to_text(&self) -> String {
        let measurement = self.measurement.map(|(of, told)| format!("measurement {of} {told}\n"));
        let span = self.span.map(|Span { low, high }| format!("span {low} {high}\n"));
        let leap = self.leap.map(|LeapSecond { midnight, told, made }| format!("leap {midnight} {told} {made}\n"));
        [measurement, span, leap].into_iter().flatten().collect::<String>() + "end\n"
    }

    /// From these lines; `None` if they are incomplete or impossible.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut history = Self::default();
        for line in text.strip_suffix("end\n")?.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["measurement", of, told] => history.measurement = Some((of.parse().ok()?, told.parse().ok()?)),
                ["span", low, high] => history.span = Some(Span { low: low.parse().ok()?, high: high.parse().ok()? }),
                ["leap", midnight, told, made] => {
                    let (midnight, told) = (midnight.parse().ok()?, told.parse().ok()?);
                    history.leap = Some(LeapSecond { midnight, told, made: made.parse().ok()? });
                }
                _ => return None,
            }
        }
        let is_whole = history.measurement.is_some() && history.span.is_none_or(|span| span.low <= span.high);
        is_whole.then_some(history)
    }
}

#[cfg(test)]
mod tests;
