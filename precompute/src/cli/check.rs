//! `ostia-precompute check`: tries what `run` does at a start, without starting.
//!
//! Invariant: nothing is left behind, and a running service is not disturbed. It does not know the sections of the
//! responder, whose `check` tries what it serves with.

mod facts;
mod refusals;
mod report;

pub use facts::{CertificateFacts, IssuerFacts, StateFacts};
pub use refusals::{Refusals, surveys};
pub use report::HowToTell;

use std::{error::Error, fmt, path::Path};

use tracing::warn;

use self::facts::Facts;
use super::run as writer;
use crate::{
    assemble::{Assembly, Tokens, assemble},
    config::Document,
    journal::{self, trail},
    log,
    pki::UnixTime,
    purge, state_dir,
};

/// The error for warnings with `--strict`.
#[derive(Debug)]
pub(super) struct NotStrictlyInOrder(pub(super) usize);

impl fmt::Display for NotStrictlyInOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which --strict treats as failures", counted(self.0))
    }
}

impl Error for NotStrictlyInOrder {}

/// So many warnings, in words.
fn counted(warnings: usize) -> String {
    if warnings == 1 { "1 warning".into() } else { format!("{warnings} warnings") }
}

/// Checks a configuration, and prints what there is to say; the error is for the user.
pub(super) fn run(path: &Path, how: HowToTell) -> Result<(), Box<dyn Error>> {
    let (warnings, checked) = gathering(|| check(path, UnixTime::now()));
    how.tell("ostia-precompute", path, warnings, checked)
}

/// Has each cache forget what it cannot have: warns if that does not work. A start does not fail by it.
pub fn try_caches(assembly: &Assembly) {
    for target in &assembly.purge {
        if let Err(problem) = purge::try_out(target) {
            warn!(cache = target.name, url = %target.url, "the cache {problem}; until that is mended, it gives out old answers until their max-age is over");
        }
    }
}

/// What a check finds, and its warnings. What is wrong with the environment is an error like any other.
pub fn gathering<F>(
    check: impl FnOnce() -> Result<F, Box<dyn Error>>,
) -> (Vec<crate::output::Finding>, Result<F, Box<dyn Error>>) {
    match log::gather() {
        Ok(warnings) => {
            let checked = check();
            (warnings.take(), checked)
        }
        Err(refused) => (Vec::new(), Err(refused.into())),
    }
}

fn check(path: &Path, now: UnixTime) -> Result<Facts, Box<dyn Error>> {
    let document = Document::open(path)?.to_be_checked();
    let reading = super::reading(&document).with(|config, problems| {
        writer::check_writer(config, problems);
        if let Some(Err(problem)) =
            config.journal.as_ref().map(|options| journal::check(trail::KIND, options, &config.state_dir))
        {
            problems.at(&config.place).problem_that_may_pass("journal", problem);
        }
        assemble(config, problems, &Tokens::default(), now)
    });
    let (config, assembly) = reading.finish()?;
    if let Err(error) = state_dir::try_server(&config.state_dir) {
        warn!("{error}");
    }
    if let Some((doubt, _)) = config.journal.as_ref().and_then(|options| journal::doubt(options, &config.state_dir)) {
        warn!("{doubt}");
    }
    try_caches(&assembly);
    let surveys = surveys(&assembly, now)?;
    let issuers = assembly.issuers().zip(&surveys);
    let issuers = issuers.map(|((tenant, issuer), survey)| IssuerFacts::of(tenant, issuer, Some(survey)));
    Ok(Facts { state: StateFacts::of(&config.state_dir), issuers: issuers.collect() })
}
