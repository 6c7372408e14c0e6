//! What happens to jobs and holders, by the class of a fault.

use super::*;

/// By class: what becomes of the job that meets the fault once (beside another holder it is always signed), and of the
/// holder.
#[test]
fn each_class_of_fault_is_met_as_the_table_says() {
    use FaultClass::{Defect, Device, Locked, Session, Throttle};
    let failed = Err(SignError::Failed);
    for (class, alone, at_work_alone, at_work_beside_another) in [
        (Session, Ok(()), true, true),
        (Throttle, Ok(()), true, true),
        (Device, failed, false, false),
        (Locked, failed, false, false),
        (Defect, failed, true, false),
    ] {
        let bench = Bench::new(1, 1, 10);
        assert_eq!(bench.sign("before"), Ok(()), "{class:?}");
        bench.order(0, &[Order::Fail(class)], Order::Sign);
        assert_eq!(bench.sign("one"), alone, "{class:?} alone");
        assert_eq!(bench.health(0) == Health::AtWork, at_work_alone, "{class:?}");

        let bench = Bench::with(2, |settings| settings.primary_first = true);
        bench.order(0, &[Order::Fail(class)], Order::Sign);
        assert_eq!(bench.sign("one"), Ok(()), "{class:?} beside another");
        assert_eq!(bench.health(0) == Health::AtWork, at_work_beside_another, "{class:?} beside another");
        assert_eq!(bench.asked(0)[0], "one");
        let by_the_other = bench.asked(1).len() == 1;
        assert_eq!(by_the_other, !at_work_beside_another, "{class:?}");
    }
}

#[test]
fn a_lost_session_is_opened_anew_and_its_job_tried_once_more() {
    let bench = Bench::new(1, 1, 10);
    assert_eq!(bench.sign("first"), Ok(()));
    let opened = bench.tokens[0].opened.load(SeqCst);
    bench.order(0, &[Order::Fail(FaultClass::Session)], Order::Sign);
    assert_eq!(bench.sign("second"), Ok(()));
    assert_eq!(bench.tokens[0].opened.load(SeqCst), opened + 1);
    // Twice for the same job is once too often.
    bench.order(0, &[Order::Fail(FaultClass::Session); 2], Order::Sign);
    assert_eq!(bench.sign("third"), Err(SignError::Failed));
    assert_eq!(bench.sign("fourth"), Ok(()));
    assert_eq!(bench.asked(0), ["first", "second", "second", "third", "third", "fourth"]);
}

/// A token that lost its sessions while nobody asked: the first job went from one stale session to the next, and counted
/// each as a failure of its own.
#[test]
fn no_job_is_lost_however_many_sessions_have_become_stale() {
    for (holders, threads) in [(1, 1), (1, 4), (1, 8), (1, 16), (2, 8)] {
        for at_once in [1, threads / 2 + 1, 40] {
            let bench = Bench::new(holders, threads, 100);
            for token in &bench.tokens {
                token.generation.fetch_add(1, SeqCst);
                // Others come by sooner.
                *token.opening_takes.lock().unwrap() = Duration::from_millis(5);
            }
            for number in 0..80 {
                bench.submit(&number.to_string(), Priority::Live, LONG);
                if number % at_once == at_once - 1 {
                    (0..at_once)
                        .for_each(|_| assert_eq!(bench.next().1, Ok(()), "{threads} sessions, {at_once} at once"));
                }
            }
            bench.until("it is at work", |status| status.members.iter().all(|member| member.health == Health::AtWork));
        }
    }
}

#[test]
fn what_one_holder_cannot_do_another_does_and_it_comes_back_once_it_can() {
    let bench = Bench::new(2, 2, 100);
    bench.order(0, &[], Order::Fail(FaultClass::Defect));
    bench.order(1, &[Order::Gate; 2], Order::Sign);
    for number in 0..50 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    bench.until("it is away", |status| status.members[0].health != Health::AtWork);
    (0..2).for_each(|_| bench.gates[1].send(()).unwrap());
    (0..50).for_each(|_| assert_eq!(bench.next().1, Ok(())));
    bench.order(0, &[], Order::Sign);
    bench.until("it is back", |status| status.members[0].health == Health::AtWork);
}

#[test]
fn a_holder_that_can_do_nothing_any_more_counts_as_away_and_one_that_cannot_do_one_job_does_not() {
    let bench = Bench::new(1, 2, 100);
    bench.order(0, &[Order::Fail(FaultClass::Defect)], Order::Sign);
    assert_eq!(bench.sign("odd"), Err(SignError::Failed));
    assert_eq!(bench.sign("usual"), Ok(()));
    bench.order(0, &[], Order::Fail(FaultClass::Defect));
    assert_eq!(bench.sign("one"), Err(SignError::Failed));
    let begin = Instant::now();
    bench.until("it is away", PoolStatus::is_down);
    assert!(begin.elapsed() < limits::TEST_INTERVAL / 2, "no sooner than the next test is due");
}
