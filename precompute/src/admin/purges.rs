//! Metrics of caches that are told. It does not know what they are told.

use std::sync::Arc;

use prometheus_client::{metrics::MetricType, registry::Unit};

use super::{
    Part, Status,
    encode::{Labels, counters, gauges},
};
use crate::{limits::purge as limits, purge::Report};

/// How they fare; nothing where none is told.
pub fn purges(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| {
        let reports = status.purges();
        if reports.is_empty() {
            return Ok(());
        }
        let labels = |report: &Report| vec![("cache", report.name.clone())];
        let each = |read: fn(&Report) -> u64| {
            reports.iter().map(|report| (labels(report), read(report))).collect::<Vec<(Labels, u64)>>()
        };
        let help = "Changed answers, or issuers with many, that the cache has not been told of yet";
        gauges(encoder, "purge_waiting", help, each(|report| report.waiting as u64))?;
        let help = "How long the oldest of them has waited";
        let mut oldest = encoder.encode_descriptor("purge_oldest", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for report in &reports {
            oldest.encode_family(&labels(report))?.encode_gauge(&report.oldest.unwrap_or_default().as_secs_f64())?;
        }
        let help = "Whether the cache did not do what it was last asked to";
        gauges(encoder, "purge_failing", help, each(|report| report.fault.is_some().into()))?;
        counters(
            encoder,
            "purge_requests",
            "Requests that the cache has acknowledged",
            each(|report| report.requests),
        )?;
        counters(encoder, "purge_keys", "Keys in them, each of which is purged twice", each(|report| report.keys))?;
        counters(encoder, "purge_failures", "Requests that failed", each(|report| report.failures))?;
        let help = "How long it took from a change to the cache's acknowledgement of its first purge";
        let mut latency =
            encoder.encode_descriptor("purge_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for report in &reports {
            let counts = report.latency.counts;
            let bounds = limits::LATENCY_BOUNDS.iter().map(|bound| *bound as f64 / 1e3).chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(counts).collect();
            let sum = report.latency.sum.as_secs_f64();
            latency.encode_family(&labels(report))?.encode_histogram::<Labels>(
                sum,
                counts.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    })
}
