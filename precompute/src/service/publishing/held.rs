//! Answers on their way, until the records that they are of have been told.
//!
//! Invariant: an answer is told after its record, which the others would find in another state else, and they would
//! drop the answer. A change of a source shows and is signed before it is saved and told. An answer that could not wait
//! so long is told again, once all records have been told. It does not know who tells.

use std::time::Duration;

use crate::{
    answers::{Entry, each_entry},
    feed::{Body, Issuer},
    ledger::{Ledger, Ledgers},
    limits::feed as limits,
    pki::{Serial, UnixTime},
};

/// An entry of answers.
#[derive(Debug)]
pub(super) struct Held {
    answers: Body,
    since: Duration,
    /// The record that had not been told when this was asked last.
    waits_for: Option<(Issuer, Serial)>,
}

/// Whether an entry of answers is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// A record has to be told first.
    Waits,
    /// It is told.
    Comes,
    /// It is told although records have not been: others drop the answers of those, the first of which was signed then.
    ComesTooSoon(UnixTime),
}

impl Held {
    /// They came `now`.
    pub(super) fn new(answers: Body, now: Duration) -> Self {
        Self { answers, since: now, waits_for: None }
    }

    /// What is to be told.
    pub(super) fn answers(self) -> Body {
        self.answers
    }

    /// Whether they are told `now`.
    pub(super) fn turn(&mut self, ledgers: &Ledgers, now: Duration) -> Turn {
        // One that is no longer configured is told of by nobody.
        let ledger_of = |issuer: Issuer| ledgers.of(&issuer.0);
        let is_told = |ledger: &Ledger, serial: &Serial| ledger.is_told(serial).unwrap_or(false);
        let is_late = now.saturating_sub(self.since) > limits::ANSWERS_HELD_MAX;
        if let Some((issuer, serial)) = self.waits_for.filter(|_| !is_late)
            && ledger_of(issuer).is_some_and(|ledger| !is_told(&ledger, &serial))
        {
            return Turn::Waits;
        }
        self.waits_for = None;
        let Body::Answers(sections) = &self.answers else { return Turn::Comes };
        let mut first = None;
        for section in sections {
            // Nearly always there is nothing to be saved or told.
            let busy = ledger_of(section.issuer).filter(|ledger| !ledger.is_all_told().unwrap_or(false));
            let Some(ledger) = busy else { continue };
            let waits_for = &mut self.waits_for;
            each_entry(&section.entries, section.packed_length, |serial, Entry { this_update, .. }, _| {
                // One is enough to wait for.
                if (is_late || waits_for.is_none()) && !is_told(&ledger, &serial) {
                    waits_for.get_or_insert((section.issuer, serial));
                    first = Some(first.map_or(this_update, |first: UnixTime| first.min(this_update)));
                }
            });
        }
        match first {
            None => Turn::Comes,
            Some(first) if is_late => Turn::ComesTooSoon(first),
            Some(_) => Turn::Waits,
        }
    }
}

/// The answers that were told too soon.
#[derive(Debug, Default)]
pub(super) struct TooSoon {
    /// When the first of them was signed.
    since: Option<UnixTime>,
}

impl TooSoon {
    /// The first of these was signed then.
    pub(super) fn note(&mut self, first: UnixTime) {
        self.since = Some(self.since.map_or(first, |since| since.min(first)));
    }

    /// Since when answers are to be told again, once: when every record has been told. Before that they would come too
    /// soon again, and again.
    pub(super) fn take(&mut self, ledgers: &Ledgers) -> Option<UnixTime> {
        self.since.filter(|_| ledgers.all().iter().all(|ledger| ledger.is_all_told().unwrap_or(false)))?;
        self.since.take()
    }
}

#[cfg(test)]
mod tests;
