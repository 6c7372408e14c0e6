//! What somebody who looks a certificate up is told that clients are told.

use super::*;
use crate::{
    issuer::Answered,
    ocsp::{CaRevoked, Carries, Unlisted},
    pki::{Record, Serial},
};

fn said(subject: &Subject, serial: &Serial) -> (&'static str, String) {
    let Answered { status, why } = subject.issuer.answered(serial, UnixTime::now());
    (status, why.unwrap_or_default())
}

#[test]
fn what_is_answered_is_told_where_the_record_says_something_else() {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    let world = World::new(2);
    world.set(1, revoked());
    let (good, gone, ended, nobody) = (serial(0), serial(1), serial(2), serial(3));
    let end = UnixTime::now().before(HOUR);
    world.apply(Change::new(ended, Some(Record { status: Status::Good, not_after: Some(end) })));
    let under = |policy| world.subject_with(policy, world.pool());
    let plain = under(POLICY);
    assert_eq!(said(&plain, &good), ("good", String::new()));
    assert_eq!(said(&plain, &gone), ("revoked", String::new()));
    assert_eq!(said(&plain, &ended), ("unauthorized", format!("it expired at {end}")));
    assert_eq!(said(&plain, &nobody), ("unauthorized", "`unlisted` says so".into()));
    let retaining = under(Policy { retain_expired: 2 * HOUR, ..POLICY });
    assert_eq!(said(&retaining, &ended), ("good", String::new()));
    let generous = under(Policy { unlisted: Unlisted::Good, ..POLICY });
    assert_eq!(said(&generous, &nobody), ("good", "`unlisted` says so".into()));
    let hashing = under(Policy { carries: Carries { cert_hash: true, ..Carries::NONE }, ..POLICY });
    let (status, why) = said(&hashing, &good);
    assert!(status == "try_later" && why.contains("`cert_hash`"), "{status} {why}");
    assert_eq!(said(&hashing, &gone), ("revoked", String::new()));
    let since = UnixTime(1_750_000_000);
    let fallen = under(Policy { ca_revoked: CaRevoked::AllSince(since), unlisted: Unlisted::Good, ..POLICY });
    for serial in [&good, &nobody] {
        assert_eq!(said(&fallen, serial), ("revoked", format!("its CA is revoked since {since}")));
    }
    assert_eq!(said(&fallen, &gone), ("revoked", String::new()), "it was revoked before");
    assert_eq!(said(&fallen, &ended).0, "unauthorized");
    // Time goes on, and nobody reads the sources.
    let later = UnixTime::now().after(POLICY.stale_after + HOUR);
    let Answered { status, why } = plain.issuer.answered(&good, later);
    assert!(status == "try_later" && why.unwrap().contains("nothing new is signed"));
}
