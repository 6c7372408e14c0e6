//! What a replica tells of the feed: to readiness, metrics and whoever waits for its first records.
//!
//! Invariant: nothing here looks fresher than it is: ages are computed when somebody asks, so a thread that hangs ages too.
//! It does not know how the feed is followed.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    feed::{
        Freshness,
        reader::Condition,
        shelf::{self, Chunks},
        store::Place,
    },
    presign::SoFar,
    state_dir::ServerId,
};

/// How a replica's feed fares, as of now.
#[derive(Debug)]
pub struct FeedStatus {
    cluster: String,
    redis: String,
    report: Mutex<FeedReport>,
    filled: watch::Sender<bool>,
    answers: Arc<SoFar>,
    chunks: Chunks,
    begun: Instant,
}

/// How a replica's feed fares, at one moment.
#[derive(Clone, Default, Debug)]
pub struct FeedReport {
    /// What the reader is doing; `None` before its first step.
    pub condition: Option<Condition>,
    /// What the records are from.
    pub place: Option<Place>,
    /// When the last heartbeat came that counts.
    pub heartbeat: Option<Instant>,
    /// The highest epoch of a trusted writer.
    pub epoch: u64,
    /// Who wrote the last entry.
    pub author: Option<ServerId>,
    /// Whether there ever was a place.
    pub is_filled: bool,
    /// Whether Redis is connected.
    pub is_connected: bool,
    /// Why Redis did not do what it was asked last.
    pub redis_fault: Option<String>,
    /// Why a snapshot could not be taken the last time; until one is.
    pub fault: Option<String>,
    /// Entries applied since the start.
    pub applied: u64,
    /// Entries passed over: no trusted key signed them for this cluster and place.
    pub refused: u64,
    /// The last of them.
    pub last_refusal: Option<String>,
    /// Manifests refused.
    pub heads_refused: u64,
    /// How often everything was compared with a snapshot.
    pub reconciled: u64,
    /// How often an issuer's digest was not the writer's.
    pub digests_differed: u64,
    /// Connections closed because nothing came.
    pub silences: u64,
    /// Final revocations that stay although the feed says otherwise.
    pub contradictions: u64,
    /// Issuers of the feed that are not configured here.
    pub strangers: u64,
    /// Whether an issuer waits until everything was compared anew.
    pub lacks_issuers: bool,
    /// Chunks whose answers were taken, and all of that snapshot; `None` when none is being taken.
    pub answers_from: Option<(usize, usize)>,
}

impl FeedReport {
    /// The age of the last heartbeat that counts.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.heartbeat.map(|heard| now.saturating_duration_since(heard))
    }

    /// How fresh the records are.
    pub fn freshness(&self, now: Instant) -> Freshness {
        Freshness::of(self.age(now))
    }
}

impl FeedStatus {
    pub(super) fn new(cluster: String, redis: String, answers: Arc<SoFar>, chunks: Chunks) -> Arc<Self> {
        let (report, filled) = (Mutex::default(), watch::channel(false).0);
        Arc::new(Self { cluster, redis, report, filled, answers, chunks, begun: Instant::now() })
    }

    /// The report as of now.
    pub fn report(&self) -> FeedReport {
        self.lock().clone()
    }

    /// What became of the answers that came.
    pub fn answers(&self) -> &SoFar {
        &self.answers
    }

    /// How far the snapshot is that is fetched, or was last.
    pub fn snapshot(&self) -> shelf::Report {
        self.chunks.report()
    }

    /// The age of the last heartbeat that counts, or the time since the start before the first.
    pub fn lag(&self, now: Instant) -> Duration {
        self.report().age(now).unwrap_or_else(|| now.saturating_duration_since(self.begun))
    }

    /// Whether there are records, now and later.
    pub fn filled(&self) -> watch::Receiver<bool> {
        self.filled.subscribe()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut FeedReport)) {
        let is_filled = {
            let mut report = self.lock();
            change(&mut report);
            report.is_filled |= report.place.is_some();
            report.is_filled
        };
        self.filled.send_if_modified(|filled| std::mem::replace(filled, is_filled) != is_filled);
    }

    /// What is wrong `now`, one line each, for readiness.
    pub fn complaints(&self, now: Instant) -> Vec<String> {
        let report = self.report();
        let mut lines = Vec::new();
        if let Some(fault) = &report.redis_fault {
            lines.push(format!("{fault}; what was told before is served on"));
        }
        if !report.is_filled {
            lines.push(self.what_is_missing(&report));
        } else if report.freshness(now) != Freshness::Fresh {
            lines.push(self.silence(&report, now));
        }
        if let Some(fault) = &report.fault {
            lines.push(fault.clone());
        }
        if report.condition == Some(Condition::Waiting) {
            lines.push("the stream in Redis is behind what is known here, as after a fail-over or a restored backup: waiting for the writer to go on".to_owned());
        }
        if report.lacks_issuers {
            lines.push("an issuer was added to the configuration: until everything was compared with a snapshot, its certificates get `tryLater`".to_owned());
        }
        if report.contradictions > 0 {
            lines.push(format!(
                "{} certificates stay revoked although the writer says otherwise: its book may be an old one",
                report.contradictions
            ));
        }
        let unknown = self.answers.unknown.load(Relaxed);
        if unknown > 0 {
            lines.push(format!(
                "{unknown} answers of the writer are of signers that this replica does not have (see the log)"
            ));
        }
        lines
    }

    fn silence(&self, report: &FeedReport, now: Instant) -> String {
        let cluster = &self.cluster;
        match report.age(now) {
            Some(age) => format!(
                "nothing has come from the writer of `{cluster}` for {} s; look after `ostia-precompute run` and Redis at {}",
                age.as_secs(),
                self.redis
            ),
            None => format!(
                "no writer of `{cluster}` has given a sign of life since the start; look after `ostia-precompute run`, and after the clocks: one that is wrong by more than 300 s counts as silent"
            ),
        }
    }

    /// Why there are no records yet.
    pub(super) fn what_is_missing(&self, report: &FeedReport) -> String {
        let shelf::Report { wanted, sources, .. } = self.snapshot();
        let cluster = &self.cluster;
        let Some((id, here, all)) = wanted else {
            return if report.heads_refused > 0 {
                format!(
                    "the manifest at `ostia:{cluster}:head` is refused; compare `trusted` with the writer's public key"
                )
            } else if report.is_connected {
                format!(
                    "there is no snapshot of `{cluster}` in Redis at {}: start its writer (`ostia-precompute run` with `[feed]`), or compare `cluster`",
                    self.redis
                )
            } else {
                format!("Redis at {} is not connected", self.redis)
            };
        };
        let mut line = format!("the snapshot {id} is fetched: {here} of {all} chunks are here");
        for fault in sources.iter().filter_map(|(_, fault)| fault.as_ref()) {
            let _ = write!(line, "; {fault}");
        }
        if sources.is_empty() {
            line.push_str("; `snapshot_from` names nobody who has it");
        }
        line
    }

    fn lock(&self) -> MutexGuard<'_, FeedReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
