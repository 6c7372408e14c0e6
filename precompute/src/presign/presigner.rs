//! Pass after pass, beside a responder that serves.
//!
//! It has two threads of its own, never a worker. One loads the store and then passes over all issuers again and again.
//! The other is woken by changed records and has those signed at once, so a revocation waits neither for a pass nor for
//! another issuer's key. Both, and all threads they start, have a lower priority than the serving threads; the first has
//! the lowest.
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
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::{JoinHandle, Scope},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tracing::{debug, error, info, warn};

use super::{
    End, Hears, Passed, PresignRunner, Progress, Stop, StoreWriter, Subject,
    rhythm::{Rhythm, lead, pass_max},
};
use crate::{
    answers::Answers,
    engine::{Changed, Listener, Wake},
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
    /// Who else hears of each answer; `None` if nobody does.
    pub heard_by: Option<Arc<dyn Hears>>,
}

/// Signs ahead until it is dropped.
#[derive(Debug)]
pub struct Presigner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    subjects: ArcSwap<Vec<Followed>>,
    /// Increases with each change of `subjects` or of their signers.
    generation: AtomicU64,
    /// The generation whose stored answers have been loaded.
    restored: AtomicU64,
    stop: AtomicBool,
    /// A pass is wanted before its time.
    wanted: Signal,
    /// Records of some issuer have changed.
    changed: Arc<Signal>,
    /// Issuers whose changes are being signed.
    signing: AtomicUsize,
    progress: Arc<Progress>,
}

/// An issuer, and its changes. A reload that keeps the issuer keeps what waits.
#[derive(Debug)]
struct Followed {
    subject: Arc<Subject>,
    waiting: Arc<Waiting>,
}

/// Changes of one issuer's records that wait to be signed.
#[derive(Debug)]
struct Waiting {
    listener: Listener,
    /// Whether earlier ones are being signed; then these wait, and no other issuer's.
    signing: AtomicBool,
}

/// Wakes one thread. It may be given while nobody waits.
#[derive(Debug, Default)]
struct Signal {
    given: Mutex<bool>,
    wake: Condvar,
}

impl Signal {
    fn give(&self) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Waits for it, at most `at_most`, and takes it; whether it was given.
    fn wait(&self, at_most: Duration) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(given, at_most, |given| !*given);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Presigner {
    /// Starts signing for these issuers.
    pub fn start(settings: Settings, subjects: Vec<Subject>) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let shared = Arc::new(Shared {
            subjects: ArcSwap::default(),
            generation: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            wanted: Signal::default(),
            changed: Arc::default(),
            signing: AtomicUsize::new(0),
            progress: Arc::clone(&progress),
        });
        let mut presigner = Self { shared, threads: Vec::new() };
        presigner.change(subjects);
        let runner = Arc::new(OnceLock::new());
        let (shared, filled) = (Arc::clone(&presigner.shared), Arc::clone(&runner));
        presigner.spawn("presign", limits::LOWEST_PRIORITY, move || {
            let writer = StoreWriter::or_without(settings.state_dir, settings.store_octets_max, &progress);
            let answers = settings.answers;
            let runner = PresignRunner {
                answers,
                writer: Some(writer),
                progress,
                heard_by: settings.heard_by,
                spread: RandomState::new(),
            };
            let runner = filled.get_or_init(|| runner);
            // What has changed since the start.
            shared.changed.give();
            shared.run(runner);
        })?;
        let shared = Arc::clone(&presigner.shared);
        presigner.spawn("presign changes", limits::LOW_PRIORITY, move || shared.follow(&runner))?;
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
        let wake: Wake = {
            let changed = Arc::clone(&shared.changed);
            Arc::new(move || changed.give())
        };
        let follow = |subject: Subject| {
            let changes = &subject.issuer.state.changes;
            let is_same = |former: &&Followed| {
                let Followed { subject: former, .. } = former;
                former.issuer.number() == subject.issuer.number() && Arc::ptr_eq(&former.issuer.state.changes, changes)
            };
            let waiting = former.iter().find(is_same).map(|former| Arc::clone(&former.waiting)).unwrap_or_else(|| {
                let listener = changes.subscribe(Arc::clone(&wake));
                Arc::new(Waiting { listener, signing: AtomicBool::new(false) })
            });
            Followed { subject: Arc::new(subject), waiting }
        };
        // Subscribed before the pass looks at the records: what changes from now on is in one or the other.
        shared.subjects.store(Arc::new(subjects.into_iter().map(follow).collect()));
        shared.generation.fetch_add(1, Relaxed);
        shared.want_pass();
    }

    /// Begins a new pass now, instead of the running one: since that began, a signer of some issuer was noted as
    /// revoked.
    pub fn begin_anew(&self) {
        self.shared.generation.fetch_add(1, Relaxed);
        self.shared.want_pass();
    }

    /// Whether every stored answer of the present issuers has been loaded.
    pub fn has_restored(&self) -> bool {
        self.shared.restored.load(Acquire) == self.shared.generation.load(Acquire)
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
        self.shared.changed.give();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn stops(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn want_pass(&self) {
        self.wanted.give();
    }

    /// Passes over all issuers until told to stop.
    fn run(&self, runner: &PresignRunner) {
        let (mut restored, mut rhythm) = (HashSet::new(), Rhythm::default());
        while !self.stops() {
            let generation = self.generation.load(Relaxed);
            let subjects: Vec<_> = self.subjects.load().iter().map(|followed| Arc::clone(&followed.subject)).collect();
            let stop = || self.stops() || self.generation.load(Relaxed) != generation;
            let numbers = || subjects.iter().map(|subject| subject.issuer.number());
            let pass = catch_unwind(AssertUnwindSafe(|| {
                self.restore(runner, &subjects, &mut restored, &stop);
                if !stop() {
                    self.restored.store(generation, Release);
                }
                pass_over_due(runner, &subjects, &mut rhythm, &stop);
            }));
            let pause = match pass {
                Ok(()) => rhythm.left(numbers(), Instant::now()),
                Err(_) => {
                    error!("signing ahead failed because of a bug in this program; it starts again");
                    limits::PRESIGN_INTERVAL_MAX
                }
            };
            if self.wanted.wait(pause) {
                rhythm.begin_anew();
            }
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

    /// Has changed records signed at once, each issuer's on a thread of its own: a key that does not sign delays no
    /// other issuer.
    fn follow(&self, runner: &OnceLock<PresignRunner>) {
        std::thread::scope(|scope| {
            while !self.stops() {
                self.changed.wait(limits::PRESIGN_CHANGES_INTERVAL);
                // Until then, the first pass has everything to do.
                let Some(runner) = runner.get() else { continue };
                for followed in self.subjects.load().iter() {
                    self.take_changes(scope, runner, followed);
                }
            }
        });
    }

    /// Begins to sign what has changed, unless earlier changes are being signed: their thread gives the signal again.
    fn take_changes<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        runner: &'scope PresignRunner,
        followed: &Followed,
    ) {
        let Followed { subject, waiting } = followed;
        if waiting.signing.load(Acquire) || self.signing.load(Acquire) >= limits::PRESIGN_ISSUERS_AT_ONCE {
            return;
        }
        let serials = match waiting.listener.take() {
            Changed::Nothing => return,
            Changed::Many => return self.want_pass(),
            Changed::These(serials) => serials,
        };
        waiting.signing.store(true, Release);
        self.signing.fetch_add(1, Release);
        let (subject, signing) = (Arc::clone(subject), Arc::clone(waiting));
        let sign = move || {
            let stop = || self.stops();
            let signed = catch_unwind(AssertUnwindSafe(|| sign_changed(runner, &subject, serials, &stop)));
            self.signed(&signing, signed.unwrap_or(false));
        };
        if let Err(error) = std::thread::Builder::new().name("presign changes".into()).spawn_scoped(scope, sign) {
            warn!(%error, "no thread can be started to sign changed records; a pass signs them");
            self.signed(waiting, false);
        }
    }

    /// Notes that changes were signed. If not all are, a pass has to do it.
    fn signed(&self, waiting: &Waiting, all: bool) {
        if !all {
            self.want_pass();
        }
        waiting.signing.store(false, Release);
        self.signing.fetch_sub(1, Release);
        self.changed.give();
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

/// One pass over the issuers whose time has come. It makes way for the next one in time for any issuer.
fn pass_over_due(runner: &PresignRunner, subjects: &[Arc<Subject>], rhythm: &mut Rhythm, stop: Stop<'_>) {
    let began = Instant::now();
    let is_due = |subject: &&Arc<Subject>| rhythm.is_due(subject.issuer.number(), began);
    let due: Vec<_> = subjects.iter().filter(is_due).cloned().collect();
    let shortest = subjects.iter().map(|subject| lead(&subject.issuer.policy)).min();
    let passed = runner.pass_within(&due, shortest.map(pass_max), stop);
    tell(&passed, &runner.progress);
    for subject in due {
        rhythm.passed(subject.issuer.number(), &passed, lead(&subject.issuer.policy), Instant::now());
    }
    // A pass knows of its own issuers alone.
    if passed.end != End::Stopped {
        runner.progress.full(rhythm.is_full());
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
