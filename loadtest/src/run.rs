//! Carries a plan out: load, proofs, report, exit status.
//!
//! Invariant: the exit status is decided here and nowhere else, from the report alone. It does not parse and does not
//! measure.

use crate::certificate::Certificate;
use crate::cli::{self, Cli, Command, ReportArgs};
use crate::config::{LagPlan, OcspPlan, Targets, TsaPlan};
use crate::draw::Rng;
use crate::engine::{self, Load, Workload};
use crate::expect::Expectations;
use crate::lag;
use crate::limits::{EXAMPLES_KEPT, THREADS_MAX};
use crate::ocsp::proof::OcspProver;
use crate::ocsp::workload::OcspWorkload;
use crate::problem::Problem;
use crate::proof::{self, Bench, Example, Live, Notary, Proven, Prover, Verify};
use crate::report::progress::Progress;
use crate::report::{self, ExampleLine, Findings, Report, SerialsReport, Verification};
use crate::time::UnixNanos;
use crate::tsa::proof::TsaProver;
use crate::tsa::request::RequestEncoder;
use crate::tsa::serials::{self, SerialLog};
use crate::tsa::workload::TsaWorkload;
use program::Exit;
use std::sync::Arc;

/// A problem and the status it ends with.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) Exit, pub(crate) Problem);

fn usage(problem: Problem) -> Stop {
    Stop(Exit::Usage, problem)
}

fn local(problem: Problem) -> Stop {
    Stop(Exit::Failed, problem)
}

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> Result<Exit, Stop> {
    match &cli.command {
        Command::Ocsp(args) => {
            let plan = OcspPlan::new(args, UnixNanos::now().seconds()).map_err(usage)?;
            raise_descriptor_limit(plan.load.connections).map_err(usage)?;
            finish(ocsp(&plan, args.report.quiet).map_err(local)?, &args.report)
        }
        Command::Tsa(args) => {
            let plan = TsaPlan::new(args).map_err(usage)?;
            raise_descriptor_limit(plan.load.connections).map_err(usage)?;
            finish(tsa(&plan, args.report.quiet).map_err(local)?, &args.report)
        }
        Command::GenerateDocs { dir } => match cli::manual().write(dir) {
            Ok(()) => Ok(Exit::Done),
            Err(problem) => Err(local(Problem::new(problem.to_string()))),
        },
        Command::Lag(args) => {
            let plan = LagPlan::new(args).map_err(usage)?;
            let progress = Progress::new(args.report.quiet, Arc::default());
            finish(lag::run(&plan, &mut |s| progress.show(s)).map_err(local)?, &args.report)
        }
    }
}

/// A load run against an OCSP responder.
pub(crate) fn ocsp(plan: &OcspPlan, quiet: bool) -> Result<Report, Problem> {
    let mut settings = report::load_settings(&plan.load);
    settings.push(("certificates", plan.questions.population.len().to_string()));
    settings.push(("get-share", plan.questions.get_share.to_string()));
    settings.push(("hash", format!("{:?}", plan.questions.rules.issuer.hash).to_lowercase()));
    settings.push(("seed", plan.seed.to_string()));
    let mut report = Report::new("ocsp", names(&plan.targets), settings);
    let issuer: Arc<Certificate> = Arc::clone(&plan.issuer);
    let prover = move || -> Prover {
        let mut prover = OcspProver::new(Arc::clone(&issuer));
        Box::new(move |body, now| prover.prove(body, now))
    };
    let make = |thread, notary| OcspWorkload::new(Arc::clone(&plan.questions), plan.seed, thread, notary);
    let leave = |w: OcspWorkload, left: &mut Left| left.take(w.notary, w.examples);
    load(&mut report, &plan.targets, &plan.load, plan.verify, quiet, &prover, &make, leave)?;
    Ok(report)
}

/// A load run against a time-stamping authority.
pub(crate) fn tsa(plan: &TsaPlan, quiet: bool) -> Result<Report, Problem> {
    let mut settings = report::load_settings(&plan.load);
    settings.push(("hash", format!("{:?}", plan.hash).to_lowercase()));
    let mut report = Report::new("tsa", names(&plan.targets), settings);
    let anchors = Arc::clone(&plan.anchors);
    let prover = move || -> Prover {
        let mut prover = TsaProver::new(Arc::clone(&anchors));
        Box::new(move |body, now| prover.prove(body, now))
    };
    // Fresh nonces in every run: a server that keeps what it has seen must not be asked the same again.
    let seed = plan.seed ^ UnixNanos::now().0 as u64;
    let make = |thread, notary| TsaWorkload {
        encoder: RequestEncoder::new(plan.hash, plan.policy.as_deref(), plan.cert_req),
        writers: plan.writers.clone(),
        policy: plan.policy.clone(),
        skew_s: plan.skew_s,
        rng: Rng::new(seed, thread as u64),
        notary,
        serials: SerialLog::new(plan.load.threads),
        examples: Vec::new(),
    };
    let mut logs = Vec::new();
    let leave = |w: TsaWorkload, left: &mut Left| {
        left.take(w.notary, w.examples);
        logs.push(w.serials);
    };
    load(&mut report, &plan.targets, &plan.load, plan.verify, quiet, &prover, &make, leave)?;
    let found = serials::repeats(logs);
    let target = |t: usize| plan.targets.urls[t].text.clone();
    report.set_serials(SerialsReport {
        collected: found.collected,
        repeated: found.repeated,
        beyond_limit: found.beyond,
        examples: found.examples.into_iter().map(|(n, at)| (n, at.into_iter().map(target).collect())).collect(),
    });
    Ok(report)
}

/// What the threads leave behind.
#[derive(Default)]
pub(crate) struct Left {
    examples: Vec<Example>,
    repeats: u64,
    skipped: u64,
}

impl Left {
    /// Takes a notary's counts and closes its queue, so that its bench ends.
    pub(crate) fn take(&mut self, notary: Notary, examples: Vec<Example>) {
        self.repeats += notary.repeats;
        self.skipped += notary.skipped;
        self.examples.extend(examples);
    }
}

/// The part that all load runs share: threads with their proving threads, and the report's common figures.
#[allow(clippy::too_many_arguments, reason = "one call for each kind of load, and each argument is its own thing")]
pub(crate) fn load<W: Workload>(
    report: &mut Report,
    targets: &Targets,
    load: &Load,
    verify: Verify,
    quiet: bool,
    prover: &dyn Fn() -> Prover,
    make: &dyn Fn(usize, Notary) -> W,
    mut leave: impl FnMut(W, &mut Left),
) -> Result<(), Problem> {
    let live = Arc::new(Live::default());
    let progress = Progress::new(quiet, Arc::clone(&live));
    let (notaries, benches): (Vec<Notary>, Vec<Bench>) =
        (0..load.threads.min(THREADS_MAX)).map(|_| proof::pair(verify, prover(), Arc::clone(&live))).unzip();
    let workloads = notaries.into_iter().enumerate().map(|(thread, notary)| make(thread, notary)).collect();
    let cpu_before = process_cpu_s();
    let mut left = Left::default();
    let (totals, proven) = std::thread::scope(|scope| -> Result<_, Problem> {
        let handles: Vec<_> = benches.into_iter().map(|bench| scope.spawn(|| bench.run())).collect();
        let (totals, workloads) = engine::run(load, &targets.addresses, workloads, &mut |s| progress.show(s))?;
        // Dropping the notaries lets the benches end.
        workloads.into_iter().for_each(|w| leave(w, &mut left));
        let proven: Result<Vec<Proven>, _> = handles.into_iter().map(|h| h.join()).collect();
        Ok((totals, proven.map_err(|_| Problem::new("a proving thread panicked; please report this"))?))
    })?;
    let mut findings = Findings { process_cpu_s: process_cpu_s() - cpu_before, ..Findings::default() };
    findings.verification = Verification {
        mode: report::verify_name(verify),
        checked: proven.iter().map(|p| p.checked).sum(),
        repeats_of_checked: left.repeats,
        skipped: left.skipped,
    };
    for proven in proven {
        findings.proof_kinds.absorb(&proven.kinds);
        left.examples.extend(proven.examples);
    }
    left.examples.truncate(EXAMPLES_KEPT);
    findings.examples = left
        .examples
        .into_iter()
        .map(|e| ExampleLine { kind: e.kind, target: targets.urls[e.target].text.clone(), subject: e.subject })
        .collect();
    report.fill(totals, findings);
    Ok(())
}

/// Decides the expectations, writes the reports and chooses the exit status.
fn finish(mut report: Report, args: &ReportArgs) -> Result<Exit, Stop> {
    report.decide(args.expect.as_ref().unwrap_or(&Expectations::default()));
    if !args.quiet {
        report.print().map_err(local)?;
    }
    if let Some(path) = &args.json {
        report.write_json(path).map_err(local)?;
    }
    if let Some(path) = &args.html {
        report.write_html(path).map_err(local)?;
    }
    Ok(ending(&report))
}

/// The gravest thing that happened.
pub(crate) fn ending(report: &Report) -> Exit {
    if report.wrong > 0 {
        Exit::NotInOrder
    } else if report.answered == 0 {
        Exit::NoAnswer
    } else if report.expectations.iter().any(|e| !e.met) || report.replicas.iter().any(|r| r.missed > 0) {
        Exit::Missed
    } else {
        Exit::Done
    }
}

fn names(targets: &Targets) -> Vec<String> {
    targets.urls.iter().map(|url| url.text.clone()).collect()
}

fn process_cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Makes room for the connections' descriptors, up to the hard limit.
fn raise_descriptor_limit(connections: usize) -> Result<(), Problem> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Beside the connections: standard streams, one epoll a thread, reports.
    let needed = connections as u64 + 64 + THREADS_MAX.min(connections) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    if limit.maximum.is_none_or(|hard| hard >= needed)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum }).is_ok()
    {
        return Ok(());
    }
    Err(Problem::new(format!(
        "--connections {connections}: the limit on open files is {}; raise it with `ulimit -n {needed}` or ask for fewer",
        limit.maximum.unwrap_or(0)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ReplicaReport;

    #[test]
    fn ends_with_the_gravest_thing_that_happened() {
        let mut report = Report::new("lag", Vec::new(), Vec::new());
        assert_eq!(ending(&report), Exit::NoAnswer);
        report.answered = 10;
        assert_eq!(ending(&report), Exit::Done);
        report.errors = 3;
        assert_eq!(ending(&report), Exit::Done, "errors are for --expect to judge");
        report.decide(&"errors=0".parse().unwrap());
        assert_eq!(ending(&report), Exit::Missed);
        report.decide(&"errors<4".parse().unwrap());
        assert_eq!(ending(&report), Exit::Done);
        let target = String::new();
        report.replicas = vec![ReplicaReport {
            target,
            revocations: 2,
            missed: 1,
            asked_again: 0,
            went_back: 0,
            lag_us: None,
            since_start_us: None,
        }];
        assert_eq!(ending(&report), Exit::Missed);
        report.wrong = 1;
        assert_eq!(ending(&report), Exit::NotInOrder);
        report.answered = 0;
        assert_eq!(ending(&report), Exit::NotInOrder);
    }
}
