//! The progress of pre-signing: written by the signing threads, read by observers.
//!
//! Invariant: counters only increase. It does not know what is signed.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Numbers that only increase, except those of the present pass.
#[derive(Debug)]
pub struct Progress {
    epoch: Instant,
    /// Answers that the present pass still has to sign.
    due: AtomicU64,
    /// Answers signed and kept, since the process was started.
    signed: AtomicU64,
    /// Signatures that failed,
    failed: AtomicU64,
    /// and those that the pool had no time or room for.
    expired: AtomicU64,
    /// Signatures discarded because their record changed in the meantime.
    void: AtomicU64,
    /// Answers taken from the store at a start.
    restored: AtomicU64,
    /// Answers written to the store.
    stored: AtomicU64,
    /// Whether the store cannot be written.
    store_faulty: AtomicU64,
    /// Whether there was no more room for answers in the last pass.
    full: AtomicU64,
    /// The present pass: when it began and how much had been signed and was due then.
    pass_began_ms: AtomicU64,
    pass_signed_before: AtomicU64,
    pass_due: AtomicU64,
    passes: AtomicU64,
    last_pass_ms: AtomicU64,
    last_pass_ended: AtomicU64,
}

/// The progress at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[allow(missing_docs)] // as above
pub struct Report {
    pub due: u64,
    pub signed: u64,
    pub failed: u64,
    pub expired: u64,
    pub void: u64,
    pub restored: u64,
    pub stored: u64,
    pub store_faulty: bool,
    pub full: bool,
    /// Passes that have ended.
    pub passes: u64,
    /// How long the last one took.
    pub last_pass: Duration,
    /// When it ended, in Unix time; 0 before the first.
    pub last_pass_ended: u64,
    /// What was due when the present pass began, and how much of it is signed.
    pub pass: (u64, u64),
    /// Answers a second in the present pass.
    pub rate: f64,
    /// How much longer it will take.
    pub left: Option<Duration>,
}

impl Default for Progress {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            epoch: Instant::now(),
            due: zero(),
            signed: zero(),
            failed: zero(),
            expired: zero(),
            void: zero(),
            restored: zero(),
            stored: zero(),
            store_faulty: zero(),
            full: zero(),
            pass_began_ms: zero(),
            pass_signed_before: zero(),
            pass_due: zero(),
            passes: zero(),
            last_pass_ms: zero(),
            last_pass_ended: zero(),
        }
    }
}

impl Progress {
    fn elapsed_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// A pass begins, with so much to sign.
    pub(super) fn begin(&self, due: u64) {
        self.pass_began_ms.store(self.elapsed_ms(), Relaxed);
        self.pass_signed_before.store(self.signed.load(Relaxed), Relaxed);
        self.pass_due.store(due, Relaxed);
        self.due.store(due, Relaxed);
    }

    /// It has ended: how long it took with its planning, when, and what is left.
    pub(super) fn end(&self, took: Duration, ended: u64, left: u64) {
        self.due.store(left, Relaxed);
        self.passes.fetch_add(1, Relaxed);
        self.last_pass_ms.store(took.as_millis() as u64, Relaxed);
        self.last_pass_ended.store(ended, Relaxed);
    }

    /// So many answers of the pass were signed.
    pub(super) fn signed(&self, count: u64) {
        self.signed.fetch_add(count, Relaxed);
        self.no_longer_due(count);
    }

    /// So many need not be signed any more, or cannot be now.
    pub(super) fn no_longer_due(&self, count: u64) {
        let _ = self.due.fetch_update(Relaxed, Relaxed, |due| Some(due.saturating_sub(count)));
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    pub(super) fn void(&self) {
        self.void.fetch_add(1, Relaxed);
    }

    pub(super) fn restored(&self, count: u64) {
        self.restored.fetch_add(count, Relaxed);
    }

    pub(super) fn stored(&self, count: u64) {
        self.stored.fetch_add(count, Relaxed);
    }

    pub(super) fn store_faulty(&self, faulty: bool) {
        self.store_faulty.store(faulty.into(), Relaxed);
    }

    pub(super) fn full(&self, full: bool) {
        self.full.store(full.into(), Relaxed);
    }

    /// The progress now.
    pub fn report(&self) -> Report {
        let read = |number: &AtomicU64| number.load(Relaxed);
        let (due, signed) = (read(&self.due), read(&self.signed));
        let of_pass = read(&self.pass_due);
        let done = of_pass.saturating_sub(due);
        let took = Duration::from_millis(self.elapsed_ms().saturating_sub(read(&self.pass_began_ms)));
        let signed_in_pass = signed.saturating_sub(read(&self.pass_signed_before));
        let (rate, left) = pace(signed_in_pass, due, took);
        Report {
            due,
            signed,
            failed: read(&self.failed),
            expired: read(&self.expired),
            void: read(&self.void),
            restored: read(&self.restored),
            stored: read(&self.stored),
            store_faulty: read(&self.store_faulty) != 0,
            full: read(&self.full) != 0,
            passes: read(&self.passes),
            last_pass: Duration::from_millis(read(&self.last_pass_ms)),
            last_pass_ended: read(&self.last_pass_ended),
            pass: (of_pass, done),
            rate,
            left,
        }
    }
}

/// Answers a second, and how long the rest takes at that rate.
fn pace(signed: u64, due: u64, took: Duration) -> (f64, Option<Duration>) {
    let seconds = took.as_secs_f64();
    if signed == 0 || seconds <= 0.0 {
        return (0.0, None);
    }
    let rate = signed as f64 / seconds;
    (rate, Some(Duration::from_secs_f64((due as f64 / rate).min(1e9))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_seen_from_its_beginning_to_its_end() {
        let progress = Progress::default();
        assert_eq!(progress.report().pass, (0, 0));
        progress.begin(10);
        progress.signed(4);
        progress.no_longer_due(1);
        progress.failed();
        let report = progress.report();
        assert_eq!((report.due, report.signed, report.failed, report.pass), (5, 4, 1, (10, 5)));
        progress.signed(20);
        assert_eq!(progress.report().due, 0, "more than was due");
        progress.end(Duration::from_secs(2), 77, 3);
        let report = progress.report();
        assert_eq!((report.due, report.passes, report.last_pass_ended), (3, 1, 77));
        assert_eq!(report.last_pass, Duration::from_secs(2));
    }

    #[test]
    fn what_is_left_is_told_from_the_pace_so_far() {
        let second = Duration::from_secs(1);
        assert_eq!(pace(0, 100, second), (0.0, None));
        assert_eq!(pace(50, 100, second), (50.0, Some(2 * second)));
        assert_eq!(pace(50, 0, second), (50.0, Some(Duration::ZERO)));
        assert_eq!(pace(5, 100, Duration::ZERO), (0.0, None));
    }
}
