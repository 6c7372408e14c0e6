//! The thread that follows the feed.
//!
//! Purpose: steps the reader over Redis, has what it read applied, and sees to what the reader does not: answers,
//! snapshots beside the stream, connections on which nothing comes, and what operators are told. Invariant: what an entry
//! says is applied as soon as it comes: nothing else here waits, except that Redis may take its time to answer. It does
//! not know who asks for certificates.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::{
    level::Level,
    loading::{Job, Loading, Places},
    news::Told,
    speaking::Speaking,
    told::{FeedReport, FeedStatus, Refused},
};
use crate::{
    answers::Answers,
    feed::{
        Body, Cluster, Entry, Freshness, Issuer, Later, Manifest, Moment, Position, Reader, Trusted, Verdict,
        body::{IssuerStatus, Section},
        by_feed,
        carrier::Carrier,
        reader::{Compared, Condition, Event},
        replica::Replica,
        shelf::{Directory, Fetcher, Journal},
        store::{Fault, Place, Snapshots as _, Store, Walk},
        transport::Transport as _,
        walk, walk_hashes,
    },
    issuer_id::in_a_line,
    ledger::IssuerState,
    limits::{SOURCE_PRIORITY, feed as limits},
    log::remarks::{Lasting, News, Repeated},
    pki::UnixTime,
    presign::Received,
    records::{Change, Digest, RecordsWriter},
    service::{
        alarms::Alarms,
        noted::{Noted, Noting},
        rim,
    },
    transparency::Tap,
};

/// Another configuration.
#[derive(Debug)]
pub(super) struct Adoption {
    pub(super) issuers: HashSet<Issuer>,
    /// Those that are new, without records.
    pub(super) added: Vec<(IssuerState, RecordsWriter)>,
    /// What the configuration calls each of them.
    pub(super) names: HashMap<Issuer, String>,
    pub(super) received: Received,
    /// Told when it is adopted.
    pub(super) adopted: oneshot::Sender<()>,
}

/// Follows the feed.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) cluster: Cluster,
    pub(super) trusted: Trusted,
    pub(super) reader: Reader,
    pub(super) stream: Carrier,
    pub(super) replica: Replica,
    /// What the configuration calls each issuer.
    pub(super) names: HashMap<Issuer, String>,
    pub(super) fetcher: Fetcher,
    /// Where snapshots are kept, so that others can have them, with what was told since.
    pub(super) kept: Option<(Directory, Journal)>,
    pub(super) received: Arc<Received>,
    pub(super) answers: Arc<Answers>,
    pub(super) status: Arc<FeedStatus>,
    /// Where it is stated what is shown, if that is to be proven.
    pub(super) tap: Option<Arc<Tap>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) begun: Instant,
    pub(super) side: Side,
}

/// What is remembered from step to step beside what the reader does.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// What the chunks that were read say of issuers.
    noted: Noted,
    loading: Option<Loading>,
    /// Forms are new, and what was told of them before is missing.
    wants_comparing: bool,
    /// The snapshot that everything was compared with last: what it does not have is not to be had from it.
    compared_with: Option<Position>,
    /// There is a newer snapshot.
    wants_snapshot: bool,
    next_look: Duration,
    /// What the disk has was looked at.
    has_looked: bool,
    /// Since when nothing has come on this connection.
    silent_since: Option<Duration>,
    /// Entries and manifests refused on this connection since something counted.
    refused_since: u64,
    forgers: Repeated,
    /// By the steps that Redis has answered.
    level: Level,
    reconnect: Duration,
    strangers_told: BTreeMap<Issuer, String>,
    speaking: Speaking,
    alarms: Alarms,
    remarks: Remarks,
    told: Told,
}

#[derive(Debug, Default)]
struct Remarks {
    redis: Lasting,
    silent: Lasting,
    stale: Lasting,
    empty: Lasting,
    waiting: Lasting,
    lost: Lasting,
    unknown: Lasting,
    abandoned: Lasting,
    contradictions: Lasting,
}

/// The records, of whose changes the journal and whoever takes answers hear before they show.
struct Watched<'a> {
    replica: &'a mut Replica,
    job: Option<&'a Arc<Job>>,
    journal: Option<&'a mut Journal>,
    tap: Option<&'a Tap>,
    /// For the log: what issuers are called, what was told, and the time.
    names: &'a HashMap<Issuer, String>,
    told: &'a mut Told,
    now: Duration,
}

impl Store for Watched<'_> {
    fn place(&self) -> Option<Place> {
        self.replica.place()
    }

    fn apply(&mut self, place: Place, sections: &[Section]) -> Result<(), Fault> {
        self.job.iter().for_each(|job| job.changes(place.position, sections));
        self.journal.iter_mut().for_each(|journal| journal.append(place, sections));
        let before = self.replica.statuses(sections);
        // No answer to what shows now is stated before this is.
        let held = self.tap.map(Tap::hold);
        self.replica.apply(place, sections)?;
        if let Some(mut held) = held {
            let listed = self.replica.listed(sections).into_iter();
            listed.for_each(|(issuer, serial, status)| held.record(&issuer.0, &serial, status));
        }
        let after = self.replica.statuses(sections);
        for ((issuer, serial, before), (_, _, after)) in before.into_iter().zip(after) {
            if let Some(name) = self.names.get(&issuer) {
                self.told.note(name, serial, (before, after), self.now);
            }
        }
        Ok(())
    }

    fn reconcile(&mut self, place: Place, walk: Walk<'_>) -> Result<(), Fault> {
        self.job.iter().for_each(|job| job.end());
        // Records show one after the other, and the journal has none of this.
        self.journal.iter_mut().for_each(|journal| journal.end());
        // Records change without a statement each, from here to there.
        self.tap.iter().for_each(|tap| tap.hold().compare());
        let outcome = self.replica.reconcile(place, walk);
        self.tap.iter().for_each(|tap| tap.hold().compare());
        outcome
    }

    fn digest(&self, issuer: Issuer) -> Option<Digest> {
        self.replica.digest(issuer)
    }
}

impl Follower {
    /// Follows until it is told to stop.
    pub(super) fn run(mut self, orders: &Receiver<Adoption>) {
        // Ten thousand changes a second take a tenth of a processor, and whoever asks goes first.
        if let Err(error) = rustix::process::setpriority_process(None, SOURCE_PRIORITY) {
            warn!(%error, "the priority of following cannot be lowered");
        }
        let mut pause = Duration::ZERO;
        while !self.stop.load(Relaxed) {
            match orders.recv_timeout(pause) {
                Ok(adoption) => self.adopt(adoption),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            pause = self.step();
        }
    }

    fn now(&self) -> Moment {
        rim::moment(self.begun)
    }

    /// Reads once. Returns how long to wait until the next time.
    fn step(&mut self) -> Duration {
        let now = self.now();
        let is_comparing = matches!(self.reader.condition(&self.replica), Condition::Empty | Condition::Reconciling);
        let is_soon = is_comparing || !self.side.level.is_level();
        self.stream.wait(if is_soon { limits::READ_PATIENCE_COMPARING } else { limits::READ_PATIENCE });
        let events = {
            let mut snapshots = Noting { fetcher: &mut self.fetcher, noted: &mut self.side.noted };
            let job = self.side.loading.as_ref().and_then(Loading::job);
            let journal = self.kept.as_mut().map(|(_, journal)| journal);
            let (names, told) = (&self.names, &mut self.side.told);
            let (replica, tap) = (&mut self.replica, self.tap.as_deref());
            let mut store = Watched { replica, job, journal, tap, names, told, now: now.monotonic };
            self.reader.step(now, &mut self.stream, &mut store, &mut snapshots)
        };
        // What somebody else has made is no sign of life.
        let is_refused = |event: &Event| matches!(event, Event::Refused(..) | Event::HeadRefused(_));
        let is_idle = events.iter().all(is_refused);
        self.side.refused_since = if is_idle { self.side.refused_since + events.len() as u64 } else { 0 };
        let begun = now.monotonic;
        let now = self.now();
        let took = now.monotonic.saturating_sub(begun);
        for event in events {
            self.take(event, now);
        }
        self.look_at_the_disk(now);
        self.look_for_snapshots(now);
        self.end_silence(is_idle, now);
        if self.stream.fault().is_none() {
            self.side.level.step(begun, now.monotonic);
        }
        self.publish();
        self.remark(now);
        if self.stream.fault().is_some() {
            self.side.reconnect = (self.side.reconnect * 2).clamp(limits::RECONNECT_MIN, limits::RECONNECT_MAX);
            return self.side.reconnect;
        }
        self.side.reconnect = Duration::ZERO;
        // A reader that has to wait for something else than entries comes back at once.
        if is_idle && took < limits::IDLE_PAUSE { limits::IDLE_PAUSE } else { Duration::ZERO }
    }

    fn take(&mut self, event: Event, now: Moment) {
        let alarms = &mut self.side.alarms;
        alarms.hear(&event, now.monotonic);
        match event {
            Event::Linked(opened) => {
                let changes = matches!(&opened.entry.body, Body::Records(_) | Body::Begin(_));
                self.status.change(|report| {
                    report.applied += 1;
                    report.lost = None;
                    report.changed = if changes { Some(Instant::now()) } else { report.changed };
                });
                self.hear(&opened.entry, now);
            }
            Event::Told(opened) => self.hear(&opened.entry, now),
            Event::Reconciled(place) => self.reconciled(place),
            // The log hears of it by `remark`: it may come again every second.
            Event::Lost(place, at) => self.status.change(|report| {
                report.lost.get_or_insert((place, at));
            }),
            Event::Refused(position, refusal) => self.status.change(|report| {
                *(if refusal.is_of_later_version() { &mut report.later } else { &mut report.refused }) += 1;
                report.last_refusal = Some(Refused { what: format!("{position}: {refusal}"), at: Instant::now() });
            }),
            Event::HeadRefused(refusal) => self.status.change(|report| {
                report.heads_refused += 1;
                report.head_refusal = Some(Refused { what: refusal.to_string(), at: Instant::now() });
            }),
            Event::DigestDiffers(..) => self.status.change(|report| report.digests_differed += 1),
            // What was under way has ended with it.
            Event::Fault(_) if self.stop.load(Relaxed) => {}
            Event::Fault(Fault(fault)) => {
                if let Some(more) = alarms.fault(now.monotonic) {
                    warn!(more, "{fault}; it is tried again, and what is known is served meanwhile");
                }
                self.status.change(|report| report.fault = Some(fault));
            }
        }
    }

    /// Hears what an entry says beside records.
    fn hear(&mut self, entry: &Entry, now: Moment) {
        self.side.speaking.hear(&entry.body, now.monotonic);
        match &entry.body {
            Body::Answers(sections) => {
                let now = UnixTime::now();
                sections.iter().for_each(|section| self.received.take(&section.rows(), now, |_| true));
            }
            Body::IssuerStatus(all) => all.iter().for_each(|status| self.note(status)),
            Body::Heartbeat(heartbeat) => self.replica.agree(&heartbeat.digests),
            Body::Snapshot(_) => self.side.wants_snapshot = self.kept.is_some(),
            _ => {}
        }
    }

    fn note(&mut self, status: &IssuerStatus) {
        self.replica.note_status(status);
        let issuer = status.issuer();
        self.side.speaking.spoken(issuer);
        let told = &mut self.side.strangers_told;
        if !told.contains_key(&issuer) && self.replica.strangers().any(|stranger| stranger == issuer) {
            let named = status.id.in_words();
            warn!(
                "the writer has an issuer that is not configured here, {named}: nobody is answered for it by this replica; add it to its configuration, if that is not meant"
            );
            told.insert(issuer, named);
        }
    }

    /// Everything was compared: what the snapshot says beside records comes now, and its answers as they come.
    fn reconciled(&mut self, place: Place) {
        let Noted { issuers, last } = std::mem::take(&mut self.side.noted);
        issuers.iter().for_each(|status| self.note(status));
        self.side.wants_comparing = false;
        self.status.change(|report| {
            report.reconciled += 1;
            report.fault = None;
            report.lost = None;
        });
        let counts = self
            .replica
            .states()
            .iter()
            .map(|state| state.records.counts())
            .fold((0, 0), |sum, counts| (sum.0 + counts.good, sum.1 + counts.revoked));
        info!(%place, good = counts.0, revoked = counts.1, "everything was compared with a snapshot");
        // Whoever waits for records need not wait for the disk.
        self.publish();
        let Some(compared) = self.reader.take_compared() else {
            return self.status.change(|report| report.has_answers = true);
        };
        self.side.compared_with = Some(compared.manifest.position);
        let since = self.replica.shown(&compared.later);
        if let Some((_, journal)) = &mut self.kept {
            journal.begin(compared.manifest.position, place, &since);
        }
        self.take_answers(compared, last);
    }

    fn take_answers(&mut self, compared: Compared, last: Option<Vec<u8>>) {
        let places = Places {
            first: last,
            chunks: self.fetcher.chunks(),
            stream: self.stream.another(),
            is_away: self.stream.fault().is_some(),
            cluster: self.cluster.clone(),
            trusted: self.trusted.clone(),
        };
        match Loading::start(compared, places, Arc::clone(&self.received)) {
            Ok(loading) => self.side.loading = Some(loading),
            Err(error) => {
                warn!(%error, "no thread can be started to take the answers of the snapshot; others come by the feed");
                self.status.change(|report| report.has_answers = true);
            }
        }
    }

    fn adopt(&mut self, Adoption { issuers, added, names, received, adopted }: Adoption) {
        self.side.strangers_told.retain(|stranger, _| !issuers.contains(stranger));
        self.names = names;
        self.side.wants_comparing |= !received.has_only_forms_of(&self.received);
        if !added.is_empty() || self.side.wants_comparing {
            self.side.compared_with = None;
        }
        self.replica.change(&issuers, added);
        // Of what left the configuration nothing is said any more.
        self.tap.iter().for_each(|tap| tap.hold().compare());
        self.received = Arc::new(received);
        self.publish();
        // Nobody waits any more if the reload was given up.
        let _ = adopted.send(());
    }

    /// Where Redis is away from the start on, nothing of it is by a trusted writer, or nobody gives the snapshot that it names, what this replica had before is
    /// served: the newest snapshot on its disk, with everything that was told since. If that is not known for sure, nothing
    /// is: one wrong *good* is worse than an outage.
    fn look_at_the_disk(&mut self, now: Moment) {
        if self.side.has_looked || self.replica.place().is_some() || now.monotonic < limits::FILLED_WITHIN {
            return;
        }
        let away = match self.stream.fault() {
            Some(_) if matches!(self.stream, Carrier::Polled(_)) => "nobody gives the feed",
            Some(_) => "Redis is away",
            // Whoever answers there keeps nobody from what is known.
            None if self.side.refused_since > 0 && self.reader.heard().is_none() => {
                "nothing that counts comes by the feed"
            }
            None if self.fetcher.report().is_given_by_nobody() => "nobody gives the newest snapshot",
            None => return,
        };
        self.side.has_looked = true;
        let Some((directory, journal)) = &self.kept else { return };
        let Some(kept) = directory.newest() else { return };
        let manifest = kept.manifest().clone();
        let Some(journaled) = journal.read(manifest.position) else {
            warn!(
                snapshot = %kept.id(),
                "the snapshot on disk is not served while {away}: what was told since is not known for sure"
            );
            return;
        };
        let later = journaled.told();
        let place = journaled.place.unwrap_or(Place { position: manifest.position, chain: manifest.chain });
        let mut snapshots = Noting { fetcher: &mut self.fetcher, noted: &mut self.side.noted };
        if snapshots.here(&manifest).is_none_or(|here| here < manifest.record_chunks as usize) {
            return;
        }
        // What was shown as revoked for good stays so.
        let merged = |kept: &Change, later: &Change| match by_feed(kept, later) {
            Verdict::Becomes(next) => next,
            Verdict::Stays => *kept,
        };
        let filled = self.replica.reconcile(place, &mut |each| {
            walk(&manifest, &mut snapshots, &later, merged, each)?;
            walk_hashes(&journaled.hashes(), each);
            Ok(())
        });
        if let Err(Fault(fault)) = filled {
            warn!(snapshot = %kept.id(), "{fault}");
            return;
        }
        self.tap.iter().for_each(|tap| tap.hold().compare());
        warn!(snapshot = %kept.id(), %place, "{away}: what was known here before is served from disk, as of this place");
        self.reader.goes_on(place);
        let Noted { issuers, last } = std::mem::take(&mut self.side.noted);
        issuers.iter().for_each(|status| self.note(status));
        let since = self.replica.shown(&later);
        if let Some((_, journal)) = &mut self.kept {
            journal.begin(manifest.position, place, &since);
        }
        // The stream may still have the answers of what was told since.
        let (changed, answers_until) = (journaled.changed(), Some(place.position));
        self.take_answers(Compared { manifest, later, changed, answers_until }, last);
    }

    /// Has the newest snapshot fetched where one is wanted beside following: for others, or to compare everything with.
    /// The entries go on being applied until it is here.
    fn look_for_snapshots(&mut self, now: Moment) {
        let Side { wants_comparing, wants_snapshot, loading, next_look, compared_with, .. } = &mut self.side;
        let is_loading = loading.as_ref().is_some_and(Loading::wants_chunks);
        let outlived = loading.as_ref().and_then(Loading::is_outlived);
        let lacks_some = *wants_comparing || self.replica.wants_another_snapshot();
        let is_due = lacks_some || outlived.is_some() || *wants_snapshot && !is_loading;
        if !is_due || now.monotonic < *next_look || self.reader.condition(&self.replica) != Condition::Following {
            return;
        }
        *next_look = now.monotonic + limits::HEAD_RETRY;
        let Ok(Some(head)) = self.stream.head() else { return };
        let manifest = match Manifest::open(&head, &self.cluster, &self.trusted) {
            Ok(manifest) => manifest,
            Err(refusal) => return self.take(Event::HeadRefused(refusal), now),
        };
        let Some(here) = self.fetcher.here(&manifest) else { return };
        let is_kept = |(directory, _): &(Directory, Journal)| directory.newest().map(|kept| kept.manifest().clone());
        if *wants_snapshot
            && here >= manifest.chunks.len()
            && self.kept.as_ref().and_then(is_kept) == Some(manifest.clone())
        {
            *wants_snapshot = false;
            if let Some(((_, journal), place)) = self.kept.as_mut().zip(self.replica.place()) {
                journal.begin_at(manifest.position, place, &self.replica.shown(&Later::new()));
            }
        }
        let may_have_it = lacks_some && *compared_with != Some(manifest.position);
        let wants_comparing = may_have_it || outlived.is_some_and(|outlived| *outlived != manifest);
        if wants_comparing && here >= manifest.record_chunks as usize {
            self.reader.compare_anew(now);
        }
    }

    /// Rule 19: connects anew where nothing comes.
    fn end_silence(&mut self, is_idle: bool, now: Moment) {
        if !self.stream.is_connected() || !is_idle {
            self.side.silent_since = None;
            return;
        }
        let since = *self.side.silent_since.get_or_insert(now.monotonic);
        let heard = self.reader.heard().map_or(since, |heard| heard.max(since));
        if now.monotonic.saturating_sub(heard) >= limits::SILENCE_MAX {
            self.remark_on_forgers(now);
            debug!(from = self.stream.place(), "nothing came for a while: connecting anew");
            self.stream.disconnect();
            self.side.silent_since = None;
            self.status.change(|report| report.silences += 1);
        }
    }

    /// Somebody gives nothing but what nobody trusted has signed, and is left.
    fn remark_on_forgers(&mut self, now: Moment) {
        let refused = std::mem::take(&mut self.side.refused_since);
        if refused > 0
            && let Some(more) = self.side.forgers.news(now.monotonic)
        {
            error!(
                refused,
                more,
                "nothing that counts came from {} for {} s, and what came is of no trusted writer of this cluster: it is connected to anew, or another one is asked; see who answers there",
                self.stream.place(),
                limits::SILENCE_MAX.as_secs()
            );
        }
    }

    fn publish(&self) {
        let heartbeat = self.reader.heartbeat().map(|heard| self.begun + heard);
        let loading = self.side.loading.as_ref();
        let answers_from = loading.and_then(Loading::job).map(|job| job.progress());
        let has_answers = loading.is_some_and(Loading::is_over);
        let fault = self.stream.fault().map(|fault| fault.message.clone());
        let strangers: HashSet<Issuer> = self.replica.strangers().collect();
        let named = self.side.strangers_told.iter().filter(|(issuer, _)| strangers.contains(issuer));
        let named: Vec<&String> = named.map(|(_, named)| named).take(limits::STRANGERS_NAMED_MAX).collect();
        let is_known = |issuer: &Issuer| self.names.contains_key(issuer);
        let abandoned = self.side.speaking.no_more(self.begun.elapsed()).filter(is_known);
        let abandoned: Vec<Issuer> = abandoned.collect();
        self.status.change(|report| {
            if !report.strangers_named.iter().eq(named.iter().copied()) {
                report.strangers_named = named.into_iter().cloned().collect();
            }
            if *report.abandoned != *abandoned {
                report.abandoned = abandoned.into();
            }
            report.poll_failures = self.stream.poll_failures();
            report.condition = Some(self.reader.condition(&self.replica));
            report.place = self.replica.place();
            report.heartbeat = heartbeat;
            report.looked = self.side.level.looked().map(|looked| self.begun + looked);
            report.is_level = self.side.level.is_level();
            report.apart = self.reader.apart();
            report.epoch = self.reader.epoch_seen();
            report.author = self.reader.last_author().map(|(_, author)| author);
            // One on which nothing came is made anew with the next step.
            report.is_connected = fault.is_none();
            report.redis_fault.clone_from(&fault);
            report.contradictions = self.replica.contradictions() as u64;
            report.strangers = strangers.len() as u64;
            report.lacks_issuers = self.replica.lacks_issuers();
            report.has_answers |= has_answers;
            report.answers_from = answers_from;
        });
    }

    /// Tells the log what has begun, lasts, or is over.
    fn remark(&mut self, now: Moment) {
        let report = self.status.report();
        let remarks = &mut self.side.remarks;
        let served = report.place.map_or_else(
            || "nothing is known yet".to_owned(),
            |place| format!("what was told up to {place} is served on, with {} answers", self.answers.len()),
        );
        let now = now.monotonic;
        self.side.told.rest(now);
        match remarks.redis.news(report.redis_fault.is_some(), now) {
            Some(News::Over(after)) => info!(seconds = after.as_secs(), "{} answers again", self.stream.word()),
            Some(News::Begins | News::Lasts(_)) => {
                warn!("{}; {served}; it is tried again and again", report.redis_fault.as_deref().unwrap_or_default());
            }
            None => {}
        }
        let freshness = report.freshness(Instant::now());
        let is_silent = report.is_filled && freshness != Freshness::Fresh && report.redis_fault.is_none();
        // A replica that was just filled has not heard a heartbeat yet.
        let is_silent = is_silent && (report.heartbeat.is_some() || now > limits::FILLED_WITHIN);
        match remarks.silent.news(is_silent, now) {
            Some(News::Begins | News::Lasts(_)) => {
                warn!("the feed is not fresh: {}; {served}", self.status.complaints(Instant::now()).join("; "));
            }
            Some(News::Over(after)) if report.redis_fault.is_none() => {
                info!(seconds = after.as_secs(), "the writer is heard again");
            }
            _ => {}
        }
        match remarks.stale.news(report.heartbeat.is_some() && freshness == Freshness::Stale, now) {
            Some(News::Begins) => {
                warn!(
                    "the records are stale: no writer was heard for a minute; answers are served until they end, and `stale_after` ends new ones; {served}"
                );
            }
            Some(News::Over(after)) => info!(seconds = after.as_secs(), "the records are no longer stale"),
            _ => {}
        }
        let is_empty = !report.is_filled && now > limits::FILLED_WITHIN && report.redis_fault.is_none();
        if let Some(News::Begins | News::Lasts(_)) = remarks.empty.news(is_empty, now) {
            let missing = self.status.what_is_missing(&report, Instant::now());
            warn!("there are no records yet, and everybody gets `tryLater`: {missing}");
        }
        self.remark_on_issuers(&report, now);
        let remarks = &mut self.side.remarks;
        if let Some(News::Begins | News::Lasts(_)) = remarks.lost.news(report.lost.is_some(), now) {
            warn!("{}; {served}", self.status.lost(&report, Instant::now()).unwrap_or_default());
        }
        match remarks.waiting.news(report.condition == Some(Condition::Waiting), now) {
            Some(News::Begins | News::Lasts(_)) => {
                warn!(
                    "the stream in Redis ends before what is known here, as after a fail-over that lost entries or a restored backup: waiting for the writer to go on; {served}"
                );
            }
            Some(News::Over(after)) => info!(seconds = after.as_secs(), "the stream goes on"),
            None => {}
        }
        match remarks.contradictions.news(report.contradictions > 0, now) {
            Some(News::Begins | News::Lasts(_)) => {
                error!(
                    certificates = report.contradictions,
                    "certificates stay revoked although the writer takes that back: its book may be an old one; revoke them there again, or restart the replicas if the revocations were wrong"
                );
            }
            Some(News::Over(_)) => info!("the writer no longer contradicts what is known here"),
            None => {}
        }
        self.side.alarms.rest(now);
    }

    /// Tells of issuers of which the writer says nothing, or nothing more.
    fn remark_on_issuers(&mut self, report: &FeedReport, now: Duration) {
        let name = |issuer: &Issuer| self.names.get(issuer).map_or_else(|| issuer.to_string(), Clone::clone);
        let line = |issuers: &[Issuer]| {
            let names: Vec<String> = issuers.iter().map(name).collect();
            in_a_line(names.iter().map(String::as_str))
        };
        let unknown = if report.is_filled && !report.lacks_issuers { self.replica.unknown() } else { Vec::new() };
        let remarks = &mut self.side.remarks;
        match remarks.unknown.news(!unknown.is_empty(), now) {
            Some(News::Begins | News::Lasts(_)) => warn!(
                issuers = line(&unknown),
                "the writer has told nothing of these issuers, and their certificates get `tryLater`: they have to be in the writer's configuration, each with the same CA in a tenant of the same name"
            ),
            Some(News::Over(_)) => info!("the writer has told of every issuer"),
            None => {}
        }
        match remarks.abandoned.news(!report.abandoned.is_empty(), now) {
            Some(News::Begins | News::Lasts(_)) => warn!(
                issuers = line(&report.abandoned),
                "the writer no longer speaks of these issuers: what was told of them before is served on, and no revocation of theirs comes any more; see whether they are still in the configuration of the writer that leads"
            ),
            Some(News::Over(_)) => info!("the writer speaks of every issuer again"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
