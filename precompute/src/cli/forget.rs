//! `ostia-precompute forget`: lets an issuer leave the configuration although the book has of it what no source says.
//!
//! Invariant: an issuer that is configured is not let go of, nor is one of which the book knows nothing: a word that means
//! nothing now would count later. Nothing is removed from the book. It runs beside a service, and opens no key.

use std::{collections::HashSet, error::Error, path::Path};

use clap::Args;

use super::{config_file::ConfigOption, read};
use crate::{
    engine::{Departed, beside, departed, forget},
    issuer_id::IssuerId,
    output::say,
    pki::{certificates, hex::Hex},
};

/// Which issuers.
#[derive(Args, Debug)]
pub(super) struct Forget {
    /// Of the service, without the issuers that leave.
    #[command(flatten)]
    config: ConfigOption,
    /// Issuers as the refusal names them: 64 hexadecimal digits, or the first 8. Without any, those that the configuration
    /// lacks are listed.
    #[arg(value_name = "ISSUER")]
    issuers: Vec<String>,
}

impl Forget {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let path = self.config.path();
        let config = read(&path)?.finish()?;
        let mut configured = HashSet::new();
        for (tenant, issuer) in
            config.tenants.iter().flat_map(|tenant| tenant.issuers.iter().map(move |of| (tenant, of)))
        {
            if let Some(certificate) = certificates(&issuer.certificate)?.first() {
                configured.insert(IssuerId::of(&tenant.name, certificate));
            }
        }
        let departed = departed(&config.state_dir, &configured)?;
        if self.issuers.is_empty() {
            return list(&departed);
        }
        let beside = beside(&config.state_dir, &configured)?;
        let named = |text: &String| named(text, &departed, &configured, &path);
        let named = |text: &String| stays(text, &beside, &path).map_or_else(|| named(text), Err);
        let meant = self.issuers.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        let by = format!("uid:{}", rustix::process::getuid().as_raw());
        forget(&config.state_dir, meant.iter().copied(), &by)?;
        for departed in meant {
            say(format_args!(
                "{departed}: may leave; the book keeps them, and they count again if the issuer is configured again"
            ))?;
        }
        Ok(say("now start or reload the service; with a feed, say the same to each writer")?)
    }
}

fn list(departed: &[(Departed, bool)]) -> Result<(), Box<dyn Error>> {
    for (departed, may_leave) in departed.iter().filter(|(departed, _)| departed.records > 0) {
        let what = if *may_leave { "may leave" } else { "is asked about" };
        say(format_args!("{}  {departed}; {what}", departed.issuer))?;
    }
    if departed.iter().all(|(departed, _)| departed.records == 0) {
        say("the book has nothing of issuers that are not configured that no source says")?;
    }
    Ok(())
}

fn is_it(text: &str, id: &IssuerId) -> bool {
    let text = text.to_ascii_lowercase();
    [id.to_string(), Hex(id.fingerprint()).to_string()].contains(&text)
}

/// Why the issuer that is meant may not be let go of: its CA is in the file under another tenant.
fn stays(text: &str, beside: &[(IssuerId, IssuerId)], path: &Path) -> Option<String> {
    let (gone, present) = beside.iter().find(|(gone, _)| is_it(text, gone))?;
    let (former, tenant, file) = (gone.tenant(), present.tenant(), path.display());
    Some(format!(
        "{text}: the same CA is in {file} under the tenant `{tenant}`, whose answers would say *good* of what was pushed: write `formerly = \"{former}\"` under `{tenant}`, which keeps the records, or stop the service and run `ostia-precompute sync --carry-over --config {file}` once"
    ))
}

/// The issuer that is meant.
fn named<'d>(
    text: &str,
    departed: &'d [(Departed, bool)],
    configured: &HashSet<IssuerId>,
    path: &Path,
) -> Result<&'d Departed, String> {
    let is_it = |id: &IssuerId| is_it(text, id);
    if configured.iter().any(is_it) {
        return Err(format!("{text}: is an issuer of {}: remove it there first, and then run this", path.display()));
    }
    let mut found = departed.iter().filter(|(departed, _)| is_it(&departed.issuer));
    match (found.next(), found.next()) {
        (Some((departed, _)), None) => Ok(departed),
        (Some(_), Some(_)) => Err(format!("{text}: is the beginning of several issuers: give all 64 digits")),
        (None, _) => Err(format!(
            "{text}: the book knows no such issuer that has left the configuration: run the command without an issuer, which lists them"
        )),
    }
}
