//! Health and metrics, on an address of their own.
//!
//! It reads what others count and decides nothing; nothing it does can slow an answer. What it
//! tells is meant for operators: the address must not be reachable by relying parties.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use precompute::{config::Config, engine::IssuerState, pki::UnixTime};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    metrics::{Counters, METHODS, Result as Counted},
    ocsp::miss::Misses,
};

/// All that is told.
#[derive(Debug)]
pub struct Status {
    tenants: Vec<String>,
    issuers: Vec<Issuer>,
    counters: Vec<Arc<Counters>>,
    misses: Arc<Misses>,
    draining: AtomicBool,
    started: UnixTime,
}

#[derive(Debug)]
struct Issuer {
    tenant: String,
    name: String,
    state: IssuerState,
    signer_not_after: UnixTime,
}

impl Status {
    /// `states` are those of `config`'s issuers, in order; `counters` those of all workers.
    pub fn new(
        config: &Config,
        states: &[IssuerState],
        counters: Vec<Arc<Counters>>,
        misses: Arc<Misses>,
    ) -> Arc<Self> {
        let issuers = config.issuers().zip(states).map(|((tenant, issuer), state)| Issuer {
            tenant: tenant.name.clone(),
            name: issuer.name.clone(),
            state: state.clone(),
            signer_not_after: issuer.signer.not_after(),
        });
        Arc::new(Self {
            tenants: config.tenants.iter().map(|tenant| tenant.name.clone()).collect(),
            issuers: issuers.collect(),
            counters,
            misses,
            draining: AtomicBool::new(false),
            started: UnixTime::now(),
        })
    }

    /// From now on the service is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether OCSP may be asked here, and what there is to say about it, a line each.
    fn ocsp_readiness(&self, now: UnixTime) -> (bool, String) {
        let ready = !self.draining.load(Relaxed);
        let mut lines = String::from(if ready { "ready\n" } else { "not ready: stopping\n" });
        for Issuer { tenant, name, state, signer_not_after } in &self.issuers {
            let report = state.health.report();
            for fault in [&report.fault, &report.book_fault].into_iter().flatten() {
                let _ = writeln!(lines, "degraded: {tenant}/{name}: {fault}");
            }
            if let Some(end) = report.crl_next_update.filter(|end| *end <= now) {
                let _ = writeln!(lines, "degraded: {tenant}/{name}: the CRL is out of date since {end}");
            }
            if report.contradictions > 0 {
                let _ = writeln!(
                    lines,
                    "degraded: {tenant}/{name}: the source takes back {} revocations, which stay",
                    report.contradictions
                );
            }
            if *signer_not_after <= now {
                let _ =
                    writeln!(lines, "degraded: {tenant}/{name}: the signing certificate expired at {signer_not_after}");
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
        .route("/metrics", get(metrics))
        .with_state(status)
}

async fn ready(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let (ready, lines) = status.ocsp_readiness(UnixTime::now());
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
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

type Labels = Vec<(&'static str, String)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = &*self.0;
        let sum = |read: fn(&Counters) -> u64| status.counters.iter().map(|counters| read(counters)).sum::<u64>();

        counters(&mut encoder, "requests", "Requests by tenant, method and result", status.requests())?;
        let open = sum(|counters| counters.open.load(Relaxed));
        gauge(&mut encoder, "connections_open", "Connections open now", open)?;
        for (name, help, value) in [
            ("http_refused", "Requests refused by HTTP itself or for no tenant", sum(|c| c.http_refused.load(Relaxed))),
            ("connections_accepted", "Connections accepted", sum(|c| c.accepted.load(Relaxed))),
            ("connections_expired", "Connections ended at a deadline", sum(|c| c.expired.load(Relaxed))),
            ("connections_turned_away", "Connections turned away at the limit", sum(|c| c.turned_away.load(Relaxed))),
            ("response_octets", "Octets of responses", sum(|c| c.octets_out.load(Relaxed))),
        ] {
            counters(&mut encoder, name, help, vec![(Labels::new(), value)])?;
        }

        let size = status.misses.store().size();
        gauge(&mut encoder, "answers", "Answers about listed certificates that are kept", size.compact.0)?;
        gauge(&mut encoder, "answers_octets", "Octets of memory that they take", size.compact.1)?;
        gauge(&mut encoder, "cache_entries", "Other answers that are kept", size.whole.0)?;
        gauge(&mut encoder, "cache_octets", "Octets of those answers", size.whole.1)?;
        gauge(
            &mut encoder,
            "signing_pending",
            "Certificates whose answer is being signed",
            status.misses.pending() as u64,
        )?;
        gauge(&mut encoder, "start_time_seconds", "When the process was started, Unix time", status.started.0)?;

        let reports: Vec<_> =
            status.issuers.iter().map(|issuer| (issuer.labels(), issuer.state.health.report())).collect();
        let each = |read: &dyn Fn(&precompute::engine::HealthReport) -> u64| {
            reports.iter().map(|(labels, report)| (labels.clone(), read(report))).collect::<Vec<_>>()
        };
        gauges(&mut encoder, "records", "Certificates known by status", status.records())?;
        gauges(
            &mut encoder,
            "signer_not_after_seconds",
            "End of the signing certificate, Unix time",
            status.issuers.iter().map(|issuer| (issuer.labels(), issuer.signer_not_after.0)).collect(),
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
            "When the sources were last looked at, changed or not, Unix time",
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
            "Whether changes are answered that the book could not write yet",
            each(&|report| u64::from(report.book_fault.is_some())),
        )?;
        gauges(
            &mut encoder,
            "source_contradictions",
            "Revocations that the sources would take back, and that stay",
            each(&|report| report.contradictions),
        )?;
        counters(&mut encoder, "source_faults", "Refused reads of the sources", each(&|report| report.faults))?;
        counters(&mut encoder, "source_reads", "Reads of the sources", each(&|report| report.reads))?;
        counters(&mut encoder, "source_changes", "Records changed by the sources", each(&|report| report.changed))
    }
}

impl Issuer {
    fn labels(&self) -> Labels {
        vec![("tenant", self.tenant.clone()), ("issuer", self.name.clone())]
    }
}

impl Status {
    fn requests(&self) -> Vec<(Labels, u64)> {
        let mut values = Vec::new();
        for (tenant, name) in self.tenants.iter().enumerate() {
            for (method, method_name) in METHODS.iter().enumerate() {
                for (result, label) in Counted::ALL {
                    let value = self.counters.iter().map(|counters| counters.requests(tenant, method, result)).sum();
                    let labels = [("tenant", name.as_str()), ("method", method_name), ("result", label)];
                    values.push((labels.map(|(key, value)| (key, value.to_owned())).to_vec(), value));
                }
            }
        }
        values
    }

    fn records(&self) -> Vec<(Labels, u64)> {
        let of = |issuer: &Issuer| {
            let counts = issuer.state.records.counts();
            [("good", counts.good), ("revoked", counts.revoked)].map(|(status, count)| {
                let mut labels = issuer.labels();
                labels.push(("status", status.to_owned()));
                (labels, count)
            })
        };
        self.issuers.iter().flat_map(of).collect()
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    gauges(encoder, name, help, vec![(Labels::new(), value)])
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(L, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.iter().try_for_each(|(labels, value)| metric.encode_family(labels)?.encode_gauge(value))
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(L, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    values
        .iter()
        .try_for_each(|(labels, value)| metric.encode_family(labels)?.encode_counter::<Labels, _, u64>(value, None))
}
