//! Pushes of one issuer: decided, written, shown, acknowledged, in this order.
//!
//! Purpose: whoever pushes waits for one commit; those who come meanwhile share the next one. Invariant: an acknowledged
//! push is in the book on disk and shows in the records. One that could not be written shows nowhere. It does not know
//! who pushes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;
use tracing::error;

use super::{
    Inner, Order, Outcome, Push, PushError, Refusal,
    reconcile::{Known, by_push},
    saving::Saved,
    shown::Ordered,
};
#[cfg(test)]
use crate::left_out::{Rule, is_left_out};
use crate::{
    book::{Answered, Batch, Book},
    limits,
    pki::{Serial, UnixTime},
    records::Change,
};

/// What became of each push of a request.
pub(super) type Outcomes = Vec<Result<Outcome, Refusal>>;

/// One request, until it has its outcome.
#[derive(Debug)]
pub(super) struct Request {
    pushes: Vec<Push>,
    /// The idempotency key, and what it was used for.
    key: Option<([u8; 32], [u8; 32])>,
    now: UnixTime,
    outcome: Mutex<Option<Result<Outcomes, PushError>>>,
}

impl Request {
    pub(super) fn new(pushes: &[Push], key: Option<&str>, now: UnixTime) -> Arc<Self> {
        let key = key.map(|key| (sha256(key.as_bytes()), fingerprint(pushes)));
        Arc::new(Self { pushes: pushes.to_vec(), key, now, outcome: Mutex::new(None) })
    }

    pub(super) fn take(&self) -> Option<Result<Outcomes, PushError>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn end(&self, outcome: Result<Outcomes, PushError>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// A push of a request that was taken.
struct Taken {
    request: usize,
    ordered: Ordered,
}

impl Inner {
    /// Has the request carried out, by this thread or by one that has others to carry out anyway.
    pub(super) fn carry_out(&self, request: &Arc<Request>) -> Result<Outcomes, PushError> {
        self.waiting().push_back(Arc::clone(request));
        let _waits = self.book.wait();
        let mut saved = self.commit();
        loop {
            if let Some(outcome) = request.take() {
                return outcome;
            }
            let some = self.next_requests();
            // If this panics, its requests have no outcome: each of them finds that out below.
            self.carry_out_some(&mut saved, &some);
            if some.is_empty() {
                return Err(PushError::NotServed);
            }
        }
    }

    fn next_requests(&self) -> Vec<Arc<Request>> {
        let mut waiting = self.waiting();
        let (mut some, mut pushes) = (Vec::new(), 0);
        while let Some(request) = waiting.front() {
            pushes += request.pushes.len();
            if !some.is_empty() && pushes > limits::PUSHES_A_COMMIT {
                break;
            }
            some.extend(waiting.pop_front());
        }
        some
    }

    fn carry_out_some(&self, saved: &mut Saved, requests: &[Arc<Request>]) {
        #[cfg(test)]
        self.steps.reach(super::Step::Waiting);
        let book = self.book.lock();
        // With the book in hand: who comes back after it left is filled from a commit that has this push, or it is refused.
        if !self.is_served() {
            requests.iter().for_each(|request| request.end(Err(PushError::NotServed)));
            return;
        }
        if !self.book.leads() {
            requests.iter().for_each(|request| request.end(Err(PushError::StandsBy)));
            return;
        }
        match self.write_some(saved, book, requests) {
            Ok((taken, outcomes)) => {
                #[cfg(test)]
                self.steps.reach(super::Step::Committed);
                self.show_pushed(requests, &taken);
                #[cfg(test)]
                self.steps.reach(super::Step::Shown);
                requests.iter().zip(outcomes).for_each(|(request, outcome)| request.end(outcome));
            }
            Err(error) => {
                if self.state.health.push_failed(&error.to_string()) {
                    let tenant = self.id.tenant();
                    error!(tenant, issuer = *self.name(), "{error}; pushes are refused until it can be written");
                }
                requests.iter().for_each(|request| request.end(Err(PushError::NotDurable(error.clone()))));
            }
        }
    }

    /// Decides the requests one after the other, and writes what they change.
    #[allow(clippy::type_complexity)]
    fn write_some(
        &self,
        saved: &mut Saved,
        mut book: MutexGuard<'_, Book>,
        requests: &[Arc<Request>],
    ) -> Result<(Vec<Taken>, Vec<Result<Outcomes, PushError>>), crate::state_dir::StateError> {
        self.in_place(saved, &mut book)?;
        // What the requests before make of a record, while it does not show.
        let mut made = HashMap::<Serial, Known>::new();
        let (mut taken, mut outcomes) = (Vec::new(), Vec::new());
        let mut answered = HashMap::<[u8; 32], Answered>::new();
        let mut hashes = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            if let Some(before) = self.answered_before(&mut book, &answered, request)? {
                outcomes.push(before);
                continue;
            }
            let mut decide = |push: &Push| {
                let from = self.state.records.get(&push.serial).map(Known::from);
                let known = made.get(&push.serial).copied().or(from);
                let (next, outcome) = by_push(known, &push.order, request.now)?;
                made.insert(push.serial, next);
                if self.state.details.wants_hashes() {
                    hashes.extend(push.certificate_sha256.map(|hash| (push.serial, hash)));
                }
                let (serial, order) = (push.serial, push.order);
                taken.push(Taken { request: number, ordered: Ordered { serial, order, from: known, next } });
                Ok(outcome)
            };
            let outcome: Outcomes = request.pushes.iter().map(&mut decide).collect();
            if let (Some((key, request)), [Ok(outcome)], at) = (request.key, &outcome[..], request.now) {
                answered.insert(key, Answered { key, request, outcome: code(*outcome), at });
            }
            outcomes.push(Ok(outcome));
        }
        let mut changes: Vec<Change> =
            made.iter().map(|(serial, known)| Change::new(*serial, Some(known.record)).by(known.origin)).collect();
        if changes.is_empty() {
            return Ok((taken, outcomes));
        }
        changes.sort_unstable_by_key(|change| change.serial);
        let answered: Vec<Answered> = answered.into_values().collect();
        #[cfg(test)]
        self.steps.reach(super::Step::Decided);
        #[cfg(test)]
        if is_left_out(Rule::DiskBeforeShow) {
            self.show_pushed(requests, &taken);
        }
        #[cfg(test)]
        if is_left_out(Rule::DiskBeforeAcknowledgement) {
            return Ok((taken, outcomes));
        }
        book.commit(&Batch {
            owed: self.owes(),
            is_told: self.book.begins(),
            answered: &answered,
            hashes: &hashes,
            changes: &changes,
            ..Batch::new(&self.id, saved.identity)
        })?;
        saved.has_answered(&answered);
        // Before the pushes show.
        hashes.into_iter().for_each(|(serial, hash)| self.state.details.note_hash(serial, hash));
        Ok((taken, outcomes))
    }

    /// What became of this request when it came before, by its idempotency key. `now`: of requests in the same commit.
    fn answered_before(
        &self,
        book: &mut Book,
        now: &HashMap<[u8; 32], Answered>,
        request: &Request,
    ) -> Result<Option<Result<Outcomes, PushError>>, crate::state_dir::StateError> {
        let Some((key, what)) = request.key else { return Ok(None) };
        let before = match now.get(&key) {
            Some(now) => Some(*now),
            None => book.answered(&self.id, &key)?,
        };
        let Some(before) = before else { return Ok(None) };
        let outcome = outcome_of(before.outcome).filter(|_| before.request == what);
        Ok(Some(outcome.map(|outcome| vec![Ok(outcome)]).ok_or(PushError::KeyReused)))
    }

    fn show_pushed(&self, requests: &[Arc<Request>], taken: &[Taken]) {
        // Refused pushes say nothing of the issuer.
        if taken.is_empty() {
            return;
        }
        let serials = {
            let mut shown = self.shown();
            let mut serials = Vec::with_capacity(taken.len());
            for of_one in taken.chunk_by(|a, b| a.request == b.request) {
                let ordered: Vec<Ordered> = of_one.iter().map(|taken| taken.ordered).collect();
                let now = requests.get(of_one[0].request).map_or_else(UnixTime::now, |request| request.now);
                serials.extend(shown.by_push(&ordered, now));
            }
            serials
        };
        self.state.health.pushed(serials.len() as u64, UnixTime::now());
        self.state.changes.tell(serials.len(), serials.iter().copied());
    }
}

fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Unchanged => 1,
        Outcome::StillHeld => 2,
    }
}

fn outcome_of(code: u8) -> Option<Outcome> {
    [Outcome::Done, Outcome::Unchanged, Outcome::StillHeld].into_iter().find(|outcome| self::code(*outcome) == code)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Equal for equal requests. A time that was not given is not part of it: a repetition comes later.
fn fingerprint(pushes: &[Push]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for Push { serial, order, .. } in pushes {
        bytes.extend_from_slice(serial.padded());
        let time = |time: Option<UnixTime>| time.map_or([0xff; 8], |time| time.0.to_be_bytes());
        match order {
            Order::Add { not_after } => bytes.extend([&[0, 0, 0][..], &time(*not_after)].concat()),
            Order::Revoke { time: at, reason, even_unlisted } => {
                bytes.extend([&[1, reason.code(), u8::from(*even_unlisted)][..], &time(*at)].concat());
            }
            Order::Release => bytes.extend([2; 11]),
        }
    }
    sha256(&bytes)
}
