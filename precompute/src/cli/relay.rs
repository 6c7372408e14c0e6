//! `ostia-precompute relay`: copies a feed to another site until it is stopped, with health and metrics.
//!
//! It answers nobody, and opens no source, no key and no book.

use std::{error::Error, path::Path, time::Instant};

use tokio::task::JoinSet;
use tracing::info;

use crate::{
    admin::listener::{self, Bounds},
    assemble::AssembledFeed,
    config::{Document, RelayConfig},
    feed::shelf,
    relay::{Relay, Route},
    service::{Control, ServiceState, Threads, notify, open_snapshots, snapshot_sources},
    state_dir::{self, Purpose},
};

const RELAY: Purpose = Purpose::exclusive("ostia-precompute relay");

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let control = Control::new()?;
    let started = Instant::now();
    let reading = Document::open(path)?.reading(RelayConfig::read).with(|config, problems| {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let open = |feed| AssembledFeed::open(feed, problems, credentials.as_deref());
        // Both, so that all problems are told.
        let (to, from) = (open(&config.feed), open(&config.from));
        to.zip(from)
    });
    let (config, feeds) = reading.finish()?;
    let (to, from) = feeds.ok_or("the configuration could not be opened")?;
    let _owned = state_dir::own(&config.state_dir, RELAY)?;
    let named = |problem: String| format!("{}: {problem}", path.display());
    let admin = listener::bind(&Bounds::ADMIN, config.admin.listen).map_err(named)?;
    let listen = to.snapshots.listen.map(|listen| listener::bind(&Bounds::SNAPSHOTS, listen));
    let listen = listen.transpose().map_err(named)?;
    let directory = open_snapshots(&config.state_dir, &to)?;
    let route = Route {
        cluster: to.cluster.clone(),
        trusted: to.trusted.clone(),
        from: from.redis,
        sources: snapshot_sources(&to.snapshots),
        https: to.https,
        directory: directory.clone(),
        to: to.redis,
    };
    let mut threads = Threads::default();
    let relay = Relay::start(route, threads.last_words("the relay"))?;
    let outcome = control.run(async |mut signals| {
        let mut tasks = JoinSet::new();
        let address = admin.local_addr()?;
        admin.set_nonblocking(true)?;
        let admin = tokio::net::TcpListener::from_std(admin)?;
        tasks.spawn(listener::serve(admin, relay.router(), Bounds::ADMIN));
        if let Some(listen) = listen {
            listen.set_nonblocking(true)?;
            let listen = tokio::net::TcpListener::from_std(listen)?;
            tasks.spawn(listener::serve(listen, shelf::router(directory), Bounds::SNAPSHOTS));
        }
        info!(admin = %address, seconds = started.elapsed().as_secs_f32(), "ready");
        notify(ServiceState::Ready);
        let outcome = tokio::select! {
            () = signals.end.recv() => Ok(()),
            lost = threads.lost() => Err(lost.into()),
        };
        notify(ServiceState::Stopping);
        threads.stop();
        outcome
    });
    drop(relay);
    info!("stopped");
    outcome
}
