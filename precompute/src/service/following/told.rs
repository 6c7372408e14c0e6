//! What a replica tells of the feed: to readiness, metrics and whoever waits for its first records.
//!
//! Invariant: nothing here looks fresher than it is: ages are computed when somebody asks, so a thread that hangs ages too.
//! It does not know how the feed is followed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    feed::{
        Apart, Freshness, Issuer, Position,
        reader::Condition,
        shelf::{self, Chunks},
        store::Place,
    },
    limits::{self, feed as bounds},
    presign::SoFar,
    service::sharing::SharingStatus,
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
    sharing: Option<Arc<SharingStatus>>,
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
    /// When the last question began that Redis has answered.
    pub looked: Option<Instant>,
    /// Whether it knows what others know, since it was away.
    pub is_level: bool,
    /// How far the writer's clock is off, if its heartbeats do not count for that.
    pub apart: Option<Apart>,
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
    /// Entries passed over because they are of a later version.
    pub later: u64,
    /// The last of both.
    pub last_refusal: Option<Refused>,
    /// Looks at a manifest that was refused.
    pub heads_refused: u64,
    /// The last of them.
    pub head_refusal: Option<Refused>,
    /// What was known when an entry came that does not follow, and that entry; until everything was compared, or one
    /// follows.
    pub lost: Option<(Place, Position)>,
    /// How often everything was compared with a snapshot.
    pub reconciled: u64,
    /// How often an issuer's digest was not the writer's.
    pub digests_differed: u64,
    /// Connections closed because nothing came.
    pub silences: u64,
    /// Polls of a feed over HTTP that failed.
    pub poll_failures: u64,
    /// Final revocations that stay although the feed says otherwise.
    pub contradictions: u64,
    /// Issuers of the feed that are not configured here.
    pub strangers: u64,
    /// Those of them whose tenant and CA are known, in words.
    pub strangers_named: Arc<[String]>,
    /// Issuers that the writer no longer speaks of.
    pub abandoned: Arc<[Issuer]>,
    /// Whether an issuer waits until everything was compared anew.
    pub lacks_issuers: bool,
    /// Whether the answers of a snapshot were taken since the start, as far as they were to be had.
    pub has_answers: bool,
    /// When an entry came last that changes records.
    pub changed: Option<Instant>,
    /// Chunks whose answers were taken, and all of that snapshot; `None` when none is being taken.
    pub answers_from: Option<(usize, usize)>,
}

/// What was refused, and when.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What, and why.
    pub what: String,
    /// When.
    pub at: Instant,
}

impl Refused {
    /// What it was, if that is not over yet.
    fn lately(refused: Option<&Self>, now: Instant, within: Duration) -> Option<&str> {
        refused.filter(|refused| now.saturating_duration_since(refused.at) < within).map(|refused| &*refused.what)
    }
}

impl FeedReport {
    /// The age of the last heartbeat that counts.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.heartbeat.map(|heard| now.saturating_duration_since(heard))
    }

    /// How fresh the records are. Whoever was stopped for a while has heard a heartbeat not long ago, and does not know yet
    /// what has come since: it is fresh once it has looked again, and is level with others.
    pub fn freshness(&self, now: Instant) -> Freshness {
        let freshness = Freshness::of(self.age(now));
        if self.is_level && self.has_looked(now) { freshness } else { freshness.max(Freshness::Lagging) }
    }

    fn has_looked(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.saturating_duration_since(looked) <= bounds::LOOKED_WITHIN)
    }
}

impl FeedStatus {
    pub(super) fn new(
        cluster: String,
        redis: String,
        answers: Arc<SoFar>,
        chunks: Chunks,
        sharing: Option<Arc<SharingStatus>>,
    ) -> Arc<Self> {
        let (report, filled) = (Mutex::default(), watch::channel(false).0);
        Arc::new(Self { cluster, redis, report, filled, answers, chunks, sharing, begun: Instant::now() })
    }

    /// Whether records have come a moment ago, so that their answers are on the way.
    pub fn expects_answers(&self) -> bool {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.changed.is_some_and(|changed| changed.elapsed() < bounds::ANSWERS_FOLLOW_WITHIN)
    }

    /// The report as of now.
    pub fn report(&self) -> FeedReport {
        self.lock().clone()
    }

    /// What became of the answers that came.
    pub fn answers(&self) -> &SoFar {
        &self.answers
    }

    /// What became of answers that are shared with other replicas, if they are.
    pub fn sharing(&self) -> Option<&SharingStatus> {
        self.sharing.as_deref()
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
            lines.push(self.what_is_missing(&report, now));
        } else if report.freshness(now) != Freshness::Fresh {
            lines.push(self.silence(&report, now));
        }
        if let Some(lost) = self.lost(&report, now) {
            lines.push(lost);
        }
        if let Some(refusal) = Refused::lately(report.last_refusal.as_ref(), now, bounds::LAGGING_MAX) {
            let (cluster, from) = (&self.cluster, &self.redis);
            lines
                .push(format!("entries of `ostia:{cluster}:feed` from {from} are passed over, the last one {refusal}"));
        }
        if let Some(refusal) = self.head_refusal(&report, now).filter(|_| report.is_filled) {
            lines.push(refusal);
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
        let (cluster, redis) = (&self.cluster, &self.redis);
        if let Some(Apart { by, is_behind }) = report.apart {
            let (by, bound) = (by.as_secs(), limits::CLOCK_SKEW_MAX.as_secs());
            let where_it_is = if is_behind { "behind" } else { "ahead of" };
            let replayed = if is_behind { ", or an old stream was put into Redis again" } else { "" };
            return format!(
                "the signs of life that come do not count: by its clock the writer of `{cluster}` wrote the last one {by} s {where_it_is} this machine's time, and more than {bound} s is too far; the clock of one of them is wrong{replayed}; set both right (`timedatectl`)"
            );
        }
        match report.age(now) {
            Some(age) if Freshness::of(Some(age)) == Freshness::Fresh && report.has_looked(now) => {
                "what came while this process was away, or starting, is being taken".to_owned()
            }
            Some(age) if Freshness::of(Some(age)) == Freshness::Fresh => format!(
                "{redis} has answered nothing for {} s: it hangs, or this process was stopped, and what has come since is not known yet",
                report.looked.map_or(self.begun.elapsed(), |looked| now.saturating_duration_since(looked)).as_secs(),
            ),
            Some(age) => format!(
                "nothing that counts has come from the writer of `{cluster}` for {} s; look after `ostia-precompute run` and {redis}",
                age.as_secs(),
            ),
            None => format!(
                "no writer of `{cluster}` has given a sign of life since the start; look after `ostia-precompute run` and {redis}"
            ),
        }
    }

    /// What cannot be followed, and why everything was not compared yet.
    pub(super) fn lost(&self, report: &FeedReport, now: Instant) -> Option<String> {
        let (place, entry) = report.lost?;
        let missing = self.what_is_missing(report, now);
        Some(format!(
            "what was told between {place} and the entry {entry} is not to be had, so that everything is compared with a snapshot: {missing}"
        ))
    }

    fn head_refusal(&self, report: &FeedReport, now: Instant) -> Option<String> {
        let refusal = Refused::lately(report.head_refusal.as_ref(), now, HEAD_REFUSED_LASTS)?;
        Some(format!("the manifest of the newest snapshot at `ostia:{}:head` is refused: {refusal}", self.cluster))
    }

    /// What is not wrong, and may not be meant, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let report = self.report();
        if report.strangers == 0 {
            return Vec::new();
        }
        let named = match &report.strangers_named[..] {
            [] => String::new(),
            some => format!(" ({})", some.join(", ")),
        };
        vec![format!(
            "feed: the writer has {} issuers that are not configured here{named}: nobody is answered for them by this replica; add them to its configuration, if that is not meant",
            report.strangers
        )]
    }

    /// Why there are no records yet.
    pub(super) fn what_is_missing(&self, report: &FeedReport, now: Instant) -> String {
        let snapshot = self.snapshot();
        let cluster = &self.cluster;
        if let Some(refusal) = self.head_refusal(report, now) {
            return refusal;
        }
        let Some((id, ..)) = snapshot.wanted else {
            return if report.is_connected {
                format!(
                    "there is no snapshot of `{cluster}` in {}: start its writer (`ostia-precompute run` with `[feed]`), or compare `cluster`",
                    self.redis
                )
            } else {
                format!("{} is not connected", self.redis)
            };
        };
        snapshot.progress().unwrap_or_else(|| {
            format!(
                "the newest snapshot, {id}, is here, and the stream does not lead on from it: the writer has to make another one; look after `ostia-precompute run`"
            )
        })
    }

    fn lock(&self) -> MutexGuard<'_, FeedReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A manifest is looked at every second while one is wanted, so a refusal that is older is over.
const HEAD_REFUSED_LASTS: Duration = Duration::from_secs(5);
const _: () = assert!(HEAD_REFUSED_LASTS.as_secs() > 2 * bounds::HEAD_RETRY.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that was stopped has heard a heartbeat not long ago when it goes on, and knows nothing of what came since.
    #[test]
    fn who_was_stopped_is_fresh_once_it_has_looked_again() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let report = |heard, looked: Option<u64>| FeedReport {
            heartbeat: Some(at(heard)),
            looked: looked.map(at),
            is_level: true,
            ..FeedReport::default()
        };
        for (heard, looked, expected) in [
            (0, Some(0), Freshness::Lagging),
            (0, Some(3), Freshness::Fresh),
            (0, None, Freshness::Lagging),
            (4, Some(4), Freshness::Fresh),
        ] {
            assert_eq!(report(heard, looked).freshness(at(4)), expected, "{heard} {looked:?}");
        }
        let behind = FeedReport { is_level: false, ..report(4, Some(4)) };
        assert_eq!(behind.freshness(at(4)), Freshness::Lagging, "what it compared took its time");
        assert_eq!(report(0, Some(0)).freshness(at(61)), Freshness::Stale);
        assert_eq!(report(0, Some(7)).freshness(at(7)), Freshness::Lagging, "asked, and no writer is heard");
    }
}
