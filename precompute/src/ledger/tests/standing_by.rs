//! A ledger whose process stands by.

use super::*;

#[test]
fn who_stands_by_takes_nothing_from_sources_and_pushes_and_again_once_it_leads() {
    let world = World::new();
    let ledgers = Ledgers::default();
    ledgers.set(vec![world.ledger.clone()]);
    world.ledger.take(&difference(vec![said(1, Some(GOOD))]));
    ledgers.stand_by();
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

#[test]
fn what_a_feed_begins_with_is_owed_to_nobody_and_what_comes_after_it_is() {
    let world = World::new();
    let ledgers = Ledgers::default();
    ledgers.set(vec![world.ledger.clone()]);
    world.ledger.owe(true);
    let place = crate::book::Place { epoch: 1, sequence: 1, chain: [1; 32] };
    ledgers.told(crate::book::Move { from: None, to: Some(place) }, &[]).unwrap();
    ledgers.begin();
    world.ledger.take(&difference(vec![said(1, Some(GOOD)), said(2, Some(LOST))]));
    ledgers.save().unwrap();
    assert_eq!(ledgers.owed(10).unwrap(), [], "whoever comes takes it as a whole");
    assert_eq!(ledgers.place().unwrap(), Some(place), "and at this place");
    let reader = ledgers.begun().unwrap();
    // At any moment from then on.
    world.ledger.take(&difference(vec![said(1, Some(LOST)), said(2, Some(LOST))]));
    world.ledger.push(&[push(3, ADD)], None, NOW).unwrap();
    ledgers.save().unwrap();
    let owed: Vec<_> = ledgers.owed(10).unwrap().iter().map(|row| row.change.serial).collect();
    assert_eq!(owed, [3, 1].map(serial), "the push first");
    let mut taken = Vec::new();
    assert!(
        reader
            .each_told(&id(), |change| {
                taken.push((change.serial, change.record.map(|record| record.status)));
                true
            })
            .unwrap()
    );
    assert_eq!(taken, [(serial(1), Some(GOOD)), (serial(2), Some(LOST))]);
    // Who stands by no longer begins anything.
    ledgers.begin();
    ledgers.stand_by();
    assert!(!ledgers.begins());
}
