//! Answers that carry something of their certificate beside the status.

use super::*;
use crate::{
    ocsp::{Carried, Carries, OcspError, Together, profile::statement},
    records::{CrlReference, RevocationDetails},
};

const ALL: Policy =
    Policy { carries: Carries { cert_hash: true, crl_reference: true, invalidity_date: true }, ..POLICY };

/// What the kept answer about a certificate carries; its signature is verified by [`kept`].
fn carried(runner: &PresignRunner, subject: &Subject, number: u64) -> Option<Carried> {
    kept(runner, subject, number)?;
    let (mut packed, form) = (Vec::new(), subject.forms(UnixTime::now()).remove(0));
    subject.kept(&runner.answers, &form, &serial(number), &mut packed)?;
    Some(Carried::of_tail(subject.issuer.policy.carries, &packed[form.signer.packing().length()..]))
}

fn of_crl(number: u64) -> RevocationDetails {
    let crl = CrlReference { url: 0, number: Some(number), time: UnixTime(1_700_000_000) };
    RevocationDetails { crl: Some(crl), invalid_since: Some(UnixTime(1_600_000_000)) }
}

/// A certificate that is good has no answer until its hash is known, and one that is revoked has one at once.
#[test]
fn good_waits_for_the_hash_and_revoked_does_not() {
    let world = World::new(4);
    world.set(2, revoked());
    world.set(3, HOLD);
    let details = &world.details();
    details.add_revocations([(serial(1), of_crl(1)), (serial(2), of_crl(2))].into());
    let pool = world.pool();
    let subject = world.subject_with(ALL, pool);
    let runner = runner(None);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 2);
    let of_2 = Carried { cert_hash: None, crl: of_crl(2).crl, invalidity_date: of_crl(2).invalid_since };
    let said = |number| carried(&runner, &subject, number);
    assert_eq!([0, 1, 2, 3].map(said), [None, None, Some(of_2), Some(Carried::default())]);
    // Nor is it signed for a client.
    let found = subject.issuer.listed(&serial(1));
    let statement = statement(&ALL, found, UnixTime::now()).unwrap();
    assert_eq!(subject.issuer.carried(&serial(1), &statement), Err(OcspError::TryLater));
    details.note_hash(serial(1), [7; 32]);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 1);
    // What is known of a revocation is not told of a certificate that is good.
    assert_eq!(said(1), Some(Carried { cert_hash: Some([7; 32]), ..Carried::default() }));
    // The answers are those of another form where answers carry less.
    let less = Policy { carries: Carries { cert_hash: false, ..ALL.carries }, ..POLICY };
    let forms = [ALL, less, POLICY].map(|policy| world.subject_with(policy, world.pool()).forms(UnixTime::now()));
    let fingerprints = forms.map(|forms| forms[0].fingerprint);
    assert!(fingerprints[0] != fingerprints[1] && fingerprints[1] != fingerprints[2]);
}

/// It was found when the answer was signed anew in its turn, days later. A certificate whose hash is as it was, or is not known
/// after a start, keeps its answer.
#[test]
fn a_hash_that_is_corrected_is_in_the_answer_after_the_next_pass() {
    let world = World::new(4);
    world.set(3, revoked());
    let details = world.details();
    (0..3).for_each(|number| details.note_hash(serial(number), [7; 32]));
    let subject = world.subject_with(ALL, world.pool());
    let runner = runner(None);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 4);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 0);
    let hash = |number| carried(&runner, &subject, number).and_then(|carried| carried.cert_hash);
    assert_eq!([0, 1, 2, 3].map(hash), [Some([7; 32]), Some([7; 32]), Some([7; 32]), None]);
    for (number, corrected) in [(1, 8), (2, 7), (3, 9)] {
        details.note_hash(serial(number), [corrected; 32]);
    }
    details.keep_hashes(|kept| *kept != serial(0));
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 2);
    assert_eq!([0, 1, 2, 3].map(hash), [7, 8, 7, 9].map(|hash| Some([hash; 32])));
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 0);
    // So is invalidityDate; another CRL alone, or a date that no answer can carry, is none to sign anew for.
    for (number, time, due) in [(1, 1_600_000_000, 1), (2, 1_600_000_000, 0), (3, 1_600_000_001, 1), (4, 0, 0)] {
        let details_now = RevocationDetails { invalid_since: Some(UnixTime(time)), ..of_crl(number) };
        details.replace_revocations([(serial(3), details_now), (serial(1), details_now)].into());
        done(runner.pass(&[Arc::clone(&subject)], NEVER), due);
    }
    assert_eq!(carried(&runner, &subject, 3).unwrap().invalidity_date, Some(UnixTime(1_600_000_001)));
}

/// A store of before the start has what they carry, and so has who hears of them.
#[test]
fn what_is_carried_is_stored_with_the_answer() {
    let (world, dir) = (World::new(2), tempfile::tempdir().unwrap());
    let details = world.details();
    (0..2).for_each(|number| details.note_hash(serial(number), [number as u8 + 1; 32]));
    let subject = world.subject_with(ALL, world.pool());
    let before = runner(Some(dir.path()));
    done(before.pass(&[Arc::clone(&subject)], NEVER), 2);
    drop(before);
    details.keep_hashes(|_| false);
    let after = runner(Some(dir.path()));
    assert_eq!(restore(&after, &subject), 2);
    assert_eq!(carried(&after, &subject, 1), Some(Carried { cert_hash: Some([2; 32]), ..Carried::default() }));
}

/// Who asks by either hash finds the same answer, and neither finds that of an issuer which keeps them apart.
#[test]
fn two_hashes_that_are_answered_together_have_one_key_and_one_form() {
    use crate::ocsp::HashAlgorithm::{Sha1, Sha256, Sha384};
    let world = World::new(3);
    let policy = Policy { together: Together::NONE.joining(&[Sha1, Sha256]), ..POLICY };
    let [both, apart] = [policy, POLICY].map(|policy| world.subject_with(policy, world.pool()));
    let runner = runner(None);
    done(runner.pass(&[Arc::clone(&both)], NEVER), 3);
    assert_eq!((kept(&runner, &both, 1), runner.answers.len()), (Some(CertStatus::Good), 3));
    let key = |subject: &Subject, hash| subject.issuer.key(hash, 0, &serial(1));
    assert_eq!(key(&both, Sha1), key(&both, Sha256));
    assert_ne!(key(&both, Sha1), key(&both, Sha384));
    let form = |subject: &Subject, hash| Form::fingerprint_of(&subject.issuer, hash, subject.issuer.signers.first());
    assert_eq!(form(&both, Sha1), form(&both, Sha256));
    assert_ne!(form(&both, Sha1), form(&apart, Sha1));
    assert_eq!(form(&both, Sha384), form(&apart, Sha384));
}
