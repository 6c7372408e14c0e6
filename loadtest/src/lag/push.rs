//! Pushes over the API, measured.
//!
//! Invariant: what was acknowledged is answered `revoked` by the first answer that is asked for afterwards; any other
//! answer is wrong, however soon the right one follows. It does not know connections.

use super::api::Api;
use super::tally::{Moments, Tally};
use super::{pollers, refuse_if_revoked};
use crate::config::{LagPlan, PushPlan};
use crate::engine::stats::{Latency, Second};
use crate::hex::serial_to_hex;
use crate::limits::LAG_BULK_ASKED;
use crate::outcome::Kind;
use crate::problem::Problem;
use crate::report::{Percentiles, PushReport, Report};
use crate::time::UnixNanos;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Adds all certificates, and revokes them one after the other.
pub(super) fn one_by_one(plan: &LagPlan, push: &PushPlan, observe: &mut dyn FnMut(&Second)) -> Result<Report, Problem> {
    let mut samples = push.samples.as_deref().map(Samples::open).transpose()?;
    let settings = settings(plan, push, "pushes");
    let mut tally = Tally::new(plan, settings);
    let start = tally.start;
    let mut pollers = pollers(plan, start);
    let mut api = Api::new(push, plan.timeout, start);
    api.upload("add", &plan.victims)?;
    let mut acknowledged = Latency::new();
    for victim in 0..plan.victims.len() {
        let serial = plan.victims.serial(victim);
        let hex = serial_to_hex(serial);
        // Thereby the former answer is kept, and a kept answer that outlives the push is found.
        refuse_if_revoked(&mut pollers, serial, &hex, tally.names())?;
        let unix = UnixNanos::now();
        let asked_ns = start.elapsed().as_nanos() as u64;
        let acknowledged_ns = api.revoke(&hex)?;
        acknowledged.record(acknowledged_ns - asked_ns);
        let deadline = AtomicU64::new(acknowledged_ns + plan.timeout.as_nanos() as u64);
        let saw: Vec<_> = pollers.iter_mut().map(|poller| poller.watch(serial, &deadline)).collect();
        let worst_ns = tally.note(&saw, &hex, Moments { counted_from_ns: asked_ns, asked_ns, acknowledged_ns });
        for (number, saw) in saw.iter().enumerate() {
            if saw.answered > 1 && saw.revoked_ns.is_some() {
                tally.fault(Kind::WrongStatus, number, &hex);
            }
        }
        if let Some(samples) = &mut samples {
            samples.write(unix, acknowledged_ns - asked_ns, worst_ns)?;
        }
        observe(&tally.second(victim, worst_ns));
        std::thread::sleep(push.pause);
    }
    samples.map_or(Ok(()), Samples::end)?;
    let mut report = tally.report();
    report.pushes = Some(PushReport { acknowledged_us: Percentiles::of(&acknowledged), uploads: Vec::new() });
    Ok(report)
}

/// Adds all certificates by one list, revokes them by another, and asks about some.
pub(super) fn in_bulk(plan: &LagPlan, push: &PushPlan) -> Result<Report, Problem> {
    let settings = settings(plan, push, "bulk");
    let mut tally = Tally::new(plan, settings);
    let start = tally.start;
    let api = Api::new(push, plan.timeout, start);
    let uploads = vec![api.upload("add", &plan.victims)?, api.upload("revoke", &plan.victims)?];
    let mut pollers = pollers(plan, start);
    let count = plan.victims.len();
    for victim in (0..count).step_by(count.div_ceil(LAG_BULK_ASKED)) {
        let serial = plan.victims.serial(victim);
        let hex = serial_to_hex(serial);
        let asked_ns = start.elapsed().as_nanos() as u64;
        let deadline = AtomicU64::new(asked_ns + plan.timeout.as_nanos() as u64);
        let saw: Vec<_> = pollers.iter_mut().map(|poller| poller.watch(serial, &deadline)).collect();
        tally.note(&saw, &hex, Moments { counted_from_ns: asked_ns, asked_ns, acknowledged_ns: asked_ns });
        for (number, saw) in saw.iter().enumerate() {
            if saw.answered > 1 && saw.revoked_ns.is_some() {
                tally.fault(Kind::WrongStatus, number, &hex);
            }
        }
    }
    let mut report = tally.report();
    report.requests_per_s = uploads.iter().map(|u| u.records_per_s).fold(f64::INFINITY, f64::min);
    report.pushes = Some(PushReport { acknowledged_us: None, uploads });
    Ok(report)
}

fn settings(plan: &LagPlan, push: &PushPlan, what: &'static str) -> Vec<(&'static str, String)> {
    vec![
        (what, plan.victims.len().to_string()),
        ("push", push.url.text.clone()),
        ("push-issuer", push.issuer.clone()),
        ("pause", format!("{:?}", push.pause)),
        ("timeout", format!("{:?}", plan.timeout)),
    ]
}

/// The file of `--samples`.
struct Samples<'a> {
    path: &'a Path,
    file: BufWriter<File>,
}

impl<'a> Samples<'a> {
    fn open(path: &'a Path) -> Result<Self, Problem> {
        let file = File::options().append(true).create(true).open(path);
        let file = file.map_err(|e| Problem::file("--samples", path, &e))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn write(&mut self, asked: UnixNanos, acknowledged_ns: u64, answered_ns: u64) -> Result<(), Problem> {
        let (asked, acknowledged, answered) =
            (asked.0 as f64 / 1e9, acknowledged_ns as f64 / 1e3, answered_ns as f64 / 1e3);
        writeln!(self.file, "{asked:.6} {acknowledged:.1} {answered:.1}")
            .map_err(|e| Problem::file("--samples", self.path, &e))
    }

    fn end(mut self) -> Result<(), Problem> {
        self.file.flush().map_err(|e| Problem::file("--samples", self.path, &e))
    }
}
