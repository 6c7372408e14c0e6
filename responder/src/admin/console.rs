//! What the console shows of serving: traffic, connections, and the clocks of time-stamps. It does not know pages.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use precompute::{
    console::{ClockRow, Meter, Parts, SignerRow},
    pki::{Certificate, UnixTime},
};

use super::{Status, time_stamps};
use crate::{
    metrics::{METHODS, RequestResult},
    net::counters::Counters,
    tsa::{authority::Authority, counters::Outcome},
};

/// What this program has. `meters`: those that every program has.
pub fn parts(status: &Arc<Status>, meters: Vec<Meter>) -> Parts {
    let [own, clocks, signers] = [(); 3].map(|()| Arc::clone(status));
    Parts {
        program: format!("ostia-responder {}", env!("CARGO_PKG_VERSION")),
        server: status.server.to_string(),
        status: Arc::clone(&status.common),
        readiness: Box::new(move |now| conditions(&own, now)),
        meters: serving(status).into_iter().chain(meters).collect(),
        clocks: Some(Box::new(move |now| clock_rows(&clocks, now))),
        tsa_signers: Some(Box::new(move |now| signer_rows(&signers, now))),
    }
}

/// Whether everything is ready, with what is to be said about it; clocks have a page of their own.
fn conditions(status: &Status, now: UnixTime) -> (bool, String) {
    let (mut ready, mut lines) = status.common.ocsp_readiness(now, false);
    let site = status.site();
    if site.authorities().next().is_some() {
        let leaves = status.common.leaves();
        let (ready_tsa, of_tsa) = time_stamps::conditions(&site, status.record.as_deref(), leaves, now);
        ready &= ready_tsa;
        lines += &of_tsa;
        status.common.renewal_remarks(true, now, &mut lines);
    }
    (ready, lines)
}

fn serving(status: &Arc<Status>) -> Vec<Meter> {
    let requests = |title: &'static str, which: &'static [RequestResult]| {
        let status = Arc::clone(status);
        Meter::counter(title, move || answered(&status, which))
    };
    const ALL: [RequestResult; RequestResult::ALL.len()] = {
        let mut all = [RequestResult::Hit; RequestResult::ALL.len()];
        let mut place = 0;
        while place < all.len() {
            all[place] = RequestResult::ALL[place].0;
            place += 1;
        }
        all
    };
    let mut meters = vec![
        requests("Requests", &ALL),
        requests("From kept answers", &[RequestResult::Hit, RequestResult::NotModified]),
        requests("Signed for a request", &[RequestResult::Signed]),
        requests("Put off or failed", &[RequestResult::TryLater, RequestResult::InternalError]),
    ];
    if status.site().authorities().next().is_some() {
        let status = Arc::clone(status);
        let granted = move || {
            let site = status.site();
            site.authorities().map(|(_, authority)| authority.outcomes.sum(Outcome::Granted)).sum()
        };
        meters.push(Meter::counter("Time-stamps", granted));
    }
    let status = Arc::clone(status);
    let open = move || {
        let open = |transport: &Counters| transport.open.load(Relaxed);
        status.counters.iter().map(|counters| open(&counters.transport)).sum()
    };
    meters.push(Meter::level("Connections open", open));
    meters
}

/// Requests of all tenants with one of these results.
fn answered(status: &Status, which: &[RequestResult]) -> u64 {
    let site = status.site();
    let tenants = site.tenants().iter();
    let counted = tenants.flat_map(|tenant| {
        std::iter::once(&tenant.requests).chain(tenant.issuers().iter().map(|issuer| &issuer.requests))
    });
    let of = |requests: &crate::metrics::Requests| -> u64 {
        (0..METHODS.len()).flat_map(|method| which.iter().map(move |result| requests.sum(method, *result))).sum()
    };
    counted.map(|requests| of(requests)).sum()
}

fn clock_rows(status: &Status, now: UnixTime) -> Vec<ClockRow> {
    let site = status.site();
    site.authorities().map(|(tenant, authority)| clock_row(tenant, authority, now)).collect()
}

fn signer_rows(status: &Status, now: UnixTime) -> Vec<SignerRow> {
    let site = status.site();
    let rows = site.authorities().map(|(tenant, authority)| SignerRow {
        tenant: tenant.to_owned(),
        signs_for: authority.name.clone(),
        certificate: authority.signer.certificates().next().map(Certificate::subject).unwrap_or_default(),
        ends: authority.signer.use_of_key().ends.min(authority.signer.not_after()),
        fault: authority
            .fault_of_signer(now)
            .or_else(|| authority.signer.signing().status().is_down().then(|| "its key does not work".to_owned())),
        has_key: true,
    });
    rows.collect()
}

fn clock_row(tenant: &str, authority: &Authority, now: UnixTime) -> ClockRow {
    let state = authority.clock.state();
    let counted = Outcome::all().map(|outcome| (outcome.label().to_owned(), authority.outcomes.sum(outcome)));
    let ends = authority.signer.use_of_key().ends.min(authority.signer.not_after());
    let mut facts: Vec<_> = time_stamps::facts(&state).map(|(name, value)| (name.to_owned(), value)).collect();
    facts.push(("Tokens are made until".to_owned(), ends.to_string()));
    ClockRow {
        tenant: tenant.to_owned(),
        tsa: authority.name.clone(),
        problem: authority.problem(now),
        source: state.source.to_string(),
        facts,
        outcomes: counted.filter(|(_, count)| *count > 0).collect(),
    }
}
