//! The command line of `ostia-precompute`.

mod asked;
mod audit;
mod check;
mod client;
mod config_file;
mod configuration;
mod end;
mod forget;
pub mod health;
mod kept;
mod keys;
mod manual;
mod operate;
mod presign;
mod progress;
mod prove;
mod purge;
mod push;
mod relay;
pub mod reload;
mod restore;
mod run;
mod server;
mod signers;
mod snapshot;
mod source;
mod status;
mod token;
mod usage;
mod verify;

pub use check::{CertificateFacts, HowToTell, IssuerFacts, Refusals, StateFacts, gathering, surveys, try_caches};
pub use config_file::ConfigFile;
pub use end::{Usage, end};
pub use manual::{ENVIRONMENT, FILES};

use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand};

use self::config_file::ConfigOption;
use crate::{
    assemble::{self, Assembly, Tokens},
    book::salvage,
    config::{Config, ConfigError, Document, Reading},
    engine::{Accepted, Engine},
    output::say,
    pki::{Serial, UnixTime},
    service::Asked,
    state_dir::{self, Purpose},
};

/// Sections of the configuration file that only the responder reads.
const RESPONDER_SECTIONS: [&str; 5] = ["http", "tls", "log", "time_stamping", "edge"];

const SYNC: Purpose = Purpose::askable("ostia-precompute sync");
const PRESIGN: Purpose = Purpose::askable("ostia-precompute presign");

/// Reads index.txt and CRLs into the book, shows what the book holds, signs answers ahead, and checks and makes keys.
///
/// `run` does so until it is stopped, as the responder does by itself. `sync` and `presign` are for when neither runs;
/// `add`, `revoke`, `release`, `status` and `snapshot` ask the one that runs.
#[derive(Parser, Debug)]
#[command(
    name = "ostia-precompute",
    version = program::VERSION,
    long_version = program::LONG_VERSION,
    arg_required_else_help = true,
    after_long_help = manual::of_program()
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Read sources, keep the book and sign ahead until SIGTERM or Ctrl-C, with health and metrics, without serving.
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read every source once into the book and print what changed.
    Sync {
        #[command(flatten)]
        config: ConfigFile,
        /// Accept a source that lists less than half of the certificates known so far.
        #[arg(long)]
        accept_shrink: bool,
        /// Accept a CRL older than the one taken before, because its CA had to begin anew.
        #[arg(long)]
        accept_older: bool,
        /// Keep an issuer's revocations when it has moved to a tenant of another name.
        #[arg(long, conflicts_with = "accept_forgotten")]
        carry_over: bool,
        /// Forget those revocations, and what was pushed of issuers that are no longer configured.
        #[arg(long)]
        accept_forgotten: bool,
        /// Rebuild a damaged book from the issuers in it that are in order, the sources, and every revocation that can
        /// still be read.
        #[arg(long)]
        accept_damaged: bool,
    },
    /// Sign answers ahead while no responder runs. Ctrl-C keeps what is done; the next run continues from there.
    Presign {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check a configuration as `run` would take it, without starting: the file, certificates, keys and sources.
    #[command(after_long_help = manual::CHECK)]
    Check {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        how: HowToTell,
    },
    /// Have the running service read its configuration again; succeeds once it has taken it, and says why if it refuses it.
    Reload {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Say whether the running service is ready: exit status 0 if it is, 1 if not, with the reason.
    Health {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Let an issuer leave the configuration although something was pushed of it that no source says.
    ///
    /// A start or reload without the issuer is refused otherwise. The book keeps what it has.
    Forget(forget::Forget),
    /// Look at what a source says.
    #[command(subcommand)]
    Source(source::Source),
    /// Check the signing keys, or make one.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Show the identity of this server, or give a copied state directory to a new one.
    #[command(subcommand)]
    Server(server::Server),
    /// Publish the configuration of all replicas, look at its versions, and roll back.
    #[command(subcommand)]
    Config(configuration::Configuration),
    /// Show the journal, verify journals, or hand out one tenant's part of them.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Show who signs at the running service, until when, and whether it works; fails if one does not.
    Signers(signers::Signers),
    /// Make tokens for principals, who may ask the running service for something, or list who there is.
    #[command(subcommand)]
    Token(token::Token),
    /// Tell the running service that certificates were issued.
    Add(push::Add),
    /// Revoke certificates at the running service, or put them on hold. Returns when that is durable and answered.
    Revoke(push::Revoke),
    /// Release certificates from hold at the running service.
    Release(push::Release),
    /// Have another writer of the feed lead: the running one that leads hands over to the standby that has everything.
    Handover(operate::Operate),
    /// Have the running writer lead, whoever does now: after the loss of another site, or where `feed.takeover` is "by_hand".
    Promote(operate::Operate),
    /// Have caches forget answers, by hand: those of `[[purge]]` in the configuration. The service does so by itself after each change.
    Purge(purge::Purge),
    /// Copy a feed to the Redis of another site until SIGTERM or Ctrl-C, entry for entry, with the snapshots.
    ///
    /// In the configuration `[feed]` is the site that is filled, and `[relay]` the one that is read.
    Relay {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Back the book up into one file, also while the service runs.
    Snapshot(snapshot::Snapshot),
    /// Take a backup of the book back while no service runs. No record becomes less strict by it.
    Restore(restore::RestoreOrder),
    /// Ask the running service what it knows of certificates; where none answers, look into the book.
    Status(status::Status),
    /// Prove what a replica with [transparency] said of a certificate at a time.
    ///
    /// The proof is a file that `verify` verifies anywhere. It can be made once a head is after that time, for as long as heads are kept.
    Prove(prove::Prove),
    /// Verify a proof of what was said, and say what it was. Fails if anything in it is not as it was signed.
    Verify(verify::Verify),
    /// Tell how many time-stamps each client has had in a month, as this server has counted.
    Usage(usage::Usage),
    /// Show what the book holds about certificates. While the service runs, ask it.
    Show {
        #[command(flatten)]
        config: ConfigOption,
        /// Serial numbers in hexadecimal, as `openssl x509 -serial` prints them.
        #[arg(required = true, value_name = "SERIAL")]
        serials: Vec<String>,
    },
    /// Write manual pages and shell completions: DIR/man and DIR/completions.
    #[command(hide = true)]
    GenerateDocs {
        /// The directory, which is made.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// What `run` does, for other programs.
pub fn write(config: &Path) -> Result<(), Box<dyn std::error::Error>> {
    run::run(config)
}

/// Runs the command; the error is for the user.
pub fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // A check gathers warnings instead.
    if !matches!(arguments.command, Command::Check { .. }) {
        crate::log::start()?;
    }
    match arguments.command {
        Command::Sync {
            config,
            accept_shrink: shrink,
            accept_older: older,
            carry_over,
            accept_forgotten: forgotten,
            accept_damaged,
        } => {
            let (read, config) = read_config(&config.path())?;
            let wanted = Accepted { shrink, older, carry_over, forgotten };
            if read.feed.is_some() {
                return sync_of_writer(&read, &config, wanted, accept_damaged);
            }
            let owned = state_dir::own(&config.state_dir, SYNC)?;
            let accepted = in_words(wanted, accept_damaged);
            let _trail = if accepted.is_empty() { None } else { kept::keep(&read, &owned, "ostia-precompute sync")? };
            let loss = if accept_damaged { mend(&config)? } else { None };
            let synced = sync(&config, wanted);
            kept::outcome("sync", &accepted, &synced);
            match (synced, loss) {
                (synced, None) => synced,
                (Ok(()), Some(loss)) => Err(loss.into()),
                (Err(error), Some(loss)) => Err(format!("{error}; and {loss}").into()),
            }
        }
        Command::Run { config } => run::run(&config.path()),
        Command::Check { config, how } => check::run(&config.path(), how),
        Command::Relay { config } => relay::run(&config.path()),
        Command::Reload { config } => reload::run(&config.path()),
        Command::Forget(command) => command.run(),
        Command::Health { config } => health::run(&config.path()),
        Command::Server(command) => server::run(command),
        Command::Config(command) => configuration::run(command),
        Command::Audit(command) => audit::run(command),
        Command::Signers(asked) => signers::run(&asked),
        Command::Token(command) => token::run(command),
        Command::Keys(command) => keys::run(command),
        Command::Source(command) => source::run(command),
        Command::Presign { config } => {
            let (config, assembly) = read_config(&config.path())?;
            if config.feed.is_some() {
                return Err("with `[feed]` in the configuration, the writer signs ahead and tells the replicas (`ostia-precompute run`); what `presign` signs would reach nobody".into());
            }
            let _owned = state_dir::own(&config.state_dir, PRESIGN)?;
            presign::run(&config, &assembly)
        }
        Command::Add(command) => command.run(),
        Command::Revoke(command) => command.run(),
        Command::Release(command) => command.run(),
        Command::Handover(command) => command.run(Asked::HandOver),
        Command::Promote(command) => command.run(Asked::Promote),
        Command::Purge(command) => command.run(),
        Command::Snapshot(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Usage(command) => command.run(),
        Command::Prove(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::GenerateDocs { dir } => manual::of(Arguments::command()).write(&dir),
        Command::Show { config, serials } => {
            let config = config.path();
            let wanted: Vec<_> =
                serials.iter().map(|text| asked::read_serial(text, false)).collect::<Result<_, _>>()?;
            if state_dir::is_in_use(&read(&config)?.finish()?.state_dir) {
                let wanted: Vec<_> = wanted.into_iter().map(status::Wanted::from).collect();
                return status::ask_or_read(&client::Reach::default(), &config, None, &wanted);
            }
            show(&read_config(&config)?.1, &wanted)
        }
    }
}

fn read_config(path: &Path) -> Result<(Config, Assembly), Box<dyn std::error::Error>> {
    let reading = read(path)?;
    Ok(assemble::open(reading, &Tokens::default(), UnixTime::now())?)
}

/// Reads the common part of the file.
fn read(path: &Path) -> Result<Reading<Config>, ConfigError> {
    Ok(reading(&Document::open(path)?))
}

fn reading(document: &Document) -> Reading<Config> {
    document.reading(|root| {
        let config = Config::read(root);
        root.leave_to_others(&RESPONDER_SECTIONS);
        root.finish();
        Some(config)
    })
}

/// What an operator has accepted, as options; nothing where that was nothing.
fn in_words(Accepted { shrink, older, carry_over, forgotten }: Accepted, damaged: bool) -> String {
    let given = [
        (shrink, "--accept-shrink"),
        (older, "--accept-older"),
        (carry_over, "--carry-over"),
        (forgotten, "--accept-forgotten"),
        (damaged, "--accept-damaged"),
    ];
    given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, option)| option).collect::<Vec<_>>().join(" ")
}

/// Rebuilds a damaged book; returns what is lost.
fn mend(config: &Assembly) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let configured: Vec<_> = config.issuers().map(|(_, issuer)| issuer.id.clone()).collect();
    let Some(salvaged) = salvage(&config.state_dir, &configured)? else {
        say("the book is in order")?;
        return Ok(None);
    };
    say(&salvaged)?;
    salvaged.issuers.iter().try_for_each(say)?;
    Ok(salvaged.loss())
}

/// With a feed the writer reads the sources, and tells what it saves. This is for what it leaves to an operator.
fn sync_of_writer(
    read: &Config,
    config: &Assembly,
    accept: Accepted,
    accept_damaged: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    if accept.shrink || accept.older {
        return Err("with `[feed]` in the configuration, the writer reads the sources, and takes this order while it runs: where it refuses a source, its log names a file to `touch`".into());
    }
    let takes_over = accept.carry_over || accept.forgotten;
    if !takes_over && !accept_damaged {
        return Err("with `[feed]` in the configuration, the writer reads the sources (`ostia-precompute run`); what `sync` puts into the book would not be told to the replicas".into());
    }
    let owned = state_dir::own(&config.state_dir, SYNC)?;
    let _trail = kept::keep(read, &owned, "ostia-precompute sync")?;
    let loss = if accept_damaged { mend(config)? } else { None };
    let accepted = in_words(accept, accept_damaged);
    if takes_over {
        let synced = sync(config, accept);
        kept::outcome("sync", &accepted, &synced);
        synced?;
    } else {
        kept::outcome("sync", &accepted, &Ok::<(), String>(()));
        say("the sources are left to `ostia-precompute run`")?;
    }
    loss.map_or(Ok(()), |loss| Err(loss.into()))
}

fn sync(config: &Assembly, accept: Accepted) -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = Engine::open(config)?;
    engine.accept(accept);
    engine.owe(config.feed.is_some());
    let mut said = Ok(());
    let synced = engine.sync(|tenant, issuer, pass| {
        let line = format!(
            "{tenant}/{issuer}: {} listed, {} changed; the book has {} good and {} revoked ({:.1} s)",
            pass.listed,
            pass.changed,
            pass.counts.good,
            pass.counts.revoked,
            pass.took.as_secs_f32()
        );
        if said.is_ok() {
            said = say(line);
        }
    });
    synced.map_err(|error| error.told(config, None))?;
    Ok(said?)
}

fn show(config: &Assembly, serials: &[Serial]) -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = Engine::open(config)?;
    let mut unlisted = 0;
    for serial in serials {
        let mut listed = false;
        for (tenant, issuer, record) in engine.show(serial)? {
            let Some(record) = record else { continue };
            listed = true;
            let end = record.not_after.map_or("an unknown time".to_owned(), |time| time.to_string());
            let status = status::painted(&record.status.to_string());
            say(format_args!("{serial} {tenant}/{issuer}: {status}, valid until {end}"))?;
        }
        if !listed {
            say(format_args!("{serial}: not listed"))?;
            unlisted += 1;
        }
    }
    if unlisted > 0 { Err(format!("{unlisted} of {} not listed", serials.len()).into()) } else { Ok(()) }
}
