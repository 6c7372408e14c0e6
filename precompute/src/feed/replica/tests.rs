use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    feed::{Chain, Position, Refusal},
    ledger::Changed,
    pki::{Reason, Record, Status, UnixTime},
    records::Origin,
    source::CrlMarks,
};

fn id(tenant: &str) -> IssuerId {
    IssuerId::new(tenant, [7; 32])
}

fn issuer(tenant: &str) -> Issuer {
    Issuer::from(&id(tenant))
}

fn serial(number: u8) -> Serial {
    Serial::from_magnitude(&[number + 1]).unwrap()
}

fn place(sequence: u64) -> Place {
    Place { position: Position { epoch: 5, sequence }, chain: Chain([sequence as u8; 32]) }
}

const GOOD: Option<Status> = Some(Status::Good);
const HELD: Option<Status> = Some(Status::Revoked { time: UnixTime(5), reason: Reason::CertificateHold });
const LOST: Option<Status> = Some(Status::Revoked { time: UnixTime(6), reason: Reason::KeyCompromise });

fn said(number: u8, status: Option<Status>) -> Change {
    Change::new(serial(number), status.map(|status| Record { status, not_after: None }))
}

fn section(tenant: &str, changes: Vec<Change>) -> Vec<Section> {
    vec![Section::new(issuer(tenant), changes)]
}

fn status(replica: &Replica, tenant: &str, number: u8) -> Option<Status> {
    replica.states().get(&id(tenant)).unwrap().records.get(&serial(number)).map(|found| found.status)
}

/// Compares it with a snapshot of these records; `Err` as if a chunk could not be read after them.
fn reconcile(replica: &mut Replica, at: u64, all: &[(Issuer, Change)], end: Result<(), Refusal>) -> Result<(), Fault> {
    reconcile_with(replica, at, &["a", "b"].map(issuer), all, end)
}

/// The same with a snapshot that has these issuers.
fn reconcile_with(
    replica: &mut Replica,
    at: u64,
    issuers: &[Issuer],
    all: &[(Issuer, Change)],
    end: Result<(), Refusal>,
) -> Result<(), Fault> {
    replica.reconcile(place(at), &mut |each| {
        issuers.iter().for_each(|issuer| each(Walked::Coming(*issuer, 0)));
        all.iter().for_each(|(issuer, change)| each(Walked::Records(*issuer, std::slice::from_ref(change))));
        end.clone()
    })
}

/// A replica whose writer had lost an issuer from its configuration took that issuer's holds for unlisted when it compared
/// everything, and where unlisted means good it called them good.
#[test]
fn of_an_issuer_that_a_snapshot_does_not_have_everything_stays_as_it_was() {
    let mut replica = Replica::new([id("a"), id("b")]);
    let known = [section("a", vec![said(1, GOOD), said(2, HELD)]), section("b", vec![said(1, GOOD), said(2, HELD)])];
    replica.apply(place(1), &known.concat()).unwrap();
    let later = [(issuer("a"), said(1, HELD))];
    reconcile_with(&mut replica, 2, &[issuer("a")], &later, Ok(())).unwrap();
    assert_eq!([1, 2].map(|number| status(&replica, "a", number)), [HELD, None]);
    assert_eq!([1, 2].map(|number| status(&replica, "b", number)), [GOOD, HELD]);
    // An entry behind the snapshot may speak of it all the same.
    reconcile_with(&mut replica, 3, &[issuer("a")], &[(issuer("b"), said(1, LOST))], Ok(())).unwrap();
    assert_eq!([1, 2].map(|number| status(&replica, "b", number)), [LOST, HELD]);
    reconcile_with(&mut replica, 4, &[issuer("b")], &[], Ok(())).unwrap();
    assert_eq!(
        [1, 2].map(|number| status(&replica, "b", number)),
        [LOST, None],
        "with the issuer, but without records"
    );
}

fn condition(tenant: &str) -> IssuerStatus {
    IssuerStatus {
        id: id(tenant),
        verified: Some(UnixTime(1000)),
        crl_next_update: None,
        is_crl_alone: false,
        crl_marks: CrlMarks::default(),
    }
}

#[test]
fn what_an_entry_says_shows_with_its_origin_and_is_told() {
    let mut replica = Replica::new([id("a"), id("b")]);
    let state = replica.states().get(&id("a")).unwrap().clone();
    let heard = state.changes.subscribe(Arc::new(|| ()));
    let pushed = said(2, LOST).by(Origin::UNLISTED.with(Origin::PUSHED));
    replica.apply(place(1), &section("a", vec![said(1, GOOD), pushed])).unwrap();
    assert_eq!([1, 2].map(|number| status(&replica, "a", number)), [GOOD, LOST]);
    assert_eq!(state.records.get(&serial(2)).unwrap().origin, pushed.origin);
    assert_eq!(status(&replica, "b", 1), None);
    assert_eq!(heard.take(), Changed::These(vec![serial(1), serial(2)]));
    replica.apply(place(2), &section("a", vec![said(1, HELD), pushed])).unwrap();
    assert_eq!(heard.take(), Changed::These(vec![serial(1)]), "what is said again is no change");
    replica.apply(place(3), &section("a", vec![said(1, None)])).unwrap();
    assert_eq!((status(&replica, "a", 1), replica.place()), (None, Some(place(3))));
}

#[test]
fn a_final_revocation_stays_and_there_is_no_digest_until_the_feed_says_the_same() {
    let mut replica = Replica::new([id("a")]);
    replica.apply(place(1), &section("a", vec![said(1, LOST), said(2, GOOD)])).unwrap();
    let digest = replica.digest(issuer("a"));
    assert!(digest.is_some());
    for (number, other) in [GOOD, HELD, None].into_iter().enumerate() {
        replica.apply(place(2 + number as u64), &section("a", vec![said(1, other)])).unwrap();
        assert_eq!(status(&replica, "a", 1), LOST);
        assert_eq!((replica.digest(issuer("a")), replica.contradictions()), (None, 1));
    }
    replica.apply(place(9), &section("a", vec![said(1, LOST)])).unwrap();
    assert_eq!((replica.digest(issuer("a")), replica.contradictions()), (digest, 0));
}

#[test]
fn an_issuer_is_known_once_the_feed_has_told_its_condition() {
    let mut replica = Replica::new([id("a"), id("b")]);
    let condition = |tenant| IssuerStatus {
        id: id(tenant),
        verified: Some(UnixTime(1000)),
        crl_next_update: Some(UnixTime(900)),
        is_crl_alone: true,
        crl_marks: CrlMarks::default(),
    };
    replica.note_status(&condition("a"));
    replica.note_status(&condition("elsewhere"));
    let health = |tenant| replica.states().get(&id(tenant)).unwrap().health.clone();
    assert_eq!(["a", "b"].map(|tenant| health(tenant).is_known()), [true, false]);
    assert_eq!(health("a").report().known_until(), UnixTime(900), "when its CRL went out of date");
    assert_eq!(replica.strangers().collect::<Vec<_>>(), [issuer("elsewhere")]);
}

#[test]
fn an_issuer_that_is_added_is_not_known_before_everything_was_compared() {
    let mut replica = Replica::new([id("a"), id("gone")]);
    replica.apply(place(1), &section("b", vec![said(1, GOOD)])).unwrap();
    let kept = replica.states().get(&id("a")).unwrap().records.clone();
    let wanted = HashSet::from([issuer("a"), issuer("b")]);
    replica.change(&wanted, vec![IssuerState::new(id("b"))]);
    assert!(replica.lacks_issuers() && replica.strangers().next().is_none());
    assert!(replica.states().get(&id("gone")).is_err());
    assert!(Arc::ptr_eq(&kept, &replica.states().get(&id("a")).unwrap().records));
    replica.note_status(&condition("b"));
    replica.apply(place(2), &section("b", vec![said(2, LOST)])).unwrap();
    let is_known = |replica: &Replica| replica.states().get(&id("b")).unwrap().health.is_known();
    assert!(!is_known(&replica), "what was told of it before is missing");
    assert_eq!((status(&replica, "b", 2), replica.digest(issuer("b"))), (LOST, None));
    reconcile(&mut replica, 3, &[(issuer("b"), said(1, GOOD)), (issuer("b"), said(2, LOST))], Ok(())).unwrap();
    replica.note_status(&condition("b"));
    assert!(is_known(&replica) && !replica.lacks_issuers() && replica.digest(issuer("b")).is_some());
    assert_eq!([1, 2].map(|number| status(&replica, "b", number)), [GOOD, LOST]);
}

#[test]
fn of_an_issuer_that_a_snapshot_does_not_have_nothing_is_known_by_its_condition_before_all_of_it_is_here() {
    let mut replica = Replica::new([id("a"), id("b")]);
    let is_known = |replica: &Replica| replica.states().get(&id("b")).unwrap().health.is_known();
    // The writer does not have it, and then it does, and tells what is new of it: that is not all.
    reconcile_with(&mut replica, 1, &[issuer("a")], &[], Ok(())).unwrap();
    replica.apply(place(2), &section("b", vec![said(4, LOST)])).unwrap();
    replica.note_status(&condition("b"));
    assert!(!is_known(&replica) && replica.wants_another_snapshot() && replica.digest(issuer("b")).is_none());
    let all = [(1, GOOD), (2, LOST), (3, HELD), (4, LOST)].map(|(number, status)| (issuer("b"), said(number, status)));
    reconcile(&mut replica, 3, &all, Ok(())).unwrap();
    replica.note_status(&condition("b"));
    assert!(is_known(&replica) && !replica.wants_another_snapshot() && replica.digest(issuer("b")).is_some());
    // One that is spoken of and not named yet is still being told, and what was known of it is.
    reconcile_with(&mut replica, 4, &[issuer("a")], &all, Ok(())).unwrap();
    assert!(is_known(&replica) && !replica.wants_another_snapshot());
}

#[test]
fn an_issuer_that_is_told_from_its_beginning_is_known_once_its_records_amount_to_what_the_writer_has() {
    let mut replica = Replica::new([id("a"), id("b")]);
    reconcile_with(&mut replica, 1, &[issuer("a")], &[], Ok(())).unwrap();
    let is_known = |replica: &Replica| replica.states().get(&id("b")).unwrap().health.is_known();
    replica.apply(place(2), &section("b", vec![said(1, GOOD), said(2, LOST)])).unwrap();
    replica.note_status(&condition("b"));
    assert!(!is_known(&replica));
    let mut writer = Replica::new([id("b")]);
    let whole = vec![said(1, GOOD), said(2, LOST), said(3, LOST)];
    writer.apply(place(2), &section("b", whole)).unwrap();
    let digest = |writer: &Replica| [(issuer("b"), writer.digest(issuer("b")).unwrap())];
    replica.agree(&digest(&writer));
    assert!(!is_known(&replica) && replica.wants_another_snapshot(), "something is missing");
    replica.apply(place(3), &section("b", vec![said(3, LOST)])).unwrap();
    replica.agree(&digest(&writer));
    assert!(is_known(&replica) && !replica.wants_another_snapshot());
    assert_eq!(replica.digest(issuer("b")), writer.digest(issuer("b")));
}

#[test]
fn issuers_that_are_not_configured_are_passed_over_and_named_up_to_a_bound() {
    let mut replica = Replica::new([id("a")]);
    let both = [section("elsewhere", vec![said(1, GOOD)]), section("a", vec![said(1, GOOD)])].concat();
    replica.apply(place(1), &both).unwrap();
    assert_eq!((status(&replica, "a", 1), replica.place()), (GOOD, Some(place(1))));
    assert_eq!(replica.strangers().collect::<Vec<_>>(), [issuer("elsewhere")]);
    assert_eq!(replica.digest(issuer("elsewhere")), None);
    let many: Vec<_> =
        (0..2 * limits::STRANGERS_MAX).map(|number| (issuer(&number.to_string()), said(1, GOOD))).collect();
    reconcile(&mut replica, 2, &many, Ok(())).unwrap();
    assert_eq!(replica.strangers().count(), limits::STRANGERS_MAX);
}

#[test]
fn a_snapshot_that_cannot_be_read_to_its_end_leaves_what_it_had_and_no_place() {
    let mut replica = Replica::new([id("a")]);
    replica.apply(place(1), &section("a", vec![said(1, GOOD), said(2, LOST)])).unwrap();
    let fault = reconcile(&mut replica, 7, &[(issuer("a"), said(1, LOST))], Err(Refusal::Forged)).unwrap_err();
    assert!(fault.0.contains("snapshot"), "{fault:?}");
    assert_eq!(replica.place(), None);
    assert_eq!(
        [1, 2].map(|number| status(&replica, "a", number)),
        [LOST, LOST],
        "nothing is removed, and what was verified counts"
    );
    let heard = replica.states().get(&id("a")).unwrap().changes.subscribe(Arc::new(|| ()));
    reconcile(&mut replica, 8, &[(issuer("a"), said(1, LOST)), (issuer("a"), said(3, GOOD))], Ok(())).unwrap();
    assert_eq!(heard.take(), Changed::Many, "whoever signs ahead looks at everything");
    assert_eq!([1, 2, 3].map(|number| status(&replica, "a", number)), [LOST, LOST, GOOD]);
    assert_eq!((replica.place(), replica.contradictions()), (Some(place(8)), 1));
}

fn hash(replica: &Replica, number: u8) -> Option<CertificateHash> {
    replica.states().get(&id("a")).unwrap().details.hash(&serial(number))
}

/// A replica that signs needs them, and neither its digest nor what shows is another one with them.
#[test]
fn hashes_come_with_entries_and_snapshots_and_leave_digests_as_they_are() {
    let [mut replica, mut bare] = [(); 2].map(|()| Replica::new([id("a"), id("b")]));
    let said_all = vec![said(1, GOOD), said(2, GOOD)];
    let hashed = Section { hashes: vec![[7; 32], [0; 32]], ..section("a", said_all.clone()).remove(0) };
    replica.apply(place(1), &[hashed]).unwrap();
    bare.apply(place(1), &section("a", said_all)).unwrap();
    assert_eq!([1, 2].map(|number| hash(&replica, number)), [Some([7; 32]), None]);
    assert!(replica.digest(issuer("a")).is_some());
    assert_eq!(replica.digest(issuer("a")), bare.digest(issuer("a")));
    // For a restart it says them with what shows.
    let later = [((issuer("a"), serial(1)), said(1, GOOD))].into();
    assert_eq!(replica.shown(&later)[0].hashes, [[7; 32]]);
    assert_eq!(bare.shown(&later)[0].hashes, [[0; 32]; 0]);
    replica
        .reconcile(place(2), &mut |each| {
            each(Walked::Coming(issuer("a"), 2));
            each(Walked::Records(issuer("a"), &[said(1, GOOD), said(2, GOOD)]));
            each(Walked::Hashes(issuer("a"), &[(serial(2), [8; 32])]));
            each(Walked::Hashes(Issuer([9; 32]), &[(serial(1), [9; 32])]));
            Ok(())
        })
        .unwrap();
    assert_eq!([1, 2].map(|number| hash(&replica, number)), [Some([7; 32]), Some([8; 32])]);
    assert_eq!(replica.digest(issuer("a")), bare.digest(issuer("a")));
}

fn some_change() -> impl Strategy<Value = (bool, Change)> {
    (any::<bool>(), 0u8..12, 0usize..4)
        .prop_map(|(first, number, kind)| (first, said(number, [None, GOOD, HELD, LOST][kind])))
}

proptest! {
    #[test]
    fn entries_and_snapshots_in_any_order_come_to_what_the_rule_says(
        steps in vec((any::<bool>(), vec(some_change(), 0..20)), 1..8),
    ) {
        let names = |first: bool| if first { "a" } else { "b" };
        let mut replica = Replica::new([id("a"), id("b")]);
        let mut model = BTreeMap::<(bool, Serial), Change>::new();
        let mut feed = BTreeMap::<(bool, Serial), Change>::new();
        let say = |model: &mut BTreeMap<_, _>, key: (bool, Serial), said: &Change| {
            let present = model.get(&key).copied().unwrap_or(Change::new(key.1, None));
            if let Verdict::Becomes(next) = by_feed(&present, said) {
                model.insert(key, next);
            }
        };
        for (at, (is_snapshot, changes)) in steps.into_iter().enumerate() {
            if is_snapshot {
                feed = changes.iter().map(|(first, change)| ((*first, change.serial), *change)).collect();
                let listed: Vec<_> = feed.iter().filter(|(_, change)| change.record.is_some()).collect();
                let all: Vec<_> = listed.iter().map(|((first, _), change)| (issuer(names(*first)), **change)).collect();
                reconcile(&mut replica, at as u64, &all, Ok(())).unwrap();
                let keys: Vec<_> = model.keys().copied().chain(feed.keys().copied()).collect();
                for key in keys {
                    let said = feed.get(&key).copied().unwrap_or(Change::new(key.1, None));
                    say(&mut model, key, &said);
                }
            } else {
                for (first, change) in changes {
                    replica.apply(place(at as u64), &section(names(first), vec![change])).unwrap();
                    feed.insert((first, change.serial), change);
                    say(&mut model, (first, change.serial), &change);
                }
            }
            for first in [true, false] {
                let state = replica.states().get(&id(names(first))).unwrap().clone();
                for number in 0..12 {
                    let expected = model.get(&(first, serial(number))).and_then(|change| change.record);
                    let found = state.records.get(&serial(number));
                    prop_assert_eq!(found.map(|found| found.status), expected.map(|record| record.status));
                }
                // The digest is that of the feed, or there is none.
                let told = feed.iter().filter(|((of, _), change)| *of == first && change.record.is_some());
                let told = Records::of(told.map(|(_, change)| *change)).digest();
                let digest = replica.digest(issuer(names(first)));
                prop_assert!(digest.is_none_or(|digest| digest == told), "{digest:?} {told:?}");
                let agrees = model.iter().filter(|((of, _), _)| *of == first).all(|(key, change)| {
                    feed.get(key).copied().unwrap_or(Change::new(key.1, None)).record == change.record
                });
                prop_assert_eq!(digest.is_some(), agrees);
            }
        }
    }
}
