//! Holders that have too much to do, or give too few sessions.

use super::*;

#[test]
fn a_holder_with_too_much_to_do_gets_less_at_once_and_signs_all_in_the_end() {
    let bench = Bench::new(1, 4, 1000);
    bench.warm();
    bench.order(0, &[Order::Gate; 4], Order::Sign);
    for number in 0..4 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    bench.until("four are at work", |_| bench.tokens[0].at_work.load(SeqCst) == 4);
    bench.order(0, &[Order::Fail(FaultClass::Throttle); 3], Order::Sign);
    for number in 4..100 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    bench.tokens[0].most_at_work.store(0, SeqCst);
    for _ in 0..4 {
        bench.gates[0].send(()).unwrap();
    }
    for _ in 0..100 {
        assert_eq!(bench.next().1, Ok(()));
    }
    assert_eq!(bench.health(0), Health::AtWork);
    // Tried again with pauses, not thrown at it.
    assert_eq!(bench.pool().status().members[0].failed, 3);
}

#[test]
fn a_holder_that_gives_fewer_sessions_than_threads_signs_with_those() {
    let bench = Bench::new(1, 4, 100);
    bench.warm();
    *bench.tokens[0].opening.lock().unwrap() = Some(FaultClass::Throttle);
    // Three lose theirs, and get no other.
    bench.order(0, &[Order::Gate; 4], Order::Sign);
    for number in 0..4 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    bench.until("four are at work", |_| bench.tokens[0].at_work.load(SeqCst) == 4);
    bench.order(0, &[Order::Fail(FaultClass::Session); 3], Order::Sign);
    for number in 4..7 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    (0..4).for_each(|_| bench.gates[0].send(()).unwrap());
    (0..7).for_each(|_| assert_eq!(bench.next().1, Ok(())));
    bench.until("one is left", |status| status.members[0].sessions == 1);
    let opened = bench.tokens[0].opened.load(SeqCst);
    for number in 0..50 {
        assert_eq!(bench.sign(&number.to_string()), Ok(()));
    }
    assert_eq!(bench.health(0), Health::AtWork);
    assert!(bench.tokens[0].opened.load(SeqCst) <= opened + 3, "not asked for again at once");
}

#[test]
fn a_holder_that_always_has_too_much_to_do_counts_as_away() {
    let bench = Bench::new(1, 1, 10);
    bench.order(0, &[], Order::Fail(FaultClass::Throttle));
    assert_eq!(bench.sign("one"), Err(SignError::Failed));
    assert!(matches!(bench.health(0), Health::Away(_)));
}

/// A module that signs one at a time in 300 ms, with eight sessions: the eighth call waited inside for more than a call may
/// take, threads were written off and the token was away every few seconds, although it signed all the time.
#[test]
fn a_slow_holder_that_signs_one_after_the_other_stays_at_work() {
    let bench = Bench::new(1, 8, 100);
    bench.order(0, &[], Order::Alone(300));
    for number in 0..14 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    (0..14).for_each(|_| assert_eq!(bench.next().1, Ok(())));
    let status = bench.pool().status();
    assert_eq!((status.members[0].failed, status.members[0].written_off), (0, 0), "{status:?}");
    assert!(bench.tokens[0].most_at_work.load(SeqCst) < 4);
}

#[test]
fn one_that_becomes_slow_is_asked_for_one_at_once_when_it_is_back() {
    let bench = Bench::new(1, 8, 100);
    bench.warm();
    bench.order(0, &[], Order::Alone(350));
    for number in 0..8 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    // The last ones take too long; nobody else has the key.
    (0..8).for_each(|_| drop(bench.next()));
    bench
        .until("it is back", |status| status.members[0].health == Health::AtWork && status.members[0].written_off == 0);
    let failed = bench.pool().status().members[0].failed;
    for number in 0..14 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    (0..14).for_each(|_| assert_eq!(bench.next().1, Ok(())));
    assert_eq!(bench.pool().status().members[0].failed, failed);
}

/// A session that was being opened counted as one at work: with one allowed at once, a job that came meanwhile woke
/// nobody, and where the opening was refused waited for ever.
#[test]
fn a_job_does_not_wait_for_a_session_that_is_being_opened() {
    let bench = Bench::new(1, 2, 100);
    bench.order(0, &[Order::Fail(FaultClass::Session)], Order::Sign);
    *bench.tokens[0].opening.lock().unwrap() = Some(FaultClass::Throttle);
    *bench.tokens[0].opening_takes.lock().unwrap() = Duration::from_secs(6);
    let opened = bench.tokens[0].opened.load(SeqCst);
    assert_eq!(bench.sign("one"), Ok(()));
    bench.until("another is being opened", |_| bench.tokens[0].opened.load(SeqCst) > opened);
    let begin = Instant::now();
    assert_eq!(bench.sign("two"), Ok(()));
    assert!(begin.elapsed() < Duration::from_secs(4));
}
