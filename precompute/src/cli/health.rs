//! `health`: whether the running service is ready, as its exit status, for containers and scripts that have no HTTP client.
//!
//! Invariant: it succeeds only where `/readyz` says 200. It does not know what ready means.

use std::{error::Error, path::Path};

use ureq::Agent;

use super::client::reach::agent_of;
use crate::{config::Admin, limits, output::say};

/// Asks the service that runs with this configuration, for both programs. A file that cannot be read is no reason to call a
/// running service ill: it goes on with the one before, and is asked at the usual address.
pub fn run(config: &Path) -> Result<(), Box<dyn Error>> {
    let builder = Agent::config_builder().timeout_global(Some(limits::HEALTH_ANSWER_MAX));
    let (agent, base) = agent_of(&Admin::of(config).unwrap_or_default(), builder)?;
    let url = format!("{base}/readyz");
    let silent = |error: ureq::Error| format!("{url}: {error}; does the service run?");
    let mut response = agent.get(&url).call().map_err(silent)?;
    let told = response.body_mut().with_config().limit(limits::CLIENT_ANSWER_OCTETS_MAX).read_to_string();
    let told = told.map_err(silent)?.trim_end().to_owned();
    if response.status() == 200 { Ok(say(told)?) } else { Err(told.into()) }
}
