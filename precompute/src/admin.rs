//! Health and metrics, on an address of their own.
//!
//! This module reads what others count and decides nothing; nothing it does can slow an answer. Its output is for
//! operators: relying parties must not be able to reach the address. It does not know how anything is counted.
//!
//! What a program tells is composed of small parts: it names them in the order of the output ([`Part`]), and adds its
//! own beside those that are here.

mod beside;
mod certificates;
mod drained;
pub mod encode;
mod feed;
pub mod gate;
mod journal;
pub mod listener;
mod metrics;
mod process;
mod publishing;
mod purges;
mod renewals;
mod servers;
mod signers;
mod text;
mod transparency;

use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{any, get},
};
use tokio::sync::watch;

use self::{beside::Beside, drained::Drained};
pub use self::{
    certificates::{Ends, Whose, certificates},
    drained::drain,
    feed::feed,
    journal::journal,
    metrics::{Part, issuers, kept_answers, presigning, process, scrape, server},
    process::build,
    publishing::publishing,
    purges::purges,
    renewals::renewals,
    servers::servers,
    signers::{Pools, pools_of_issuers},
    transparency::{heads, transparency},
};
use crate::journal::{Journal, trail};
use crate::{
    feed::{Freshness, Issuer},
    pki::UnixTime,
    purge,
    renew::Report,
    service::{Publishing, Purging, Renewer, Tenants, following::FeedStatus, keeping::Kept, registry::Registry},
};

/// What the parts that all programs have are read from.
#[derive(Debug)]
pub struct Status {
    tenants: watch::Receiver<Arc<Tenants>>,
    /// Of a replica.
    feed: Option<Arc<FeedStatus>>,
    /// Whether the service counts as ready while no key of some signer works.
    ready_without_signers: bool,
    draining: AtomicBool,
    drained: OnceLock<Drained>,
    started: UnixTime,
    /// When a configuration was last taken, and the fault of one that was refused since.
    reloaded: AtomicU64,
    reload_fault: Mutex<Option<String>>,
    /// Of a writer of a feed.
    publishing: OnceLock<Publishing>,
    /// The list of servers of a feed.
    registry: OnceLock<Registry>,
    /// What renews signers.
    renewer: OnceLock<Weak<Renewer>>,
    /// What has caches told.
    purging: OnceLock<Weak<Purging>>,
    /// Where what happens is kept.
    journal: OnceLock<Arc<Journal>>,
    /// Where OCSP transactions are kept.
    transactions: OnceLock<Arc<Journal>>,
    /// Where a replica keeps what it says, and since when it does.
    transparency: OnceLock<(Kept, Instant)>,
    beside: OnceLock<Beside>,
}

impl Status {
    /// `ready_without_signers`: as in [`crate::config::Admin`].
    pub fn new(tenants: watch::Receiver<Arc<Tenants>>, ready_without_signers: bool) -> Arc<Self> {
        Self::with(tenants, ready_without_signers, None)
    }

    /// The same for a replica, whose records come from a feed.
    pub fn of_replica(
        tenants: watch::Receiver<Arc<Tenants>>,
        ready_without_signers: bool,
        feed: &Arc<FeedStatus>,
    ) -> Arc<Self> {
        Self::with(tenants, ready_without_signers, Some(Arc::clone(feed)))
    }

    fn with(
        tenants: watch::Receiver<Arc<Tenants>>,
        ready_without_signers: bool,
        feed: Option<Arc<FeedStatus>>,
    ) -> Arc<Self> {
        let started = UnixTime::now();
        Arc::new(Self {
            tenants,
            feed,
            ready_without_signers,
            draining: AtomicBool::new(false),
            drained: OnceLock::new(),
            started,
            reloaded: AtomicU64::new(started.0),
            reload_fault: Mutex::default(),
            publishing: OnceLock::new(),
            registry: OnceLock::new(),
            renewer: OnceLock::new(),
            purging: OnceLock::new(),
            journal: OnceLock::new(),
            transactions: OnceLock::new(),
            transparency: OnceLock::new(),
            beside: OnceLock::new(),
        })
    }

    /// The tenants now.
    pub fn tenants(&self) -> Arc<Tenants> {
        Arc::clone(&self.tenants.borrow())
    }

    /// It is a writer of a feed, which fares like this.
    pub fn publishes(&self, publishing: &Publishing) {
        let _ = self.publishing.set(publishing.clone());
    }

    /// It is one of these servers.
    pub fn registers(&self, registry: &Registry) {
        let _ = self.registry.set(registry.clone());
    }

    /// Its signers are renewed by this.
    pub fn renews(&self, renewer: &Arc<Renewer>) {
        let _ = self.renewer.set(Arc::downgrade(renewer));
    }

    /// Caches are told by this.
    pub fn purges_by(&self, purging: &Arc<Purging>) {
        let _ = self.purging.set(Arc::downgrade(purging));
    }

    /// What happens is kept here.
    pub fn keeps(&self, journal: Option<&Arc<Journal>>) {
        journal.into_iter().for_each(|journal| drop(self.journal.set(Arc::clone(journal))));
    }

    /// OCSP transactions are kept here.
    pub fn keeps_transactions(&self, record: Option<&Arc<Journal>>) {
        record.into_iter().for_each(|record| drop(self.transactions.set(Arc::clone(record))));
    }

    /// What is said is kept here.
    pub fn keeps_said(&self, kept: Option<&Kept>) {
        kept.into_iter().for_each(|kept| drop(self.transparency.set((kept.clone(), Instant::now()))));
    }

    /// Opens the files of the journal and of transactions by their names again, in case they were renamed.
    pub fn reopen_journals(&self) {
        [&self.journal, &self.transactions].into_iter().filter_map(OnceLock::get).for_each(|journal| journal.reopen());
    }

    fn purges(&self) -> Vec<purge::Report> {
        self.purging.get().and_then(Weak::upgrade).map(|purging| purging.reports()).unwrap_or_default()
    }

    /// Readiness has these remarks as well, a line each.
    pub fn remarks_by(&self, add: impl Fn(&mut String) + Send + Sync + 'static) {
        let _ = self.beside.set(Beside(Box::new(add)));
    }

    fn renewals(&self) -> Vec<Report> {
        self.renewer.get().and_then(Weak::upgrade).map(|renewer| renewer.reports()).unwrap_or_default()
    }

    /// What is to be said of signers that are not renewed in time, a line each: of those that sign time-stamps, or of the
    /// others.
    pub fn renewal_remarks(&self, of_tsas: bool, now: UnixTime, lines: &mut String) {
        for report in self.renewals().iter().filter(|report| report.is_tsa == of_tsas) {
            if let Some(complaint) = report.complaint(now) {
                let _ = writeln!(lines, "degraded: {}/{}: {complaint}", report.tenant, report.name);
            }
        }
    }

    /// Notes that the configuration was read again, or why it was refused.
    pub fn reloaded(&self, refused: Option<String>) {
        trail::tell("reload", |event| {
            let word = if refused.is_none() { "done" } else { "refused" };
            event.text("outcome", word).optional("problem", refused.as_ref())
        });
        if refused.is_none() {
            self.reloaded.store(UnixTime::now().0, Relaxed);
        }
        *self.reload_fault.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        self.registry.get().into_iter().for_each(Registry::changed);
    }

    /// Why the last configuration was refused, if it was.
    pub fn reload_fault(&self) -> Option<String> {
        self.reload_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the service is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// An operator may take it out of rotation by this state directory.
    pub fn may_be_drained(&self, state_dir: &Path) {
        let _ = self.drained.set(Drained::of(state_dir));
    }

    /// Why nothing is to be sent here any more, if so: a line.
    pub fn leaves(&self) -> Option<&'static str> {
        if self.draining.load(Relaxed) {
            return Some("not ready: stopping\n");
        }
        let is_drained = self.drained.get().is_some_and(Drained::look);
        is_drained.then_some("not ready: drained; `ostia-responder drain --end --config FILE` ends that\n")
    }

    /// Why the last configuration was refused, if it was: a line.
    pub fn reload_remark(&self, lines: &mut String) {
        if let Some(fault) = self.reload_fault() {
            let _ = writeln!(lines, "degraded: the configuration was refused: {fault}");
        }
    }

    /// Whether OCSP responses can be made, and the remarks about it, a line each. `fresh`: a replica that has not heard from
    /// its writer for some seconds is not ready, so that a balancer prefers others.
    pub fn ocsp_readiness(&self, now: UnixTime, fresh: bool) -> (bool, String) {
        let tenants = self.tenants();
        let pools = Pools::of_issuers(&tenants);
        let mut issuers = tenants.issuers();
        let (ready, first) = if let Some(why) = self.leaves() {
            (false, why)
        } else if let Some(why) = self.feed_lacks(fresh) {
            (false, why)
        } else if tenants.issuers().next().is_some() && issuers.all(|(_, issuer)| !issuer.can_sign(now)) {
            (false, "not ready: no issuer has a signing certificate that is valid now\n")
        } else if self.knows_nothing(&tenants) {
            (false, "not ready: nothing is known of any issuer yet: no source was read, and nothing was pushed\n")
        } else if !self.ready_without_signers && pools.some_down() {
            (false, "not ready: no key of a signer works\n")
        } else {
            (true, "ready\n")
        };
        let mut lines = String::from(first);
        let _ = pools.faults(&mut lines).and_then(|()| pools.down(&mut lines));
        self.reload_remark(&mut lines);
        if let Some(problem) = self.journal.get().and_then(|journal| journal.status().problem) {
            let _ = writeln!(lines, "degraded: the journal: {problem}");
        }
        if let Some(problem) = self.transactions.get().and_then(|record| record.status().problem) {
            let _ = writeln!(lines, "degraded: the record of OCSP transactions: {problem}");
        }
        if let Some(problem) = self.transparency.get().and_then(|(kept, _)| kept.report().problem) {
            let _ = writeln!(lines, "degraded: what is said cannot be kept ([transparency]): {problem}");
        }
        for complaint in self.feed.iter().flat_map(|feed| feed.complaints(Instant::now())) {
            let _ = writeln!(lines, "degraded: feed: {complaint}");
        }
        for remark in self.feed.iter().flat_map(|feed| feed.remarks()) {
            let _ = writeln!(lines, "{remark}");
        }
        for remark in self.publishing.get().iter().flat_map(|writer| publishing::remarks(&writer.report())) {
            let _ = writeln!(lines, "{remark}");
        }
        for remark in self.registry.get().iter().flat_map(|registry| registry.view().remarks()) {
            let _ = writeln!(lines, "{remark}");
        }
        for complaint in self.purges().iter().filter_map(purge::Report::complaint) {
            let _ = writeln!(lines, "degraded: {complaint}");
        }
        for tenant in tenants.iter() {
            for issuer in &tenant.silent {
                let _ = writeln!(
                    lines,
                    "warning: {}/{issuer}: its CRL lists revoked certificates only, and every certificate that it does not list, valid or not, is answered `unauthorized`; set `unlisted`, as `ostia-responder check` explains",
                    tenant.name
                );
            }
        }
        self.renewal_remarks(false, now, &mut lines);
        self.beside.get().into_iter().for_each(|beside| beside.0(&mut lines));
        let abandoned = self.feed.as_ref().map(|feed| feed.report().abandoned).unwrap_or_default();
        for (tenant, issuer) in tenants.issuers() {
            let (name, report) = (&issuer.name, issuer.state.health.report());
            if self.feed.as_ref().is_some_and(|feed| feed.report().is_filled) && !issuer.state.health.is_known() {
                let _ = writeln!(
                    lines,
                    "degraded: {tenant}/{name}: the writer has told nothing of this issuer, and its certificates get `tryLater`: it has to be in the writer's configuration, with the same CA in a tenant of the same name"
                );
                continue;
            }
            if abandoned.contains(&Issuer::from(issuer.id())) {
                let _ = writeln!(
                    lines,
                    "degraded: {tenant}/{name}: the writer no longer speaks of this issuer: what was told of it before is served on, and no revocation comes any more; see whether it is still in the configuration of the writer that leads"
                );
            }
            if let Some(since) = issuer.ca_revoked_since() {
                let _ = writeln!(
                    lines,
                    "warning: {tenant}/{name}: the CA's own certificate is revoked since {since}, and all its certificates are answered as revoked with it"
                );
            }
            for complaint in report.complaints(now, &issuer.policy) {
                let _ = writeln!(lines, "degraded: {tenant}/{name}: {complaint}");
            }
            for fault in issuer.signer_faults(now) {
                let _ = writeln!(lines, "degraded: {tenant}/{name}: {fault}");
            }
        }
        (ready, lines)
    }

    /// Whether there never was a record: everybody gets `tryLater`, so a balancer should prefer others. Once something was
    /// known it stays so, also over a restart: where what the CA says has ended, it has for all servers, and `tryLater` from each
    /// is better than none. What stands by learns from who leads; a replica has a reason of its own.
    fn knows_nothing(&self, tenants: &Tenants) -> bool {
        let mut issuers = tenants.issuers().peekable();
        self.feed.is_none()
            && self.publishing.get().is_none()
            && issuers.peek().is_some()
            && issuers.all(|(_, issuer)| {
                let health = &issuer.state.health;
                // Where pushes are the only source, it takes them from the beginning.
                !health.is_known() && health.report().verified.is_none()
            })
    }

    /// Why a replica is not ready, if that is because of the feed.
    fn feed_lacks(&self, fresh: bool) -> Option<&'static str> {
        let report = self.feed.as_ref()?.report();
        if !report.is_filled {
            Some("not ready: nothing has come from the feed yet\n")
        } else if fresh && report.freshness(Instant::now()) != Freshness::Fresh {
            Some("not fresh\n")
        } else if fresh && !report.has_answers && self.tenants().issuers().any(|(_, issuer)| !issuer.has_key()) {
            Some(
                "not fresh: the answers of the snapshot are being taken, and those that are missing cannot be signed here\n",
            )
        } else {
            None
        }
    }
}

/// The paths that all programs have; `parts`: what `/metrics` consists of, in this order. A program merges its own paths
/// into it.
pub fn router(status: Arc<Status>, parts: Vec<Part>) -> Router {
    let parts = Arc::new(parts);
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz/ocsp", get(ready))
        .with_state(status)
        .route("/metrics", get(async move |request: HeaderMap| metrics::scrape(parts, &request)))
        .fallback(async || (StatusCode::NOT_FOUND, NOTHING))
}

/// `/readyz` of a program that answers for nothing but OCSP.
pub fn readyz(status: Arc<Status>) -> Router {
    Router::new().route("/readyz", get(ready)).with_state(status)
}

/// What any other path is answered with.
pub(crate) const NOTHING: &str = "nothing is at this path; health is at /livez, /readyz and /readyz/ocsp, metrics are at /metrics, pushes and look-ups at /v1, and pages for people at /console/\n";

/// What a replica says at the paths of the API and of the console.
pub fn without_api() -> Router {
    let told = async || (StatusCode::NOT_FOUND, WITHOUT_API);
    let paths = ["/v1", "/v1/{*path}", "/console", "/console/", "/console/{*path}"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(told)))
}

const WITHOUT_API: &str = "this is a replica, which keeps no book: pushes and look-ups go to the writer, `ostia-precompute run`, and so does the console\n";

async fn ready(State(status): State<Arc<Status>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let fresh = query.is_some_and(|query| query.split('&').any(|pair| pair == "fresh=1"));
    readiness(status.ocsp_readiness(UnixTime::now(), fresh))
}

/// The response of a path that says whether something is ready, with remarks.
pub fn readiness((ready, lines): (bool, String)) -> impl IntoResponse {
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}
