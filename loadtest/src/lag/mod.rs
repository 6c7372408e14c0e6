//! How fast a revocation spreads.
//!
//! For each certificate: make sure that no replica calls it revoked; revoke it, by a [`command`] or over the API
//! ([`push`], [`api`]); note when that was acknowledged and when each replica ([`poller`]) first answered `revoked`,
//! provenly.
//!
//! Invariant: a lag is counted from the acknowledgement (the command's exit with 0, or the answer of the API), with the
//! time since the start beside it as the upper bound. With a command the pollers are already asking when it starts. An
//! API that acknowledged is asked afterwards, and its first answer counts. It does not know what else is revoked.

mod api;
mod client;
mod command;
mod poller;
mod push;
mod tally;

use crate::config::{LagPlan, Revoke};
use crate::engine::stats::Second;
use crate::hex::serial_to_hex;
use crate::problem::Problem;
use crate::report::Report;
use poller::Poller;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tally::{Moments, Tally};

/// Carries the plan out. `observe` gets one line's worth after each revocation.
pub(crate) fn run(plan: &LagPlan, observe: &mut dyn FnMut(&Second)) -> Result<Report, Problem> {
    match &plan.revoke {
        Revoke::Command(command) => by_command(plan, command, observe),
        Revoke::Push(push) if push.bulk => push::in_bulk(plan, push),
        Revoke::Push(push) => push::one_by_one(plan, push, observe),
    }
}

/// What is shared with the pollers during one revocation: the time, in nanoseconds since the start, at which they give
/// up.
#[derive(Debug)]
struct Deadline(AtomicU64);

fn by_command(plan: &LagPlan, command: &str, observe: &mut dyn FnMut(&Second)) -> Result<Report, Problem> {
    let settings = vec![
        ("certificates", plan.victims.len().to_string()),
        ("poll-interval", format!("{:?}", plan.poll_interval)),
        ("timeout", format!("{:?}", plan.timeout)),
        ("revoke-with", command.to_owned()),
    ];
    let mut tally = Tally::new(plan, settings);
    let start = tally.start;
    let mut pollers = pollers(plan, start);
    for victim in 0..plan.victims.len() {
        let serial = plan.victims.serial(victim);
        let hex = serial_to_hex(serial);
        refuse_if_revoked(&mut pollers, serial, &hex, tally.names())?;
        let began_ns = start.elapsed().as_nanos() as u64;
        let patience_ns = plan.timeout.as_nanos() as u64;
        // The command has its own time-out; the replicas' begins when it ends.
        let deadline = Deadline(AtomicU64::new(began_ns + 2 * patience_ns));
        let (exit_ns, saw) = std::thread::scope(|scope| {
            let handles: Vec<_> = pollers.iter_mut().map(|p| scope.spawn(|| p.watch(serial, &deadline.0))).collect();
            let exit = command::run(command, &hex, plan.timeout);
            let exit_ns = start.elapsed().as_nanos() as u64;
            // A failed command ends the run: what the replicas say is then of no interest.
            let until = if exit.is_ok() { exit_ns + patience_ns } else { 0 };
            deadline.0.store(until, Ordering::Relaxed);
            let saw: Result<Vec<_>, _> = handles.into_iter().map(|h| h.join()).collect();
            exit.map(|()| (exit_ns, saw))
        })?;
        let saw = saw.map_err(|_| Problem::new("a polling thread panicked; please report this"))?;
        let moments = Moments { counted_from_ns: exit_ns, asked_ns: began_ns, acknowledged_ns: exit_ns };
        let worst_ns = tally.note(&saw, &hex, moments);
        observe(&tally.second(victim, worst_ns));
    }
    Ok(tally.report())
}

/// One for each replica.
fn pollers(plan: &LagPlan, start: Instant) -> Vec<Poller<'_>> {
    (0..plan.targets.urls.len()).map(|target| Poller::new(plan, target, start)).collect()
}

fn refuse_if_revoked(pollers: &mut [Poller<'_>], serial: &[u8], hex: &str, names: &[String]) -> Result<(), Problem> {
    for (poller, name) in pollers.iter_mut().zip(names) {
        match poller.is_revoked(serial) {
            Ok(false) => {}
            Ok(true) => {
                let remedy = "name certificates that are still good";
                return Err(Problem::new(format!(
                    "{name} already answers revoked for {hex}: there is nothing to measure; {remedy}"
                )));
            }
            Err(kind) => {
                return Err(Problem::new(format!(
                    "{name} does not answer properly for {hex} before its revocation ({}); `ostia-loadtest ocsp` shows more",
                    kind.name()
                )));
            }
        }
    }
    Ok(())
}
