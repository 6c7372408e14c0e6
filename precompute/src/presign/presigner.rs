//! Pass after pass, beside a responder that serves.
//!
//! It has two threads of its own, never a worker. One loads the store and then passes over all issuers again and again.
//! The other is notified of changed records and has those signed at once, so a revocation does not wait for a pass.
//! Both, and all threads they start, have a lower priority than the serving threads; the first has the lowest.
//!
//! Invariant: serving never waits for it. It does not know clients.

use std::{
    collections::HashSet,
    hash::RandomState,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tracing::{debug, error, info, warn};

use super::{End, Passed, PresignRunner, Progress, Stop, StoreWriter, Subject};
use crate::{
    answers::Answers,
    engine::Changed,
    limits,
    pki::{Serial, UnixTime},
};

/// What a presigner works with.
#[derive(Debug)]
pub struct Settings {
    /// Where answers are kept for the serving threads.
    pub answers: Arc<Answers>,
    /// Where the store is.
    pub state_dir: PathBuf,
    /// How large the store may grow.
    pub store_octets_max: u64,
}

/// Signs ahead until it is dropped.
#[derive(Debug)]
pub struct Presigner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    subjects: ArcSwap<Vec<Arc<Subject>>>,
    /// Increases with each change of `subjects` or of their signers.
    generation: AtomicU64,
    stop: AtomicBool,
    /// Whether a pass is wanted before its time.
    wanted: Mutex<bool>,
    wake: Condvar,
    progress: Arc<Progress>,
}

impl Presigner {
    /// Starts signing for these issuers.
    pub fn start(settings: Settings, subjects: Vec<Subject>) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let shared = Arc::new(Shared {
            subjects: ArcSwap::default(),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            wanted: Mutex::new(false),
            wake: Condvar::new(),
            progress: Arc::clone(&progress),
        });
        let mut presigner = Self { shared, threads: Vec::new() };
        presigner.change(subjects);
        let runner = Arc::new(OnceLock::new());
        let (shared, filled) = (Arc::clone(&presigner.shared), Arc::clone(&runner));
        presigner.spawn("presign", LOWEST_PRIORITY, move || {
            let writer = StoreWriter::or_without(settings.state_dir, settings.store_octets_max, &progress);
            let answers = settings.answers;
            let runner = PresignRunner { answers, writer: Some(writer), progress, spread: RandomState::new() };
            shared.run(filled.get_or_init(|| runner));
        })?;
        let shared = Arc::clone(&presigner.shared);
        presigner.spawn("presign changes", LOW_PRIORITY, move || shared.follow(&runner))?;
        Ok(presigner)
    }

    fn spawn(&mut self, name: &str, priority: i32, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let work = move || {
            // Serving comes first. Threads started from this one inherit the priority.
            if let Err(error) = rustix::process::setpriority_process(None, priority) {
                warn!(%error, "the priority of signing ahead cannot be lowered");
            }
            work();
        };
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }

    /// Changes to other issuers. An issuer with a known number is the same issuer.
    pub fn change(&self, subjects: Vec<Subject>) {
        let shared = &self.shared;
        let former = shared.subjects.load_full();
        for subject in &subjects {
            subject.issuer.state.changes.listen();
        }
        let follows = |changes| subjects.iter().any(|subject| Arc::ptr_eq(&subject.issuer.state.changes, changes));
        for subject in former.iter().filter(|subject| !follows(&subject.issuer.state.changes)) {
            subject.issuer.state.changes.ignore();
        }
        shared.subjects.store(Arc::new(subjects.into_iter().map(Arc::new).collect()));
        shared.generation.fetch_add(1, Relaxed);
        shared.want_pass();
    }

    /// Begins a new pass now, instead of the running one: since that began, a signer of some issuer was noted as
    /// revoked.
    pub fn begin_anew(&self) {
        self.shared.generation.fetch_add(1, Relaxed);
        self.shared.want_pass();
    }

    /// The progress.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.shared.progress
    }
}

impl Drop for Presigner {
    /// Stops within the time of a few signatures; everything signed is stored before this returns.
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.want_pass();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Of setpriority(2): a sixtieth of a serving thread's share when both want the same core,
const LOWEST_PRIORITY: i32 = 19;
/// and a tenth.
const LOW_PRIORITY: i32 = 10;

impl Shared {
    fn stops(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn want_pass(&self) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Waits until a pass is wanted, at most `at_most`.
    fn wait(&self, at_most: Duration) {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(wanted, at_most, |wanted| !*wanted);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Passes over all issuers until told to stop.
    fn run(&self, runner: &PresignRunner) {
        let mut restored = HashSet::new();
        while !self.stops() {
            let generation = self.generation.load(Relaxed);
            let subjects = self.subjects.load_full();
            let stop = || self.stops() || self.generation.load(Relaxed) != generation;
            let pass = catch_unwind(AssertUnwindSafe(|| {
                self.restore(runner, &subjects, &mut restored, &stop);
                runner.pass(&subjects, &stop)
            }));
            let pause = match pass {
                Ok(passed) => {
                    tell(&passed, &runner.progress);
                    pause(&passed)
                }
                Err(_) => {
                    error!("signing ahead failed because of a bug in this program; it starts again");
                    limits::PRESIGN_INTERVAL_MAX
                }
            };
            self.wait(pause);
        }
    }

    /// Loads the stored answers of issuers that are new.
    fn restore(&self, runner: &PresignRunner, subjects: &[Arc<Subject>], restored: &mut HashSet<u32>, stop: Stop<'_>) {
        let Some(writer) = &runner.writer else { return };
        restored.retain(|number| subjects.iter().any(|subject| subject.issuer.number() == *number));
        let now = UnixTime::now();
        for subject in subjects {
            if stop() {
                return;
            }
            if !restored.contains(&subject.issuer.number()) {
                for forms in [subject.forms(now), subject.next_forms(now)] {
                    writer.restore(subject, &forms, &runner.answers, now, stop);
                }
                if !stop() {
                    restored.insert(subject.issuer.number());
                }
            }
        }
    }

    /// Has changed records signed at once.
    fn follow(&self, runner: &OnceLock<PresignRunner>) {
        while !self.stops() {
            std::thread::sleep(limits::PRESIGN_CHANGES_INTERVAL);
            // Until then, the first pass has everything to do.
            let Some(runner) = runner.get() else { continue };
            let stop = || self.stops();
            let changed = catch_unwind(AssertUnwindSafe(|| self.sign_changed(runner, &stop)));
            if !changed.unwrap_or(false) {
                self.want_pass();
            }
        }
    }

    /// Whether all changes are signed; if not, a pass has to do it.
    fn sign_changed(&self, runner: &PresignRunner, stop: Stop<'_>) -> bool {
        let (mut all, mut changed) = (true, Vec::<(Arc<Subject>, Vec<Serial>)>::new());
        for subject in self.subjects.load().iter() {
            match subject.issuer.state.changes.take() {
                Changed::Nothing => {}
                Changed::These(serials) => changed.push((Arc::clone(subject), serials)),
                Changed::Many => all = false,
            }
        }
        while !changed.is_empty() {
            let some = changed.split_off(changed.len().saturating_sub(limits::PRESIGN_ISSUERS_AT_ONCE));
            // An issuer whose key does not sign does not delay the others.
            std::thread::scope(|scope| {
                let mut signing = Vec::new();
                for (subject, serials) in some {
                    signing.push(scope.spawn(move || sign_changed(runner, &subject, serials, stop)));
                }
                for thread in signing {
                    all &= thread.join().unwrap_or(false);
                }
            });
        }
        all
    }
}

fn sign_changed(runner: &PresignRunner, subject: &Subject, serials: Vec<Serial>, stop: Stop<'_>) -> bool {
    let (began, count) = (Instant::now(), serials.len());
    let end = runner.changed(subject, serials, stop);
    debug!(
        tenant = subject.issuer.id().tenant(),
        issuer = subject.issuer.name,
        changed = count,
        ?end,
        milliseconds = began.elapsed().as_millis() as u64,
        "changed records were signed"
    );
    matches!(end, End::Done | End::Stopped)
}

/// The pause before the next pass.
fn pause(passed: &Passed) -> Duration {
    match passed.end {
        End::Stopped => Duration::ZERO,
        End::Faulty => limits::PRESIGN_RETRY_INTERVAL,
        End::Done if passed.again => Duration::ZERO,
        End::Done | End::Full => (passed.planning * limits::PRESIGN_PAUSE_FACTOR)
            .clamp(limits::PRESIGN_INTERVAL_MIN, limits::PRESIGN_INTERVAL_MAX),
    }
}

fn tell(passed: &Passed, progress: &Progress) {
    let report = progress.report();
    let seconds = report.last_pass.as_secs_f32();
    match passed.end {
        End::Done if passed.due > 0 => {
            info!(
                due = passed.due,
                // Of this pass, like `due`.
                signed = report.pass.1,
                rate = report.rate as u64,
                seconds,
                "answers were signed ahead"
            );
        }
        End::Done | End::Stopped => {}
        End::Faulty => {
            warn!(
                left = report.due,
                failed = report.failed,
                expired = report.expired,
                "some answers could not be signed ahead: a key does not sign, or is too slow; this is retried"
            );
        }
        End::Full => {
            warn!(
                left = report.due,
                "there is no room for more answers; raise `cache.answers_octets`; answers without room are signed on demand"
            );
        }
    }
}
