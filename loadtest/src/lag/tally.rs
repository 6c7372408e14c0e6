//! What the revocations came to.
//!
//! Invariant: each revocation is counted once for each replica, as seen or as missed. It does not know how certificates
//! are revoked.

use super::poller::Saw;
use crate::config::LagPlan;
use crate::engine::stats::{Latency, Second};
use crate::outcome::{Class, Kind, Kinds};
use crate::proof::keep_example;
use crate::report::{ExampleLine, Percentiles, ReplicaReport, Report};
use crate::time::UnixNanos;
use std::time::Instant;

pub(super) struct Tally {
    pub(super) start: Instant,
    report: Report,
    kinds: Kinds,
    /// Over all replicas, from what a run's latency is counted from.
    all: Latency,
    replicas: Vec<Replica>,
}

#[derive(Debug)]
struct Replica {
    since_acknowledged: Latency,
    since_asked: Latency,
    revocations: u64,
    missed: u64,
}

/// Of one revocation, in nanoseconds since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// From where the run's latency counts.
    pub(super) counted_from_ns: u64,
    pub(super) asked_ns: u64,
    pub(super) acknowledged_ns: u64,
}

impl Tally {
    /// Its time begins now.
    pub(super) fn new(plan: &LagPlan, settings: Vec<(&'static str, String)>) -> Self {
        let names: Vec<String> = plan.targets.urls.iter().map(|u| u.text.clone()).collect();
        let new =
            || Replica { since_acknowledged: Latency::new(), since_asked: Latency::new(), revocations: 0, missed: 0 };
        let replicas = names.iter().map(|_| new()).collect();
        let mut report = Report::new("lag", names, settings);
        report.started_unix_s = UnixNanos::now().seconds();
        Self { start: Instant::now(), report, kinds: Kinds::default(), all: Latency::new(), replicas }
    }

    /// The replicas, in the order of the plan.
    pub(super) fn names(&self) -> &[String] {
        &self.report.targets
    }

    /// Counts what each replica said about one revocation; gives the worst latency, in nanoseconds.
    pub(super) fn note(&mut self, saw: &[Saw], hex: &str, moments: Moments) -> u64 {
        let mut worst_ns = 0;
        for (number, saw) in saw.iter().enumerate() {
            self.report.asked += saw.asked;
            self.report.answered += saw.answered;
            self.kinds.absorb(&saw.kinds);
            let replica = &mut self.replicas[number];
            replica.revocations += 1;
            match saw.revoked_ns {
                Some(at) => {
                    replica.since_acknowledged.record(at.saturating_sub(moments.acknowledged_ns));
                    replica.since_asked.record(at.saturating_sub(moments.asked_ns));
                    let lag = at.saturating_sub(moments.counted_from_ns);
                    self.all.record(lag);
                    worst_ns = worst_ns.max(lag);
                }
                None => {
                    replica.missed += 1;
                    // Still "good" after all that time is a wrong answer; silence is a time-out.
                    let kind = if saw.says_other { Kind::WrongStatus } else { Kind::Timeout };
                    self.fault(kind, number, hex);
                }
            }
        }
        worst_ns
    }

    /// Counts a fault of one replica.
    pub(super) fn fault(&mut self, kind: Kind, replica: usize, hex: &str) {
        self.kinds.add(kind, 1);
        if kind.class() == Class::Wrong {
            let target = self.report.targets[replica].clone();
            let subject = hex.to_owned();
            keep_example(&mut self.report.examples, || ExampleLine { kind, target, subject });
        }
    }

    /// A line for one revocation.
    pub(super) fn second(&self, number: usize, worst_ns: u64) -> Second {
        let us = worst_ns as f64 / 1e3;
        let (answered, errors, wrong) =
            (self.report.answered, self.kinds.of(Class::Failed), self.kinds.of(Class::Wrong));
        Second { second: number, answered, errors, wrong, p50_us: us, p99_us: us, max_us: us }
    }

    /// The report, when all is done.
    pub(super) fn report(self) -> Report {
        let Self { start, mut report, kinds, all, replicas } = self;
        report.elapsed_s = start.elapsed().as_secs_f64();
        report.requests_per_s = report.answered as f64 / report.elapsed_s;
        report.set_kinds(&kinds);
        report.right = report.answered.saturating_sub(report.errors + report.wrong);
        report.fill_latency(&all);
        let line = |(replica, target): (&Replica, &String)| ReplicaReport {
            target: target.clone(),
            revocations: replica.revocations,
            missed: replica.missed,
            lag_us: Percentiles::of(&replica.since_acknowledged),
            since_start_us: Percentiles::of(&replica.since_asked),
        };
        report.replicas = replicas.iter().zip(&report.targets).map(line).collect();
        report.verification.mode = "all".to_owned();
        report.verification.checked = report.replicas.iter().map(|r| r.revocations - r.missed).sum();
        report
    }
}
