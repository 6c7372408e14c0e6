//! Metrics, written when somebody asks for them.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use precompute::{pki::UnixTime, presign::Report};
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
    metrics::{Counters, METHODS, Requests, Result as Counted},
    net::counters::Histogram,
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
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = &*self.0;
        let sum = |read: fn(&Counters) -> u64| status.counters.iter().map(read).sum::<u64>();

        let site = Arc::clone(&status.site.borrow());
        counters(&mut encoder, "requests", "Requests by tenant, issuer, method and result", requests(&site))?;
        let help = "From the request's arrival to its response being handed to the kernel, by whether it was signed for the request";
        let mut latency = encoder.encode_descriptor("latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (label, histogram) in
            [("no", (|c| &c.transport.served) as fn(&Counters) -> &Histogram), ("yes", |c| &c.transport.signed)]
        {
            let (sum, count, buckets) = Histogram::sum(status.counters.iter().map(histogram));
            let labels: Labels = vec![("signed", label.to_owned())];
            latency.encode_family(&labels)?.encode_histogram::<Labels>(sum, count, &buckets, None)?;
        }
        let open = status.counters.iter().enumerate();
        let open = open
            .map(|(worker, counters)| (vec![("worker", worker.to_string())], counters.transport.open.load(Relaxed)));
        gauges(&mut encoder, "connections_open", "Connections open now, by serving thread", open.collect())?;
        for (name, help, value) in [
            (
                "http_refused",
                "Requests refused by HTTP itself, or because no tenant has the URL",
                sum(|c| c.transport.http_refused.load(Relaxed) + c.desk.unrouted.load(Relaxed)),
            ),
            ("connections_accepted", "Connections accepted", sum(|c| c.transport.accepted.load(Relaxed))),
            ("connections_expired", "Connections closed at a deadline", sum(|c| c.transport.expired.load(Relaxed))),
            (
                "connections_turned_away",
                "Connections turned away at the limit",
                sum(|c| c.transport.turned_away.load(Relaxed)),
            ),
            (
                "connections_displaced",
                "Idle connections closed at the limit to make room for others",
                sum(|c| c.transport.displaced.load(Relaxed)),
            ),
            (
                "connections_handed_over",
                "Connections that a serving thread handed to one with fewer",
                sum(|c| c.transport.handed_over.load(Relaxed)),
            ),
            (
                "connections_untrusted",
                "Connections refused because they did not come through a trusted proxy",
                sum(|c| c.transport.untrusted.load(Relaxed)),
            ),
            (
                "proxy_headers_refused",
                "Connections refused for a missing or wrong PROXY header",
                sum(|c| c.transport.proxy_refused.load(Relaxed)),
            ),
            (
                "tls_handshakes_failed",
                "Connections on which the TLS handshake failed",
                sum(|c| c.transport.tls_refused.load(Relaxed)),
            ),
            ("response_octets", "Bytes of responses", sum(|c| c.transport.octets_out.load(Relaxed))),
            ("access_log_lost", "Lines of the access log that were dropped", sum(|c| c.desk.access_lost.load(Relaxed))),
        ] {
            counters(&mut encoder, name, help, vec![(Labels::new(), value)])?;
        }

        let size = status.misses.store().size();
        gauge(&mut encoder, "answers", "Kept answers about listed certificates", size.compact.0)?;
        gauge(&mut encoder, "answers_octets", "Bytes of the kept answers about listed certificates", size.compact.1)?;
        gauge(&mut encoder, "cache_entries", "Other kept answers", size.whole.0)?;
        gauge(&mut encoder, "cache_octets", "Bytes of the other kept answers", size.whole.1)?;
        gauge(
            &mut encoder,
            "signing_pending",
            "Certificates whose answer is being signed",
            status.misses.pending() as u64,
        )?;
        presign(&mut encoder, &status.presign.report())?;
        Pools::of(&site).encode(&mut encoder)?;
        time_stamps::encode(&mut encoder, &site, status.record.as_deref())?;
        gauge(&mut encoder, "start_time_seconds", "When the process was started, Unix time", status.started.0)?;

        let reloaded = status.reloaded.load(Relaxed);
        gauge(&mut encoder, "config_last_read_seconds", "When the configuration was last taken, Unix time", reloaded)?;
        let faulty = u64::from(status.reload_fault().is_some());
        gauge(&mut encoder, "config_faulty", "Whether the configuration was rejected at the last reload", faulty)?;

        let reports: Vec<_> = issuers(&site).map(|issuer| (labels(issuer), issuer.1.state.health.report())).collect();
        let each = |read: &dyn Fn(&precompute::engine::HealthReport) -> u64| {
            reports.iter().map(|(labels, report)| (labels.clone(), read(report))).collect::<Vec<_>>()
        };
        gauges(&mut encoder, "records", "Certificates known by status", records(&site))?;
        gauges(
            &mut encoder,
            "signer_not_after_seconds",
            "End of the signing certificate, Unix time",
            issuers(&site).map(|issuer| (labels(issuer), issuer.1.not_after().0)).collect(),
        )?;
        let now = UnixTime::now();
        gauges(
            &mut encoder,
            "signers_at_fault",
            "Signing certificates that the CA has revoked, plus one if none is valid now",
            issuers(&site).map(|issuer| (labels(issuer), issuer.1.signer_faults(now).count() as u64)).collect(),
        )?;
        gauges(
            &mut encoder,
            "source_last_read_seconds",
            "When the sources were last taken, Unix time",
            each(&|report| report.last_read.map_or(0, |time| time.0)),
        )?;
        gauges(
            &mut encoder,
            "source_faulty",
            "Whether the sources are refused now",
            each(&|report| u64::from(report.fault.is_some())),
        )?;
        gauges(
            &mut encoder,
            "source_last_look_seconds",
            "When the sources were last checked for changes, Unix time",
            each(&|report| report.last_look.map_or(0, |time| time.0)),
        )?;
        gauges(
            &mut encoder,
            "crl_next_update_seconds",
            "When the CRL goes out of date, Unix time; 0 without one",
            each(&|report| report.crl_next_update.map_or(0, |time| time.0)),
        )?;
        gauges(
            &mut encoder,
            "book_faulty",
            "Whether changes are served that are not in the book yet",
            each(&|report| u64::from(report.book_fault.is_some())),
        )?;
        gauges(
            &mut encoder,
            "source_contradictions",
            "Revocations that the sources take back and that stay",
            each(&|report| report.contradictions),
        )?;
        counters(&mut encoder, "source_faults", "Refused reads of the sources", each(&|report| report.faults))?;
        counters(&mut encoder, "source_reads", "Reads of the sources", each(&|report| report.reads))?;
        counters(&mut encoder, "source_changes", "Records changed by the sources", each(&|report| report.changed))
    }
}

/// How signing ahead gets on.
fn presign(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> Result<(), std::fmt::Error> {
    for (name, help, value) in [
        ("presign_due", "Answers that the present pass still has to sign", report.due),
        (
            "presign_left_seconds",
            "How long the present pass will take at its present rate",
            report.left.map_or(0, |left| left.as_secs()),
        ),
        ("presign_last_pass_end_seconds", "When the last pass ended, Unix time", report.last_pass_ended),
        ("presign_store_faulty", "Whether answers signed ahead cannot be stored", report.store_faulty.into()),
        ("presign_full", "Whether there was no room for more answers in the last pass", report.full.into()),
    ] {
        gauge(encoder, name, help, value)?;
    }
    let mut took = encoder.encode_descriptor(
        "presign_last_pass_seconds",
        "How long the last pass took",
        None,
        MetricType::Gauge,
    )?;
    took.encode_gauge(&report.last_pass.as_secs_f64())?;
    for (name, help, value) in [
        ("presign_signed", "Answers signed ahead and kept", report.signed),
        ("presign_failed", "Failed signatures for answers signed ahead", report.failed),
        (
            "presign_expired",
            "Signatures for answers signed ahead that waited too long and are requested again",
            report.expired,
        ),
        ("presign_void", "Signatures discarded because their record changed meanwhile", report.void),
        ("presign_restored", "Answers taken from the store", report.restored),
        ("presign_stored", "Answers put into the store", report.stored),
    ] {
        counters(encoder, name, help, vec![(Labels::new(), value)])?;
    }
    Ok(())
}

/// Those that name no issuer of their tenant have an empty one.
fn requests(site: &Site) -> Vec<(Labels, u64)> {
    let mut values = Vec::new();
    let mut add = |tenant: &str, issuer: &str, requests: &Requests| {
        for (method, method_name) in METHODS.iter().enumerate() {
            for (result, label) in Counted::ALL {
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
