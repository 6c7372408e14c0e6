use std::sync::Arc;

use super::*;
use crate::{
    answers::{Entry, Stored},
    book::{Book, Move},
    feed::body::AnswerSection,
    issuer_id::IssuerId,
    ledger::{Difference, Saver, SharedBook},
    pki::{Record, Status, UnixTime},
    records::{Change, StateWord},
};

#[test]
fn an_answer_waits_until_its_record_has_been_told_but_not_for_ever() {
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
        let said = vec![Change::new(serial(number), good)];
        ledger.take(&Difference { said, ..Difference::default() });
    };
    let tell = || {
        let (from, rows) = (ledgers.place().unwrap(), ledgers.owed(10).unwrap());
        let sequence = from.map_or(1, |place| place.sequence + 1);
        let to = Some(crate::book::Place { epoch: 1, sequence, chain: [1; 32] });
        ledgers.told(Move { from, to }, &rows).unwrap();
    };
    let held = |numbers: &[u8]| {
        let mut entries = Vec::new();
        for number in numbers {
            let [this_update, refresh_at, next_update] = [1, 2, 3].map(UnixTime);
            let entry = Entry { state: StateWord::from_word(1), this_update, refresh_at, next_update };
            Stored { serial: serial(*number), entry, packed: vec![7; 64] }.write(&mut entries);
        }
        let section = AnswerSection { issuer, form: [1; 32], packed_length: 64, entries };
        Held::new(Body::Answers(vec![section]), Duration::ZERO)
    };
    let now = Duration::from_secs(1);
    take(1);
    let mut first = held(&[1]);
    assert!(!first.may_be_told(&ledgers, now), "it is not saved");
    ledger.save().unwrap();
    assert!(!first.may_be_told(&ledgers, now), "it is owed");
    tell();
    assert!(first.may_be_told(&ledgers, now));
    // Others that are owed are waited for only by their own answers.
    take(2);
    assert!(held(&[1]).may_be_told(&ledgers, now) && !held(&[1, 2]).may_be_told(&ledgers, now));
    assert!(held(&[2]).may_be_told(&ledgers, limits::ANSWERS_HELD_MAX + now));
    ledger.save().unwrap();
    tell();
    assert!(held(&[1, 2]).may_be_told(&ledgers, now));
}
