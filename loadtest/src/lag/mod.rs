//! How fast a revocation spreads.
//!
//! For each certificate: make sure that no replica calls it revoked; start one poller a replica ([`poller`]) and the
//! command ([`command`]); note when the command acknowledged and when each replica first answered `revoked`, provenly.
//!
//! Invariant: the pollers are already asking when the command starts, and a lag is counted from its acknowledgement
//! (its exit with 0), with the time since its start beside it as the upper bound. It does not know how certificates are
//! revoked.

mod command;
mod poller;

use crate::config::LagPlan;
use crate::engine::stats::{Latency, Second};
use crate::hex::serial_to_hex;
use crate::outcome::{Class, Kind, Kinds};
use crate::problem::Problem;
use crate::proof::keep_example;
use crate::report::{ExampleLine, Percentiles, ReplicaReport, Report};
use crate::time::UnixNanos;
use poller::{Poller, Saw};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What is shared with the pollers during one revocation: the time, in nanoseconds since the start, at which they give
/// up.
#[derive(Debug)]
struct Deadline(AtomicU64);

#[derive(Debug)]
struct Replica {
    since_exit: Latency,
    since_start: Latency,
    revocations: u64,
    missed: u64,
}

/// Carries the plan out. `observe` gets one line's worth after each revocation.
pub(crate) fn run(plan: &LagPlan, observe: &mut dyn FnMut(&Second)) -> Result<Report, Problem> {
    let settings = vec![
        ("certificates", plan.victims.len().to_string()),
        ("poll-interval", format!("{:?}", plan.poll_interval)),
        ("timeout", format!("{:?}", plan.timeout)),
        ("revoke-with", plan.command.clone()),
    ];
    let names: Vec<String> = plan.targets.urls.iter().map(|u| u.text.clone()).collect();
    let mut report = Report::new("lag", names.clone(), settings);
    report.started_unix_s = UnixNanos::now().seconds();
    let start = Instant::now();
    let mut pollers: Vec<Poller<'_>> = (0..names.len()).map(|target| Poller::new(plan, target, start)).collect();
    let new = || Replica { since_exit: Latency::new(), since_start: Latency::new(), revocations: 0, missed: 0 };
    let mut replicas: Vec<Replica> = names.iter().map(|_| new()).collect();
    let mut all = Latency::new();
    let mut kinds = Kinds::default();
    for victim in 0..plan.victims.len() {
        let serial = plan.victims.serial(victim);
        let hex = serial_to_hex(serial);
        refuse_if_revoked(&mut pollers, serial, &hex, &names)?;
        let began_ns = start.elapsed().as_nanos() as u64;
        let patience_ns = plan.timeout.as_nanos() as u64;
        // The command has its own time-out; the replicas' begins when it ends.
        let deadline = Deadline(AtomicU64::new(began_ns + 2 * patience_ns));
        let (exit_ns, saw) = std::thread::scope(|scope| {
            let handles: Vec<_> = pollers.iter_mut().map(|p| scope.spawn(|| p.watch(serial, &deadline.0))).collect();
            let exit = command::run(&plan.command, &hex, plan.timeout);
            let exit_ns = start.elapsed().as_nanos() as u64;
            // A failed command ends the run: what the replicas say is then of no interest.
            let until = if exit.is_ok() { exit_ns + patience_ns } else { 0 };
            deadline.0.store(until, Ordering::Relaxed);
            let saw: Vec<_> = handles.into_iter().map(|h| h.join()).collect();
            exit.map(|()| (exit_ns, saw))
        })?;
        let mut worst_ns = 0;
        for ((saw, replica), name) in saw.into_iter().zip(&mut replicas).zip(&names) {
            let saw: Saw = saw.map_err(|_| Problem::new("a polling thread panicked; please report this"))?;
            report.asked += saw.asked;
            report.answered += saw.answered;
            kinds.absorb(&saw.kinds);
            replica.revocations += 1;
            match saw.revoked_ns {
                Some(at) => {
                    let lag = at.saturating_sub(exit_ns);
                    replica.since_exit.record(lag);
                    replica.since_start.record(at.saturating_sub(began_ns));
                    all.record(lag);
                    worst_ns = worst_ns.max(lag);
                }
                None => {
                    replica.missed += 1;
                    // Still "good" after all that time is a wrong answer; silence is a time-out.
                    let kind = if saw.says_other { Kind::WrongStatus } else { Kind::Timeout };
                    kinds.add(kind, 1);
                    if kind.class() == Class::Wrong {
                        keep_example(&mut report.examples, || ExampleLine {
                            kind,
                            target: name.clone(),
                            subject: hex.clone(),
                        });
                    }
                }
            }
        }
        let us = worst_ns as f64 / 1e3;
        let (answered, errors, wrong) = (report.answered, kinds.of(Class::Failed), kinds.of(Class::Wrong));
        observe(&Second { second: victim, answered, errors, wrong, p50_us: us, p99_us: us, max_us: us });
    }
    report.elapsed_s = start.elapsed().as_secs_f64();
    report.requests_per_s = report.answered as f64 / report.elapsed_s;
    report.set_kinds(&kinds);
    report.right = report.answered.saturating_sub(report.errors + report.wrong);
    report.fill_latency(&all);
    let line = |(replica, target): (&Replica, String)| ReplicaReport {
        target,
        revocations: replica.revocations,
        missed: replica.missed,
        lag_us: Percentiles::of(&replica.since_exit),
        since_start_us: Percentiles::of(&replica.since_start),
    };
    report.replicas = replicas.iter().zip(names).map(line).collect();
    report.verification.mode = "all".to_owned();
    report.verification.checked = report.replicas.iter().map(|r| r.revocations - r.missed).sum();
    Ok(report)
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
