//! `ostia-precompute server decommission`.
//!
//! Where the writer of this configuration runs it is asked, so that its journal has it; else it is done here, and kept in the same
//! journal. It does not know how a server is taken off the list.

use std::error::Error;

use clap::Args;
use serde_json::json;

use super::{
    super::{
        client::{Client, ClientError, Reach, segment},
        config_file::ConfigOption,
        kept,
    },
    membership,
};
use crate::{
    api::EVEN_IF_ALIVE,
    journal::trail,
    output::say,
    service::registry::NotDecommissioned,
    state_dir::{self, Purpose},
};

const DECOMMISSION: Purpose = Purpose::askable("ostia-precompute server decommission");

/// Which server.
#[derive(Args, Debug)]
pub(in crate::cli) struct Decommission {
    /// Its identity, the beginning of it (eight letters at least), or its name.
    #[arg(value_name = "ID")]
    server: String,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    reach: Reach,
    /// Also if it was heard of late.
    #[arg(long)]
    even_if_alive: bool,
}

impl Decommission {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let path = self.config.path();
        let state_dir = super::state_dir_of(&path)?;
        if state_dir::is_in_use(&state_dir) {
            let path_of_it = format!("/v1/servers/{}/decommission", segment(&self.server));
            let asked = json!({ EVEN_IF_ALIVE: self.even_if_alive });
            let answer = match Client::of(&self.reach, &path)?.post(&path_of_it, &asked, None) {
                Err(ClientError::Refused(problem)) if problem.member.as_deref() == Some(EVEN_IF_ALIVE) => {
                    return Err(or_even_so(&problem.detail).into());
                }
                answer => answer?,
            };
            return done(answer["called"].as_str().unwrap_or(&self.server));
        }
        let (config, membership) = membership(&path, true)?;
        let owned = state_dir::own(&state_dir, DECOMMISSION)?;
        let _trail = kept::keep(&config, &owned, "ostia-precompute server decommission")?;
        let outcome = membership.decommission(&self.server, self.even_if_alive);
        trail::tell("decommission", |event| {
            let word = if outcome.is_ok() { "done" } else { "refused" };
            let server = outcome.as_ref().ok().map(|(server, _)| server);
            let event = event.text("asked", &self.server).optional("decommissioned", server);
            event.text("outcome", word).optional("problem", outcome.as_ref().err())
        });
        match outcome {
            Ok((_, called)) => done(&called),
            Err(NotDecommissioned::Lives(problem)) => Err(or_even_so(&problem).into()),
            Err(NotDecommissioned::Refused(problem)) => Err(problem.into()),
        }
    }
}

fn or_even_so(problem: &str) -> String {
    format!("{problem}, or say `--even-if-alive`")
}

fn done(called: &str) -> Result<(), Box<dyn Error>> {
    Ok(say(format_args!("{called} is off the list; if it comes back, the writers and it say so"))?)
}
