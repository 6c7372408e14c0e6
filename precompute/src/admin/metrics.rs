//! Metrics, written on request.
//!
//! A metric that is one number for one thing is in the table of its kind, and nowhere else. It does not know how
//! anything is counted.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    Status,
    encode::{Family, Labels, Sparse, counters, gauge, gauges, labels, sparse},
    process::Process,
    text::Form,
};
use crate::{
    answers::Answers,
    engine::{FetchReport, HealthReport},
    issuer::ActiveIssuer,
    pki::UnixTime,
    presign::{Progress, Report},
    service::Tenants,
    state_dir::ServerId,
};

/// Families of metrics that belong together: writes them on request.
pub type Part = Box<dyn Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync>;

/// All metrics, in the form that the client accepts.
pub fn scrape(parts: Arc<Vec<Part>>, request: &HeaderMap) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry.sub_registry_with_prefix("ostia").register_collector(Box::new(Scrape(parts)));
    let accept = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let form = Form::accepted(&accept.collect::<Vec<_>>().join(","));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, form.media_type())], form.of(body)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

struct Scrape(Arc<Vec<Part>>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrape({} parts)", self.0.len())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| part(&mut encoder))
    }
}

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

/// Gauges of the kept answers.
const KEPT: [Family<Answers>; 2] = [
    ("answers", "Kept answers about listed certificates", Answers::len),
    ("answers_octets", "Bytes of the kept answers about listed certificates", Answers::octets),
];

/// Times of an issuer's sources and pushes.
const SOURCE_TIMES: [Sparse<HealthReport>; 4] = [
    ("source_last_read_seconds", "When the sources were last taken, Unix time", |report| Some(report.last_read?.0)),
    ("source_last_look_seconds", "When the sources were last checked for changes, Unix time", |report| {
        Some(report.last_look?.0)
    }),
    ("crl_next_update_seconds", "When the CRL goes out of date, Unix time", |report| Some(report.crl_next_update?.0)),
    ("last_push_seconds", "When a push was last taken since the start, Unix time", |report| Some(report.last_push?.0)),
];

/// Gauges of an issuer's sources, book and pushes.
const SOURCE: [Family<HealthReport>; 6] = [
    ("source_faulty", "Whether the sources are refused now", |report| report.fault.is_some().into()),
    ("book_faulty", "Whether changes are served that are not in the book yet", |report| {
        report.book_fault.is_some().into()
    }),
    ("book_unsaved", "Changed records that are served and wait to be saved", |report| report.unsaved),
    ("source_contradictions", "Revocations that the sources take back and that stay", |report| report.contradictions),
    ("push_contradictions", "Certificates of which pushes and the sources say different things", |report| {
        report.push_contradictions
    }),
    ("push_faulty", "Whether pushes are refused because they cannot be made durable", |report| {
        report.push_fault.is_some().into()
    }),
];

/// Counters of an issuer's sources and pushes.
const SOURCE_TOTALS: [Family<HealthReport>; 5] = [
    ("source_faults", "Refused reads of the sources", |report| report.faults),
    ("source_reads", "Reads of the sources", |report| report.reads),
    ("source_changes", "Records changed by the sources", |report| report.changed),
    ("pushes", "Pushes taken", |report| report.pushes),
    ("pushes_failed", "Requests whose pushes could not be made durable", |report| report.pushes_failed),
];

/// Gauges of a source that is fetched.
const FETCHES: [FetchGauge; 3] = [
    ("source_fetch_last_success_seconds", "When the origin of a source was last heard, Unix time", |report, _| {
        Some(report.confirmed?.0)
    }),
    ("source_fetch_age_seconds", "How long ago the origin of a source was last heard", FetchReport::age),
    ("source_fetch_faulty", "Whether a source cannot be fetched now, or never was", |report, _| {
        Some((report.fault.is_some() || report.confirmed.is_none()).into())
    }),
];

type FetchGauge = (&'static str, &'static str, fn(&FetchReport, UnixTime) -> Option<u64>);

/// Times of pre-signing.
const PRESIGN_TIMES: [Sparse<Report>; 2] = [
    ("presign_left_seconds", "How long the present pass will take at its present rate", |report| {
        Some(report.left?.as_secs())
    }),
    ("presign_last_pass_end_seconds", "When the last pass ended, Unix time", |report| {
        (report.passes > 0).then_some(report.last_pass_ended)
    }),
];

/// Gauges of pre-signing.
const PRESIGN: [Family<Report>; 3] = [
    ("presign_due", "Answers that the present pass still has to sign", |report| report.due),
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

/// The process and its configuration.
pub fn process(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| PROCESS.iter().try_for_each(|(name, help, read)| gauge(encoder, name, help, read(&status))))
}

/// Which server this is.
pub fn server(id: ServerId) -> Part {
    Box::new(move |encoder| {
        let help = "The identity of this server, as a label; the value is 1";
        let labels: Labels = vec![("id", id.to_string())];
        encoder.encode_descriptor("server", help, None, MetricType::Info)?.encode_info(&labels)
    })
}

/// The answers that are kept about listed certificates.
pub fn kept_answers(answers: &Arc<Answers>) -> Part {
    let answers = Arc::clone(answers);
    Box::new(move |encoder| KEPT.iter().try_for_each(|(name, help, read)| gauge(encoder, name, help, read(&answers))))
}

/// The progress of pre-signing.
pub fn presigning(progress: &Arc<Progress>) -> Part {
    let progress = Arc::clone(progress);
    Box::new(move |encoder| presign(encoder, &progress.report()))
}

/// For each issuer: the number of records, its signers, and the condition of its sources.
pub fn issuers(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| per_issuer(encoder, &status.tenants(), UnixTime::now()))
}

fn per_issuer(encoder: &mut DescriptorEncoder<'_>, tenants: &Tenants, now: UnixTime) -> fmt::Result {
    gauges(encoder, "records", "Certificates known by status", records(tenants))?;
    let each = |read: &dyn Fn(&ActiveIssuer) -> u64| {
        tenants.issuers().map(|issuer| (labels(issuer), read(issuer.1))).collect::<Vec<_>>()
    };
    let ends = each(&|issuer| issuer.not_after().0);
    gauges(encoder, "signer_not_after_seconds", "End of the signing certificate, Unix time", ends)?;
    let fallen = tenants.issuers().filter_map(|issuer| Some((labels(issuer), issuer.1.ca_revoked_since()?.0)));
    let help = "Since when all certificates are answered as revoked with the CA's own one, Unix time";
    gauges(encoder, "ca_revoked_since_seconds", help, fallen.collect())?;
    let help = "Signing certificates that the CA has revoked, plus one if none is valid now";
    gauges(encoder, "signers_at_fault", help, each(&|issuer| issuer.signer_faults(now).count() as u64))?;
    let reports: Vec<_> = tenants.issuers().map(|issuer| (labels(issuer), issuer.1.state.health.report())).collect();
    let each = |read: fn(&HealthReport) -> u64| {
        reports.iter().map(|(labels, report)| (labels.clone(), read(report))).collect::<Vec<_>>()
    };
    for (name, help, read) in SOURCE {
        gauges(encoder, name, help, each(read))?;
    }
    for (name, help, read) in SOURCE_TIMES {
        sparse(encoder, name, help, reports.iter().map(|(labels, report)| (labels.clone(), read(report))))?;
    }
    SOURCE_TOTALS.iter().try_for_each(|(name, help, read)| counters(encoder, name, help, each(*read)))?;
    let fetches = reports.iter().flat_map(|(labels, report)| report.fetches.iter().map(move |fetch| (labels, fetch)));
    let fetches: Vec<_> = fetches
        .map(|(labels, fetch)| {
            let url = [("url", fetch.origin.clone())];
            (labels.iter().cloned().chain(url).collect::<Labels>(), fetch)
        })
        .collect();
    let each = |read: &dyn Fn(&FetchReport) -> u64| {
        fetches.iter().map(|(labels, fetch)| (labels.clone(), read(fetch))).collect::<Vec<_>>()
    };
    for (name, help, read) in FETCHES {
        sparse(encoder, name, help, fetches.iter().map(|(labels, fetch)| (labels.clone(), read(fetch, now))))?;
    }
    let help = "Questions to the origin of a source that gave nothing";
    counters(encoder, "source_fetch_failures", help, each(&|fetch| fetch.failed))?;
    counters(encoder, "source_fetches", "Questions to the origin of a source", each(&|fetch| fetch.asked))
}

fn presign(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    for (name, help, read) in PRESIGN {
        gauge(encoder, name, help, read(report))?;
    }
    for (name, help, read) in PRESIGN_TIMES {
        sparse(encoder, name, help, [(Labels::new(), read(report))])?;
    }
    let mut took = encoder.encode_descriptor(
        "presign_last_pass_seconds",
        "How long the last pass took",
        None,
        MetricType::Gauge,
    )?;
    if report.passes > 0 {
        took.encode_gauge(&report.last_pass.as_secs_f64())?;
    }
    for (name, help, read) in PRESIGN_TOTALS {
        counters(encoder, name, help, vec![(Labels::new(), read(report))])?;
    }
    Ok(())
}

fn records(tenants: &Tenants) -> Vec<(Labels, u64)> {
    let of = |issuer: (&str, &Arc<ActiveIssuer>)| {
        let counts = issuer.1.state.records.counts();
        [("good", counts.good), ("revoked", counts.revoked)].map(|(status, count)| {
            let mut labels = labels(issuer);
            labels.push(("status", status.to_owned()));
            (labels, count)
        })
    };
    tenants.issuers().flat_map(of).collect()
}
