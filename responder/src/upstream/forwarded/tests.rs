//! How long answers of `openssl ocsp` are kept.

use super::{super::group::Wanted, *};
use crate::upstream::verify::tests::{NO_NONCE, World};

fn forwarded(world: &World, max_age: Duration) -> Forwarded {
    let (name, certificate) = ("other".to_owned(), world.certificate("ca"));
    let urls = vec!["http://127.0.0.1:1/".to_owned()];
    let wanted = Wanted { of: name.clone(), urls, cas: None, fail_back: limits::FAIL_BACK_DEFAULT };
    let settings = Settings { name, certificate, max_age, may_lack_nonce: true };
    Forwarded::new(settings, Group::new(wanted).unwrap(), Shared::new(Courier::start().unwrap()), 1)
}

#[test]
fn an_answer_is_kept_no_longer_than_its_signers_certificate_counts() {
    let world = World::new();
    let question = world.question(&["0x1000"], NO_NONCE);
    for (signer, max_age) in [("short", None), ("delegate", None), ("short", Some(60))] {
        let reply = Reply {
            body: world.answer(&question, signer, &["-ndays", "9"]).into(),
            max_age: max_age.map(Duration::from_secs),
        };
        let (now, issuer) = (UnixTime::now(), forwarded(&world, Duration::MAX));
        let answer = issuer.judge(&question, reply, true, now).unwrap();
        let end = answer.next_update.unwrap();
        let of_signer = world.certificate(signer).not_after();
        assert_eq!(end == of_signer, signer == "short", "{signer}");
        assert!(answer.counts(end.before(Duration::from_secs(1))) && !answer.counts(end));
        assert_eq!(answer.kept_until, Some(max_age.map_or(end, |seconds| now.after(Duration::from_secs(seconds)))));
    }
}

#[test]
fn while_no_upstream_answers_the_last_answer_is_given_until_its_next_update_and_kept_by_nobody() {
    let world = World::new();
    let issuer = Arc::new(forwarded(&world, Duration::ZERO));
    let outcome = |serial| match issuer.ask(world.question(&[serial], NO_NONCE)) {
        Asked::Ended(outcome) => outcome,
        Asked::Waiting(answer) => answer.blocking_recv().unwrap(),
    };
    let (question, now) = (world.question(&["0x1000"], NO_NONCE), UnixTime::now());
    assert_eq!(outcome("0x1000").unwrap_err(), OcspError::TryLater, "nothing was ever said of it");
    let reply = Reply { body: world.answer(&question, "delegate", &["-ndays", "9"]).into(), max_age: None };
    let answer = issuer.judge(&question, reply, true, now).unwrap();
    assert_eq!(answer.kept_until, None, "`max_age` is over at once");
    let last = outcome("0x1000").unwrap();
    assert_eq!((&last.body, last.kept_until), (&answer.body, None));
    assert_eq!(outcome("0x1001").unwrap_err(), OcspError::TryLater);
}
