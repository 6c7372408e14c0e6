//! What became of requests for time-stamps: counted by each worker for itself, summed when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::failure::Failure;

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A token.
    Granted,
    /// A rejection.
    Rejected(Failure),
    /// Refused by HTTP: method or media type.
    Refused,
    /// The chain was fetched.
    Chain,
}

const COUNT: usize = Failure::ALL.len() + 3;

impl Outcome {
    /// Every outcome.
    pub fn all() -> impl Iterator<Item = Self> {
        let rejected = Failure::ALL.into_iter().map(Self::Rejected);
        [Self::Granted, Self::Refused, Self::Chain].into_iter().chain(rejected)
    }

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Rejected(failure) => failure.name(),
            Self::Refused => "refused",
            Self::Chain => "chain",
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Granted => 0,
            Self::Refused => 1,
            Self::Chain => 2,
            Self::Rejected(failure) => 3 + Failure::ALL.iter().position(|other| *other == failure).unwrap_or_default(),
        }
    }
}

/// Counters of every worker.
#[derive(Debug)]
pub struct Outcomes(Box<[Cells]>);

/// Aligned so that no two workers share a cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Cells([AtomicU64; COUNT]);

impl Outcomes {
    /// All zero.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Cells([const { AtomicU64::new(0) }; COUNT])).collect())
    }

    /// Counts one.
    pub fn count(&self, worker: usize, outcome: Outcome) {
        if let Some(cells) = self.0.get(worker) {
            cells.0[outcome.place()].fetch_add(1, Relaxed);
        }
    }

    /// Of one worker.
    pub fn of(&self, worker: usize, outcome: Outcome) -> u64 {
        self.0.get(worker).map_or(0, |cells| cells.0[outcome.place()].load(Relaxed))
    }

    /// Of all.
    pub fn sum(&self, outcome: Outcome) -> u64 {
        self.0.iter().map(|cells| cells.0[outcome.place()].load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_apart() {
        let outcomes = Outcomes::new(2);
        for (times, outcome) in Outcome::all().enumerate() {
            (0..times).for_each(|time| outcomes.count(time % 2, outcome));
        }
        outcomes.count(2, Outcome::Granted); // there is no such worker
        for (times, outcome) in Outcome::all().enumerate() {
            assert_eq!(outcomes.sum(outcome), times as u64, "{outcome:?}");
        }
        assert_eq!(Outcome::all().count(), COUNT);
    }
}
