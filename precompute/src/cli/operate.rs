//! `handover` and `promote`: which writer of a feed leads.
//!
//! It asks the running writer, and does not know how one takes over.

use std::{error::Error, path::Path};

use serde_json::json;

use super::{
    client::{Client, ClientError, Reach},
    config_file::ConfigFile,
};
use crate::{api::problem::Kind, output::say, service::Asked};

/// Which configuration the writer runs with.
#[derive(clap::Args, Debug)]
pub(super) struct Operate {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    reach: Reach,
}

impl Operate {
    pub(super) fn run(self, asked: Asked) -> Result<(), Box<dyn Error>> {
        ask(&self.reach, &self.config.path(), asked)
    }
}

fn ask(reach: &Reach, config: &Path, asked: Asked) -> Result<(), Box<dyn Error>> {
    let answer = Client::of(reach, config)?.post(&format!("/v1/feed/{asked}"), &json!({}), None);
    match answer {
        Ok(answer) => Ok(say(answer["note"].as_str().unwrap_or("done"))?),
        Err(ClientError::Refused(problem)) if problem.kind == Some(Kind::NotFound) => {
            Err(format!("{}: {}", config.display(), problem.detail).into())
        }
        Err(error) => Err(error.into()),
    }
}
