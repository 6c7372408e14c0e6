//! What is asked when and who is told what, with the courier played by the test.

use std::sync::Mutex;

use super::*;
use crate::feed::redis::Wanted;

const MS: Duration = Duration::from_millis(1);

/// Replies by the number of the question.
type Replies = Arc<Mutex<Vec<(u32, Reply)>>>;

struct World {
    machine: Machine,
    status: Arc<SharingStatus>,
    replies: Replies,
    now: Instant,
}

impl World {
    /// One in which Redis is asked.
    fn new() -> Self {
        let mut world = Self::idle();
        world.machine.take(Event::Woken, world.now);
        world.tried_after(MS);
        assert_eq!(world.status.state(), SharingState::Asked);
        world
    }

    fn idle() -> Self {
        let status = Arc::<SharingStatus>::default();
        let machine = Machine::new(Arc::clone(&status), 14);
        Self { machine, status, replies: Replies::default(), now: Instant::now() }
    }

    /// The next errand is a trial, and takes so long.
    #[track_caller]
    fn tried_after(&mut self, took: Duration) {
        assert!(matches!(self.machine.step(self.now), Some(Errand::Try)));
        self.done(Outcome::Tried(took));
        assert!(self.machine.step(self.now).is_none());
    }

    fn ask(&mut self, number: u32) {
        let replies = Arc::clone(&self.replies);
        let reply = Box::new(move |reply| replies.lock().unwrap().push((number, reply)));
        let wanted = Wanted { key: number.to_string(), octets: 100 };
        self.machine.take(Event::Asked(Question { wanted, asked: self.now, reply }), self.now);
    }

    fn offer(&mut self, octets: usize) {
        let offer = Offer { key: "k".to_owned(), value: vec![1; octets], lasts: Duration::from_secs(3600) };
        self.machine.take(Event::Offered(offer), self.now);
    }

    fn done(&mut self, outcome: Outcome) {
        self.machine.take(Event::Done(outcome), self.now);
    }

    /// The keys of the next errand, which asks.
    #[track_caller]
    fn asked(&mut self) -> Vec<String> {
        match self.machine.step(self.now) {
            Some(Errand::Ask(wanted)) => wanted.into_iter().map(|wanted| wanted.key).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn replied(&self) -> Vec<(u32, Reply)> {
        mem::take(&mut *self.replies.lock().unwrap())
    }

    fn count(&self, counter: impl Fn(&SharingStatus) -> &std::sync::atomic::AtomicU64) -> u64 {
        counter(&self.status).load(Relaxed)
    }
}

fn fault(cause: Cause) -> Outcome {
    Outcome::Failed(Fault { cause, message: "no".to_owned() })
}

#[test]
fn questions_that_came_together_are_one_request_and_what_is_not_there_comes_first() {
    let mut world = World::new();
    (0..40).for_each(|number| world.ask(number));
    let first: Vec<_> = (0..32).map(|number: u32| number.to_string()).collect();
    assert_eq!(world.asked(), first);
    assert!(world.machine.step(world.now).is_none(), "one errand at a time");
    let mut values = vec![None; 32];
    values[3] = Some(vec![7]);
    world.done(Outcome::Got(values));
    let mut expected: Vec<_> = (0..32).filter(|number| *number != 3).map(|number| (number, Reply::Nothing)).collect();
    expected.push((3, Reply::Found(vec![7])));
    assert_eq!(world.replied(), expected);
    assert_eq!(world.asked().len(), 8);
    // An answer for fewer than were asked for is none for the others.
    world.done(Outcome::Got(vec![Some(vec![1])]));
    assert_eq!(world.replied().iter().filter(|(_, reply)| *reply == Reply::Nothing).count(), 7);
    assert_eq!(world.count(|status| &status.absent), 31 + 7);
}

#[test]
fn a_question_is_replied_to_in_time_whatever_redis_does_and_nobody_asks_until_a_trial_was_answered() {
    let mut world = World::new();
    world.ask(1);
    world.asked();
    world.now += MS;
    world.ask(2);
    assert_eq!(world.machine.patience(world.now), Duration::from_micros(2500), "the second is too old then");
    world.now += Duration::from_micros(2500);
    assert!(world.machine.step(world.now).is_none());
    assert_eq!(world.replied(), [(2, Reply::Nothing)]);
    assert_eq!(world.machine.patience(world.now), Duration::from_micros(1500), "the first is due then");
    world.now += Duration::from_micros(1499);
    assert!(world.machine.step(world.now).is_none() && world.replied().is_empty());
    world.now += Duration::from_micros(1);
    world.ask(3);
    assert!(world.machine.step(world.now).is_none());
    assert_eq!(world.replied(), [(1, Reply::Nothing), (3, Reply::Nothing)]);
    assert_eq!((world.status.state(), world.count(|status| &status.late)), (SharingState::Away, 3));
    // The courier still waits: nothing can be tried.
    world.now += limits::PAUSE_MAX;
    assert!(world.machine.step(world.now).is_none());
    // What comes late is nobody's.
    world.done(Outcome::Got(vec![Some(vec![1])]));
    assert!(world.replied().is_empty());
    // A trial that takes too long is none that was answered.
    world.tried_after(limits::WITHIN + MS);
    assert_eq!(world.status.state(), SharingState::Away);
    assert_eq!(world.machine.patience(world.now), 2 * limits::PAUSE_MIN);
    world.now += 2 * limits::PAUSE_MIN;
    world.tried_after(limits::WITHIN);
    assert_eq!(world.status.state(), SharingState::Asked);
    world.ask(4);
    assert_eq!(world.asked(), ["4"]);
}

#[test]
fn a_fault_of_redis_is_replied_to_at_once() {
    for cause in [Cause::Unreachable, Cause::Unknown, Cause::Refused, Cause::Loading, Cause::Other] {
        let mut world = World::new();
        world.ask(1);
        world.asked();
        world.ask(2);
        world.done(fault(cause));
        assert_eq!(world.replied(), [(1, Reply::Nothing), (2, Reply::Nothing)], "{cause:?}");
        assert!(world.machine.step(world.now).is_none());
        assert_eq!(world.status.state(), SharingState::Away);
    }
}

#[test]
fn nothing_is_tried_before_somebody_wants_to_ask() {
    let mut world = World::idle();
    world.offer(100);
    assert!(world.machine.step(world.now).is_none());
    assert_eq!(world.status.state(), SharingState::Idle);
    world.machine.take(Event::Woken, world.now);
    assert!(matches!(world.machine.step(world.now), Some(Errand::Try)));
    world.done(Outcome::Tried(MS));
    // What was offered meanwhile was kept.
    assert!(matches!(world.machine.step(world.now), Some(Errand::Put(offers)) if offers.len() == 1));
}

#[test]
fn offers_wait_for_questions_and_pause_where_redis_takes_none() {
    for cause in [Cause::Full, Cause::NotMaster, Cause::Refused] {
        let mut world = World::new();
        (0..40).for_each(|_| world.offer(100));
        world.ask(1);
        assert_eq!(world.asked(), ["1"]);
        world.done(Outcome::Got(vec![None]));
        assert!(matches!(world.machine.step(world.now), Some(Errand::Put(offers)) if offers.len() == 32));
        world.done(Outcome::Put);
        assert!(matches!(world.machine.step(world.now), Some(Errand::Put(offers)) if offers.len() == 8));
        world.done(fault(cause));
        world.offer(100);
        assert!(world.machine.step(world.now).is_none(), "{cause:?}");
        // Questions go on.
        assert_eq!(world.status.state(), SharingState::Asked);
        world.ask(2);
        assert_eq!(world.asked(), ["2"]);
        world.done(Outcome::Got(vec![None]));
        world.now += limits::OFFER_PAUSE;
        assert!(matches!(world.machine.step(world.now), Some(Errand::Put(offers)) if offers.len() == 1));
        assert_eq!((world.count(|s| &s.offered), world.count(|s| &s.dropped)), (32, 8));
    }
}

#[test]
fn offers_are_bounded_in_number_and_in_bytes_of_redis() {
    let mut world = World::idle();
    (0..limits::OFFERS_WAITING_MAX + 3).for_each(|_| world.offer(100));
    assert_eq!(world.count(|status| &status.dropped), 3);
    let mut world = World::idle();
    let octets = limits::OFFERED_OCTETS_MAX / 4 - limits::KEY_OVERHEAD_OCTETS - 15;
    (0..6).for_each(|_| world.offer(octets));
    assert_eq!(world.count(|status| &status.no_room), 2);
}
