//! Logs: for people on a terminal, JSON otherwise.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Sends the log to standard error. `OSTIA_LOG` chooses what is told (`info` by default), in
/// the syntax of tracing's EnvFilter.
pub fn start() {
    let filter = EnvFilter::try_from_env("OSTIA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(stderr).with_target(false);
    // Starting twice (in tests) leaves the first in place.
    let _ = if stderr().is_terminal() {
        registry.with(layer).try_init()
    } else {
        registry.with(layer.json().flatten_event(true).with_ansi(false)).try_init()
    };
}
