//! `ostia-precompute audit`: verifies journals, and hands out one tenant's part of them: no service is asked, and no
//! configuration is read. `log` asks the running service.

use std::{error::Error, fs, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{
    audit::{self, Group, Key, Report},
    output::say,
    pki::hex,
};

mod log;

#[derive(Subcommand, Debug)]
pub(super) enum Audit {
    /// Print the latest lines of the journal of the running service.
    Log(log::Log),
    /// Find any line that was changed, removed, inserted or swapped, and say where. Fails if there is one.
    Verify {
        #[command(flatten)]
        journal: Files,
    },
    /// Write one tenant's lines into a file that `audit verify` takes, with hashes in place of all others.
    Export {
        #[command(flatten)]
        journal: Files,
        /// The tenant.
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// The name of the journal, where there are several, such as `service`.
        #[arg(long = "journal", value_name = "NAME")]
        of: Option<String>,
        /// New file for its part.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_journal_of_several_is_chosen_by_its_name_and_a_refusal_says_how() {
        let group = |server: &str, journal: &str| Group {
            server: server.into(),
            journal: journal.into(),
            files: vec![format!("/{server}/{journal}.jsonl").into()],
        };
        let (service, ocsp, other) = (group("a", "service"), group("a", "ocsp"), group("b", "service"));
        let both = || vec![service.clone(), ocsp.clone()];
        assert_eq!(one(vec![service.clone()], None), Ok(service.clone()));
        assert_eq!(one(both(), Some("ocsp")), Ok(ocsp.clone()));
        for (groups, name, words) in [
            (
                both(),
                None,
                "`service` of server a (/a/service.jsonl), `ocsp` of server a (/a/ocsp.jsonl); choose one by `--journal NAME`",
            ),
            (both(), Some("tokens"), "no journal is called `tokens`; there are `service`"),
            (vec![service.clone(), other.clone()], None, "name the files of one"),
            (
                vec![service, other, ocsp],
                Some("service"),
                "`service` of server b (/b/service.jsonl); name the files of one",
            ),
        ] {
            let refused = one(groups, name).unwrap_err();
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct Files {
    /// Files of a journal in any order, or directories with them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The public key that counts, as `ostia-precompute server show` tells it. Without it, the one in the files does.
    #[arg(long, value_name = "HEX", value_parser = key)]
    key: Option<Key>,
}

fn key(text: &str) -> Result<Key, String> {
    hex::array(text).ok_or_else(|| "a key has 64 hexadecimal digits; `ostia-precompute server show` tells it".into())
}

impl Files {
    /// The journals among them.
    fn groups(&self) -> Result<Vec<Group>, Box<dyn Error>> {
        let (groups, others) = audit::find(&self.paths)?;
        if let Some(other) = others.first() {
            return Err(format!("{}: is no journal: its first line is none", other.display()).into());
        }
        if groups.is_empty() {
            let names: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(format!("no journal is in {}", names.join(", ")).into());
        }
        Ok(groups)
    }
}

pub(super) fn run(command: Audit) -> Result<(), Box<dyn Error>> {
    match command {
        Audit::Log(log) => log::run(&log),
        Audit::Verify { journal } => verify(&journal),
        Audit::Export { journal, tenant, of, out } => {
            let Group { files, .. } = &one(journal.groups()?, of.as_deref())?;
            let (report, count) = audit::export(files, journal.key, &tenant, &out)?;
            if !report.is_in_order() {
                say(&report)?;
                return Err("nothing was exported: the journal was changed after it was written".into());
            }
            if count == 0 {
                // It was just made, and is of no use.
                let _ = fs::remove_file(&out);
                return Err(format!("no line is of the tenant `{tenant}`: is that its name?").into());
            }
            let (lines, out) = (report.lines, out.display());
            Ok(say(format_args!(
                "{out}: {count} lines of `{tenant}`, with the hashes of others: {lines} lines in all"
            ))?)
        }
    }
}

/// The journal with this name; without one, the only one.
fn one(groups: Vec<Group>, name: Option<&str>) -> Result<Group, String> {
    let is_it = |group: &&Group| name.is_none_or(|name| group.journal == name);
    let found: Vec<Group> = groups.iter().filter(is_it).cloned().collect();
    match (&found[..], name) {
        ([one], _) => Ok(one.clone()),
        ([], Some(name)) => Err(format!("no journal is called `{name}`; there are {}", named(&groups))),
        (_, None) if groups.iter().any(|group| group.journal != groups[0].journal) => {
            Err(format!("there are several journals: {}; choose one by `--journal NAME`", named(&groups)))
        }
        _ => Err(format!("there are several journals: {}; name the files of one", named(&found))),
    }
}

fn verify(journal: &Files) -> Result<(), Box<dyn Error>> {
    let groups = journal.groups()?;
    let reports = groups.iter().map(|group| audit::verify(&group.files, journal.key));
    let reports = reports.collect::<Result<Vec<Report>, _>>()?;
    reports.iter().try_for_each(say)?;
    let faults: u64 = reports.iter().map(|report| report.faults_all).sum();
    if faults > 0 {
        return Err(format!("{faults} faults: it was changed after it was written").into());
    }
    if groups.iter().any(|group| group.server != groups[0].server) {
        let named = named(&groups);
        return Err(format!(
            "the files are of several servers: {named}; if they were not put together on purpose, files were swapped"
        )
        .into());
    }
    Ok(())
}

fn named(groups: &[Group]) -> String {
    let one = |Group { server, journal, files }: &Group| {
        let first = files.first().map(|file| file.display().to_string()).unwrap_or_default();
        format!("`{journal}` of server {server} ({first})")
    };
    groups.iter().map(one).collect::<Vec<_>>().join(", ")
}
