//! Metrics, written on request.
//!
//! A metric that is one number for one thing is in the table of its kind, and nowhere else. It does not know how
//! anything is counted.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use precompute::{engine::HealthReport, pki::UnixTime, presign::Report};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{
    Status,
    encode::{Labels, counters, gauge, gauges, labels},
    issuers,
    signers::Pools,
    time_stamps,
};
use crate::{
    metrics::{Counters, METHODS, RequestResult, Requests},
    net::counters::Histogram,
    ocsp::miss::Misses,
    site::{Issuer, Site},
};

/// All metrics, in the form of OpenMetrics.
pub(super) async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("ostia");
    registry.register_collector(Box::new(Scrape(status)));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Debug)]
struct Scrape(Arc<Status>);

impl Collector for Scrape {
    /// In the order of the families: requests, kept answers, signers, records.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (encoder, status) = (&mut encoder, &*self.0);
        let site = Arc::clone(&status.site.borrow());
        counters(encoder, "requests", "Requests by tenant, issuer, method and result", requests(&site))?;
        latency(encoder, &status.counters)?;
        let open = status.counters.iter().enumerate();
        let open = open
            .map(|(worker, counters)| (vec![("worker", worker.to_string())], counters.transport.open.load(Relaxed)));
        gauges(encoder, "connections_open", "Connections open now, by serving thread", open.collect())?;
        for (name, help, read) in SERVING {
            let sum = status.counters.iter().map(read).sum();
            counters(encoder, name, help, vec![(Labels::new(), sum)])?;
        }
        for (name, help, read) in KEPT {
            gauge(encoder, name, help, read(&status.misses))?;
        }
        presign(encoder, &status.presign.report())?;
        Pools::of(&site).encode(encoder)?;
        time_stamps::encode(encoder, &site, status.record.as_deref())?;
        for (name, help, read) in PROCESS {
            gauge(encoder, name, help, read(status))?;
        }
        per_issuer(encoder, &site, UnixTime::now())
    }
}

/// A family of metrics without a label of its own: its name, its help, and how it is read.
type Family<T> = (&'static str, &'static str, fn(&T) -> u64);

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

/// Gauges of the kept answers and of those being signed.
const KEPT: [Family<Misses>; 5] = [
    ("answers", "Kept answers about listed certificates", |misses| misses.store().size().compact.0),
    ("answers_octets", "Bytes of the kept answers about listed certificates", |misses| misses.store().size().compact.1),
    ("cache_entries", "Other kept answers", |misses| misses.store().size().whole.0),
    ("cache_octets", "Bytes of the other kept answers", |misses| misses.store().size().whole.1),
    ("signing_pending", "Certificates whose answer is being signed", |misses| misses.pending() as u64),
];

/// Gauges of the process and its configuration.
const PROCESS: [Family<Status>; 3] = [
    ("start_time_seconds", "When the process was started, Unix time", |status| status.started.0),
    ("config_last_read_seconds", "When the configuration was last taken, Unix time", |status| {
        status.reloaded.load(Relaxed)
    }),
    ("config_faulty", "Whether the configuration was rejected at the last reload", |status| {
        status.reload_fault().is_some().into()
    }),
];

/// Gauges of an issuer's sources and book.
const SOURCE: [Family<HealthReport>; 6] = [
    ("source_last_read_seconds", "When the sources were last taken, Unix time", |report| {
        report.last_read.map_or(0, |time| time.0)
    }),
    ("source_faulty", "Whether the sources are refused now", |report| report.fault.is_some().into()),
    ("source_last_look_seconds", "When the sources were last checked for changes, Unix time", |report| {
        report.last_look.map_or(0, |time| time.0)
    }),
    ("crl_next_update_seconds", "When the CRL goes out of date, Unix time; 0 without one", |report| {
        report.crl_next_update.map_or(0, |time| time.0)
    }),
    ("book_faulty", "Whether changes are served that are not in the book yet", |report| {
        report.book_fault.is_some().into()
    }),
    ("source_contradictions", "Revocations that the sources take back and that stay", |report| report.contradictions),
];

/// Counters of an issuer's sources.
const SOURCE_TOTALS: [Family<HealthReport>; 3] = [
    ("source_faults", "Refused reads of the sources", |report| report.faults),
    ("source_reads", "Reads of the sources", |report| report.reads),
    ("source_changes", "Records changed by the sources", |report| report.changed),
];

/// Gauges of pre-signing.
const PRESIGN: [Family<Report>; 5] = [
    ("presign_due", "Answers that the present pass still has to sign", |report| report.due),
    ("presign_left_seconds", "How long the present pass will take at its present rate", |report| {
        report.left.map_or(0, |left| left.as_secs())
    }),
    ("presign_last_pass_end_seconds", "When the last pass ended, Unix time", |report| report.last_pass_ended),
    ("presign_store_faulty", "Whether answers signed ahead cannot be stored", |report| report.store_faulty.into()),
    ("presign_full", "Whether there was no room for more answers in the last pass", |report| report.full.into()),
];

/// Counters of pre-signing.
const PRESIGN_TOTALS: [Family<Report>; 6] = [
    ("presign_signed", "Answers signed ahead and kept", |report| report.signed),
    ("presign_failed", "Failed signatures for answers signed ahead", |report| report.failed),
    ("presign_expired", "Signatures for answers signed ahead that waited too long and are requested again", |report| {
        report.expired
    }),
    ("presign_void", "Signatures discarded because their record changed meanwhile", |report| report.void),
    ("presign_restored", "Answers taken from the store", |report| report.restored),
    ("presign_stored", "Answers put into the store", |report| report.stored),
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

/// For each issuer: the number of records, its signers, and the condition of its sources.
fn per_issuer(encoder: &mut DescriptorEncoder<'_>, site: &Site, now: UnixTime) -> fmt::Result {
    gauges(encoder, "records", "Certificates known by status", records(site))?;
    let each = |read: &dyn Fn(&Issuer) -> u64| {
        issuers(site).map(|issuer| (labels(issuer), read(issuer.1))).collect::<Vec<_>>()
    };
    let ends = each(&|issuer| issuer.not_after().0);
    gauges(encoder, "signer_not_after_seconds", "End of the signing certificate, Unix time", ends)?;
    let help = "Signing certificates that the CA has revoked, plus one if none is valid now";
    gauges(encoder, "signers_at_fault", help, each(&|issuer| issuer.signer_faults(now).count() as u64))?;
    let reports: Vec<_> = issuers(site).map(|issuer| (labels(issuer), issuer.1.state.health.report())).collect();
    let each = |read: fn(&HealthReport) -> u64| {
        reports.iter().map(|(labels, report)| (labels.clone(), read(report))).collect::<Vec<_>>()
    };
    for (name, help, read) in SOURCE {
        gauges(encoder, name, help, each(read))?;
    }
    SOURCE_TOTALS.iter().try_for_each(|(name, help, read)| counters(encoder, name, help, each(*read)))
}

/// The progress of pre-signing.
fn presign(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    for (name, help, read) in PRESIGN {
        gauge(encoder, name, help, read(report))?;
    }
    let mut took = encoder.encode_descriptor(
        "presign_last_pass_seconds",
        "How long the last pass took",
        None,
        MetricType::Gauge,
    )?;
    took.encode_gauge(&report.last_pass.as_secs_f64())?;
    for (name, help, read) in PRESIGN_TOTALS {
        counters(encoder, name, help, vec![(Labels::new(), read(report))])?;
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
    }
    values
}

fn records(site: &Site) -> Vec<(Labels, u64)> {
    let of = |issuer: (&str, &Issuer)| {
        let counts = issuer.1.state.records.counts();
        [("good", counts.good), ("revoked", counts.revoked)].map(|(status, count)| {
            let mut labels = labels(issuer);
            labels.push(("status", status.to_owned()));
            (labels, count)
        })
    };
    issuers(site).flat_map(of).collect()
}
