//! Answers that come late, frequencies that are adjusted, leap seconds and notes by the table; steps, silence, kills and
//! reloads by chance.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tsa::clock::{Lease, NotTrusted, judge, unanswered};

const MS: i64 = 1_000_000;
const NOON: i64 = 20_000 * DAY + DAY / 2;

/// By the monotonic clock, with the wall clock so many milliseconds ahead.
fn at(second: i64, ahead: i64) -> Moment {
    Moment { monotonic: second * SECOND, wall: NOON + second * SECOND + ahead * MS }
}

/// What chronyd says that measured last at this second.
fn measured(second: i64) -> Discipline {
    Discipline {
        synchronised: true,
        offset: 0,
        uncertainty: 0,
        leap: Leap::None,
        measurement: Some((second * SECOND).cast_unsigned()),
    }
}

/// Of a source that was looked at before it measured at second 100.
fn watched() -> History {
    let mut history = History::default();
    for (second, measurement) in [(99, 36), (100, 100)] {
        assert!(history.answer(&measured(measurement), second * SECOND, at(second, 0)));
    }
    assert_eq!(history.span(), Some(Span::at(NOON)));
    history
}

#[test]
fn an_answer_that_may_be_older_than_anothers_does_not_count() {
    let mut history = watched();
    // Asked before the other was answered, with the clock set meanwhile.
    assert!(!history.answer(&measured(36), 100 * SECOND - 1, at(101, 5000)));
    assert_eq!(history.span(), Some(Span { low: NOON, high: NOON + 5 * SECOND }), "where the clock is counts");
    assert!(history.answer(&measured(100), 100 * SECOND - 1, at(101, 5000)), "of the latest measurement it is as good");
    assert!(history.answer(&measured(164), 101 * SECOND, at(165, 5000)));
    assert_eq!(history.span().unwrap().width(), 5 * SECOND, "measured with one of both clocks");
}

#[test]
fn a_measurement_is_the_same_where_a_daemon_has_adjusted_its_frequency_since() {
    let mut history = watched();
    let shifted = |by: i64| Discipline {
        measurement: measured(100).measurement.map(|of| of.wrapping_add_signed(by)),
        ..measured(0)
    };
    // Ten seconds later it reports the measurement as up to 5 ms later or earlier.
    for by in [5 * MS, -5 * MS] {
        assert!(history.answer(&shifted(by), 110 * SECOND, at(110, 5000)));
        assert_eq!(history.span().unwrap().width(), 5 * SECOND, "{by}");
    }
    assert!(history.answer(&shifted(7 * MS), 110 * SECOND, at(110, 5000)));
    assert_eq!(history.span().unwrap().width(), 0, "the daemons that measure most often do so every 8 ms");
}

#[test]
fn what_is_noted_of_a_measurement_counts_after_a_restart_for_the_same_clock_alone() {
    let noted = watched().to_text();
    let restarted = |measurement, ahead| {
        let mut history = History::from_text(&noted).unwrap();
        assert!(history.answer(&measured(measurement), 200 * SECOND, at(200, ahead)));
        history.span().map(Span::width)
    };
    assert_eq!(restarted(100, 0), Some(0));
    assert_eq!(restarted(100, 5000), Some(5 * SECOND));
    // Measured while nobody looked, after the clock was set or before.
    assert_eq!(restarted(164, 0), None);
    assert_eq!(restarted(164, 5000), None);
    // After a reboot the monotonic clock restarts.
    let mut history = History::from_text(&noted).unwrap();
    let now = Moment { monotonic: 30 * SECOND, wall: at(300, 0).wall };
    assert!(history.answer(&measured(100), 30 * SECOND, now));
    assert_eq!(history.span().unwrap().width(), 270 * SECOND);
}

#[test]
fn a_note_is_read_as_it_was_written_and_a_damaged_one_is_not() {
    let leap = Some(LeapSecond { midnight: NOON + DAY / 2, told: NOON, made: true });
    let none = History { measurement: Some((7, 8)), ..History::default() };
    for history in [none, History { span: Some(Span { low: -3, high: 4 }), leap, ..none }] {
        let text = history.to_text();
        assert_eq!(History::from_text(&text), Some(history));
        for end in 0..text.len() {
            assert_eq!(History::from_text(&text[..end]), None, "cut after {end}");
        }
    }
    for damaged in [
        "end\n",
        "span 1 2\nend\n",
        "measurement 1 2\nspan 2 1\nend\n",
        "measurement 1 2 3\nend\n",
        "measurement 1 2\n\nend\n",
    ] {
        assert_eq!(History::from_text(damaged), None, "{damaged:?}");
    }
}

#[test]
fn what_a_start_would_not_know_is_noted() {
    let history = watched();
    assert!(history.says_more_than(None));
    assert!(!History::default().says_more_than(None), "nothing is known");
    let noted = History::from_text(&history.to_text()).unwrap();
    assert!(!history.says_more_than(Some(&noted)));
    let after = |measurement, wall_micros: i64| {
        let (mut history, mut now) = (history, at(101, 0));
        now.wall += wall_micros * 1000;
        assert!(history.answer(&measured(measurement), now.monotonic, now));
        history.says_more_than(Some(&noted))
    };
    assert_eq!([after(100, 20), after(100, 21), after(100, -21), after(101, 0)], [false, true, true, true]);
}

#[test]
fn what_was_measured_before_a_leap_second_counts_after_it() {
    let midnight = NOON + DAY / 2;
    for (by, announced) in [(-1, true), (1, true), (-1, false)] {
        let mut history = watched();
        let look = |history: &mut History, second: i64, ahead: i64, leap| {
            let now = Moment { monotonic: second * SECOND, wall: midnight + (second - 1000 + ahead) * SECOND };
            assert!(history.answer(&Discipline { leap, ..measured(900) }, now.monotonic, now));
            history.span().unwrap().width()
        };
        let begin = Moment { monotonic: 899 * SECOND, wall: midnight - 101 * SECOND };
        assert!(history.answer(&measured(899), begin.monotonic, begin));
        let leap = if announced { Leap::Announced } else { Leap::None };
        assert_eq!(look(&mut history, 900, 0, leap), 0);
        assert_eq!(look(&mut history, 995, 0, leap), 0);
        let expected = if announced { 0 } else { SECOND };
        assert_eq!(look(&mut history, 1002, by, Leap::None), expected, "{by} {announced}");
        // Once.
        assert_eq!(look(&mut history, 1003, 2 * by, Leap::None), expected + SECOND);
    }
}

/// One thing that becomes of a machine.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many milliseconds pass.
    Pass(i64),
    /// The clock is set by this much.
    Set(i64),
    /// chronyd measures.
    Measure,
    /// It answers, or not, from now on.
    Answers(bool),
    /// The keeper looks.
    Look,
    /// What is known is noted.
    Note,
    /// Killed and started again, or with the note lost.
    Kill { lost: bool },
    /// Other accuracies are promised.
    Reload,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..3000_i64).prop_map(Event::Pass),
        2 => prop_oneof![-6000..6000_i64, -150..150_i64, Just(5000), Just(-5000)].prop_map(Event::Set),
        2 => Just(Event::Measure),
        1 => any::<bool>().prop_map(Event::Answers),
        8 => Just(Event::Look),
        2 => Just(Event::Note),
        1 => any::<bool>().prop_map(|lost| Event::Kill { lost }),
        1 => Just(Event::Reload),
    ]
}

/// A machine with a right monotonic clock, and a chronyd that leaves the clock alone and notices nothing.
struct Machine {
    now: Moment,
    /// How far the wall clock is ahead of UTC,
    wrong: i64,
    /// and was when chronyd measured, and when that was.
    measured: (i64, i64),
    answers: bool,
    history: History,
    noted: Option<String>,
    policies: Vec<(Policy, Result<Lease, NotTrusted>)>,
}

impl Machine {
    fn new() -> Self {
        let now = Moment { monotonic: 1000 * SECOND, wall: NOON };
        let (history, policies) = (History::default(), Self::promised(1));
        Self { now, wrong: 0, measured: (0, NOON), answers: true, history, noted: None, policies }
    }

    fn promised(scale: u64) -> Vec<(Policy, Result<Lease, NotTrusted>)> {
        let policy = |accuracy_ms| Policy {
            accuracy: Duration::from_millis(accuracy_ms * scale),
            precision: Duration::from_millis(2),
            lease: Duration::from_secs(1),
        };
        [100, 1000, 3000].map(|accuracy| (policy(accuracy), Err(NotTrusted::Unread))).to_vec()
    }

    fn look(&mut self) {
        let (offset, time) = self.measured;
        let said =
            Discipline { offset, uncertainty: 1_000_000, measurement: Some(time.cast_unsigned()), ..measured(0) };
        let (now, asked) = (self.now, self.now.monotonic);
        if self.answers {
            assert!(self.history.answer(&said, asked, now));
        } else {
            self.history.silence(now);
        }
        for (policy, verdict) in &mut self.policies {
            *verdict = if self.answers {
                judge(policy, &self.history, &said, asked, now)
            } else {
                unanswered(policy, &self.history, *verdict, now)
            };
        }
    }

    fn happens(&mut self, event: Event, number: u64) {
        match event {
            Event::Pass(ms) => {
                self.now = Moment { monotonic: self.now.monotonic + ms * MS, wall: self.now.wall + ms * MS };
            }
            Event::Set(ms) => (self.now.wall, self.wrong) = (self.now.wall + ms * MS, self.wrong + ms * MS),
            Event::Measure => self.measured = (self.wrong, self.now.wall),
            Event::Answers(answers) => self.answers = answers,
            Event::Look => self.look(),
            Event::Note => {
                let noted = self.noted.as_deref().and_then(History::from_text);
                if self.history.says_more_than(noted.as_ref()) {
                    self.noted = Some(self.history.to_text());
                }
            }
            Event::Kill { lost } => {
                self.noted = self.noted.take().filter(|_| !lost);
                self.history =
                    self.noted.as_deref().map_or_else(History::default, |text| History::from_text(text).unwrap());
                self.policies = Self::promised(1);
                self.look();
            }
            Event::Reload => {
                self.policies = Self::promised(1 + number % 3);
                self.look();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(13), cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn no_step_silence_kill_or_reload_has_a_time_told_outside_of_the_accuracy(events in proptest::collection::vec(event(), 1..80)) {
        let mut machine = Machine::new();
        for (number, event) in events.iter().enumerate() {
            machine.happens(*event, number as u64);
            for (policy, verdict) in &machine.policies {
                if let Ok(reading) = verdict.and_then(|lease| lease.read(machine.now, |time| time)) {
                    let utc = machine.now.wall - machine.wrong;
                    let error = (reading.unix_nanos as i64).abs_diff(utc);
                    let accuracy = (policy.accuracy - policy.precision).as_nanos() as u64;
                    prop_assert!(error <= accuracy, "{error} ns after {:?}", &events[..=number]);
                }
            }
        }
    }
}

#[test]
fn a_machine_that_nobody_disturbs_tells_the_time_also_after_a_kill() {
    let mut machine = Machine::new();
    let events =
        [Event::Look, Event::Pass(64_000), Event::Measure, Event::Look, Event::Note, Event::Kill { lost: false }];
    for (number, event) in events.into_iter().enumerate() {
        machine.happens(event, number as u64);
    }
    assert!(machine.policies.iter().all(|(_, verdict)| verdict.is_ok()), "{:?}", machine.policies);
    machine.happens(Event::Kill { lost: true }, 9);
    assert!(
        machine.policies.iter().all(|(_, verdict)| *verdict == Err(NotTrusted::Unmeasured)),
        "{:?}",
        machine.policies
    );
}
