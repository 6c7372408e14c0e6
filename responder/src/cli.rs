//! The command line of `ostia-responder`.

mod manual;

use std::{
    error::Error,
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use precompute::{
    admin::drain,
    cli::{ConfigFile, NotStrictlyInOrder, counted},
    engine::Survey,
    log,
    output::say,
    pki::UnixTime,
    publication::Published,
    signers::{EndOfUse, OcspSigner, UseOfKey},
};
use tracing::warn;

use crate::{
    assemble::Opener,
    check::{self, Checked},
    config::Config,
    demo,
    site::PublishedNames,
    start,
};

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
        /// Treat warnings as failures: exit status 3.
        #[arg(long)]
        strict: bool,
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
        Command::Drain { config, end } => run_drain(&config.path(), end),
        Command::Check { config, without_sources, strict } => run_check(&config.path(), !without_sources, strict),
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

fn run_check(path: &Path, with_sources: bool, strict: bool) -> Result<(), Box<dyn Error>> {
    let warnings = log::gather()?;
    let checked = check::check(path, with_sources, UnixTime::now());
    let warnings = warnings.take();
    let mut lines = checked.iter().map(|checked| summary(path, checked, warnings.len())).collect::<Vec<_>>();
    lines.extend(warnings.iter().map(|warning| format!("WARNING: {warning}")));
    if !lines.is_empty() {
        say(lines.join("\n"))?;
    }
    checked?;
    if strict && !warnings.is_empty() { Err(NotStrictlyInOrder(warnings.len()).into()) } else { Ok(()) }
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

/// The paths of what is published of an issuer; `survey`: what its sources say, if they were read.
fn published_at(path: &str, published: &Published, survey: Option<&Survey>) -> Vec<String> {
    let crls = survey.map_or(&[][..], |survey| &survey.published);
    let of_sources = crls.iter().map(|suffix| format!("{}{suffix}.crl", published.name));
    let mut files: Vec<_> = PublishedNames::files(published).collect();
    if !crls.is_empty() {
        files.retain(|file| !file.ends_with(".crl"));
    }
    of_sources.chain(files).map(|file| format!("{path}/{file}")).collect()
}

/// A summary of a configuration.
fn summary(path: &Path, Checked { config, assembly, surveys, feed }: &Checked, warnings: usize) -> String {
    let order =
        if warnings == 0 { "everything is in order".into() } else { format!("in order, with {}", counted(warnings)) };
    let mut lines = vec![format!("{}: {order}", path.display())];
    lines.push(format!(
        "  answers on {:?} with {} workers, admin on {}",
        config.http, config.workers, config.common.admin.listen
    ));
    lines.push(format!("  state in {}", config.common.state_dir.display()));
    if let Some(feed) = &config.common.feed {
        let role = if feed.is_of_replica() { "a replica" } else { "a writer, or a replica" };
        lines.push(format!("  {role} of the feed `{}`", feed.cluster));
    }
    lines.extend(feed.iter().map(|fact| format!("    {fact}")));
    for (place, (tenant, issuer)) in assembly.common.issuers().enumerate() {
        let mut sources = issuer.sources.names();
        if issuer.sources.is_none() {
            sources.push("the feed".into());
        }
        let signers = issuer.signers.all().iter();
        let told = |signer: &Arc<OcspSigner>| {
            let place = if signer.signing().is_some() { "" } else { " by a key elsewhere" };
            format!("{} until {}{place}", signer.algorithm(), signer.not_after())
        };
        let signers: Vec<_> = signers.map(told).collect();
        lines.push(format!(
            "  {}/{}: signs with {}, {} from {}",
            tenant.name,
            issuer.name,
            signers.join("; "),
            surveys.get(place).map_or("records".to_owned(), |survey| format!("{} certificates", survey.listed)),
            sources.join(", ")
        ));
        if let Some(published) = &issuer.published {
            lines.push(format!(
                "    publishes {}",
                published_at(&tenant.path, published, surveys.get(place)).join(", ")
            ));
        }
    }
    for (tenant, tsa) in assembly.common.tsas() {
        let policies: Vec<_> = tsa.policy.policies.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "  {}/{}: time-stamps at {}{} under {}, by {} until {}, within {}",
            tenant.name,
            tsa.name,
            tenant.path,
            if tenant.path.is_empty() { tsa.shown_path() } else { &tsa.path },
            policies.join(", "),
            tsa.signer.algorithm(),
            until(tsa.signer.use_of_key()),
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

/// Until when an authority makes tokens, and what ends that if its certificate does not.
fn until(UseOfKey { ends, by, .. }: &UseOfKey) -> String {
    if *by == EndOfUse::Certificate { ends.to_string() } else { format!("{ends} (by {by})") }
}
