//! `ostia-precompute config`: versions of the configuration that replicas take from the feed.
//!
//! It asks the running writer, and does not know how a version is told.

use std::{error::Error, path::Path};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    client::{Client, ClientError, Reach},
    config_file::{ConfigFile, ConfigOption},
};
use crate::{api::problem::Kind, output::say};

#[derive(Subcommand, Debug)]
pub(super) enum Configuration {
    /// Publish the tenants that the running writer has: every replica with `configuration = "published"` takes them.
    Publish {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the versions that were published, the newest first.
    List {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        reach: Reach,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the tenants of a version, in TOML.
    Show {
        /// Its number.
        version: u64,
        #[command(flatten)]
        config: ConfigOption,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print what differs between two versions, or between one and what the writer runs with.
    Diff {
        /// The number of the first.
        version: u64,
        /// The number of the second. Without it: what the writer runs with.
        other: Option<u64>,
        #[command(flatten)]
        config: ConfigOption,
        #[command(flatten)]
        reach: Reach,
    },
    /// Publish once more what an earlier version says, under a new number.
    Rollback {
        /// Its number.
        version: u64,
        #[command(flatten)]
        config: ConfigOption,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) fn run(command: Configuration) -> Result<(), Box<dyn Error>> {
    match command {
        Configuration::Publish { config, reach } => made(&reach, &config.path(), "/v1/configurations"),
        Configuration::Rollback { version, config, reach } => {
            made(&reach, &config.path(), &format!("/v1/configurations/{version}/rollback"))
        }
        Configuration::List { config, reach, json } => list(&reach, &config.path(), json),
        Configuration::Show { version, config, reach } => {
            let shown = get(&reach, &config.path(), &format!("/v1/configurations/{version}"))?;
            Ok(say(shown["tenants"].as_str().unwrap_or_default().trim_end())?)
        }
        Configuration::Diff { version, other, config, reach } => {
            let other = other.map_or("own".to_owned(), |other| other.to_string());
            let answer = get(&reach, &config.path(), &format!("/v1/configurations/{version}/difference/{other}"))?;
            let changed = texts(&answer["changed"]);
            if changed.is_empty() {
                return Ok(say("nothing differs")?);
            }
            Ok(changed.into_iter().try_for_each(say)?)
        }
    }
}

fn get(reach: &Reach, config: &Path, path: &str) -> Result<Value, Box<dyn Error>> {
    of_feed(config, Client::of(reach, config)?.get(path))
}

fn of_feed(config: &Path, answer: Result<Value, ClientError>) -> Result<Value, Box<dyn Error>> {
    match answer {
        Err(ClientError::Refused(problem)) if problem.kind == Some(Kind::NotFound) => {
            Err(format!("{}: {}", config.display(), problem.detail).into())
        }
        answer => Ok(answer?),
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

fn made(reach: &Reach, config: &Path, path: &str) -> Result<(), Box<dyn Error>> {
    let answer = of_feed(config, Client::of(reach, config)?.post(path, &json!({}), None))?;
    say(format_args!(
        "version {} is published ({})",
        answer["version"],
        answer["digest"].as_str().unwrap_or_default()
    ))?;
    for key in texts(&answer["changed"]) {
        say(format_args!("  changed: {key}"))?;
    }
    let unpublished = texts(&answer["unpublished"]);
    if !unpublished.is_empty() {
        say(
            "the writer itself runs with something else; change its file to this as well, or its answers and those of replicas differ:",
        )?;
        for key in unpublished {
            say(format_args!("  differs: {key}"))?;
        }
    }
    Ok(say("`ostia-precompute server list` shows which replicas have taken it, and why one has not")?)
}

fn list(reach: &Reach, config: &Path, json: bool) -> Result<(), Box<dyn Error>> {
    let answer = get(reach, config, "/v1/configurations")?;
    if json {
        return Ok(say(serde_json::to_string_pretty(&answer)?)?);
    }
    let versions = answer["versions"].as_array().cloned().unwrap_or_default();
    if versions.is_empty() {
        return Ok(say("no configuration was published yet")?);
    }
    for version in versions {
        let text = |name: &str| version[name].as_str().unwrap_or_default().to_owned();
        say(format_args!("{}  {}  {}", version["version"], text("published"), text("digest")))?;
    }
    let unpublished = texts(&answer["unpublished"]);
    if !unpublished.is_empty() {
        say(format_args!("the writer runs with something else than the newest: {}", unpublished.join(", ")))?;
    }
    Ok(())
}
