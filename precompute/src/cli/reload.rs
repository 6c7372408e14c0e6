//! `reload`: has the running service read its configuration again, and tells how that went.
//!
//! Invariant: it succeeds only if the service has taken the file that was named: the service is found by the state directory,
//! which several files may name, and it reads the one that it was started with. A file that cannot be read is told by the service as well,
//! which is found by `STATE_DIRECTORY` then, as systemd sets it. It does not know what the service reads.

use std::{
    env,
    error::Error,
    io::{Write as _, stderr},
    path::{Path, PathBuf},
};

use crate::{
    config::Config,
    output::say,
    service::reload_socket::{self, Heard, Unheard, is_same_file},
};

/// Runs it, for both programs.
pub fn run(config: &Path) -> Result<(), Box<dyn Error>> {
    let in_file = Config::state_dir_of(config);
    let of_systemd = env::var("STATE_DIRECTORY").ok().and_then(|all| all.split(':').next().map(PathBuf::from));
    let mut nobody = None;
    for state_dir in in_file.as_ref().ok().into_iter().chain(&of_systemd) {
        match reload_socket::ask(state_dir) {
            Ok(heard) => return tell(config, &heard),
            Err(Unheard::Lost(error)) => {
                return Err(format!(
                    "{}: the service did not say how the reload went: {error}; its log does",
                    state_dir.display()
                )
                .into());
            }
            Err(Unheard::NobodyThere(error)) => drop(nobody.get_or_insert((state_dir.clone(), error))),
        }
    }
    let (state_dir, error) = match (in_file, nobody) {
        (Err(problem), _) => return Err(problem.into()),
        (Ok(state_dir), None) => return Err(format!("{}: no service was asked", state_dir.display()).into()),
        (Ok(_), Some(nobody)) => nobody,
    };
    Err(format!(
        "{}: no service is there to be asked for a reload: {error}; it has to run with this `state_dir` (a changed one is used from the next start on), and the user of the service and root may ask",
        state_dir.display()
    )
    .into())
}

/// Says how it went, with all warnings on standard error.
fn tell(config: &Path, Heard { file, verdict }: &Heard) -> Result<(), Box<dyn Error>> {
    let of_another = file.as_deref().filter(|file| !is_same_file(file, config));
    let lines = verdict.as_deref().unwrap_or_default();
    lines.iter().for_each(|line| drop(writeln!(stderr(), "warning: {line}")));
    match (of_another, verdict) {
        (None, Ok(_)) => Ok(say(format_args!("{}: the service has read it again", config.display()))?),
        (None, Err(problem)) => Err(format!("{problem}; the service goes on as it was").into()),
        (Some(file), verdict) => {
            let outcome = match verdict {
                Ok(_) => "it has read that one again".to_owned(),
                Err(problem) => format!("it has refused that one: {problem}"),
            };
            let (named, file) = (config.display(), file.display());
            Err(format!(
                "{named}: the service does not read this file, and nothing of it is in use: it was started with {file}; {outcome}; name that file, or start the service anew with `--config {named}`"
            )
            .into())
        }
    }
}
