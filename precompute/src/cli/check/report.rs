//! What a check has found, as text or as one JSON document.
//!
//! Invariant: both are made from the same values, so a program that reads the document misses nothing that a person is
//! shown. It does not know what is checked.

use std::{error::Error, fmt, path::Path};

use program::Exit;
use serde::Serialize;

use super::{NotStrictlyInOrder, counted, refusals::Refusals};
use crate::{
    cli::end::{AlreadyTold, exit},
    config::ConfigError,
    output::{Finding, doubtful, say, well},
};

/// How a check is asked for.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct HowToTell {
    /// Treat warnings as failures: exit status 3.
    #[arg(long)]
    strict: bool,
    /// Print one JSON document instead of text: what is wrong, what is doubtful, and what was found in order.
    #[arg(long)]
    json: bool,
}

/// The document. Members may be added; those that are here keep their meaning while `format` stays.
#[derive(Serialize)]
struct Report<'r, F> {
    format: u32,
    program: &'r str,
    version: &'r str,
    commit: &'r str,
    /// The configuration file.
    file: String,
    /// Whether the exit status is 0.
    ok: bool,
    exit_status: u8,
    problems: &'r [Finding],
    /// `null` if the configuration is rejected.
    facts: Option<&'r F>,
}

const FORMAT: u32 = 1;

impl HowToTell {
    /// Prints what `program` has found in a configuration; the error has the exit status.
    pub fn tell<F: Serialize + fmt::Display>(
        self,
        program: &str,
        path: &Path,
        warnings: Vec<Finding>,
        checked: Result<F, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let Self { strict, json } = self;
        if !json {
            return tell_people(path, strict, &warnings, checked);
        }
        let exit = match &checked {
            Err(error) => exit(&**error),
            Ok(_) if strict && !warnings.is_empty() => Exit::NotInOrder,
            Ok(_) => Exit::Done,
        };
        let mut problems = checked.as_ref().err().map(|error| findings(&**error)).unwrap_or_default();
        problems.extend(warnings);
        let problems: Vec<_> = problems.into_iter().map(Finding::with_whole_path).collect();
        let report = Report {
            format: FORMAT,
            program,
            version: program::VERSION,
            commit: program::COMMIT,
            file: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
            ok: exit == Exit::Done,
            exit_status: exit.code(),
            problems: &problems,
            facts: checked.as_ref().ok(),
        };
        say(serde_json::to_string_pretty(&report)?)?;
        if exit == Exit::Done { Ok(()) } else { Err(AlreadyTold(exit).into()) }
    }
}

fn tell_people<F: fmt::Display>(
    path: &Path,
    strict: bool,
    warnings: &[Finding],
    checked: Result<F, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut lines = Vec::new();
    if let Ok(facts) = &checked {
        let order = match warnings.len() {
            0 => well("everything is in order").to_string(),
            count => doubtful(format!("in order, with {}", counted(count))).to_string(),
        };
        lines.push(format!("{}: {order}\n{facts}", path.display()));
    }
    lines.extend(warnings.iter().map(|warning| format!("{} {warning}", doubtful("WARNING:"))));
    if !lines.is_empty() {
        say(lines.join("\n"))?;
    }
    checked?;
    if strict && !warnings.is_empty() { Err(NotStrictlyInOrder(warnings.len()).into()) } else { Ok(()) }
}

/// The parts of an error.
fn findings(error: &(dyn Error + 'static)) -> Vec<Finding> {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        error.findings()
    } else if let Some(error) = error.downcast_ref::<Refusals>() {
        error.0.clone()
    } else {
        vec![Finding::error(error.to_string())]
    }
}
