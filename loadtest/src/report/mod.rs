//! What a run came to, for people and for programs.
//!
//! [`Report`] is the whole truth; [`table`] and [`html`] show it, and JSON is the thing itself.
//!
//! Invariant: every figure is computed once, here; the renderings only format. Units are in the names. It does not know
//! sockets.

mod html;
mod plot;
pub(crate) mod progress;
mod table;

use crate::engine::Load;
use crate::engine::stats::{Latency, Said, Second, Totals};
use crate::expect::{Expectations, Figures};
use crate::outcome::{Class, Kind, Kinds};
use crate::problem::Problem;
use crate::proof::Verify;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

/// Bumped when a field changes its meaning; new fields do not.
const FORMAT: u32 = 1;

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    pub(crate) command: &'static str,
    pub(crate) targets: Vec<String>,
    /// What was asked for, as (flag, value).
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) started_unix_s: i64,
    pub(crate) elapsed_s: f64,
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) right: u64,
    pub(crate) errors: u64,
    pub(crate) wrong: u64,
    /// Due in the open loop, never begun.
    pub(crate) unsent: u64,
    pub(crate) requests_per_s: f64,
    pub(crate) connections_opened: u64,
    pub(crate) body_octets: u64,
    pub(crate) latency_us: Option<Percentiles>,
    /// Of `lag`, for each revocation that reached every replica: until the last of them. `--expect` judges it.
    pub(crate) last_us: Option<Percentiles>,
    /// In the open loop: from the sending instead of from the intended time.
    pub(crate) service_us: Option<Percentiles>,
    pub(crate) said: BTreeMap<&'static str, u64>,
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    pub(crate) http_statuses: BTreeMap<u16, u64>,
    pub(crate) examples: Vec<ExampleLine>,
    pub(crate) verification: Verification,
    pub(crate) generator: Generator,
    /// Serial numbers of time-stamps.
    pub(crate) serials: Option<SerialsReport>,
    /// Replicas of `lag`.
    pub(crate) replicas: Vec<ReplicaReport>,
    /// `lag` over the API.
    pub(crate) pushes: Option<PushReport>,
    pub(crate) expectations: Vec<ExpectationLine>,
    pub(crate) seconds: Vec<Second>,
    /// (fraction of the requests, latency in µs), for the plot.
    pub(crate) distribution: Vec<(f64, f64)>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// One wrong answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExampleLine {
    pub(crate) kind: Kind,
    pub(crate) target: String,
    pub(crate) subject: String,
}

/// How many signatures were checked.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Verification {
    pub(crate) mode: String,
    /// Distinct bodies whose signature and signer were checked.
    pub(crate) checked: u64,
    /// Answers that were, byte for byte, one of those.
    pub(crate) repeats_of_checked: u64,
    /// Samples left out because the checking could not keep up.
    pub(crate) skipped: u64,
}

/// What the load cost this side.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Generator {
    pub(crate) cpu_s: f64,
    pub(crate) cpu_us_per_answer: f64,
    /// The share of its time that the busiest load thread was running: near 1, the generator is what was measured.
    pub(crate) busiest_thread: f64,
}

/// The check for repeated serial numbers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SerialsReport {
    pub(crate) collected: u64,
    pub(crate) repeated: u64,
    /// Tokens whose serial was not collected because the memory for it is bounded.
    pub(crate) beyond_limit: u64,
    /// (serial in hex, the targets that gave it).
    pub(crate) examples: Vec<(String, Vec<String>)>,
}

/// One replica of `lag`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReplicaReport {
    pub(crate) target: String,
    pub(crate) revocations: u64,
    pub(crate) missed: u64,
    /// Answers about certificates that it had called revoked before.
    pub(crate) asked_again: u64,
    /// Those that said something else.
    pub(crate) went_back: u64,
    /// From the command's end, or from the acknowledgement of a push.
    pub(crate) lag_us: Option<Percentiles>,
    /// From the command's start, or from the request of a push.
    pub(crate) since_start_us: Option<Percentiles>,
}

/// What the API said to pushes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PushReport {
    /// From the request to its acknowledgement.
    pub(crate) acknowledged_us: Option<Percentiles>,
    pub(crate) uploads: Vec<UploadReport>,
}

/// One list that was uploaded.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UploadReport {
    /// `add` or `revoke`.
    pub(crate) what: &'static str,
    pub(crate) records: u64,
    /// From the request to the total.
    pub(crate) elapsed_s: f64,
    pub(crate) records_per_s: f64,
}

/// One condition of `--expect`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExpectationLine {
    pub(crate) condition: String,
    pub(crate) figure: String,
    pub(crate) met: bool,
}

/// What a load run leaves beside the engine's totals.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) examples: Vec<ExampleLine>,
    pub(crate) proof_kinds: Kinds,
    pub(crate) verification: Verification,
    pub(crate) process_cpu_s: f64,
}

impl Report {
    /// An empty report of a command.
    pub(crate) fn new(command: &'static str, targets: Vec<String>, settings: Vec<(&'static str, String)>) -> Self {
        Self {
            format: FORMAT,
            program: "ostia-loadtest",
            version: env!("CARGO_PKG_VERSION"),
            command,
            targets,
            settings,
            started_unix_s: 0,
            elapsed_s: 0.0,
            asked: 0,
            answered: 0,
            right: 0,
            errors: 0,
            wrong: 0,
            unsent: 0,
            requests_per_s: 0.0,
            connections_opened: 0,
            body_octets: 0,
            latency_us: None,
            last_us: None,
            service_us: None,
            said: BTreeMap::new(),
            kinds: BTreeMap::new(),
            http_statuses: BTreeMap::new(),
            examples: Vec::new(),
            verification: Verification::default(),
            generator: Generator::default(),
            serials: None,
            replicas: Vec::new(),
            pushes: None,
            expectations: Vec::new(),
            seconds: Vec::new(),
            distribution: Vec::new(),
        }
    }

    /// Takes over what a load run counted.
    pub(crate) fn fill(&mut self, totals: Totals, findings: Findings) {
        let tally = &totals.tally;
        self.started_unix_s = totals.started.seconds();
        self.elapsed_s = totals.elapsed_ns as f64 / 1e9;
        self.asked = tally.asked;
        self.answered = tally.answered;
        self.unsent = tally.unsent;
        self.connections_opened = tally.connects;
        self.body_octets = tally.octets;
        self.requests_per_s = tally.answered as f64 / self.elapsed_s;
        self.fill_latency(&tally.latency);
        self.service_us = Percentiles::of(&tally.service);
        // Each proven-bad answer had passed as acceptable; so right answers are those said less those.
        let said: u64 = tally.said.iter().sum();
        self.right =
            said.saturating_sub(findings.proof_kinds.of(Class::Wrong) + findings.proof_kinds.of(Class::Failed));
        self.said =
            Said::ALL.iter().map(|(s, name)| (*name, tally.said[*s as usize])).filter(|(_, n)| *n > 0).collect();
        let mut kinds = tally.kinds;
        kinds.absorb(&findings.proof_kinds);
        self.set_kinds(&kinds);
        self.http_statuses = tally.http_statuses.clone();
        let ok = tally.answered - tally.http_statuses.values().sum::<u64>().min(tally.answered);
        if ok > 0 {
            self.http_statuses.insert(200, ok);
        }
        self.examples = findings.examples;
        self.verification = findings.verification;
        let busiest = totals.thread_cpu_ns.iter().max().copied().unwrap_or(0);
        self.generator = Generator {
            cpu_s: findings.process_cpu_s,
            cpu_us_per_answer: findings.process_cpu_s * 1e6 / tally.answered.max(1) as f64,
            busiest_thread: (busiest as f64 / totals.elapsed_ns as f64).min(1.0),
        };
        self.seconds = totals.seconds;
    }

    pub(crate) fn fill_latency(&mut self, latency: &Latency) {
        self.latency_us = Percentiles::of(latency);
        self.distribution = distribution(latency);
    }

    pub(crate) fn set_kinds(&mut self, kinds: &Kinds) {
        self.errors = kinds.of(Class::Failed);
        self.wrong = kinds.of(Class::Wrong);
        self.kinds = kinds.nonzero().map(|(kind, n)| (kind.name(), n)).collect();
    }

    /// Counts the repeats found after the run.
    pub(crate) fn set_serials(&mut self, serials: SerialsReport) {
        if serials.repeated > 0 {
            self.kinds.insert(Kind::RepeatedSerial.name(), serials.repeated);
            self.wrong += serials.repeated;
            self.right = self.right.saturating_sub(serials.repeated);
        }
        self.serials = Some(serials);
    }

    /// Decides the conditions on the figures as they are now.
    pub(crate) fn decide(&mut self, expectations: &Expectations) {
        let latency = if self.command == "lag" { self.last_us } else { self.latency_us };
        let of = |pick: fn(&Percentiles) -> f64| latency.as_ref().map_or(f64::NAN, pick);
        let figures = Figures {
            p50_us: of(|p| p.p50),
            p90_us: of(|p| p.p90),
            p99_us: of(|p| p.p99),
            p999_us: of(|p| p.p999),
            max_us: of(|p| p.max),
            rps: self.requests_per_s,
            errors: self.errors,
            wrong: self.wrong,
        };
        let line = |c: &crate::expect::Condition| ExpectationLine {
            condition: c.text.clone(),
            figure: c.figure(&figures),
            met: c.is_met(&figures),
        };
        self.expectations = expectations.0.iter().map(line).collect();
    }

    /// The table for a terminal. Where nobody reads it to its end (`… | head`), the exit status still speaks.
    pub(crate) fn print(&self) -> Result<(), Problem> {
        let mut out = std::io::stdout().lock();
        match out.write_all(table::render(self).as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Problem::new(format!("standard output: {e}"))),
            _ => Ok(()),
        }
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<(), Problem> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Problem::new(format!("--json: {e}")))?;
        std::fs::write(path, text + "\n").map_err(|e| Problem::file("--json", path, &e))
    }

    pub(crate) fn write_html(&self, path: &Path) -> Result<(), Problem> {
        std::fs::write(path, html::render(self)).map_err(|e| Problem::file("--html", path, &e))
    }
}

impl Percentiles {
    /// `None` of an empty histogram: no figure is better than a zero that means nothing.
    pub(crate) fn of(latency: &Latency) -> Option<Self> {
        if latency.count() == 0 {
            return None;
        }
        Some(Self {
            min: latency.0.min() as f64 / 1e3,
            mean: latency.0.mean() / 1e3,
            p50: latency.quantile_us(0.5),
            p90: latency.quantile_us(0.9),
            p99: latency.quantile_us(0.99),
            p999: latency.quantile_us(0.999),
            max: latency.max_us(),
        })
    }
}

/// Ten points for each halving of the distance to the maximum: a few hundred points, whatever the run's length.
fn distribution(latency: &Latency) -> Vec<(f64, f64)> {
    latency.0.iter_quantiles(10).map(|v| (v.quantile_iterated_to(), v.value_iterated_to() as f64 / 1e3)).collect()
}

/// `--verify`, in words.
pub(crate) fn verify_name(verify: Verify) -> String {
    match verify {
        Verify::All => "all".to_owned(),
        Verify::Sample(n) => format!("sample:{n}"),
        Verify::None => "none".to_owned(),
    }
}

/// The load, for the report's head.
pub(crate) fn load_settings(load: &Load) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("connections", load.connections.to_string()),
        ("threads", load.threads.to_string()),
        ("pipeline", load.pipeline.to_string()),
        ("loop", load.rate.map_or("closed".to_owned(), |r| format!("open, {r} requests/s"))),
        ("duration", format!("{:?}", load.duration)),
        ("timeout", format!("{:?}", load.timeout)),
    ];
    if let Some(requests) = load.requests {
        settings.push(("requests", requests.to_string()));
    }
    if load.one_request_per_connection {
        settings.push(("one-request-per-connection", "yes".to_owned()));
    }
    settings
}
