//! Asking again about what was once answered `revoked`.
//!
//! A thread for each replica asks at random about the certificates that this replica has called revoked, provenly, until
//! the run ends, and then once more about each.
//!
//! Invariant: an answer in order that says anything but `revoked` is counted as gone back, every time it comes; no
//! answer, or a refusal, is an error and nothing more. It does not know who revoked what, and a replica is not held to
//! what another one said.

use super::poller::{Poller, Saw};
use crate::config::LagPlan;
use crate::draw::Rng;
use crate::limits::{EXAMPLES_KEPT, LAG_SWEEP_FAILURES, LAG_SWEPT_MAX};
use crate::outcome::{Kind, Kinds};
use crate::problem::Problem;
use crate::time::UnixNanos;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The certificates, by their numbers in the plan, that each replica has called revoked.
pub(super) struct Rechecks {
    revoked: Vec<Mutex<Vec<u32>>>,
    ending: AtomicBool,
}

/// What came of asking one replica again.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Failures, and how often it went back.
    pub(super) kinds: Kinds,
    /// The first certificates for which it did, by their numbers in the plan.
    pub(super) examples: Vec<usize>,
}

impl Rechecks {
    pub(super) fn new(replicas: usize) -> Self {
        Self { revoked: (0..replicas).map(|_| Mutex::default()).collect(), ending: AtomicBool::new(false) }
    }

    /// From now on each replica that saw `revoked` is held to it.
    pub(super) fn note(&self, victim: usize, saw: &[Saw]) {
        for (replica, _) in saw.iter().enumerate().filter(|(_, saw)| saw.revoked_ns.is_some()) {
            self.of(replica).push(victim as u32);
        }
    }

    /// Asks beside `run`, and once more about each certificate when it has ended well.
    pub(super) fn beside<T>(
        &self,
        plan: &LagPlan,
        start: Instant,
        run: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<(T, Vec<Found>), Problem> {
        std::thread::scope(|scope| {
            let ask = |replica| scope.spawn(move || self.keep_asking(plan, replica, start));
            let threads: Vec<_> = (0..self.revoked.len()).map(ask).collect();
            let ended = run();
            if ended.is_err() {
                (0..self.revoked.len()).for_each(|replica| self.of(replica).clear());
            }
            self.ending.store(true, Ordering::SeqCst);
            threads.iter().for_each(|thread| thread.thread().unpark());
            let found: Result<Vec<_>, _> = threads.into_iter().map(|thread| thread.join()).collect();
            let found = found.map_err(|_| Problem::new("an asking thread panicked; please report this"))?;
            ended.map(|ended| (ended, found))
        })
    }

    fn keep_asking(&self, plan: &LagPlan, replica: usize, start: Instant) -> Found {
        let mut poller = Poller::new(plan, replica, start);
        let mut rng = Rng::new(UnixNanos::now().0 as u64, replica as u64);
        let mut found = Found::default();
        while !self.ending.load(Ordering::SeqCst) {
            let drawn = {
                let revoked = self.of(replica);
                revoked.get(rng.below(revoked.len() as u64) as usize).copied()
            };
            if let Some(victim) = drawn {
                found.ask(&mut poller, plan, victim as usize);
            }
            std::thread::park_timeout(plan.recheck);
        }
        let mut left = std::mem::take(&mut *self.of(replica));
        let mut failures = 0;
        for _ in 0..left.len().min(LAG_SWEPT_MAX) {
            let victim = left.swap_remove(rng.below(left.len() as u64) as usize);
            failures = if found.ask(&mut poller, plan, victim as usize) { 0 } else { failures + 1 };
            if failures == LAG_SWEEP_FAILURES {
                break;
            }
        }
        found
    }

    fn of(&self, replica: usize) -> MutexGuard<'_, Vec<u32>> {
        // A list of numbers is whole whoever panicked.
        self.revoked[replica].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// One question; false if nothing was answered.
    fn ask(&mut self, poller: &mut Poller<'_>, plan: &LagPlan, victim: usize) -> bool {
        self.asked += 1;
        match poller.is_revoked(plan.victims.serial(victim)) {
            Ok(true) => self.answered += 1,
            Ok(false) => {
                self.answered += 1;
                self.kinds.add(Kind::WentBack, 1);
                if self.examples.len() < EXAMPLES_KEPT {
                    self.examples.push(victim);
                }
            }
            Err(kind) => {
                self.kinds.add(kind, 1);
                return false;
            }
        }
        true
    }
}
