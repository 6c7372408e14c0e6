//! The pool over holders that do what a test tells them to.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use self::bench::{Bench, LONG, Order};
use super::*;

mod bench;
mod faults;
mod load;
mod wrong;

#[test]
fn a_live_job_overtakes_all_others_and_bulk_none() {
    let bench = Bench::new(1, 1, 10);
    bench.order(0, &[], Order::Gate);
    bench.submit("running", Priority::Bulk, LONG);
    bench.until_taken();
    bench.submit("bulk", Priority::Bulk, LONG);
    bench.submit("once", Priority::Once, LONG);
    bench.submit("refresh", Priority::Refresh, LONG);
    bench.submit("live", Priority::Live, LONG);
    for expected in ["running", "live", "refresh", "once", "bulk"] {
        bench.gates[0].send(()).unwrap();
        assert_eq!(bench.next(), (expected.into(), Ok(())));
    }
}

#[test]
fn a_full_queue_refuses_at_once_and_an_expired_job_is_not_signed() {
    let bench = Bench::new(1, 1, 1);
    bench.order(0, &[], Order::Gate);
    bench.submit("running", Priority::Live, LONG);
    bench.until_taken();
    bench.submit("expires", Priority::Live, Duration::ZERO);
    bench.submit("too many", Priority::Live, LONG);
    let mut refused = [bench.next(), bench.next()];
    refused.sort_by_key(|(name, _)| name.clone());
    let busy = Err(SignError::Busy);
    assert_eq!(refused, [("expires".into(), busy), ("too many".into(), busy)]);
    bench.gates[0].send(()).unwrap();
    assert_eq!(bench.next(), ("running".into(), Ok(())));
    assert_eq!(bench.asked(0), ["running"]);
}

#[test]
fn jobs_left_when_the_pool_ends_are_told_so() {
    let mut bench = Bench::new(1, 1, 10);
    bench.order(0, &[], Order::Gate);
    bench.submit("running", Priority::Live, LONG);
    bench.until_taken();
    bench.submit("waiting", Priority::Bulk, LONG);
    // Both may sign. Whether the second is taken before the pool ends is open, but its `done` is called.
    bench.gates[0].send(()).unwrap();
    bench.gates[0].send(()).unwrap();
    drop(bench.pool.take());
    let mut names = [bench.next().0, bench.next().0];
    names.sort();
    assert_eq!(names, ["running", "waiting"]);
}

#[test]
fn a_holder_that_loses_every_session_counts_as_away() {
    let bench = Bench::new(1, 2, 100);
    bench.order(0, &[], Order::Fail(FaultClass::Session));
    for number in 0..10 {
        assert_eq!(bench.sign(&number.to_string()), Err(SignError::Failed));
    }
    assert!(matches!(bench.health(0), Health::Away(_)));
    // No more than it took to find out.
    assert!(bench.asked(0).len() <= 6, "{:?}", bench.asked(0));
}

#[test]
fn no_job_is_lost_while_one_holder_lives_and_none_is_risked_when_the_other_is_back() {
    let bench = Bench::new(2, 2, 1000);
    assert_eq!(bench.sign("first"), Ok(()));
    bench.order(0, &[], Order::Fail(FaultClass::Device));
    *bench.tokens[0].opening.lock().unwrap() = Some(FaultClass::Device);
    for round in 0..3 {
        for number in 0..100 {
            bench.submit(&format!("{round} {number}"), Priority::Live, LONG);
        }
        for _ in 0..100 {
            assert_eq!(bench.next().1, Ok(()));
        }
    }
    bench.until("the first is away", |status| status.members[0].health != Health::AtWork);
    let asked = bench.asked(0).len();
    // It can be opened again but does not sign: it stays away, and no job is tried there.
    *bench.tokens[0].opening.lock().unwrap() = None;
    let opened = bench.tokens[0].opened.load(SeqCst);
    bench.until("it is looked for", |_| bench.tokens[0].opened.load(SeqCst) > opened + 1);
    assert_eq!(bench.sign("meanwhile"), Ok(()));
    assert_eq!(bench.asked(0).len(), asked);
    bench.order(0, &[], Order::Sign);
    bench.until("it is back", |status| status.members[0].health == Health::AtWork);
    let signed = bench.tokens[0].signed.load(SeqCst);
    bench.until("both sign again", |_| {
        for number in 0..20 {
            bench.submit(&number.to_string(), Priority::Live, LONG);
        }
        (0..20).for_each(|_| assert_eq!(bench.next().1, Ok(())));
        bench.tokens[0].signed.load(SeqCst) > signed
    });
}

#[test]
fn with_every_holder_away_those_that_wait_and_those_that_come_are_told_at_once() {
    let bench = Bench::new(2, 1, 1000);
    for token in 0..2 {
        bench.order(token, &[Order::Gate], Order::Fail(FaultClass::Device));
        *bench.tokens[token].opening.lock().unwrap() = Some(FaultClass::Device);
    }
    for number in 0..20 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    bench.gates.iter().for_each(|gate| gate.send(()).unwrap());
    // Two pass the gates at most, or one and the test at the other.
    let outcomes: Vec<_> = (0..20).map(|_| bench.next().1).collect();
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() <= 2, "{outcomes:?}");
    bench.until("both are away", PoolStatus::is_down);
    let begin = Instant::now();
    assert_eq!(bench.sign("nobody there"), Err(SignError::Failed));
    // Its deadline is a minute off.
    assert!(begin.elapsed() < Duration::from_secs(10));
    for token in 0..2 {
        bench.order(token, &[], Order::Sign);
        *bench.tokens[token].opening.lock().unwrap() = None;
    }
    bench.until("both are back", |status| status.members.iter().all(|member| member.health == Health::AtWork));
    assert_eq!(bench.sign("back"), Ok(()));
}

#[test]
fn a_holder_that_refused_the_pin_is_never_opened_again() {
    let bench = Bench::new(2, 3, 1000);
    assert_eq!(bench.sign("first"), Ok(()));
    *bench.tokens[0].opening.lock().unwrap() = Some(FaultClass::Locked);
    bench.order(0, &[], Order::Fail(FaultClass::Session));
    for number in 0..200 {
        bench.submit(&number.to_string(), Priority::Live, LONG);
    }
    for _ in 0..200 {
        assert_eq!(bench.next().1, Ok(()), "the other signs");
    }
    bench.until("it is locked", |status| status.members[0].health == Health::Locked);
    let opened = bench.tokens[0].opened.load(SeqCst);
    *bench.tokens[0].opening.lock().unwrap() = None;
    std::thread::sleep(limits::PROBE_PAUSE_MIN * 2);
    assert_eq!(bench.sign("last"), Ok(()));
    assert_eq!(bench.tokens[0].opened.load(SeqCst), opened);
    assert_eq!(bench.pool().status().members[0].why.as_deref(), Some("cannot be opened"));
}

#[test]
fn a_call_that_does_not_return_costs_its_thread_and_the_job_goes_to_the_other_holder() {
    let bench = Bench::new(2, 1, 100);
    for token in 0..2 {
        bench.order(token, &[], Order::Gate);
    }
    bench.submit("one", Priority::Live, LONG);
    bench.submit("two", Priority::Live, LONG);
    bench.until("both are at work", |status| status.members.iter().all(|member| member.busy == 1));
    // The second returns, the first hangs.
    bench.order(1, &[], Order::Sign);
    bench.gates[1].send(()).unwrap();
    assert_eq!([bench.next().1, bench.next().1], [Ok(()), Ok(())]);
    let status = bench.pool().status();
    assert_eq!((status.members[0].written_off, status.members[0].sessions), (1, 0), "{status:?}");
    // Its successor finds it well.
    bench.order(0, &[], Order::Sign);
    bench.until("it is back", |status| status.members[0].health == Health::AtWork);
    assert_eq!(bench.asked(0).len(), 1, "no job was tried on it before");
    // A late result belongs to nobody.
    bench.gates[0].send(()).unwrap();
    bench.until("the thread left", |status| status.members[0].written_off == 0);
    assert!(bench.results.try_recv().is_err());
}

#[test]
fn a_thread_outlives_panics_in_its_holder_and_in_those_who_are_told() {
    let bench = Bench::new(1, 1, 100);
    bench.order(0, &[Order::Panic], Order::Sign);
    assert_eq!(bench.sign("one"), Err(SignError::Failed));
    bench.until("it is back", |status| status.members[0].health == Health::AtWork);
    let deadline = Instant::now() + LONG;
    bench.pool().submit(Job {
        message: b"two".to_vec(),
        priority: Priority::Live,
        deadline,
        done: Box::new(|_, _| panic!("by order")),
    });
    assert_eq!(bench.sign("three"), Ok(()));
}

#[test]
fn where_an_order_is_kept_the_second_signs_only_while_the_first_is_away() {
    let bench = Bench::with(2, |settings| settings.primary_first = true);
    let burst = || {
        for number in 0..50 {
            bench.submit(&number.to_string(), Priority::Live, LONG);
        }
        for _ in 0..50 {
            assert_eq!(bench.next().1, Ok(()));
        }
    };
    burst();
    assert!(bench.asked(1).is_empty());
    bench.order(0, &[], Order::Fail(FaultClass::Device));
    burst();
    assert!(bench.asked(1).len() >= 49);
    bench.order(0, &[], Order::Sign);
    bench.until("it is back", |status| status.members[0].health == Health::AtWork);
    let asked = bench.asked(0).len();
    burst();
    assert_eq!(bench.asked(0).len(), asked, "not before it has been well for a while");
}

#[test]
fn every_job_is_told_once_whatever_its_holders_do() {
    use Order::{Fail, Panic, Sign};
    let orders = [
        Sign,
        Fail(FaultClass::Session),
        Fail(FaultClass::Throttle),
        Fail(FaultClass::Device),
        Fail(FaultClass::Defect),
        Panic,
    ];
    for seed in 0..4u64 {
        let bench = Bench::new(3, 2, 10_000);
        // A linear congruence is random enough to mix them.
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for token in 0..3 {
            let next: Vec<_> = (0..200).map(|_| if draw(4) == 0 { orders[draw(orders.len())] } else { Sign }).collect();
            bench.order(token, &next, Sign);
        }
        let priorities = [Priority::Live, Priority::Refresh, Priority::Once, Priority::Bulk];
        for number in 0..2000 {
            let deadline = if draw(20) == 0 { Duration::from_micros(draw(2000) as u64) } else { LONG };
            bench.submit(&number.to_string(), priorities[draw(4)], deadline);
        }
        let mut told: Vec<usize> = (0..2000).map(|_| bench.next().0.parse().unwrap()).collect();
        told.sort_unstable();
        assert_eq!(told, (0..2000).collect::<Vec<_>>(), "seed {seed}");
        drop(bench.pool);
        assert!(bench.results.try_recv().is_err(), "seed {seed}: told twice");
    }
}

#[test]
fn holders_that_were_out_of_reach_at_first_are_looked_for_while_clients_are_told_so_at_once() {
    use FaultClass::{Defect, Device, Locked};
    let bench = Bench::after(&[Some(Device), Some(Locked)], |_| ());
    assert!(bench.pool().status().is_down(), "before anybody has looked");
    let is_told_at_once = || {
        let begin = Instant::now();
        assert_eq!(bench.sign("too early"), Err(SignError::Failed));
        begin.elapsed() < limits::PROBE_PAUSE_MIN / 2
    };
    // Where each waited for the next probe none would be; a busy machine may hold up some.
    assert!((0..5).any(|_| is_told_at_once()));
    bench.until("it is looked for", |status| status.members[0].failed >= 2);
    // It comes back as a different token first, and then as itself.
    *bench.tokens[0].opening.lock().unwrap() = Some(Defect);
    let failed = bench.pool().status().members[0].failed;
    bench.until("it is looked for all the same", |status| status.members[0].failed > failed);
    assert_eq!(bench.sign("still too early"), Err(SignError::Failed));
    bench.tokens.iter().for_each(|token| *token.opening.lock().unwrap() = None);
    bench.until("it is at work", |status| !status.is_down());
    assert_eq!(bench.sign("now"), Ok(()));
    assert_eq!((bench.health(1), bench.tokens[1].opened.load(SeqCst)), (Health::Locked, 0));
}
