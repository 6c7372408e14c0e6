//! What the sources of each issuer say, or why they are refused.

use std::{error::Error, fmt};

use tracing::warn;

use crate::{
    assemble::{AssembledIssuer, Assembly},
    engine::{self, EngineError, IssuerState, States, Survey, Unsaid, survey},
    issuer::ca_revoked_since,
    output::{Finding, Severity, Where},
    pki::{Record, Serial, Status, UnixTime},
    records::Change,
    service::own_record,
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

/// What the sources of each issuer say, with their doubts as warnings; an error names every source that is refused, and the
/// issuers that may not leave.
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
                let (text, line) = (refusal.to_string(), refusal.told(assembly, Some((&tenant, &issuer))));
                let place = refusal.place(assembly, Some((&tenant, &issuer)));
                refused.push(Finding::new(Severity::Error, place, &text, line));
            }
        }
    }
    refused.extend(departed(assembly));
    if !refused.is_empty() {
        return Err(Refusals(refused));
    }
    warn_of_revoked_cas(assembly, &surveys);
    Ok(surveys)
}

/// Issuers that are no longer configured, and may not leave yet.
fn departed(assembly: &Assembly) -> Option<Finding> {
    let configured = assembly.issuers().map(|(_, issuer)| issuer.id.clone()).collect();
    let left = match engine::departed(&assembly.state_dir, &configured) {
        Ok(left) => left,
        Err(error) => return Some(Finding::error(error.to_string())),
    };
    let unsaid = left.into_iter().filter(|(left, may_leave)| left.records > 0 && !may_leave);
    let unsaid: Vec<_> = unsaid.map(|(left, _)| left).collect();
    let tenant = unsaid.first()?.issuer.tenant().to_owned();
    let refusal = EngineError::Departed(Unsaid(unsaid));
    let place = Where { tenant: Some(tenant), ..refusal.place(assembly, None) };
    Some(Finding::new(Severity::Error, place, &refusal.to_string(), refusal.told(assembly, None)))
}

/// Warns of issuers whose certificates would all be answered as revoked. `surveys`: in the order of the issuers.
fn warn_of_revoked_cas(assembly: &Assembly, surveys: &[Survey]) {
    let of_issuer = |((_, issuer), survey): ((_, &AssembledIssuer), &Survey)| {
        let (state, mut writer) = IssuerState::new(issuer.id.clone());
        let change = |(serial, status): &(Serial, Status)| {
            Change::new(*serial, Some(Record { status: *status, not_after: None }))
        };
        writer.apply(survey.cas.iter().map(change));
        state
    };
    let states: States = assembly.issuers().zip(surveys).map(of_issuer).collect();
    for (tenant, issuer) in assembly.issuers() {
        // There is a state of each.
        let own = own_record(tenant, issuer, &states).ok().flatten();
        if let Some(since) = ca_revoked_since(issuer.policy.ca_revoked, own.as_ref()) {
            let (tenant, issuer) = (&tenant.name, &issuer.name);
            warn!(
                tenant,
                issuer,
                "the CA's own certificate is revoked since {since}, and all its certificates are answered as revoked with it"
            );
        }
    }
}
