//! The journal of a command that changes something while no service runs.

use std::{error::Error, fmt::Display};

use crate::{
    config::Config,
    journal::{
        Identity,
        trail::{self, Trail},
    },
    state_dir::Owned,
};

/// Keeps what this command does until the result is dropped; nothing without a journal in the configuration.
pub(super) fn keep(config: &Config, owned: &Owned, command: &'static str) -> Result<Option<Trail>, Box<dyn Error>> {
    let Some(options) = config.journal.clone() else { return Ok(None) };
    let identity = Identity::of(owned.server_id(), &config.state_dir)?;
    Ok(Trail::begin(&identity, Some(options), command, None)?)
}

/// Tells what became of it.
pub(super) fn outcome<T, E: Display>(what: &str, detail: impl Display, done: &Result<T, E>) {
    trail::tell(what, |event| {
        let word = if done.is_ok() { "done" } else { "failed" };
        event.text("detail", detail).text("outcome", word).optional("problem", done.as_ref().err())
    });
}
