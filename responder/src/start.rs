//! The service from its configuration to its end.
//!
//! - `alone` composes the one role that there is: sources, book, keys and answers in one process. A replica and an edge
//!   compose others from the same parts.
//! - The parts: `control` takes signals, `bound` has the addresses, `knowledge` follows the sources, `vouching` has what
//!   time-stamps need, `workers` are the serving threads, `background` is what happens now and then, `notify` tells
//!   systemd.
//!
//! Invariant: what is missing at the start is an error; what is lost later is not, but for a thread, whose loss ends the
//! service so that it is started anew. It does not know what is answered.

mod alone;
mod background;
mod bound;
mod control;
mod knowledge;
mod notify;
mod vouching;
mod workers;

use std::{error::Error, net::SocketAddr, path::Path};

use precompute::pki::UnixTime;

use self::{alone::Alone, bound::Bound, control::Control};
use crate::{
    assemble::{Assembly, Opener},
    config::Config,
};

/// What the service has bound, once it is ready.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where relying parties are answered.
    pub http: Vec<SocketAddr>,
    /// Where they are answered over TLS.
    pub tls: Vec<SocketAddr>,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// Serves by the configuration in this file, as [`run`] does. Signals count from the beginning, because opening keys may
/// take long.
pub fn from_file(path: &Path) -> Result<(), Box<dyn Error>> {
    let control = Control::new()?;
    let opener = Opener::new(path);
    let (config, assembly) = opener.read(UnixTime::now())?;
    serve(control, opener, config, assembly, |_| ())
}

/// Serves until SIGTERM or SIGINT; `ready` is called once requests are answered. SIGHUP reads the file of `opener` again.
pub fn run(
    opener: Opener,
    config: Config,
    assembly: Assembly,
    ready: impl FnOnce(&Running),
) -> Result<(), Box<dyn Error>> {
    serve(Control::new()?, opener, config, assembly, ready)
}

/// What may keep this configuration from being listened on, as things are on this machine; nothing is kept bound.
pub fn doubts(config: &Config) -> Vec<String> {
    bound::doubts(config)
}

fn serve(
    control: Control,
    opener: Opener,
    config: Config,
    assembly: Assembly,
    ready: impl FnOnce(&Running),
) -> Result<(), Box<dyn Error>> {
    // First what is quickly found wrong.
    let bound = Bound::bind(&config).map_err(|error| format!("{}: {error}", opener.path().display()))?;
    let mut service = Alone::start(opener, config, assembly, bound)?;
    let outcome = control.run(async |signals| service.run(signals, ready).await);
    service.end();
    outcome
}
