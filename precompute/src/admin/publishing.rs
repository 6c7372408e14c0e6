//! Metrics and remarks of a writer of a feed. It does not know how it is written.

use std::{fmt, time::Duration};

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType};

use super::{
    Part,
    encode::{Family, Labels, Sparse, counters, gauge, gauges, sparse},
};
use crate::{
    feed::writer::Role,
    limits::feed as limits,
    service::{Publishing, PublishingReport},
};

const GAUGES: [Family<PublishingReport>; 3] = [
    ("feed_connected", "Whether Redis is connected", |report| report.redis.is_none().into()),
    ("feed_answers_waiting_bytes", "Answers that are signed and wait to be told", |report| {
        report.answers_waiting as u64
    }),
    (
        "feed_debts",
        "Final revocations that only this writer knows, and that wait to be pushed to the one that leads",
        |report| report.debts,
    ),
];

/// Gauges of what there may not be yet.
const SPARSE: [Sparse<PublishingReport>; 3] = [
    ("feed_epoch", "Epoch of the last entry told or applied", |report| Some(report.place?.position.epoch)),
    ("feed_sequence", "Its sequence in that epoch", |report| Some(report.place?.position.sequence)),
    ("feed_snapshot_timestamp_seconds", "When this writer made its newest snapshot", |report| {
        Some(report.snapshot_made?.0)
    }),
];

const TOTALS: [Family<PublishingReport>; 3] = [
    ("feed_leaderships", "How often this writer began to lead", |report| report.led),
    ("feed_debts_refused", "How often the writer that leads did not take them, or was not reached", |report| {
        report.debts_refused
    }),
    (
        "feed_entries_refused",
        "Entries passed over because no trusted key signed them for this cluster and place",
        |report| report.refused,
    ),
];

/// What a writer may be doing.
type Doing = (&'static str, fn(Role) -> bool);

const ROLES: [Doing; 3] = [
    ("standing_by", |role| role == Role::Following),
    ("taking_over", |role| matches!(role, Role::Fencing | Role::Reading | Role::Beginning)),
    ("leading", |role| role == Role::Leading),
];

/// The feed of a writer.
pub fn publishing(publishing: &Publishing) -> Part {
    let publishing = publishing.clone();
    Box::new(move |encoder| encode(encoder, &publishing.report()))
}

fn encode(encoder: &mut DescriptorEncoder<'_>, report: &PublishingReport) -> fmt::Result {
    let roles = ROLES.map(|(label, is)| (vec![("role", label)], u64::from(is(report.role))));
    gauges(encoder, "feed_role", "1 for what this writer is doing", roles.into())?;
    for (name, help, read) in GAUGES {
        gauge(encoder, name, help, read(report))?;
    }
    for (name, help, read) in SPARSE {
        sparse(encoder, name, help, [(Labels::new(), read(report))])?;
    }
    if let Some(heard) = report.heard {
        let help = "How long ago a writer gave the last sign of life";
        let mut silence = encoder.encode_descriptor("feed_silence_seconds", help, None, MetricType::Gauge)?;
        silence.encode_gauge(&heard.as_secs_f64())?;
    }
    if let Some(standbys) = report.standbys {
        gauge(encoder, "feed_standbys", "Other writers that had all but the last moments on disk", standbys as u64)?;
    }
    for (name, help, read) in TOTALS {
        counters(encoder, name, help, vec![(Labels::new(), read(report))])?;
    }
    Ok(())
}

/// What a writer is doing, and what is wrong, a line each.
pub(super) fn remarks(report: &PublishingReport) -> Vec<String> {
    let place = report.place.map_or("nowhere yet".to_owned(), |place| format!("at {place}"));
    let mut lines = vec![match report.role {
        Role::Leading => format!("feed: this writer leads, {place}"),
        Role::Following => format!("feed: this writer stands by, {place}"),
        _ => format!("feed: this writer is taking over, {place}"),
    }];
    if let Some(fault) = &report.redis {
        lines.push(format!("degraded: feed: {fault}; pushes are not acknowledged until the feed takes them"));
    } else if report.role == Role::Following && report.heard.is_some_and(|heard| heard > SILENT) {
        lines.push("degraded: feed: no writer gives a sign of life, and this one has not taken over".to_owned());
    }
    if let Some(lacks) = &report.lacks {
        lines.push(format!("degraded: feed: {lacks}"));
    }
    if let Some(there) = report.standbys.filter(|there| *there < report.standbys_wanted as usize) {
        lines.push(format!(
            "degraded: feed: {there} of the {} standbys that must have what is acknowledged (`feed.acknowledge_standbys`) keep up: pushes get 503 until more of them run",
            report.standbys_wanted
        ));
    }
    if let Some(fault) = &report.standbys_fault {
        let what = if report.role == Role::Leading {
            "what standbys have on disk cannot be read"
        } else {
            "the writer at work cannot be told what is on disk here"
        };
        lines.push(format!("degraded: feed: {what}: {fault}"));
    }
    if report.strangers > 0 {
        let named = match &report.strangers_named[..] {
            [] => String::new(),
            some => format!(" ({})", some.join(", ")),
        };
        let what = if report.role == Role::Leading {
            "replicas keep what they were told of them before, and hear nothing more"
        } else {
            "nothing of them is kept, and if this writer took over replicas would hear nothing more of them"
        };
        lines.push(format!(
            "degraded: feed: another writer has told of {} issuers that are not configured here{named}: {what}; add them to the configuration of this one",
            report.strangers
        ));
    }
    if let Some(fault) = &report.debts_fault {
        lines.push(format!(
            "degraded: feed: {} final revocations that only this writer knows cannot be pushed to the one that leads: {fault}",
            report.debts
        ));
    }
    if let Some(fault) = &report.snapshot_fault {
        lines.push(format!("degraded: feed: {fault}"));
    }
    lines
}

/// Longer than any take-over takes with usual settings.
const SILENT: Duration = limits::LAGGING_MAX;
