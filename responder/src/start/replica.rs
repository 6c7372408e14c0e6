//! The role of a replica: it answers from what the feed carries, reads no source, and keeps no book.
//!
//! It listens at once: until the first records have come everybody gets `tryLater`, which is never kept, and
//! `/readyz/ocsp` says 503 and why. systemd and the log hear that it is ready once there are records, or after
//! [`limits::FEED_FILLED_WITHIN`] without: a restart of several replicas one after the other so waits for each, and an outage
//! of Redis does not become a loop of restarts, which would end what a replica could answer the moment Redis is back.
//!
//! Where a signer has a key here, misses are signed here; where it has none they get `tryLater`, or are passed on by an edge. It does not know what is
//! answered.

use std::{error::Error, io, net::TcpListener, sync::Arc};

use precompute::{
    admin::{
        self as common, Status,
        listener::{self, Bounds},
    },
    assemble::{AssembledFeed, Assembly},
    feed::{poll, shelf},
    service::{
        Signals,
        following::{FeedStatus, Following},
    },
    state_dir::{Owned, ServerId},
};
use tokio::{task::JoinSet, time::timeout};
use tracing::{info, warn};

use super::{
    Running,
    background::into_tokio,
    serving::{Parts, Plan, Serving},
};
use crate::{admin, limits, ocsp::edge::Edge, reload::Knowledge, upstream::group::Group};

/// A running replica.
pub(super) struct Replica {
    serving: Serving,
    following: Following,
    status: Arc<Status>,
    server: ServerId,
    /// Where snapshots are given out.
    snapshots: Option<TcpListener>,
}

impl Replica {
    /// Returns when all workers accept and the feed is followed.
    pub(super) fn start(
        plan: Plan,
        assembly: Assembly,
        (feed, edge): (AssembledFeed, Option<Arc<Group>>),
        owned: Owned,
    ) -> Result<Self, Box<dyn Error>> {
        let server = owned.server_id();
        let told = |problem: String| format!("{}: {problem}", plan.opener.path().display());
        let bind = |address| listener::bind(&Bounds::SNAPSHOTS, address);
        let snapshots = feed.snapshots.listen.map(bind).transpose().map_err(told)?;
        let opened = Following::open(&assembly, feed, owned)?;
        let serving = plan.serve(&assembly, &opened.tenants())?;
        // The site has the parts that it uses. Replaced parts have to go, with their threads and sessions.
        drop(assembly);
        let following = opened.start(serving.misses.store().answers(), &serving.workers.watched)?;
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
        Ok(Self { serving, following, status, server, snapshots })
    }

    /// Answers until a signal ends it, or a thread is lost.
    pub(super) async fn run(&mut self, signals: Signals, ready: impl FnOnce(&Running)) -> Result<(), Box<dyn Error>> {
        let Self { serving, following, status, server, snapshots } = self;
        let mut tasks = JoinSet::new();
        following.spawn_tasks(&mut tasks);
        give_out(snapshots.take(), following, &mut tasks)?;
        let fed = common::feed(following.status());
        let admin = admin::router(serving.status(status, *server), fed).merge(common::without_api());
        let reload = serving.reload(Knowledge::Feed(following.handle().clone()), status);
        let parts = Parts { status: Arc::clone(status), admin, tasks, reload };
        let filled = filled(Arc::clone(following.status()));
        serving.run(signals, parts, filled, ready).await
    }

    /// Ends the remaining threads.
    pub(super) fn end(self) {
        drop((self.serving, self.status));
        self.following.end();
        info!("stopped");
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
