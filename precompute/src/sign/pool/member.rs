//! One of a signer's key holders within the pool: what it is doing, its condition, and how much work it gets.
//!
//! Pure: time is a parameter, and nothing here calls the holder.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Condvar},
    time::{Duration, Instant},
};

use super::{
    allowance::{Allowance, Slow},
    breaker::Breaker,
    queue::Task,
    status::{Health, MemberStatus, Times},
};
use crate::{
    limits,
    sign::{Fault, FaultClass, Holder},
};

/// A holder with the threads that have sessions there.
pub(super) struct Member {
    pub holder: Arc<dyn Holder>,
    pub breaker: Breaker,
    pub seats: Vec<Seat>,
    /// Sessions opened in an earlier epoch are useless.
    pub epoch: u64,
    /// Threads that were abandoned in a call that did not return.
    pub written_off: usize,
    /// Where its threads that have a session wait for work.
    pub work: Arc<Condvar>,
    /// How many of them wait, and how many of those have been woken.
    pub idle: usize,
    pub called: usize,
    /// Where its threads without a session wait for a change.
    pub change: Arc<Condvar>,
    /// How many sessions may be at work at once.
    allowance: Allowance,
    /// Until when it gets no work, because it reported overload.
    pause_until: Option<Instant>,
    /// Overloads in a row; too many become a device fault.
    throttled: u32,
    sessions_lost: u32,
    /// It could not do what it was asked, and has to make a test signature first.
    pub doubted: bool,
    /// How long to wait for the first session if the holder had none free before, and why. The sessions of the pool
    /// that this one replaces become free in time.
    first_wait: Option<(Instant, String)>,
    /// Whether it was logged that the holder gives fewer sessions than there are threads.
    fewer_told: bool,
    last_used: Instant,
    /// When it came back.
    returned: Option<Instant>,
    pub signed: u64,
    pub failed: u64,
    pub times: Times,
}

/// The place of one thread. If the thread was written off, the ticket in its place has changed.
pub(super) struct Seat {
    pub ticket: u64,
    /// Whether no thread replaced the one that was written off.
    pub vacant: bool,
    pub call: Option<Call>,
    /// Its thread has a session.
    pub has_session: bool,
    /// No session is opened before this time: the holder had none free.
    pub open_at: Option<Instant>,
}

/// A call into the holder that has not returned yet.
pub(super) struct Call {
    pub overdue_at: Instant,
    /// The job it is for; none for openings and tests.
    pub task: Option<Task>,
}

/// What a fault means for its job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// Try it again, here or elsewhere.
    Again,
    /// It failed.
    Fail,
}

/// What else a fault means for the holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum News {
    None,
    /// It was at work until now.
    Away(String),
    /// It gives only this many sessions.
    Fewer(usize),
}

impl Member {
    pub(super) fn new(holder: Arc<dyn Holder>, threads: usize, now: Instant) -> Self {
        let mut breaker = Breaker::Closed;
        let mut first_wait = None;
        // Whoever asked it has logged this: it is not news.
        let _ = match holder.fault_at_first() {
            None => false,
            Some(fault) if fault.class == FaultClass::Throttle => {
                first_wait = Some((now + limits::FIRST_SESSION_WAIT, fault.message.clone()));
                false
            }
            Some(fault) if fault.class == FaultClass::Locked => breaker.lock(&fault.message),
            Some(fault) => breaker.open(now, &fault.message, jitter()),
        };
        Self {
            holder,
            breaker,
            seats: Vec::new(),
            epoch: 0,
            written_off: 0,
            work: Arc::default(),
            idle: 0,
            called: 0,
            change: Arc::default(),
            allowance: Allowance::new(threads, now),
            pause_until: None,
            throttled: 0,
            sessions_lost: 0,
            doubted: false,
            first_wait,
            fewer_told: false,
            last_used: now,
            returned: None,
            signed: 0,
            failed: 0,
            times: Times::default(),
        }
    }

    /// Wakes all its threads, so that they see what has changed.
    pub(super) fn wake_all(&self) {
        self.work.notify_all();
        self.change.notify_all();
    }

    /// How many of its threads are in a call.
    pub(super) fn busy(&self) -> usize {
        self.seats.iter().filter(|seat| seat.call.is_some()).count()
    }

    /// How many of its threads sign for a job. A thread that opens a session takes nothing from them.
    fn signing(&self) -> usize {
        self.seats.iter().filter(|seat| seat.call.as_ref().is_some_and(|call| call.task.is_some())).count()
    }

    /// Whether one more of its sessions may be given work.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let is_paused = self.pause_until.is_some_and(|until| now < until);
        self.breaker.is_closed() && !is_paused && self.signing() < self.allowance.at_once()
    }

    /// Whether it has been at work for long enough to be preferred again.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.returned.is_none_or(|returned| now.duration_since(returned) >= limits::FAIL_BACK_DELAY)
    }

    /// When its next test is due.
    pub(super) fn test_at(&self) -> Option<Instant> {
        self.holder.is_apart().then(|| self.last_used + limits::TEST_INTERVAL)
    }

    /// Until when it gets no work.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        self.pause_until
    }

    /// It is being used: no other thread has to test it now.
    pub(super) fn used(&mut self, now: Instant) {
        self.last_used = now;
    }

    /// A signature was made. Returns a notice about how long they take.
    pub(super) fn succeeded(&mut self, took: Duration, now: Instant) -> Option<Slow> {
        self.signed += 1;
        self.times.record(took);
        self.last_used = now;
        (self.throttled, self.sessions_lost, self.pause_until) = (0, 0, None);
        self.allowance.signed(took, self.signing(), now)
    }

    /// It was found well after it was away. Returns how long it was away.
    pub(super) fn returned(&mut self, now: Instant) -> Option<Duration> {
        let away = self.breaker.close(now)?;
        self.returned = Some(now);
        (self.fewer_told, self.doubted) = (false, false);
        (self.throttled, self.sessions_lost, self.pause_until) = (0, 0, None);
        self.allowance.begin_again(now);
        Some(away)
    }

    /// How many of its threads have a session.
    pub(super) fn sessions(&self) -> usize {
        self.seats.iter().filter(|seat| seat.has_session).count()
    }

    /// One more session was requested, and refused because there are too many. If it has given others, it works with
    /// those.
    pub(super) fn refused_session(&mut self, seat: usize, now: Instant) -> Option<News> {
        if self.first_wait.as_ref().is_some_and(|(until, _)| now < *until) {
            self.seats.get_mut(seat)?.open_at = Some(now + limits::FIRST_SESSION_PAUSE);
            return Some(News::None);
        }
        let sessions = self.sessions();
        if sessions == 0 {
            return None;
        }
        self.seats.get_mut(seat)?.open_at = Some(now + limits::SESSION_RETRY);
        let news = !std::mem::replace(&mut self.fewer_told, true);
        Some(if news { News::Fewer(sessions) } else { News::None })
    }

    /// A call failed in the thread of `seat`; the class of the fault decides on the remedy. `others`: whether other holders
    /// are at work.
    pub(super) fn failed(&mut self, fault: &Fault, seat: usize, others: bool, now: Instant) -> (Remedy, News) {
        self.failed += 1;
        self.last_used = now;
        match fault.class {
            FaultClass::Session => {
                self.sessions_lost += 1;
                // Every session may be lost once, and once more while they are opened.
                if self.sessions_lost as usize > 2 * self.seats.len() {
                    return (Remedy::Again, self.away(fault, now));
                }
                (Remedy::Again, News::None)
            }
            FaultClass::Throttle => {
                self.throttled += 1;
                if self.throttled > limits::THROTTLES_MAX {
                    return (Remedy::Again, self.away(fault, now));
                }
                self.allowance.throttled(self.signing(), now);
                let pause = limits::THROTTLE_PAUSE_MIN * 2u32.pow(self.throttled.min(5));
                let until = now + pause.mul_f32(0.5 + jitter());
                self.pause_until = Some(until);
                if let Some(seat) = self.seats.get_mut(seat) {
                    seat.open_at = Some(until);
                }
                (Remedy::Again, News::None)
            }
            FaultClass::Device => (Remedy::Again, self.away(fault, now)),
            FaultClass::Locked => {
                self.epoch += 1;
                let news = self.breaker.lock(&fault.message);
                (Remedy::Again, if news { News::Away(fault.message.clone()) } else { News::None })
            }
            // What one holder cannot do (a key made for something else, a mechanism that is not allowed), others may.
            FaultClass::Defect if others => (Remedy::Again, self.away(fault, now)),
            // The cause may be this one job.
            FaultClass::Defect => {
                self.doubted = true;
                (Remedy::Fail, News::None)
            }
        }
    }

    fn away(&mut self, fault: &Fault, now: Instant) -> News {
        self.epoch += 1;
        let news = self.breaker.open(now, &fault.message, jitter());
        if news { News::Away(fault.message.clone()) } else { News::None }
    }

    pub(super) fn status(&self, now: Instant) -> MemberStatus {
        let health = match &self.breaker {
            Breaker::Closed => Health::AtWork,
            Breaker::Open { since, .. } | Breaker::Probing { since, .. } => Health::Away(now.duration_since(*since)),
            Breaker::Locked { .. } => Health::Locked,
        };
        let waits_first = |(until, _): &&(Instant, String)| now < *until && self.sessions() == 0;
        let waits_why = self.first_wait.as_ref().filter(waits_first).map(|(_, why)| &**why);
        MemberStatus {
            name: self.holder.name().to_owned(),
            health,
            why: self.breaker.why().or(waits_why).map(Into::into),
            sessions: self.sessions(),
            busy: self.busy(),
            written_off: self.written_off,
            signed: self.signed,
            failed: self.failed,
            times: self.times,
        }
    }
}

/// A number from 0 to 1.
fn jitter() -> f32 {
    // Each state has new keys; the number need not be unpredictable.
    (RandomState::new().hash_one(0) >> 40) as f32 / (1u64 << 24) as f32
}
