//! Keeps what a replica says, so that it can be proven: the thread behind [`crate::transparency`].
//!
//! Purpose: takes statements off the [`Tap`], makes a head of them each minute, and compares everything with what the replica
//! has where statements are missing: after a start, after a comparison with a snapshot, and where there was no room. Invariants:
//! whoever serves or follows the feed never waits for a disk here, but for as long as a few records take to be compared; what
//! the disk refuses is told, and tried again with the next head. It does not know the feed.

mod comparing;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{info, warn};

use self::comparing::Comparing;
use super::{LastWords, Tenants, Threads};
use crate::{
    answers::Answers,
    config::Transparency,
    limits::{LOW_PRIORITY, transparency as limits},
    log::remarks::{Lasting, News},
    pki::FileError,
    transparency::{
        Keeper, SignedHead, Tap,
        keeper::{Noted, Whose},
        tap,
    },
};

/// How it fares, for health and metrics.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// The newest head.
    pub head: Option<SignedHead>,
    /// When this process made it, or found it.
    pub made: Option<Instant>,
    /// How many heads were made since the start.
    pub heads: u64,
    /// Statements that wait for the next one.
    pub waiting: u64,
    /// How often a file could not be read or written.
    pub failures: u64,
    /// Since when statements may be missing, milliseconds since 1970.
    pub gap: Option<u64>,
    /// What is wrong now.
    pub problem: Option<String>,
}

/// What others see of it.
#[derive(Clone, Default, Debug)]
pub struct Kept(Arc<Mutex<Report>>);

impl Kept {
    /// How it fares.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread.
#[derive(Debug)]
pub struct Keeping {
    kept: Kept,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeping {
    /// Starts it. `tenants` and `answers`: what the replica has.
    pub fn start(
        config: &Transparency,
        whose: Whose,
        tap: Arc<Tap>,
        (tenants, answers): (watch::Receiver<Arc<Tenants>>, Arc<Answers>),
        threads: &Threads,
    ) -> io::Result<Self> {
        let (kept, stop) = (Kept::default(), Arc::<AtomicBool>::default());
        let work = Work {
            config: config.clone(),
            whose,
            tap,
            tenants,
            answers,
            kept: kept.clone(),
            keeper: None,
            next: Instant::now(),
            not_before: Instant::now(),
            begun: Instant::now(),
            comparing: None,
            wants_comparing: false,
            is_filled: false,
            clocks: None,
            lasting: Lasting::default(),
        };
        let (stops, last) = (Arc::clone(&stop), threads.last_words("the thread that keeps what was said"));
        let thread = thread::Builder::new().name("transparency".into()).spawn(move || work.run(&stops, last))?;
        Ok(Self { kept, stop, thread })
    }

    /// What others see of it.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Makes a last head, and ends.
    pub fn end(self) {
        self.stop.store(true, Relaxed);
        self.thread.thread().unpark();
        // A panic has been told where it happened.
        let _ = self.thread.join();
    }
}

struct Work {
    config: Transparency,
    whose: Whose,
    tap: Arc<Tap>,
    tenants: watch::Receiver<Arc<Tenants>>,
    answers: Arc<Answers>,
    kept: Kept,
    keeper: Option<Keeper>,
    /// When the next head is due, or the next attempt.
    next: Instant,
    /// After a failure nothing is tried before this.
    not_before: Instant,
    begun: Instant,
    comparing: Option<Comparing>,
    wants_comparing: bool,
    /// The replica has had everything once.
    is_filled: bool,
    /// When the last head was made, by the monotonic clock and by the clock of the system, milliseconds since 1970.
    clocks: Option<(Instant, u64)>,
    lasting: Lasting,
}

impl Work {
    fn run(mut self, stop: &AtomicBool, _last: LastWords) {
        if let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY) {
            warn!(%error, "the priority of keeping what is said cannot be lowered");
        }
        loop {
            let stops = stop.load(Relaxed);
            let is_busy = self.step(stops);
            if stops {
                return;
            }
            if !is_busy {
                thread::park_timeout(limits::TAKEN_EVERY);
            }
        }
    }

    /// Returns whether there is more to do at once.
    fn step(&mut self, stops: bool) -> bool {
        let outcome = match self.keeper.take() {
            Some(keeper) => self.keep(keeper, stops),
            None => self.begin(stops),
        };
        let now = self.begun.elapsed();
        match outcome {
            Ok(is_busy) => is_busy,
            Err(error) => {
                self.next = Instant::now() + self.config.head_every;
                self.not_before = self.next;
                let mut report = self.kept.lock();
                report.failures += 1;
                report.problem = Some(error.to_string());
                drop(report);
                if let Some(News::Begins | News::Lasts(_)) = self.lasting.news(true, now) {
                    warn!("what is said cannot be kept, and is answered all the same: {error}");
                }
                false
            }
        }
    }

    fn begin(&mut self, stops: bool) -> Result<bool, FileError> {
        let mut held = self.tap.hold();
        // The start finds it by a comparison.
        let waiting = held.take(false);
        (self.wants_comparing, self.is_filled) =
            (self.wants_comparing || waiting.compare || self.is_filled, self.is_filled || waiting.compare);
        let now = held.now();
        drop(held);
        if stops || !self.is_due() {
            return Ok(false);
        }
        let keeper = Keeper::open(&self.config.directory, self.whose.clone(), now)?;
        let last = keeper.last();
        info!(directory = %self.config.directory.display(), head = last.head.number, certificates = last.head.leaves, "what is said is kept");
        self.tap.hold().not_before(last.head.at + 1);
        self.comparing = None;
        self.next = Instant::now() + self.config.head_every;
        self.tell(&keeper, false);
        self.keeper = Some(keeper);
        Ok(true)
    }

    /// Keeps what waits, compares for a while, and makes a head if one is due. A keeper that cannot go on is let go of.
    fn keep(&mut self, mut keeper: Keeper, stops: bool) -> Result<bool, FileError> {
        let outcome = self.take(&mut keeper, stops);
        match outcome {
            Ok(is_busy) => {
                self.kept.lock().waiting = keeper.waiting() as u64;
                self.keeper = Some(keeper);
                Ok(is_busy)
            }
            Err(error) => {
                self.kept.lock().waiting = keeper.waiting() as u64;
                if keeper.is_in_place() {
                    self.keeper = Some(keeper);
                }
                Err(error)
            }
        }
    }

    fn take(&mut self, keeper: &mut Keeper, stops: bool) -> Result<bool, FileError> {
        let is_due = stops || self.is_due();
        let mut held = self.tap.hold();
        let (waiting, now) = (held.take(is_due), held.now());
        drop(held);
        self.is_filled |= waiting.compare;
        self.wants_comparing |= waiting.compare;
        waiting.lost.into_iter().for_each(|since| keeper.lost(since));
        for (key, statement) in waiting.statements {
            match keeper.note(key, statement)? {
                Noted::Taken => {}
                Noted::Full => self.next = Instant::now(),
                Noted::Lost => {
                    keeper.lost(statement.at);
                    self.wants_comparing = true;
                    self.next = Instant::now();
                }
            }
        }
        if is_due {
            self.look_at_the_clock(keeper);
            self.head(keeper, now)?;
        }
        // What fills it has a head made at once.
        Ok(self.is_due() || !stops && self.compare(keeper)?)
    }

    /// A clock that was changed since the last head, or is behind it, has what was stated meanwhile stand at times that were not.
    fn look_at_the_clock(&mut self, keeper: &mut Keeper) {
        let (instant, clock) = (Instant::now(), tap::clock());
        let before = self.clocks.replace((instant, clock));
        if let Some(since) = doubtful_since(before, (instant, clock), keeper.last().head.at) {
            keeper.lost(since);
            self.wants_comparing = true;
        }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.next.max(self.not_before)
    }

    fn head(&mut self, keeper: &mut Keeper, now: u64) -> Result<(), FileError> {
        keeper.head(now)?;
        self.next = Instant::now() + self.config.head_every;
        if let Some(News::Over(after)) = self.lasting.news(false, self.begun.elapsed()) {
            info!(seconds = after.as_secs(), "what is said is kept again");
        }
        self.tell(keeper, true);
        keeper.tidy(now.saturating_sub(self.config.keep.as_millis() as u64))
    }

    /// Compares for a while. Returns whether there is more to compare.
    fn compare(&mut self, keeper: &mut Keeper) -> Result<bool, FileError> {
        if std::mem::take(&mut self.wants_comparing) {
            self.comparing = Some(Comparing::new(&self.tenants.borrow(), &self.answers));
            keeper.compare();
        }
        let Some(comparing) = &mut self.comparing else { return Ok(false) };
        let begun = Instant::now();
        while begun.elapsed() < SLICE && keeper.waiting() < limits::STATEMENTS_MAX {
            let compared = comparing.step(&self.tap, keeper);
            if compared.is_err() {
                self.wants_comparing = true;
            }
            let compared = compared?;
            if compared.is_full {
                self.next = Instant::now();
            }
            // It begins anew, behind the head if one has to be made first.
            self.wants_comparing |= compared.wants_more;
            if compared.is_full || compared.wants_more {
                self.comparing = self.comparing.take().filter(|_| !compared.is_over);
                return Ok(self.is_due());
            }
            if compared.is_over {
                self.comparing = None;
                return Ok(false);
            }
        }
        let is_full = keeper.waiting() >= limits::STATEMENTS_MAX;
        if is_full {
            self.next = self.next.min(Instant::now());
        }
        // While the disk takes nothing, there is nothing to hurry for.
        Ok(!is_full || self.is_due())
    }

    fn tell(&self, keeper: &Keeper, is_made: bool) {
        let mut report = self.kept.lock();
        report.heads += u64::from(is_made);
        report.head = Some(keeper.last().clone());
        report.made = Some(Instant::now());
        report.gap = keeper.gap();
        report.problem = None;
    }
}

/// Since when times of statements are not to be relied on, milliseconds since 1970. `before` and `now`: the monotonic clock and
/// that of the system at two heads; `last`: the time of the last head.
fn doubtful_since(before: Option<(Instant, u64)>, now: (Instant, u64), last: u64) -> Option<u64> {
    let most = limits::CLOCK_MOVED_MAX.as_millis() as u64;
    if now.1.saturating_add(most) < last {
        return Some(now.1);
    }
    let (instant, clock) = before?;
    let wanted = clock.saturating_add(now.0.saturating_duration_since(instant).as_millis() as u64);
    (now.1.abs_diff(wanted) > most).then_some(clock.min(now.1))
}

/// How long is compared before what waits is taken again.
const SLICE: Duration = Duration::from_millis(200);

/// What `check` says of a directory: why no file can be made there.
pub fn try_directory(config: &Transparency, state_dir: &std::path::Path) -> Option<String> {
    let directory = &config.directory;
    if state_dir.starts_with(directory) || directory.starts_with(state_dir.join("snapshots")) {
        return Some(format!(
            "{} has other files of the service: give it a directory of its own, such as {}",
            directory.display(),
            state_dir.join("transparency").display()
        ));
    }
    // The nearest that is there: a start makes the rest.
    let there: Option<PathBuf> = directory.ancestors().find(|above| above.exists()).map(Into::into);
    let there = there?;
    if !there.is_dir() {
        return Some(format!("{} is no directory", there.display()));
    }
    let tried = tempfile_in(&there);
    tried.err().map(|error| {
        format!("{} cannot be written: {error}; see to its owner, for the user of the service", there.display())
    })
}

/// Makes a file and removes it.
fn tempfile_in(directory: &std::path::Path) -> io::Result<()> {
    let path = directory.join(format!(".ostia-check-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_changed_or_is_behind_the_last_head_makes_times_doubtful() {
        let begun = Instant::now();
        let (later, before) = (begun + Duration::from_secs(60), Some((begun, 1_000_000)));
        for (before, clock, last, doubtful) in [
            (before, 1_060_000, 1_000_000, None),
            (before, 1_060_900, 1_000_000, None),
            (None, 9_000_000, 1_000_000, None),
            // It jumped ahead, with the time before as well as after it in doubt,
            (before, 1_660_000, 1_000_000, Some(1_000_000)),
            // was set back,
            (before, 1_050_000, 1_000_000, Some(1_000_000)),
            (before, 460_000, 400_000, Some(460_000)),
            // and was ahead when the last head was made.
            (before, 1_060_000, 1_600_000, Some(1_060_000)),
            (None, 1_060_000, 1_600_000, Some(1_060_000)),
        ] {
            assert_eq!(doubtful_since(before, (later, clock), last), doubtful, "{clock} {last}");
        }
    }
}
