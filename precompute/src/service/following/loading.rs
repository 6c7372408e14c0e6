//! Takes the answers of a snapshot, beside the thread that follows.
//!
//! Invariants: following never waits for it; and no answer from before a change is kept as one of the state after it, even
//! if the record says the same again: a record that is changed while the answers come is noted here first
//! ([`Job::changes`]), and its answer in the snapshot does not count. It does not know the stream.

use std::{
    collections::HashSet,
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
        Issuer, Manifest,
        body::Section,
        reader::Compared,
        shelf::{Chunks, SnapshotId},
        snapshot::{Part, each_part},
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
    /// Records that have changed since the snapshot.
    later: Mutex<HashSet<(Issuer, Serial)>>,
    /// How many chunks were taken.
    taken: AtomicUsize,
    stop: AtomicBool,
    is_over: AtomicBool,
}

impl Loading {
    /// Begins with the last chunk that has records, `first`, which may have the first answers as well.
    pub(super) fn start(
        compared: Compared,
        first: Option<Vec<u8>>,
        chunks: Chunks,
        received: Arc<Received>,
    ) -> io::Result<Self> {
        let Compared { manifest, later } = compared;
        let job = Arc::new(Job {
            manifest,
            later: Mutex::new(later.into_keys().collect()),
            taken: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&job);
        let work = move || {
            own.run(first, &chunks, &received);
            own.is_over.store(true, Relaxed);
        };
        // It may wait for a chunk that comes through memory, so nobody waits for its end.
        thread::Builder::new().name("feed answers".to_owned()).spawn(work)?;
        Ok(Self { job })
    }

    /// What is to be told of changes; `None` once it is over.
    pub(super) fn job(&self) -> Option<&Arc<Job>> {
        (!self.job.is_over.load(Relaxed)).then_some(&self.job)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.job.end();
    }
}

impl Job {
    /// These records change now. It has to be noted before they show.
    pub(super) fn changes(&self, sections: &[Section]) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        for section in sections {
            later.extend(section.changes.iter().map(|change| (section.issuer, change.serial)));
        }
        if later.len() > limits::OVERLAY_RECORDS_MAX && !self.stop.swap(true, Relaxed) {
            warn!(
                snapshot = %SnapshotId::of(&self.manifest),
                "so many records change that the answers of this snapshot are left: the writer tells those that it signs anew"
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

    fn run(&self, first: Option<Vec<u8>>, chunks: &Chunks, received: &Received) {
        // Serving and following come first.
        if let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY) {
            warn!(%error, "the priority of taking answers cannot be lowered");
        }
        let before = received.so_far().taken.load(Relaxed);
        let records = self.manifest.record_chunks as usize;
        if let Some(chunk) = first {
            self.take(&chunk, received);
        }
        self.taken.store(records, Relaxed);
        for number in records..self.manifest.chunks.len() {
            let Some(chunk) = self.wait_for(number, chunks) else { return };
            self.take(&chunk, received);
            self.taken.store(number + 1, Relaxed);
        }
        info!(
            snapshot = %SnapshotId::of(&self.manifest),
            answers = received.so_far().taken.load(Relaxed) - before,
            "the answers of the snapshot were taken"
        );
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
                && let Some(chunk) = chunks.chunk(&self.manifest, number)
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
                let later = |serial: &Serial| {
                    self.later.lock().unwrap_or_else(PoisonError::into_inner).contains(&(rows.issuer, *serial))
                };
                received.take(&rows, now, |serial| !later(serial));
            }
            Ok(())
        });
        if let Err(refusal) = taken {
            warn!(snapshot = %SnapshotId::of(&self.manifest), "answers of the snapshot cannot be read: {refusal}");
        }
    }
}
