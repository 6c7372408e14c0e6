use std::{collections::BTreeSet, fs, slice, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    book::{Book as File, Disk as OfDisk},
    feed::{
        Refusal,
        rule::{Rules, is_final},
        simulation::disk::{Disk, Key},
        writer::with_hashes,
    },
    issuer_id::IssuerId,
    ledger::{Difference, Ledger, Order, Push, Saver, SharedBook},
    pki::{Reason, Record, Status, UnixTime},
    records::Records,
    source::CrlMarks,
    state_dir::BOOK,
};

const NOW: UnixTime = UnixTime(2_000_000_000);
const GOOD: Status = Status::Good;
const HELD: Status = Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold };
const LOST: Status = Status::Revoked { time: UnixTime(5), reason: Reason::KeyCompromise };
const ISSUERS: usize = 3;
const NUMBERS: std::ops::Range<u32> = 1..5;

fn id(number: usize) -> IssuerId {
    IssuerId::new("tenant", [number as u8; 32])
}

/// As a snapshot lists all of them.
fn everybody_comes(each: &mut dyn FnMut(Walked<'_>)) {
    (0..ISSUERS).for_each(|number| each(Walked::Coming(issuer(number), 0)));
}

fn issuer(number: usize) -> Issuer {
    Issuer::from(&id(number))
}

fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&number.to_be_bytes()).unwrap()
}

fn said(number: u32, status: Option<Status>) -> Change {
    Change::new(serial(number), status.map(|status| Record { status, not_after: None }))
}

fn place(sequence: u64) -> Place {
    Place { position: Position { epoch: 7, sequence }, chain: Chain([sequence as u8; 32]) }
}

fn sections(changes: &[(usize, Change)]) -> Vec<Section> {
    in_sections(changes.iter().map(|(of, change)| (issuer(*of), *change)))
}

/// Ledgers with one book on disk, whose saver does nothing of its own.
struct OnDisk {
    dir: tempfile::TempDir,
    file: Arc<SharedBook>,
    book: LedgerBook,
}

impl OnDisk {
    fn new() -> Self {
        Self::of(ISSUERS, tempfile::tempdir().unwrap())
    }

    fn of(issuers: usize, dir: tempfile::TempDir) -> Self {
        let file = Arc::new(SharedBook::new(File::open(dir.path()).unwrap()));
        let saver = Saver::start().unwrap();
        let open = |number| {
            let ledger = Ledger::open(&id(number), "ca", &file, &saver).unwrap().ledger;
            ledger.owe(true);
            ledger.serve("ca");
            ledger
        };
        let ledgers = Ledgers::default();
        ledgers.set((0..issuers).rev().map(open).collect());
        Self { dir, file, book: LedgerBook::new(ledgers) }
    }

    /// As after kill -9.
    fn restart(self) -> Self {
        let issuers = self.book.ledgers.all().len();
        let died = tempfile::tempdir().unwrap();
        fs::copy(self.dir.path().join(BOOK), died.path().join(BOOK)).unwrap();
        drop(self);
        Self::of(issuers, died)
    }

    fn ledger(&self, of: usize) -> Ledger {
        self.book.ledgers.all().iter().find(|ledger| *ledger.id() == id(of)).unwrap().clone()
    }

    fn push(&self, of: usize, number: u32, order: Order) {
        // Whether it is refused is not the question here.
        let _ = self.ledger(of).push(&[Push::new(serial(number), order)], None, NOW).unwrap();
    }

    fn take(&self, of: usize, change: Change) {
        self.ledger(of).take(&Difference {
            said: vec![crate::records::Stated::new(change.serial, change.record)],
            ..Difference::default()
        });
    }

    fn status(&self, of: usize, number: u32) -> Option<Status> {
        self.ledger(of).look_up(&serial(number)).map(|found| found.status)
    }

    fn apply(&mut self, at: u64, changes: &[(usize, Change)]) -> Result<(), Fault> {
        self.book.place();
        self.book.apply(place(at), &sections(changes))
    }

    /// `end`: how the walk ends behind these.
    fn reconcile(&mut self, at: u64, all: &[(usize, Change)], end: Result<(), Refusal>) -> Result<(), Fault> {
        self.book.reconcile(place(at), &mut |each| {
            everybody_comes(each);
            all.iter().for_each(|(of, change)| each(Walked::Records(issuer(*of), slice::from_ref(change))));
            end.clone()
        })
    }

    fn owed(&self) -> BTreeSet<(Issuer, Serial)> {
        self.book.owed(99).iter().map(|owed| (owed.issuer, owed.change.serial)).collect()
    }

    fn debts(&self) -> BTreeSet<(Issuer, Serial)> {
        self.book.debts().iter().map(|(issuer, debt)| (*issuer, debt.serial)).collect()
    }

    /// Goes up with each commit that is on disk.
    fn version(&self) -> u64 {
        self.file.lock().reader().unwrap().version()
    }

    /// As if the disk had lost what was not flushed, or somebody had put a copy there.
    fn put_back(&self, copy: &std::path::Path) {
        fs::rename(copy, self.dir.path().join(BOOK)).unwrap();
    }

    fn copy(&self) -> std::path::PathBuf {
        let copy = self.dir.path().join("copy");
        fs::copy(self.dir.path().join(BOOK), &copy).unwrap();
        copy
    }

    fn at(&self) -> u64 {
        self.book.place().map_or(0, |place| place.position.sequence)
    }
}

fn revoke(reason: Reason) -> Order {
    Order::Revoke { time: Some(UnixTime(5)), reason, even_unlisted: true }
}

impl OnDisk {
    /// Pushes it with its certificate.
    fn add_hashed(&self, number: u32, hash: u8) {
        let ledger = self.ledger(0);
        ledger.state().details.want_hashes(true);
        let push = Push::new(serial(number), Order::Add { not_after: None });
        let push = Push { certificate_sha256: Some([hash; 32]), ..push };
        ledger.push(&[push], None, NOW).unwrap().remove(0).unwrap();
    }

    /// In memory and in the book.
    fn hash(&self, number: u32) -> [Option<u8>; 2] {
        let shown = self.ledger(0).state().details.hash(&serial(number));
        let kept = self.book.hashes(issuer(0), &[said(number, None)]).remove(0);
        [shown, kept].map(|hash| hash.map(|hash| hash[0]))
    }

    /// What an entry says of all that is owed, and that it was told.
    fn tell(&mut self, at: u64) -> Vec<Section> {
        self.book.place();
        let owed = self.book.owed(99);
        let told =
            with_hashes(Rules::default(), &self.book, in_sections(owed.iter().map(|row| (row.issuer, row.change))), 99);
        self.book.told(place(at), &owed).unwrap();
        told
    }
}

/// The next writer answered `tryLater` for certificates that were pushed to the one before.
#[test]
fn the_hash_of_a_pushed_certificate_is_owed_after_a_restart_and_kept_by_who_stands_by() {
    let (mut leader, mut standby) = (OnDisk::new(), OnDisk::new());
    leader.add_hashed(1, 7);
    leader.push(0, 2, Order::Add { not_after: None });
    leader = leader.restart();
    let told = leader.tell(1);
    standby.book.place();
    standby.book.apply(place(1), &told).unwrap();
    assert_eq!([1, 2].map(|number| standby.hash(number)), [[Some(7); 2], [None; 2]]);
    assert_eq!([1, 2].map(|number| standby.status(0, number)), [Some(GOOD); 2]);
    assert_eq!(leader.book.digest(issuer(0)), standby.book.digest(issuer(0)));
    standby = standby.restart();
    assert_eq!([1, 2].map(|number| standby.hash(number)), [[Some(7); 2], [None; 2]]);
    // Pushed again its record stays as it is, and whoever lacks its hash is told of it.
    for hash in [8, 8] {
        leader.add_hashed(2, hash);
        assert_eq!(leader.owed(), [(issuer(0), serial(2))].into());
        let told = leader.tell(leader.at() + 1);
        standby.book.place();
        standby.book.apply(place(leader.at()), &told).unwrap();
        assert_eq!((standby.hash(2), leader.owed().len()), ([Some(8); 2], 0));
    }
    // It leads now, and tells what it knows with any change.
    standby.push(0, 1, revoke(Reason::CertificateHold));
    assert_eq!(standby.tell(4)[0].hashes, [[7; 32]]);
}

#[test]
fn who_compares_everything_keeps_the_hashes_of_the_snapshot_and_writes_none_that_it_has() {
    let mut standby = OnDisk::new();
    let compare = |standby: &mut OnDisk, at: u64, hash: u8| {
        standby.book.reconcile(place(at), &mut |each| {
            everybody_comes(each);
            each(Walked::Records(issuer(0), &[said(1, Some(GOOD))]));
            each(Walked::Hashes(issuer(0), &[(serial(1), [hash; 32])]));
            each(Walked::Hashes(issuer(ISSUERS), &[(serial(1), [hash; 32])]));
            Ok(())
        })
    };
    compare(&mut standby, 1, 7).unwrap();
    let first = standby.version();
    compare(&mut standby, 2, 7).unwrap();
    let second = standby.version();
    compare(&mut standby, 3, 8).unwrap();
    // A comparison ends the place before, and sets the next one.
    assert_eq!((second - first, standby.version() - second), (2, 3));
    standby = standby.restart();
    assert_eq!((standby.hash(1), standby.at()), ([Some(8); 2], 3));
}

/// The same as the model of a book that the simulation has proved.
struct Both {
    real: OnDisk,
    model: Disk,
    /// As it was at the last commit that is surely on disk, and the version of that.
    durable: (u64, Disk),
    /// As it was after each entry that was told since: a flush comes now and then.
    told: Vec<Disk>,
}

impl Both {
    fn new() -> Self {
        let model = Disk::new(Rules::default());
        Self { real: OnDisk::new(), durable: (0, model.clone()), told: Vec::new(), model }
    }

    /// What was told need not be on disk at once: it has no version.
    fn settle(&mut self) {
        let version = self.real.version();
        if version != self.durable.0 {
            self.durable = (version, self.model.clone());
            self.told.clear();
        }
    }

    /// The model learns what became of a record.
    fn learn(&mut self, of: usize, serial: Serial) {
        let now = self.real.book.present(issuer(of), &serial).unwrap();
        self.model.push((issuer(of), serial), now);
    }

    fn push(&mut self, of: usize, number: u32, what: u8) {
        let hold = revoke(Reason::CertificateHold);
        let add = Order::Add { not_after: None };
        self.real.push(of, number, [add, add, hold, revoke(Reason::KeyCompromise), Order::Release][usize::from(what)]);
        self.learn(of, serial(number));
    }

    /// Where it is final, a source only changes who says so.
    fn source(&mut self, of: usize, change: Change) {
        if !is_final(&self.model.get((issuer(of), change.serial))) {
            self.real.take(of, change);
            self.real.ledger(of).save().unwrap();
            self.learn(of, change.serial);
        }
    }

    fn reconcile(&mut self, to: u64, all: &[(usize, Change)], fails: bool) {
        let all: Vec<_> = all.iter().filter(|(_, change)| change.record.is_some()).copied().collect();
        if fails {
            // On the way it may have taken some of it.
            self.real.reconcile(to, &all, Err(Refusal::Truncated)).unwrap_err();
            assert_eq!(self.real.book.place(), None);
        }
        self.real.reconcile(to, &all, Ok(())).unwrap();
        let walked = self.model.reconcile(place(to), &mut |each| {
            everybody_comes(each);
            all.iter().for_each(|(of, change)| each(Walked::Records(issuer(*of), slice::from_ref(change))));
            Ok(())
        });
        walked.unwrap();
    }

    fn tell(&mut self, to: u64, most: usize, meanwhile: (usize, u32)) {
        let rows = self.real.book.owed(most);
        let of_model = self
            .model
            .owed(99)
            .into_iter()
            .filter(|row| rows.iter().any(|real| (real.issuer, real.change) == (row.issuer, row.change)));
        let of_model: Vec<_> = of_model.collect();
        assert_eq!(rows.len(), of_model.len());
        self.push(meanwhile.0, meanwhile.1, 2);
        self.settle();
        self.real.book.told(place(to), &rows).unwrap();
        self.model.told(place(to), &of_model).unwrap();
        self.told.push(self.model.clone());
    }

    fn absorb(&mut self, changes: &[(usize, Change)]) {
        let is_stricter = |book: &LedgerBook, (issuer, change): &(Issuer, Change)| {
            is_final(change) && book.present(*issuer, &change.serial).is_some_and(|present| !is_final(&present))
        };
        let changes = changes.iter().map(|(of, change)| (issuer(*of), *change));
        let stricter: Vec<_> = changes.filter(|said| is_stricter(&self.real.book, said)).collect();
        self.real.book.absorb(&stricter).unwrap();
        self.model.absorb(&stricter).unwrap();
    }

    fn restart(self) -> Self {
        let Self { real, model, durable, told } = self;
        let real = real.restart();
        let mut all = [model].into_iter().chain(told.into_iter().rev());
        let model = all.find(|one| one.place() == real.book.place()).unwrap_or(durable.1);
        Self { durable: (real.version(), model.clone()), told: Vec::new(), real, model }
    }

    /// What was told of an issuer's records.
    fn told(&self, of: usize) -> Digest {
        let told = self.model.told_records().into_iter().filter(|((whose, _), _)| *whose == issuer(of));
        Records::of(told.map(|(_, change)| change)).digest()
    }

    fn check(&self) {
        let (real, model) = (&self.real, &self.model);
        assert_eq!(real.book.place(), model.place());
        for of in 0..ISSUERS {
            for number in NUMBERS {
                let (issuer, serial): Key = (issuer(of), serial(number));
                let present = real.book.present(issuer, &serial).unwrap();
                assert_eq!(present, model.get((issuer, serial)), "{of} {number}");
                assert_eq!(real.book.ledgers.shown(&issuer.0, &serial), Some(present), "{of} {number}");
            }
            let digest = real.book.digest(issuer(of));
            assert_eq!(digest, model.digest(issuer(of)).map(|_| self.told(of)), "{of}");
            self.real.file.lock().load(&id(of), |_, _, _| ()).unwrap();
        }
        let owed =
            |rows: Vec<Owed>| -> BTreeSet<_> { rows.iter().map(|row| (row.issuer, row.change.serial)).collect() };
        assert_eq!(real.owed(), owed(model.owed(99)), "owed");
        let debts: BTreeSet<_> = model.debts().iter().map(|(issuer, debt)| (*issuer, debt.serial)).collect();
        assert_eq!(real.debts(), debts, "debts");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_happens_a_book_on_disk_becomes_what_the_model_of_it_does(
        steps in vec((0u8..16, any::<bool>(), vec((0..ISSUERS, NUMBERS, 0u8..5), 1..6)), 1..30),
    ) {
        let mut both = Both::new();
        for (kind, flag, what) in steps {
            let next = both.real.at() + 1;
            let statuses = [None, Some(GOOD), Some(HELD), Some(LOST), Some(GOOD)];
            // An entry speaks of a record once.
            let changes = what.iter().map(|(of, number, what)| (*of, said(*number, statuses[usize::from(*what)])));
            let changes = distinct(&changes.collect::<Vec<_>>());
            match kind {
                0..=2 => what.iter().for_each(|(of, number, what)| both.push(*of, *number, *what)),
                3 => changes.iter().for_each(|(of, change)| both.source(*of, *change)),
                4..=6 => {
                    both.real.apply(next, &changes).unwrap();
                    both.model.apply(place(next), &sections(&changes)).unwrap();
                }
                7..=8 => both.reconcile(next, &changes, flag),
                9..=11 => both.tell(next, what.len(), (what[0].0, what[0].1)),
                12 => {
                    both.real.book.undo_untold().unwrap();
                    both.model.undo_untold().unwrap();
                }
                13 => both.absorb(&changes),
                14 => {
                    both.real.book.owe_debts().unwrap();
                    both.model.owe_debts().unwrap();
                }
                _ => both = both.restart(),
            }
            both.settle();
            both.check();
        }
    }
}

/// The last of each record.
fn distinct(changes: &[(usize, Change)]) -> Vec<(usize, Change)> {
    let last: std::collections::BTreeMap<_, _> =
        changes.iter().map(|(of, change)| ((*of, change.serial), *change)).collect();
    last.into_iter().map(|((of, _), change)| (of, change)).collect()
}

#[test]
fn what_the_snapshot_says_already_writes_nothing_and_what_differs_does() {
    let mut disk = OnDisk::new();
    let all: Vec<_> = (0..2).flat_map(|of| (1..400).map(move |number| (of, said(number, Some(GOOD))))).collect();
    disk.reconcile(1, &all, Ok(())).unwrap();
    let commits = |disk: &mut OnDisk, at, all: &[(usize, Change)]| {
        let before = disk.version();
        disk.reconcile(at, all, Ok(())).unwrap();
        disk.version() - before
    };
    assert_eq!(commits(&mut disk, 2, &all), 2, "no place, and another one");
    let mut other = all.clone();
    other[500].1 = said(102, Some(HELD));
    other.pop();
    assert_eq!(commits(&mut disk, 3, &other), 4, "one of what is said, and one of what is not");
    assert_eq!([102, 399].map(|number| disk.status(1, number)), [Some(HELD), None]);
    let digests = disk.book.digests(9);
    let disk = disk.restart();
    assert_eq!([disk.at(), disk.ledger(1).state().records.counts().good], [3, 397]);
    assert!(digests.iter().all(|(issuer, digest)| disk.book.digest(*issuer) == Some(*digest)) && digests.len() == 2);
}

#[test]
fn a_snapshot_that_cannot_be_read_to_its_end_removes_nothing_and_leaves_no_place() {
    let mut disk = OnDisk::new();
    disk.apply(1, &[(0, said(1, Some(GOOD))), (0, said(2, Some(LOST)))]).unwrap();
    let fault = disk.reconcile(2, &[(0, said(3, Some(GOOD)))], Err(Refusal::Forged)).unwrap_err();
    assert!(fault.0.contains("snapshot"), "{fault:?}");
    let mut disk = disk.restart();
    assert_eq!((disk.book.place(), [1, 2].map(|number| disk.status(0, number))), (None, [Some(GOOD), Some(LOST)]));
    disk.reconcile(3, &[(0, said(3, Some(GOOD)))], Ok(())).unwrap();
    assert_eq!([1, 2, 3].map(|number| disk.status(0, number)), [None, Some(LOST), Some(GOOD)]);
    assert_eq!((disk.at(), disk.debts()), (3, [(issuer(0), serial(2))].into()));
}

#[test]
fn killed_at_any_moment_of_a_comparison_each_record_is_as_it_was_or_as_it_is_said_and_there_is_no_place() {
    let mut disk = OnDisk::new();
    let known: Vec<_> = (1..2000).map(|number| (0, said(number, Some(GOOD)))).collect();
    disk.reconcile(1, &known, Ok(())).unwrap();
    let (path, died) = (disk.dir.path().join(BOOK), tempfile::tempdir().unwrap());
    let mut copies = 0;
    let walked = disk.book.reconcile(place(2), &mut |each| {
        everybody_comes(each);
        for number in 1000..3000 {
            if number % 300 == 0 {
                copies += 1;
                let copy = died.path().join(copies.to_string());
                fs::create_dir(&copy).unwrap();
                fs::copy(&path, copy.join(BOOK)).unwrap();
            }
            each(Walked::Records(issuer(0), &[said(number, Some(HELD))]));
        }
        Ok(())
    });
    walked.unwrap();
    for copy in 1..=copies {
        let mut book = File::open(&died.path().join(copy.to_string())).unwrap();
        assert_eq!(book.place().unwrap(), None);
        let mut all = std::collections::BTreeMap::new();
        book.load(&id(0), |serial, record, _| _ = all.insert(serial, record.status)).unwrap();
        let is_known = |number: u32| all.get(&serial(number)) == Some(&GOOD);
        assert!((1..1000).all(is_known), "nothing is removed before everything is said");
        let of_others = (1000..2000).map(|number| all.get(&serial(number)).copied());
        assert!(of_others.into_iter().all(|status| status == Some(GOOD) || status == Some(HELD)));
    }
    assert_eq!((copies, disk.at(), disk.status(0, 1), disk.status(0, 2999)), (6, 2, None, Some(HELD)));
}

#[test]
fn what_shows_and_is_not_saved_is_compared_as_well() {
    let mut disk = OnDisk::new();
    let known: Vec<_> = (1..=4).map(|number| (0, said(number, Some(GOOD)))).collect();
    disk.apply(1, &known).unwrap();
    for (number, status) in [(1, Some(HELD)), (2, Some(LOST)), (3, Some(LOST)), (4, Some(HELD)), (5, Some(GOOD))] {
        disk.take(0, said(number, status));
    }
    assert_eq!(disk.book.digest(issuer(0)), None, "it is not what was told");
    // The same as shows, what is not said by what shows, a contradiction, a change, and nothing.
    let all = [(0, said(1, Some(HELD))), (0, said(2, Some(LOST))), (0, said(3, Some(GOOD))), (0, said(4, Some(GOOD)))];
    disk.reconcile(2, &all, Ok(())).unwrap();
    let statuses = [Some(HELD), Some(LOST), Some(LOST), Some(GOOD), None];
    assert_eq!([1, 2, 3, 4, 5].map(|number| disk.status(0, number)), statuses);
    assert!(disk.ledger(0).is_saved() && disk.owed().is_empty());
    assert_eq!(disk.debts(), [(issuer(0), serial(3))].into());
    let disk = disk.restart();
    assert_eq!([1, 2, 3, 4, 5].map(|number| disk.status(0, number)), statuses);
}

#[test]
fn a_removal_that_nobody_was_told_is_told_by_a_snapshot_without_the_record() {
    let mut disk = OnDisk::new();
    disk.apply(1, &[(0, said(1, Some(GOOD))), (0, said(2, Some(GOOD)))]).unwrap();
    (1..=2).for_each(|number| disk.take(0, said(number, None)));
    disk.ledger(0).save().unwrap();
    assert_eq!(disk.owed().len(), 2);
    disk.reconcile(2, &[(0, said(2, Some(GOOD)))], Ok(())).unwrap();
    assert_eq!((disk.owed(), disk.status(0, 1), disk.status(0, 2)), (BTreeSet::new(), None, Some(GOOD)));
    disk.book.undo_untold().unwrap();
    assert_eq!((disk.status(0, 1), disk.book.digest(issuer(0)).is_some()), (None, true));
}

/// An entry is appended, and what it says was in a book that is no longer there.
#[test]
fn a_book_that_is_exchanged_under_a_writer_gets_no_place_from_it() {
    let mut disk = OnDisk::new();
    disk.book.told(place(1), &[]).unwrap();
    let copy = disk.copy();
    disk.push(0, 1, revoke(Reason::KeyCompromise));
    let rows = disk.book.owed(9);
    assert_eq!((disk.at(), rows.len()), (1, 1));
    disk.put_back(&copy);
    let fault = disk.book.told(place(2), &rows).unwrap_err();
    assert!(fault.0.contains("is at no place in the feed, not at 7-1"), "{fault:?}");
    assert_eq!((disk.book.place(), disk.owed()), (None, BTreeSet::new()));
    let fault = disk.book.told(place(2), &rows).unwrap_err();
    assert!(fault.0.contains("is at no place in the feed and cannot go on to 7-2"), "{fault:?}");
    disk.book.undo_untold().unwrap();
    disk.reconcile(5, &[], Ok(())).unwrap();
    assert_eq!((disk.at(), disk.status(0, 1), disk.debts().len()), (5, Some(LOST), 1));
}

#[test]
fn what_is_exchanged_or_configured_while_everything_is_compared_leaves_no_place() {
    let mut disk = OnDisk::new();
    disk.apply(1, &[(0, said(1, Some(GOOD)))]).unwrap();
    let copy = disk.copy();
    let (ledgers, path) = (disk.book.ledgers.clone(), disk.dir.path().join(BOOK));
    let whole = [(0, said(1, Some(GOOD))), (1, said(2, Some(HELD)))];
    for (what, problem) in [("before", "exchanged"), ("behind", "exchanged"), ("another", "another issuer")] {
        let walked = disk.book.reconcile(place(2), &mut |each| {
            everybody_comes(each);
            whole.iter().for_each(|(of, change)| each(Walked::Records(issuer(*of), slice::from_ref(change))));
            if what == "behind" {
                // With it all others are decided.
                each(Walked::Records(issuer(ISSUERS), &[said(1, Some(GOOD))]));
            }
            if what == "another" {
                let other = Ledger::open(&id(9), "ca", &disk.file, &Saver::start().unwrap()).unwrap().ledger;
                ledgers.set(ledgers.all().iter().cloned().chain([other]).collect());
            } else {
                fs::copy(&copy, path.with_extension("new")).unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
            }
            Ok(())
        });
        let fault = walked.unwrap_err();
        assert!(fault.0.contains(problem), "{what}: {fault:?}");
        assert_eq!(disk.book.place(), None, "{what}");
    }
    disk.reconcile(2, &whole, Ok(())).unwrap();
    let disk = disk.restart();
    assert_eq!((disk.at(), disk.status(0, 1), disk.status(1, 2)), (2, Some(GOOD), Some(HELD)));
}

#[test]
fn a_book_that_has_lost_what_was_told_is_where_it_was_and_not_where_the_writer_is() {
    let mut disk = OnDisk::new();
    disk.apply(1, &[(0, said(1, Some(GOOD)))]).unwrap();
    // A hold would be on disk as it is told.
    disk.push(0, 1, revoke(Reason::Superseded));
    disk.at();
    let rows = disk.book.owed(9);
    disk.book.told(place(2), &rows).unwrap();
    assert_eq!((disk.at(), disk.owed()), (2, BTreeSet::new()));
    let copy = disk.copy();
    disk.put_back(&copy);
    assert_eq!((disk.at(), disk.owed()), (1, [(issuer(0), serial(1))].into()), "as after a crash");
    disk.book.told(place(3), &[]).unwrap_err();
    disk.apply(2, &[(0, rows[0].change)]).unwrap();
    assert_eq!((disk.at(), disk.owed()), (2, BTreeSet::new()));
}

#[test]
fn where_the_book_cannot_be_written_nothing_moves() {
    let mut disk = OnDisk::new();
    disk.apply(1, &[(0, said(1, Some(GOOD)))]).unwrap();
    disk.file.lock().disk = OfDisk::Full;
    disk.book.apply(place(2), &sections(&[(0, said(1, Some(HELD)))])).unwrap_err();
    assert_eq!((disk.at(), disk.status(0, 1)), (1, Some(GOOD)));
    disk.reconcile(3, &[(0, said(1, Some(HELD)))], Ok(())).unwrap_err();
    assert_eq!((disk.at(), disk.status(0, 1)), (1, Some(GOOD)));
    disk.file.lock().disk = OfDisk::Fine;
    disk.apply(2, &[(0, said(1, Some(HELD)))]).unwrap();
    assert_eq!((disk.at(), disk.status(0, 1)), (2, Some(HELD)));
}

#[test]
fn issuers_that_are_not_configured_are_named_and_whoever_configures_them_has_everything_compared() {
    let mut disk = OnDisk::new();
    disk.apply(1, &[(0, said(1, Some(GOOD))), (ISSUERS, said(1, Some(GOOD)))]).unwrap();
    assert_eq!(disk.book.strangers().collect::<Vec<_>>(), [issuer(ISSUERS)]);
    assert_eq!((disk.book.digest(issuer(ISSUERS)), disk.book.digest(issuer(0)).is_some()), (None, true));
    disk.book.compare_anew().unwrap();
    assert_eq!((disk.book.place(), disk.book.strangers().count()), (None, 0));
    let many: Vec<_> = (0..2 * limits::STRANGERS_MAX).map(|number| (ISSUERS + number, said(1, Some(GOOD)))).collect();
    disk.book
        .reconcile(place(2), &mut |each| {
            many.iter().for_each(|(of, change)| {
                each(Walked::Records(Issuer([(*of >> 8) as u8 ^ 0x55 ^ *of as u8; 32]), slice::from_ref(change)))
            });
            Ok(())
        })
        .unwrap();
    assert!((1..=limits::STRANGERS_MAX).contains(&disk.book.strangers().count()));
    assert_eq!(disk.restart().at(), 2);
}

#[test]
fn an_issuer_that_the_snapshot_does_not_list_stays_as_it_is() {
    let mut disk = OnDisk::new();
    let held = said(2, Some(HELD));
    disk.apply(1, &[(0, said(1, Some(GOOD))), (1, said(1, Some(GOOD))), (1, held), (2, held)]).unwrap();
    // Who leads has not got the second one, and of the third it says something.
    disk.book
        .reconcile(place(2), &mut |each| {
            each(Walked::Coming(issuer(0), 0));
            each(Walked::Records(issuer(2), &[said(1, Some(GOOD))]));
            Ok(())
        })
        .unwrap();
    let status = |of, number| disk.status(of, number);
    assert_eq!([status(0, 1), status(1, 1), status(1, 2)], [None, Some(GOOD), Some(HELD)]);
    assert_eq!([status(2, 1), status(2, 2)], [Some(GOOD), None]);
    assert_eq!(disk.restart().at(), 2);
}

#[test]
fn an_issuer_is_known_once_the_feed_has_spoken_of_it_also_after_a_restart() {
    let mut disk = OnDisk::new();
    let known = |disk: &OnDisk| [0, 1, 2].map(|of| disk.ledger(of).state().health.is_known());
    assert_eq!(known(&disk), [false; 3]);
    assert_eq!(disk.book.digests(9), [], "nobody is told of what is not known");
    let marks = CrlMarks::new([], Some(vec![crate::source::CrlScope([7; 32])]));
    let status = |of| IssuerStatus {
        is_crl_alone: false,
        id: id(of),
        verified: Some(UnixTime(1000)),
        crl_next_update: Some(UnixTime(900)),
        crl_marks: marks.clone(),
    };
    disk.book.note_status(&status(1));
    disk.book.note_status(&status(ISSUERS));
    disk.apply(1, &[(0, said(1, None))]).unwrap();
    assert_eq!((known(&disk), disk.book.strangers().count()), ([true, true, false], 1));
    assert_eq!(disk.ledger(1).state().health.report().known_until(), UnixTime(900));
    (0..ISSUERS).for_each(|of| disk.ledger(of).save().unwrap());
    disk.book.note_status(&status(1));
    assert!(disk.ledger(1).is_saved(), "the same again is not saved again");
    let disk = disk.restart();
    assert_eq!((known(&disk), disk.at()), ([true, true, false], 1));
    assert_eq!(disk.ledger(1).crl_marks(), marks, "who leads next takes no older CRL");
}

#[test]
fn digests_come_by_turns_and_only_of_issuers_whose_records_were_told() {
    const MANY: usize = 7;
    let mut disk = OnDisk::of(MANY, tempfile::tempdir().unwrap());
    let all: Vec<_> = (0..MANY).map(|of| (of, said(1, Some(GOOD)))).collect();
    disk.apply(1, &all).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let some = disk.book.digests(4);
        assert_eq!(some.len(), 4);
        seen.extend(some.iter().map(|(issuer, _)| *issuer));
    }
    assert_eq!(seen.len(), MANY);
    // A row, a debt, and what only shows.
    disk.push(0, 1, revoke(Reason::KeyCompromise));
    disk.apply(2, &[(1, said(1, Some(LOST)))]).unwrap();
    disk.apply(3, &[(1, said(1, None))]).unwrap();
    disk.take(2, said(1, Some(HELD)));
    let given: BTreeSet<_> = disk.book.digests(99).into_iter().map(|(issuer, _)| issuer).collect();
    assert_eq!(given, (3..MANY).map(issuer).collect());
    for of in 0..MANY {
        assert_eq!(disk.book.digest(issuer(of)).is_some(), of > 2, "{of}");
    }
    disk.book.told(place(4), &disk.book.owed(9)).unwrap();
    assert!(disk.book.digest(issuer(0)).is_some());
}
