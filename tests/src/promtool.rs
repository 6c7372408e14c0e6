//! Rules of Prometheus, tried by `promtool test rules` on what real processes have told.
//!
//! Invariant: every series is one that a process gave, with its labels; a fault is told by another value of one of them.
//! Instants are moved, since promtool's time begins in 1970. It does not know what the rules are about.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::run;

/// How long everything is as it is told before alerts are looked at, in minutes: longer than any of them waits.
pub const MINUTES: u32 = 75;

/// The present in promtool's time, in seconds.
pub const NOW: i64 = MINUTES as i64 * 60;

/// What processes have told at one moment.
#[derive(Clone, Default, Debug)]
pub struct Scrapes(Vec<Series>);

#[derive(Clone, Debug)]
struct Series {
    name: String,
    /// Without braces.
    labels: String,
    /// In promtool's notation.
    values: String,
}

impl Scrapes {
    /// Adds what one process tells at `/metrics`, as Prometheus would with these labels.
    pub fn add(&mut self, job: &str, instance: &str, metrics: &str) {
        let own = format!("job=\"{job}\",instance=\"{instance}\"");
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as f64 - NOW as f64;
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}');
            let labels = if labels.is_empty() { own.clone() } else { format!("{own},{labels}") };
            let value: f64 = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            let is_instant = value > 1e9 && name.ends_with("_seconds");
            let value = if is_instant { value - passed } else { value };
            self.0.push(Series { name: name.to_owned(), labels, values: format!("{value}x{MINUTES}") });
        }
        self.0.push(Series { name: "up".to_owned(), labels: own, values: format!("1x{MINUTES}") });
    }

    /// Adds all of others.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// The same where the series of this metric whose labels contain that text have other values, in promtool's notation,
    /// such as `0` or `0+5` (five more each minute).
    ///
    /// # Panics
    ///
    /// If there is no such series.
    #[must_use]
    #[track_caller]
    pub fn with(&self, name: &str, labels: &str, values: &str) -> Self {
        let mut changed = self.clone();
        let mut found = false;
        for series in changed.0.iter_mut().filter(|series| series.name == name && series.labels.contains(labels)) {
            (series.values, found) = (format!("{values}x{MINUTES}"), true);
        }
        assert!(found, "no process told {name} with {labels}");
        changed
    }
}

/// Has promtool check that of these rules exactly the named alerts fire in each case: a name for people, what is told, and the
/// alerts. Panics with what promtool says.
#[track_caller]
pub fn fire(rules: &Path, cases: &[(String, Scrapes, Vec<String>)]) {
    let text = fs::read_to_string(rules).unwrap();
    let mut tests = format!("rule_files: [{rules:?}]\nevaluation_interval: 5m\ntests:\n");
    for (name, scrapes, alerts) in cases {
        let _ = writeln!(tests, "- name: {name:?}\n  interval: 1m\n  input_series:");
        for Series { name, labels, values } in scrapes.0.iter().filter(|series| text.contains(&series.name)) {
            let series = format!("{name}{{{labels}}}").replace('\'', "''");
            let _ = writeln!(tests, "  - series: '{series}'\n    values: '{values}'");
        }
        let _ = writeln!(
            tests,
            "  promql_expr_test:\n  - expr: 'group by (alertname) (ALERTS{{alertstate=\"firing\"}})'\n    eval_time: {MINUTES}m\n    exp_samples:"
        );
        if alerts.is_empty() {
            tests.truncate(tests.trim_end().len());
            tests += " []\n";
        }
        for alert in alerts {
            let _ = writeln!(tests, "    - labels: '{{alertname=\"{alert}\"}}'\n      value: 1");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tests.yml");
    fs::write(&file, tests).unwrap();
    let told = run(Command::new("promtool").args(["test", "rules"]).arg(&file));
    assert!(told.status.success(), "{}", told.text);
}
