//! Whether a key's holder is given work: pure, with time as a parameter.
//!
//! Invariant: a holder that was away gets no client's job before one test signature was made and verified; a locked one
//! is never asked again. It does not know what a holder is.

use std::time::{Duration, Instant};

use crate::limits;

/// The state of one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    /// At work.
    Closed,
    /// Away since then. It is probed at `probe_at`, and after a longer pause each time that fails.
    Open { since: Instant, probe_at: Instant, pause: Duration, why: String },
    /// Away, and being probed by one thread.
    Probing { since: Instant, pause: Duration, why: String },
    /// Not to be asked again before somebody has fixed the fault in the log.
    Locked { why: String },
}

impl Breaker {
    /// Whether clients' jobs may go there.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether it cannot come back by itself.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// How long it has not been at work; unlimited if it cannot come back by itself.
    pub(super) fn away_for(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Closed => None,
            Self::Open { since, .. } | Self::Probing { since, .. } => Some(now.saturating_duration_since(*since)),
            Self::Locked { .. } => Some(Duration::MAX),
        }
    }

    /// What is wrong.
    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Closed => None,
            Self::Open { why, .. } | Self::Probing { why, .. } | Self::Locked { why } => Some(why),
        }
    }

    /// It failed. `jitter` from 0 to 1 spreads the probes of holders that failed together. True if this is new: it was
    /// at work before.
    pub(super) fn open(&mut self, now: Instant, why: &str, jitter: f32) -> bool {
        let (since, pause) = match self {
            Self::Locked { .. } => return false,
            // Its other sessions report the same.
            Self::Open { .. } => return false,
            Self::Closed => (now, limits::PROBE_PAUSE_MIN),
            Self::Probing { since, pause, .. } => (*since, (*pause * 2).min(limits::PROBE_PAUSE_MAX)),
        };
        let news = self.is_closed();
        let probe_at = now + pause.mul_f32(0.75 + 0.5 * jitter.clamp(0.0, 1.0));
        *self = Self::Open { since, probe_at, pause, why: why.to_owned() };
        news
    }

    /// It must not be asked again. True if this is new.
    pub(super) fn lock(&mut self, why: &str) -> bool {
        let news = !self.is_locked();
        if news {
            *self = Self::Locked { why: why.to_owned() };
        }
        news
    }

    /// Whether the caller should probe it now; then no other caller does until the probe has ended.
    pub(super) fn begin_probe(&mut self, now: Instant) -> bool {
        match self {
            Self::Open { since, probe_at, pause, why } if *probe_at <= now => {
                *self = Self::Probing { since: *since, pause: *pause, why: std::mem::take(why) };
                true
            }
            _ => false,
        }
    }

    /// When [`Breaker::begin_probe`] will return true.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self {
            Self::Open { probe_at, .. } => Some(*probe_at),
            _ => None,
        }
    }

    /// It was found well. Returns how long it was away, if it was.
    pub(super) fn close(&mut self, now: Instant) -> Option<Duration> {
        let since = match self {
            Self::Probing { since, .. } => *since,
            // Another session opened or locked it in the meantime: that stands.
            _ => return None,
        };
        *self = Self::Closed;
        Some(now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_that_failed_is_looked_for_by_one_thread_at_growing_pauses() {
        let begin = Instant::now();
        let mut now = begin;
        let mut breaker = Breaker::Closed;
        assert!(breaker.open(now, "gone", 0.5), "news");
        assert!(!breaker.open(now, "gone too", 0.5), "told once");
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let at = breaker.probe_at().unwrap();
            assert!(!breaker.begin_probe(at - Duration::from_millis(1)), "too early");
            pauses.push(at.duration_since(now));
            now = at;
            assert!(breaker.begin_probe(now));
            assert!(!breaker.begin_probe(now), "one thread only");
            assert!(!breaker.open(now, "still gone", 0.5), "no news");
        }
        assert_eq!(pauses[0], limits::PROBE_PAUSE_MIN);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert_eq!(*pauses.last().unwrap(), limits::PROBE_PAUSE_MAX);
        assert_eq!(breaker.why(), Some("still gone"));
        now = breaker.probe_at().unwrap();
        assert!(breaker.begin_probe(now));
        assert_eq!(breaker.away_for(now), Some(now.duration_since(begin)), "since it went away");
        assert_eq!(breaker.close(now), Some(now.duration_since(begin)));
        assert!(breaker.is_closed() && breaker.away_for(now).is_none());
    }

    #[test]
    fn a_failure_while_it_is_looked_for_counts() {
        let now = Instant::now();
        let mut breaker = Breaker::Closed;
        breaker.open(now, "gone", 0.0);
        assert!(breaker.begin_probe(now + limits::PROBE_PAUSE_MAX));
        breaker.open(now + limits::PROBE_PAUSE_MAX, "gone again", 0.0);
        assert_eq!(breaker.close(now + limits::PROBE_PAUSE_MAX), None);
        assert!(!breaker.is_closed());
    }

    #[test]
    fn a_locked_holder_stays_so() {
        let now = Instant::now();
        let mut breaker = Breaker::Closed;
        assert!(breaker.lock("the PIN is wrong"));
        assert!(!breaker.lock("again"));
        assert!(!breaker.open(now, "gone", 0.0));
        assert!(!breaker.begin_probe(now + limits::PROBE_PAUSE_MAX * 100));
        assert_eq!(breaker.close(now), None);
        assert_eq!(breaker.why(), Some("the PIN is wrong"));
        assert_eq!(breaker.away_for(now), Some(Duration::MAX));
    }
}
