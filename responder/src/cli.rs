//! The command line of `ostia-responder`.

use std::{
    error::Error,
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use precompute::{engine, output::say, pki::UnixTime};
use tracing::warn;

use crate::{config::Config, demo, serve};

/// Answers whether certificates are good: an OCSP responder (RFC 6960) that serves from memory, and a time-stamping
/// authority (RFC 3161).
///
/// Start with `demo`, which makes a small CA to try everything on; `serve` runs the service from
/// a configuration file. The log goes to standard error: for people on a terminal, JSON otherwise;
/// the environment variable OSTIA_LOG chooses what is told (info, debug, …).
#[derive(Parser, Debug)]
#[command(name = "ostia-responder", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a small CA, serve it, and show commands to try.
    Demo {
        /// Where the CA is kept; used again if it is there already.
        #[arg(long, value_name = "DIR", default_value = "ostia-demo")]
        dir: PathBuf,
        /// Where to answer requests, for OCSP and time-stamps.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        http: SocketAddr,
        /// Where to tell health and metrics.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
    },
    /// Run the service until SIGTERM or Ctrl-C.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file, its certificates, keys and sources, without starting anything.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Leave out the sources: `serve` reads them itself, and goes on from the book where one is broken.
        #[arg(long)]
        without_sources: bool,
    },
}

/// Runs the command; the error is for the user.
pub fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let now = UnixTime::now();
    match arguments.command {
        Command::Demo { dir, http, admin } => run_demo(&dir, http, admin),
        Command::Serve { config } => serve::from_file(&config),
        Command::Check { config: path, without_sources } => {
            let config = Config::check(&path, now)?;
            for doubt in serve::doubts(&config) {
                warn!("{}: {doubt}", path.display());
            }
            let listed = if without_sources { Vec::new() } else { survey(&config)? };
            Ok(say(summary(&path, &config, &listed))?)
        }
    }
}

fn run_demo(dir: &Path, http: SocketAddr, admin: SocketAddr) -> Result<(), Box<dyn Error>> {
    let demo = demo::prepare(dir, http, admin, &mut |line| tell(line))?;
    // Its certificates may have been made a moment ago.
    let mut config = Config::read(&demo.config_path, UnixTime::now())?;
    config.http = vec![http.into()];
    config.admin = admin;
    serve::run(config, &demo.config_path, |running| {
        tell(demo::instructions(&demo, running.http[0], running.admin));
    })
}

/// The demo goes on without a reader.
fn tell(text: impl Display) {
    if let Err(error) = say(text) {
        warn!("{error}");
    }
}

/// How many certificates the sources of each issuer list; an error names every source that is refused.
fn survey(config: &Config) -> Result<Vec<u64>, String> {
    let (mut listed, mut problems) = (Vec::new(), Vec::new());
    for (tenant, issuer, outcome) in engine::survey(&config.common) {
        match outcome {
            Ok(certificates) => listed.push(certificates),
            Err(faults) => problems.push(format!("{tenant}/{issuer}: {faults}")),
        }
    }
    if problems.is_empty() { Ok(listed) } else { Err(problems.join("\n")) }
}

/// What a configuration amounts to. `listed`: how many certificates the sources list, where they were read.
fn summary(path: &Path, config: &Config, listed: &[u64]) -> String {
    let mut lines = vec![format!("{}: everything is in order", path.display())];
    lines.push(format!("  answers on {:?} with {} workers, admin on {}", config.http, config.workers, config.admin));
    lines.push(format!("  state in {}", config.common.state_dir.display()));
    for (place, (tenant, issuer)) in config.common.issuers().enumerate() {
        let sources: Vec<_> = issuer.sources.paths().iter().map(|path| path.display().to_string()).collect();
        let signers = issuer.signers.all().iter();
        let signers: Vec<_> =
            signers.map(|signer| format!("{} until {}", signer.algorithm(), signer.not_after())).collect();
        lines.push(format!(
            "  {}/{}: signs with {}, {} from {}",
            tenant.name,
            issuer.name,
            signers.join("; "),
            listed.get(place).map_or("records".to_owned(), |listed| format!("{listed} certificates")),
            sources.join(", ")
        ));
    }
    for (tenant, tsa) in
        config.common.tenants.iter().flat_map(|tenant| tenant.tsas.iter().map(move |tsa| (tenant, tsa)))
    {
        let policies: Vec<_> = tsa.policy.policies.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "  {}/{}: time-stamps at {}{} under {}, by {} until {}, within {}",
            tenant.name,
            tsa.name,
            tenant.path,
            if tenant.path.is_empty() { tsa.shown_path() } else { &tsa.path },
            policies.join(", "),
            tsa.signer.algorithm(),
            tsa.signer.not_after(),
            tsa.policy.accuracy
        ));
    }
    if config.common.tenants.iter().any(|tenant| !tenant.tsas.is_empty()) {
        let record = config.time_stamping.record.as_ref().map(|record| record.path.display().to_string());
        let record = record.unwrap_or_else(|| "nowhere".into());
        lines.push(format!("  the clock by {}, tokens recorded in {record}", config.time_stamping.clock));
    }
    lines.join("\n")
}
