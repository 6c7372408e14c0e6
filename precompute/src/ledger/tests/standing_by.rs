//! A ledger whose process stands by.

use super::*;

#[test]
fn who_stands_by_takes_nothing_from_sources_and_pushes_and_again_once_it_leads() {
    let world = World::new();
    let ledgers = Ledgers::default();
    ledgers.set(vec![world.ledger.clone()]);
    world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
    ledgers.stand_by();
    assert!(!ledgers.leads());
    // What was read before, and what is pushed now.
    world.ledger.take(&difference(vec![said(1, Some(LOST)), said(2, Some(GOOD))]));
    world.ledger.note_verified(NOW);
    world.ledger.note_stamps(vec![1]);
    let pushed = world.ledger.push(&[push(1, revoke(Reason::KeyCompromise))], None, NOW);
    assert!(matches!(pushed, Err(PushError::StandsBy)), "{pushed:?}");
    assert_eq!(world.ledger.look_up(&serial(1)).map(|found| found.status), Some(GOOD));
    assert_eq!(world.ledger.look_up(&serial(2)).map(|found| found.status), None);
    world.ledger.save().unwrap();
    let held = world.book.read(|reader| reader.load(&id(), |_, _, _| ())).unwrap();
    assert_eq!((held.verified, held.stamps), (None, None));
    ledgers.lead();
    world.ledger.take(&difference(vec![said(2, Some(GOOD))]));
    world.ledger.push(&[push(1, revoke(Reason::KeyCompromise))], None, NOW).unwrap();
    assert_eq!(world.ledger.look_up(&serial(1)).map(|found| found.status), Some(LOST));
    assert_eq!(world.ledger.look_up(&serial(2)).map(|found| found.status), Some(GOOD));
}

#[test]
fn standing_by_waits_for_a_push_that_is_under_way() {
    let world = World::new();
    let ledgers = Ledgers::default();
    ledgers.set(vec![world.ledger.clone()]);
    world.ledger.push(&[push(1, ADD)], None, NOW).unwrap();
    let (stood_by, seen) = (ledgers.clone(), std::sync::mpsc::channel());
    let tell = seen.0;
    let committed = move || {
        thread::spawn(move || {
            stood_by.stand_by();
            let _ = tell.send(());
        });
        // It waits for this push, which is on disk and does not show yet.
        assert!(seen.1.recv_timeout(std::time::Duration::from_millis(200)).is_err());
    };
    world.ledger.plan(Some((Step::Committed, Box::new(committed))));
    world.ledger.push(&[push(1, revoke(Reason::KeyCompromise))], None, NOW).unwrap();
    assert_eq!(world.ledger.look_up(&serial(1)).map(|found| found.status), Some(LOST));
}
