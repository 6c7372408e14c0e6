//! Metrics of serving: requests, connections, and the answers that are kept. It does not know how they are counted.

use std::{fmt, sync::atomic::Ordering::Relaxed};

use precompute::{
    admin::encode::{Family, Labels, counters, gauge, gauges},
    api::Counted,
};
use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};

use super::Status;
use crate::{
    metrics::{Counters, METHODS, RequestResult, Requests},
    net::counters::Histogram,
    ocsp::miss::Misses,
    site::Site,
    tsa::counters::Outcome,
};

/// Requests and connections.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    counters(encoder, "requests", "Requests by tenant, issuer, method and result", requests(&status.site()))?;
    latency(encoder, &status.counters)?;
    let open = status.counters.iter().enumerate();
    let open =
        open.map(|(worker, counters)| (vec![("worker", worker.to_string())], counters.transport.open.load(Relaxed)));
    gauges(encoder, "connections_open", "Connections open now, by serving thread", open.collect())?;
    for (name, help, read) in SERVING {
        let sum = status.counters.iter().map(read).sum();
        counters(encoder, name, help, vec![(Labels::new(), sum)])?;
    }
    Ok(())
}

/// What was answered since the start, for the API.
pub fn traffic(site: &Site) -> Vec<Counted> {
    let of = |tenant: &str, name: Option<&str>, requests: &Requests| {
        let sum = |result| (0..METHODS.len()).map(|method| requests.sum(method, result)).sum();
        let results = RequestResult::ALL.map(|(result, label)| (label, sum(result))).to_vec();
        Counted { tenant: tenant.to_owned(), kind: "ocsp", name: name.map(str::to_owned), results }
    };
    let of_tenants = site.tenants().iter().flat_map(|tenant| {
        let issuers = tenant.issuers().iter().map(|issuer| of(&tenant.name, Some(&issuer.name), &issuer.requests));
        std::iter::once(of(&tenant.name, None, &tenant.requests)).chain(issuers).collect::<Vec<_>>()
    });
    let of_authorities = site.authorities().map(|(tenant, authority)| Counted {
        tenant: tenant.to_owned(),
        kind: "tsa",
        name: Some(authority.name.clone()),
        results: Outcome::all().map(|outcome| (outcome.label(), authority.outcomes.sum(outcome))).collect(),
    });
    of_tenants.chain(of_authorities).collect()
}

/// Answers that are kept whole, and those being signed.
pub(super) fn encode_kept(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    KEPT.iter().try_for_each(|(name, help, read)| gauge(encoder, name, help, read(&status.misses)))
}

/// Counters of what serving threads do, summed over all of them.
const SERVING: [Family<Counters>; 11] = [
    ("http_refused", "Requests refused by HTTP itself, or because no tenant has the URL", |c| {
        c.transport.http_refused.load(Relaxed) + c.desk.unrouted.load(Relaxed)
    }),
    ("connections_accepted", "Connections accepted", |c| c.transport.accepted.load(Relaxed)),
    ("connections_expired", "Connections closed at a deadline", |c| c.transport.expired.load(Relaxed)),
    ("connections_turned_away", "Connections turned away at the limit", |c| c.transport.turned_away.load(Relaxed)),
    ("connections_displaced", "Idle connections closed at the limit to make room for others", |c| {
        c.transport.displaced.load(Relaxed)
    }),
    ("connections_handed_over", "Connections that a serving thread handed to one with fewer", |c| {
        c.transport.handed_over.load(Relaxed)
    }),
    ("connections_untrusted", "Connections refused because they did not come through a trusted proxy", |c| {
        c.transport.untrusted.load(Relaxed)
    }),
    ("proxy_headers_refused", "Connections refused for a missing or wrong PROXY header", |c| {
        c.transport.proxy_refused.load(Relaxed)
    }),
    ("tls_handshakes_failed", "Connections on which the TLS handshake failed", |c| {
        c.transport.tls_refused.load(Relaxed)
    }),
    ("response_octets", "Bytes of responses", |c| c.transport.octets_out.load(Relaxed)),
    ("access_log_lost", "Lines of the access log that were dropped", |c| c.desk.access_lost.load(Relaxed)),
];

/// Gauges of the answers that are kept whole, and of those being signed.
const KEPT: [Family<Misses>; 3] = [
    ("cache_entries", "Other kept answers", |misses| misses.store().size().whole.0),
    ("cache_octets", "Bytes of the other kept answers", |misses| misses.store().size().whole.1),
    ("signing_pending", "Certificates whose answer is being signed", |misses| misses.pending() as u64),
];

fn latency(encoder: &mut DescriptorEncoder<'_>, counters: &[Counters]) -> fmt::Result {
    let help = "From the request's arrival to its response being handed to the kernel, by whether it was signed for the request";
    let mut latency = encoder.encode_descriptor("latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (label, is_signed) in [("no", false), ("yes", true)] {
        let transports = counters.iter().map(|counters| &counters.transport);
        let (sum, count, buckets) =
            Histogram::sum(transports.map(|transport| if is_signed { &transport.signed } else { &transport.served }));
        let labels: Labels = vec![("signed", label.to_owned())];
        latency.encode_family(&labels)?.encode_histogram::<Labels>(sum, count, &buckets, None)?;
    }
    Ok(())
}

/// Requests that name no issuer of their tenant have an empty one.
fn requests(site: &Site) -> Vec<(Labels, u64)> {
    let mut values = Vec::new();
    let mut add = |tenant: &str, issuer: &str, requests: &Requests| {
        for (method, method_name) in METHODS.iter().enumerate() {
            for (result, label) in RequestResult::ALL {
                let labels = [("tenant", tenant), ("issuer", issuer), ("method", method_name), ("result", label)];
                let labels = labels.map(|(key, value)| (key, value.to_owned())).to_vec();
                values.push((labels, requests.sum(method, result)));
            }
        }
    };
    for tenant in site.tenants() {
        add(&tenant.name, "", &tenant.requests);
        tenant.issuers().iter().for_each(|issuer| add(&tenant.name, &issuer.name, &issuer.requests));
        tenant.forwarded().iter().for_each(|issuer| add(&tenant.name, issuer.name(), &issuer.requests));
    }
    values
}
