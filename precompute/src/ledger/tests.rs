//! Sources and pushes on a real book: what is durable, what shows, and what is acknowledged.

mod kept_beside;
mod loads;
mod of_feed;
mod standing_by;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use super::{reconcile::Known, *};
use crate::{
    book::Book,
    pki::{Reason, Record, Status},
    records::Origin,
    state_dir::BOOK,
};

const NOW: UnixTime = UnixTime(2_000_000_000);
const GOOD: Status = Status::Good;

fn id() -> IssuerId {
    IssuerId::new("tenant", [7; 32])
}

fn serial(number: u32) -> Serial {
    Serial::from_magnitude(&(number + 1).to_be_bytes()).unwrap()
}

fn said(number: u32, status: Option<Status>) -> Change {
    Change::new(serial(number), status.map(|status| Record { status, not_after: None }))
}

fn difference(said: Vec<Change>) -> Difference {
    let said = said.into_iter().map(|change| Stated::new(change.serial, change.record)).collect();
    Difference { said, ..Difference::default() }
}

fn push(number: u32, order: Order) -> Push {
    Push::new(serial(number), order)
}

const ADD: Order = Order::Add { not_after: None };

fn revoke(reason: Reason) -> Order {
    Order::Revoke { time: Some(UnixTime(5)), reason, even_unlisted: false }
}

const LOST: Status = Status::Revoked { time: UnixTime(5), reason: Reason::KeyCompromise };

/// A ledger with a book of its own, which only the test saves.
struct World {
    dir: tempfile::TempDir,
    book: Arc<SharedBook>,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    fn in_directory(dir: tempfile::TempDir) -> Self {
        let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
        let ledger = Ledger::open(&id(), "ca", &book, &Saver::start().unwrap()).unwrap().ledger;
        ledger.serve("ca");
        Self { dir, book, ledger }
    }

    /// As after kill -9.
    fn restart(self) -> Self {
        let died = tempfile::tempdir().unwrap();
        fs::copy(self.dir.path().join(BOOK), died.path().join(BOOK)).unwrap();
        drop(self);
        Self::in_directory(died)
    }

    fn push(&self, number: u32, order: Order) -> Result<Outcome, Refusal> {
        self.ledger.push(&[push(number, order)], None, NOW).unwrap().remove(0)
    }

    fn status(&self, number: u32) -> Option<Status> {
        self.ledger.look_up(&serial(number)).map(|found| found.status)
    }

    fn in_book(&self, number: u32) -> Option<Known> {
        let found = self.book.lock().get(&id(), &serial(number)).unwrap();
        found.map(|(record, origin)| Known { record, origin })
    }
}

#[test]
fn what_was_acknowledged_is_on_disk_and_shows() {
    let world = World::new();
    assert_eq!(world.push(1, ADD), Ok(Outcome::Done));
    assert_eq!(world.push(2, revoke(Reason::KeyCompromise)), Err(Refusal::NotListed));
    assert_eq!(world.push(1, revoke(Reason::KeyCompromise)), Ok(Outcome::Done));
    assert_eq!(world.status(1), Some(LOST));
    let report = world.ledger.state().health.report();
    assert_eq!((report.pushes, report.last_push.is_some()), (2, true));
    let world = world.restart();
    assert_eq!([1, 2].map(|number| world.status(number)), [Some(LOST), None]);
    let origin = world.ledger.look_up(&serial(1)).unwrap().origin;
    assert!(origin.is_pushed() && !origin.is_listed(), "{origin:?}");
}

#[test]
fn where_the_book_cannot_be_written_nothing_shows_and_the_next_push_that_can_is_taken() {
    let world = World::new();
    world.push(1, ADD).unwrap();
    let book = std::mem::replace(&mut *world.book.lock(), Book::lost(world.dir.path()));
    let error = world.ledger.push(&[push(1, revoke(Reason::KeyCompromise)), push(2, ADD)], None, NOW).unwrap_err();
    assert!(matches!(error, PushError::NotDurable(_)) && error.to_string().contains("absent/book.redb"), "{error}");
    assert_eq!([1, 2].map(|number| world.status(number)), [Some(GOOD), None]);
    let report = world.ledger.state().health.report();
    assert_eq!((report.pushes_failed, report.push_fault.is_some()), (1, true));
    let complaints = report.complaints(NOW, &crate::ocsp::Policy::DEFAULT);
    assert!(complaints.iter().any(|line| line.contains("pushes are refused")), "{complaints:?}");
    // A source's revocation shows all the same.
    world.ledger.take(&difference(vec![said(1, Some(LOST))]));
    assert_eq!(world.status(1), Some(LOST));
    *world.book.lock() = book;
    assert_eq!(world.push(2, ADD), Ok(Outcome::Done));
    assert_eq!(world.ledger.state().health.report().push_fault, None);
}

#[test]
fn a_push_for_a_serial_that_a_pass_is_just_removing_or_releasing_stays() {
    let world = World::new();
    let held = Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold };
    world.ledger.take(&difference((1..=4).map(|number| said(number, Some(GOOD))).collect()));
    world.ledger.take(&difference(vec![said(3, Some(held)), said(4, Some(held))]));
    // A pass has read the sources, and found 1 and 2 removed and 3 and 4 released.
    let found = difference(vec![said(1, None), said(2, None), said(3, Some(GOOD)), said(4, Some(GOOD))]);
    world.push(1, ADD).unwrap();
    world.push(2, revoke(Reason::KeyCompromise)).unwrap();
    world.push(3, revoke(Reason::CertificateHold)).unwrap();
    world.push(4, revoke(Reason::KeyCompromise)).unwrap();
    world.ledger.take(&found);
    assert_eq!([1, 2, 3, 4].map(|number| world.status(number)), [Some(GOOD), Some(LOST), Some(held), Some(LOST)]);
    world.ledger.save().unwrap();
    let world = world.restart();
    assert_eq!([1, 2, 3, 4].map(|number| world.status(number)), [Some(GOOD), Some(LOST), Some(held), Some(LOST)]);
}

/// It was acknowledged and lost: the pass removed the record after the push was decided and before it showed.
#[test]
fn a_removal_that_shows_while_a_push_is_written_does_not_undo_the_push() {
    let held = Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold };
    for (order, wanted) in [(ADD, GOOD), (revoke(Reason::KeyCompromise), LOST), (revoke(Reason::CertificateHold), held)]
    {
        for step in [Step::Decided, Step::Committed] {
            let world = World::new();
            world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
            let ledger = world.ledger.clone();
            let removes = move || ledger.take(&difference(vec![said(1, None)]));
            world.ledger.0.steps.plan(Some((step, Box::new(removes))));
            assert_eq!(world.push(1, order), Ok(Outcome::Done));
            assert_eq!(world.status(1), Some(wanted), "{order:?} {step:?}");
            world.ledger.save().unwrap();
            let world = world.restart();
            assert_eq!(world.status(1), Some(wanted), "{order:?} {step:?} after a restart");
            assert!(!world.ledger.look_up(&serial(1)).unwrap().origin.is_listed());
        }
    }
}

/// It was acknowledged and forgotten: a hold of the source showed after the push was decided, so it was refused when it
/// was decided anew, and the record did not say that a push had listed it.
#[test]
fn a_push_that_a_stricter_word_of_a_source_overtakes_is_not_forgotten() {
    let held = Status::Revoked { time: UnixTime(6), reason: Reason::CertificateHold };
    for step in [Step::Decided, Step::Committed] {
        let world = World::new();
        let ledger = world.ledger.clone();
        let holds = move || ledger.take(&difference(vec![said(1, Some(held))]));
        world.ledger.0.steps.plan(Some((step, Box::new(holds))));
        assert_eq!(world.push(1, ADD), Ok(Outcome::Done));
        assert_eq!(world.status(1), Some(held), "{step:?}");
        world.ledger.save().unwrap();
        let world = world.restart();
        world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
        world.ledger.take(&difference(vec![said(1, None)]));
        assert_eq!(world.status(1), Some(GOOD), "the push has listed it, {step:?}");
    }
}

#[test]
fn the_same_request_with_its_key_has_the_same_outcome_and_another_request_has_none() {
    let world = World::new();
    let one = |world: &World, number, order, key| world.ledger.push(&[push(number, order)], Some(key), NOW);
    world.push(1, ADD).unwrap();
    world.push(1, revoke(Reason::CertificateHold)).unwrap();
    assert_eq!(one(&world, 1, Order::Release, "a").unwrap(), [Ok(Outcome::Done)]);
    assert_eq!(world.push(1, Order::Release), Err(Refusal::NotOnHold), "without a key it is another request");
    assert_eq!(one(&world, 1, Order::Release, "a").unwrap(), [Ok(Outcome::Done)], "the acknowledgement was lost");
    let world = world.restart();
    assert_eq!(one(&world, 1, Order::Release, "a").unwrap(), [Ok(Outcome::Done)], "and the process was killed");
    assert!(matches!(one(&world, 2, ADD, "a"), Err(PushError::KeyReused)));
    assert_eq!(world.status(2), None);
    // A refusal is no outcome to be remembered: what was missing may be there now.
    assert_eq!(one(&world, 3, revoke(Reason::Superseded), "b").unwrap(), [Err(Refusal::NotListed)]);
    world.push(3, ADD).unwrap();
    assert_eq!(one(&world, 3, revoke(Reason::Superseded), "b").unwrap(), [Ok(Outcome::Done)]);
}

#[test]
fn who_pushes_at_the_same_time_shares_commits_and_each_has_its_own_outcome() {
    let world = World::new();
    let (done, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for worker in 0..8u32 {
            let (world, done, refused) = (&world, &done, &refused);
            scope.spawn(move || {
                for number in 0..50 {
                    // Each certificate is added by two.
                    world.push(worker / 2 * 100 + number, ADD).unwrap();
                    // One that all want to revoke, each for a reason of its own.
                    let reason = Reason::ALL[1 + worker as usize % 5];
                    let _ = world.push(9_999, ADD);
                    match world.push(9_999, revoke(reason)) {
                        Ok(Outcome::Done) => done.fetch_add(1, Ordering::Relaxed),
                        Ok(_) => 0,
                        Err(Refusal::AlreadyRevoked { .. }) => refused.fetch_add(1, Ordering::Relaxed),
                        Err(other) => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 1, "it was revoked once");
    assert!(refused.load(Ordering::Relaxed) > 0);
    let shown = world.ledger.look_up(&serial(9_999)).map(Known::from);
    assert_eq!(world.in_book(9_999), shown);
    assert_eq!(world.ledger.state().records.counts().good, 200);
    assert_eq!(world.restart().ledger.state().records.counts().good, 200);
}

#[test]
fn pushes_are_taken_while_a_long_difference_is_shown_and_saved() {
    let world = World::new();
    let saver = Saver::start().unwrap();
    saver.follow(std::slice::from_ref(&world.ledger));
    let long = difference((0..300_000).map(|number| said(number, Some(GOOD))).collect());
    let taken = AtomicU32::new(0);
    thread::scope(|scope| {
        let taking = scope.spawn(|| world.ledger.take(&long));
        let mut number = 1_000_000;
        while !taking.is_finished() {
            world.push(number, ADD).unwrap();
            number += 1;
            taken.fetch_add(1, Ordering::Relaxed);
        }
        taking.join().unwrap();
    });
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken >= 2, "none was taken while the difference was shown");
    world.ledger.save().unwrap();
    assert_eq!(world.ledger.state().records.counts().good, 300_000 + u64::from(taken));
    assert_eq!(world.book.lock().record_count().unwrap(), 300_000 + u64::from(taken));
}

/// Somebody who waits, for as long as he is there.
fn somebody_waits(world: &World) -> Box<dyn FnOnce() + Send> {
    let book = Arc::clone(&world.book);
    Box::new(move || std::mem::forget(book.wait()))
}

#[test]
fn a_save_ends_early_when_a_push_comes_and_the_rest_is_saved_after_it() {
    let world = World::new();
    let count = 10 * limits::BOOK_SAVE_CHUNK_MIN as u32;
    world.ledger.take(&difference((0..count).map(|number| said(number, Some(GOOD))).collect()));
    world.ledger.note_stamps(vec![7; 9]);
    let saved = || (0..count).filter(|number| world.in_book(*number).is_some()).count();
    let stamps = || world.book.lock().load(&id(), |_, _, _| ()).unwrap().stamps;
    // Who gives no way does not see it.
    for (gives_way, expected) in [(true, limits::BOOK_SAVE_CHUNK_MIN), (false, count as usize)] {
        world.ledger.plan(Some((Step::Taken, somebody_waits(&world))));
        assert_eq!(world.ledger.0.save_noted(gives_way).unwrap(), gives_way);
        assert_eq!(saved(), expected);
        assert_eq!(stamps().is_some(), !gives_way, "what was read of the sources goes with the last record");
    }
    assert!(world.ledger.is_saved());
}

#[test]
fn showing_a_difference_leaves_the_records_to_a_push_that_comes() {
    let world = World::new();
    let said = difference((0..1000).map(|number| said(number, Some(GOOD))).collect()).said;
    let mut news = shown::News::default();
    let mut shown = world.ledger.0.shown();
    let mut show =
        |is_wanted: bool| shown.by_source(&said, shown::Part::Others, Releases::LeftOut, &mut news, || is_wanted);
    let (looked_at, changed) = show(true);
    assert_eq!((looked_at, changed.len()), (limits::SHOWN_AT_LEAST, limits::SHOWN_AT_LEAST));
    let (looked_at, changed) = show(false);
    assert_eq!((looked_at, changed.len()), (1000, 1000 - limits::SHOWN_AT_LEAST));
    drop(shown);
    // Pushes one after the other do not stop it.
    std::mem::forget(world.book.wait());
    world.ledger.take(&difference(said.iter().map(|change| Change::new(change.serial, None)).collect()));
    assert_eq!(world.ledger.state().records.counts(), Counts::default());
}

#[test]
fn of_a_long_difference_the_revocations_show_first() {
    let world = World::new();
    world.push(0, ADD).unwrap();
    let heard = world.ledger.state().changes.subscribe(Arc::new(|| ()));
    let mut all: Vec<Change> = (1..=20).map(|number| said(number, Some(GOOD))).collect();
    all.extend([said(21, Some(LOST)), said(22, Some(GOOD)), said(23, Some(LOST))]);
    world.ledger.take(&difference(all));
    let order: Vec<Serial> = [21, 23].into_iter().chain(1..=20).chain([22]).map(serial).collect();
    assert_eq!(heard.take(), Changed::These(order));
}

#[test]
fn a_push_waits_for_at_most_one_part_of_a_save() {
    let world = World::new();
    let (told, came_first) = std::sync::mpsc::channel();
    world.ledger.take(&difference((0..1000).map(|number| said(number, Some(GOOD))).collect()));
    world.ledger.0.commit().pace = Pace::of(100);
    let ledger = world.ledger.clone();
    let comes_meanwhile = move || {
        let (pushing, again) = (ledger.clone(), ledger.clone());
        thread::spawn(move || pushing.push(&[push(5000, ADD)], None, NOW));
        assert!(wait(|| ledger.0.book.is_wanted()));
        let shows = move || told.send(again.look_up(&serial(5000)).is_some()).unwrap();
        ledger.plan(Some((Step::Taken, Box::new(shows))));
    };
    world.ledger.plan(Some((Step::Taken, Box::new(comes_meanwhile))));
    let saver = Saver::start().unwrap();
    saver.follow(std::slice::from_ref(&world.ledger));
    let came_first = came_first.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(came_first, Ok(true), "the push showed before the second part was taken");
}

#[test]
fn a_book_that_was_lost_is_written_whole_and_gives_the_revocations_that_only_it_has() {
    let world = World::new();
    world.ledger.take(&difference((0..20).map(|number| said(number, Some(GOOD))).collect()));
    world.ledger.state().details.want_hashes(true);
    let hashed = Push { certificate_sha256: Some([7; 32]), ..push(30, ADD) };
    world.ledger.push(&[hashed], None, NOW).unwrap().remove(0).unwrap();
    world.ledger.save().unwrap();
    // Somebody puts another book in its place: an older one of this issuer that knows another revocation.
    let other = World::new();
    other.push(3, ADD).unwrap();
    other.push(3, revoke(Reason::KeyCompromise)).unwrap();
    other.push(40, ADD).unwrap();
    let from = other.dir.path().join(BOOK);
    drop((other.ledger, other.book));
    fs::copy(&from, world.dir.path().join("copy")).unwrap();
    fs::rename(world.dir.path().join("copy"), world.dir.path().join(BOOK)).unwrap();
    world.push(31, ADD).unwrap();
    assert_eq!(world.status(3), Some(LOST), "taken over");
    let counts = world.ledger.state().records.counts();
    assert_eq!((counts.good, counts.revoked), (21, 1));
    let world = world.restart();
    assert_eq!(world.ledger.state().records.counts(), counts);
    assert_eq!([30, 31, 40].map(|number| world.status(number)), [Some(GOOD), Some(GOOD), None]);
    assert_eq!(world.status(3), Some(LOST));
    assert_eq!(world.ledger.state().details.hash(&serial(30)), Some([7; 32]), "no source has it");
}

/// They were told before they showed: who looked at once saw the old record, and did not look again.
#[test]
fn revocations_of_another_book_are_told_after_they_show() {
    let world = World::new();
    world.push(3, ADD).unwrap();
    let other = World::new();
    other.push(3, ADD).unwrap();
    other.push(3, revoke(Reason::KeyCompromise)).unwrap();
    let from = other.dir.path().join(BOOK);
    drop((other.ledger, other.book));
    fs::copy(&from, world.dir.path().join("copy")).unwrap();
    fs::rename(world.dir.path().join("copy"), world.dir.path().join(BOOK)).unwrap();
    let (records, seen) = (Arc::clone(&world.ledger.state().records), Arc::<Mutex<Vec<_>>>::default());
    let look = {
        let seen = Arc::clone(&seen);
        move || seen.lock().unwrap().push(records.get(&serial(3)).map(|found| found.status))
    };
    let _listener = world.ledger.state().changes.subscribe(Arc::new(look));
    world.ledger.save().unwrap();
    assert_eq!(*seen.lock().unwrap(), [Some(LOST)]);
}

#[test]
fn who_is_not_served_takes_no_pushes_and_saves_nothing_before() {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
    let saver = Saver::start().unwrap();
    let ledger = Ledger::open(&id(), "ca", &book, &saver).unwrap().ledger;
    saver.follow(std::slice::from_ref(&ledger));
    ledger.take(&difference(vec![said(1, Some(LOST))]));
    let refused = |ledger: &Ledger| matches!(ledger.push(&[push(2, ADD)], None, NOW), Err(PushError::NotServed));
    assert!(refused(&ledger), "it is only prepared");
    thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(book.lock().record_count().unwrap(), 0);
    ledger.serve("ca");
    assert!(wait(|| book.lock().record_count().unwrap() == 1), "saved");
    ledger.take(&difference(vec![said(3, Some(LOST))]));
    ledger.leave();
    saver.follow(&[]);
    assert!(refused(&ledger), "it left");
    assert!(wait(|| book.lock().record_count().unwrap() == 2), "the rest is saved");
}

/// It would be acknowledged, and missing in the records of the issuer that came back.
#[test]
fn a_push_under_way_while_its_issuer_leaves_and_comes_back_is_refused_or_known_there() {
    for step in [Step::Waiting, Step::Decided] {
        let world = World::new();
        let (ledger, book) = (world.ledger.clone(), Arc::clone(&world.book));
        let opening = Arc::new(Mutex::new(None));
        let begun = Arc::clone(&opening);
        let act = move || {
            ledger.leave();
            let open = thread::spawn(move || Ledger::open(&id(), "ca", &book, &Saver::start().unwrap()));
            // Who has decided has the book, and whoever comes back waits for it.
            while step == Step::Waiting && !open.is_finished() {
                thread::yield_now();
            }
            *lock(&begun) = Some(open);
        };
        world.ledger.plan(Some((step, Box::new(act))));
        let outcome = world.ledger.push(&[push(1, ADD)], None, NOW);
        let back = lock(&opening).take().unwrap().join().unwrap().unwrap().ledger;
        let known = back.look_up(&serial(1)).map(|found| found.status);
        match step {
            Step::Waiting => assert!(matches!(outcome, Err(PushError::NotServed)) && known.is_none(), "{outcome:?}"),
            _ => assert_eq!((outcome.unwrap(), known), (vec![Ok(Outcome::Done)], Some(GOOD))),
        }
        assert_eq!(world.in_book(1).is_some(), known.is_some());
    }
}

/// Whether it becomes true soon.
fn wait(mut done: impl FnMut() -> bool) -> bool {
    (0..2000).any(|_| {
        thread::sleep(std::time::Duration::from_millis(5));
        done()
    })
}

#[test]
fn what_changes_is_saved_by_itself_and_tried_again_after_a_fault() {
    let world = World::new();
    let saver = Saver::start().unwrap();
    saver.follow(std::slice::from_ref(&world.ledger));
    world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
    assert!(wait(|| world.in_book(1).is_some()));
    let book = std::mem::replace(&mut *world.book.lock(), Book::lost(world.dir.path()));
    world.ledger.take(&difference(vec![said(2, Some(GOOD))]));
    assert!(wait(|| world.ledger.state().health.report().book_fault.is_some()));
    *world.book.lock() = book;
    assert!(wait(|| world.ledger.is_saved() && world.ledger.state().health.report().book_fault.is_none()));
    assert_eq!(world.in_book(2).map(|known| known.origin), Some(Origin::SOURCE));
    // The end saves what there is room for.
    world.ledger.take(&difference((10..5000).map(|number| said(number, Some(GOOD))).collect()));
    drop(saver);
    assert!(world.ledger.is_saved());
    assert!(Path::new(&world.dir.path().join(BOOK)).exists());
}

#[test]
fn one_issuer_that_cannot_be_saved_slows_down_nobody_else() {
    let (broken, sound) = (World::new(), World::new());
    *broken.book.lock() = Book::lost(broken.dir.path());
    let saver = Saver::start().unwrap();
    let other = Ledger::open(&IssuerId::new("other", [7; 32]), "ca", &sound.book, &saver).unwrap().ledger;
    other.serve("ca");
    broken.ledger.take(&difference(vec![said(1, Some(GOOD))]));
    other.take(&difference((0..1500).map(|number| said(number, Some(GOOD))).collect()));
    let begun = Instant::now();
    saver.follow(&[broken.ledger.clone(), other.clone()]);
    assert!(wait(|| other.is_saved()) && begun.elapsed() < 4 * limits::RETRY_INTERVAL, "{:?}", begun.elapsed());
    assert!(!broken.ledger.is_saved());
}

/// It was open until the process ended, as after a crash.
#[test]
fn the_book_is_closed_once_saver_and_ledgers_have_ended() {
    let World { dir, book, ledger } = World::new();
    let saver = Saver::start().unwrap();
    saver.follow(std::slice::from_ref(&ledger));
    ledger.push(&[push(1, ADD)], None, NOW).unwrap().remove(0).unwrap();
    drop((saver, ledger));
    assert_eq!(Arc::strong_count(&book), 1);
    drop(book);
    Book::open(dir.path()).unwrap();
}

/// The former one would have written its own records over those of the new one.
#[test]
fn a_ledger_that_left_is_saved_no_more_once_its_issuer_is_back_with_another() {
    let world = World::new();
    let saver = Saver::start().unwrap();
    saver.follow(std::slice::from_ref(&world.ledger));
    world.push(1, ADD).unwrap();
    let (book, lost) = (Arc::clone(&world.book), Book::lost(world.dir.path()));
    let back = Ledger::open(&id(), "ca", &book, &saver).unwrap().ledger;
    let whole = std::mem::replace(&mut *book.lock(), lost);
    world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
    world.ledger.leave();
    back.serve("ca");
    saver.follow(std::slice::from_ref(&back));
    *book.lock() = whole;
    back.push(&[push(1, revoke(Reason::KeyCompromise))], None, NOW).unwrap().remove(0).unwrap();
    thread::sleep(2 * limits::RETRY_INTERVAL);
    assert_eq!(world.in_book(1).map(|known| known.record.status), Some(LOST));
}

/// The next start skipped the sources, and nobody said it again.
#[test]
fn what_was_undone_is_read_again_whatever_the_stamps_said() {
    let world = World::new();
    world.ledger.owe(true);
    world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
    world.ledger.note_stamps(b"as it was".to_vec());
    world.ledger.save().unwrap();
    let stamps = |world: &World| Ledger::open(&id(), "ca", &world.book, &Saver::start().unwrap()).unwrap().stamps;
    assert!(stamps(&world).is_some());
    assert_eq!(world.ledger.undo_untold().unwrap(), []);
    assert_eq!((world.status(1), stamps(&world)), (None, None));
}

#[test]
fn stamps_of_other_sources_are_forgotten_before_anything_of_these_is_saved() {
    let world = World::new();
    world.ledger.note_stamps(b"of the former".to_vec());
    world.ledger.save().unwrap();
    world.ledger.forget_stamps();
    world.ledger.take(&difference((0..100).map(|number| said(number, Some(GOOD))).collect()));
    world.ledger.note_stamps(b"of these".to_vec());
    assert!(world.ledger.save_one_chunk(40).unwrap(), "more remains");
    let stamps = || Ledger::open(&id(), "ca", &world.book, &Saver::start().unwrap()).unwrap().stamps;
    assert_eq!(stamps(), None);
    world.ledger.save().unwrap();
    assert_eq!(stamps().as_deref(), Some(&b"of these"[..]));
}
