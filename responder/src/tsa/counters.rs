//! Outcomes of time-stamp requests: each worker counts its own, and they are summed when they are read. It does not
//! know HTTP.

use super::failure::Failure;
use crate::metrics::Tally;

/// The outcome of a request.
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
    /// Rejected, because a quota is used up.
    OverQuota,
    /// Refused by HTTP: it is none of the clients.
    Denied,
}

const COUNT: usize = Failure::ALL.len() + 5;

impl Outcome {
    /// Every outcome.
    pub fn all() -> impl Iterator<Item = Self> {
        let rejected = Failure::ALL.into_iter().map(Self::Rejected);
        [Self::Granted, Self::Refused, Self::Chain, Self::OverQuota, Self::Denied].into_iter().chain(rejected)
    }

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Rejected(failure) => failure.name(),
            Self::Refused => "refused",
            Self::Chain => "chain",
            Self::OverQuota => "over_quota",
            Self::Denied => "denied",
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Granted => 0,
            Self::Refused => 1,
            Self::Chain => 2,
            Self::OverQuota => 3,
            Self::Denied => 4,
            Self::Rejected(failure) => 5 + Failure::ALL.iter().position(|other| *other == failure).unwrap_or_default(),
        }
    }
}

/// Requests by outcome.
#[derive(Debug)]
pub struct Outcomes(Tally<COUNT>);

impl Outcomes {
    /// All zero.
    pub fn new(workers: usize) -> Self {
        Self(Tally::new(workers))
    }

    /// Counts one outcome.
    pub fn count(&self, worker: usize, outcome: Outcome) {
        self.0.count(worker, outcome.place());
    }

    /// The sum over all workers.
    pub fn sum(&self, outcome: Outcome) -> u64 {
        self.0.sum(outcome.place())
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
