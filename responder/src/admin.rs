//! The responder's parts of [`precompute::admin`]: requests, connections, kept answers, time-stamps.
//!
//! Like all of it, this reads what others count and decides nothing.

mod console;
mod serving;
mod time_stamps;
mod upstreams;

pub use self::serving::traffic;

use std::{fmt, sync::Arc};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use precompute::{
    admin::{self, Ends, Part, Pools, Whose, gate::Gate},
    journal::Journal,
    pki::{Certificate, UnixTime},
    state_dir::ServerId,
    tls::Certificates,
};
use prometheus_client::encoding::DescriptorEncoder;
use tokio::sync::watch;

pub use self::console::parts as console_parts;
use crate::{
    metrics::Counters,
    ocsp::miss::Misses,
    site::Site,
    upstream::{forwarded::Upstreams, group::Group},
};

/// What the responder's parts are read from.
#[derive(Debug)]
pub struct Status {
    /// What the common parts are read from.
    pub common: Arc<admin::Status>,
    /// What is answered.
    pub site: watch::Receiver<Arc<Site>>,
    /// Those of all workers.
    pub counters: Vec<Counters>,
    /// The kept answers.
    pub misses: Arc<Misses>,
    /// What asks other responders.
    pub upstreams: Upstreams,
    /// The record of tokens, if there is one.
    pub record: Option<Arc<Journal>>,
    /// What TLS shows, if there is TLS.
    pub tls: Option<Arc<Certificates>>,
    /// Who asks on the admin listener.
    pub gate: Arc<Gate>,
    /// Which server it is.
    pub server: ServerId,
}

impl Status {
    fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.borrow())
    }
}

/// The admin listener's paths. Metrics come in the order of their families: requests, kept answers, `role`, signers, records;
/// `role`: what answers that are here before anybody asks come from.
pub fn router(status: &Arc<Status>, role: Part) -> Router {
    let status = Arc::clone(status);
    let common = &status.common;
    let parts = vec![
        part(&status, serving::encode),
        admin::kept_answers(status.misses.store().answers()),
        part(&status, serving::encode_kept),
        part(&status, upstreams::encode),
        role,
        part(&status, pools),
        part(&status, |encoder, status| time_stamps::encode(encoder, &status.site(), status.record.as_deref())),
        admin::process(common),
        admin::server(status.server),
        admin::build(),
        admin::issuers(common),
        part(&status, certificates),
        admin::renewals(common),
        admin::purges(common),
        admin::journal(common),
        admin::transparency(common),
    ];
    let router = admin::router(Arc::clone(common), parts);
    let own = Router::new().route("/readyz", get(ready_all)).route("/readyz/tsa", get(ready_tsa));
    router.merge(own.with_state(Arc::clone(&status))).merge(admin::heads(&status.common))
}

fn part(status: &Arc<Status>, encode: fn(&mut DescriptorEncoder<'_>, &Status) -> fmt::Result) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| encode(encoder, &status))
}

/// The signers of OCSP responses and of time-stamp tokens.
fn pools(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let mut pools = Pools::of_issuers(&status.common.tenants());
    time_stamps::add_pools(&mut pools, &status.site());
    pools.encode(encoder)
}

/// When certificates end: those of issuers, authorities and the server itself.
fn certificates(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let mut ends = Ends::of_issuers(&status.common.tenants());
    for (tenant, authority) in status.site().authorities() {
        let whose = Whose { tenant, tsa: &authority.name, ..Whose::default() };
        let mut role = "tsa";
        for certificate in authority.signer.certificates() {
            ends.add(whose, role, certificate);
            role = "tsa_chain";
        }
    }
    let of_tls = status.tls.as_ref().and_then(|tls| tls.certificate());
    if let Some(Ok(certificate)) = of_tls.map(|certificate| Certificate::from_der(&certificate)) {
        ends.add(Whose::default(), "tls", &certificate);
    }
    ends.add_admin(&status.gate);
    ends.encode(encoder)
}

/// Adds remarks on upstreams that have failed, a line each.
pub fn remark_upstreams(site: &Site, misses: &Misses, lines: &mut String) {
    upstreams::remark(groups(site, misses), lines);
}

/// The upstreams of an edge, and of issuers that others answer for.
fn groups<'g>(site: &'g Site, misses: &'g Misses) -> impl Iterator<Item = &'g Group> {
    misses.edge().map(|edge| &*edge.group).into_iter().chain(site.groups())
}

async fn ready_tsa(State(status): State<Arc<Status>>) -> impl IntoResponse {
    admin::readiness(tsa_readiness(&status, UnixTime::now()))
}

/// Whether everything is ready that is configured here.
async fn ready_all(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let now = UnixTime::now();
    let (mut ready, mut lines) = status.common.ocsp_readiness(now, false);
    if status.site().authorities().next().is_some() || status.site().authorities_elsewhere().next().is_some() {
        let (ready_tsa, of_tsa) = tsa_readiness(&status, now);
        ready &= ready_tsa;
        lines += &of_tsa;
    }
    admin::readiness((ready, lines))
}

fn tsa_readiness(status: &Status, now: UnixTime) -> (bool, String) {
    let leaves = status.common.leaves();
    if status.site().authorities_elsewhere().next().is_some() {
        let (mut lines, is_answered) =
            (String::new(), status.misses.edge().is_some_and(|edge| edge.group.is_answered()));
        lines += leaves.unwrap_or(if is_answered { "ready\n" } else { "not ready: no upstream answers\n" });
        remark_upstreams(&status.site(), &status.misses, &mut lines);
        return (leaves.is_none() && is_answered, lines);
    }
    let (ready, mut lines) = time_stamps::readiness(&status.site(), status.record.as_deref(), leaves, now);
    status.common.reload_remark(&mut lines);
    status.common.renewal_remarks(true, now, &mut lines);
    (ready, lines)
}
