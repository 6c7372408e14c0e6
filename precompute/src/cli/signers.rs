//! `ostia-precompute signers`: who signs at the running service, until when, and whether it works.

use std::error::Error;

use clap::Args;
use serde_json::Value;

use super::{
    client::{Client, Reach},
    config_file::ConfigOption,
};
use crate::output::say;

/// Of which service.
#[derive(Args, Debug)]
pub(super) struct Signers {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    reach: Reach,
    /// Print the answer of the service as it is.
    #[arg(long)]
    json: bool,
}

/// Prints a line for each signer; an error if one does not work.
pub(super) fn run(asked: &Signers) -> Result<(), Box<dyn Error>> {
    let answer = Client::of(&asked.reach, &asked.config.path())?.get("/v1/signers")?;
    if asked.json {
        return Ok(say(&answer)?);
    }
    let signers = answer["signers"].as_array().map(Vec::as_slice).unwrap_or_default();
    signers.iter().map(line).try_for_each(say)?;
    let broken = signers.iter().filter(|signer| signer["works"] == false).count();
    if broken > 0 {
        return Err(format!("{broken} of {} signers do not work", signers.len()).into());
    }
    Ok(())
}

fn line(signer: &Value) -> String {
    let text = |name: &str| signer[name].as_str().unwrap_or("?").to_owned();
    let fault = signer["fault"].as_str();
    format!(
        "{}/{} {}: {}, {}; until {} ({} days), key {}; {}",
        text("tenant"),
        text("name"),
        text("kind"),
        text("subject"),
        text("algorithm"),
        text("not_after"),
        signer["days_left"],
        text("key_sha256"),
        fault.map_or("works".to_owned(), |fault| format!("does not work: {fault}"))
    )
}
