//! Passes over a real CA's records with real keys, interrupted, disturbed and begun again.

mod answered;
mod carried;
mod following;
mod received;
mod revoked_ca;
mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use world::{
    HOLD, NEVER, POLICY, World, delegate, done, issuer, kept, numbered, restore, revoked, runner, serial, signed,
};

use super::*;
use crate::{
    answers::Answers,
    engine::IssuerState,
    issuer::{ActiveIssuer, IssuerError},
    issuer_id::IssuerId,
    limits,
    ocsp::{CertStatus, HashAlgorithm, Policy, profile::Kept},
    pki::{Reason, Status, UnixTime},
    records::Change,
    sign::Signing,
    signers::Signers,
};

#[test]
fn every_certificate_finds_its_answer_signed_once() {
    const COUNT: u64 = 500;
    let world = World::new(COUNT);
    world.set(7, revoked());
    for subject in world.both() {
        let runner = runner(None);
        done(runner.pass(&[Arc::clone(&subject)], NEVER), COUNT);
        assert_eq!((signed(&runner), runner.answers.len()), (COUNT, COUNT));
        for number in (0..COUNT).step_by(100) {
            assert_eq!(kept(&runner, &subject, number), Some(CertStatus::Good));
        }
        assert!(matches!(kept(&runner, &subject, 7), Some(CertStatus::Revoked { .. })));
        done(runner.pass(&[subject], NEVER), 0);
        assert_eq!((signed(&runner), runner.progress.report().due), (COUNT, 0));
    }
    assert_eq!(world.watched.jobs.load(Relaxed), COUNT);
}

#[test]
fn one_who_is_stopped_goes_on_where_it_was() {
    const COUNT: u64 = 3000;
    let world = World::new(COUNT);
    for subject in world.both() {
        let runner = runner(None);
        for wanted in [200, 700, 1500] {
            let stop = || signed(&runner) >= wanted;
            assert_eq!(runner.pass(&[Arc::clone(&subject)], &stop).end, End::Stopped);
            let report = runner.progress.report();
            assert!((wanted..COUNT).contains(&report.signed), "{wanted}: {report:?}");
            assert_eq!(runner.answers.len(), report.signed);
        }
        let left = COUNT - signed(&runner);
        done(runner.pass(&[subject], NEVER), left);
        assert_eq!((signed(&runner), runner.answers.len()), (COUNT, COUNT), "none was signed twice");
    }
}

#[test]
fn what_is_stored_is_there_after_a_restart_and_only_what_changed_is_due() {
    const COUNT: u64 = 400;
    let world = World::new(COUNT);
    let subject = world.here();
    let path = world.dir.path();
    let first = runner(Some(path));
    done(first.pass(&[Arc::clone(&subject)], NEVER), COUNT);
    drop(first);

    world.set(3, revoked());
    world.apply(Change::new(serial(4), None));
    // A state with another counter that says the same, as after a restart, when counters start again.
    world.set(5, Status::Good);
    let second = runner(Some(path));
    assert_eq!(restore(&second, &subject), COUNT - 2);
    for (number, expected) in [(1, Some(CertStatus::Good)), (3, None), (4, None), (5, Some(CertStatus::Good))] {
        assert_eq!(kept(&second, &subject, number), expected, "{number}");
    }
    done(second.pass(&[Arc::clone(&subject)], NEVER), 1);
    drop(second);

    let third = runner(Some(path));
    assert_eq!(restore(&third, &subject), COUNT - 1, "the good one from before the revocation is of no use");
    assert!(matches!(kept(&third, &subject, 3), Some(CertStatus::Revoked { .. })));
    done(third.pass(&[subject], NEVER), 0);
    drop(third);

    // What is said of it, by whom and for how long is part of what an answer is.
    let policy = Policy { validity: Duration::from_secs(3 * 86_400), ..POLICY };
    let other = world.subject_with(policy, Arc::clone(&world.watched) as Arc<dyn Signing>);
    let fourth = runner(Some(path));
    assert_eq!(restore(&fourth, &other), 0);
}

#[test]
fn a_hold_that_was_stored_and_released_voids_the_answer_from_before() {
    let world = World::new(1);
    let subject = world.here();
    let path = world.dir.path();
    let first = runner(Some(path));
    done(first.pass(&[Arc::clone(&subject)], NEVER), 1);
    drop(first);
    world.set(0, HOLD);
    let second = runner(Some(path));
    done(second.pass(&[Arc::clone(&subject)], NEVER), 1);
    drop(second);
    world.set(0, Status::Good);
    let third = runner(Some(path));
    restore(&third, &subject);
    assert_eq!(kept(&third, &subject, 0), None);
    done(third.pass(&[Arc::clone(&subject)], NEVER), 1);
    assert_eq!(kept(&third, &subject, 0), Some(CertStatus::Good));
}

#[test]
fn an_answer_signed_for_a_client_meanwhile_is_not_replaced_by_an_older_one() {
    let world = World::new(1);
    let subject = world.here();
    let first = runner(Some(world.dir.path()));
    done(first.pass(&[Arc::clone(&subject)], NEVER), 1);
    drop(first);
    let second = runner(Some(world.dir.path()));
    let form = &subject.forms(UnixTime::now())[0];
    let mut packed = Vec::new();
    assert_eq!(restore(&second, &subject), 1);
    let entry = subject.kept(&second.answers, form, &serial(0), &mut packed).unwrap();
    let newer = crate::answers::Entry { this_update: entry.this_update.after(Duration::from_secs(1)), ..entry };
    assert!(second.answers.insert(&subject.key(form, &serial(0)), &newer, &packed));
    assert_eq!(restore(&second, &subject), 0);
    assert_eq!(subject.kept(&second.answers, form, &serial(0), &mut packed), Some(newer));
}

#[test]
fn a_record_that_changes_while_its_answer_is_signed_is_not_kept() {
    let world = World::new(1);
    let subject = world.pooled();
    let runner = runner(None);
    let set = world.setter();
    *world.watched.before.lock().unwrap() = Some(Box::new(move || set(0, revoked())));
    runner.pass(&[Arc::clone(&subject)], NEVER);
    let report = runner.progress.report();
    assert_eq!((report.signed, report.void, runner.answers.len()), (0, 1, 0));
    *world.watched.before.lock().unwrap() = None;
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 1);
    assert!(matches!(kept(&runner, &subject, 0), Some(CertStatus::Revoked { .. })));
}

#[test]
fn what_fails_or_finds_no_time_is_tried_again_until_all_is_signed_and_counted_apart() {
    const COUNT: u64 = 300;
    let world = World::new(COUNT);
    let subject = world.pooled();
    let runner = runner(None);
    // All that are put in at first, and some of those by which it is seen whether the pool signs again.
    let (failed, refused) = (limits::PRESIGN_OUTSTANDING_FIRST as u64 + 1, 2);
    world.watched.fail.store(failed, Relaxed);
    world.watched.refuse.store(refused, Relaxed);
    done(runner.pass(&[subject], NEVER), COUNT);
    let report = runner.progress.report();
    assert_eq!((report.signed, report.failed, report.expired), (COUNT, failed, refused));
    assert_eq!(runner.answers.len(), COUNT);
}

#[test]
fn what_has_changed_is_signed_by_another_signer_while_the_key_of_the_first_is_away() {
    let world = World::new(2);
    let mut subject = Arc::into_inner(world.pooled()).unwrap();
    let (first, other) = (Arc::clone(subject.issuer.signers.first()), delegate(&world, "other", "20 days"));
    issuer(&mut subject).signers = Signers::new(vec![Arc::clone(&first), Arc::clone(&other)]).unwrap();
    let subject = Arc::new(subject);
    let runner = runner(None);
    done(runner.pass(&[Arc::clone(&subject)], NEVER), 2);
    let signs = |now| {
        let (chosen, shared) =
            (subject.forms_at_work(now), Signers::shared([&subject.issuer.signers], now, POLICY.validity));
        assert!(shared.unwrap().is_same(&chosen[0].signer));
        chosen[0].place
    };
    let now = UnixTime::now();
    assert_eq!(signs(now), 0);
    world.watched.fail.store(u64::MAX, Relaxed);
    world.watched.away.store(true, Relaxed);
    assert_eq!((subject.forms(now)[0].place, signs(now)), (0, 1));
    world.set(0, revoked());
    assert_eq!(runner.changed(&subject, vec![serial(0)], NEVER), End::Done);
    let by_other = &subject.forms_at_work(now)[0];
    let entry = subject.kept(&runner.answers, by_other, &serial(0), &mut Vec::new()).unwrap();
    assert!(matches!(Kept::of(&entry).unwrap().statement.status, CertStatus::Revoked { .. }));
    // What has not changed is kept, and nobody signs it again.
    assert_eq!(kept(&runner, &subject, 1), Some(CertStatus::Good));
    assert!(subject.kept(&runner.answers, by_other, &serial(1), &mut Vec::new()).is_none());
    // Nobody else: the one that is asked is the first.
    let ended = now.after(Duration::from_secs(21 * 86_400));
    assert_eq!(signs(ended), 0);
}

#[test]
fn without_the_key_what_others_have_signed_is_found_and_nothing_is_signed() {
    const COUNT: u64 = 20;
    let world = World::new(COUNT);
    let elsewhere = runner(Some(world.dir.path()));
    done(elsewhere.pass(&[world.pooled()], NEVER), COUNT);
    drop(elsewhere);
    let (here, subject) = (runner(Some(world.dir.path())), world.without_key());
    assert_eq!(restore(&here, &subject), COUNT);
    assert_eq!(kept(&here, &subject, 7), Some(CertStatus::Good));
    // Due answers are left to the process that has the key.
    world.set(7, revoked());
    done(here.pass(&[Arc::clone(&subject)], NEVER), 0);
    assert_eq!(here.changed(&subject, vec![serial(7)], NEVER), End::Done);
    assert!(subject.forms_at_work(UnixTime::now()).is_empty());
    assert_eq!((signed(&here), here.progress.report().failed), (0, 0));
    assert_eq!((kept(&here, &subject, 7), kept(&here, &subject, 8)), (None, Some(CertStatus::Good)));
}

/// Two signers of a CA, of which the first is revoked while answers signed by it are kept.
#[test]
fn when_a_signer_is_revoked_all_answers_of_another_are_due_at_once_and_none_when_it_is_released() {
    const COUNT: u64 = 40;
    let world = World::new(COUNT);
    let mut subject = Arc::into_inner(world.pooled()).unwrap();
    let (first, other) = (delegate(&world, "first", "20 days"), Arc::clone(subject.issuer.signers.first()));
    let revoked_serial = *first.serial().unwrap();
    assert_eq!(other.serial(), None, "the CA itself");
    issuer(&mut subject).signers = Signers::new(vec![first, other]).unwrap();
    let subject = Arc::new(subject);
    let note = || subject.issuer.signers.note_revoked(|serial| subject.issuer.state.records.is_revoked(serial));
    let mark = |status| {
        let record = Some(crate::pki::Record { status, not_after: None });
        world.apply(Change::new(revoked_serial, record));
    };
    let runner = runner(None);
    assert!(!note(), "it is not even listed");
    done(runner.pass(&[Arc::clone(&subject)], NEVER), COUNT);
    let now = UnixTime::now();
    let place = || (subject.forms(now)[0].place, subject.forms_at_work(now)[0].place);
    assert_eq!(place(), (0, 0));
    for status in [HOLD, revoked()] {
        mark(status);
        assert!(note() && !note(), "told once");
        assert_eq!((place(), subject.next_forms(now).len()), ((1, 1), 0));
        assert_eq!(kept(&runner, &subject, 7).is_some(), status != HOLD, "of the first nothing is looked for");
        // Once; and of the first's own certificate.
        done(runner.pass(&[Arc::clone(&subject)], NEVER), if status == HOLD { COUNT + 1 } else { 1 });
        assert_eq!(kept(&runner, &subject, 7), Some(CertStatus::Good));
        // It does not replace one whose key is away either.
        world.watched.away.store(true, Relaxed);
        assert_eq!(place(), (1, 1));
        world.watched.away.store(false, Relaxed);
        mark(Status::Good);
        assert!(note() && !note());
        assert_eq!(place(), (0, 0));
        done(runner.pass(&[Arc::clone(&subject)], NEVER), 1);
    }
}

#[test]
fn a_key_that_does_not_sign_is_left_and_holds_up_no_other_issuer() {
    let (dead, alive) = (World::new(50), World::new(50));
    dead.pooled();
    let subject = dead.pooled();
    dead.watched.fail.store(u64::MAX, Relaxed);
    let other = numbered(Arc::into_inner(alive.pooled()).unwrap(), 2);
    let runner = runner(None);
    let passed = runner.pass(&[subject, Arc::new(other)], NEVER);
    assert_eq!((passed.end, passed.due), (End::Faulty, 100));
    let report = runner.progress.report();
    assert_eq!((report.signed, report.due), (50, 50), "{report:?}");
}

#[test]
fn without_room_it_ends_and_says_so() {
    let world = World::new(3000);
    for subject in world.both() {
        let mut runner = runner(None);
        runner.answers = Arc::new(Answers::new(200_000));
        assert_eq!(runner.pass(&[subject], NEVER).end, End::Full);
        let report = runner.progress.report();
        assert!(report.full && report.signed == runner.answers.len() && report.signed < 3000, "{report:?}");
    }
}

#[test]
fn what_changes_is_signed_at_once() {
    let world = World::new(20);
    for subject in world.both() {
        (0..20).for_each(|number| world.set(number, HOLD));
        let runner = runner(None);
        done(runner.pass(&[Arc::clone(&subject)], NEVER), 20);
        world.set(3, revoked());
        assert_eq!(kept(&runner, &subject, 3), None, "what was said before is void");
        assert_eq!(runner.changed(&subject, vec![serial(3), serial(99), serial(3)], NEVER), End::Done);
        assert!(matches!(kept(&runner, &subject, 3), Some(CertStatus::Revoked { reason: Reason::KeyCompromise, .. })));
        assert_eq!(signed(&runner), 21, "once");
    }
}

#[test]
fn more_than_can_be_listed_is_signed_while_walking() {
    let world = World::new(3000);
    for subject in world.both() {
        let runner = runner(None);
        let subjects = [subject];
        let passed = runner.pass_with(&subjects, (1000, None), NEVER);
        assert_eq!((passed.end, passed.due, passed.again), (End::Done, 3000, true));
        assert_eq!((signed(&runner), runner.answers.len()), (3000, 3000));
        done(runner.pass(&subjects, NEVER), 0);
    }
}

/// Ten million first signatures of one issuer kept another's answers for minutes from being replaced.
#[test]
fn a_pass_makes_way_for_issuers_whose_answers_end_soon_and_the_next_one_has_the_rest() {
    let world = World::new(3000);
    for subject in world.both() {
        let runner = runner(None);
        let subjects = [subject];
        let passed = runner.pass_within(&subjects, Some(Duration::ZERO), NEVER);
        let begun = signed(&runner);
        assert_eq!((passed.end, passed.due, passed.again), (End::Done, 3000, true));
        assert!(begun < 3000, "{begun}");
        assert_eq!(runner.answers.len(), begun, "what was begun is kept");
        done(runner.pass_within(&subjects, Some(Duration::from_secs(3600)), NEVER), 3000 - begun);
    }
}

#[test]
fn the_issuer_whose_answers_end_soonest_is_signed_for_first() {
    let (long, short) = (World::new(2000), World::new(50));
    let mut hasty = Arc::into_inner(short.here()).unwrap();
    issuer(&mut hasty).policy = Policy { validity: Duration::from_secs(120), ..POLICY };
    let hasty = numbered(hasty, 2);
    let runner = runner(None);
    // Stopped after the first signatures.
    let passed = runner.pass(&[long.here(), Arc::new(hasty)], &|| signed(&runner) >= 50);
    assert_eq!(passed.end, End::Stopped);
    let now = UnixTime::now();
    let short_lived = |number| {
        let key = crate::answers::AnswerKey::new(2, HashAlgorithm::Sha1, 0, &serial(number));
        let entry = runner.answers.get(&key, 64, &mut Vec::new());
        entry.is_some_and(|entry| entry.next_update <= now.after(Duration::from_secs(120)))
    };
    assert_eq!((0..50).filter(|number| short_lived(*number)).count(), 50);
}

#[test]
fn answers_that_are_replaced_within_the_hour_are_not_stored() {
    let world = World::new(30);
    for (validity, stored) in [(Duration::from_secs(2 * 3600), 30), (Duration::from_secs(2 * 3600 - 2), 0)] {
        let mut subject = Arc::into_inner(world.here()).unwrap();
        issuer(&mut subject).policy = Policy { validity, ..POLICY };
        let dir = tempfile::tempdir().unwrap();
        let runner = runner(Some(dir.path()));
        done(runner.pass(&[Arc::new(subject)], NEVER), 30);
        let progress = Arc::clone(&runner.progress);
        drop(runner);
        assert_eq!(progress.report().stored, stored, "{validity:?}");
    }
}

#[test]
fn before_another_signer_takes_over_its_answers_are_signed() {
    let world = World::new(40);
    let with = |signers| {
        let mut subject = Arc::into_inner(world.here()).unwrap();
        issuer(&mut subject).signers = Signers::new(signers).unwrap();
        Arc::new(subject)
    };
    let new = delegate(&world, "new", "+20 days");
    // Answers are valid for 4 days: the old one signs until 4 days before its end.
    for (left, due) in [("+10 days", 40), ("+5 days +1 hour", 40), ("+4 days +23 hours", 80), ("+3 days", 40)] {
        let old = delegate(&world, "old", left);
        let runner = runner(None);
        done(runner.pass(&[with(vec![old, Arc::clone(&new)])], NEVER), due);
        assert_eq!(runner.answers.len(), due, "{left}");
    }
    let old = delegate(&world, "old", "+4 days +23 hours");
    let runner = runner(None);
    done(runner.pass(&[with(vec![old, Arc::clone(&new)])], NEVER), 80);
    // When it has taken over, everything is there.
    let old = delegate(&world, "old", "+3 days");
    let after = with(vec![old, new]);
    done(runner.pass(&[Arc::clone(&after)], NEVER), 0);
    assert_eq!(kept(&runner, &after, 7), Some(CertStatus::Good));
}

#[test]
fn a_presigner_restores_passes_follows_changes_and_stops() {
    let world = World::new(100);
    let path = world.dir.path();
    let first = runner(Some(path));
    let subject = || Arc::into_inner(world.here()).unwrap();
    let wanted = AtomicBool::new(false);
    first.pass(&[world.here()], &|| wanted.swap(true, Relaxed) && signed(&first) >= 30);
    let stored = signed(&first);
    drop(first);

    let answers = Arc::new(Answers::new(1 << 30));
    let settings = Settings {
        answers: Arc::clone(&answers),
        state_dir: path.to_owned(),
        store_octets_max: 1 << 30,
        heard_by: None,
    };
    let presigner = Presigner::start(settings, Vec::new()).unwrap();
    // Whoever waits for this finds every answer of the store, and perhaps more.
    presigner.change(vec![subject()]);
    let began = std::time::Instant::now();
    while !presigner.has_restored() {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    assert!(presigner.progress().report().restored == stored && answers.len() >= stored);
    let until = |what: &str, holds: &dyn Fn(&Report) -> bool| {
        let began = std::time::Instant::now();
        while !holds(&presigner.progress().report()) {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", presigner.progress().report());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("the first pass", &|report| report.passes > 0 && report.due == 0 && report.signed == 100 - stored);
    let report = presigner.progress().report();
    assert_eq!((report.restored, report.signed), (stored, 100 - stored));

    let before = report.signed;
    world.set(50, revoked());
    until("the revocation", &|report| report.signed == before + 1);

    // No pass has anything more to do, and the next one is ten seconds off.
    let passes = presigner.progress().report().passes;
    let (mut two, new) = (subject(), delegate(&world, "new", "20 days"));
    issuer(&mut two).signers = Signers::new(vec![delegate(&world, "old", "20 days"), new]).unwrap();
    let signers = two.issuer.signers.clone();
    presigner.change(vec![two]);
    until("the delegate's", &|report| report.passes > passes && report.due == 0);
    let (before, began) = (presigner.progress().report().signed, std::time::Instant::now());
    assert!(signers.note_revoked(|serial| Some(serial) == signers.first().serial()));
    presigner.begin_anew();
    until("another delegate's", &|report| report.signed == before + 100);
    assert!(began.elapsed() < limits::PRESIGN_INTERVAL_MIN);

    let mut other = numbered(subject(), 2);
    other.ahead = vec![HashAlgorithm::Sha256, HashAlgorithm::Sha1];
    presigner.change(vec![subject(), other]);
    // The other's answers in SHA-1 are those that were stored.
    until("another issuer", &|_| answers.len() == 400);
    drop(presigner);
    let again = runner(Some(path));
    let mut other = subject();
    other.ahead = vec![HashAlgorithm::Sha256];
    assert_eq!(restore(&again, &other), 100, "stored before it ended");
}

#[test]
fn an_issuer_takes_neither_the_state_nor_the_certificate_of_another() {
    let [own, foreign] = [World::new(0), World::new(0)];
    let signers = own.here().issuer.signers.clone();
    let [id, other_tenant, other_ca] =
        [("a", &own), ("b", &own), ("a", &foreign)].map(|(tenant, world)| IssuerId::of(tenant, &world.certificate));
    let of = |world: &World, state: &IssuerId| {
        let (state, _) = IssuerState::new(state.clone());
        ActiveIssuer::new(&id, "ca", POLICY, &world.certificate, state, signers.clone())
    };
    let issuer = of(&own, &id).unwrap();
    assert_eq!(*issuer.id(), id);
    assert_ne!(of(&own, &id).unwrap().number(), issuer.number());
    for (world, state) in [(&own, &other_tenant), (&own, &other_ca), (&foreign, &id)] {
        let error = of(world, state).unwrap_err();
        assert_eq!(error, IssuerError::OfAnother { wanted: id.clone(), found: state.clone() });
    }
}
