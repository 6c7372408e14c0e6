//! What becomes of a request that breaks off in the middle, behind both balancers: the replica has received it, and dies or hangs
//! before it answers.
//!
//! Invariant: a replica is frozen, and some request has been sent to it, before it is killed. So the balancer cannot know
//! whether that one was carried out.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use ostia_tests::{
    Behind, ClusterPlan, Query, Questions, Stamped, Status,
    http::{self, Reply},
};

use crate::SOON;

/// An answer that takes longer than that does not come: the request is with the frozen replica.
const ANSWERED_WITHIN: Duration = Duration::from_millis(800);
/// How many requests are sent at most, by turns to three replicas, until one is with the frozen one.
const REQUESTS: u32 = 6;
/// How often that is tried: a busy machine may take so long that the balancer has left the replica meanwhile.
const ATTEMPTS: usize = 20;
/// Longer than either balancer waits for a time-stamp.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Dies,
    Hangs,
}

/// An answer, or why there is none.
type Outcome = std::io::Result<Reply>;

/// What came back at once, and what is still under way.
struct Begun {
    answered: Vec<Reply>,
    waiting: Receiver<Outcome>,
}

#[test]
fn haproxy_sends_no_query_for_a_time_stamp_twice_and_every_ocsp_request_again() {
    nothing_is_stamped_twice(&mut Behind::haproxy(ClusterPlan::of(1, 3).stamping().listed(1)));
}

#[test]
fn nginx_sends_no_query_for_a_time_stamp_twice_and_every_ocsp_request_again() {
    nothing_is_stamped_twice(&mut Behind::nginx(ClusterPlan::of(1, 3).stamping().listed(1)));
}

fn nothing_is_stamped_twice(behind: &mut Behind) {
    for end in [End::Dies, End::Hangs] {
        stamp(behind, end);
        let serial = behind.cluster.listed[0].clone();
        let post = Questions::of(&behind.cluster.ca).post(&serial);
        let get = http::request("GET", &http::ocsp_target("/", &behind.cluster.ask(&serial).request()), "");
        for request in [post, get] {
            let Begun { answered, waiting } = break_off(behind, |_| request.clone());
            finish(behind, end);
            let last = waiting.recv_timeout(PATIENCE).expect("an outcome").expect("it was tried again");
            for reply in answered.iter().chain([&last]) {
                assert_eq!(Questions::read(&serial, reply), Some(Status::Good), "{reply:?}");
            }
            mend(behind, end);
        }
    }
}

/// Each query is with one replica at most: those who go on have stamped what was answered, and nothing else.
fn stamp(behind: &mut Behind, end: End) {
    let asked = |behind: &Behind| {
        let count = |replica: usize| behind.cluster.replicas[replica].process().metric("ostia_tsa_requests_total", "");
        count(1) + count(2)
    };
    let before = asked(behind);
    let Begun { answered, waiting } = break_off(behind, |number| Query::new(number).request("/tsa", ""));
    finish(behind, end);
    let last = waiting.recv_timeout(PATIENCE).expect("an outcome");
    assert!(last.as_ref().is_ok_and(|reply| [502, 504].contains(&reply.status)), "{end:?}: {last:?}");
    assert_eq!(asked(behind) - before, answered.len() as f64, "{end:?}: somebody else got it");
    let serials = answered.iter().map(|reply| Stamped::read(reply).granted().info.serial.clone());
    assert_eq!(serials.collect::<HashSet<_>>().len(), answered.len());
    mend(behind, end);
}

/// Freezes the first replica, and sends requests until one of them is there.
fn break_off(behind: &mut Behind, request: impl Fn(u32) -> Vec<u8>) -> Begun {
    let mut answered = Vec::new();
    for _ in 0..ATTEMPTS {
        behind.cluster.replicas[0].pause();
        for number in 0..REQUESTS {
            let waiting = send(behind.front, request(answered.len() as u32 * REQUESTS + number));
            match waiting.recv_timeout(ANSWERED_WITHIN) {
                Ok(outcome) => answered.push(outcome.expect("an answer of a replica that is well")),
                Err(RecvTimeoutError::Timeout) => return Begun { answered, waiting },
                Err(RecvTimeoutError::Disconnected) => panic!("the client failed"),
            }
        }
        mend(behind, End::Hangs);
    }
    panic!("no request came to the frozen replica");
}

fn send(front: SocketAddr, request: Vec<u8>) -> Receiver<Outcome> {
    let (outcome, waiting) = mpsc::channel();
    thread::spawn(move || outcome.send(http::exchange_within(front, &request, PATIENCE)));
    waiting
}

fn finish(behind: &mut Behind, end: End) {
    if end == End::Dies {
        behind.cluster.replicas[0].kill();
    }
}

/// Brings the first replica back, and waits until the balancer may ask it again.
fn mend(behind: &mut Behind, end: End) {
    match end {
        End::Dies => behind.cluster.replicas[0].start(),
        End::Hangs => behind.cluster.replicas[0].go_on(),
    }
    behind.cluster.until_filled(0);
    behind.cluster.until_fresh(SOON);
    behind.until_asked_again(0);
}
