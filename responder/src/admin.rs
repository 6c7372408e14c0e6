//! Health and metrics, on an address of their own.
//!
//! This module reads what others count and decides nothing; nothing it does can slow an answer. Its output is for
//! operators: relying parties must not be able to reach the address. It does not know how anything is counted.

mod encode;
pub mod listener;
mod scrape;
mod signers;
mod time_stamps;

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use precompute::{pki::UnixTime, presign::Progress};
use tokio::sync::watch;

use self::signers::Pools;
use crate::{
    metrics::Counters,
    ocsp::miss::Misses,
    site::{Issuer, Site},
    tsa::record::Writer,
};

/// What health and metrics are read from.
#[derive(Debug)]
pub struct Status {
    site: watch::Receiver<Arc<Site>>,
    counters: Vec<Counters>,
    misses: Arc<Misses>,
    presign: Arc<Progress>,
    record: Option<Arc<Writer>>,
    /// Whether the service counts as ready while no key of some signer works.
    ready_without_signers: bool,
    draining: AtomicBool,
    started: UnixTime,
    /// When a configuration was last taken, and the fault of one that was refused since.
    reloaded: AtomicU64,
    reload_fault: Mutex<Option<String>>,
}

impl Status {
    /// `counters`: those of all workers; `ready_without_signers`: as in [`crate::config::Config`].
    pub fn new(
        site: watch::Receiver<Arc<Site>>,
        counters: Vec<Counters>,
        misses: Arc<Misses>,
        presign: Arc<Progress>,
        record: Option<Arc<Writer>>,
        ready_without_signers: bool,
    ) -> Arc<Self> {
        let started = UnixTime::now();
        Arc::new(Self {
            site,
            counters,
            misses,
            presign,
            record,
            ready_without_signers,
            draining: AtomicBool::new(false),
            started,
            reloaded: AtomicU64::new(started.0),
            reload_fault: Mutex::default(),
        })
    }

    /// Notes that the configuration was read again, or refused.
    pub fn reloaded(&self, outcome: Result<(), String>) {
        if outcome.is_ok() {
            self.reloaded.store(UnixTime::now().0, Relaxed);
        }
        *self.reload_fault.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err();
    }

    fn reload_fault(&self) -> Option<String> {
        self.reload_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the service is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether OCSP requests should be sent here, and the remarks about it, a line each.
    fn ocsp_readiness(&self, now: UnixTime) -> (bool, String) {
        let site = Arc::clone(&self.site.borrow());
        let pools = Pools::of_issuers(&site);
        let (ready, first) = if self.draining.load(Relaxed) {
            (false, "not ready: stopping\n")
        } else if issuers(&site).next().is_some() && issuers(&site).all(|(_, issuer)| !issuer.can_sign(now)) {
            (false, "not ready: no issuer has a signing certificate that is valid now\n")
        } else if !self.ready_without_signers && pools.some_down() {
            (false, "not ready: no key of a signer works\n")
        } else {
            (true, "ready\n")
        };
        let mut lines = String::from(first);
        let _ = pools.faults(&mut lines).and_then(|()| pools.down(&mut lines));
        if let Some(fault) = self.reload_fault() {
            let _ = writeln!(lines, "degraded: the configuration was refused: {fault}");
        }
        for tenant in site.tenants() {
            for issuer in &tenant.silent {
                let _ = writeln!(
                    lines,
                    "warning: {}/{issuer}: its CRL lists revoked certificates only, and every certificate that it does not list, valid or not, is answered `unauthorized`; set `unlisted`, as `ostia-responder check` explains",
                    tenant.name
                );
            }
        }
        for (tenant, issuer) in issuers(&site) {
            let (name, report) = (&issuer.name, issuer.state.health.report());
            for complaint in report.complaints(now, issuer.policy.stale_after) {
                let _ = writeln!(lines, "degraded: {tenant}/{name}: {complaint}");
            }
            for fault in issuer.signer_faults(now) {
                let _ = writeln!(lines, "degraded: {tenant}/{name}: {fault}");
            }
        }
        (ready, lines)
    }
}

/// The admin listener's paths.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz/ocsp", get(ready))
        .route("/readyz/tsa", get(ready_tsa))
        .route("/metrics", get(scrape::metrics))
        .with_state(status)
}

async fn ready(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let (ready, lines) = status.ocsp_readiness(UnixTime::now());
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}

async fn ready_tsa(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let site = Arc::clone(&status.site.borrow());
    let draining = status.draining.load(Relaxed);
    let (ready, mut lines) = time_stamps::readiness(&site, status.record.as_deref(), draining, UnixTime::now());
    if let Some(fault) = status.reload_fault() {
        let _ = writeln!(lines, "degraded: the configuration was refused: {fault}");
    }
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}

/// Every issuer of a site with its tenant's name.
fn issuers(site: &Site) -> impl Iterator<Item = (&str, &Issuer)> {
    site.tenants().iter().flat_map(|tenant| tenant.issuers().iter().map(|issuer| (&*tenant.name, &**issuer)))
}
