//! What the sources of each issuer say, or why they are refused.

use std::{error::Error, fmt};

use tracing::warn;

use crate::{
    assemble::Assembly,
    engine::{EngineError, Survey, survey},
    output::{Finding, Severity, Where},
    pki::UnixTime,
};

/// Every source that is refused.
#[derive(Debug)]
pub struct Refusals(pub(super) Vec<Finding>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Error for Refusals {}

/// What the sources of each issuer say, with their doubts as warnings; an error names every source that is refused.
pub fn surveys(assembly: &Assembly, now: UnixTime) -> Result<Vec<Survey>, Refusals> {
    let (mut surveys, mut refused) = (Vec::new(), Vec::new());
    for (tenant, issuer, outcome) in survey(assembly, now) {
        match outcome {
            Ok(survey) => {
                for doubt in &survey.doubts {
                    warn!(tenant, issuer, "{doubt}");
                }
                surveys.push(survey);
            }
            Err(refusal) => {
                let text = refusal.to_string();
                // The other errors name their issuer.
                let line = match refusal {
                    EngineError::Source(_) | EngineError::Book(_) => format!("{tenant}/{issuer}: {text}"),
                    _ => text.clone(),
                };
                let place = Where { tenant: Some(tenant), issuer: Some(issuer), ..Where::default() };
                refused.push(Finding::new(Severity::Error, place, &text, line));
            }
        }
    }
    if refused.is_empty() { Ok(surveys) } else { Err(Refusals(refused)) }
}
