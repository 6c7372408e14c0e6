use std::sync::Arc;

use super::*;
use crate::{
    feed::{Chain, Position, store::Walked},
    issuer_id::IssuerId,
    pki::{Reason, Record, Serial, Status},
    records::Change,
};

fn at(sequence: u64) -> Place {
    Place { position: Position { epoch: 5, sequence }, chain: Chain([sequence as u8; 32]) }
}

/// Everything is compared, and what the snapshot says begins to show. Whoever was killed before the journal was begun anew
/// served the older snapshot with the older journal when it was started while Redis was away: it took back what had shown.
#[test]
fn while_records_are_compared_there_is_no_journal_of_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(dir.path(), Cluster::new("a").unwrap(), Arc::new(Trusted::default())).unwrap();
    let id = IssuerId::new("a", [1; 32]);
    let issuer = Issuer::from(&id);
    let status = Status::Revoked { time: UnixTime(6), reason: Reason::KeyCompromise };
    let lost = |number: u8| {
        let record = Some(Record { status, not_after: None });
        Change::new(Serial::from_magnitude(&[number]).unwrap(), record)
    };
    let mut replica = Replica::new([id]);
    let (mut journal, other) = (Journal::of(&directory), Journal::of(&directory));
    journal.begin(at(1).position, at(1), &[]);
    let (names, mut told, now) = (HashMap::new(), Told::default(), Duration::ZERO);
    let (names, told) = (&names, &mut told);
    let journal = Some(&mut journal);
    let mut watched = Watched { replica: &mut replica, job: None, journal, tap: None, names, told, now };
    watched.apply(at(2), &[Section::new(issuer, vec![lost(1)])]).unwrap();
    assert_eq!(other.read(at(1).position).map(|journaled| journaled.sections.len()), Some(1));
    let mut walk = |each: &mut dyn FnMut(Walked<'_>)| {
        each(Walked::Records(issuer, &[lost(1), lost(2)]));
        assert_eq!(other.read(at(1).position), None, "one shows already");
        Ok(())
    };
    watched.reconcile(at(9), &mut walk).unwrap();
}
