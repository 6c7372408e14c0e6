//! The role of a replica: it answers from what the feed carries, reads no source, and keeps no book.
//!
//! It listens at once: until the first records have come everybody gets `tryLater`, which is never kept, and
//! `/readyz/ocsp` says 503 and why. systemd and the log hear that it is ready once there are records, or after
//! [`limits::FEED_FILLED_WITHIN`] without: a restart of several replicas one after the other so waits for each, and an outage
//! of Redis does not become a loop of restarts, which would end what a replica could answer the moment Redis is back.
//!
//! Where a signer has a key here, misses are signed here; where it has none they get `tryLater`, or are passed on by an edge. It does not know what is
//! answered.

use std::{error::Error, io, net::TcpListener, sync::Arc, time::Instant};

use precompute::{
    admin::{
        self as common, Part, Status,
        listener::{self, Bounds},
    },
    assemble::{AssembledFeed, Assembly},
    config::Transparency,
    feed::{
        poll,
        servers::{Addresses, InUse, RefusedConfiguration, ServerRole},
        shelf,
    },
    journal::Identity,
    service::{
        Purging, Signals, Tells, Tenants,
        configurations::Taken,
        following::{FeedStatus, Following},
        keeping::Keeping,
        registry::{Facts, Membership, Own, Registry, State, keys_of},
    },
    state_dir::{Owned, ServerId},
    transparency::{Tap, keeper::Whose},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tracing::{info, warn};

use super::{
    Running,
    background::into_tokio,
    serving::{Parts, Plan, Serving},
};
use crate::{admin, assemble::Opener, limits, ocsp::edge::Edge, reload::Knowledge, site::Site, upstream::group::Group};

/// A running replica.
pub(super) struct Replica {
    serving: Serving,
    following: Following,
    /// What keeps what is said, if anything does.
    keeping: Option<Keeping>,
    status: Arc<Status>,
    /// Has caches told of what its own configuration changes.
    purging: Arc<Purging>,
    registry: Registry,
    server: ServerId,
    /// Where snapshots are given out.
    snapshots: Option<TcpListener>,
}

impl Replica {
    /// Returns when all workers accept and the feed is followed.
    pub(super) fn start(
        plan: Plan,
        mut assembly: Assembly,
        (feed, edge): (AssembledFeed, Option<Arc<Group>>),
        owned: Owned,
    ) -> Result<Self, Box<dyn Error>> {
        let server = owned.server_id();
        let told = |problem: String| format!("{}: {problem}", plan.opener.path().display());
        let bind = |address| listener::bind(&Bounds::SNAPSHOTS, address);
        let snapshots = feed.snapshots.listen.map(bind).transpose().map_err(told)?;
        let membership = Membership::of(&feed, &plan.config.common.state_dir);
        let (identity, cluster) = (plan.identity().clone(), feed.cluster.clone());
        let (taken, of_reader) = (plan.opener.taken().cloned(), feed.of_its_reader());
        let opened = Following::open(&assembly, feed, owned)?;
        let serving = plan.serve(&assembly, &opened.tenants())?;
        // The site has the parts that it uses. Replaced parts have to go, with their threads and sessions.
        let targets = std::mem::take(&mut assembly.purge);
        drop(assembly);
        let tap = serving.config.common.transparency.as_ref().map(|_| Arc::<Tap>::default());
        let (answers, threads) = (serving.misses.store().answers(), &serving.workers.watched);
        let following = opened.start(answers, threads, tap.clone())?;
        let keep = |(config, tap): (&Transparency, Arc<Tap>)| {
            let whose = Whose { cluster: cluster.to_string(), server, key: identity.key.clone() };
            Keeping::start(config, whose, tap, (following.tenants(), Arc::clone(answers)), threads)
        };
        let keeping = serving.config.common.transparency.as_ref().zip(tap).map(keep).transpose()?;
        following.sharing().into_iter().for_each(|sharing| serving.misses.share(sharing.clone()));
        if let Some(group) = edge {
            let (courier, sites) = (serving.upstreams.shared()?.courier().clone(), serving.sites.subscribe());
            info!(upstreams = ?group.wanted().urls, "an edge: what has to be signed is passed on");
            serving.misses.pass_to(Edge { group, courier, sites });
        }
        let feed = Arc::clone(following.status());
        serving.misses.await_feed(Box::new(move || feed.expects_answers()))?;
        let ready_without_signers = serving.config.common.admin.ready_without_signers;
        let status = Status::of_replica(following.tenants(), ready_without_signers, following.status());
        status.may_be_drained(&serving.config.common.state_dir);
        let last = serving.workers.watched.last_words("what has caches told");
        let purging = Arc::new(Purging::start(following.tenants(), Tells::Replica, last)?);
        status.purges_by(&purging);
        purging.change(targets);
        status.keeps_said(keeping.as_ref().map(Keeping::kept));
        let registry = register(membership, &identity, &serving, &following, &status)?;
        status.registers(&registry);
        if let Some(taken) = taken {
            taken.begun();
            taken.follow(&of_reader)?;
        }
        Ok(Self { serving, following, keeping, status, purging, registry, server, snapshots })
    }

    /// Answers until a signal ends it, or a thread is lost.
    pub(super) async fn run(&mut self, signals: Signals, ready: impl FnOnce(&Running)) -> Result<(), Box<dyn Error>> {
        let Self { serving, following, status, purging, registry, server, snapshots, .. } = self;
        let mut tasks = JoinSet::new();
        following.spawn_tasks(&mut tasks);
        give_out(snapshots.take(), following, &mut tasks)?;
        let (fed, servers) = (common::feed(following.status()), common::servers(registry));
        let fed: Part = Box::new(move |encoder| fed(encoder).and_then(|()| servers(encoder)));
        let admin = admin::router(&Arc::new(serving.status(status, *server)), fed).merge(common::without_api());
        let knowledge = Knowledge::Feed(following.handle().clone(), Arc::clone(purging));
        let reload = serving.reload(knowledge, status);
        let parts = Parts { status: Arc::clone(status), admin, tasks, reload };
        let filled = filled(Arc::clone(following.status()));
        serving.run(signals, parts, filled, ready).await
    }

    /// Ends the remaining threads.
    pub(super) fn end(self) {
        self.registry.end();
        drop((self.serving, self.status, self.purging));
        self.following.end();
        // Behind everything that was said.
        self.keeping.into_iter().for_each(Keeping::end);
        info!("stopped");
    }
}

/// Puts this replica into the list of servers.
fn register(
    membership: Membership,
    identity: &Identity,
    serving: &Serving,
    following: &Following,
    status: &Arc<Status>,
) -> io::Result<Registry> {
    let facts = Told {
        addresses: addresses(serving),
        opener: serving.opener.clone(),
        feed: Arc::clone(following.status()),
        tenants: following.tenants(),
        sites: serving.sites.subscribe(),
        status: Arc::clone(status),
    };
    let (feed, status) = (Arc::clone(following.status()), Arc::clone(status));
    let own = Own { state: Box::new(move || state(&feed, &status)), facts: Box::new(move || facts.now()) };
    Registry::start(membership, identity, own)
}

/// Where this replica is reached.
fn addresses(serving: &Serving) -> Addresses {
    let (feed, running) = (serving.config.common.feed.as_ref(), serving.running());
    Addresses {
        http: running.http.iter().map(ToString::to_string).collect(),
        tls: running.tls.iter().map(ToString::to_string).collect(),
        admin: vec![running.admin.to_string()],
        snapshots: feed.and_then(|feed| feed.snapshot_listen).iter().map(ToString::to_string).collect(),
        api_url: Vec::new(),
    }
}

/// What this replica does.
fn state(feed: &FeedStatus, status: &Status) -> State {
    let freshness = Some(feed.report().freshness(Instant::now()));
    State { role: ServerRole::Replica, freshness, draining: status.leaves().is_some() }
}

/// What the list of servers is told of this replica.
struct Told {
    addresses: Addresses,
    opener: Opener,
    feed: Arc<FeedStatus>,
    tenants: watch::Receiver<Arc<Tenants>>,
    sites: watch::Receiver<Arc<Site>>,
    status: Arc<Status>,
}

impl Told {
    fn now(&self) -> Facts {
        let (report, site) = (self.feed.report(), Arc::clone(&self.sites.borrow()));
        let (version, refused) = self.opener.taken().map(Taken::at).unwrap_or_default();
        let refused_file = || self.status.reload_fault().map(|reason| RefusedConfiguration { version: None, reason });
        let refused = refused.or_else(refused_file);
        let authorities = site
            .authorities()
            .map(|(tenant, authority)| (format!("{tenant}/{}", authority.name), authority.signer.certificate()));
        Facts {
            state: state(&self.feed, &self.status),
            addresses: self.addresses.clone(),
            position: report.place.map(|place| place.position),
            configuration: InUse { digest: self.opener.digest(), version, refused },
            keys: keys_of(&self.tenants.borrow(), authorities),
        }
    }
}

/// Returns when there are records, or it has taken too long to let whoever started this wait.
async fn filled(feed: Arc<FeedStatus>) {
    let mut filled = feed.filled();
    if timeout(limits::FEED_FILLED_WITHIN, filled.wait_for(|filled| *filled)).await.is_err() {
        warn!(
            waited_seconds = limits::FEED_FILLED_WITHIN.as_secs(),
            "ready without records: everybody gets `tryLater` until they come, and `/readyz/ocsp` says why"
        );
    }
}

/// Gives out the snapshots that are kept here.
fn give_out(listener: Option<TcpListener>, following: &Following, tasks: &mut JoinSet<()>) -> io::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    let address = listener.local_addr()?;
    let Some(directory) = following.snapshots() else {
        warn!(%address, "no snapshots are given out, since none are kept here");
        return Ok(());
    };
    info!(%address, "snapshots are given out");
    let router = shelf::router(directory.clone());
    let router = following.tail().iter().fold(router, |router, tail| router.merge(poll::router((*tail).clone())));
    tasks.spawn(listener::serve(into_tokio(listener)?, router, Bounds::SNAPSHOTS));
    Ok(())
}
