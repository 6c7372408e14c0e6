//! `ostia-precompute server`: the identity of the server that a state directory belongs to, and the servers of its cluster.

mod decommission;
mod list;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{config_file::ConfigFile, kept};
use crate::{
    assemble::AssembledFeed,
    config::{Config, Feed},
    journal::HeadKey,
    output::say,
    pki::hex::Hex,
    service::registry::Membership,
    state_dir::{self, Found, Place, Purpose},
};

const ADOPT: Purpose = Purpose::exclusive("ostia-precompute server adopt");

#[derive(Subcommand, Debug)]
pub(super) enum Server {
    /// Show the identity of the server, where it was made, and the public key of its journals.
    Show {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Draw a new identity for a copied state directory; the former one is printed and logged.
    Adopt {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the servers of the feed: who lives, who fell silent, and what is wrong with them.
    List(list::List),
    /// Take a server that is gone for good off that list. Nothing is asked of it; if it comes back, that is told.
    Decommission(decommission::Decommission),
}

pub(super) fn run(command: Server) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Server::List(command) => command.run(),
        Server::Decommission(command) => command.run(),
        Server::Show { config } => show(&state_dir_of(&config.path())?),
        Server::Adopt { config } => {
            let config = super::read(&config.path())?.finish()?;
            let (former, id) = state_dir::adopt(&config.state_dir, ADOPT)?;
            HeadKey::forget(&config.state_dir)?;
            let owned = state_dir::own(&config.state_dir, ADOPT)?;
            drop(kept::keep(&config, &owned, "ostia-precompute server adopt")?);
            let former = former.map_or("there was none before".into(), |former| format!("in place of {former}"));
            Ok(say(format_args!("{id}, {former}"))?)
        }
    }
}

fn show(state_dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let Some(Found { id, host, place }) = state_dir::server(state_dir)? else {
        let none = "no server has an identity here yet; the first start makes it";
        return Err(format!("{}: {none}", state_dir.display()).into());
    };
    let place = match place {
        Place::Here => "made here",
        Place::Unknown => "which may be another machine: this one has no id in /etc/machine-id",
        Place::Elsewhere => "of another directory or machine: a start is refused",
    };
    say(format_args!("{id} on `{host}`, {place}"))?;
    match HeadKey::open(state_dir)? {
        Some(key) => Ok(say(format_args!("its journals are signed by the key {}", Hex(&key.public())))?),
        None => Ok(()),
    }
}

/// What the configuration says of the feed, without any key of a signer. `with_key`: with that of a writer.
fn membership(path: &Path, with_key: bool) -> Result<(Config, Membership), Box<dyn std::error::Error>> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let reading = super::read(path)?.with(|config, problems| {
        let feed = config.feed.clone()?;
        let key = feed.key.clone().filter(|_| with_key);
        // A list is of interest to those that may not read the key.
        AssembledFeed::open(&Feed { key, acknowledge_standbys: 0, ..feed }, problems, credentials.as_deref())
    });
    let (config, feed) = reading.finish()?;
    let feed = feed.ok_or_else(|| {
        format!("{}: there is no `[feed]`: this program works alone, and there is no list of servers", path.display())
    })?;
    let membership = Membership::of(&feed, &config.state_dir);
    Ok((config, membership))
}

/// No key is opened for it.
fn state_dir_of(config: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    Ok(super::read(config)?.finish()?.state_dir)
}
