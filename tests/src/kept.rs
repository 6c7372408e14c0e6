//! A journal as others read it: its lines, and whether it verifies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{Site, programs, run, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A journal.
#[derive(Clone, Debug)]
pub struct Kept(PathBuf);

impl Kept {
    /// The one in this file.
    pub fn at(file: impl AsRef<Path>) -> Self {
        Self(file.as_ref().to_owned())
    }

    /// That of a site whose configuration has `[journal]`.
    pub fn of(site: &Site) -> Self {
        Self::at(site.dir().join("state/journal.jsonl"))
    }

    /// Its whole lines.
    pub fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for a line of this type in which these members have these texts in them.
    #[track_caller]
    pub fn expect(&self, kind: &str, members: &[(&str, &str)]) -> Value {
        let is_it = |line: &Value| {
            line["type"] == kind
                && members.iter().all(|(name, value)| match &line[*name] {
                    Value::Array(all) => all.iter().any(|one| one == value),
                    one => one.as_str().is_some_and(|one| one.contains(value)),
                })
        };
        until(&format!("{kind} {members:?}"), PATIENCE, || self.lines().into_iter().find(is_it))
    }

    /// Verifies it as anybody can; a service may go on writing to it.
    #[track_caller]
    pub fn verifies(&self) {
        let verified = run(Command::new(&programs().precompute).args(["audit", "verify"]).arg(&self.0));
        assert!(verified.status.success() && verified.text.contains("in order: journal `service`"), "{verified:?}");
    }
}
