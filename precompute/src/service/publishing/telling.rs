//! Whether this writer leads, and whether what was pushed here has been told to the feed.
//!
//! Purpose: a push is acknowledged when its record has left the outbox because the feed has it (rule 18), and shortly after
//! that when its new answers have been told as well, so that who asks a replica then gets one. Invariant: what left the
//! outbox in another way, because another writer leads or the book was exchanged, is not acknowledged. It does not know how
//! anything is told.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{bell::Bell, confirmed::Confirmed};
use crate::{
    answers::each_entry,
    book::Identity,
    feed::{Issuer, body::AnswerSection},
    ledger::Ledger,
    limits::feed as limits,
    pki::Serial,
    state_dir::StateError,
};

/// What pushes have to know of the feed.
#[derive(Debug)]
pub struct Telling {
    state: Mutex<State>,
    changed: Condvar,
    bell: Bell,
    within: Duration,
}

#[derive(Debug)]
struct State {
    /// One more each time that this writer begins to lead, or ends.
    term: u64,
    leads: bool,
    /// Whether it begins a feed, and does not lead yet.
    begins: bool,
    /// Whether it is taking over, so that a push may wait for that.
    takes_over: bool,
    /// Entries written.
    written: u64,
    /// Which of them are where they have to be as well.
    redis_replicas: Confirmed,
    standbys: Confirmed,
    /// Pushes that wait.
    pushes: usize,
    /// Where the writer that leads takes pushes, if it said so.
    leader: Option<String>,
    /// The certificates whose new answers pushes wait for: how many pushes, and whether an answer was told.
    awaited: HashMap<Key, (usize, bool)>,
    /// The issuers whose answers have been told since this writer leads.
    signed_ahead: HashSet<Issuer>,
}

impl State {
    fn confirmed(&self, kind: Kind) -> &Confirmed {
        match kind {
            Kind::RedisReplicas => &self.redis_replicas,
            Kind::Standbys => &self.standbys,
        }
    }

    fn confirmed_mut(&mut self, kind: Kind) -> &mut Confirmed {
        match kind {
            Kind::RedisReplicas => &mut self.redis_replicas,
            Kind::Standbys => &mut self.standbys,
        }
    }
}

type Key = (Issuer, Serial);

/// Pushes that were begun while this writer led.
#[derive(Debug)]
pub struct Begun<'t> {
    telling: &'t Telling,
    ledger: &'t Ledger,
    term: u64,
    book: Identity,
    keys: Vec<Key>,
}

/// Who has to have what was told before a push is acknowledged, beside Redis itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Servers that follow it.
    RedisReplicas,
    /// Other writers, on their disks.
    Standbys,
}

/// Why something is not told.
#[derive(Debug)]
pub enum NotTold {
    /// Another writer leads, at this address if it is known.
    StandsBy(Option<String>),
    /// This writer begins a feed, and nobody could hear of it yet.
    Begins,
    /// It led when this was pushed, and does not any more.
    Deposed(Option<String>),
    /// The feed has not taken it within this time. It is told as soon as it can be.
    Late(Duration),
    /// The feed has it, and too few of those that have to have it as well.
    AtFew {
        /// Of which.
        kind: Kind,
        /// How many have.
        reached: usize,
        /// How many have to.
        wanted: usize,
        /// Within this time.
        within: Duration,
    },
    /// The book cannot be read.
    Book(StateError),
}

impl fmt::Display for NotTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, leader: &Option<String>| match leader {
            Some(leader) => write!(f, "push to the one that leads, at {leader}"),
            None => f.write_str("push to the one that leads"),
        };
        match self {
            Self::StandsBy(leader) => {
                f.write_str("this writer stands by and takes no pushes; ")?;
                at(f, leader)
            }
            Self::Begins => f.write_str(
                "this writer begins a new feed: it reads its sources and saves what they say before it takes pushes; push again shortly",
            ),
            Self::Deposed(leader) => {
                f.write_str(
                    "another writer took over before the replicas were told; a revocation is kept here and handed to it, anything else is undone: ",
                )?;
                at(f, leader)
            }
            Self::Late(within) => write!(
                f,
                "it is durable in this writer's book, but the feed has not taken it within {} ms (`feed.acknowledge_within`): Redis may be away; it is told as soon as it is back, and the same request may be sent again; if this writer ends or another one takes over before that, a revocation is still told, and anything else is undone",
                within.as_millis()
            ),
            Self::AtFew { kind, reached, wanted, within } => {
                let (who, key) = match kind {
                    Kind::RedisReplicas => ("Redis followers that must have it", "acknowledge_redis_replicas"),
                    Kind::Standbys => ("standbys that must have it on disk", "acknowledge_standbys"),
                };
                write!(
                    f,
                    "it is durable in this writer's book and told to the replicas, but only {reached} of the {wanted} {who} (`feed.{key}`) had it within {} ms (`feed.acknowledge_within`): see whether they run and keep up; the same request may be sent again",
                    within.as_millis()
                )
            }
            Self::Book(error) => write!(f, "whether the replicas were told cannot be seen: {error}"),
        }
    }
}

impl std::error::Error for NotTold {}

impl Telling {
    /// Of a writer that stands by. `within`: how long a push waits for the feed.
    /// `redis_replicas`: how many servers that follow Redis have to have it too; `standbys`: how many other writers.
    pub(super) fn new(bell: Bell, within: Duration, redis_replicas: u32, standbys: u32) -> Self {
        let state = State {
            term: 0,
            leads: false,
            begins: false,
            takes_over: false,
            written: 0,
            redis_replicas: Confirmed::of(redis_replicas),
            standbys: Confirmed::of(standbys),
            pushes: 0,
            leader: None,
            awaited: HashMap::new(),
            signed_ahead: HashSet::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), bell, within }
    }

    /// The number of the last entry, and how many of this kind must have it. `None` if nobody waits for that.
    pub(super) fn unconfirmed(&self, kind: Kind) -> Option<(u64, u32)> {
        let state = self.state();
        let (written, confirmed) = (state.written, state.confirmed(kind));
        let is_awaited = state.pushes > 0 && !confirmed.suffices(written);
        is_awaited.then(|| (written, confirmed.wanted() as u32))
    }

    /// Which entry each of them has.
    pub(super) fn reached(&self, kind: Kind, has: Vec<u64>) {
        self.change(|state| state.confirmed_mut(kind).note(has));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// This writer leads from now on, or no longer.
    pub(super) fn leads(&self, leads: bool) {
        self.change(|state| {
            state.term += u64::from(state.leads != leads);
            state.leads = leads;
            (state.begins, state.takes_over) = (false, false);
            state.signed_ahead.clear();
        });
    }

    /// This writer begins a feed.
    pub(super) fn begins(&self) {
        self.change(|state| state.begins = true);
    }

    /// It has begun, and leads from now on; false if it stands by by now.
    pub(super) fn begun(&self) -> bool {
        let mut begins = false;
        self.change(|state| {
            begins = state.begins;
            if begins {
                (state.begins, state.leads) = (false, true);
                state.term += 1;
            }
        });
        begins
    }

    /// This writer is taking over, or is no longer.
    pub(super) fn takes_over(&self, takes_over: bool) {
        if self.state().takes_over != takes_over {
            self.change(|state| state.takes_over = takes_over);
        }
    }

    /// Where another one that leads takes pushes; empty if it does not say.
    pub(super) fn led_at(&self, address: &str) {
        let mut state = self.state();
        if state.leader.as_deref().unwrap_or_default() != address {
            state.leader = Some(address.to_owned()).filter(|address| !address.is_empty());
        }
    }

    /// Where that is.
    pub fn leader(&self) -> Option<String> {
        self.state().leader.clone()
    }

    /// An entry was written.
    pub(super) fn written(&self) {
        self.change(|state| state.written += 1);
    }

    /// Whether a push waits for answers.
    pub(super) fn awaits_answers(&self) -> bool {
        !self.state().awaited.is_empty()
    }

    /// Answers were told.
    pub(super) fn answered(&self, sections: &[AnswerSection]) {
        let mut state = self.state();
        let State { awaited, signed_ahead, .. } = &mut *state;
        for section in sections {
            signed_ahead.insert(section.issuer);
            if awaited.is_empty() {
                continue;
            }
            each_entry(&section.entries, section.packed_length, |serial, _, _| {
                if let Some((_, is_told)) = awaited.get_mut(&(section.issuer, serial)) {
                    *is_told = true;
                }
            });
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether anything may be pushed here now.
    pub fn takes_pushes(&self) -> Result<(), NotTold> {
        self.term().map(drop)
    }

    fn term(&self) -> Result<u64, NotTold> {
        let state = self.state();
        match (state.leads, state.begins) {
            (true, _) => Ok(state.term),
            (false, true) => Err(NotTold::Begins),
            (false, false) => Err(NotTold::StandsBy(state.leader.clone())),
        }
    }

    /// While this writer takes over, a push waits for that: it takes milliseconds where the one before has resigned.
    fn await_leadership(&self) {
        let is_near = |state: &mut State| state.takes_over && !state.leads && !state.begins;
        drop(self.changed.wait_timeout_while(self.state(), self.within, is_near));
    }

    /// To be called before certificates of this ledger are pushed.
    pub fn begin<'t>(
        &'t self,
        ledger: &'t Ledger,
        serials: impl IntoIterator<Item = Serial>,
    ) -> Result<Begun<'t>, NotTold> {
        self.await_leadership();
        let term = self.term()?;
        let (book, _) = ledger.untold(&[]).map_err(NotTold::Book)?;
        let issuer = Issuer::from(ledger.id());
        let keys: Vec<Key> = serials.into_iter().map(|serial| (issuer, serial)).collect();
        let keys = if keys.len() > limits::ANSWERS_AWAITED_MAX { Vec::new() } else { keys };
        let mut state = self.state();
        keys.iter().for_each(|key| state.awaited.entry(*key).or_default().0 += 1);
        state.pushes += 1;
        drop(state);
        Ok(Begun { telling: self, ledger, term, book, keys })
    }
}

impl Begun<'_> {
    /// Waits until these records have been told, as they are or as they were since; and for their answers, but not for
    /// long.
    pub fn wait(self, serials: &[Serial]) -> Result<(), NotTold> {
        let Telling { changed, bell, within, .. } = self.telling;
        bell.ring();
        let until = Instant::now() + *within;
        let mut untold = serials.to_vec();
        loop {
            // In this order: what is told while the book is read is seen in the next turn.
            let written = self.telling.state().written;
            // One after the other: a list is told in many entries, and after each of them all of it would be looked up.
            let next = untold.last().map_or(&[][..], std::slice::from_ref);
            let (book, left) = self.ledger.untold(next).map_err(NotTold::Book)?;
            let mut state = self.telling.state();
            if book != self.book || state.term != self.term {
                return Err(NotTold::Deposed(state.leader.clone()));
            }
            if left.is_empty() {
                drop(state);
                untold.pop();
                if untold.is_empty() {
                    self.wait_for(Kind::RedisReplicas, until)?;
                    self.wait_for(Kind::Standbys, until)?;
                    self.wait_for_answers(serials);
                    return Ok(());
                }
                continue;
            }
            while state.written == written && state.term == self.term {
                let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                    return Err(NotTold::Late(*within));
                };
                state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// What was told until now is in an entry that was written until now.
    fn wait_for(&self, kind: Kind, until: Instant) -> Result<(), NotTold> {
        let Telling { changed, within, .. } = self.telling;
        let mut state = self.telling.state();
        let told = state.written;
        while !state.confirmed(kind).suffices(told) {
            if state.term != self.term {
                return Err(NotTold::Deposed(state.leader.clone()));
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                let confirmed = state.confirmed(kind);
                let (reached, wanted) = (confirmed.reached(told), confirmed.wanted());
                return Err(NotTold::AtFew { kind, reached, wanted, within: *within });
            };
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn wait_for_answers(&self, serials: &[Serial]) {
        let issuer = Issuer::from(self.ledger.id());
        let is_missing = |state: &mut State| {
            let is_told = |serial: &Serial| state.awaited.get(&(issuer, *serial)).is_none_or(|(_, is_told)| *is_told);
            state.term == self.term && state.signed_ahead.contains(&issuer) && !serials.iter().all(is_told)
        };
        let Telling { changed, .. } = self.telling;
        let waited = changed.wait_timeout_while(self.telling.state(), limits::ANSWERS_WITHIN, is_missing);
        drop(waited);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut state = self.telling.state();
        state.pushes -= 1;
        for key in &self.keys {
            if let Some((pushes, _)) = state.awaited.get_mut(key) {
                *pushes -= 1;
                if *pushes == 0 {
                    state.awaited.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
