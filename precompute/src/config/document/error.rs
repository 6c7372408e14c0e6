//! What is wrong with a configuration file: every problem with its line.

use std::{fmt, path::PathBuf};

/// All problems of a configuration file.
#[derive(Debug)]
pub struct ConfigError {
    pub(super) path: PathBuf,
    pub(super) problems: Vec<Problem>,
}

#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: Option<usize>,
    pub(super) text: String,
    /// Whether the cause is outside of the file and may be gone at the next try.
    pub(super) may_pass: bool,
}

impl Problem {
    pub(super) fn new(line: Option<usize>, text: String) -> Self {
        Self { line, text, may_pass: false }
    }
}

impl ConfigError {
    /// Whether all problems may be gone at the next try, without a change to the file: for example a token that was out
    /// of reach.
    pub fn may_pass(&self) -> bool {
        self.problems.iter().all(|problem| problem.may_pass)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                Some(line) => write!(f, "{}:{line}: {}", self.path.display(), problem.text)?,
                None => write!(f, "{}: {}", self.path.display(), problem.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
