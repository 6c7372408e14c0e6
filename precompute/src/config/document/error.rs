//! What is wrong with a configuration file: every problem with its line.

use std::{fmt, path::PathBuf};

use crate::output::{Finding, Severity, Where};

/// All problems of a configuration file.
#[derive(Debug)]
pub struct ConfigError {
    pub(super) path: PathBuf,
    pub(super) problems: Vec<Problem>,
}

#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: Option<usize>,
    /// With the names above it; `None` if the file as a whole is meant.
    pub(super) key: Option<String>,
    pub(super) text: String,
    /// Whether the cause is outside of the file and may be gone at the next try.
    pub(super) may_pass: bool,
}

impl Problem {
    pub(super) fn new(line: Option<usize>, text: String) -> Self {
        Self { line, key: None, text, may_pass: false }
    }
}

impl ConfigError {
    /// The same, which may be gone at the next try.
    #[must_use]
    pub fn that_may_pass(mut self) -> Self {
        self.problems.iter_mut().for_each(|problem| problem.may_pass = true);
        self
    }

    /// Whether all problems may be gone at the next try, without a change to the file: for example a token that was out
    /// of reach.
    pub fn may_pass(&self) -> bool {
        self.problems.iter().all(|problem| problem.may_pass)
    }
}

impl ConfigError {
    /// Each problem with its place.
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |problem: &Problem| {
            let Problem { line, key, text, .. } = problem;
            let file = self.path.display().to_string();
            let at = line.map(|line| format!(":{line}")).unwrap_or_default();
            let of = key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
            let told = format!("{file}{at}: {of}{text}");
            let place = Where { file: Some(file), line: *line, key: key.clone(), ..Where::default() };
            Finding::new(Severity::Error, place, text, told)
        };
        self.problems.iter().map(finding).collect()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.findings().iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}
