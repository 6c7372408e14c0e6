//! Ledger, book, sources and pushes of one issuer together, in whatever order a seed draws, under a clock that is drawn
//! too. It is the start of the simulator of the feed.
//!
//! Everything is real but the CA, the clock of the pushes, and death: at a moment inside a push or a save the thread
//! unwinds, and another process opens a copy of the files. Reads are the real reader's, cut in two: one that has begun
//! may hand over much later. `oracle` knows what has to show and what was promised, and the [`Sim`] what may be in the
//! book. [`reads`], [`pushes`], [`saves`] and [`faults`] are what may happen, and [`checks`] what has to hold after each:
//!
//! - What shows is what has to show, to the second, with everybody who says so: nothing acknowledged is lost, nothing
//!   final is un-revoked, a hold ends by releases alone, and nothing refused or replaced shows.
//! - The book has what was acknowledged, never goes back, and has exactly the records once all is saved.
//! - The outbox has what was told last, and listeners hear of each change after it shows.
//!
//! It does not know CRLs, several issuers, or a loss of power (what a process has written is there after its death).
//!
//! `OSTIA_SEED=7` runs one seed and prints what it does. [`leaving_out_any_rule_makes_seeds_fail`] shows that the checks
//! miss each rule of [`Rule`].

mod ca;
mod checks;
mod faults;
mod oracle;
mod pushes;
mod reads;
mod saves;

use std::{
    any::Any,
    collections::BTreeMap,
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use self::{
    ca::{Content, ModelCa},
    checks::Heard,
    faults::Doubt,
    oracle::{Promise, Truth},
    pushes::{Answer, Outcomes},
    reads::{Fresh, Handed, Replaced, Speaker, hand_over},
};
use super::{FollowedIssuer, SourceReader, compare::Comparison};
use crate::{
    book::{Book, Disk, Owed},
    config::Sources,
    engine::Accepted,
    issuer_id::IssuerId,
    ledger::{
        Changed, Ledger, Listener, Order, Outcome, Push, PushError, Refusal, Saver, SharedBook, Step,
        reconcile::strictness,
    },
    left_out::{self, Rule},
    pki::{Certificate, Reason, Record, Serial, Status, UnixTime},
    records::{Change, Digest, Origin},
    rng::Rng,
    source::openssl::{Ca, KEYS},
    state_dir::{BOOK, StateError},
};

const SEEDS: u64 = 1000;
/// How many seeds have to show that a rule is left out; most show it within ten.
const SEEDS_WITHOUT: u64 = 400;
const STEPS: usize = 30;
const CERTIFICATES: u32 = 8;

#[test]
fn no_order_of_reads_pushes_saves_deaths_and_reloads_loses_or_invents_anything() {
    let stage = Stage::new();
    if let Ok(seed) = std::env::var("OSTIA_SEED") {
        let seed = seed.parse().expect("OSTIA_SEED is a number");
        let (trace, outcome) = run(&stage, seed);
        eprintln!("{}", trace.join("\n"));
        outcome.unwrap();
        return;
    }
    let mut failed = Vec::new();
    for seed in 0..SEEDS {
        let (trace, outcome) = run(&stage, seed);
        if let Err(problem) = outcome {
            failed.push((seed, problem, trace));
        }
    }
    let Some((seed, problem, trace)) = failed.first() else { return };
    let all: Vec<_> = failed.iter().take(20).map(|(seed, problem, _)| format!("{seed}: {problem}")).collect();
    panic!(
        "{} of {SEEDS} seeds failed\n{}\nthe first of them, OSTIA_SEED={seed}:\n{}\n{problem}",
        failed.len(),
        all.join("\n"),
        trace.join("\n")
    );
}

/// The checks are worth as much as what they miss.
#[test]
fn leaving_out_any_rule_makes_seeds_fail() {
    let stage = Stage::new();
    let fails = |rule, seed| left_out::without(rule, || run(&stage, seed)).1.is_err();
    let passes = |rule: &Rule| !(0..SEEDS_WITHOUT).any(|seed| fails(*rule, seed));
    let unmissed: Vec<_> = Rule::ALL.into_iter().filter(passes).collect();
    assert!(unmissed.is_empty(), "{SEEDS_WITHOUT} seeds pass without {unmissed:?}");
}

/// What all seeds share.
struct Stage {
    certificate: Certificate,
    saver: Saver,
}

impl Stage {
    fn new() -> Self {
        Self { certificate: Ca::new("Simulated", KEYS[1]).certificate(), saver: Saver::start().unwrap() }
    }
}

type Checked<T = ()> = Result<T, String>;

fn run(stage: &Stage, seed: u64) -> (Vec<String>, Checked) {
    let trace = Arc::<Mutex<Vec<String>>>::default();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut sim = Sim::new(stage, seed, Arc::clone(&trace));
        sim.serve()?;
        for _ in 0..STEPS {
            sim.step()?;
            sim.check()?;
        }
        sim.end()
    }));
    let outcome = outcome.unwrap_or_else(|panicked| Err(format!("panicked: {}", message(&*panicked))));
    let trace = trace.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    (trace, outcome)
}

fn message(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
}

fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&number.to_be_bytes()).unwrap()
}

fn number(serial: &Serial) -> usize {
    (1..=CERTIFICATES).find(|number| self::serial(*number) == *serial).unwrap() as usize - 1
}

/// What is known of a record by others.
type Told = Option<(Record, Origin)>;

struct Sim<'a> {
    stage: &'a Stage,
    rng: Rng,
    trace: Arc<Mutex<Vec<String>>>,
    id: IssuerId,
    dir: tempfile::TempDir,
    life: u32,
    book: Arc<SharedBook>,
    ledger: Ledger,
    speaker: Arc<Mutex<Speaker>>,
    /// The file that the speaker reads.
    at: usize,
    fresh: Option<Fresh>,
    replaced: Vec<Replaced>,
    cas: [ModelCa; 2],
    now: UnixTime,
    /// What has to show.
    truth: Vec<Truth>,
    /// What was acknowledged.
    promises: Vec<Promise>,
    /// What may be in the book, in the order in which it was so.
    possible: Vec<Vec<Truth>>,
    keys: BTreeMap<String, Answer>,
    /// What this process has answered, which it also writes to another book.
    answered: BTreeMap<String, Answer>,
    /// Whether the book in place may not be as the ledger left it.
    doubt: Option<Doubt>,
    /// What that one had at the last check.
    there: Option<Vec<Truth>>,
    copy: Option<PathBuf>,
    owes: bool,
    /// What may have been told last of each; `None` where that is not known.
    told: Option<Vec<Vec<Told>>>,
    told_may_be_lost: bool,
    heard: Heard,
}

impl fmt::Debug for Sim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

fn issuer(stage: &Stage, id: &IssuerId, ca: &ModelCa) -> FollowedIssuer {
    FollowedIssuer::of(id.tenant(), "ca", &stage.certificate, Sources::of_index(ca.path.clone()))
}

impl<'a> Sim<'a> {
    fn new(stage: &'a Stage, seed: u64, trace: Arc<Mutex<Vec<String>>>) -> Self {
        let mut rng = Rng(seed);
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let cas = ["a.txt", "b.txt"].map(|file| ModelCa::new(dir.path().join(file), &mut rng, CERTIFICATES));
        let id = IssuerId::of("tenant", &stage.certificate);
        let state = dir.path().join("0");
        let book = Arc::new(SharedBook::new(Book::open(&state).unwrap()));
        let ledger = Ledger::open(&id, "ca", &book, &stage.saver).unwrap().ledger;
        let owes = rng.chance(50);
        ledger.owe(owes);
        let reader = SourceReader::new(issuer(stage, &id, &cas[0]), ledger.clone(), false, None, Vec::new(), &state);
        let nothing = vec![Truth::default(); CERTIFICATES as usize];
        Self {
            stage,
            rng,
            trace,
            id,
            dir,
            life: 0,
            book,
            heard: Heard::of(&ledger),
            ledger,
            speaker: Arc::new(Mutex::new(Speaker { reader, read: None, handed: None })),
            at: 0,
            fresh: None,
            replaced: Vec::new(),
            cas,
            now: UnixTime(2_000_000_000),
            promises: vec![Promise::default(); nothing.len()],
            possible: nothing.iter().map(|truth| vec![*truth]).collect(),
            truth: nothing,
            keys: BTreeMap::new(),
            answered: BTreeMap::new(),
            doubt: None,
            there: None,
            copy: None,
            owes,
            told: Some(vec![vec![None]; CERTIFICATES as usize]),
            told_may_be_lost: false,
        }
    }

    fn note(&self, what: impl fmt::Display) {
        self.trace.lock().unwrap().push(what.to_string());
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join(self.life.to_string())
    }

    /// The end of a start: perhaps the source is read before anybody is served.
    fn serve(&mut self) -> Checked {
        if self.rng.chance(50)
            && let Some(handed) = self.whole_read()
        {
            self.taken(&handed)?;
        }
        self.ledger.serve("ca");
        self.heard = Heard::of(&self.ledger);
        Ok(())
    }

    fn step(&mut self) -> Checked {
        match self.rng.below(100) {
            0..15 => {
                let of = self.rng.below(2);
                let what = self.cas[of].acts(&mut self.rng, CERTIFICATES);
                self.note(format_args!("CA {of} {what}"));
            }
            15..26 => {
                let still = self.rng.chance(75);
                self.begin_read(still);
            }
            26..37 => self.end_read()?,
            37..62 => self.push()?,
            62..75 => self.save()?,
            75..79 => self.die("killed")?,
            79..82 => self.replace_book(),
            82..86 => self.disk(),
            86..92 => self.reload()?,
            92..94 => self.replaced_reads(),
            94..96 => {
                self.now = UnixTime(self.now.0 + self.rng.below(7200) as u64 - 3600);
                self.note(format_args!("the clock says {}", self.now.0));
            }
            _ => self.publish()?,
        }
        Ok(())
    }
}
