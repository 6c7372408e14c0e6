//! What is asked of Redis when, and who is told what: pure but for the log, with time as a parameter.
//!
//! Invariants: the courier has one errand at a time. Every question is replied to once, and not later than
//! [`limits::WITHIN`] after it was asked if the machine is stepped when it wants to be ([`Machine::patience`]). Questions
//! go before offers. It does not know threads, or what an answer says.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tracing::{info, warn};

pub(super) use super::courier::{Errand, Outcome};
use super::{Question, Reply, SharingState, SharingStatus, allowance::Allowance, breaker::Breaker};
use crate::{
    feed::redis::{Cause, Fault, Offer},
    limits::sharing as limits,
    log::remarks::{Lasting, News, Repeated},
};

/// What happens to the machine.
pub(super) enum Event {
    Asked(Question),
    Offered(Offer),
    /// Somebody will want to ask.
    Woken,
    /// The courier is back.
    Done(Outcome),
}

/// See the module.
pub(super) struct Machine {
    status: Arc<SharingStatus>,
    /// Bytes of what every key begins with in Redis.
    prefix_octets: usize,
    begun: Instant,
    breaker: Breaker,
    questions: VecDeque<Question>,
    offers: VecDeque<Offer>,
    allowance: Allowance,
    /// No offer before that.
    offers_from: Option<Instant>,
    /// What the courier is doing.
    under_way: Option<UnderWay>,
    /// Why Redis is not asked.
    why: String,
    away: Lasting,
    no_offers: Repeated,
    refusals: Repeated,
    /// How many refusals the log has been told of.
    refused: u64,
}

struct UnderWay {
    /// When it has to be done; `None` for a trial, and once that was told.
    due: Option<Instant>,
    questions: Vec<Question>,
    /// How many offers.
    offers: u64,
}

impl Machine {
    /// `prefix_octets`: bytes of what every key begins with in Redis.
    pub(super) fn new(status: Arc<SharingStatus>, prefix_octets: usize) -> Self {
        Self {
            status,
            prefix_octets,
            begun: Instant::now(),
            breaker: Breaker::Idle,
            questions: VecDeque::new(),
            offers: VecDeque::new(),
            allowance: Allowance::default(),
            offers_from: None,
            under_way: None,
            why: String::new(),
            away: Lasting::default(),
            no_offers: Repeated::default(),
            refusals: Repeated::default(),
            refused: 0,
        }
    }

    /// Takes what has happened.
    pub(super) fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Asked(question) if self.questions.len() < limits::QUEUE_LENGTH_MAX => {
                self.questions.push_back(question);
            }
            Event::Asked(question) => self.is_late(question),
            Event::Offered(offer) => self.take_offer(offer, now),
            Event::Woken => self.breaker.wake(now),
            Event::Done(outcome) => self.done(outcome, now),
        }
    }

    /// Replies to what is overdue, and gives the courier's next errand.
    pub(super) fn step(&mut self, now: Instant) -> Option<Errand> {
        if let Some(under_way) = &mut self.under_way
            && under_way.due.is_some_and(|due| due <= now)
        {
            under_way.due = None;
            mem::take(&mut under_way.questions).into_iter().for_each(|question| self.is_late(question));
            self.fail(format!("no answer within {:?}", limits::WITHIN), now);
        }
        // Those that could not be answered in time if they were asked now.
        while self
            .questions
            .front()
            .is_some_and(|first| now.saturating_duration_since(first.asked) >= limits::SENT_WITHIN)
        {
            self.questions.pop_front().into_iter().for_each(|question| self.is_late(question));
        }
        let errand = if self.under_way.is_none() { self.next_errand(now) } else { None };
        self.tell(now);
        errand
    }

    fn next_errand(&mut self, now: Instant) -> Option<Errand> {
        let mut under_way = UnderWay { due: None, questions: Vec::new(), offers: 0 };
        let errand = if let Some(trial_at) = self.breaker.trial_at() {
            if now < trial_at {
                return None;
            }
            Errand::Try
        } else if !self.questions.is_empty() {
            let count = self.questions.len().min(limits::BATCH_MAX);
            under_way.questions = self.questions.drain(..count).collect();
            under_way.due = under_way.questions.iter().map(|question| question.asked + limits::WITHIN).min();
            Errand::Ask(under_way.questions.iter().map(|question| question.wanted.clone()).collect())
        } else if self.breaker.is_closed() && !self.offers.is_empty() && self.offers_from.is_none_or(|from| from <= now)
        {
            let count = self.offers.len().min(limits::BATCH_MAX);
            let offers: Vec<Offer> = self.offers.drain(..count).collect();
            (under_way.offers, under_way.due) = (count as u64, Some(now + limits::WITHIN));
            Errand::Put(offers)
        } else {
            return None;
        };
        self.under_way = Some(under_way);
        Some(errand)
    }

    /// How long it may be left alone, unless something happens.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let due = self.under_way.as_ref().and_then(|under_way| under_way.due);
        let too_old = self.questions.front().map(|question| question.asked + limits::SENT_WITHIN);
        let is_free = self.under_way.is_none();
        let trial = self.breaker.trial_at().filter(|_| is_free);
        let soonest = [due, too_old, trial].into_iter().flatten().min();
        // What is behind a pause of offers, and remarks, may be late.
        soonest.map_or(LOOK, |at| at.saturating_duration_since(now).min(LOOK))
    }

    fn take_offer(&mut self, offer: Offer, now: Instant) {
        if self.offers.len() >= limits::OFFERS_WAITING_MAX {
            self.status.dropped.fetch_add(1, Relaxed);
            return;
        }
        let octets = self.prefix_octets + offer.key.len() + offer.value.len() + limits::KEY_OVERHEAD_OCTETS;
        if self.allowance.take(octets, now + offer.lasts, now) {
            self.offers.push_back(offer);
        } else {
            self.status.no_room.fetch_add(1, Relaxed);
        }
    }

    fn done(&mut self, outcome: Outcome, now: Instant) {
        let Some(UnderWay { due, questions, offers }) = self.under_way.take() else { return };
        match outcome {
            Outcome::Tried(took) if took <= limits::WITHIN => self.breaker.succeed(now),
            Outcome::Tried(took) => self.fail(format!("an answer took {took:?}"), now),
            Outcome::Got(values) => self.reply(questions, values),
            Outcome::Put => {
                self.status.offered.fetch_add(offers, Relaxed);
            }
            Outcome::Failed(fault) => {
                questions.into_iter().for_each(|question| self.is_late(question));
                self.status.dropped.fetch_add(offers, Relaxed);
                let of_offers = matches!(fault.cause, Cause::NotMaster | Cause::Full | Cause::Refused) && offers > 0;
                if of_offers {
                    self.pause_offers(&fault, now);
                } else if due.is_some() || self.breaker.trial_at().is_some() {
                    self.fail(fault.message, now);
                } else {
                    // That it is late has been told; now it is known why.
                    self.why = fault.message;
                }
            }
        }
    }

    /// Those that are not there come first: they have to be signed.
    fn reply(&mut self, questions: Vec<Question>, values: Vec<Option<Vec<u8>>>) {
        let mut found = Vec::new();
        let mut values = values.into_iter();
        for question in questions {
            match values.next().flatten() {
                Some(value) => found.push((question, value)),
                None => {
                    self.status.absent.fetch_add(1, Relaxed);
                    (question.reply)(Reply::Nothing);
                }
            }
        }
        found.into_iter().for_each(|(question, value)| (question.reply)(Reply::Found(value)));
    }

    fn is_late(&self, question: Question) {
        self.status.late.fetch_add(1, Relaxed);
        (question.reply)(Reply::Nothing);
    }

    fn fail(&mut self, why: String, now: Instant) {
        self.why = why;
        self.breaker.fail(now);
        mem::take(&mut self.questions).into_iter().for_each(|question| self.is_late(question));
    }

    fn pause_offers(&mut self, fault: &Fault, now: Instant) {
        self.offers_from = Some(now + limits::OFFER_PAUSE);
        if let Some(untold) = self.no_offers.news(now.saturating_duration_since(self.begun)) {
            let pause_seconds = limits::OFFER_PAUSE.as_secs();
            warn!(pause_seconds, untold, "answers that were signed here cannot be shared with other replicas: {fault}");
        }
    }

    fn tell(&mut self, now: Instant) {
        self.status.set(match self.breaker {
            Breaker::Idle => SharingState::Idle,
            Breaker::Closed { .. } => SharingState::Asked,
            Breaker::Open { .. } => SharingState::Away,
        });
        let is_away = self.breaker.away_for(now).is_some_and(|away| away >= limits::AWAY_TOLD_AFTER);
        let why = &self.why;
        match self.away.news(is_away, now.saturating_duration_since(self.begun)) {
            None => {}
            Some(News::Begins) => warn!(
                "other replicas cannot be asked for answers, and each answer that is missing is signed here: {why}"
            ),
            Some(News::Lasts(since)) => {
                warn!(seconds = since.as_secs(), "other replicas still cannot be asked for answers: {why}")
            }
            Some(News::Over(_)) => info!("other replicas are asked for answers again"),
        }
        self.tell_of_refusals(now);
    }

    /// Whoever asked counts them.
    fn tell_of_refusals(&mut self, now: Instant) {
        let refused = self.status.refused.load(Relaxed);
        if refused > self.refused && self.refusals.news(now.saturating_duration_since(self.begun)).is_some() {
            self.refused = refused;
            warn!(
                refused,
                "Redis holds what no replica with this configuration has signed where answers are shared (`ostia:…:a:…`); it is not used: find out who else may write there"
            );
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

/// How often it looks whether there is something to say in the log, and whether offers are taken again.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
