//! What an operator asks a writer of a feed to do: to let another one lead, or to lead itself.
//!
//! Invariant: one thing is asked at a time, and whoever asked hears what came of it, or that nothing did within
//! [`limits::OPERATOR_WITHIN`]. It does not know how it is done.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::bell::Bell;
use crate::limits::feed as limits;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Another writer is to lead.
    HandOver,
    /// This one is to lead, whoever does now.
    Promote,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandOver => "handover",
            Self::Promote => "promote",
        })
    }
}

/// Copies of the reference ask the same writer.
#[derive(Debug)]
pub struct Operator {
    slot: Mutex<Slot>,
    changed: Condvar,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Slot {
    asked: Option<Asked>,
    /// What came of it: what was done, or why it was not.
    outcome: Option<Result<String, String>>,
}

impl Operator {
    pub(super) fn new(bell: Bell) -> Self {
        Self { slot: Mutex::default(), changed: Condvar::new(), bell }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits. Gives what was done; the error says why nothing was, for people.
    pub fn ask(&self, asked: Asked) -> Result<String, String> {
        let mut slot = self.slot();
        if let Some(other) = slot.asked {
            return Err(format!("`{other}` is under way; ask again when it is done"));
        }
        *slot = Slot { asked: Some(asked), outcome: None };
        self.bell.ring();
        let is_open = |slot: &mut Slot| slot.outcome.is_none();
        let waited = self.changed.wait_timeout_while(slot, limits::OPERATOR_WITHIN, is_open);
        let mut slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        let outcome = std::mem::take(&mut *slot).outcome;
        outcome.unwrap_or_else(|| {
            let within = limits::OPERATOR_WITHIN.as_secs();
            Err(format!("it was not done within {within} s, and is not tried further; `/readyz/ocsp` says what this writer is doing"))
        })
    }

    /// What is asked and not done yet.
    pub(super) fn pending(&self) -> Option<Asked> {
        let slot = self.slot();
        slot.asked.filter(|_| slot.outcome.is_none())
    }

    /// What came of it.
    pub(super) fn done(&self, outcome: Result<String, String>) {
        let mut slot = self.slot();
        if slot.asked.is_some() {
            slot.outcome = Some(outcome);
        }
        drop(slot);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_asks_hears_what_came_of_it_and_nobody_else_asks_meanwhile() {
        let operator = Operator::new(Bell::default());
        assert_eq!(operator.pending(), None);
        operator.done(Ok("nobody has asked".to_owned()));
        thread::scope(|scope| {
            let asks = scope.spawn(|| operator.ask(Asked::HandOver));
            while operator.pending().is_none() {
                thread::yield_now();
            }
            assert_eq!(operator.pending(), Some(Asked::HandOver));
            assert!(operator.ask(Asked::Promote).unwrap_err().contains("`handover` is under way"));
            operator.done(Err("no".to_owned()));
            assert_eq!(asks.join().unwrap(), Err("no".to_owned()));
        });
        assert_eq!(operator.pending(), None, "the next one begins anew");
    }
}
