//! The service from its configuration to its end.
//!
//! - The roles: `alone` has sources, book, keys and answers in one process; `replica`, with `[feed]`, answers from what the
//!   feed carries. `serving` is what both have.
//! - The parts: `bound` has the addresses, `time_stamps` has what time-stamps need, `workers` are the serving threads,
//!   `background` runs periodic tasks. What reads, saves and signs is [`precompute::service`]; signals and systemd too.
//!
//! Invariant: something missing at the start is an error. Something lost later is not, except a thread: its loss ends
//! the service, so that it is restarted. It does not know what is answered.

mod alone;
mod background;
mod bound;
mod replica;
mod serving;
mod time_stamps;
mod workers;

use std::{error::Error, net::SocketAddr, path::Path, sync::Arc};

use precompute::{
    journal::{Identity, trail::Trail},
    pki::UnixTime,
    service::Control,
    state_dir::{self, Purpose},
};

use self::{
    alone::Alone,
    bound::Bound,
    replica::Replica,
    serving::{Kept, Plan},
};
use crate::{
    assemble::{Assembly, Opener},
    config::Config,
};

/// The addresses that the service has bound, once it is ready.
#[derive(Clone, Debug)]
pub struct Running {
    /// The addresses for relying parties.
    pub http: Vec<SocketAddr>,
    /// The addresses for relying parties over TLS.
    pub tls: Vec<SocketAddr>,
    /// Health and metrics.
    pub admin: SocketAddr,
}

const SERVE: Purpose = Purpose::exclusive("ostia-responder serve");
const DEMO: Purpose = Purpose::exclusive("ostia-responder demo");

/// Serves with the configuration in this file, like [`run`]. Signals count from the beginning, because opening keys may
/// take long.
pub fn from_file(path: &Path) -> Result<(), Box<dyn Error>> {
    let control = Control::new()?;
    let opener = Opener::new(path);
    let (config, assembly) = opener.read(UnixTime::now())?;
    serve(control, SERVE, opener, config, assembly, |_| ())
}

/// Serves the demo until SIGTERM or SIGINT; `ready` is called once requests are answered. SIGHUP makes it read the file of
/// `opener` again.
pub fn run(
    opener: Opener,
    config: Config,
    assembly: Assembly,
    ready: impl FnOnce(&Running),
) -> Result<(), Box<dyn Error>> {
    serve(Control::new()?, DEMO, opener, config, assembly, ready)
}

/// What may prevent listening with this configuration in the machine's present state; nothing stays bound.
pub fn doubts(config: &Config) -> Vec<String> {
    bound::doubts(config)
}

fn serve(
    control: Control,
    purpose: Purpose,
    opener: Opener,
    config: Config,
    assembly: Assembly,
    ready: impl FnOnce(&Running),
) -> Result<(), Box<dyn Error>> {
    // Before the addresses, which a service with this state directory has as well.
    let owned = state_dir::own(&config.common.state_dir, purpose)?;
    let identity = Identity::of(owned.server_id(), &config.common.state_dir)?;
    let command = if purpose == DEMO { "ostia-responder demo" } else { "ostia-responder serve" };
    let trail = Trail::begin(&identity, config.common.journal.clone(), command, opener.digest())?;
    // Before the sources are read, which may take long.
    let bound = Bound::bind(&config).map_err(|error| format!("{}: {error}", opener.path().display()))?;
    let Assembly { common: mut assembly, certificates, edge } = assembly;
    let journal = trail.as_ref().map(|trail| Arc::clone(trail.journal()));
    let plan = Plan::new(opener, config, certificates, bound, Kept { identity, journal })?;
    if let Some(feed) = assembly.feed.take() {
        let mut replica = Replica::start(plan, assembly, (feed, edge), owned)?;
        let outcome = control.run(async |signals| replica.run(signals, ready).await);
        replica.end();
        return outcome;
    }
    let mut alone = Alone::start(plan, assembly, owned)?;
    let outcome = control.run(async |signals| alone.run(signals, ready).await);
    alone.end();
    outcome
}
