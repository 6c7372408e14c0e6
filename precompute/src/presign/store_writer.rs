//! Carries signed answers to the answer store: collected into runs, written by one thread, loaded at a start.
//!
//! Invariant: a signing thread never waits for a disk longer than its runs are late. A store that cannot be written
//! stops nothing: answers that it lacks are signed again after a restart. It does not know who signs.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use tracing::{error, info};

use super::{
    Stop,
    progress::Progress,
    received::{Former, keep_entries},
    store::{AnswerStore, Run, Stored},
    subject::{Form, Subject},
};
use crate::{
    answers::{Answers, Entry},
    limits,
    pki::{Serial, UnixTime},
    state_dir::StateError,
};

/// The store and the thread that writes it.
#[derive(Debug)]
pub struct StoreWriter {
    runs: Option<SyncSender<Run>>,
    store: Arc<Mutex<Shelf>>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// The store, opened again after a fault.
#[derive(Debug)]
struct Shelf {
    state_dir: PathBuf,
    octets_max: u64,
    store: Option<AnswerStore>,
    again_at: Option<Instant>,
    fault_told: bool,
}

impl StoreWriter {
    /// Opens the store. An error is the store's; see [`StoreWriter::or_without`].
    pub fn open(state_dir: PathBuf, octets_max: u64, progress: &Arc<Progress>) -> Result<Self, StateError> {
        let store = AnswerStore::open(&state_dir, octets_max)?;
        Ok(Self::start(
            Shelf { state_dir, octets_max, store: Some(store), again_at: None, fault_told: false },
            progress,
        ))
    }

    /// Opens the store when it is first needed. If that fails, continues without it and tries again.
    pub fn or_without(state_dir: PathBuf, octets_max: u64, progress: &Arc<Progress>) -> Self {
        Self::start(Shelf { state_dir, octets_max, store: None, again_at: None, fault_told: false }, progress)
    }

    fn start(shelf: Shelf, progress: &Arc<Progress>) -> Self {
        let (runs, coming) = sync_channel(limits::ANSWER_RUNS_WAITING_MAX);
        let store = Arc::new(Mutex::new(shelf));
        let (shelf, told) = (Arc::clone(&store), Arc::clone(progress));
        let thread = std::thread::Builder::new().name("answer store".into());
        let thread = thread.spawn(move || write(&coming, &shelf, &told));
        if let Err(error) = &thread {
            error!("answers are not stored, they are signed again after a restart: no thread can be started: {error}");
        }
        Self { runs: Some(runs), store, progress: Arc::clone(progress), thread: thread.ok() }
    }

    /// Collects the answers of one thread.
    pub fn recorder(&self) -> Recorder {
        Recorder { runs: self.runs.clone().filter(|_| self.thread.is_some()), gathered: Vec::new() }
    }

    /// Puts the stored answers of these forms into the table, if the records still say the same; ends early when told
    /// to stop.
    pub fn restore(&self, subject: &Subject, forms: &[Form], answers: &Answers, now: UnixTime, stop: Stop<'_>) {
        // A look-up in a table of millions waits for memory, so more cores help. Each takes its share of the serials,
        // and all take the runs in order.
        let counts = subject.issuer.state.records.counts();
        let parts = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(RESTORING_THREADS_MAX));
        for form in forms {
            let missing = (counts.good + counts.revoked).saturating_sub(answers.len());
            answers.reserve(missing as usize, subject.packed_length(form));
            let restored = std::thread::scope(|scope| {
                let mut workers = Vec::new();
                for part in 0..parts {
                    let (runs, coming) = sync_channel::<Arc<[u8]>>(2);
                    let work = move || {
                        let restore = |run: Arc<[u8]>| restore_run(subject, form, &run, answers, now, (part, parts));
                        coming.iter().map(restore).sum::<u64>()
                    };
                    workers.push((runs, scope.spawn(work)));
                }
                lock(&self.store).with(&self.progress, |store| {
                    store.load(&form.fingerprint, |run| {
                        let run: Arc<[u8]> = run.into();
                        !stop() && workers.iter().all(|(runs, _)| runs.send(Arc::clone(&run)).is_ok())
                    })
                });
                let ended = |(runs, worker): (SyncSender<_>, std::thread::ScopedJoinHandle<'_, u64>)| {
                    drop(runs);
                    worker.join().unwrap_or(0)
                };
                workers.into_iter().map(ended).sum()
            });
            self.progress.restored(restored);
            if restored > 0 {
                info!(
                    tenant = subject.issuer.id().tenant(),
                    issuer = subject.issuer.name,
                    answers = restored,
                    "answers were taken from the store"
                );
            }
        }
    }
}

impl Drop for StoreWriter {
    /// Everything received is written first.
    fn drop(&mut self) {
        self.runs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// Runs `step` with the store if it is available; true if it succeeded.
    fn with(&mut self, progress: &Progress, step: impl FnOnce(&mut AnswerStore) -> Result<(), StateError>) -> bool {
        if self.again_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let outcome = match &mut self.store {
            Some(store) => step(store),
            None => {
                AnswerStore::open(&self.state_dir, self.octets_max).and_then(|store| step(self.store.insert(store)))
            }
        };
        progress.store_faulty(outcome.is_err());
        match outcome {
            Ok(()) => (self.again_at, self.fault_told) = (None, false),
            Err(error) => {
                if !self.fault_told {
                    error!("{error}; meanwhile answers are not stored, and are signed again after a restart");
                }
                (self.again_at, self.fault_told) = (Some(Instant::now() + limits::RETRY_INTERVAL), true);
                return false;
            }
        }
        true
    }
}

/// Writes what arrives until all senders are gone: many small runs at once, but no more than the longest run is.
fn write(coming: &Receiver<Run>, shelf: &Mutex<Shelf>, progress: &Progress) {
    let mut clean_at = Instant::now();
    let mut next = None;
    loop {
        if clean_at <= Instant::now() {
            let mut shelf = lock(shelf);
            if shelf.store.is_some() {
                shelf.with(progress, |store| store.remove_expired(UnixTime::now()));
            }
            drop(shelf);
            clean_at = Instant::now() + limits::ANSWER_STORE_CLEANING_INTERVAL;
        }
        let first = match next.take() {
            Some(run) => run,
            None => match coming.recv_timeout(clean_at.saturating_duration_since(Instant::now())) {
                Ok(run) => run,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            },
        };
        let runs = gather(first, &mut coming.try_iter(), &mut next);
        if lock(shelf).with(progress, |store| store.append(&runs)) {
            progress.stored(runs.iter().map(Run::len).sum());
        }
    }
}

/// Runs for one commit. The first that does not fit is the `next`.
fn gather(first: Run, coming: &mut impl Iterator<Item = Run>, next: &mut Option<Run>) -> Vec<Run> {
    let mut octets = first.octets();
    let mut runs = vec![first];
    for run in coming {
        octets += run.octets();
        if octets > limits::ANSWER_RUN_OCTETS_MAX {
            *next = Some(run);
            break;
        }
        runs.push(run);
    }
    runs
}

/// More threads would wait for each other.
const RESTORING_THREADS_MAX: usize = 8;

/// Puts a part of a run's entries into the table; returns how many.
fn restore_run(
    subject: &Subject,
    form: &Form,
    run: &[u8],
    answers: &Answers,
    now: UnixTime,
    (part, parts): (usize, usize),
) -> u64 {
    let fits = |serial: &Serial, entry: &Entry| {
        let here = usize::from(serial.padded()[Serial::MAX_OCTETS - 1]) % parts == part;
        here && entry.this_update <= now && now < entry.next_update
    };
    keep_entries(subject, form, run, answers, (Former::Stays, None), fits, |_| true).kept
}

/// Bytes of one more entry: an RSA-4096 signature.
const STORED_OCTETS_MAX: usize = 1024;

/// Collects what one thread signs.
#[derive(Debug)]
pub struct Recorder {
    runs: Option<SyncSender<Run>>,
    gathered: Vec<(Run, Instant)>,
}

impl Recorder {
    /// Adds an answer of a form.
    pub fn push(&mut self, form: &Form, stored: &Stored) {
        if self.runs.is_none() {
            return;
        }
        let place =
            self.gathered.iter().position(|(run, _)| *run.fingerprint() == form.fingerprint).unwrap_or_else(|| {
                self.gathered.push((Run::new(form.fingerprint), Instant::now()));
                self.gathered.len() - 1
            });
        let (run, _) = &mut self.gathered[place];
        run.push(stored);
        if run.octets() + STORED_OCTETS_MAX > limits::ANSWER_RUN_OCTETS_MAX {
            let (run, _) = self.gathered.swap_remove(place);
            self.send(run);
        }
    }

    /// Hands over what has waited long enough.
    pub fn tick(&mut self, now: Instant) {
        while let Some(place) = self
            .gathered
            .iter()
            .position(|(_, since)| now.saturating_duration_since(*since) >= limits::ANSWER_RUN_AGE_MAX)
        {
            let (run, _) = self.gathered.swap_remove(place);
            self.send(run);
        }
    }

    fn send(&mut self, run: Run) {
        if let Some(runs) = &self.runs {
            let _ = runs.send(run);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for (run, _) in std::mem::take(&mut self.gathered) {
            self.send(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::StateWord;

    fn run(form: u8, answers: usize) -> Run {
        let mut run = Run::new([form; 32]);
        let [this_update, refresh_at, next_update] = [1, 2, 3].map(UnixTime);
        let entry = Entry { state: StateWord::from_word(1), this_update, refresh_at, next_update };
        let serial = Serial::from_magnitude(&[1]).unwrap();
        (0..answers).for_each(|_| run.push(&Stored { serial, entry, packed: vec![7; 64] }));
        run
    }

    #[test]
    fn small_runs_are_written_together_and_no_commit_is_longer_than_the_longest_run() {
        let longest = limits::ANSWER_RUN_OCTETS_MAX / (run(0, 1).octets());
        for (sizes, expected) in [
            (vec![1; 200], 1),
            (vec![longest; 3], 3),
            (vec![1, longest, 1, 1], 3),
            (vec![longest / 2, longest / 2, longest / 2], 2),
        ] {
            let mut coming = sizes.iter().enumerate().map(|(form, answers)| run(form as u8, *answers));
            let (mut next, mut written, mut commits) = (coming.next(), Vec::new(), 0);
            while let Some(first) = next.take().or_else(|| coming.next()) {
                let runs = gather(first, &mut coming, &mut next);
                let octets: usize = runs.iter().map(Run::octets).sum();
                assert!(octets <= limits::ANSWER_RUN_OCTETS_MAX, "{octets} bytes of {sizes:?}");
                written.extend(runs.iter().map(|run| (run.fingerprint()[0], run.len() as usize)));
                commits += 1;
            }
            let all: Vec<_> = sizes.iter().enumerate().map(|(form, answers)| (form as u8, *answers)).collect();
            assert_eq!(written, all);
            assert_eq!(commits, expected, "{sizes:?}");
        }
    }
}
