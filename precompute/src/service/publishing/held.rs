//! Answers on their way, until the records that they are of have been told.
//!
//! Invariant: an answer is told after its record, which the others would find in another state else, and they would drop the
//! answer. A change of a source shows and is signed before it is saved and told. It does not know who tells.

use std::time::Duration;

use crate::{
    answers::each_entry,
    feed::{Body, Issuer},
    ledger::{Ledger, Ledgers},
    limits::feed as limits,
    pki::Serial,
};

/// An entry of answers.
#[derive(Debug)]
pub(super) struct Held {
    answers: Body,
    since: Duration,
    /// The record that had not been told when this was asked last.
    waits_for: Option<(Issuer, Serial)>,
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

    /// Whether they may be told `now`.
    pub(super) fn may_be_told(&mut self, ledgers: &Ledgers, now: Duration) -> bool {
        if now.saturating_sub(self.since) > limits::ANSWERS_HELD_MAX {
            return true;
        }
        let all = ledgers.all();
        // One that is no longer configured is told of by nobody.
        let ledger_of = |issuer: Issuer| all.iter().find(|ledger| Issuer::from(ledger.id()) == issuer);
        let is_told = |ledger: &Ledger, serial: &Serial| ledger.is_told(serial).unwrap_or(false);
        if let Some((issuer, serial)) = self.waits_for
            && ledger_of(issuer).is_some_and(|ledger| !is_told(ledger, &serial))
        {
            return false;
        }
        self.waits_for = None;
        let Body::Answers(sections) = &self.answers else { return true };
        for section in sections {
            // Nearly always there is nothing to be saved or told.
            let busy = ledger_of(section.issuer).filter(|ledger| !ledger.is_all_told().unwrap_or(false));
            let Some(ledger) = busy else { continue };
            let waits_for = &mut self.waits_for;
            each_entry(&section.entries, section.packed_length, |serial, _, _| {
                if waits_for.is_none() && !is_told(ledger, &serial) {
                    *waits_for = Some((section.issuer, serial));
                }
            });
        }
        self.waits_for.is_none()
    }
}

#[cfg(test)]
mod tests;
