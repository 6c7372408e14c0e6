//! Takes the answers of a snapshot, and of the entries after it, beside the thread that follows.
//!
//! Invariants: following never waits for it; and no answer from before a change is kept as one of the state after it, even
//! if the record says the same again: where a record was changed is noted here first ([`Job::changes`]), and an answer that
//! was told before that does not count. It does not know who signs.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use tracing::{info, warn};

use crate::{
    feed::{
        Body, Chain, Cluster, Entry, Issuer, Manifest, Position, Trusted,
        body::Section,
        carrier::Carrier,
        reader::Compared,
        shelf::{Chunks, SnapshotId},
        snapshot::{Part, each_part},
        transport::Transport as _,
    },
    limits::{LOW_PRIORITY, feed as limits},
    pki::{Serial, UnixTime},
    presign::Received,
};

/// The answers of one snapshot that are being taken. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Loading {
    job: Arc<Job>,
}

/// What both threads know of it.
#[derive(Debug)]
pub(super) struct Job {
    manifest: Manifest,
    /// Where records were changed last since the snapshot.
    changed: Mutex<HashMap<(Issuer, Serial), Position>>,
    /// How many chunks were taken.
    taken: AtomicUsize,
    stop: AtomicBool,
    is_over: AtomicBool,
    /// Some answers are not taken from this snapshot and the entries after it: those were gone from the stream, or too
    /// many records change meanwhile.
    lacks_answers: AtomicBool,
}

/// Where answers come from.
#[derive(Debug)]
pub(super) struct Places {
    /// The last chunk that has records, which may have the first answers as well.
    pub(super) first: Option<Vec<u8>>,
    /// All chunks.
    pub(super) chunks: Chunks,
    /// A connection of its own.
    pub(super) stream: Carrier,
    /// Redis does not answer, so what was told comes last.
    pub(super) is_away: bool,
    pub(super) cluster: Cluster,
    pub(super) trusted: Trusted,
}

/// The entries after the snapshot, as far as they were read.
struct Told {
    stream: Carrier,
    cluster: Cluster,
    trusted: Trusted,
    /// The last of them.
    end: Position,
    at: Position,
    chain: Chain,
}

impl Loading {
    /// Begins to take them.
    pub(super) fn start(compared: Compared, places: Places, received: Arc<Received>) -> io::Result<Self> {
        let Compared { manifest, changed, answers_until, .. } = compared;
        let job = Arc::new(Job::new(manifest, changed));
        let own = Arc::clone(&job);
        let work = move || {
            own.run(places, answers_until, &received);
            own.is_over.store(true, Relaxed);
        };
        // It may wait for a chunk that comes through memory, so nobody waits for its end.
        thread::Builder::new().name("feed answers".to_owned()).spawn(work)?;
        Ok(Self { job })
    }

    /// What is to be told of changes; `None` once it is over.
    pub(super) fn job(&self) -> Option<&Arc<Job>> {
        (!self.is_over()).then_some(&self.job)
    }

    /// Whether it has taken what there was to take.
    pub(super) fn is_over(&self) -> bool {
        self.job.is_over.load(Relaxed)
    }

    /// Whether it has chunks to take yet, so that no other snapshot may be fetched.
    pub(super) fn wants_chunks(&self) -> bool {
        self.job().map(|job| job.progress()).is_some_and(|(taken, all)| taken < all)
    }

    /// The snapshot that it was for, if another one is wanted because this one's answers do not become complete.
    pub(super) fn is_outlived(&self) -> Option<&Manifest> {
        self.job.lacks_answers.load(Relaxed).then_some(&self.job.manifest)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.job.end();
    }
}

impl Job {
    fn new(manifest: Manifest, changed: HashMap<(Issuer, Serial), Position>) -> Self {
        Self {
            manifest,
            changed: Mutex::new(changed),
            taken: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            lacks_answers: AtomicBool::new(false),
        }
    }

    /// These records change now, by the entry in this place. It has to be noted before they show.
    pub(super) fn changes(&self, place: Position, sections: &[Section]) {
        // As by every sign of life.
        if sections.is_empty() {
            return;
        }
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        for section in sections {
            changed.extend(section.changes.iter().map(|change| ((section.issuer, change.serial), place)));
        }
        if changed.len() > limits::OVERLAY_RECORDS_MAX && !self.stop.swap(true, Relaxed) {
            self.lacks_answers.store(true, Relaxed);
            warn!(
                snapshot = %SnapshotId::of(&self.manifest),
                "so many records change that the answers of this snapshot are left: those that are missing come with the next one"
            );
        }
    }

    /// Everything is compared anew: what this snapshot has is of the past.
    pub(super) fn end(&self) {
        self.stop.store(true, Relaxed);
    }

    /// How many of its chunks were taken, and how many there are.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.taken.load(Relaxed), self.manifest.chunks.len())
    }

    fn run(&self, places: Places, answers_until: Option<Position>, received: &Received) {
        // Serving and following come first.
        if let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY) {
            warn!(%error, "the priority of taking answers cannot be lowered");
        }
        let before = received.so_far().taken.load(Relaxed);
        let Places { first, chunks, stream, is_away, cluster, trusted } = places;
        let (at, chain) = (self.manifest.position, self.manifest.chain);
        let mut told = answers_until.map(|end| Told { stream, cluster, trusted, end, at, chain });
        // Those first that were told last: of what was revoked since the snapshot. Without them there is the snapshot.
        let take_first = |told: &mut Told| !is_away && self.take_told(told, Some(limits::TOLD_FAILURES_MAX), received);
        let is_told = told.as_mut().is_none_or(take_first);
        let records = self.manifest.record_chunks as usize;
        if let Some(chunk) = first {
            self.take(&chunk, received);
        }
        self.taken.store(records, Relaxed);
        for number in records..self.manifest.chunks.len() {
            let Some(chunk) = self.wait_for(number, &chunks) else { return };
            self.take(&chunk, received);
            self.taken.store(number + 1, Relaxed);
        }
        info!(
            snapshot = %SnapshotId::of(&self.manifest),
            answers = received.so_far().taken.load(Relaxed) - before,
            "the answers of the snapshot were taken"
        );
        if let Some(told) = told.as_mut().filter(|_| !is_told) {
            self.take_told(told, None, received);
        }
    }

    /// Takes the answers of the entries after the snapshot, on from where that ended the last time. False if Redis did
    /// not give them `failures_max` times in a row; without that, it is asked until it does.
    fn take_told(&self, told: &mut Told, failures_max: Option<u32>, received: &Received) -> bool {
        let mut failures = 0;
        while told.at < told.end && !self.stop.load(Relaxed) {
            let Ok(batch) = told.stream.read_after(told.at, limits::READ_ENTRIES_MAX) else {
                failures += 1;
                if failures_max.is_some_and(|most| failures >= most) {
                    let fault = told.stream.fault().map_or("", |fault| &fault.message);
                    warn!(
                        snapshot = %SnapshotId::of(&self.manifest),
                        "the answers that were told after this snapshot cannot be read yet, and come after its own: {fault}"
                    );
                    return false;
                }
                thread::sleep(limits::RECONNECT_MAX);
                continue;
            };
            failures = 0;
            let is_empty = batch.is_empty();
            for raw in batch {
                let at = raw.position;
                told.at = at;
                // What is refused here was refused as it was followed.
                let Ok(opened) = Entry::open(at, &raw.bytes, &told.cluster, &told.trusted) else { continue };
                if at > told.end || opened.entry.body == Body::Fence {
                    continue;
                }
                if !opened.entry.follows(told.chain) {
                    self.lacks_answers.store(true, Relaxed);
                    return true;
                }
                told.chain = opened.chain;
                if let Body::Answers(sections) = &opened.entry.body {
                    let now = UnixTime::now();
                    for section in sections {
                        let changed = |serial: &Serial| self.changed_at(section.issuer, serial);
                        received.take_compared(&section.rows(), now, |serial| {
                            changed(serial).is_none_or(|place| place < at)
                        });
                    }
                }
            }
            if is_empty && told.at < told.end {
                self.lacks_answers.store(true, Relaxed);
                return true;
            }
        }
        true
    }

    /// Where this record was changed last since the snapshot.
    fn changed_at(&self, issuer: Issuer, serial: &Serial) -> Option<Position> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).get(&(issuer, *serial)).copied()
    }

    /// The next chunk, once it is at hand; `None` if this is over.
    fn wait_for(&self, number: usize, chunks: &Chunks) -> Option<Vec<u8>> {
        loop {
            if self.stop.load(Relaxed) {
                return None;
            }
            let at_hand = chunks.at_hand(&self.manifest)?;
            // One that is found to be wrong as it is read is fetched again.
            if at_hand > number
                && let Some(chunk) = chunks.chunk(&self.manifest, number, || !self.stop.load(Relaxed))
            {
                return Some(chunk);
            }
            thread::sleep(limits::CHUNK_LOOK);
        }
    }

    fn take(&self, chunk: &[u8], received: &Received) {
        let now = UnixTime::now();
        let taken = each_part(chunk, |part| {
            if let Part::Answers(rows) = part {
                received.take_compared(&rows, now, |serial| self.changed_at(rows.issuer, serial).is_none());
            }
            Ok(())
        });
        if let Err(refusal) = taken {
            warn!(snapshot = %SnapshotId::of(&self.manifest), "answers of the snapshot cannot be read: {refusal}");
        }
    }
}

#[cfg(test)]
mod tests;
