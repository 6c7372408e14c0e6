//! `ostia-precompute usage`: how many time-stamps each client of each tenant has had in a month.
//!
//! Invariant: what is printed is what this server has counted, as of its last save; servers are summed by whoever has the output
//! of each. It reads files alone, beside a service or without one.

use std::error::Error;

use clap::Args;
use serde::Serialize;

use super::{config_file::ConfigOption, read};
use crate::{
    output::say,
    pki::UnixTime,
    usage::{self, Month, Used},
};

/// Which month, and in which form.
#[derive(Args, Debug)]
pub(super) struct Usage {
    /// Of the service that makes time-stamps.
    #[command(flatten)]
    config: ConfigOption,
    /// The month, in UTC, such as 2026-11; by default the present one.
    #[arg(long, value_name = "MONTH", value_parser = parse_month)]
    month: Option<String>,
    /// One tenant alone.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// One JSON document.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV with a heading.
    #[arg(long)]
    csv: bool,
}

fn parse_month(text: &str) -> Result<String, String> {
    if usage::is_month(text) { Ok(text.to_owned()) } else { Err("expected a year and a month, such as 2026-11".into()) }
}

/// What is printed in JSON.
#[derive(Serialize)]
struct Document<'m> {
    format: u32,
    month: &'m str,
    server: Option<&'m str>,
    usage: Vec<&'m Used>,
}

impl Usage {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let config = read(&self.config.path())?.finish()?;
        if let Some(name) =
            self.tenant.as_ref().filter(|name| config.tenants.iter().all(|tenant| tenant.name != **name))
        {
            // It may have been one in that month.
            tracing::warn!(tenant = name, "no tenant of this name is configured now");
        }
        let month = self.month.unwrap_or_else(|| usage::month_of(UnixTime::now()));
        let counted = usage::month(&config.state_dir, &month)?;
        let is_wanted = |used: &&Used| self.tenant.as_ref().is_none_or(|name| used.account.tenant == *name);
        let used: Vec<&Used> = counted.iter().flat_map(|month| &month.used).filter(is_wanted).collect();
        let server = counted.as_ref().map(|month: &Month| month.server.as_str());
        if self.json {
            return Ok(say(serde_json::to_string(&Document { format: 1, month: &month, server, usage: used })?)?);
        }
        if self.csv {
            say("month,server,tenant,tsa,client,granted,over_quota")?;
            return used.iter().try_for_each(|used| Ok(say(csv(&month, server.unwrap_or_default(), used))?));
        }
        if used.is_empty() {
            return Ok(say(format_args!("{month}: no time-stamps were counted here"))?);
        }
        used.iter().try_for_each(|used| {
            let account = &used.account;
            let client = account.client.as_deref().unwrap_or("(none that is configured)");
            let over = match used.over_quota {
                0 => String::new(),
                over => format!(", and {over} requests over the quota"),
            };
            say(format_args!("{month} {}/{} {client}: {} time-stamps{over}", account.tenant, account.tsa, used.granted))
        })?;
        Ok(())
    }
}

/// Names have no comma and no quote.
fn csv(month: &str, server: &str, Used { account, granted, over_quota }: &Used) -> String {
    let client = account.client.as_deref().unwrap_or_default();
    format!("{month},{server},{},{},{client},{granted},{over_quota}", account.tenant, account.tsa)
}
