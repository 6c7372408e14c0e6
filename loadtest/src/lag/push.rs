//! Pushes over the API, measured.
//!
//! Invariant: what an instance acknowledged is answered `revoked` by its first answer that is asked for afterwards; any
//! other answer is wrong, however soon the right one follows. Only replicas (`--replicas`), which hear of a push from
//! somebody else, may be late. It does not know connections.

use super::api::Api;
use super::poller::Saw;
use super::tally::Moments;
use super::{Course, already_revoked};
use crate::config::PushPlan;
use crate::engine::stats::{Latency, Second};
use crate::limits::LAG_BULK_ASKED;
use crate::outcome::Kind;
use crate::problem::Problem;
use crate::report::{Percentiles, PushReport};
use crate::time::UnixNanos;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between two questions to a replica that does not know an added certificate yet.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(2);

/// Adds all certificates, and revokes them one after the other. Each instance is asked once it is acknowledged.
pub(super) fn one_by_one(
    course: &mut Course<'_>,
    push: &PushPlan,
    observe: &mut dyn FnMut(&Second),
) -> Result<(), Problem> {
    each(course, push, observe, |course, api, victim| {
        // Thereby the former answer is kept, and a kept answer that outlives the push is found.
        course.refuse_if_revoked(victim)?;
        let (_, hex) = course.serial(victim);
        let (unix, asked_ns) = (UnixNanos::now(), course.now_ns());
        let acknowledged_ns = api.revoke(&hex)?;
        let saw = course.watch_in_turn(victim, acknowledged_ns);
        let moments = Moments { counted_from_ns: asked_ns, asked_ns, acknowledged_ns };
        let last_ns = course.note(victim, &saw, moments);
        refuse_second_thoughts(course, &saw, &hex);
        Ok(Pushed { unix, moments, last_ns })
    })
}

/// The same with replicas that hear of it over a feed: they are being asked while the push is under way.
pub(super) fn followed(
    course: &mut Course<'_>,
    push: &PushPlan,
    observe: &mut dyn FnMut(&Second),
) -> Result<(), Problem> {
    // Whom the last revocation did not reach is not waited for before the next one.
    let mut reached = vec![true; course.pollers.len()];
    each(course, push, observe, |course, api, victim| {
        await_known(course, victim, &reached)?;
        let (_, hex) = course.serial(victim);
        let (unix, asked_ns) = (UnixNanos::now(), course.now_ns());
        let (acknowledged_ns, _, saw) = course.watched(victim, || api.revoke(&hex))?;
        let moments = Moments { counted_from_ns: acknowledged_ns, asked_ns, acknowledged_ns };
        let last_ns = course.note(victim, &saw, moments);
        reached = saw.iter().map(|saw| saw.revoked_ns.is_some()).collect();
        Ok(Pushed { unix, moments, last_ns })
    })
}

/// One push that was acknowledged.
struct Pushed {
    unix: UnixNanos,
    moments: Moments,
    /// When the last server answered `revoked`.
    last_ns: Option<u64>,
}

fn each(
    course: &mut Course<'_>,
    push: &PushPlan,
    observe: &mut dyn FnMut(&Second),
    mut one: impl FnMut(&mut Course<'_>, &mut Api<'_>, usize) -> Result<Pushed, Problem>,
) -> Result<(), Problem> {
    let mut samples = push.samples.as_deref().map(Samples::open).transpose()?;
    settings(course, push, "pushes");
    let plan = course.plan;
    let mut api = Api::new(push, plan.timeout, course.start);
    api.upload("add", &plan.victims)?;
    let mut acknowledged = Latency::new();
    for victim in 0..plan.victims.len() {
        let pushed = one(course, &mut api, victim)?;
        let Moments { counted_from_ns, asked_ns, acknowledged_ns } = pushed.moments;
        acknowledged.record(acknowledged_ns - asked_ns);
        if let Some(samples) = &mut samples {
            let answered_ns = pushed.last_ns.map_or(0, |at| at - asked_ns);
            samples.write(pushed.unix, acknowledged_ns - asked_ns, answered_ns)?;
        }
        course.tally.add_kinds(&api.take_failures());
        observe(&course.tally.second(victim, pushed.last_ns.map_or(0, |at| at.saturating_sub(counted_from_ns))));
        std::thread::sleep(push.pause);
    }
    course.tally.pushes = Some(PushReport { acknowledged_us: Percentiles::of(&acknowledged), uploads: Vec::new() });
    samples.map_or(Ok(()), Samples::end)
}

/// Adds all certificates by one list, revokes them by another, and asks about some.
pub(super) fn in_bulk(course: &mut Course<'_>, push: &PushPlan) -> Result<(), Problem> {
    settings(course, push, "bulk");
    let plan = course.plan;
    let mut api = Api::new(push, plan.timeout, course.start);
    let uploads = vec![api.upload("add", &plan.victims)?, api.upload("revoke", &plan.victims)?];
    course.tally.add_kinds(&api.take_failures());
    let count = plan.victims.len();
    for victim in (0..count).step_by(count.div_ceil(LAG_BULK_ASKED)) {
        let asked_ns = course.now_ns();
        let moments = Moments { counted_from_ns: asked_ns, asked_ns, acknowledged_ns: asked_ns };
        let saw = course.watch_in_turn(victim, asked_ns);
        course.note(victim, &saw, moments);
        if !push.replicas {
            let (_, hex) = course.serial(victim);
            refuse_second_thoughts(course, &saw, &hex);
        }
    }
    course.tally.pushes = Some(PushReport { acknowledged_us: None, uploads });
    Ok(())
}

/// A server that said something else first was wrong, though `revoked` followed.
fn refuse_second_thoughts(course: &mut Course<'_>, saw: &[Saw], hex: &str) {
    for (number, saw) in saw.iter().enumerate() {
        if saw.answered > 1 && saw.revoked_ns.is_some() {
            course.tally.fault(Kind::WrongStatus, number, hex);
        }
    }
}

/// Waits until every replica answers about an added certificate, up to the time-out. One that does not is counted, and
/// the run goes on: what is measured may be how replicas that were killed come back.
fn await_known(course: &mut Course<'_>, victim: usize, reached: &[bool]) -> Result<(), Problem> {
    let (serial, hex) = course.serial(victim);
    let begun = Instant::now();
    for (number, waits) in reached.iter().enumerate() {
        loop {
            match course.pollers[number].is_revoked(serial) {
                Ok(false) => break,
                Ok(true) => return Err(already_revoked(&course.tally.names()[number], &hex)),
                Err(_) if *waits && begun.elapsed() < course.plan.timeout => std::thread::sleep(UNKNOWN_PAUSE),
                Err(kind) => {
                    course.tally.fault(kind, number, &hex);
                    break;
                }
            }
        }
    }
    Ok(())
}

fn settings(course: &mut Course<'_>, push: &PushPlan, what: &'static str) {
    let plan = course.plan;
    let urls: Vec<_> = push.apis.urls.iter().map(|url| url.text.as_str()).collect();
    course.tally.add_settings([
        (what, plan.victims.len().to_string()),
        ("push", urls.join(",")),
        ("push-issuer", push.issuer.clone()),
        ("replicas", if push.replicas { "yes" } else { "no" }.to_owned()),
        ("pause", format!("{:?}", push.pause)),
        ("timeout", format!("{:?}", plan.timeout)),
    ]);
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
