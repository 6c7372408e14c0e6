//! The thread that copies.
//!
//! Invariant: whenever a connection is made anew, or an entry is not taken, it looks where it is before it appends anything
//! more. It does not know what an entry says.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info, warn};

use super::{
    Route, Shared, in_words_of,
    place::{Place, There},
};
use crate::{
    feed::{
        Body, Cluster, Entry, Manifest, Position, Trusted,
        redis::{Fault, Stream},
        shelf::Fetcher,
        store::Snapshots as _,
        transport::Appended,
    },
    limits::feed as limits,
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
    /// The connections on which it knows where it is, and the last entry that both have.
    at: Option<([Option<u64>; 2], Position)>,
    /// Whether the next entry makes the stream.
    makes: bool,
    manifest: Option<Vec<u8>>,
    looked: Option<Instant>,
    told: Told,
}

/// What the log has.
#[derive(Default)]
struct Told {
    fault: Option<String>,
    promoted: Option<Position>,
}

impl Copier {
    pub(super) fn new(route: Route, fetcher: Fetcher, shared: Arc<Shared>) -> Self {
        let Route { cluster, trusted, from, to, .. } = route;
        let (from, to) = (Stream::new(from, &cluster), Stream::new(to, &cluster));
        let told = Told::default();
        Self { cluster, trusted, from, to, fetcher, shared, at: None, makes: false, manifest: None, looked: None, told }
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
                Err(_) => limits::RELAY_RETRY,
            };
            thread::sleep(pause);
        }
    }

    /// Returns whether anything came of it.
    fn step(&mut self) -> Result<bool, Failed> {
        let Some(after) = self.place()? else { return Ok(false) };
        self.look_at_snapshot()?;
        let most = limits::READ_ENTRIES_MAX;
        let entries = self.from.read(after, most, limits::STANDBY_PATIENCE).map_err(Failed::From)?;
        let has_more = !entries.is_empty();
        for (position, bytes) in entries {
            if !self.copy(position, &bytes)? {
                return Ok(false);
            }
        }
        if let Some((_, at)) = self.at.filter(|_| has_more) {
            self.to.mark(at).map_err(Failed::To)?;
        }
        Ok(has_more)
    }

    /// Where it goes on; `None` if nothing is to be copied.
    fn place(&mut self) -> Result<Option<Position>, Failed> {
        if let Some((connections, at)) = self.at
            && connections == self.connections()
        {
            return Ok(Some(at));
        }
        self.at = None;
        let extent = self.to.extent().map_err(Failed::To)?;
        let mark = self.to.marked().map_err(Failed::To)?;
        let last = extent.map(|extent| extent.last);
        let mut is_shared = false;
        if let Some(last) = last.filter(|last| mark != Some(*last)) {
            let here = self.to.entry_at(last).map_err(Failed::To)?;
            is_shared = here.is_some() && here == self.from.entry_at(last).map_err(Failed::From)?;
        } else {
            // So that both connections are there.
            self.from.extent().map_err(Failed::From)?;
        }
        let (after, promoted) = match (There { last, mark, is_shared }).place() {
            Place::After(last) => (Some(last), None),
            Place::FromTheStart => (Some(Position::START), None),
            Place::Foreign(last) => (None, Some(last)),
        };
        self.makes = after == Some(Position::START);
        self.at = after.map(|after| (self.connections(), after));
        self.promoted(promoted);
        self.shared.note(|report| {
            report.promoted = promoted;
            report.at = after.filter(|after| *after != Position::START);
        });
        if promoted.is_some() {
            thread::sleep(limits::RELAY_RETRY);
        }
        Ok(after)
    }

    fn connections(&self) -> [Option<u64>; 2] {
        [self.from.connected(), self.to.connected()]
    }

    /// Copies an entry; false if it has to look where it is.
    fn copy(&mut self, position: Position, bytes: &[u8]) -> Result<bool, Failed> {
        let opened = Entry::open(position, bytes, &self.cluster, &self.trusted);
        let age = match &opened {
            Ok(opened) => match &opened.entry.body {
                Body::Heartbeat(heartbeat) => Some(wall().saturating_sub(Duration::from_micros(heartbeat.time))),
                _ => None,
            },
            Err(refusal) if refusal.is_of_later_version() => None,
            Err(refusal) => {
                self.shared.note(|report| report.refused += 1);
                warn!(%position, "an entry is not copied: {refusal}");
                return Ok(true);
            }
        };
        match self.to.put(position, bytes, self.makes).map_err(Failed::To)? {
            Appended::Written => {}
            // An answer was lost, or somebody else has written there, or all of it was removed.
            _ => {
                self.at = None;
                return Ok(false);
            }
        }
        self.makes = false;
        self.at = Some((self.connections(), position));
        self.shared.note(|report| {
            report.copied += 1;
            (report.at, report.came) = (Some(position), Some(Instant::now()));
            report.age = age.or(report.age);
        });
        Ok(true)
    }

    /// The manifest of the newest snapshot is copied, the snapshot fetched, and what the first site has trimmed is trimmed.
    fn look_at_snapshot(&mut self) -> Result<(), Failed> {
        if self.looked.is_some_and(|looked| looked.elapsed() < limits::HEARTBEAT_INTERVAL) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
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
        let is_there = self.to.manifest().map_err(Failed::To)?.as_ref() == Some(&bytes);
        if is_there && self.manifest.as_ref() == Some(&bytes) {
            return Ok(());
        }
        self.to.set_manifest(&bytes).map_err(Failed::To)?;
        self.manifest = Some(bytes);
        if let Some(first) = self.from.extent().map_err(Failed::From)?.and_then(|extent| extent.first) {
            self.to.trim_before(first).map_err(Failed::To)?;
        }
        Ok(())
    }

    fn tell(&mut self, fault: Option<&String>) {
        if self.told.fault.as_ref() == fault {
            return;
        }
        match fault {
            Some(fault) => warn!("{fault}; nothing is copied until it is back"),
            None => info!("both servers do what they are asked to: entries are copied"),
        }
        self.told.fault = fault.cloned();
    }

    fn promoted(&mut self, promoted: Option<Position>) {
        if std::mem::replace(&mut self.told.promoted, promoted) == promoted {
            return;
        }
        match promoted {
            Some(promoted) => error!("nothing is copied any more: {}", in_words_of(promoted)),
            None => info!("the second site has no entries of its own any more: entries are copied"),
        }
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
