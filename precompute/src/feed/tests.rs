//! Values for the tests of the feed.

mod entries;
mod flooded;
mod machines;
mod snapshots;

use proptest::{collection::vec, prelude::*};

use super::{
    Body, Chain, Cluster, Entry, Issuer, Position, Trusted, WriterKey,
    body::{AnswerSection, Begin, Heartbeat, IssuerStatus, Section, SnapshotTold},
};
use crate::{
    answers::{Entry as AnswerEntry, Stored},
    issuer_id::IssuerId,
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Change, Digest, Origin, StateWord},
    source::{CrlMark, CrlMarks, CrlNumber, CrlScope, ScopeMarks},
    state_dir::ServerId,
};

fn cluster() -> Cluster {
    Cluster::new("example").unwrap()
}

fn key() -> WriterKey {
    WriterKey::from_seed(&[7; 32])
}

fn trusted() -> Trusted {
    Trusted::of(&[key().public()]).unwrap()
}

fn any_status() -> impl Strategy<Value = Status> {
    let revoked = (any::<u32>(), proptest::sample::select(&Reason::ALL[..]))
        .prop_map(|(time, reason)| Status::Revoked { time: UnixTime(time.into()), reason });
    prop_oneof![Just(Status::Good), revoked]
}

fn any_serial() -> impl Strategy<Value = Serial> {
    vec(any::<u8>(), 1..=20).prop_filter_map("not 0", |bytes| Serial::from_magnitude(&bytes))
}

fn any_change() -> impl Strategy<Value = Change> {
    let record = (any_status(), any::<u32>(), 0..16u8).prop_map(|(status, end, origin)| {
        let not_after = Some(UnixTime(end.into())).filter(|end| end.0 != 0);
        (Some(Record { status, not_after }), Origin::from_bits(origin))
    });
    let record = prop_oneof![4 => record, 1 => Just((None, Origin::SOURCE))];
    (any_serial(), record).prop_map(|(serial, (record, origin))| Change::new(serial, record).by(origin))
}

fn any_issuer() -> impl Strategy<Value = Issuer> {
    any::<[u8; 32]>().prop_map(Issuer)
}

fn any_sections() -> impl Strategy<Value = Vec<Section>> {
    let section = (any_issuer(), vec(any_change(), 0..5), any::<(bool, [u8; 32])>());
    let section = section.prop_map(|(issuer, changes, (is_hashed, hash))| {
        // Zeros where none is told.
        let hashes =
            (0..changes.len()).filter(|_| is_hashed).map(|number| if number % 3 == 1 { [0; 32] } else { hash });
        Section { issuer, hashes: hashes.collect(), changes }
    });
    vec(section, 0..4)
}

fn any_answers() -> impl Strategy<Value = AnswerSection> {
    let answer = |packed: usize| {
        (any_serial(), any_status(), any::<[u32; 2]>(), vec(any::<u8>(), packed)).prop_map(
            |(serial, status, [one, other], packed)| {
                let (this_update, next_update) = (UnixTime(one.min(other).into()), UnixTime(one.max(other).into()));
                let state = StateWord::saying(Some(status));
                Stored {
                    serial,
                    entry: AnswerEntry { state, this_update, next_update, refresh_at: this_update },
                    packed,
                }
            },
        )
    };
    (any_issuer(), any::<[u8; 32]>(), 1..9usize).prop_flat_map(move |(issuer, form, words)| {
        vec(answer(words * 8), 0..5).prop_map(move |answers| {
            let mut entries = Vec::new();
            answers.iter().for_each(|answer| assert!(answer.write(&mut entries)));
            AnswerSection { issuer, form, packed_length: words * 8, entries }
        })
    })
}

fn any_issuer_status() -> impl Strategy<Value = IssuerStatus> {
    let mark = (proptest::option::of(any::<[u8; 20]>()), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(number, this_update, digest)| CrlMark {
            number: number.map(CrlNumber::from_padded),
            this_update: UnixTime(this_update),
            digest,
        },
    );
    let mark = || proptest::option::of(mark.clone());
    let time = || proptest::option::of(1..u64::MAX).prop_map(|time| time.map(UnixTime));
    let of_scope = (any::<[u8; 32]>().prop_map(CrlScope), mark(), mark());
    let of_scope = of_scope.prop_map(|(scope, complete, delta)| ScopeMarks { scope, complete, delta });
    let holds = proptest::option::of(vec(any::<[u8; 32]>().prop_map(CrlScope), 0..3));
    let marks = (vec(of_scope, 0..4), holds).prop_map(|(scopes, holds)| CrlMarks::new(scopes, holds));
    ("[a-zé ]{0,20}", any::<[u8; 32]>(), time(), time(), any::<bool>(), marks).prop_map(
        |(tenant, ca, verified, crl_next_update, is_crl_alone, crl_marks)| IssuerStatus {
            id: IssuerId::new(&tenant, ca),
            verified,
            crl_next_update,
            is_crl_alone,
            crl_marks,
        },
    )
}

fn any_position() -> impl Strategy<Value = Position> {
    any::<(u64, u64)>().prop_map(|(epoch, sequence)| Position { epoch, sequence })
}

fn any_body() -> impl Strategy<Value = Body> {
    let chain = || any::<[u8; 32]>().prop_map(Chain);
    let begin = (vec(chain(), 0..5), any_sections()).prop_map(|(continues, again)| Begin { continues, again });
    let digest = (any_issuer(), any::<[u8; 16]>().prop_map(Digest::from_bytes));
    let heartbeat = (any::<u64>(), "[a-z:/]{0,20}", vec(digest, 0..4)).prop_map(|(time, address, digests)| Heartbeat {
        time,
        address,
        digests,
    });
    let snapshot = (any_position(), chain(), any::<u64>()).prop_map(|(position, chain, octets)| SnapshotTold {
        position,
        chain,
        octets,
    });
    prop_oneof![
        Just(Body::Fence),
        begin.prop_map(Body::Begin),
        heartbeat.prop_map(Body::Heartbeat),
        any_sections().prop_map(Body::Records),
        vec(any_answers(), 0..3).prop_map(Body::Answers),
        vec(any_issuer_status(), 0..3).prop_map(Body::IssuerStatus),
        snapshot.prop_map(Body::Snapshot),
        Just(Body::Resign(None)),
        any::<[u8; 16]>().prop_map(|server| Body::Resign(Some(ServerId::from_bytes(server)))),
        (128..=255u8).prop_map(Body::Other),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (any_position(), any::<[u8; 16]>(), any::<[u8; 32]>(), any_body()).prop_map(|(position, author, prev, body)| {
        Entry { position, author: ServerId::from_bytes(author), prev: Chain(prev), body }
    })
}
