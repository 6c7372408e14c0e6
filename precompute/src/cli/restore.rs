//! `ostia-precompute restore`: takes a backup of the book back.
//!
//! Purpose: says what a file has and what it changes, and merges it where no process runs. Invariant: a file of another
//! cluster, or of issuers that nobody here has, is refused before anything is written. It does not know how a merge is
//! made.

use std::{collections::BTreeMap, error::Error, path::PathBuf};

use clap::Args;
use rustix::{fs::Mode, process::umask};

use super::{config_file::ConfigOption, kept, progress::Bar, read, status};
use crate::{
    backup::{Contents, Restore, Restored},
    config::Config,
    issuer_id::IssuerId,
    output::{say, shell_word},
    pki::UnixTime,
    state_dir::{self, Purpose},
};

const RESTORE: Purpose = Purpose::exclusive("ostia-precompute restore");

/// Which backup, and of what.
#[derive(Args, Debug)]
pub(super) struct RestoreOrder {
    /// Of the service, which must not run.
    #[command(flatten)]
    config: ConfigOption,
    /// A file that `snapshot` has written.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Issuers of the configuration, with names for people.
type Names = BTreeMap<IssuerId, String>;

impl RestoreOrder {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        // Nobody else may read what this makes.
        umask(Mode::RWXG | Mode::RWXO);
        let config = read(&self.config.path())?.finish()?;
        if state_dir::is_in_use(&config.state_dir) {
            // The error names who has it, and comes before a long file is read.
            state_dir::own(&config.state_dir, RESTORE)?;
        }
        let names: Names = status::issuers(&config)?.into_iter().collect();
        let restore = Restore { state_dir: &config.state_dir, file: &self.from, is_dry: self.dry_run };
        let mut bar = Bar::new("read");
        let contents = restore.read(&mut |records| bar.show(records, None))?;
        drop(bar);
        say(format_args!("{}: {contents}", self.from.display()))?;
        tell_issuers(&contents, &names)?;
        self.refuse(&config, &contents, &names)?;
        let owned = if self.dry_run { None } else { Some(state_dir::own(&config.state_dir, RESTORE)?) };
        let keep = |owned| kept::keep(&config, owned, "ostia-precompute restore");
        let trail = owned.as_ref().map(keep).transpose()?;
        let mut bar = Bar::new("merged");
        let restored = restore.run(&mut |records| bar.show(records, Some(contents.records)));
        kept::outcome("restore", self.from.display(), &restored);
        let restored = restored?;
        drop((bar, trail, owned));
        self.tell(&config, &contents, &restored, &names)
    }

    /// What is not of this configuration.
    fn refuse(&self, config: &Config, contents: &Contents, names: &Names) -> Result<(), String> {
        let path = self.config.path();
        let (file, configuration) = (self.from.display(), path.display());
        let own = config.feed.as_ref().map(|feed| feed.cluster.to_string());
        if let (Some(theirs), Some(own)) = (&contents.head.cluster, own)
            && *theirs != own
        {
            return Err(format!(
                "{file}: is of the cluster `{theirs}`, and {configuration} is of `{own}` (`feed.cluster`); name a backup of this cluster, or the configuration of that one"
            ));
        }
        let is_foreign = !contents.issuers.is_empty() && !contents.issuers.iter().any(|of| names.contains_key(&of.id));
        if is_foreign {
            return Err(format!(
                "{file}: none of its issuers is in {configuration}; name a backup of this service, or add the issuer to the configuration (an issuer is a CA in a tenant of a certain name)"
            ));
        }
        Ok(())
    }

    fn tell(
        &self,
        config: &Config,
        contents: &Contents,
        restored: &Restored,
        names: &Names,
    ) -> Result<(), Box<dyn Error>> {
        for (id, changes) in &restored.issuers {
            say(format_args!("{}: {changes}", named(id, names)))?;
        }
        if restored.is_unchanged() {
            return Ok(say("the book has all of it, and stays as it is")?);
        }
        if self.dry_run {
            return Ok(say("nothing was changed, since this is a dry run")?);
        }
        for (id, list) in &restored.lists {
            let (config, list) = (shell_word(&self.config.path().to_string_lossy()), list.display());
            say(format_args!(
                "{}: pushes have certificates on hold that the book had not: {list} lists them; of those that were released after the backup was made, with the service running: ostia-precompute release --config {config} --issuer {id} --file LIST",
                named(id, names)
            ))?;
        }
        if let Some(aside) = &restored.aside {
            say(format_args!("the former book is kept as {}; remove it when all is well", aside.display()))?;
        }
        let made = UnixTime(contents.head.made);
        say(match config.feed {
            Some(_) => format!(
                "restored; the sources are read again, and the writer takes from the feed what it has of the time since {made}; a revocation that was pushed since then is lost where neither the feed nor another writer has it"
            ),
            None => format!(
                "restored; the sources are read again; revocations and other pushes since {made} are NOT in the backup: push those again that no source lists"
            ),
        })?;
        Ok(())
    }
}

fn tell_issuers(contents: &Contents, names: &Names) -> Result<(), Box<dyn Error>> {
    for of in &contents.issuers {
        let is_known = names.contains_key(&of.id);
        let unknown = if is_known { "" } else { "; NOT in the configuration: kept in the book, and not answered" };
        say(format_args!("{}: the backup has {}{unknown}", named(&of.id, names), of.counts))?;
    }
    for (id, name) in names.iter().filter(|(id, _)| !contents.issuers.iter().any(|of| of.id == **id)) {
        say(format_args!("{}/{name}: NOT in the backup", id.tenant()))?;
    }
    Ok(())
}

fn named(id: &IssuerId, names: &Names) -> String {
    names.get(id).map_or_else(|| format!("{}, issuer {id}", id.tenant()), |name| format!("{}/{name}", id.tenant()))
}
