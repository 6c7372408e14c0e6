//! The command line of `ostia-responder`.

mod manual;

use std::{
    error::Error,
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, Parser, Subcommand};
use precompute::{
    admin::drain,
    cli::{ConfigFile, HowToTell, gathering},
    log,
    output::say,
    pki::UnixTime,
};
use tracing::warn;

use crate::{assemble::Opener, check, config::Config, demo, start};

/// An OCSP responder (RFC 6960) and time-stamping authority (RFC 3161).
///
/// Start with `demo`, which makes a small CA and serves it. `serve` runs the service from a configuration file. Logs go to
/// standard error: as text on a terminal, with priorities to the journal, as JSON lines elsewhere. The environment variable
/// OSTIA_LOG sets the level (off, error, warn, info, debug, trace).
#[derive(Parser, Debug)]
#[command(
    name = "ostia-responder",
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
    /// Make a small CA, serve it, and show commands to try.
    Demo {
        /// Directory of the CA; reused if it exists.
        #[arg(long, value_name = "DIR", default_value = "ostia-demo")]
        dir: PathBuf,
        /// Address for OCSP and time-stamp requests.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        http: SocketAddr,
        /// Address for health and metrics.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
        /// Run two writers, three replicas and a Redis, and show how they fare. Replicas answer at the port of `--http` and
        /// those behind it, everything else is at the ports behind that of `--admin`.
        #[arg(long)]
        cluster: bool,
    },
    /// Write a feed, as `ostia-precompute run` does: for the demo's cluster.
    #[command(hide = true)]
    Write {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run the service until SIGTERM or Ctrl-C.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Have the running service read its configuration again; succeeds once it has taken it, and says why if it refuses it.
    Reload {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Say whether the running service is ready, for OCSP and time-stamps: exit status 0 if it is, 1 if not, with the reason.
    Health {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take this server out of its balancers' rotation: readiness says 503 until `--end`, also after a restart.
    ///
    /// Requests that come all the same are answered. Balancers notice with their next checks.
    Drain {
        #[command(flatten)]
        config: ConfigFile,
        /// Let requests come again.
        #[arg(long)]
        end: bool,
    },
    /// Check a configuration without starting: the file, certificates, keys, sources, addresses and the clock.
    #[command(after_long_help = manual::CHECK)]
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Skip the sources: `serve` reads them itself, and continues from the book if one is broken.
        #[arg(long)]
        without_sources: bool,
        #[command(flatten)]
        how: HowToTell,
    },
    /// Write manual pages and shell completions: DIR/man and DIR/completions.
    #[command(hide = true)]
    GenerateDocs {
        /// The directory, which is made.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Starts the log and runs the command; the error is for the user.
pub fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    match arguments.command {
        Command::Demo { dir, http, admin, cluster: true } => {
            log::start()?;
            demo::cluster::run(&dir, http, admin)
        }
        Command::Write { config } => {
            log::start()?;
            precompute::cli::write(&config)
        }
        Command::Demo { dir, http, admin, cluster: false } => {
            log::start()?;
            run_demo(&dir, http, admin)
        }
        Command::Serve { config } => {
            log::start()?;
            start::from_file(&config.path())
        }
        Command::Reload { config } => precompute::cli::reload::run(&config.path()),
        Command::Health { config } => precompute::cli::health::run(&config.path()),
        Command::Drain { config, end } => run_drain(&config.path(), end),
        Command::Check { config, without_sources, how } => run_check(&config.path(), !without_sources, how),
        Command::GenerateDocs { dir } => manual::of(Arguments::command()).write(&dir),
    }
}

fn run_drain(path: &Path, end: bool) -> Result<(), Box<dyn Error>> {
    let state_dir = Config::read(path)?.common.state_dir;
    let changed = drain(&state_dir, end).map_err(|error| {
        format!(
            "{}: state_dir: {}: {error}; it is made at the first start, and who runs this has to be allowed to write there",
            path.display(),
            state_dir.display()
        )
    })?;
    say(match (end, changed) {
        (false, true) => {
            "drained: /readyz/ocsp and /readyz/tsa say 503 from now on, and balancers leave with their next checks; `--end` ends that"
        }
        (false, false) => "it was drained before",
        (true, true) => "no longer drained: requests may come",
        (true, false) => "it was not drained",
    })?;
    Ok(())
}

fn run_check(path: &Path, with_sources: bool, how: HowToTell) -> Result<(), Box<dyn Error>> {
    let (warnings, checked) = gathering(|| check::check(path, with_sources, UnixTime::now()));
    how.tell("ostia-responder", path, warnings, checked)
}

fn run_demo(dir: &Path, http: SocketAddr, admin: SocketAddr) -> Result<(), Box<dyn Error>> {
    let demo = demo::prepare(dir, http, admin, &mut |line| tell(line))?;
    // Its certificates may have just been made.
    let opener = Opener::new(&demo.config_path);
    let (mut config, assembly) = opener.read(UnixTime::now())?;
    config.http = vec![http.into()];
    config.common.admin.listen = admin;
    start::run(opener, config, assembly, |running| {
        tell(demo::instructions(&demo, running.http[0], running.admin));
    })
}

/// Prints a text; the demo continues without a reader.
fn tell(text: impl Display) {
    if let Err(error) = say(text) {
        warn!("{error}");
    }
}
