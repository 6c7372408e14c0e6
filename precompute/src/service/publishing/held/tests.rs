use std::sync::Arc;

use super::*;
use crate::{
    answers::{Entry, Stored},
    book::{Book, Move},
    feed::body::AnswerSection,
    issuer_id::IssuerId,
    ledger::{Difference, Saver, SharedBook},
    pki::{Record, Status, UnixTime},
    records::{StateWord, Stated},
};

#[test]
fn an_answer_waits_until_its_record_has_been_told_and_who_could_not_wait_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(SharedBook::new(Book::open(dir.path()).unwrap()));
    let opened = Ledger::open(&IssuerId::new("tenant", [7; 32]), "ca", &book, &Saver::start().unwrap()).unwrap();
    let ledger = opened.ledger;
    ledger.serve("ca");
    ledger.owe(true);
    let ledgers = Ledgers::default();
    ledgers.set(vec![ledger.clone()]);
    let issuer = Issuer::from(ledger.id());
    let serial = |number: u8| Serial::from_magnitude(&[number]).unwrap();
    let good = Some(Record { status: Status::Good, not_after: None });
    let take = |number| {
        let said = vec![Stated::new(serial(number), good)];
        ledger.take(&Difference { said, ..Difference::default() });
    };
    let tell = || {
        let (from, rows) = (ledgers.place().unwrap(), ledgers.owed(10).unwrap());
        let sequence = from.map_or(1, |place| place.sequence + 1);
        let to = Some(crate::book::Place { epoch: 1, sequence, chain: [1; 32] });
        ledgers.told(Move { from, to }, &rows).unwrap();
    };
    // Each was signed at the time of its number.
    let held = |numbers: &[u8]| {
        let mut entries = Vec::new();
        for number in numbers {
            let [this_update, refresh_at, next_update] = [0, 1, 2].map(|later| UnixTime(u64::from(*number) + later));
            let entry = Entry { state: StateWord::from_word(1), this_update, refresh_at, next_update };
            Stored { serial: serial(*number), entry, packed: vec![7; 64] }.write(&mut entries);
        }
        let section = AnswerSection { issuer, form: [1; 32], packed_length: 64, entries };
        Held::new(Body::Answers(vec![section]), Duration::ZERO)
    };
    let now = Duration::from_secs(1);
    take(1);
    let mut first = held(&[1]);
    assert_eq!(first.turn(&ledgers, now), Turn::Waits, "it is not saved");
    ledger.save().unwrap();
    assert_eq!(first.turn(&ledgers, now), Turn::Waits, "it is owed");
    tell();
    assert_eq!(first.turn(&ledgers, now), Turn::Comes);
    // Others that are owed are waited for only by their own answers.
    take(2);
    assert_eq!([&[1][..], &[1, 2]].map(|some| held(some).turn(&ledgers, now)), [Turn::Comes, Turn::Waits]);

    // What has waited for long is told all the same, and whoever lacks the record drops it. It came again only when it
    // was signed anew, days later.
    let late = limits::ANSWERS_HELD_MAX + now;
    take(4);
    take(3);
    let mut too_soon = TooSoon::default();
    assert_eq!((held(&[1]).turn(&ledgers, late), too_soon.take(&ledgers)), (Turn::Comes, None));
    for some in [&[4][..], &[1, 4, 3]] {
        let mut held = held(some);
        assert_eq!(held.turn(&ledgers, now), Turn::Waits);
        let Turn::ComesTooSoon(first) = held.turn(&ledgers, late) else { panic!("{some:?}") };
        too_soon.note(first);
    }
    assert_eq!(too_soon.take(&ledgers), None, "it would come too soon again");
    ledger.save().unwrap();
    assert_eq!(too_soon.take(&ledgers), None, "they are owed");
    tell();
    assert_eq!(too_soon.take(&ledgers), Some(UnixTime(3)), "the first of those whose record had not been told");
    assert_eq!(too_soon.take(&ledgers), None, "once");
    assert_eq!([now, late].map(|now| held(&[1, 2, 3, 4]).turn(&ledgers, now)), [Turn::Comes; 2]);
}
