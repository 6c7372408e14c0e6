//! The command line of `ostia-precompute`.

mod keys;
mod presign;

use std::{fmt, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::{
    book::salvage,
    config::{Config, Document},
    engine::{Accepted, Engine},
    output::say,
    pki::{Serial, UnixTime},
};

/// Sections of the configuration file that only the responder reads.
const RESPONDER_SECTIONS: [&str; 5] = ["http", "tls", "admin", "log", "time_stamping"];

/// Keeps what the CA knows: reads index.txt and CRLs into the book, shows what is in it, and signs ahead.
///
/// The responder does this by itself while it runs; these commands are for when it does not.
#[derive(Parser, Debug)]
#[command(name = "ostia-precompute", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Read every source once into the book and say what changed.
    Sync {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take a source also when it lists less than half of the certificates known so far.
        #[arg(long)]
        accept_shrink: bool,
        /// Take a CRL also when it is older than the one taken before: its CA had to begin anew.
        #[arg(long)]
        accept_older: bool,
        /// Take along the revocations that the book has of an issuer under the name of a tenant that no longer has it.
        #[arg(long, conflicts_with = "accept_forgotten")]
        carry_over: bool,
        /// Forget them.
        #[arg(long)]
        accept_forgotten: bool,
        /// Make a damaged book anew from the sources and from every revocation that can still be read of it.
        #[arg(long)]
        accept_damaged: bool,
    },
    /// Sign answers before anybody asks, while no responder runs. Ctrl-C leaves what is done; started again it goes on.
    Presign {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Try the keys that sign, or make one.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Show what the book holds of certificates.
    Show {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Serial numbers in hexadecimal, as `openssl x509 -serial` prints them.
        #[arg(required = true, value_name = "SERIAL")]
        serials: Vec<String>,
    },
}

/// Runs the command; the error is for the user.
pub fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    match arguments.command {
        Command::Sync {
            config,
            accept_shrink: shrink,
            accept_older: older,
            carry_over,
            accept_forgotten: forgotten,
            accept_damaged,
        } => {
            let config = read_config(config)?;
            let loss = if accept_damaged { mend(&config)? } else { None };
            let synced = sync(&config, Accepted { shrink, older, carry_over, forgotten });
            match (synced, loss) {
                (synced, None) => synced,
                (Ok(()), Some(loss)) => Err(loss.into()),
                (Err(error), Some(loss)) => Err(format!("{error}; and {loss}").into()),
            }
        }
        Command::Keys(command) => keys::run(command),
        Command::Presign { config } => presign::run(&read_config(config)?),
        Command::Show { config, serials } => show(&read_config(config)?, &serials),
    }
}

fn read_config(path: PathBuf) -> Result<Config, Box<dyn std::error::Error>> {
    let now = UnixTime::now();
    let config = Document::open(&path)?.read(|root| {
        let config = Config::read(root, now);
        root.leave_to_others(&RESPONDER_SECTIONS);
        root.finish();
        config
    })?;
    Ok(config)
}

/// Makes a damaged book anew; what is lost with it.
fn mend(config: &Config) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let configured: Vec<_> = config.issuers().map(|(_, issuer)| issuer.id.clone()).collect();
    let Some(salvaged) = salvage(&config.state_dir, &configured)? else {
        say("the book is in order")?;
        return Ok(None);
    };
    say(&salvaged)?;
    Ok(salvaged.loss())
}

fn sync(config: &Config, accept: Accepted) -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = Engine::open(config)?;
    engine.accept(accept);
    let mut said = Ok(());
    engine.sync(|tenant, issuer, pass| {
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
    })?;
    Ok(said?)
}

fn show(config: &Config, serials: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = Engine::open(config)?;
    let mut unlisted = 0;
    for text in serials {
        let serial = Serial::from_hex(text).ok_or_else(|| NotASerial(text.clone()))?;
        let mut listed = false;
        for (tenant, issuer, record) in engine.show(&serial)? {
            let Some(record) = record else { continue };
            listed = true;
            let end = record.not_after.map_or("an unknown time".to_owned(), |time| time.to_string());
            say(format_args!("{serial} {tenant}/{issuer}: {}, valid until {end}", record.status))?;
        }
        if !listed {
            say(format_args!("{serial}: not listed"))?;
            unlisted += 1;
        }
    }
    if unlisted > 0 { Err(format!("{unlisted} of {} not listed", serials.len()).into()) } else { Ok(()) }
}

#[derive(Debug)]
struct NotASerial(String);

impl fmt::Display for NotASerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no serial number: expected 1 to 40 hexadecimal digits that are not all zero", self.0)
    }
}

impl std::error::Error for NotASerial {}
