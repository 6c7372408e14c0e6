//! One cache that is told, and the thread that does it.
//!
//! Invariant: whoever has something to tell puts it into the queue and goes on. It does not know what is told.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    Asking, Old, Target,
    driver::Refused,
    queue::{Queue, Told},
};
use crate::{
    journal::trail,
    limits::purge as limits,
    log::remarks::{Lasting, News},
    ocsp::{About, CacheKey, IssuerKey},
    pki::Serial,
};

/// How a cache fares.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Keys that it has not been told of yet.
    pub waiting: usize,
    /// How long the oldest of them has waited.
    pub oldest: Option<Duration>,
    /// Requests that it has acknowledged since the start,
    pub requests: u64,
    /// the keys in them,
    pub keys: u64,
    /// and requests that failed.
    pub failures: u64,
    /// Why the last one failed, until one succeeds.
    pub fault: Option<String>,
    /// How long it took from a change to the acknowledgement, for each key that was purged first.
    pub latency: Latency,
}

impl Report {
    /// What is to be said of it where it is behind.
    pub fn complaint(&self) -> Option<String> {
        let (Self { name, waiting, fault, .. }, behind) = (self, self.oldest.unwrap_or_default());
        let why = fault.as_ref().map_or_else(|| "its pace is not enough".to_owned(), |fault| format!("it {fault}"));
        (fault.is_some() || behind > limits::BEHIND_MAX).then(|| {
            format!(
                "the cache `{name}` has not been told of {waiting} changed answers, the oldest of {} s ago, and gives out the old ones until their max-age is over: {why}",
                behind.as_secs()
            )
        })
    }
}

/// A histogram: how many took no longer than each of [`limits::LATENCY_BOUNDS`], and no longer than anything.
#[derive(Clone, Default, Debug)]
pub struct Latency {
    /// Not cumulative.
    pub counts: [u64; limits::LATENCY_BOUNDS.len() + 1],
    /// Of all of them.
    pub sum: Duration,
}

impl Latency {
    fn add(&mut self, took: Duration) {
        let place = limits::LATENCY_BOUNDS.iter().position(|bound| took <= Duration::from_millis(*bound));
        self.counts[place.unwrap_or(limits::LATENCY_BOUNDS.len())] += 1;
        self.sum += took;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    asking: Asking,
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    stops: bool,
    /// Whether it was told of whole issuers once.
    is_begun: bool,
    fails: Lasting,
    requests: u64,
    keys: u64,
    failures: u64,
    fault: Option<String>,
    latency: Latency,
}

impl Cache {
    pub(super) fn new(target: Target) -> Self {
        let state = State {
            queue: Queue::new(target.pace, Duration::ZERO),
            stops: false,
            is_begun: false,
            fails: Lasting::default(),
            requests: 0,
            keys: 0,
            failures: 0,
            fault: None,
            latency: Latency::default(),
        };
        let asking = Asking::new(&target);
        Self { asking, began: Instant::now(), state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn target(&self) -> &Target {
        self.asking.target()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    pub(super) fn begin(&self, issuers: &[(&str, IssuerKey)]) {
        if self.state().is_begun {
            return;
        }
        let now = self.began.elapsed();
        let kept = issuers.iter().filter(|(tenant, _)| self.target().keeps(tenant));
        self.change(|state| {
            state.is_begun = true;
            kept.for_each(|(_, issuer)| state.queue.add(CacheKey::whole(*issuer), now));
        });
    }

    pub(super) fn leave_to_others(&self) {
        let mut state = self.state();
        if state.is_begun {
            state.is_begun = false;
            state.queue.clear();
            (state.fault, state.fails) = (None, Lasting::default());
        }
    }

    pub(super) fn add(&self, issuer: IssuerKey, old: &Old, since: Instant) {
        let since = since.saturating_duration_since(self.began);
        self.change(|state| match old {
            Old::All => state.queue.add(CacheKey::whole(issuer), since),
            Old::Crls => state.queue.add(CacheKey { issuer, about: About::Crls }, since),
            Old::These { pressing, others } => {
                let key = |serial: &Serial| CacheKey { issuer, about: About::Certificate(*serial) };
                pressing.iter().for_each(|serial| state.queue.add(key(serial), since));
                others.iter().for_each(|serial| state.queue.add_gathering(key(serial), since));
            }
        });
    }

    pub(super) fn stop(&self) {
        self.change(|state| state.stops = true);
        self.asking.end();
    }

    pub(super) fn report(&self, has_ended: bool) -> Report {
        let (state, now) = (self.state(), self.began.elapsed());
        let ended = has_ended.then(|| "is told nothing any more: its thread has ended; restart the service".to_owned());
        Report {
            name: self.target().name.clone(),
            waiting: state.queue.waiting(),
            oldest: state.queue.oldest().map(|since| now.saturating_sub(since)),
            requests: state.requests,
            keys: state.keys,
            failures: state.failures,
            fault: ended.or_else(|| state.fault.clone()),
            latency: state.latency.clone(),
        }
    }

    /// Waits for the next request; `None` if it is to stop.
    fn next(&self) -> Option<Vec<CacheKey>> {
        let mut state = self.state();
        loop {
            if state.stops {
                return None;
            }
            let now = self.began.elapsed();
            let keys = state.queue.take(now);
            if !keys.is_empty() {
                return Some(keys);
            }
            state = match state.queue.wakes_at(now) {
                Some(at) => {
                    let wait = at.saturating_sub(now);
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn run(&self) {
        while let Some(keys) = self.next() {
            let begin = Instant::now();
            match self.asking.ask(&keys) {
                Ok(()) => self.succeeded(begin.elapsed()),
                Err(refused) => self.failed(refused, keys.len()),
            }
        }
    }

    fn succeeded(&self, took: Duration) {
        let (mut state, now) = (self.state(), self.began.elapsed());
        let told = state.queue.succeeded(now);
        state.requests += 1;
        state.keys += told.keys.len() as u64;
        told.keys.iter().filter_map(|(_, since)| *since).for_each(|since| state.latency.add(since));
        state.fault = None;
        let news = state.fails.news(false, now);
        drop(state);
        let name = &*self.target().name;
        if let Some(News::Over(after)) = news {
            info!(cache = name, seconds = after.as_secs(), "the cache is told of changes again");
        }
        keep(name, &told, took);
    }

    fn failed(&self, refused: Refused, keys: usize) {
        let (mut state, now) = (self.state(), self.began.elapsed());
        if state.stops {
            return;
        }
        let pause = state.queue.failed(now, refused.retry_after, jitter());
        state.failures += 1;
        state.fault = Some(refused.why.clone());
        let (news, waiting) = (state.fails.news(true, now), state.queue.waiting());
        drop(state);
        let (name, why) = (&*self.target().name, &*refused.why);
        let seconds = match news {
            Some(News::Begins) => {
                trail::tell("purge_failed", |event| {
                    event.text("cache", name).text("problem", why).number("keys", keys as u64)
                });
                0
            }
            Some(News::Lasts(since)) => since.as_secs(),
            _ => return,
        };
        warn!(
            cache = name,
            waiting,
            seconds,
            "the cache {why}; it is told again in {:.1} s and then less and less often, and gives out old answers until their max-age is over",
            pause.as_secs_f32()
        );
    }
}

/// A request in the journal, with its first keys.
fn keep(name: &str, told: &Told, took: Duration) {
    trail::tell("purge", |event| {
        let is_second = told.keys.iter().all(|(_, since)| since.is_none());
        let oldest = told.keys.iter().filter_map(|(_, since)| *since).max();
        let event = event
            .text("cache", name)
            .number("count", told.keys.len() as u64)
            .list("keys", told.keys.iter().take(limits::KEYS_KEPT_MAX).map(|(key, _)| key))
            .number("took_ms", took.as_millis() as u64);
        match oldest {
            Some(oldest) if !is_second => event.number("after_ms", oldest.as_millis() as u64),
            _ => event.text("again", "yes"),
        }
    });
}

/// From 0 to 1.
fn jitter() -> f32 {
    let mut random = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut random);
    f32::from(u16::from_be_bytes(random)) / f32::from(u16::MAX)
}

/// The thread of a cache.
#[derive(Debug)]
pub(super) struct Thread {
    thread: JoinHandle<()>,
    /// Ends with the thread.
    ended: mpsc::Receiver<()>,
}

impl Thread {
    pub(super) fn start(cache: &Arc<Cache>) -> io::Result<Self> {
        let (ends, ended) = mpsc::channel();
        let cache = Arc::clone(cache);
        let thread = thread::Builder::new().name("purge".to_owned()).spawn(move || {
            let _ends = ends;
            cache.run();
        })?;
        Ok(Self { thread, ended })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn wait_until(self, end: Instant) {
        let _: Result<(), _> = self.ended.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}
