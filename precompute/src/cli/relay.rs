//! `ostia-precompute relay`: copies a feed to another site until it is stopped, with health and metrics.
//!
//! It answers nobody, and opens no source, no key of a signer and no book. Its listener is as those of the other programs, and it
//! is in the list of servers of the site that it fills.

use std::{error::Error, path::Path, time::Instant};

use tokio::task::JoinSet;
use tracing::info;

use crate::{
    admin::{
        gate::Gate,
        listener::{self, Bounds},
    },
    assemble::{AssembledAdmin, AssembledFeed},
    config::{Document, RelayConfig},
    feed::{
        servers::{Addresses, InUse, Keys, ServerRole},
        shelf,
    },
    journal::Identity,
    pki::UnixTime,
    relay::{Relay, Route},
    service::{
        Control, ServiceState, Threads, notify, open_snapshots,
        registry::{Facts, Membership, Own, Registry, State},
        snapshot_sources,
    },
    state_dir::{self, Purpose},
};

const RELAY: Purpose = Purpose::exclusive("ostia-precompute relay");

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let control = Control::new()?;
    let started = Instant::now();
    let document = Document::open(path)?;
    let reading = document.reading(RelayConfig::read).with(|config, problems| {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let open = |feed| AssembledFeed::open(feed, problems, credentials.as_deref());
        // All of it, so that all problems are told.
        let (to, from) = (open(&config.feed), open(&config.from));
        let admin = AssembledAdmin::open(&config.admin, &[], problems, credentials.as_deref(), UnixTime::now());
        to.zip(from).map(|(to, from)| (to, from, admin))
    });
    let (config, opened) = reading.finish()?;
    let (to, from, known) = opened.ok_or("the configuration could not be opened")?;
    let owned = state_dir::own(&config.state_dir, RELAY)?;
    let identity = Identity::of(owned.server_id(), &config.state_dir)?;
    let membership = Membership::of(&to, &config.state_dir);
    let gate = Gate::new(known);
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
    let written = |address: std::net::SocketAddr| address.to_string();
    let addresses = Addresses {
        admin: vec![admin.local_addr().map(written)?],
        snapshots: config.feed.snapshot_listen.map(written).into_iter().collect(),
        ..Addresses::default()
    };
    let registry = Registry::start(membership, &identity, own(&relay, addresses, document.digest()))?;
    let outcome = control.run(async |mut signals| {
        let mut tasks = JoinSet::new();
        let address = admin.local_addr()?;
        admin.set_nonblocking(true)?;
        let admin = tokio::net::TcpListener::from_std(admin)?;
        gate.serve(admin, relay.router(&registry), &mut tasks);
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
    registry.end();
    drop(relay);
    info!("stopped");
    outcome
}

/// What the list of servers is told of this relay.
fn own(relay: &Relay, addresses: Addresses, digest: String) -> Own {
    const STATE: State = State { role: ServerRole::Relay, freshness: None, draining: false };
    let position = relay.position();
    let configuration = InUse { digest: Some(digest), ..InUse::default() };
    let facts = move || Facts {
        state: STATE,
        addresses: addresses.clone(),
        position: position(),
        configuration: configuration.clone(),
        keys: Keys::default(),
    };
    Own { state: Box::new(|| STATE), facts: Box::new(facts) }
}
