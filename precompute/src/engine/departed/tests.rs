//! Issuers that leave with what was pushed of them, and with nothing of their own, at starts and reloads.

use std::fs;

use super::*;
use crate::{
    config::Sources,
    engine::Accepted,
    ledger::{Order, Outcome, Push},
    pki::Reason,
    source::openssl::{Ca, KEYS},
};

struct World {
    cas: [Ca; 2],
    state: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { cas: [Ca::new("One", KEYS[1]), Ca::new("Two", KEYS[1])], state: tempfile::tempdir().unwrap() }
    }

    /// A CA as an issuer of this tenant; its index has certificates 1 to 3, of which 1 is revoked.
    fn issuer(&self, tenant: &str, ca: usize) -> FollowedIssuer {
        let (ca, line) =
            (&self.cas[ca], |serial: u32| format!("V\t350101000000Z\t\t{serial:04X}\tunknown\t/CN={serial}\n"));
        let revoked = "R\t350101000000Z\t250101000000Z\t0001\tunknown\t/CN=1\n";
        fs::write(ca.path("index.txt"), format!("{revoked}{}{}", line(2), line(3))).unwrap();
        FollowedIssuer::of(tenant, "ca", &ca.certificate(), Sources::of_index(ca.path("index.txt")))
    }

    fn open(&self, issuers: &[&FollowedIssuer]) -> Engine {
        Engine::open_for(self.state.path(), issuers.iter().copied().cloned().collect()).unwrap()
    }

    fn start(&self, issuers: &[&FollowedIssuer]) -> Result<Engine, EngineError> {
        let mut engine = self.open(issuers);
        engine.read_all(|_, _, _| ())?;
        Ok(engine)
    }

    fn forget(&self, issuer: &FollowedIssuer) {
        let all = departed(self.state.path(), &HashSet::new()).unwrap();
        let (departed, _) = all.iter().find(|(departed, _)| departed.issuer == issuer.id).unwrap();
        forget(self.state.path(), [departed], "uid:0").unwrap();
    }
}

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[number]).unwrap()
}

fn revoke(engine: &Engine, issuer: &FollowedIssuer, number: u8) {
    let order = Order::Revoke { time: None, reason: Reason::KeyCompromise, even_unlisted: false };
    let ledgers = engine.ledgers().all();
    let ledger = ledgers.iter().find(|ledger| *ledger.state().id().fingerprint() == *issuer.id.fingerprint()).unwrap();
    let outcome = ledger.push(&[Push::new(serial(number), order)], None, UnixTime::now()).unwrap().remove(0);
    assert!(matches!(outcome, Ok(Outcome::Done)));
}

fn is_revoked(engine: &Engine, issuer: &FollowedIssuer, number: u8) -> bool {
    engine.states().get(&issuer.id).unwrap().records.is_revoked(&serial(number))
}

#[track_caller]
fn unsaid(refused: Result<impl std::fmt::Debug, EngineError>) -> Vec<Departed> {
    match refused {
        Err(EngineError::Departed(Unsaid(unsaid))) => unsaid,
        other => panic!("{other:?}"),
    }
}

fn reload(engine: &mut Engine, issuers: &[&FollowedIssuer]) -> Result<(), EngineError> {
    let prepared = engine.prepare_for(issuers.iter().copied().cloned().collect())?;
    engine.adopt(prepared)
}

#[test]
fn who_leaves_with_something_that_no_source_says_is_asked_about_at_a_start_and_at_a_reload() {
    let world = World::new();
    let [stays, goes] = [world.issuer("a", 0), world.issuer("b", 1)];
    let mut engine = world.start(&[&stays, &goes]).unwrap();
    revoke(&engine, &goes, 2);
    let refused = unsaid(reload(&mut engine, &[&stays]));
    assert_eq!((refused[0].records, refused[0].example, refused.len()), (1, Some(serial(2)), 1));
    let told = Unsaid(refused).to_string();
    for part in ["b/ca", "tenant `b`", "1 pushed record, 02 among them", &format!("forget --config FILE {}", goes.id)] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(is_revoked(&engine, &goes, 2), "nothing has changed");
    revoke(&engine, &goes, 3);
    drop(engine);
    assert_eq!(unsaid(world.start(&[&stays]))[0].records, 2);
    let configured = HashSet::from([stays.id.clone()]);
    let found = departed(world.state.path(), &configured).unwrap();
    assert_eq!((found[0].0.records, found[0].1), (2, false));

    // It is meant, and stays so.
    world.forget(&goes);
    assert!(departed(world.state.path(), &configured).unwrap()[0].1);
    drop(world.start(&[&stays]).unwrap());
    drop(world.start(&[&stays]).unwrap());
    // Back again, it has what was pushed, and is asked about anew.
    let mut engine = world.start(&[&stays, &goes]).unwrap();
    assert!(is_revoked(&engine, &goes, 2) && is_revoked(&engine, &goes, 3));
    assert_eq!(unsaid(reload(&mut engine, &[&stays]))[0].records, 2);
    world.forget(&goes);
    reload(&mut engine, &[&stays]).unwrap();
    reload(&mut engine, &[&stays]).unwrap();
}

#[test]
fn who_leaves_with_nothing_but_what_its_sources_say_leaves_without_a_question() {
    let world = World::new();
    let [stays, goes] = [world.issuer("a", 0), world.issuer("b", 1)];
    let mut engine = world.start(&[&stays, &goes]).unwrap();
    // The CA has written it as well by now.
    revoke(&engine, &goes, 2);
    let index = world.cas[1].path("index.txt");
    let line = "R\t350101000000Z\t250101000000Z\t0002\tunknown\t/CN=2\n";
    let listed: String = fs::read_to_string(&index)
        .unwrap()
        .lines()
        .filter(|text| !text.contains("\t0002\t"))
        .map(|text| format!("{text}\n"))
        .collect();
    fs::write(&index, listed + line).unwrap();
    let begun = std::time::Instant::now();
    while !unsaid_now(&engine, &goes) {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    reload(&mut engine, &[&stays]).unwrap();
    drop(engine);
    drop(world.start(&[&stays]).unwrap());
}

/// Whether an issuer that runs could leave.
fn unsaid_now(engine: &Engine, issuer: &FollowedIssuer) -> bool {
    let running = engine.followers.iter().find(|running| running.issuer.id == issuer.id).unwrap();
    Departed::of_running(running).records == 0
}

/// It was acknowledged, and nobody was told of it: what would be left behind was looked at before it came.
#[test]
fn what_is_pushed_to_an_issuer_while_its_removal_is_prepared_is_asked_about() {
    let world = World::new();
    let [stays, goes] = [world.issuer("a", 0), world.issuer("b", 1)];
    let mut engine = world.start(&[&stays, &goes]).unwrap();
    let prepared = engine.prepare_for(vec![stays.clone()]).unwrap();
    revoke(&engine, &goes, 3);
    assert_eq!(unsaid(engine.adopt(prepared))[0].records, 1);
    revoke(&engine, &goes, 2);
    assert!(is_revoked(&engine, &goes, 3), "it is served as before");
}

#[test]
fn an_issuer_of_a_renamed_tenant_keeps_what_was_pushed_where_its_former_name_is_stated() {
    let world = World::new();
    let [before, after] = [world.issuer("before", 0), world.issuer("after", 0)];
    let stated = FollowedIssuer { formerly: Some("before".into()), ..after.clone() };
    let mut engine = world.start(&[&before]).unwrap();
    revoke(&engine, &before, 2);
    assert!(matches!(reload(&mut engine, &[&after]), Err(EngineError::Forgotten(..))));
    let other = FollowedIssuer { formerly: Some("other".into()), ..after.clone() };
    let refused = reload(&mut engine, &[&other]).unwrap_err();
    assert!(matches!(refused, EngineError::Forgotten(..)));
    for part in ["`formerly = \"other\"`, which is written there", "write `formerly = \"before\"`"] {
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    // What comes while it is prepared is not lost either.
    let prepared = engine.prepare_for(vec![stated.clone()]).unwrap();
    revoke(&engine, &before, 3);
    assert!(matches!(engine.adopt(prepared), Err(EngineError::Overtaken)));
    reload(&mut engine, &[&stated]).unwrap();
    assert!([1, 2, 3].iter().all(|number| is_revoked(&engine, &after, *number)));
    drop(engine);
    // The key may go, or stay.
    let engine = world.start(&[&after]).unwrap();
    assert!([1, 2, 3].iter().all(|number| is_revoked(&engine, &after, *number)));
    drop(engine);
    world.start(&[&stated]).unwrap();
}

/// It was *good* under the new name, for everybody who asks about that CA.
#[test]
fn what_was_let_go_of_does_not_leave_while_its_ca_is_there_under_another_name() {
    let world = World::new();
    let [stays, before, after] = [world.issuer("a", 1), world.issuer("before", 0), world.issuer("after", 0)];
    let stated = FollowedIssuer { formerly: Some("before".into()), ..after.clone() };
    let mut engine = world.start(&[&stays, &before]).unwrap();
    revoke(&engine, &before, 2);
    world.forget(&before);
    assert!(matches!(reload(&mut engine, &[&stays, &after]), Err(EngineError::Forgotten(..))));
    // It may leave with its CA, and is asked about when that comes again.
    reload(&mut engine, &[&stays]).unwrap();
    assert!(matches!(reload(&mut engine, &[&stays, &after]), Err(EngineError::Forgotten(..))));
    drop(engine);
    assert!(matches!(world.start(&[&stays, &after]), Err(EngineError::Forgotten(..))));
    let engine = world.start(&[&stays, &stated]).unwrap();
    assert!(is_revoked(&engine, &after, 2));
}

#[test]
fn one_of_two_tenants_with_a_ca_does_not_leave_without_its_pushes() {
    let world = World::new();
    let [before, after] = [world.issuer("before", 0), world.issuer("after", 0)];
    let stated = FollowedIssuer { formerly: Some("before".into()), ..after.clone() };
    let mut engine = world.start(&[&before, &after]).unwrap();
    revoke(&engine, &before, 2);
    world.forget(&before);
    let configured = HashSet::from([after.id.clone()]);
    assert_eq!(beside(world.state.path(), &configured).unwrap(), [(before.id.clone(), after.id.clone())]);
    assert!(matches!(reload(&mut engine, &[&after]), Err(EngineError::Forgotten(..))));
    drop(engine);
    assert!(matches!(world.start(&[&after]), Err(EngineError::Forgotten(..))));
    // The book alone does not know better.
    let index = world.cas[0].path("index.txt");
    let listed = fs::read(&index).unwrap();
    fs::write(&index, "no index\n").unwrap();
    assert!(matches!(world.start(&[&after]), Err(EngineError::Forgotten(..))));
    fs::write(&index, listed).unwrap();
    let mut engine = world.start(&[&before, &after]).unwrap();
    let prepared = engine.prepare_for(vec![stated.clone()]).unwrap();
    revoke(&engine, &before, 3);
    assert!(matches!(engine.adopt(prepared), Err(EngineError::Overtaken)));
    reload(&mut engine, &[&stated]).unwrap();
    assert!([2, 3].iter().all(|number| is_revoked(&engine, &after, *number)));
    drop(engine);
    world.start(&[&after]).unwrap();
}

/// Its place had been taken, and it had left for good as the book said.
#[test]
fn who_comes_back_beside_its_successor_is_asked_about_again() {
    let world = World::new();
    let [before, after] = [world.issuer("before", 0), world.issuer("after", 0)];
    drop(world.start(&[&before]).unwrap());
    drop(world.start(&[&after]).unwrap());
    let engine = world.start(&[&before, &after]).unwrap();
    revoke(&engine, &before, 2);
    drop(engine);
    assert!(matches!(world.start(&[&after]), Err(EngineError::Forgotten(..))));
}

#[test]
fn what_is_pushed_after_an_issuer_was_let_go_of_is_asked_about() {
    let world = World::new();
    let [stays, goes] = [world.issuer("a", 0), world.issuer("b", 1)];
    let mut engine = world.start(&[&stays, &goes]).unwrap();
    revoke(&engine, &goes, 2);
    world.forget(&goes);
    revoke(&engine, &goes, 3);
    assert_eq!(unsaid(reload(&mut engine, &[&stays]))[0].records, 2);
    let configured = HashSet::from([stays.id.clone()]);
    assert!(!departed(world.state.path(), &configured).unwrap()[0].1);
    world.forget(&goes);
    assert!(departed(world.state.path(), &configured).unwrap()[0].1);
    reload(&mut engine, &[&stays]).unwrap();
}

#[test]
fn a_first_reading_that_accepts_what_is_forgotten_lets_all_of_them_leave() {
    let world = World::new();
    let [stays, goes] = [world.issuer("a", 0), world.issuer("b", 1)];
    revoke(&world.start(&[&stays, &goes]).unwrap(), &goes, 2);
    let mut engine = world.open(&[&stays]);
    unsaid(engine.sync(|_, _, _| ()));
    engine.accept(Accepted { forgotten: true, ..Accepted::default() });
    engine.sync(|_, _, _| ()).unwrap();
    drop(engine);
    world.start(&[&stays]).unwrap();
}

/// `check` went on refusing what `sync --accept-forgotten` had accepted, because less had been said before.
#[test]
fn what_is_accepted_beyond_what_was_said_is_not_asked_about_again() {
    let world = World::new();
    let [stays, goes] = [world.issuer("a", 0), world.issuer("b", 1)];
    let engine = world.start(&[&stays, &goes]).unwrap();
    revoke(&engine, &goes, 2);
    world.forget(&goes);
    revoke(&engine, &goes, 3);
    drop(engine);
    assert_eq!(unsaid(world.start(&[&stays]))[0].records, 2);
    let mut engine = world.open(&[&stays]);
    engine.accept(Accepted { forgotten: true, ..Accepted::default() });
    engine.sync(|_, _, _| ()).unwrap();
    drop(engine);
    let found = departed(world.state.path(), &HashSet::from([stays.id.clone()])).unwrap();
    assert_eq!((found[0].0.records, found[0].1), (2, true));
}

#[test]
fn half_of_a_write_is_looked_at_again_and_anything_else_is_told() {
    let damage = || StateError::new("book".as_ref(), "is half of a write", "wait").damage();
    let mut looks = 0;
    let look = || {
        looks += 1;
        if looks < limits::BOOK_LOOKS_MAX { Err(damage()) } else { Ok(looks) }
    };
    assert_eq!(while_it_is_written(look).unwrap(), limits::BOOK_LOOKS_MAX);
    let mut looks = 0;
    let refused = while_it_is_written(|| {
        looks += 1;
        Err::<(), _>(StateError::new("book".as_ref(), "cannot be read", "mend it"))
    });
    assert!(refused.is_err() && looks == 1);
}
