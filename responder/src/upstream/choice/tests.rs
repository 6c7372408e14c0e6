//! By example, and with upstreams that come and go at random.

use proptest::prelude::*;

use super::*;

const FAIL_BACK: Duration = limits::FAIL_BACK_DEFAULT;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Upstreams of which each answers or not, and a client that asks until somebody does.
struct World {
    choice: Choice,
    now: Duration,
}

/// What became of a request.
#[derive(Default, Debug)]
struct Asked {
    by: Option<usize>,
    attempts: Vec<usize>,
    changes: Vec<Change>,
}

impl World {
    fn new(count: usize) -> Self {
        Self { choice: Choice::new(count, FAIL_BACK), now: Duration::ZERO }
    }

    fn ask(&mut self, answers: impl Fn(usize) -> bool) -> Asked {
        let (mut tried, mut asked) = (0, Asked::default());
        while let Some(attempt) = self.choice.next(tried, self.now) {
            tried |= 1 << attempt.place;
            asked.attempts.push(attempt.place);
            let was_answered = answers(attempt.place);
            asked.changes.extend(self.choice.ended(attempt, was_answered, self.now));
            if was_answered {
                asked.by = Some(attempt.place);
                break;
            }
        }
        asked
    }

    fn wait(&mut self, time: f64) {
        self.now += seconds(time);
    }
}

#[test]
fn the_first_is_asked_until_it_fails_and_again_when_it_has_answered_for_the_whole_delay() {
    let mut world = World::new(2);
    assert_eq!(world.ask(|_| true).by, Some(0));
    for failures in 1..=limits::FAILURES_IN_A_ROW {
        let asked = world.ask(|place| place == 1);
        assert_eq!((asked.by, &*asked.attempts), (Some(1), &[0, 1][..]), "nobody goes without an answer");
        let is_last = failures == limits::FAILURES_IN_A_ROW;
        assert_eq!(asked.changes.contains(&Change::InUse(1)), is_last, "{failures}");
    }
    assert_eq!(world.ask(|_| true).attempts, [1], "it is left alone at first");
    world.wait(1.0);
    assert_eq!(world.ask(|_| true).by, Some(0), "one request is its trial");
    assert_eq!(world.ask(|_| true).by, Some(1), "and no other");
    let since = world.now;
    while world.choice.in_use() == 1 {
        world.wait(0.5);
        world.ask(|_| true);
    }
    let took = world.now - since;
    assert!(took >= FAIL_BACK && took <= FAIL_BACK + 2 * limits::TRIAL_EVERY, "{took:?}");
}

#[test]
fn where_all_are_left_clients_are_told_at_once_and_the_first_that_answers_is_used() {
    let mut world = World::new(2);
    for _ in 0..limits::FAILURES_IN_A_ROW {
        world.ask(|_| false);
    }
    assert!(world.ask(|_| false).attempts.is_empty(), "nobody is asked, and nobody waits");
    world.wait(1.0);
    let asked = world.ask(|place| place == 1);
    assert_eq!((asked.by, world.choice.in_use()), (Some(1), 1), "{asked:?}");
}

#[test]
fn failures_of_requests_from_before_count_once() {
    let mut choice = Choice::new(1, FAIL_BACK);
    let attempts: Vec<_> = (0..50).map(|_| choice.next(0, Duration::ZERO).unwrap()).collect();
    attempts.into_iter().for_each(|attempt| drop(choice.ended(attempt, false, Duration::ZERO)));
    assert!(choice.next(0, limits::BACK_OFF_MIN).is_some_and(|attempt| attempt.is_trial), "after the shortest time");
}

#[test]
fn a_slow_upstream_gets_its_time_where_there_is_no_other() {
    for (count, within) in [(1, limits::ANSWER_WITHIN), (2, limits::TRIAL_WITHIN)] {
        let mut world = World::new(count);
        for _ in 0..limits::FAILURES_IN_A_ROW {
            world.ask(|place| place != 0);
        }
        world.wait(1.0);
        assert_eq!(world.choice.next(0, world.now).unwrap().within, within, "{count}");
    }
}

proptest! {
    #[test]
    fn however_the_primary_flaps_it_is_gone_back_to_once_in_a_delay(
        flaps in prop::collection::vec((0.01_f64..20.0, any::<bool>()), 1..400),
        gap in 0.01_f64..2.0,
    ) {
        let mut world = World::new(2);
        let (mut switches, mut since_failure) = (0_u32, Duration::ZERO);
        for (length, is_up) in flaps {
            let end = world.now + seconds(length);
            while world.now < end {
                let before = world.choice.in_use();
                let asked = world.ask(|place| place == 1 || is_up);
                prop_assert!(asked.by.is_some(), "the secondary always answers");
                prop_assert!(asked.attempts.len() <= 2);
                if asked.attempts.contains(&0) && !is_up {
                    since_failure = world.now;
                }
                if (before, world.choice.in_use()) == (1, 0) {
                    switches += 1;
                    prop_assert!(world.now - since_failure >= FAIL_BACK, "it has answered for the whole delay");
                }
                world.wait(gap);
            }
        }
        prop_assert!(f64::from(switches) <= world.now.as_secs_f64() / FAIL_BACK.as_secs_f64());
    }

    #[test]
    fn whoever_answers_is_found_while_not_all_are_left(
        steps in prop::collection::vec((0.0_f64..5.0, prop::collection::vec(any::<bool>(), 4)), 1..300),
        count in 1_usize..5,
    ) {
        let mut world = World::new(count);
        for (gap, up) in steps {
            world.wait(gap);
            let not_left: Vec<_> = (0..count).filter(|place| !world.choice.is_left(*place)).collect();
            let asked = world.ask(|place| up[place]);
            if not_left.iter().any(|place| up[*place]) {
                prop_assert!(asked.by.is_some(), "{asked:?}");
            }
            let mut once = asked.attempts.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), asked.attempts.len(), "nobody is asked twice for one request");
            let no_other = (0..count).all(|place| world.choice.is_left(place));
            prop_assert!(no_other || !world.choice.is_left(world.choice.in_use()), "who is in use answers");
        }
    }
}
