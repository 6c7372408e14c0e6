//! Tries what a start does beyond reading the configuration: addresses, TLS, the clock, the sources, the feed, the upstreams.
//!
//! Invariant: nothing is left behind, and a running service is not disturbed. Whatever would prevent a start in the
//! machine's present state, or make a start warn, is logged as a warning. The caller decides whether warnings count. It
//! does not know how they are shown.

mod facts;
mod upstreams;

pub use facts::Facts;

use std::{error::Error, io, path::Path, sync::Arc};

use precompute::{
    assemble::{AssembledFeed, WriterKeyError},
    cli::{CertificateFacts, surveys, try_caches},
    engine::Survey,
    feed::{
        Issuer,
        probe::{Doubt, Findings, Question},
    },
    journal::{self, HeadKey},
    pki::{Certificate, UnixTime},
    service::keeping,
    state_dir,
};
use tracing::{info, warn};

use crate::{
    assemble::{Assembly, Opener},
    config::{Config, Listen, TimeStamping},
    net::{listen, ring},
    start,
    tsa::clocks::Clocks,
};

/// The findings about a valid configuration.
#[derive(Debug)]
struct Checked {
    /// What it says.
    config: Config,
    /// What it opens.
    assembly: Assembly,
    /// What the sources of each issuer say; empty if they were not read.
    surveys: Vec<Survey>,
    /// What is in order with the feed, a line each; empty without one.
    feed: Vec<String>,
}

/// Reads the file, and tries what a start would do. An error names everything that is refused.
pub fn check(path: &Path, with_sources: bool, now: UnixTime) -> Result<Facts, Box<dyn Error>> {
    let (config, assembly) = Opener::new(path).check(now)?;
    if let Some(certificates) = &assembly.certificates {
        certificates.server_config().map_err(|error| format!("{}: tls: {error}", path.display()))?;
    }
    for doubt in start::doubts(&config) {
        warn!(place = %path.display(), "{doubt}");
    }
    if let Err(error) = state_dir::try_server(&config.common.state_dir) {
        warn!("{error}");
    }
    try_journals(&config);
    if let Some(transparency) = &config.common.transparency
        && let Some(problem) = keeping::try_directory(transparency, &config.common.state_dir)
    {
        let place = format!("{}: transparency.directory", path.display());
        warn!(place, "{problem}; until then the service answers, and nothing that it says can be proven");
    }
    try_addresses(&config);
    if let Err(error) = ring::build() {
        warn!(%error, "io_uring is refused here (sysctl kernel.io_uring_disabled, seccomp or memlock limit?); workers run slower on epoll");
    }
    try_clock(&config, &assembly);
    try_caches(&assembly.common);
    let feed = try_feed(path, &config, &assembly, now);
    upstreams::try_upstreams(&assembly);
    // A replica reads none.
    let reads_sources = config.common.feed.as_ref().is_none_or(|feed| !feed.is_of_replica());
    let surveys = if with_sources && reads_sources { surveys(&assembly.common, now)? } else { Vec::new() };
    let of_tls = assembly.certificates.as_ref().and_then(|tls| tls.certificate());
    let of_tls = of_tls.and_then(|certificate| Certificate::from_der(&certificate).ok());
    let of_tls = of_tls.as_ref().map(CertificateFacts::of);
    Ok(Facts::of(&Checked { config, assembly, surveys, feed }, of_tls))
}

/// Looks at the lines that a start would go on behind.
fn try_journals(config: &Config) {
    let state_dir = &config.common.state_dir;
    if let Err(error) = HeadKey::open(state_dir) {
        warn!("{error}");
    }
    for options in
        config.time_stamping.record.iter().chain(&config.common.journal).chain(config.common.kept_transactions())
    {
        if let Some((doubt, is_refused)) = journal::doubt(options, state_dir) {
            let refused = if is_refused { "; until then a start is refused" } else { "" };
            warn!("{doubt}{refused}");
        }
    }
}

/// Reserves every address, as a start does, and releases it: warns if another program has it. Other obstacles to
/// listening are among [`start::doubts`].
fn try_addresses(config: &Config) {
    // A service that will be restarted or reloaded has them.
    let runs = state_dir::is_in_use(&config.common.state_dir);
    let tls = config.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
    let mut wanted = Vec::new();
    for (key, listens) in [("http.listen", &config.http[..]), ("tls.listen", tls)] {
        let address =
            |listen: &Listen| if let Listen::Address(address) = listen { Some((key, *address)) } else { None };
        wanted.extend(listens.iter().filter_map(address));
    }
    wanted.push(("admin.listen", config.common.admin.listen));
    let snapshots = config.common.feed.as_ref().and_then(|feed| feed.snapshot_listen);
    wanted.extend(snapshots.map(|address| ("feed.snapshot_listen", address)));
    for (key, address) in wanted {
        match listen::reserve(key, address) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            Err(_) if runs => {
                info!(key, %address, "the address is in use, by the service that runs with this state directory")
            }
            Err(error) => warn!("{error}"),
            Ok(_) => {}
        }
    }
}

/// Asks the clock's source once for each accuracy; its verdict is reported as at a start.
fn try_clock(config: &Config, assembly: &Assembly) {
    let tsas = || assembly.common.tsas().map(|(tenant, tsa)| (format!("{}/{}", tenant.name, tsa.name), tsa));
    if tsas().next().is_none() {
        return;
    }
    let TimeStamping { clock, lease, .. } = &config.time_stamping;
    let clocks = Clocks::new(*clock, *lease, &config.common.state_dir, Arc::new(|_| ()));
    for (name, tsa) in tsas() {
        if let Err(error) = clocks.clock(&tsa.policy) {
            warn!(authority = name, "the clock cannot be watched: {error}");
        }
    }
    let all: Vec<_> = tsas().map(|(name, _)| name).collect();
    let ordered: Vec<_> = tsas().filter(|(_, tsa)| tsa.policy.ordering).map(|(name, _)| name).collect();
    clocks.warn_if_unchecked(&all, &ordered);
}

/// Looks at the feed, and at the key of a writer if the file names one, which serving does not open. Whatever is found is a
/// warning: a replica starts without all of it, and waits.
fn try_feed(path: &Path, config: &Config, assembly: &Assembly, now: UnixTime) -> Vec<String> {
    let (Some(config), Some(feed)) = (&config.common.feed, &assembly.common.feed) else { return Vec::new() };
    let path = path.display();
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    if let Err(WriterKeyError { about, problem }) =
        AssembledFeed::writer_key(config, &feed.trusted, credentials.as_deref())
    {
        let place = format!("{path}: feed.{about}");
        warn!(place, "{problem}; until then `ostia-precompute run` does not start");
    }
    let issuers: Vec<_> = assembly
        .common
        .issuers()
        .map(|(tenant, issuer)| (Issuer::from(&issuer.id), format!("{}/{}", tenant.name, issuer.name)))
        .collect();
    let question = Question {
        issuers: &issuers,
        redis: &feed.redis,
        cluster: &feed.cluster,
        trusted: &feed.trusted,
        sources: &config.snapshot_from,
        https: &feed.https,
        is_writer: !config.is_of_replica(),
        shares: config.is_of_replica() && config.shared_answers && has_tokens(assembly),
    };
    let Findings { facts, doubts } = question.ask(now);
    for Doubt { about, text } in doubts {
        let place = format!("{path}: {about}");
        warn!(place, "{text}");
    }
    facts
}

/// Whether the key of a signer is on a token.
fn has_tokens(assembly: &Assembly) -> bool {
    assembly.common.issuers().flat_map(|(_, issuer)| issuer.signers.all()).any(|signer| signer.is_apart())
}
