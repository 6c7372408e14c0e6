//! The thread that copies.
//!
//! Invariant: whenever a connection is made anew, an entry is not taken, or something else is the last entry of the second Redis,
//! it looks where it is before it appends anything more. Within an epoch Redis itself refuses what would come behind another
//! writer's entry, since the epoch of who was promoted is above all that it had seen; the first entry of an epoch is put only if
//! nothing else was the last one until then. It does not know what an entry says.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info, warn};

use super::{
    Route, Shared, in_words_of,
    place::{Missing, Place, There},
};
use crate::{
    feed::{
        Body, Cluster, Entry, Manifest, Position, Refusal, Trusted,
        redis::{Cause, Fault, Stream},
        shelf::Fetcher,
        store::Snapshots as _,
        transport::{Appended, Transport as _},
    },
    limits::feed as limits,
    service::remarks::{Lasting, News, Repeated},
};

/// Which server did not do what it was asked to.
enum Failed {
    From(Fault),
    To(Fault),
}

pub(super) struct Copier {
    cluster: Cluster,
    trusted: Trusted,
    from: Stream,
    to: Stream,
    fetcher: Fetcher,
    shared: Arc<Shared>,
    at: Option<At>,
    manifest: Option<Vec<u8>>,
    looked: Option<Instant>,
    told: Told,
    missing: Missing,
    /// The last entry of a site that was promoted.
    promoted: Option<Position>,
    began: Instant,
}

/// Where it is.
#[derive(Clone, Copy)]
struct At {
    /// The connections on which it knows that.
    connections: [Option<u64>; 2],
    /// The last entry that both have; `None`: the next one makes the stream.
    last: Option<Position>,
    /// What was read; behind `last` there may be entries that are not copied.
    read: Position,
}

/// What the log has.
#[derive(Default)]
struct Told {
    fault: Lasting,
    promoted: Lasting,
    refused: Repeated,
}

impl Copier {
    pub(super) fn new(route: Route, fetcher: Fetcher, shared: Arc<Shared>) -> Self {
        let Route { cluster, trusted, from, to, .. } = route;
        let (from, to) = (Stream::new(from, &cluster), Stream::new(to, &cluster));
        Self {
            cluster,
            trusted,
            from,
            to,
            fetcher,
            shared,
            at: None,
            manifest: None,
            looked: None,
            told: Told::default(),
            missing: Missing::default(),
            promoted: None,
            began: Instant::now(),
        }
    }

    pub(super) fn run(&mut self) {
        while !self.shared.stop.load(Relaxed) {
            let outcome = self.step();
            let (from, to) = match &outcome {
                Ok(_) => (None, None),
                Err(Failed::From(fault)) => (Some(fault.to_string()), None),
                Err(Failed::To(fault)) => (None, Some(fault.to_string())),
            };
            self.tell(from.as_ref().or(to.as_ref()));
            self.shared.note(|report| (report.from, report.to) = (from, to));
            let pause = match outcome {
                Ok(true) => continue,
                Ok(false) => limits::LOOK_INTERVAL,
                Err(failed) => {
                    self.make_room(&failed);
                    limits::RELAY_RETRY
                }
            };
            thread::sleep(pause);
        }
    }

    /// Returns whether anything came of it.
    fn step(&mut self) -> Result<bool, Failed> {
        let Some(at) = self.place()? else { return Ok(false) };
        if !self.look(at)? {
            self.at = None;
            return Ok(false);
        }
        let entries =
            self.from.read(at.read, limits::READ_ENTRIES_MAX, limits::STANDBY_PATIENCE).map_err(Failed::From)?;
        let has_more = !entries.is_empty();
        for (position, bytes) in entries {
            if self.shared.stop.load(Relaxed) || !self.copy(position, &bytes)? {
                return Ok(false);
            }
        }
        if let Some(last) = self.at.and_then(|at| at.last).filter(|_| has_more) {
            self.to.mark(last).map_err(Failed::To)?;
        }
        Ok(has_more)
    }

    /// Where it goes on; `None` if nothing is to be copied.
    fn place(&mut self) -> Result<Option<At>, Failed> {
        // So that both leave a server that Sentinels name no more.
        let connected = (self.from.connection(), self.to.connection());
        if let Some(at) = self.at
            && at.connections == self.connections()
        {
            return Ok(Some(at));
        }
        self.at = None;
        let extent = self.to.extent().map_err(Failed::To)?;
        let mark = self.to.marked().map_err(Failed::To)?;
        let last = extent.map(|extent| extent.last);
        let mut is_shared = false;
        if let (Some(last), (Some(_), Some(_))) = (last, connected) {
            let here = self.to.entry_at(last).map_err(Failed::To)?;
            is_shared = here.is_some() && here == self.from.entry_at(last).map_err(Failed::From)?;
        }
        // Nothing is known without both.
        self.from.extent().map_err(Failed::From)?;
        let gone = self.missing.look(last.is_none() && self.promoted.is_some(), self.began.elapsed());
        let (last, promoted) = match (There { last, mark, is_shared, gone }).place() {
            Place::After(last) => (Some(last), None),
            Place::FromTheStart => (None, None),
            Place::Awaited => (None, self.promoted),
            Place::Foreign(last) => (None, Some(last)),
        };
        self.promoted(promoted);
        self.shared.note(|report| (report.promoted, report.at) = (promoted, last));
        if promoted.is_some() {
            thread::sleep(limits::RELAY_RETRY);
            return Ok(None);
        }
        self.at = Some(At { connections: self.connections(), last, read: last.unwrap_or(Position::START) });
        Ok(self.at)
    }

    fn connections(&self) -> [Option<u64>; 2] {
        [self.from.connected(), self.to.connected()]
    }

    /// Copies an entry; false if it has to look where it is.
    fn copy(&mut self, position: Position, bytes: &[u8]) -> Result<bool, Failed> {
        let Some(at) = self.at else { return Ok(false) };
        let opened = Entry::open(position, bytes, &self.cluster, &self.trusted);
        let age = match &opened {
            Ok(opened) => match &opened.entry.body {
                Body::Heartbeat(heartbeat) => Some(wall().saturating_sub(Duration::from_micros(heartbeat.time))),
                _ => None,
            },
            Err(refusal) if refusal.is_of_later_version() => None,
            Err(refusal) => {
                self.refused(position, refusal);
                self.at = Some(At { read: position, ..at });
                return Ok(true);
            }
        };
        let is_next = at.last.is_some_and(|last| last.epoch == position.epoch);
        let put =
            if is_next { self.to.put(position, bytes, false) } else { self.to.put_behind(at.last, position, bytes) };
        match put.map_err(Failed::To)? {
            Appended::Written => {}
            // An answer was lost, or somebody else has written there, or all of it was removed.
            _ => {
                self.at = None;
                return Ok(false);
            }
        }
        self.at = Some(At { connections: self.connections(), last: Some(position), read: position });
        self.shared.note(|report| {
            report.copied += 1;
            (report.at, report.came) = (Some(position), Instant::now());
            report.age = age.or(report.age);
        });
        Ok(true)
    }

    /// Each second: whether both Redis are where they were left. False if the second one has another last entry. The manifest of
    /// the newest snapshot is copied, the snapshot fetched, and what the first site has trimmed is trimmed.
    fn look(&mut self, at: At) -> Result<bool, Failed> {
        if self.looked.is_some_and(|looked| looked.elapsed() < limits::HEARTBEAT_INTERVAL) {
            return Ok(true);
        }
        self.looked = Some(Instant::now());
        if self.to.extent().map_err(Failed::To)?.map(|extent| extent.last) != at.last {
            return Ok(false);
        }
        let there = self.from.extent().map_err(Failed::From)?;
        let last = there.map_or(Position::START, |extent| extent.last);
        if last < at.read
            && let Some(at) = &mut self.at
        {
            // What kept writers out was removed, or the first one begins anew.
            at.read = at.last.unwrap_or(Position::START);
        }
        let is_behind = at.last.is_some_and(|at| last < at);
        self.shared.note(|report| report.behind = is_behind.then_some(last));
        let first = there.and_then(|extent| extent.first);
        self.copy_manifest(at, first)?;
        Ok(true)
    }

    fn copy_manifest(&mut self, at: At, first: Option<Position>) -> Result<(), Failed> {
        let Some(bytes) = self.from.manifest().map_err(Failed::From)? else { return Ok(()) };
        let manifest = match Manifest::open(&bytes, &self.cluster, &self.trusted) {
            Ok(manifest) => manifest,
            Err(refusal) => {
                if self.manifest.as_ref() != Some(&bytes) {
                    warn!("the manifest of the newest snapshot is not copied: {refusal}");
                    self.manifest = Some(bytes);
                }
                return Ok(());
            }
        };
        // It begins to fetch it.
        let _ = self.fetcher.here(&manifest);
        // Not before the entries that it is from.
        if at.last.is_none_or(|last| last < manifest.position) {
            return Ok(());
        }
        if self.to.manifest().map_err(Failed::To)?.as_ref() != Some(&bytes) {
            if let Some(first) = first {
                self.to.trim_before(first).map_err(Failed::To)?;
            }
            self.to.set_manifest(&bytes).map_err(Failed::To)?;
        }
        self.manifest = Some(bytes);
        Ok(())
    }

    /// A second Redis that is full may have what the first one has trimmed, and what is in the newest snapshot: nobody else
    /// makes room there, and a reader that is further behind takes that.
    fn make_room(&mut self, failed: &Failed) {
        let Failed::To(Fault { cause: Cause::Full, .. }) = failed else { return };
        let first = self.from.extent().ok().flatten().and_then(|extent| extent.first);
        let manifest = self.to.manifest().ok().flatten();
        let manifest = manifest.and_then(|bytes| Manifest::open(&bytes, &self.cluster, &self.trusted).ok());
        if let Some(before) = first.max(manifest.map(|manifest| manifest.position)) {
            let _ = self.to.trim_before(before);
        }
    }

    fn refused(&mut self, position: Position, refusal: &Refusal) {
        self.shared.note(|report| report.refused += 1);
        if let Some(more) = self.told.refused.news(self.began.elapsed()) {
            warn!(%position, more, "an entry is not copied: {refusal}");
        }
    }

    fn tell(&mut self, fault: Option<&String>) {
        match (self.told.fault.news(fault.is_some(), self.began.elapsed()), fault) {
            (Some(News::Over(after)), _) => {
                info!(seconds = after.as_secs(), "both servers do what they are asked to: entries are copied");
            }
            (Some(_), Some(fault)) => warn!("{fault}; nothing is copied until it is back"),
            _ => {}
        }
    }

    fn promoted(&mut self, promoted: Option<Position>) {
        self.promoted = promoted;
        match (self.told.promoted.news(promoted.is_some(), self.began.elapsed()), promoted) {
            (Some(News::Over(_)), _) => info!("the second site has no entries of its own any more: entries are copied"),
            (Some(_), Some(promoted)) => error!("nothing is copied any more: {}", in_words_of(promoted)),
            _ => {}
        }
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
