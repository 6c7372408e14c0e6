//! Ledger, book, sources and pushes of one issuer together, in whatever order a seed draws, under a clock that is drawn
//! too. It is the start of the simulator of the feed.
//!
//! Everything is real but the CA, the clock of the pushes, and death: at a moment inside a push or a save the thread
//! unwinds, and another process opens a copy of the files. Reads are the real reader's, cut in two: one that has begun
//! may hand over much later. `oracle` knows what has to show, and the [`Sim`] what may be in the book.
//!
//! Checked after each step: what shows is what has to show, so nothing acknowledged is lost, nothing final is
//! un-revoked, a hold ends by releases alone and nothing refused shows; the book has what was acknowledged, and exactly
//! the records once all is saved; the outbox has what was told last. `OSTIA_SEED=7` runs one seed and prints what it does.

mod ca;
mod oracle;
mod pushes;

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
    oracle::Truth,
};
use super::{FollowedIssuer, SourceReader, compare::Comparison};
use crate::{
    book::{Book, Disk},
    config::Sources,
    engine::Accepted,
    issuer_id::IssuerId,
    ledger::{Ledger, Outcome, Push, Saver, SharedBook, Step, reconcile::strictness},
    pki::{Certificate, Record, Serial, UnixTime},
    records::{Change, Digest, Origin},
    source::openssl::{Ca, KEYS},
    state_dir::BOOK,
};

const SEEDS: u64 = 1000;
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

/// SplitMix64.
pub(super) struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
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

/// A read that has begun.
struct Read {
    comparison: Comparison,
    /// What the CA had written.
    of: Content,
    /// Whether the reader spoke for the issuer when it began.
    is_open: bool,
}

/// A read that was handed over.
struct Handed {
    said: Vec<Change>,
    of: Content,
    /// Whether it shows that everything is as the CA had written it.
    is_whole: bool,
    outcome: Result<bool, String>,
}

fn begin(reader: &mut SourceReader, ca: &ModelCa, is_still: bool) -> Read {
    reader.look_whether_adopted();
    reader.removal_delay = Duration::from_secs(if is_still { 0 } else { 3600 });
    reader.watch.changed();
    let is_open = reader.handover.health().is_some();
    Read { comparison: reader.compare(Accepted::default()), of: ca.lines.clone(), is_open }
}

fn hand_over(reader: &mut SourceReader, read: Read) -> Handed {
    let Read { comparison, of, is_open } = read;
    let said = comparison.changes.clone();
    let outcome = reader.hand_over(comparison, Instant::now());
    let outcome = outcome.map(|pass| pass.held_back).map_err(|faults| faults.to_string());
    Handed { said, of, is_whole: is_open && outcome == Ok(false), outcome }
}

/// A reader that is prepared for a reload.
struct Fresh {
    reader: SourceReader,
    of: usize,
    read: Option<Read>,
    held: Vec<Vec<Change>>,
}

/// What became of a request with an idempotency key.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Answer {
    Sure(Push, Outcome),
    /// The process died, or the disk said two things.
    Perhaps(Push),
}

type Told = Option<(Record, Origin)>;

/// The reader that speaks for the issuer. It travels to the moments inside pushes and saves.
struct Speaker {
    reader: SourceReader,
    read: Option<Read>,
    handed: Option<Handed>,
}

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
    replaced: Vec<(SourceReader, Read)>,
    cas: [ModelCa; 2],
    now: UnixTime,
    /// What has to show.
    truth: Vec<Truth>,
    /// What may be in the book.
    possible: Vec<Vec<Truth>>,
    /// What may be taken from the book: final revocations of pushes that were told to have failed.
    perhaps_final: Vec<bool>,
    keys: BTreeMap<String, Answer>,
    /// What this process has answered.
    answered: BTreeMap<String, Answer>,
    /// The book in place is not known to have what was acknowledged.
    is_unsettled: bool,
    copy: Option<PathBuf>,
    owes: bool,
    /// What may have been told last of each; `None` where that is not known.
    told: Option<Vec<Vec<Told>>>,
    told_may_be_lost: bool,
}

impl fmt::Debug for Sim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

fn issuer(stage: &Stage, id: &IssuerId, ca: &ModelCa) -> FollowedIssuer {
    FollowedIssuer {
        id: id.clone(),
        name: "ca".into(),
        certificate: stage.certificate.clone(),
        sources: Sources { index: Some(ca.path.clone()), ..Sources::default() },
        unlisted_good: false,
    }
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
        ledger.serve("ca");
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
            ledger,
            speaker: Arc::new(Mutex::new(Speaker { reader, read: None, handed: None })),
            at: 0,
            fresh: None,
            replaced: Vec::new(),
            cas,
            now: UnixTime(2_000_000_000),
            possible: nothing.iter().map(|truth| vec![*truth]).collect(),
            perhaps_final: vec![false; nothing.len()],
            truth: nothing,
            keys: BTreeMap::new(),
            answered: BTreeMap::new(),
            is_unsettled: false,
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

    fn step(&mut self) -> Checked {
        match self.rng.below(100) {
            0..15 => {
                let of = self.rng.below(2);
                let what = self.cas[of].acts(&mut self.rng, CERTIFICATES);
                self.note(format_args!("CA {of} {what}"));
            }
            15..27 => {
                let still = self.rng.chance(75);
                self.begin_read(still);
            }
            27..39 => self.end_read()?,
            39..64 => self.push()?,
            64..76 => self.save()?,
            76..80 => self.die("killed")?,
            80..83 => self.replace_book(),
            83..87 => self.disk(),
            87..94 => self.reload()?,
            94..96 => {
                self.now = UnixTime(self.now.0 + self.rng.below(7200) as u64 - 3600);
                self.note(format_args!("the clock says {}", self.now.0));
            }
            _ => self.publish()?,
        }
        Ok(())
    }

    fn begin_read(&mut self, is_still: bool) {
        let mut speaker = self.speaker.lock().unwrap();
        if speaker.read.is_none() {
            let read = begin(&mut speaker.reader, &self.cas[self.at], is_still);
            speaker.read = Some(read);
            drop(speaker);
            self.note(format_args!("a read of CA {} begins, still: {is_still}", self.at));
        }
    }

    fn end_read(&mut self) -> Checked {
        if self.speaker.lock().unwrap().read.is_none() {
            self.begin_read(true);
        }
        let mut speaker = self.speaker.lock().unwrap();
        let Some(read) = speaker.read.take() else { return Ok(()) };
        let handed = hand_over(&mut speaker.reader, read);
        drop(speaker);
        self.taken(handed)
    }

    /// A read of the speaker's was handed over.
    fn taken(&mut self, handed: Handed) -> Checked {
        let said: Vec<_> = handed.said.iter().map(|change| (number(&change.serial) + 1, rank(change))).collect();
        self.note(format_args!("it hands over {said:?}, {:?}", handed.outcome));
        self.says(&handed.said);
        if !handed.is_whole {
            return Ok(());
        }
        for place in 0..self.truth.len() {
            let listed = handed.of.iter().find(|(number, _)| *number as usize == place + 1).map(|(_, rank)| *rank);
            let mut expected = self.truth[place];
            expected.source_says(listed);
            if expected != self.truth[place] {
                return Err(format!(
                    "a whole read left {} as {:?}, in the index it is {listed:?}",
                    place + 1,
                    self.truth[place]
                ));
            }
        }
        Ok(())
    }

    fn says(&mut self, said: &[Change]) {
        for change in said {
            let place = number(&change.serial);
            self.truth[place].source_says(rank(change));
            self.possible[place].push(self.truth[place]);
        }
    }

    /// Does something at a moment, maybe. Returns what, and whether it is death.
    fn plan(&mut self, steps: &[Step]) -> Option<(Step, bool)> {
        let step = steps[self.rng.below(steps.len())];
        let is_death = match self.rng.below(6) {
            0 | 1 => true,
            2 | 3 => false,
            _ => return None,
        };
        if is_death {
            self.ledger.plan(Some((step, Box::new(|| resume_unwind(Box::new("killed"))))));
        } else {
            self.begin_read(true);
            let speaker = Arc::clone(&self.speaker);
            let act = move || {
                let mut speaker = speaker.lock().unwrap();
                if let Some(read) = speaker.read.take() {
                    let handed = hand_over(&mut speaker.reader, read);
                    speaker.handed = Some(handed);
                }
            };
            self.ledger.plan(Some((step, Box::new(act))));
        }
        Some((step, is_death))
    }

    fn handed(&self) -> Option<Handed> {
        self.speaker.lock().unwrap().handed.take()
    }

    fn save(&mut self) -> Checked {
        if self.rng.chance(30) {
            return self.save_with_a_push_before();
        }
        let planned = self.plan(&[Step::Taken, Step::Saved]);
        let records = 1 + self.rng.below(4);
        let saved = catch_unwind(AssertUnwindSafe(|| self.ledger.save_one_chunk(records)));
        self.ledger.plan(None);
        self.note(format_args!(
            "saves {records} ({planned:?}): {:?}",
            saved.as_ref().map_err(|panicked| message(&**panicked))
        ));
        if let Some(handed) = self.handed() {
            self.taken(handed)?;
        }
        match saved {
            Ok(saved) => self.saved(&saved),
            Err(_) => self.die("while it saved"),
        }
    }

    fn saved(&mut self, saved: &Result<bool, crate::state_dir::StateError>) -> Checked {
        match (saved, self.book.lock().disk) {
            (Ok(_), _) => Ok(()),
            (Err(error), Disk::Fine) => Err(format!("it cannot be saved: {error}")),
            (Err(_), disk) => {
                self.is_unsettled |= disk == Disk::Lies;
                self.told_may_be_lost = true;
                Ok(())
            }
        }
    }

    fn disk(&mut self) {
        let disk = match self.book.lock().disk {
            Disk::Fine => [Disk::Full, Disk::Full, Disk::Lies][self.rng.below(3)],
            _ => Disk::Fine,
        };
        self.book.lock().disk = disk;
        self.note(format_args!("the disk: {disk:?}"));
    }

    /// Keeps a copy of the book, puts an earlier one in its place, or removes it.
    fn replace_book(&mut self) {
        let book = self.state_dir().join(BOOK);
        match (self.rng.below(4), self.copy.take()) {
            (0, copy) => {
                self.copy = copy;
                let _ = fs::remove_file(&book);
                self.note("the book is lost");
            }
            (1, Some(copy)) => {
                fs::rename(copy, &book).unwrap();
                self.note("an older book is put in its place");
            }
            _ => {
                let copy = self.dir.path().join("copy");
                if fs::copy(&book, &copy).is_ok() {
                    self.copy = Some(copy);
                    self.note("the book is copied");
                }
                return;
            }
        }
        self.is_unsettled = true;
    }

    fn reload(&mut self) -> Checked {
        match (self.rng.below(6), self.fresh.take()) {
            (_, None) => {
                let of = self.rng.below(2);
                let issuer = issuer(self.stage, &self.id, &self.cas[of]);
                let reader = SourceReader::new(issuer, self.ledger.clone(), true, None, Vec::new(), &self.state_dir());
                self.note(format_args!("a reload to CA {of} is prepared"));
                self.fresh = Some(Fresh { reader, of, read: None, held: Vec::new() });
                self.fresh_reads();
            }
            (0, Some(_)) => self.note("the reload is dropped"),
            (1 | 2, fresh) => {
                self.fresh = fresh;
                self.fresh_reads();
            }
            (_, Some(fresh)) => return self.adopt(fresh),
        }
        if let Some((mut reader, read)) = self.replaced.pop() {
            hand_over(&mut reader, read);
            self.note("a replaced reader hands over");
        }
        Ok(())
    }

    fn fresh_reads(&mut self) {
        let (still, hangs) = (self.rng.chance(75), self.rng.chance(30));
        let Some(fresh) = &mut self.fresh else { return };
        if let Some(read) = fresh.read.take() {
            fresh.held.push(hand_over(&mut fresh.reader, read).said);
        }
        let read = begin(&mut fresh.reader, &self.cas[fresh.of], still);
        if hangs {
            fresh.read = Some(read);
        } else {
            fresh.held.push(hand_over(&mut fresh.reader, read).said);
        }
        self.note(format_args!("it reads, still: {still}, hangs: {hangs}"));
    }

    fn adopt(&mut self, fresh: Fresh) -> Checked {
        let Fresh { reader, of, read, held } = fresh;
        let mut speaker = self.speaker.lock().unwrap();
        speaker.reader.handover.close();
        reader.handover.open();
        let former = std::mem::replace(&mut speaker.reader, reader);
        let hanging = std::mem::replace(&mut speaker.read, read);
        drop(speaker);
        self.replaced.extend(hanging.map(|read| (former, read)));
        self.at = of;
        let all: Vec<Vec<_>> = held
            .iter()
            .map(|said| said.iter().map(|change| (number(&change.serial) + 1, rank(change))).collect())
            .collect();
        self.note(format_args!("the reload is adopted, with {all:?}"));
        held.iter().for_each(|said| self.says(said));
        Ok(())
    }

    fn book_has(&self, place: usize) -> Checked<Told> {
        self.book.lock().get(&self.id, &serial(place as u32 + 1)).map_err(|error| error.to_string())
    }

    /// Tells everybody what the outbox has.
    fn publish(&mut self) -> Checked {
        if !self.owes || self.is_unsettled || self.book.lock().disk != Disk::Fine {
            return Ok(());
        }
        let owed = self.book.lock().outbox(&self.id).map_err(|error| error.to_string())?;
        let Some(version) = owed.iter().map(|owed| owed.version).max() else { return Ok(()) };
        while self.book.lock().told(&self.id, version).map_err(|error| error.to_string())? {}
        self.note(format_args!("tells {:?}", owed.iter().map(|owed| number(&owed.serial) + 1).collect::<Vec<_>>()));
        if !self.book.lock().outbox(&self.id).map_err(|error| error.to_string())?.is_empty() {
            return Err("the outbox has rows of what was told".into());
        }
        match self.told.take() {
            Some(mut told) => {
                for owed in owed {
                    let place = number(&owed.serial);
                    told[place].push(self.book_has(place)?);
                }
                self.told = Some(told);
            }
            // As with a snapshot. After death it may be as if nobody had been told of these.
            None => {
                let former = |place| owed.iter().find(|owed| number(&owed.serial) == place).map(|owed| owed.former);
                let told = |place| Ok(former(place).into_iter().chain([self.book_has(place)?]).collect());
                self.told = Some((0..self.truth.len()).map(told).collect::<Checked<_>>()?);
                self.told_may_be_lost = false;
            }
        }
        Ok(())
    }

    fn die(&mut self, how: &str) -> Checked {
        let digest = (!self.is_unsettled && self.ledger.is_saved() && self.handed().is_none())
            .then(|| self.ledger.state().records.digest());
        self.note(format_args!("dies: {how}"));
        self.restart(digest.filter(|_| how == "killed"))
    }

    /// Another process finds the files as they are.
    fn restart(&mut self, digest: Option<Digest>) -> Checked {
        let from = self.state_dir();
        self.life += 1;
        let to = self.state_dir();
        fs::create_dir(&to).unwrap();
        let has_witness = self.rng.chance(70);
        for file in [BOOK.to_owned(), format!("{BOOK}.version")] {
            if file == BOOK || has_witness {
                let _ = fs::copy(from.join(&file), to.join(&file));
            }
        }
        self.fresh = None;
        self.replaced.clear();
        let book = Book::open(&to).map_err(|error| format!("the book cannot be opened: {error}"))?;
        let book = Arc::new(SharedBook::new(book));
        let opened = Ledger::open(&self.id, "ca", &book, &self.stage.saver);
        let ledger = opened.map_err(|error| format!("the book cannot be loaded: {error}"))?.ledger;
        ledger.owe(self.owes);
        let issuer = issuer(self.stage, &self.id, &self.cas[self.at]);
        let reader = SourceReader::new(issuer, ledger.clone(), false, None, Vec::new(), &to);
        self.speaker = Arc::new(Mutex::new(Speaker { reader, read: None, handed: None }));
        (self.ledger, self.book) = (ledger, book);
        self.answered.clear();
        let _ = fs::remove_dir_all(from);
        let loaded: Vec<Truth> = (0..self.truth.len()).map(|place| self.shown(place)).collect();
        if !self.is_unsettled {
            for (place, loaded) in loaded.iter().enumerate() {
                if !self.possible[place].contains(loaded) {
                    return Err(format!(
                        "after a restart, {} is {loaded:?}; it can only be {:?}",
                        place + 1,
                        self.possible[place]
                    ));
                }
            }
            if digest.is_some_and(|digest| digest != self.ledger.state().records.digest()) {
                return Err("after a restart the digest is another one".into());
            }
        } else {
            self.forget();
        }
        self.is_unsettled = false;
        self.possible = loaded.iter().map(|truth| vec![*truth]).collect();
        self.truth = loaded;
        self.perhaps_final.fill(false);
        self.told_may_be_lost = true;
        self.note(format_args!("starts with {:?}", self.truth.iter().map(|truth| truth.rank()).collect::<Vec<_>>()));
        self.check_outbox()?;
        if self.owes && self.rng.chance(50) {
            self.undo()?;
        }
        self.ledger.serve("ca");
        Ok(())
    }

    /// Undoes what nobody was told, as a writer that comes back.
    fn undo(&mut self) -> Checked {
        let owed = self.book.lock().outbox(&self.id).map_err(|error| error.to_string())?;
        let debts = self.ledger.undo_untold().map_err(|error| error.to_string())?;
        let of = |told: Told| Truth::of(told.map(|(record, origin)| (record.status, origin)));
        let mut left = Vec::new();
        for owed in owed {
            let place = number(&owed.serial);
            let former = of(owed.former);
            if self.truth[place].is_final && !former.is_final {
                left.push(owed);
            } else {
                self.truth[place] = former;
                self.possible[place] = vec![former];
            }
        }
        self.note(format_args!("what was not told is undone, but for {} debts", left.len()));
        if debts != left || self.book.lock().outbox(&self.id).map_err(|error| error.to_string())? != left {
            return Err(format!("the debts are {debts:?} instead of {left:?}"));
        }
        Ok(())
    }

    /// Another book is in place: beside records it has what this process has answered, and nothing else.
    fn forget(&mut self) {
        self.keys.clone_from(&self.answered);
        self.told = None;
    }

    fn shown(&self, place: usize) -> Truth {
        Truth::shown(self.ledger.look_up(&serial(place as u32 + 1)))
    }

    fn check(&mut self) -> Checked {
        for place in 0..self.truth.len() {
            let shown = self.shown(place);
            if shown.is_final && self.perhaps_final[place] && !self.truth[place].is_final {
                self.truth[place] = shown;
                self.possible[place].push(shown);
            }
            if shown != self.truth[place] {
                return Err(format!("{} shows {shown:?} and has to be {:?}", place + 1, self.truth[place]));
            }
        }
        let identity = self.book.lock().identity().map_err(|error| error.to_string())?;
        let is_in_place = self.ledger.saved_to() == identity;
        if self.is_unsettled {
            if !is_in_place {
                return Ok(());
            }
            self.is_unsettled = false;
            self.forget();
        } else if !is_in_place {
            return Err("the book is another one".into());
        }
        let is_saved = self.ledger.is_saved();
        for place in 0..self.truth.len() {
            let kept = self.book_has(place)?;
            if is_saved {
                let found = self.ledger.look_up(&serial(place as u32 + 1));
                let shown =
                    found.map(|found| (Record { status: found.status, not_after: found.not_after }, found.origin));
                if kept != shown {
                    return Err(format!("of {} the book has {kept:?}, and {shown:?} shows", place + 1));
                }
                self.possible[place] = vec![self.truth[place]];
            }
            let kept = Truth::of(kept.map(|(record, origin)| (record.status, origin)));
            if !self.possible[place].contains(&kept) {
                return Err(format!("of {} the book has {kept:?}, of {:?}", place + 1, self.possible[place]));
            }
        }
        self.check_outbox()
    }

    fn check_outbox(&mut self) -> Checked {
        let owed = self.book.lock().outbox(&self.id).map_err(|error| error.to_string())?;
        if !self.owes && !owed.is_empty() {
            return Err("something is owed to nobody".into());
        }
        let Some(mut told) = self.told.take().filter(|_| self.owes) else { return Ok(()) };
        for (place, told) in told.iter_mut().enumerate() {
            let row = owed.iter().find(|owed| number(&owed.serial) == place);
            let last = match row {
                Some(owed) => owed.former,
                None => self.book_has(place)?,
            };
            let may_be = if self.told_may_be_lost { &told[..] } else { &told[told.len() - 1..] };
            if !may_be.contains(&last) {
                return Err(format!(
                    "{} was told as {may_be:?}, the outbox has {row:?} and the book {last:?}",
                    place + 1
                ));
            }
            if self.told_may_be_lost {
                *told = vec![last];
            }
        }
        self.told = Some(told);
        self.told_may_be_lost = false;
        Ok(())
    }

    /// Everything comes to rest.
    fn end(&mut self) -> Checked {
        self.note("the end");
        self.book.lock().disk = Disk::Fine;
        self.cas[self.at].repair();
        for _ in 0..2 {
            self.end_read()?;
            self.check()?;
        }
        self.begin_read(true);
        let whole = {
            let mut speaker = self.speaker.lock().unwrap();
            speaker.read.take().map(|read| hand_over(&mut speaker.reader, read))
        };
        let Some(whole) = whole.filter(|whole| whole.is_whole) else {
            return Err("the index is in order, and not taken".into());
        };
        self.taken(whole)?;
        self.ledger.save().map_err(|error| error.to_string())?;
        self.check()?;
        if !self.ledger.is_saved() {
            return Err("not everything is saved".into());
        }
        let owes = std::mem::replace(&mut self.owes, false);
        self.ledger.owe(false);
        if owes {
            while self.book.lock().told(&self.id, u64::MAX).map_err(|error| error.to_string())? {}
            // So that it is on disk.
            self.save_stamp()?;
        }
        let truth = self.truth.clone();
        self.restart(Some(self.ledger.state().records.digest()))?;
        if self.truth != truth {
            return Err(format!("after the end it is {:?}, and was {truth:?}", self.truth));
        }
        self.check()
    }

    fn save_stamp(&mut self) -> Checked {
        self.ledger.note_verified(self.now);
        self.ledger.save().map_err(|error| error.to_string())
    }
}

/// The rank of what a source says.
fn rank(change: &Change) -> Option<u8> {
    change.record.map(|record| strictness(record.status))
}
