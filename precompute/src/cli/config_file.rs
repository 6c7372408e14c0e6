//! Which configuration file a command takes.
//!
//! Invariant: the command line counts before the environment, and that before the usual place; a file that is named and
//! is not there is never replaced by another. Commands whose other arguments could be mistaken for a file take it by
//! `--config` alone. It does not read the file.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use clap::Args;
use program::{CONFIG_VARIABLE, DEFAULT_CONFIG};

/// By `--config FILE`, or by position.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// The configuration file. Without it: the one that OSTIA_CONFIG names, else /etc/ostia/ostia.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "config_by_position")]
    config: Option<PathBuf>,
    /// The configuration file, as with --config.
    #[arg(value_name = "CONFIG")]
    config_by_position: Option<PathBuf>,
}

/// By `--config FILE` alone.
#[derive(Args, Clone, Debug)]
pub(super) struct ConfigOption {
    /// The configuration file. Without it: the one that OSTIA_CONFIG names, else /etc/ostia/ostia.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file; whether it exists is not looked at.
    pub fn path(self) -> PathBuf {
        taken(self.config.or(self.config_by_position))
    }
}

impl ConfigOption {
    /// What an option of another command says.
    pub(super) fn of(config: Option<PathBuf>) -> Self {
        Self { config }
    }

    /// The file; whether it exists is not looked at.
    pub(super) fn path(&self) -> PathBuf {
        taken(self.config.clone())
    }
}

/// What is said of a file that the command line does not name, if there is one.
static REMARK: OnceLock<String> = OnceLock::new();

/// Where the configuration file was named, if that was not on the command line. It belongs beside every error, since
/// who reads that does not see the environment.
pub(super) fn remark() -> Option<&'static str> {
    REMARK.get().map(String::as_str)
}

fn taken(named: Option<PathBuf>) -> PathBuf {
    let (path, remark) = choose(named, env::var_os(CONFIG_VARIABLE));
    if let Some(remark) = remark {
        REMARK.get_or_init(|| remark);
    }
    path
}

/// The file, and what has to be said of where it was named. `variable`: the value of OSTIA_CONFIG; empty is as unset.
fn choose(named: Option<PathBuf>, variable: Option<OsString>) -> (PathBuf, Option<String>) {
    match (named, variable.filter(|value| !value.is_empty())) {
        (Some(path), _) => (path, None),
        (None, Some(value)) => {
            let path = PathBuf::from(value);
            let remark = format!("the configuration file is {}, as {CONFIG_VARIABLE} says", path.display());
            (path, Some(remark))
        }
        (None, None) => {
            let remark = format!(
                "the configuration file is {DEFAULT_CONFIG}, since none is named on the command line or by {CONFIG_VARIABLE}"
            );
            (Path::new(DEFAULT_CONFIG).to_owned(), Some(remark))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_counts_before_the_environment_and_that_before_the_usual_place() {
        for (named, variable, wanted, said) in [
            (Some("a.toml"), Some("b.toml"), "a.toml", None),
            (Some("a.toml"), None, "a.toml", None),
            (None, Some("b.toml"), "b.toml", Some("b.toml, as OSTIA_CONFIG says")),
            (None, Some(""), DEFAULT_CONFIG, Some("since none is named")),
            (None, None, DEFAULT_CONFIG, Some("since none is named")),
        ] {
            let (path, remark) = choose(named.map(PathBuf::from), variable.map(OsString::from));
            assert_eq!(path, Path::new(wanted), "{named:?} {variable:?}");
            assert_eq!(remark.is_some(), said.is_some(), "{remark:?}");
            assert!(remark.is_none_or(|remark| remark.contains(said.unwrap())), "{named:?} {variable:?}");
        }
    }
}
