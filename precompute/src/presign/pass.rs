//! One pass: plan what is due for every issuer, and have it signed.
//!
//! Keys that sign at once (in software, in microseconds) run on as many threads as there are cores. Each thread walks,
//! signs and keeps by itself, because a queue would cost as much as a signature. All other keys sign on their pools:
//! one thread per few issuers keeps a bounded number of jobs in the pool and handles the results. Failed jobs are
//! submitted again after a pause; an issuer whose key does not respond is left for a later pass.
//!
//! Invariant: an item is signed only if it is still due. It does not know clients, or when passes run.

mod here;
mod pooled;
mod window;

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    Stop,
    plan::{Item, Plan, Question},
    progress::Progress,
    rhythm::lead,
    store::Stored,
    store_writer::{Recorder, StoreWriter},
    subject::{Form, Outcome, Subject},
};
use crate::{
    answers::{Answers, Entry},
    limits,
    pki::{Serial, UnixTime},
    records::{Found, SEGMENTS},
    sign::Priority,
};

/// What every pre-signing thread needs.
#[derive(Debug)]
pub struct PresignRunner {
    /// Where answers are kept for the serving threads.
    pub answers: Arc<Answers>,
    /// Where they are stored; `None` without a store.
    pub writer: Option<StoreWriter>,
    /// The progress.
    pub progress: Arc<Progress>,
    /// Who else hears of each answer; `None` if nobody does.
    pub heard_by: Option<Arc<dyn Hears>>,
    /// Spreads the times of answers, so that answers signed together are not all replaced together.
    pub spread: RandomState,
}

/// Hears of answers that are signed ahead.
pub trait Hears: std::fmt::Debug + Send + Sync {
    /// An answer was signed, and is kept. It must not wait for anything.
    fn signed(&self, subject: &Subject, form: &Form, answer: &Stored);
}

/// How signing for one issuer ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// All of it is done.
    Done,
    /// Its key does not sign now.
    Faulty,
    /// There is no room for more answers.
    Full,
    /// It was told to stop.
    Stopped,
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// The worst outcome of its parts.
    pub end: End,
    /// How many answers it planned.
    pub due: u64,
    /// Whether another pass has more to do now.
    pub again: bool,
    /// How long planning took.
    pub planning: Duration,
}

/// Forms of one issuer, and what is due in them.
#[derive(Debug)]
struct Task {
    subject: Arc<Subject>,
    forms: Vec<Form>,
    plan: Plan,
}

/// What to sign for a task.
enum Work {
    /// These items, in order.
    Listed(Vec<Item>),
    /// Everything that is absent, found during the walk.
    Absent,
}

impl PresignRunner {
    /// Signs what is due for these issuers: first what clients get now, then what they will get soon; the issuers whose
    /// answers end soonest first.
    pub fn pass(&self, subjects: &[Arc<Subject>], stop: Stop<'_>) -> Passed {
        self.pass_within(subjects, None, stop)
    }

    /// The same, which begins no signature later than `at_most` after it has planned: the next pass has the rest.
    pub fn pass_within(&self, subjects: &[Arc<Subject>], at_most: Option<Duration>, stop: Stop<'_>) -> Passed {
        // Together they name no more than one alone may.
        let list_max = (limits::PRESIGN_LIST_MAX / subjects.len().max(1)).max(1024);
        self.pass_with(subjects, (list_max, at_most), stop)
    }

    /// A pass whose plans name at most `list_max` items each.
    pub(super) fn pass_with(
        &self,
        subjects: &[Arc<Subject>],
        (list_max, at_most): (usize, Option<Duration>),
        stop: Stop<'_>,
    ) -> Passed {
        let began = Instant::now();
        let now = UnixTime::now();
        let mut subjects: Vec<_> = subjects.iter().collect();
        subjects.sort_by_key(|subject| lead(&subject.issuer.policy));
        let mut tasks = Vec::new();
        for forms in [Subject::forms as fn(&Subject, UnixTime) -> Vec<Form>, Subject::next_forms] {
            for subject in &subjects {
                let forms = forms(subject, now);
                // If the key is not here, another process signs.
                if !forms.is_empty() && forms.iter().all(|form| form.signer.signing().is_some()) {
                    tasks.push(Task { subject: Arc::clone(subject), forms, plan: Plan::new(list_max) });
                }
            }
        }
        tasks.iter_mut().for_each(|task| self.plan(task, now, stop));
        let planning = began.elapsed();
        if stop() {
            // The walk has not found everything that is due.
            return Passed { end: End::Stopped, due: 0, again: false, planning };
        }
        let due = tasks.iter().map(|task| task.plan.due()).sum();
        self.progress.begin(due);
        // Planning does not count: a plan that is not signed at all would be made again and again.
        let until = at_most.and_then(|at_most| Instant::now().checked_add(at_most));
        let (again, end) = self.sign(tasks, stop, &|| until.is_some_and(|until| Instant::now() >= until));
        if end != End::Stopped {
            self.progress.full(end == End::Full);
        }
        let left = self.progress.report().due;
        let done = end == End::Done && !again;
        self.progress.end(began.elapsed(), UnixTime::now().0, if done { 0 } else { left });
        Passed { end, due, again: again && end == End::Done, planning }
    }

    /// Finds what is due for a task, on several threads if that is worth it.
    fn plan(&self, task: &mut Task, now: UnixTime, stop: Stop<'_>) {
        let counts = task.subject.issuer.state.records.counts();
        let threads = if counts.good + counts.revoked < WALK_ALONE_MAX { 1 } else { cores() };
        let next = AtomicUsize::new(0);
        let whole = Mutex::new(std::mem::replace(&mut task.plan, Plan::new(0)));
        let list_max = whole.lock().unwrap_or_else(PoisonError::into_inner).list_max();
        let merge = |plan| whole.lock().unwrap_or_else(PoisonError::into_inner).merge(plan);
        let walk = || {
            let mut plan = Plan::new(list_max);
            let mut packed = Vec::new();
            while let Some(segment) = Some(next.fetch_add(1, Relaxed)).filter(|&segment| segment < SEGMENTS && !stop())
            {
                let kept = |form: u8, serial: &Serial| self.kept(&task.subject, &task.forms, form, serial, &mut packed);
                question(&task.subject, &lasting(&task.subject, &task.forms, now), now).each_due(
                    segment,
                    kept,
                    |item, _| plan.add(item),
                );
                // However many threads there are, each holds little.
                if plan.held() >= HELD_MAX {
                    merge(std::mem::replace(&mut plan, Plan::new(list_max)));
                }
            }
            merge(plan);
        };
        on_threads(threads, &walk);
        task.plan = whole.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    fn kept(
        &self,
        subject: &Subject,
        forms: &[Form],
        form: u8,
        serial: &Serial,
        packed: &mut Vec<u8>,
    ) -> Option<Entry> {
        subject.kept_as_known(&self.answers, forms.get(usize::from(form))?, serial, packed)
    }

    /// Has the tasks signed, in order, until it is too `late` to begin another signature. Returns whether more is due now,
    /// and how it ended.
    fn sign(&self, tasks: Vec<Task>, stop: Stop<'_>, late: Stop<'_>) -> (bool, End) {
        let (mut again, mut here, mut pooled) = (false, Vec::new(), Vec::new());
        for Task { subject, forms, plan } in tasks {
            if plan.due() == 0 {
                continue;
            }
            let work = if plan.is_flood() {
                again = true;
                Work::Absent
            } else {
                let (listed, left_out) = plan.into_order();
                again |= left_out > 0;
                Work::Listed(listed)
            };
            let signs_here = forms.iter().all(|form| form.signer.signs_here());
            if signs_here { &mut here } else { &mut pooled }.push((subject, forms, work));
        }
        let threads = pooled.len().min(limits::PRESIGN_ISSUERS_AT_ONCE);
        let pooled = Mutex::new(pooled.into_iter());
        let end = std::thread::scope(|scope| {
            let drive = || {
                let mut end = End::Done;
                loop {
                    let Some((subject, forms, work)) = pooled.lock().unwrap_or_else(PoisonError::into_inner).next()
                    else {
                        return end;
                    };
                    end = end.max(self.sign_pooled(&subject, &forms, work, Priority::Bulk, (stop, late)));
                }
            };
            let drivers: Vec<_> = (0..threads).map(|_| scope.spawn(drive)).collect();
            let ends_here = || stop() || late();
            let ends = here.into_iter().map(|(subject, forms, work)| {
                match self.sign_here(&subject, &forms, work, &ends_here) {
                    End::Stopped if !stop() => End::Done,
                    end => end,
                }
            });
            let end = ends.max().unwrap_or(End::Done);
            drivers.into_iter().map(|driver| driver.join().unwrap_or(End::Faulty)).fold(end, End::max)
        });
        (again || late(), end)
    }

    /// Signs the answers that clients get for these changed certificates.
    pub fn changed(&self, subject: &Subject, mut serials: Vec<Serial>, stop: Stop<'_>) -> End {
        serials.sort_unstable();
        serials.dedup();
        let now = UnixTime::now();
        // Their kept answers are void, whichever key signed them.
        let forms = subject.forms_at_work(now);
        let Some(form) = forms.first() else { return End::Done };
        let mut items = Vec::new();
        for serial in serials {
            for form in 0..forms.len() {
                items.push(Item { due: super::plan::Due::Absent, serial, form: form as u8 });
            }
        }
        if form.signer.signs_here() {
            self.sign_here(subject, &forms, Work::Listed(items), stop)
        } else {
            // Otherwise the next request would wait for it.
            self.sign_pooled(subject, &forms, Work::Listed(items), Priority::Refresh, (stop, &|| false))
        }
    }

    /// Whether an item is still due; returns its record.
    fn still_due(&self, subject: &Subject, forms: &[Form], item: &Item, packed: &mut Vec<u8>) -> Option<Found> {
        let form = forms.get(usize::from(item.form))?;
        let found = subject.issuer.listed(&item.serial)?;
        let now = UnixTime::now();
        let kept = subject.kept_as_known(&self.answers, form, &item.serial, packed);
        super::plan::due(
            (&subject.issuer.policy, subject.issuer.told_until()),
            found,
            kept.as_ref(),
            lasts_until(subject, form, now),
            now,
        )
        .map(|_| found)
    }

    fn spread(&self, serial: &Serial) -> u32 {
        self.spread.hash_one(serial) as u32
    }

    /// Where this issuer's answers are stored, if they are.
    fn recorder(&self, subject: &Subject) -> Option<Recorder> {
        self.writer.as_ref().filter(|_| subject.is_stored()).map(StoreWriter::recorder)
    }

    /// Counts the outcome of a signature, and stores the answer. False if there is no more room.
    fn note(&self, subject: &Subject, form: &Form, outcome: Outcome, recorder: &mut Option<Recorder>) -> bool {
        match outcome {
            Outcome::Kept(stored) => {
                self.progress.signed(1);
                if let Some(hears) = &self.heard_by {
                    hears.signed(subject, form, &stored);
                }
                if let Some(recorder) = recorder {
                    recorder.push(form, &stored);
                }
            }
            // The change is reported as well, or the next pass finds it.
            Outcome::Changed => {
                self.progress.void();
                self.progress.no_longer_due(1);
            }
            Outcome::Full => return false,
        }
        true
    }
}

/// Items of a plan that one thread holds, except those of one segment: 2.5 MiB.
const HELD_MAX: usize = 1 << 16;
const _: () = assert!(size_of::<Item>() == 40, "what limits say of a plan's size");

/// Up to this many records, one thread walks alone.
const WALK_ALONE_MAX: u64 = 50_000;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs `work` on so many threads, including this one.
fn on_threads(threads: usize, work: &(impl Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// When an answer of this form that is signed `now` would end.
fn lasts_until(subject: &Subject, form: &Form, now: UnixTime) -> UnixTime {
    subject.times(form, now, 0).map_or(now, |times| times.next_update)
}

fn lasting(subject: &Subject, forms: &[Form], now: UnixTime) -> Vec<UnixTime> {
    forms.iter().map(|form| lasts_until(subject, form, now)).collect()
}

fn question<'a>(subject: &'a Subject, forms: &'a [UnixTime], now: UnixTime) -> Question<'a> {
    let state = &subject.issuer.state;
    Question {
        policy: &subject.issuer.policy,
        records: &state.records,
        ca_revoked: subject.issuer.ca_revoked_since(),
        hashes: subject.issuer.policy.carries.cert_hash.then_some(&state.details),
        told_until: subject.issuer.told_until(),
        forms,
        now,
    }
}
