//! How fast a revocation spreads, and whether it stays.
//!
//! For each certificate: make sure that no replica calls it revoked; revoke it, by a [`command`] or over the API
//! ([`push`], [`api`]); note when that was acknowledged and when each replica ([`poller`]) first answered `revoked`,
//! provenly. Until the end of the run every replica is asked again about what it once called revoked ([`recheck`]).
//!
//! Invariant: a lag is counted from the acknowledgement (the command's exit with 0, or the answer of the API), with the
//! time since the start beside it as the upper bound. Replicas that hear of a revocation from somebody else are already
//! being asked when it begins; an instance that acknowledged is asked afterwards, and its first answer counts. It does
//! not know what else is revoked.

mod api;
mod client;
mod command;
mod poller;
mod push;
mod recheck;
mod tally;

use crate::config::{LagPlan, Revoke};
use crate::engine::stats::Second;
use crate::hex::serial_to_hex;
use crate::limits::LAG_ACT_TIMEOUTS;
use crate::problem::Problem;
use crate::report::Report;
use poller::{Poller, Saw};
use recheck::Rechecks;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tally::{Moments, Tally};

/// Carries the plan out. `observe` gets one line's worth after each revocation.
pub(crate) fn run(plan: &LagPlan, observe: &mut dyn FnMut(&Second)) -> Result<Report, Problem> {
    let start = Instant::now();
    let rechecks = Rechecks::new(plan.targets.urls.len());
    let (course, found) = rechecks.beside(plan, start, || {
        let mut course = Course::new(plan, start, &rechecks);
        match &plan.revoke {
            Revoke::Command(command) => by_command(&mut course, command, observe),
            Revoke::Push(push) if push.bulk => push::in_bulk(&mut course, push),
            Revoke::Push(push) if push.replicas => push::followed(&mut course, push, observe),
            Revoke::Push(push) => push::one_by_one(&mut course, push, observe),
        }?;
        std::thread::sleep(plan.keep_asking);
        Ok(course)
    })?;
    let mut tally = course.tally;
    for (replica, found) in found.iter().enumerate() {
        tally.add_rechecks(replica, found, &plan.victims);
    }
    Ok(tally.report())
}

/// One run: who is asked, and what came of it.
struct Course<'a> {
    plan: &'a LagPlan,
    start: Instant,
    /// One for each replica.
    pollers: Vec<Poller<'a>>,
    rechecks: &'a Rechecks,
    tally: Tally,
}

impl<'a> Course<'a> {
    fn new(plan: &'a LagPlan, start: Instant, rechecks: &'a Rechecks) -> Self {
        let pollers = (0..plan.targets.urls.len()).map(|target| Poller::new(plan, target, start)).collect();
        Self { plan, start, pollers, rechecks, tally: Tally::new(plan, start) }
    }

    /// Nanoseconds since the start.
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn serial(&self, victim: usize) -> (&'a [u8], String) {
        let serial = self.plan.victims.serial(victim);
        (serial, serial_to_hex(serial))
    }

    /// Makes sure that every replica answers about a certificate, and not `revoked`.
    fn refuse_if_revoked(&mut self, victim: usize) -> Result<(), Problem> {
        let (serial, hex) = self.serial(victim);
        for (poller, name) in self.pollers.iter_mut().zip(self.tally.names()) {
            match poller.is_revoked(serial) {
                Ok(false) => {}
                Ok(true) => return Err(already_revoked(name, &hex)),
                Err(kind) => {
                    return Err(Problem::new(format!(
                        "{name} does not answer properly for {hex} before its revocation ({}); `ostia-loadtest ocsp` \
                         shows more",
                        kind.name()
                    )));
                }
            }
        }
        Ok(())
    }

    /// All replicas are asked about a certificate while `act` revokes it, and up to the time-out after that. Gives what
    /// `act` gave, and when it ended.
    fn watched<T>(
        &mut self,
        victim: usize,
        act: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<(T, u64, Vec<Saw>), Problem> {
        let (serial, _) = self.serial(victim);
        let patience_ns = self.plan.timeout.as_nanos() as u64;
        // What acts has its own time-out; the replicas' begins when it ends.
        let deadline = AtomicU64::new(self.now_ns() + LAG_ACT_TIMEOUTS * patience_ns);
        let start = self.start;
        let pollers = &mut self.pollers;
        let (acted, acted_ns, saw) = std::thread::scope(|scope| {
            let handles: Vec<_> = pollers.iter_mut().map(|p| scope.spawn(|| p.watch(serial, &deadline))).collect();
            let acted = act();
            let acted_ns = start.elapsed().as_nanos() as u64;
            // A failure ends the run: what the replicas say is then of no interest.
            let until = if acted.is_ok() { acted_ns + patience_ns } else { 0 };
            deadline.store(until, Ordering::Relaxed);
            let saw: Result<Vec<_>, _> = handles.into_iter().map(|h| h.join()).collect();
            acted.map(|acted| (acted, acted_ns, saw))
        })?;
        let saw = saw.map_err(|_| Problem::new("a polling thread panicked; please report this"))?;
        Ok((acted, acted_ns, saw))
    }

    /// Asks one replica after the other about a certificate whose revocation was acknowledged.
    fn watch_in_turn(&mut self, victim: usize, acknowledged_ns: u64) -> Vec<Saw> {
        let (serial, _) = self.serial(victim);
        let deadline = AtomicU64::new(acknowledged_ns + self.plan.timeout.as_nanos() as u64);
        self.pollers.iter_mut().map(|poller| poller.watch(serial, &deadline)).collect()
    }

    /// Counts what each replica said about one revocation; gives when the last of them answered `revoked`.
    fn note(&mut self, victim: usize, saw: &[Saw], moments: Moments) -> Option<u64> {
        self.rechecks.note(victim, saw);
        let (_, hex) = self.serial(victim);
        self.tally.note(saw, &hex, moments)
    }
}

fn already_revoked(name: &str, hex: &str) -> Problem {
    Problem::new(format!(
        "{name} already answers revoked for {hex}: there is nothing to measure; name certificates that are still good"
    ))
}

fn by_command(course: &mut Course<'_>, command: &str, observe: &mut dyn FnMut(&Second)) -> Result<(), Problem> {
    let plan = course.plan;
    course.tally.add_settings([
        ("certificates", plan.victims.len().to_string()),
        ("poll-interval", format!("{:?}", plan.poll_interval)),
        ("timeout", format!("{:?}", plan.timeout)),
        ("revoke-with", command.to_owned()),
    ]);
    for victim in 0..plan.victims.len() {
        course.refuse_if_revoked(victim)?;
        let (_, hex) = course.serial(victim);
        let began_ns = course.now_ns();
        let ((), exit_ns, saw) = course.watched(victim, || command::run(command, &hex, plan.timeout))?;
        let moments = Moments { counted_from_ns: exit_ns, asked_ns: began_ns, acknowledged_ns: exit_ns };
        let last_ns = course.note(victim, &saw, moments);
        observe(&course.tally.second(victim, last_ns.map_or(0, |at| at.saturating_sub(exit_ns))));
    }
    Ok(())
}
