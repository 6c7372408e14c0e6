//! Which answers of other replicas are used. The same process plays them: a value is what one of them offers.

use std::sync::LazyLock;

use precompute::feed::redis::Offer;

use super::*;
use crate::ocsp::shared::Unfit;

/// One moment for all tests, at which the sources are in order.
static NOW: LazyLock<UnixTime> = LazyLock::new(UnixTime::now);
/// Of the default policy.
const VALIDITY: u64 = 4 * 86_400;
/// Where the signature begins in a value.
const HEAD: usize = 17;

impl World {
    /// What a replica with these records offers of an answer that it has signed then.
    fn offered_at(&self, now: UnixTime) -> Offer {
        let request = self.request();
        let unsigned = request.prepare(now, 0).unwrap();
        let signature = self.gate.key.sign(&unsigned.response_data).unwrap();
        let answer = request.complete(&unsigned, &signature, now).unwrap();
        request.offer(&answer, &signature, now).unwrap()
    }

    /// What becomes of this value: the status, and the body.
    fn adopted(&self, value: &[u8], now: UnixTime) -> Result<(CertStatus, Vec<u8>), Unfit> {
        let (answer, _) = self.request().adopt(value, 0, now)?;
        Ok((answer.statements[0].status, answer.body.to_vec()))
    }

    /// The value with other times, signed anew: what somebody with the key could do, and nobody else.
    fn with_times(&self, this_update: u64, next_update: u64) -> Vec<u8> {
        let times = Times { signed_at: UnixTime(this_update), next_update: UnixTime(next_update), refresh_at: *NOW };
        let request = self.request();
        let unsigned = request.unsigned(request.statements(*NOW).unwrap(), times, Vec::new());
        let signature = self.gate.key.sign(&unsigned.response_data).unwrap();
        let packed = request.signer.packing().pack(&signature).unwrap();
        let time = |time: u64| u32::try_from(time).unwrap().to_be_bytes();
        [&self.offered_at(*NOW).value[..9], &time(this_update), &time(next_update), &packed].concat()
    }
}

static LATER: LazyLock<UnixTime> = LazyLock::new(|| NOW.after(Duration::from_secs(3600)));

#[test]
fn an_answer_of_another_replica_is_used_byte_for_byte() {
    let world = World::new();
    let request = world.request();
    let unsigned = request.prepare(*NOW, 0).unwrap();
    let signature = world.gate.key.sign(&unsigned.response_data).unwrap();
    let answer = request.complete(&unsigned, &signature, *NOW).unwrap();
    let offer = request.offer(&answer, &signature, *NOW).unwrap();
    let wanted = request.wanted(*LATER).unwrap();
    assert_eq!((&wanted.key, wanted.octets), (&offer.key, offer.value.len()));
    assert_eq!(offer.lasts.as_secs(), VALIDITY);
    let (adopted, its_signature) = request.adopt(&offer.value, 0, *LATER).unwrap();
    assert_eq!((&adopted.body, its_signature), (&answer.body, signature));
    assert_eq!((adopted.statements, adopted.times), (answer.statements, answer.times));
}

#[test]
fn no_changed_byte_and_no_cut_of_a_value_is_used() {
    let world = World::new();
    let value = world.offered_at(*NOW).value;
    assert!(world.adopted(&value, *LATER).is_ok());
    for end in 0..value.len() {
        assert_eq!(world.adopted(&value[..end], *LATER), Err(Unfit::Refused), "cut after {end}");
    }
    for place in 0..value.len() {
        let mut changed = value.clone();
        changed[place] ^= 1;
        assert!(world.adopted(&changed, *LATER).is_err(), "byte {place}");
    }
    let mut changed = value.clone();
    changed[HEAD] ^= 1;
    assert_eq!(world.adopted(&changed, *LATER), Err(Unfit::Refused), "a forged signature");
    assert_eq!(world.adopted(&[0], *LATER), Err(Unfit::Refused));
    assert_eq!(world.adopted(&[&value[..], &[0]].concat(), *LATER), Err(Unfit::Refused));
}

#[test]
fn times_that_no_replica_would_have_signed_are_refused_and_those_that_are_over_are_not_used() {
    let world = World::new();
    let now = NOW.0;
    let of =
        |this_update: u64, next_update: u64| world.adopted(&world.with_times(this_update, next_update), *NOW).map(drop);
    assert_eq!(of(now, now + VALIDITY), Ok(()));
    assert_eq!(of(now, now + VALIDITY + 1), Err(Unfit::Refused), "longer than the policy");
    assert_eq!(of(now, now), Err(Unfit::Refused), "of no time");
    assert_eq!(of(now, now - 1), Err(Unfit::Refused), "backwards");
    assert_eq!(of(now + 1, now + VALIDITY), Err(Unfit::Outdated), "of the future");
    assert_eq!(of(now - VALIDITY, now), Err(Unfit::Outdated), "expired");
    assert_eq!(of(now - VALIDITY + 1, now + 1), Err(Unfit::Outdated), "about to expire");
    // The last eight hours of the validity begin when it has to be replaced.
    assert_eq!(of(now - VALIDITY + 8 * 3600, now + 8 * 3600), Err(Unfit::Outdated), "due to be replaced");
    assert_eq!(of(now - VALIDITY + 8 * 3600 + 1, now + 8 * 3600 + 1), Ok(()));
    // Past the end of its signer's certificate.
    let world = World::valid_for("2");
    let end = world.request().signer.not_after().0;
    let until = |next_update| world.adopted(&world.with_times(now, next_update), *NOW).map(drop);
    assert_eq!((until(end), until(end + 1)), (Ok(()), Err(Unfit::Refused)));
}

#[test]
fn what_was_said_before_a_revocation_is_never_used_after_it() {
    let world = World::new();
    let good = world.offered_at(*NOW).value;
    world.revoke();
    assert_eq!(world.adopted(&good, *LATER), Err(Unfit::Outdated));
    // Nor if somebody writes what the record says now around that signature.
    let revoked = world.offered_at(*NOW).value;
    let mixed = [&revoked[..9], &good[9..]].concat();
    assert_eq!(world.adopted(&mixed, *LATER), Err(Unfit::Refused));
    // A final revocation is shared: nothing comes after it.
    assert!(world.request().wanted(*LATER).is_some());
    assert!(matches!(world.adopted(&revoked, *LATER), Ok((CertStatus::Revoked { .. }, _))));
}

#[test]
fn what_was_said_before_a_hold_that_came_and_went_is_neither_asked_for_nor_used() {
    let world = World::new();
    let good = world.offered_at(*NOW).value;
    let held = Status::Revoked { time: UnixTime(1), reason: Reason::CertificateHold };
    world.set(held);
    assert_eq!((world.adopted(&good, *LATER), world.request().wanted(*LATER)), (Err(Unfit::Outdated), None));
    let hold = world.offered_at(*NOW).value;
    world.set(Status::Good);
    assert_eq!((world.adopted(&good, *LATER), world.request().wanted(*LATER)), (Err(Unfit::Outdated), None));
    // And the same hold once more.
    world.set(held);
    assert_eq!(world.adopted(&hold, *LATER), Err(Unfit::Outdated));
    // What is said now is offered all the same: it replaces what was said before.
    assert_ne!(world.offered_at(*LATER).value, hold);
}

#[test]
fn another_issuers_answer_and_one_about_another_certificate_are_refused() {
    let (world, other) = (World::new(), World::new());
    assert_eq!(world.adopted(&other.offered_at(*NOW).value, *LATER), Err(Unfit::Refused));
    assert_ne!(world.offered_at(*NOW).key, other.offered_at(*NOW).key);
    let value = world.offered_at(*NOW).value;
    let serial = Serial::from_magnitude(&[8]).unwrap();
    let good = Record { status: Status::Good, not_after: None };
    world.writer.lock().unwrap().apply([Change::new(serial, Some(good))]);
    let signer = world.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
    for id in [CertId { serial: &[8], ..world.id() }, CertId { hash: HashAlgorithm::Sha256, ..world.id() }] {
        let request = SignRequest::one(&world.issuer, signer, &id);
        assert_eq!(request.adopt(&value, 0, *LATER).map(drop), Err(Unfit::Refused), "{id:?}");
        assert_ne!(request.wanted(*LATER).unwrap().key, world.offered_at(*NOW).key);
    }
}

#[test]
fn what_is_for_one_client_or_about_no_listed_certificate_is_not_shared() {
    let world = World::new();
    let (_, signer) = world.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
    let once = SignRequest::once(Arc::clone(signer), std::iter::once((&world.issuer, world.id())), Some(&[1; 16]));
    let unsigned = once.prepare(*NOW, 0).unwrap();
    let signature = world.gate.key.sign(&unsigned.response_data).unwrap();
    let answer = once.complete(&unsigned, &signature, *NOW).unwrap();
    assert_eq!((once.wanted(*NOW), once.offer(&answer, &signature, *NOW)), (None, None));
    let signer = world.issuer.choose(UnixTime::now(), std::iter::empty()).unwrap();
    let unlisted = SignRequest::one(&world.issuer, signer, &CertId { serial: &[9], ..world.id() });
    assert_eq!(unlisted.wanted(*NOW), None);
}
