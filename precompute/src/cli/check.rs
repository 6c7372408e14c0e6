//! `ostia-precompute check`: tries what `run` does at a start, without starting.
//!
//! Invariant: nothing is left behind, and a running service is not disturbed. It does not know the sections of the
//! responder, whose `check` tries what it serves with.

use std::{error::Error, fmt, path::Path};

use tracing::warn;

use super::run::{self, Rejected};
use crate::{
    assemble::{Assembly, Tokens, assemble},
    config::{Config, ConfigError, Document},
    engine::{EngineError, Survey, survey},
    journal::{self, trail},
    log,
    output::say,
    pki::UnixTime,
    state_dir,
};

/// The error for warnings with `--strict`.
#[derive(Debug)]
pub struct NotStrictlyInOrder(pub usize);

impl fmt::Display for NotStrictlyInOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which --strict treats as failures", counted(self.0))
    }
}

impl Error for NotStrictlyInOrder {}

/// So many warnings, in words.
pub fn counted(warnings: usize) -> String {
    if warnings == 1 { "1 warning".into() } else { format!("{warnings} warnings") }
}

/// Checks a configuration, and prints what there is to say; the error is for the user.
pub(super) fn run(path: &Path, strict: bool) -> Result<(), Box<dyn Error>> {
    let warnings = log::gather();
    let checked = check(path, UnixTime::now());
    let warnings = warnings.take();
    let mut lines = Vec::new();
    if let Ok((config, assembly, surveys)) = &checked {
        let with = if warnings.is_empty() { String::new() } else { format!(", with {}", counted(warnings.len())) };
        lines.push(format!("{}: in order{with}", path.display()));
        lines.push(format!("  state in {}", config.state_dir.display()));
        for ((tenant, issuer), survey) in assembly.issuers().zip(surveys) {
            let signers: Vec<_> = issuer
                .signers
                .all()
                .iter()
                .map(|signer| format!("{} until {}", signer.algorithm(), signer.not_after()))
                .collect();
            lines.push(format!(
                "  {}/{}: signs with {}, {} certificates",
                tenant.name,
                issuer.name,
                signers.join("; "),
                survey.listed
            ));
        }
    }
    lines.extend(warnings.iter().map(|warning| format!("WARNING: {warning}")));
    if !lines.is_empty() {
        say(lines.join("\n"))?;
    }
    checked?;
    if strict && !warnings.is_empty() { Err(NotStrictlyInOrder(warnings.len()).into()) } else { Ok(()) }
}

type Checked = (Config, Assembly, Vec<Survey>);

fn check(path: &Path, now: UnixTime) -> Result<Checked, Box<dyn Error>> {
    let told =
        |error: ConfigError| -> Box<dyn Error> { if error.may_pass() { error.into() } else { Rejected(error).into() } };
    let document = Document::open(path).map_err(told)?.to_be_checked();
    let reading = super::reading(&document).with(|config, problems| {
        run::check_writer(config, problems);
        if let Some(Err(problem)) = config.journal.as_ref().map(|options| journal::check(trail::KIND, options)) {
            problems.at(&config.place).problem_that_may_pass("journal", problem);
        }
        assemble(config, problems, &Tokens::default(), now)
    });
    let (config, assembly) = reading.finish().map_err(told)?;
    if let Err(error) = state_dir::try_server(&config.state_dir) {
        warn!("{error}");
    }
    if let Some((doubt, _)) = config.journal.as_ref().and_then(|options| journal::doubt(options, &config.state_dir)) {
        warn!("{doubt}");
    }
    let surveys = surveys(&assembly, now)?;
    Ok((config, assembly, surveys))
}

/// What the sources of each issuer say, with their doubts as warnings; an error names every source that is refused.
pub fn surveys(assembly: &Assembly, now: UnixTime) -> Result<Vec<Survey>, String> {
    let (mut surveys, mut problems) = (Vec::new(), Vec::new());
    for (tenant, issuer, outcome) in survey(assembly, now) {
        match outcome {
            Ok(survey) => {
                for doubt in &survey.doubts {
                    warn!(tenant, issuer, "{doubt}");
                }
                surveys.push(survey);
            }
            Err(refusal @ (EngineError::Source(_) | EngineError::Book(_))) => {
                problems.push(format!("{tenant}/{issuer}: {refusal}"));
            }
            // The other errors name their issuer.
            Err(refusal) => problems.push(refusal.to_string()),
        }
    }
    if problems.is_empty() { Ok(surveys) } else { Err(problems.join("\n")) }
}
