//! OCSP requests at a given rate, by `ostia-loadtest`, in slices one behind the other.
//!
//! Invariant: each answer is judged: its certificate, its status, its times, and one signature in a hundred. It does not know what
//! is pushed meanwhile; `watch` does.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use ostia_tests::{Behind, programs, run};
use serde_json::Value;

/// How long a slice is, in seconds.
const SLICE_S: u32 = 10;

/// See the module.
pub(crate) struct Load {
    front: SocketAddr,
    issuer: PathBuf,
    index: PathBuf,
    rate: u32,
    report: PathBuf,
}

/// What became of the requests.
#[derive(Default, Debug)]
pub(crate) struct Loaded {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    /// Due at the end of a slice while every connection waited for an answer, and so not sent.
    pub(crate) unsent: u64,
    pub(crate) wrong: u64,
    pub(crate) seconds: f64,
    /// Of each kind of error and of wrong answer.
    pub(crate) kinds: BTreeMap<String, u64>,
    pub(crate) examples: Vec<String>,
    /// Of each slice: p50, p99 and the longest, in µs, from when a request was due.
    pub(crate) latencies: Vec<[f64; 3]>,
}

impl Load {
    pub(crate) fn of(behind: &Behind, rate: u32) -> Self {
        let ca = &behind.cluster.ca;
        Self {
            front: behind.front,
            issuer: ca.certificate(),
            index: ca.index(),
            rate,
            report: ca.dir().join("load.json"),
        }
    }

    /// Until `stop`, and then to the end of the slice.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Loaded {
        let mut loaded = Loaded::default();
        while !stop.load(Relaxed) {
            let mut command = Command::new(&programs().loadtest);
            command.args(["ocsp", "--url", &format!("http://{}/", self.front), "--issuer"]).arg(&self.issuer);
            command.arg("--index").arg(&self.index).args(["--status-may-change", "--quiet"]);
            command.args(["--rate", &self.rate.to_string(), "--duration", &format!("{SLICE_S}s"), "--timeout", "20s"]);
            command.args(["--seed", &loaded.latencies.len().to_string(), "--json"]).arg(&self.report);
            let ended = run(&mut command);
            let text = std::fs::read(&self.report).unwrap_or_else(|error| panic!("{error}: {}", ended.text));
            loaded.add(&serde_json::from_slice(&text).expect("a report in JSON"));
        }
        loaded
    }
}

impl Loaded {
    fn add(&mut self, report: &Value) {
        let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
        self.asked += count("asked");
        self.answered += count("answered");
        self.errors += count("errors");
        self.unsent += count("unsent");
        self.wrong += count("wrong");
        self.seconds += report["elapsed_s"].as_f64().unwrap_or_default();
        for (kind, count) in report["kinds"].as_object().into_iter().flatten() {
            *self.kinds.entry(kind.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
        self.examples.extend(report["examples"].as_array().into_iter().flatten().map(Value::to_string));
        let latency = |name: &str| report["latency_us"][name].as_f64().unwrap_or(f64::NAN);
        self.latencies.push([latency("p50"), latency("p99"), latency("max")]);
    }
}
