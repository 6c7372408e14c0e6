//! Whether Redis is asked for shared answers: pure, with time as a parameter.
//!
//! Invariant: after a failure it is not asked for anybody until a trial was answered, and the pauses between trials grow up to
//! their bound. It does not know what is asked.

use std::time::{Duration, Instant};

use crate::limits::sharing as limits;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Breaker {
    /// Nobody has wanted to ask yet.
    Idle,
    /// It is asked, since then; the pause before was so long.
    Closed { since: Instant, pause: Duration },
    /// It is not, since then. It is tried at `trial_at`.
    Open { since: Instant, trial_at: Instant, pause: Duration },
}

impl Breaker {
    /// Somebody wants to ask: it is tried at once.
    pub(super) fn wake(&mut self, now: Instant) {
        if *self == Self::Idle {
            *self = Self::Open { since: now, trial_at: now, pause: Duration::ZERO };
        }
    }

    /// A question was not answered in time, or a trial failed.
    pub(super) fn fail(&mut self, now: Instant) {
        let longer = |pause: Duration| (2 * pause).clamp(limits::PAUSE_MIN, limits::PAUSE_MAX);
        let (since, pause) = match *self {
            Self::Idle => (now, limits::PAUSE_MIN),
            // It was in order for longer than that cost: a Redis that is late now and then is asked most of the time.
            Self::Closed { since, pause } if now.saturating_duration_since(since) >= pause => (now, limits::PAUSE_MIN),
            Self::Closed { pause, .. } => (now, longer(pause)),
            Self::Open { since, pause, .. } => (since, longer(pause)),
        };
        *self = Self::Open { since, trial_at: now + pause, pause };
    }

    /// A trial was answered in time.
    pub(super) fn succeed(&mut self, now: Instant) {
        if let Self::Open { pause, .. } = *self {
            *self = Self::Closed { since: now, pause };
        }
    }

    /// Whether questions are asked.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// When it is tried, if it has to be.
    pub(super) fn trial_at(&self) -> Option<Instant> {
        match self {
            Self::Open { trial_at, .. } => Some(*trial_at),
            Self::Idle | Self::Closed { .. } => None,
        }
    }

    /// For how long it has not been asked although somebody wanted to.
    pub(super) fn away_for(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Open { since, .. } => Some(now.saturating_duration_since(*since)),
            Self::Idle | Self::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_is_tried_when_somebody_wants_to_ask_and_then_asked() {
        let now = Instant::now();
        let mut breaker = Breaker::Idle;
        assert_eq!((breaker.is_closed(), breaker.trial_at()), (false, None));
        breaker.succeed(now);
        assert_eq!(breaker, Breaker::Idle);
        breaker.wake(now);
        assert_eq!((breaker.is_closed(), breaker.trial_at()), (false, Some(now)));
        breaker.succeed(now + MS);
        assert_eq!((breaker.is_closed(), breaker.trial_at(), breaker.away_for(now + MS)), (true, None, None));
        breaker.wake(now + MS);
        assert!(breaker.is_closed());
    }

    #[test]
    fn pauses_grow_to_their_bound_while_it_fails_and_begin_anew_once_it_was_in_order_for_as_long() {
        let begun = Instant::now();
        let mut now = begun;
        let mut breaker = Breaker::Closed { since: now, pause: Duration::ZERO };
        let mut pauses = Vec::new();
        for _ in 0..10 {
            breaker.fail(now);
            let trial_at = breaker.trial_at().unwrap();
            pauses.push((trial_at - now).as_millis());
            now = trial_at;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000]);
        assert_eq!(breaker.away_for(now), Some(now - begun), "since the first of them");
        // One that answers trials and nothing else.
        breaker.succeed(now);
        breaker.fail(now + limits::PAUSE_MAX - MS);
        assert_eq!(breaker.trial_at(), Some(now + 2 * limits::PAUSE_MAX - MS));
        // One that is late now and then.
        breaker.succeed(now);
        breaker.fail(now + limits::PAUSE_MAX);
        assert_eq!(breaker.trial_at(), Some(now + limits::PAUSE_MAX + limits::PAUSE_MIN));
    }
}
