//! Asks the source again and again, and publishes the verdict on the clock.
//!
//! Invariant: a lease counts from before its source was asked. Every change of the verdict is logged, counted and
//! passed to the hook, in that order, once it is in force. Its thread may hang in the source or die: leases then end by
//! themselves. It does not know who reads the time.

use std::{
    fmt, io,
    sync::{
        Arc, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    Clock, ClockSource, Clocks, Discipline, Heard, History, Lease, Moment, NotTrusted, SharedHistory, chrony::Chrony,
    explained, judge, kernel, unanswered,
};
use crate::limits;

/// A change of the verdict, for the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// What the clock showed, in nanoseconds since 1970.
    pub unix_nanos: i64,
    /// The source.
    pub source: ClockSource,
    /// The promise.
    pub accuracy: Duration,
    /// The old verdict.
    pub from: Result<(), NotTrusted>,
    /// The new verdict.
    pub to: Result<(), NotTrusted>,
    /// What the source said, if it answered.
    pub discipline: Option<Discipline>,
    /// Why it did not answer.
    pub problem: Option<String>,
}

/// Called with every transition, on the keeper's thread. It must not block that for a lease.
pub type Hook = Box<dyn FnMut(&Transition) + Send>;

/// Asks the source; it should give up at the given instant.
type Ask = Box<dyn FnMut(Instant) -> io::Result<Discipline> + Send>;

/// The thread that watches. When it is dropped, it ends, and all leases with it.
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    watched: Vec<Arc<Clock>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl Keeper {
    pub(super) fn start(
        source: ClockSource,
        watched: Vec<Arc<Clock>>,
        history: SharedHistory,
        hook: Hook,
    ) -> io::Result<Self> {
        let ask: Ask = match source {
            ClockSource::Kernel => Box::new(|_| kernel::read()),
            ClockSource::Chrony(address) => {
                let mut drawn = [0; 4];
                rustix::rand::getrandom(&mut drawn, rustix::rand::GetRandomFlags::empty())?;
                let mut chrony = Chrony::new(address, u32::from_ne_bytes(drawn));
                Box::new(move |deadline| chrony.read(deadline))
            }
            ClockSource::Unchecked => {
                let mut watches: Vec<_> = watched.iter().map(|clock| Watch::unchecked(Arc::clone(clock))).collect();
                let mut hook = hook;
                return Self::start_looking(watched, move || {
                    for watch in &mut watches {
                        let now = Clocks.read_together();
                        watch.look(now).iter().for_each(&mut hook);
                    }
                });
            }
        };
        Self::start_asking(ask, watched, history, hook)
    }

    /// The same with any source.
    pub(super) fn start_asking(
        ask: Ask,
        watched: Vec<Arc<Clock>>,
        history: SharedHistory,
        hook: Hook,
    ) -> io::Result<Self> {
        let watches = watched.iter().map(|clock| Watch::new(Arc::clone(clock))).collect();
        let mut looks = Looks { ask, watches, history, hook, interval: interval(&watched) };
        Self::start_looking(watched, move || looks.look())
    }

    /// Looks once before it returns, then repeatedly.
    fn start_looking(watched: Vec<Arc<Clock>>, mut look: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let interval = interval(&watched);
        look();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("clock".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                look();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), watched })
    }
}

/// The time between two looks.
fn interval(watched: &[Arc<Clock>]) -> Duration {
    let lease = watched.iter().map(|clock| clock.policy.lease).min().unwrap_or(limits::CLOCK_LEASE);
    lease / limits::CLOCK_READINGS_A_LEASE
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
        for clock in &self.watched {
            clock.board.write(Err(NotTrusted::Unread));
        }
    }
}

struct Looks {
    ask: Ask,
    watches: Vec<Watch>,
    history: SharedHistory,
    hook: Hook,
    interval: Duration,
}

impl Looks {
    fn look(&mut self) {
        let asked = Clocks.monotonic();
        let said = (self.ask)(Instant::now() + self.interval);
        // Both clocks are read under the lock: no other observation comes between them and the verdict.
        let mut shared = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Clocks.read_together();
        let said = heard(&mut shared, said, asked, now);
        let history = *shared;
        drop(shared);
        for watch in &mut self.watches {
            for transition in watch.take(&said, &history, asked, now).iter().flatten() {
                (self.hook)(transition);
            }
        }
    }
}

/// Lets the history note an answer of the source. Returns what counts of it.
pub(super) fn heard(
    history: &mut History,
    said: io::Result<Discipline>,
    asked: i64,
    now: Moment,
) -> io::Result<Discipline> {
    match said {
        Ok(said) if history.answer(&said, asked, now) => Ok(said),
        Ok(_) => Err(io::Error::other("its answer came after the answer to a later request")),
        Err(error) => {
            history.silence(now);
            Err(error)
        }
    }
}

/// The verdict on the clock under one policy. It reads no clock.
pub(super) struct Watch {
    clock: Arc<Clock>,
    verdict: Result<Lease, NotTrusted>,
}

impl Watch {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, verdict: Err(NotTrusted::Unread) }
    }

    /// For an unchecked clock: its lease is given once, for ever.
    pub(super) fn unchecked(clock: Arc<Clock>) -> Self {
        let verdict = Ok(Lease::unchecked(&clock.policy));
        clock.board.write(verdict);
        Self { clock, verdict }
    }

    /// For such a clock: whether it was set back behind the times given, or has passed them again.
    pub(super) fn look(&mut self, now: Moment) -> Option<Transition> {
        let monotone = &self.clock.monotone;
        let lease = Lease::unchecked(&self.clock.policy);
        let after = lease.read(now, |time| monotone.would_raise(time)).map(|_| ());
        let before = self.verdict.map(|_| ());
        self.verdict = after.map(|()| lease);
        self.change(before, after, now, &Ok(None))
    }

    /// Takes an answer of the source: it was asked at `asked`, both clocks were read after the answer, and `history`
    /// has noted it. Returns what has changed since the last time, in order. A lease that ended in between counts as
    /// silence, however short.
    pub(super) fn take(
        &mut self,
        said: &io::Result<Discipline>,
        history: &History,
        asked: i64,
        now: Moment,
    ) -> [Option<Transition>; 2] {
        let policy = &self.clock.policy;
        let verdict = match said {
            Ok(said) => judge(policy, history, said, asked, now),
            Err(_) => unanswered(policy, history, self.verdict, now),
        };
        self.clock.board.write(verdict);
        let heard_now = said.as_ref().map(|said| Some(*said)).map_err(ToString::to_string);
        let (discipline, problem) = (said.as_ref().ok().copied(), heard_now.as_ref().err().cloned());
        let mut heard = self.clock.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Heard { discipline: discipline.or(heard.discipline), problem };
        drop(heard);

        let ended = self.verdict.is_ok_and(|lease| lease.until <= now.monotonic);
        let before = self.verdict.map(|_| ());
        let between = if ended { Err(NotTrusted::Silent) } else { before };
        let after = verdict.map(|_| ());
        self.verdict = verdict;
        [(before, between), (between, after)].map(|(from, to)| self.change(from, to, now, &heard_now))
    }

    /// Logs and counts a change of the verdict, if it is one. `said`: the source's answer, or why there is none.
    fn change(
        &self,
        from: Result<(), NotTrusted>,
        to: Result<(), NotTrusted>,
        now: Moment,
        said: &Result<Option<Discipline>, String>,
    ) -> Option<Transition> {
        (from != to).then(|| {
            let Clock { source, policy, .. } = &*self.clock;
            let (discipline, problem) = (said.as_ref().ok().copied().flatten(), said.as_ref().err().cloned());
            let (unix_nanos, source, accuracy) = (now.wall, *source, policy.accuracy);
            let transition = Transition { unix_nanos, source, accuracy, from, to, discipline, problem };
            transition.log();
            self.clock.transitions[to.map_or_else(|reason| 1 + reason as usize, |()| 0)].fetch_add(1, Relaxed);
            transition
        })
    }
}

impl Transition {
    /// `trusted`, or the reason why not.
    pub fn label(verdict: Result<(), NotTrusted>) -> &'static str {
        verdict.map_or_else(NotTrusted::label, |()| "trusted")
    }

    fn log(&self) {
        let Self { source, accuracy, discipline, .. } = self;
        let (from, to) = (Self::label(self.from), Self::label(self.to));
        let offset_us = discipline.map(|said| said.offset / 1000);
        let uncertainty_us = discipline.map(|said| said.uncertainty / 1000);
        let problem = self.problem.as_deref();
        match self.to {
            Ok(()) => {
                info!(%source, ?accuracy, from, offset_us, uncertainty_us, "the clock is trusted: time-stamps are issued")
            }
            Err(why) => {
                let why = explained(*source, why, *accuracy);
                warn!(%source, ?accuracy, from, to, offset_us, uncertainty_us, problem, "no time-stamps: {why}");
            }
        }
    }
}
