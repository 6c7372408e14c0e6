//! Metrics of a replica's feed. It does not know how it is followed.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType};

use super::{
    Part,
    encode::{Family, Labels, Sparse, counters, gauge, gauges, sparse},
};
use crate::{
    feed::Freshness,
    presign::SoFar,
    service::{
        following::{FeedReport, FeedStatus},
        sharing::{SharingState, SharingStatus},
    },
};

/// Gauges of what is known.
const REPLICA: [Family<FeedReport>; 4] = [
    ("feed_filled", "Whether there are records from the feed", |report| report.is_filled.into()),
    ("feed_connected", "Whether Redis is connected", |report| {
        (report.is_connected && report.redis_fault.is_none()).into()
    }),
    ("feed_contradictions", "Certificates that stay revoked although the writer takes that back", |report| {
        report.contradictions
    }),
    ("feed_strangers", "Issuers of the feed that are not configured here", |report| report.strangers),
];

/// Where it is, once it is somewhere.
const REPLICA_PLACE: [Sparse<FeedReport>; 2] = [
    ("feed_epoch", "Epoch of the last entry applied", |report| Some(report.place?.position.epoch)),
    ("feed_sequence", "Its sequence in that epoch", |report| Some(report.place?.position.sequence)),
];

/// Counters of what came.
const REPLICA_TOTALS: [Family<FeedReport>; 8] = [
    ("feed_entries", "Entries applied", |report| report.applied),
    (
        "feed_entries_refused",
        "Entries passed over because no trusted key signed them for this cluster and place",
        |report| report.refused,
    ),
    ("feed_entries_later", "Entries passed over because they are of a later version of the feed", |report| {
        report.later
    }),
    ("feed_manifests_refused", "Looks at a manifest that no trusted key signed for this cluster", |report| {
        report.heads_refused
    }),
    ("feed_reconciliations", "How often everything was compared with a snapshot", |report| report.reconciled),
    ("feed_digests_differed", "How often the records were not the writer's at the same place", |report| {
        report.digests_differed
    }),
    ("feed_silences", "Connections closed because nothing that counts came", |report| report.silences),
    ("feed_poll_failures", "Polls of the feed over HTTP that failed", |report| report.poll_failures),
];

/// A label of what became of something, and how its number is read.
type Outcome<T> = (&'static str, fn(&T) -> u64);

/// What became of answers.
const OUTCOMES: [Outcome<SoFar>; 6] = [
    ("taken", |so_far| so_far.taken.load(Relaxed)),
    ("void", |so_far| so_far.void.load(Relaxed)),
    ("late", |so_far| so_far.late.load(Relaxed)),
    ("unknown_form", |so_far| so_far.unknown.load(Relaxed)),
    ("unknown_issuer", |so_far| so_far.strangers.load(Relaxed)),
    ("no_room", |so_far| so_far.full.load(Relaxed)),
];

/// What became of questions for shared answers.
const SHARED: [Outcome<SharingStatus>; 6] = [
    ("taken", |status| status.taken.load(Relaxed)),
    ("absent", |status| status.absent.load(Relaxed)),
    ("outdated", |status| status.outdated.load(Relaxed)),
    ("refused", |status| status.refused.load(Relaxed)),
    ("late", |status| status.late.load(Relaxed)),
    ("not_asked", |status| status.not_asked.load(Relaxed)),
];

/// What became of answers that were signed here.
const OFFERS: [Outcome<SharingStatus>; 3] = [
    ("offered", |status| status.offered.load(Relaxed)),
    ("no_room", |status| status.no_room.load(Relaxed)),
    ("dropped", |status| status.dropped.load(Relaxed)),
];

/// The feed of a replica.
pub fn feed(status: &Arc<FeedStatus>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| encode(encoder, &status, Instant::now()))
}

fn encode(encoder: &mut DescriptorEncoder<'_>, status: &FeedStatus, now: Instant) -> fmt::Result {
    let report = status.report();
    let help = "Age of the last heartbeat of the writer, or time since the start before the first";
    let mut lag = encoder.encode_descriptor("feed_lag_seconds", help, None, MetricType::Gauge)?;
    lag.encode_gauge(&status.lag(now).as_secs_f64())?;
    let freshness = report.freshness(now);
    let states = [("fresh", Freshness::Fresh), ("lagging", Freshness::Lagging), ("stale", Freshness::Stale)];
    let states = states.map(|(label, state)| (vec![("state", label)], u64::from(state == freshness)));
    gauges(encoder, "feed_freshness", "1 for the state that the feed is in", states.into())?;
    for (name, help, read) in REPLICA {
        gauge(encoder, name, help, read(&report))?;
    }
    for (name, help, read) in REPLICA_PLACE {
        sparse(encoder, name, help, [(Labels::new(), read(&report))])?;
    }
    let chunks = status.snapshot().wanted.map(|(_, here, all)| (here as u64, all as u64));
    let help = "Chunks of the snapshot that is fetched, or was last";
    sparse(encoder, "feed_snapshot_chunks", help, [(Labels::new(), chunks.map(|(_, all)| all))])?;
    let help = "How many of them are here";
    sparse(encoder, "feed_snapshot_chunks_here", help, [(Labels::new(), chunks.map(|(here, _)| here))])?;
    for (name, help, read) in REPLICA_TOTALS {
        counters(encoder, name, help, vec![(Labels::new(), read(&report))])?;
    }
    let help = "Answers of the writer, by what became of them";
    counters(encoder, "feed_answers", help, by_outcome(&OUTCOMES, status.answers()))?;
    status.sharing().map_or(Ok(()), |sharing| encode_sharing(encoder, sharing))
}

fn encode_sharing(encoder: &mut DescriptorEncoder<'_>, status: &SharingStatus) -> fmt::Result {
    let states = [("idle", SharingState::Idle), ("asked", SharingState::Asked), ("away", SharingState::Away)];
    let states = states.map(|(label, state)| (vec![("state", label)], u64::from(state == status.state())));
    let help = "1 for whether Redis is asked for answers of other replicas";
    gauges(encoder, "feed_shared_state", help, states.into())?;
    let help = "Answers missed that another replica may have signed, by what became of the question";
    counters(encoder, "feed_shared_answers", help, by_outcome(&SHARED, status))?;
    let help = "Answers signed here that other replicas may use, by what became of them";
    counters(encoder, "feed_shared_offers", help, by_outcome(&OFFERS, status))
}

fn by_outcome<T>(outcomes: &[Outcome<T>], counted: &T) -> Vec<(Vec<(&'static str, &'static str)>, u64)> {
    outcomes.iter().map(|(label, read)| (vec![("outcome", *label)], read(counted))).collect()
}
