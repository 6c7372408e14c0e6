//! Changes that are adopted, dropped and overtaken, on a real book with a real CA's index.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::*;
use crate::{
    config::Sources,
    engine::Accepted,
    ledger::{Ledger, Order, Outcome, Push, PushError, Refusal, SharedBook},
    pki::{Reason, Serial, Status, UnixTime},
    records::Origin,
    source::openssl::{Ca, KEYS},
};

struct World {
    ca: Ca,
    state: tempfile::TempDir,
}

fn index(name: &str, revoked: &[u32]) -> String {
    let line = |serial: u32| match revoked.contains(&serial) {
        true => format!("R\t350101000000Z\t250101000000Z\t{serial:04X}\tunknown\t/CN={name}{serial}\n"),
        false => format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={name}{serial}\n"),
    };
    (1..=5).map(line).collect()
}

impl World {
    fn new() -> Self {
        Self { ca: Ca::new("Change", KEYS[1]), state: tempfile::tempdir().unwrap() }
    }

    /// The CA as an issuer of this tenant, read from an index of its own that revokes these.
    fn issuer(&self, tenant: &str, file: &str, revoked: &[u32]) -> FollowedIssuer {
        fs::write(self.ca.path(file), index(file, revoked)).unwrap();
        FollowedIssuer::of(tenant, "ca", &self.ca.certificate(), Sources::of_index(self.ca.path(file)))
    }

    fn engine(&self, issuers: &[&FollowedIssuer]) -> Engine {
        let mut engine = Engine::open_for(self.state.path(), issuers.iter().copied().cloned().collect()).unwrap();
        engine.read_all(|_, _, _| ()).unwrap();
        engine
    }
}

fn prepare(engine: &mut Engine, issuers: &[&FollowedIssuer]) -> Prepared {
    engine.prepare_for(issuers.iter().copied().cloned().collect()).unwrap()
}

fn revoked(states: &States, issuer: &FollowedIssuer) -> Vec<u32> {
    let records = &states.get(&issuer.id).unwrap().records;
    let is_revoked = |serial: &u32| records.is_revoked(&Serial::from_magnitude(&serial.to_be_bytes()).unwrap());
    (1..=5).filter(is_revoked).collect()
}

#[test]
fn each_issuer_keeps_its_own_records_in_another_order_and_without_one_in_the_middle() {
    let world = World::new();
    // The one that comes knows whom the one that goes has revoked, which would be forgotten else.
    let [a, b, c, d] = [("a", &[1][..]), ("b", &[2]), ("c", &[3]), ("d", &[2, 4])]
        .map(|(tenant, revoked)| world.issuer(tenant, &format!("{tenant}.txt"), revoked));
    let mut engine = world.engine(&[&a, &b, &c]);
    let before = engine.states();
    let prepared = prepare(&mut engine, &[&d, &c, &a]);
    assert_eq!([&a, &c, &d].map(|issuer| revoked(prepared.states(), issuer)), [vec![1], vec![3], vec![2, 4]]);
    assert!(prepared.states().get(&b.id).is_err(), "it is no longer configured");
    engine.adopt(prepared).unwrap();
    let states = engine.states();
    assert_eq!([&a, &c, &d].map(|issuer| revoked(&states, issuer)), [vec![1], vec![3], vec![2, 4]]);
    assert!(states.get(&b.id).is_err());
    let records = |states: &States| std::sync::Arc::clone(&states.get(&a.id).unwrap().records);
    assert!(std::sync::Arc::ptr_eq(&records(&states), &records(&before)), "what has not changed goes on");
}

#[test]
fn what_is_dropped_leaves_everything_as_it_was_and_saves_nothing() {
    let world = World::new();
    let [a, other] =
        [("a.txt", &[1][..]), ("other.txt", &[1, 2])].map(|(file, revoked)| world.issuer("a", file, revoked));
    let comes = world.issuer("b", "b.txt", &[1, 3]);
    let mut engine = world.engine(&[&a]);
    let prepared = prepare(&mut engine, &[&other, &comes]);
    assert_eq!(revoked(&engine.states(), &a), [1], "the former sources are still followed");
    // Looks at its sources go on, and would save.
    std::thread::sleep(3 * limits::SOURCE_POLL_INTERVAL);
    drop(prepared);
    assert_eq!(revoked(&engine.states(), &a), [1]);
    engine.save().unwrap();
    let (one, two) = (Serial::from_magnitude(&[1]).unwrap(), Serial::from_magnitude(&[2]).unwrap());
    let saved = engine.show(&two).unwrap().remove(0).2.unwrap();
    assert_eq!(saved.status, Status::Good, "nothing of it was saved");
    assert!(engine.book.lock().get(&comes.id, &one).unwrap().is_none(), "and nothing of who would have come");
    // The former one was not stopped.
    fs::write(world.ca.path("a.txt"), index("a.txt", &[1, 5])).unwrap();
    let begun = Instant::now();
    while revoked(&engine.states(), &a) != [1, 5] {
        assert!(begun.elapsed().as_secs() < 30, "its source is no longer followed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pushes of all issuers waited while the book was read for the one that comes, and for its predecessor.
#[test]
fn a_push_is_acknowledged_while_a_reload_loads_from_the_book_who_comes_and_whom_it_succeeds() {
    let world = World::new();
    let [stays, goes] = [("stays", &[1][..]), ("goes", &[2])]
        .map(|(tenant, revoked)| world.issuer(tenant, &format!("{tenant}.txt"), revoked));
    let comes = world.issuer("comes", "comes.txt", &[2]);
    let mut engine = world.engine(&[&stays, &goes]);
    engine.save().unwrap();
    let prepared = prepare(&mut engine, &[&stays]);
    engine.adopt(prepared).unwrap();
    let (ledger, shared) = (engine.ledgers().all()[0].clone(), Arc::clone(&engine.book));
    let pushed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&pushed);
    plan_pushes(shared, ledger, count);
    let prepared = prepare(&mut engine, &[&stays, &comes]);
    assert_eq!(pushed.load(SeqCst), 3);
    assert_eq!(revoked(prepared.states(), &comes), [2]);
}

/// Has something pushed, and acknowledged, whenever somebody reads the book.
fn plan_pushes(book: Arc<SharedBook>, ledger: Ledger, count: Arc<AtomicU32>) {
    let shared = Arc::clone(&book);
    let act = move || {
        let serial = Serial::from_magnitude(&(100 + count.fetch_add(1, SeqCst)).to_be_bytes()).unwrap();
        let push = Push::new(serial, Order::Add { not_after: None });
        assert_eq!(ledger.push(&[push], None, UnixTime(2_000_000_000)).unwrap(), [Ok(Outcome::Done)]);
        plan_pushes(book, ledger, count);
    };
    shared.plan_reading(Some(Box::new(act)));
}

#[test]
fn who_was_revoked_by_the_former_sources_stays_so_when_the_change_is_adopted() {
    let world = World::new();
    let [a, lagging] =
        [("a.txt", &[1][..]), ("lagging.txt", &[2])].map(|(file, revoked)| world.issuer("a", file, revoked));
    let mut engine = world.engine(&[&a]);
    let prepared = prepare(&mut engine, &[&lagging]);
    let former = engine.states();
    // After the new sources were read, and before the change is adopted.
    fs::write(world.ca.path("a.txt"), index("a.txt", &[1, 3])).unwrap();
    let begun = Instant::now();
    while revoked(&former, &a) != [1, 3] {
        assert!(begun.elapsed().as_secs() < 30);
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.adopt(prepared).unwrap();
    assert_eq!(revoked(&engine.states(), &lagging), [1, 2, 3]);
    let records = |states: &States| std::sync::Arc::clone(&states.get(&a.id).unwrap().records);
    assert!(std::sync::Arc::ptr_eq(&records(&former), &records(&engine.states())), "they are the same records");
}

/// It once waited for it: for the end of a former one that hangs, and for one that hangs after its first read.
#[test]
fn nobody_waits_for_a_source_that_hangs_when_a_change_is_adopted() {
    let world = World::new();
    let [a, b] = [("a", "a.txt"), ("b", "b.txt")].map(|(tenant, file)| world.issuer(tenant, file, &[]));
    let mut engine = world.engine(&[&a, &b]);
    // From here on both readers of `a` stand still, as in a read of a file system that went away.
    let former = &engine.followers[0].handover;
    let hangs = std::sync::Arc::clone(former);
    let mut is_adopted_at_once = |file: &str| {
        let moved = world.issuer("a", file, &[2]);
        let prepared = prepare(&mut engine, &[&moved, &b]);
        let begun = Instant::now();
        engine.adopt(prepared).unwrap();
        begun.elapsed() < limits::SOURCE_POLL_INTERVAL
    };
    // Not each of them is late, on a busy machine either.
    assert!((0..5).any(|number| is_adopted_at_once(&format!("moved-{number}.txt"))));
    assert_eq!(revoked(&engine.states(), &a), [2]);
    assert!(hangs.health().is_none(), "what it reads when it wakes up does not count");
}

#[test]
fn a_change_that_another_one_has_overtaken_is_refused_and_changes_nothing() {
    let world = World::new();
    let [a, b, c] = [("a", &[1][..]), ("b", &[2]), ("c", &[1, 3])]
        .map(|(tenant, revoked)| world.issuer(tenant, &format!("{tenant}.txt"), revoked));
    let mut engine = world.engine(&[&a]);
    let late = prepare(&mut engine, &[&a, &b]);
    let first = prepare(&mut engine, &[&c]);
    engine.adopt(first).unwrap();
    assert!(matches!(engine.adopt(late), Err(EngineError::Overtaken)));
    let states = engine.states();
    assert_eq!(revoked(&states, &c), [1, 3]);
    assert!(states.get(&a.id).is_err() && states.get(&b.id).is_err());
}

fn push(engine: &Engine, serial: u32, order: Order) -> Result<Result<Outcome, Refusal>, PushError> {
    let serial = Serial::from_magnitude(&serial.to_be_bytes()).unwrap();
    let ledger = engine.ledgers().all()[0].clone();
    ledger.push(&[Push::new(serial, order)], None, UnixTime::now()).map(|mut outcomes| outcomes.remove(0))
}

const REVOKE: Order = Order::Revoke { time: None, reason: Reason::KeyCompromise, even_unlisted: false };
const HOLD: Order = Order::Revoke { time: None, reason: Reason::CertificateHold, even_unlisted: false };

/// It was acknowledged, and good again under the new name: what would be forgotten was looked at before it came.
#[test]
fn what_is_pushed_while_a_new_name_of_the_tenant_is_prepared_is_not_forgotten() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|tenant| world.issuer(tenant, &format!("{tenant}.txt"), &[1]));
    let mut engine = world.engine(&[&a]);
    let prepared = prepare(&mut engine, &[&b]);
    assert!(matches!(push(&engine, 3, REVOKE), Ok(Ok(Outcome::Done))));
    assert!(matches!(engine.adopt(prepared), Err(EngineError::Forgotten(..))));
    assert_eq!(revoked(&engine.states(), &a), [1, 3]);
    assert!(matches!(push(&engine, 4, REVOKE), Ok(Ok(Outcome::Done))), "it is served as before");
    // The CA says so as well.
    fs::write(world.ca.path("b.txt"), index("b.txt", &[1, 3, 4])).unwrap();
    let (prepared, former) = (prepare(&mut engine, &[&b]), engine.ledgers().all()[0].clone());
    engine.adopt(prepared).unwrap();
    assert_eq!(revoked(&engine.states(), &b), [1, 3, 4]);
    let five = Push::new(Serial::from_magnitude(&[5]).unwrap(), REVOKE);
    assert!(matches!(former.push(&[five], None, UnixTime::now()), Err(PushError::NotServed)));
}

/// The book had what was pushed before, which the new name keeps.
#[test]
fn a_revocation_that_is_not_saved_yet_is_not_forgotten_for_what_the_book_has() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|tenant| world.issuer(tenant, &format!("{tenant}.txt"), &[]));
    let mut engine = world.engine(&[&a]);
    assert!(matches!(push(&engine, 5, Order::Add { not_after: None }), Ok(Ok(Outcome::Done))));
    engine.book.lock().disk = crate::book::Disk::Full;
    fs::write(world.ca.path("a.txt"), index("a.txt", &[5])).unwrap();
    let begun = Instant::now();
    while revoked(&engine.states(), &a) != [5] {
        assert!(begun.elapsed().as_secs() < 30);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(engine.prepare_for(vec![b]), Err(EngineError::Forgotten(..))));
}

/// The source's hold was taken for the push's, and its release ended both.
#[test]
fn a_hold_that_was_pushed_under_the_tenants_former_name_outlives_the_sources() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|tenant| world.issuer(tenant, "index.txt", &[]));
    let held = index("index.txt", &[1, 2]).replace("250101000000Z", "250101000000Z,certificateHold");
    fs::write(world.ca.path("index.txt"), held).unwrap();
    let engine = world.engine(&[&a]);
    for serial in [1, 3] {
        assert!(matches!(push(&engine, serial, HOLD), Ok(Ok(Outcome::Done))));
    }
    engine.save().unwrap();
    drop(engine);
    let open = || Engine::open_for(world.state.path(), vec![b.clone()]).unwrap();
    let refused = open().read_all(|_, _, _| ()).unwrap_err();
    assert!(matches!(&refused, EngineError::Forgotten(_, forgotten) if forgotten.count == 2), "{refused}");
    let mut engine = open();
    engine.accept(Accepted { carry_over: true, ..Accepted::default() });
    engine.sync(|_, _, _| ()).unwrap();
    let origins = [1, 2, 3].map(|serial: u8| {
        let states = engine.states();
        let found = states.get(&b.id).unwrap().records.get(&Serial::from_magnitude(&[serial]).unwrap()).unwrap();
        assert!(found.status != Status::Good, "{serial}");
        found.origin
    });
    let by_push = Origin::PUSHED.with(Origin::PUSH_RESTRICTS);
    assert_eq!(origins, [by_push, Origin::SOURCE, by_push.with(Origin::SOURCE_ALLOWS)]);
    fs::write(world.ca.path("index.txt"), index("index.txt", &[])).unwrap();
    drop(engine);
    let mut engine = open();
    engine.read_all(|_, _, _| ()).unwrap();
    assert_eq!(revoked(&engine.states(), &b), [1, 3]);
}

/// The stamps in the book were still those of the first index, and said that everything in it was there.
#[test]
fn an_index_that_comes_back_after_another_one_was_read_is_read() {
    let world = World::new();
    let [a, other] = ["a.txt", "other.txt"].map(|file| world.issuer("a", file, &[]));
    let held = index("a.txt", &[1, 2]).replace("250101000000Z", "250101000000Z,certificateHold");
    let settle = || std::thread::sleep(2 * limits::SETTLED_AFTER);
    fs::write(world.ca.path("a.txt"), &held).unwrap();
    settle();
    // Its own stamps are never noted: as its clock says, it is still to be written.
    let later = std::time::SystemTime::now() + Duration::from_secs(1000);
    fs::File::options().append(true).open(world.ca.path("other.txt")).unwrap().set_modified(later).unwrap();
    for reload in [false, true] {
        assert_eq!(revoked(&world.engine(&[&a]).states(), &a), [1, 2]);
        let mut engine = world.engine(&[if reload { &a } else { &other }]);
        if reload {
            let prepared = prepare(&mut engine, &[&other]);
            engine.adopt(prepared).unwrap();
            let begun = Instant::now();
            while !revoked(&engine.states(), &other).is_empty() {
                assert!(begun.elapsed().as_secs() < 30, "the holds are released by the other index");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert_eq!(revoked(&engine.states(), &other), [0; 0]);
        drop(engine);
        assert_eq!(revoked(&world.engine(&[&a]).states(), &a), [1, 2], "reload: {reload}");
        settle();
    }
}
