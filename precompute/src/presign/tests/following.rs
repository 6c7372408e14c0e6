//! From a change to its new answer.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{super::Presigner, *};

const LONG: Duration = Duration::from_secs(60);

fn start(world: &World, answers: &Arc<Answers>, subjects: Vec<Subject>) -> Presigner {
    let state_dir = world.dir.path().to_owned();
    let settings = Settings { answers: Arc::clone(answers), state_dir, store_octets_max: 1 << 30, heard_by: None };
    let due = subjects.iter().map(|subject| subject.issuer.state.records.counts().good).sum::<u64>();
    let presigner = Presigner::start(settings, subjects).unwrap();
    until(|| answers.len() == due && presigner.progress().report().passes > 0);
    presigner
}

#[track_caller]
fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What a client gets without a signature.
fn answered(answers: &Answers, subject: &Subject, number: u64) -> Option<CertStatus> {
    let form = &subject.forms(UnixTime::now())[0];
    let entry = subject.kept(answers, form, &serial(number), &mut Vec::new())?;
    let found = subject.issuer.state.records.get(&serial(number))?;
    (entry.state == found.state).then_some(match found.status {
        Status::Good => CertStatus::Good,
        Status::Revoked { time, reason } => CertStatus::Revoked { time, reason },
    })
}

/// It was a sleep of 100 ms each time.
#[test]
fn a_change_is_signed_at_once_after_it_is_told() {
    const CHANGES: u64 = 50;
    let world = World::new(CHANGES);
    let (subject, answers) = (world.here(), Arc::new(Answers::new(1 << 30)));
    let presigner = start(&world, &answers, vec![Arc::into_inner(world.here()).unwrap()]);
    let mut took: Vec<_> = (0..CHANGES)
        .map(|number| {
            let began = Instant::now();
            world.set(number, revoked());
            until(|| matches!(answered(&answers, &subject, number), Some(CertStatus::Revoked { .. })));
            began.elapsed()
        })
        .collect();
    took.sort();
    // Of those that a busy machine holds up there may be more than half.
    let (quick, longest) = (took[took.len() / 4], took[took.len() - 1]);
    assert!(quick < Duration::from_millis(60), "{quick:?}, at most {longest:?}");
    let passes = presigner.progress().report().passes;
    assert!(passes <= 2, "{passes}: a pass signed them");
}

#[test]
fn a_key_that_hangs_delays_the_changes_of_no_other_issuer() {
    let [slow, other] = [World::new(10), World::new(10)];
    let (subject, answers) = (numbered(Arc::into_inner(other.here()).unwrap(), 2), Arc::new(Answers::new(1 << 30)));
    let subjects = vec![Arc::into_inner(slow.pooled()).unwrap(), numbered(Arc::into_inner(other.here()).unwrap(), 2)];
    let presigner = start(&slow, &answers, subjects);
    let ((began, hangs), (release, goes_on)) = (mpsc::channel(), mpsc::channel::<()>());
    *slow.watched.before.lock().unwrap() = Some(Box::new(move || {
        let _ = began.send(());
        let _ = goes_on.recv();
    }));
    slow.set(1, revoked());
    hangs.recv_timeout(LONG).unwrap();
    other.set(1, revoked());
    slow.set(2, revoked());
    until(|| matches!(answered(&answers, &subject, 1), Some(CertStatus::Revoked { .. })));
    let slow_subject = slow.here();
    assert_eq!(answered(&answers, &slow_subject, 1), None);
    // What waited meanwhile follows.
    drop(release);
    for number in [1, 2] {
        until(|| matches!(answered(&answers, &slow_subject, number), Some(CertStatus::Revoked { .. })));
    }
    drop(presigner);
}

#[test]
fn no_change_is_lost_in_reloads() {
    const CHANGES: u64 = 40;
    let world = World::new(CHANGES);
    let (subject, answers) = (world.here(), Arc::new(Answers::new(1 << 30)));
    let presigner = start(&world, &answers, vec![Arc::into_inner(world.here()).unwrap()]);
    let set = world.setter();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..CHANGES).for_each(|number| set(number, revoked())));
        for round in 0..10 {
            // Gone and back, or another configuration of it.
            if round % 2 == 0 {
                presigner.change(Vec::new());
            }
            presigner.change(vec![Arc::into_inner(world.here()).unwrap()]);
        }
    });
    for number in 0..CHANGES {
        until(|| matches!(answered(&answers, &subject, number), Some(CertStatus::Revoked { .. })));
    }
}
