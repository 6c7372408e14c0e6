//! `ostia-precompute audit log`: the journal as the running service tells it.

use std::error::Error;

use clap::Args;
use serde_json::Value;

use super::super::{
    client::{Client, Reach, segment},
    config_file::ConfigOption,
};
use crate::output::say;

/// Which lines.
#[derive(Args, Debug)]
pub(in super::super) struct Log {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    reach: Reach,
    /// Lines of this tenant only.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Lines of this type only, such as `push`.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Lines about this certificate only: its serial number in hexadecimal.
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// Lines from this time on, such as 2026-11-30T08:30:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Lines before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many lines at most, the latest.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,
    /// Have the service verify the whole journal as well; fails if it was changed.
    #[arg(long)]
    verify: bool,
    /// Print the answer of the service as it is.
    #[arg(long)]
    json: bool,
}

impl Log {
    fn path(&self) -> String {
        let parameters = [
            ("tenant", &self.tenant),
            ("type", &self.kind),
            ("serial", &self.serial),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let given =
            parameters.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", segment(value.as_ref()?))));
        format!("/v1/audit?limit={}&verify={}{}", self.limit, self.verify, given.collect::<String>())
    }
}

/// Prints them, the latest last, as logs have them.
pub(super) fn run(log: &Log) -> Result<(), Box<dyn Error>> {
    let answer = Client::of(&log.reach, &log.config.path())?.get(&log.path())?;
    let verified = &answer["verified"];
    if log.json {
        say(&answer)?;
    } else {
        let lines = answer["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        lines.iter().rev().map(line).try_for_each(say)?;
        if let Some(before) = answer["before"].as_u64() {
            say(format_args!("there may be more before line {before}; see `--limit` and `--until`"))?;
        }
        let faults = verified["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
        faults.iter().try_for_each(|fault| say(format_args!("FAULT {}", fault.as_str().unwrap_or_default())))?;
        if verified["in_order"] == true {
            let head = verified["last_head"].as_str().unwrap_or("none");
            say(format_args!("the journal is in order; it was last signed at {head}"))?;
        }
    }
    if verified["in_order"] == false {
        return Err("the journal was changed after it was written".into());
    }
    Ok(())
}

/// Time, type and the members that say something.
fn line(line: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut told = format!("{} {}", text(&line["at"]), text(&line["type"]));
    for (name, value) in line.as_object().into_iter().flatten() {
        if !["at", "type", "server", "salt", "prev", "seq", "signature"].contains(&name.as_str()) {
            told += &format!(" {name}={}", text(value));
        }
    }
    told
}
