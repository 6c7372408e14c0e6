//! What the revocations came to.
//!
//! Invariant: each revocation is counted once for each replica, as seen or as missed. It does not know how certificates
//! are revoked.

use super::poller::Saw;
use super::recheck::Found;
use crate::config::LagPlan;
use crate::engine::stats::{Latency, Second};
use crate::hex::serial_to_hex;
use crate::outcome::{Class, Kind, Kinds};
use crate::population::Population;
use crate::proof::keep_example;
use crate::report::{ExampleLine, Percentiles, PushReport, ReplicaReport, Report};
use crate::time::UnixNanos;
use std::time::Instant;

pub(super) struct Tally {
    start: Instant,
    report: Report,
    kinds: Kinds,
    /// Over all replicas, from what a run's latency is counted from.
    all: Latency,
    /// The same until the last replica; only of revocations that reached every one.
    last: Latency,
    replicas: Vec<Replica>,
    pub(super) pushes: Option<PushReport>,
}

#[derive(Debug)]
struct Replica {
    since_acknowledged: Latency,
    since_asked: Latency,
    revocations: u64,
    missed: u64,
    asked_again: u64,
    went_back: u64,
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
    pub(super) fn new(plan: &LagPlan, start: Instant) -> Self {
        let names: Vec<String> = plan.targets.urls.iter().map(|u| u.text.clone()).collect();
        let new = || Replica {
            since_acknowledged: Latency::new(),
            since_asked: Latency::new(),
            revocations: 0,
            missed: 0,
            asked_again: 0,
            went_back: 0,
        };
        let replicas = names.iter().map(|_| new()).collect();
        let mut report = Report::new("lag", names, Vec::new());
        report.started_unix_s = UnixNanos::now().seconds();
        let (all, last) = (Latency::new(), Latency::new());
        Self { start, report, kinds: Kinds::default(), all, last, replicas, pushes: None }
    }

    pub(super) fn add_settings(&mut self, settings: impl IntoIterator<Item = (&'static str, String)>) {
        self.report.settings.extend(settings);
    }

    /// The replicas, in the order of the plan.
    pub(super) fn names(&self) -> &[String] {
        &self.report.targets
    }

    /// Counts what each replica said about one revocation; gives when the last of those that answered
    /// `revoked` did.
    pub(super) fn note(&mut self, saw: &[Saw], hex: &str, moments: Moments) -> Option<u64> {
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
                    self.all.record(at.saturating_sub(moments.counted_from_ns));
                }
                None => {
                    replica.missed += 1;
                    // Still "good" after all that time is a wrong answer; silence is a time-out.
                    let kind = if saw.says_other { Kind::WrongStatus } else { Kind::Timeout };
                    self.fault(kind, number, hex);
                }
            }
        }
        let last_ns = saw.iter().filter_map(|saw| saw.revoked_ns).max();
        if let Some(at) = last_ns.filter(|_| saw.iter().all(|saw| saw.revoked_ns.is_some())) {
            self.last.record(at.saturating_sub(moments.counted_from_ns));
        }
        last_ns
    }

    /// Counts what one replica said when it was asked again.
    pub(super) fn add_rechecks(&mut self, replica: usize, found: &Found, victims: &Population) {
        self.report.asked += found.asked;
        self.report.answered += found.answered;
        self.kinds.absorb(&found.kinds);
        self.replicas[replica].asked_again = found.answered;
        self.replicas[replica].went_back = found.kinds.get(Kind::WentBack);
        for victim in &found.examples {
            self.keep_example(Kind::WentBack, replica, &serial_to_hex(victims.serial(*victim)));
        }
    }

    /// Counts failures that are no replica's.
    pub(super) fn add_kinds(&mut self, kinds: &Kinds) {
        self.kinds.absorb(kinds);
    }

    /// Counts a fault of one replica.
    pub(super) fn fault(&mut self, kind: Kind, replica: usize, hex: &str) {
        self.kinds.add(kind, 1);
        if kind.class() == Class::Wrong {
            self.keep_example(kind, replica, hex);
        }
    }

    fn keep_example(&mut self, kind: Kind, replica: usize, hex: &str) {
        let target = self.report.targets[replica].clone();
        let subject = hex.to_owned();
        keep_example(&mut self.report.examples, || ExampleLine { kind, target, subject });
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
        let Self { start, mut report, kinds, all, last, replicas, pushes } = self;
        report.elapsed_s = start.elapsed().as_secs_f64();
        let slowest = pushes.iter().flat_map(|p| &p.uploads).map(|u| u.records_per_s).reduce(f64::min);
        report.requests_per_s = slowest.unwrap_or(report.answered as f64 / report.elapsed_s);
        report.pushes = pushes;
        report.set_kinds(&kinds);
        report.right = report.answered.saturating_sub(report.errors + report.wrong);
        report.fill_latency(&all);
        report.last_us = Percentiles::of(&last);
        let line = |(replica, target): (&Replica, &String)| ReplicaReport {
            target: target.clone(),
            revocations: replica.revocations,
            missed: replica.missed,
            asked_again: replica.asked_again,
            went_back: replica.went_back,
            lag_us: Percentiles::of(&replica.since_acknowledged),
            since_start_us: Percentiles::of(&replica.since_asked),
        };
        report.replicas = replicas.iter().zip(&report.targets).map(line).collect();
        report.verification.mode = "all".to_owned();
        report.verification.checked = report.replicas.iter().map(|r| r.revocations - r.missed).sum();
        report
    }
}
