//! Readings, steps and leap seconds by the table, and the invariant by chance.

use proptest::prelude::*;

use super::*;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;
const DAY: i64 = 86_400 * SECOND;
/// Noon of a day, far from leap seconds.
const NOON: i64 = 20_000 * DAY + DAY / 2;

fn policy(accuracy_ms: u64, precision_ms: u64, lease_ms: u64) -> Policy {
    Policy {
        accuracy: Duration::from_millis(accuracy_ms),
        precision: Duration::from_millis(precision_ms),
        lease: Duration::from_millis(lease_ms),
    }
}

fn said(offset_ms: i64, uncertainty_ms: u64) -> Discipline {
    Discipline {
        synchronised: true,
        offset: offset_ms * MS,
        uncertainty: uncertainty_ms * 1_000_000,
        leap: Leap::None,
        measurement: None,
    }
}

fn moment(monotonic: i64, wall: i64) -> Moment {
    Moment { monotonic, wall }
}

/// One reading after another, as the keeper makes them: answered at once.
fn take(policy: &Policy, history: &mut History, said: &Discipline, now: Moment) -> Result<Lease, NotTrusted> {
    assert!(history.answer(said, now.monotonic, now));
    judge(policy, history, said, now.monotonic, now)
}

fn verdict(policy: &Policy, said: &Discipline) -> Result<(), NotTrusted> {
    take(policy, &mut History::default(), said, moment(SECOND, NOON)).map(|_| ())
}

#[test]
fn offset_uncertainty_and_precision_together_keep_within_the_accuracy() {
    // A lease of a second is 0.5 ms of drift.
    let second = policy(1000, 1, 1000);
    for (policy, said, expected) in [
        (second, said(0, 0), Ok(())),
        (second, said(0, 998), Ok(())),
        (second, said(0, 999), Err(NotTrusted::Inaccurate)),
        (second, said(500, 498), Ok(())),
        (second, said(-500, 498), Ok(())),
        (second, said(500, 499), Err(NotTrusted::Inaccurate)),
        (second, said(-500, 499), Err(NotTrusted::Inaccurate)),
        (second, said(16_000, 0), Err(NotTrusted::Inaccurate)),
        (policy(1000, 1000, 1000), said(0, 0), Err(NotTrusted::Inaccurate)),
        (policy(1000, 100, 1000), said(0, 900), Err(NotTrusted::Inaccurate)),
        (policy(1000, 100, 1000), said(0, 899), Ok(())),
        (policy(10, 1, 10_000), said(0, 4), Ok(())),
        (policy(10, 1, 10_000), said(0, 5), Err(NotTrusted::Inaccurate)),
        (second, Discipline { offset: i64::MIN, ..said(0, 0) }, Err(NotTrusted::Inaccurate)),
        (second, Discipline { uncertainty: u64::MAX, ..said(0, 0) }, Err(NotTrusted::Inaccurate)),
        (second, Discipline { synchronised: false, ..said(0, 0) }, Err(NotTrusted::Unsynchronised)),
        (second, Discipline { synchronised: false, ..said(0, 16_000) }, Err(NotTrusted::Unsynchronised)),
        (second, Discipline { leap: Leap::Now, ..said(0, 0) }, Err(NotTrusted::Leap)),
        (second, Discipline { leap: Leap::Announced, ..said(0, 0) }, Ok(())),
    ] {
        assert_eq!(verdict(&policy, &said), expected, "{policy:?} {said:?}");
    }
}

#[test]
fn a_lease_counts_from_the_question_and_ends_by_itself() {
    let (policy, mut history) = (policy(1000, 1, 1000), History::default());
    let now = moment(10 * SECOND, NOON);
    assert!(history.answer(&said(1, 2), 9 * SECOND + 700 * MS, now));
    let lease = judge(&policy, &history, &said(1, 2), 9 * SECOND + 700 * MS, now).unwrap();
    let read = |later| lease.read(moment(now.monotonic + later, now.wall + later), |time| time);
    let reading = read(699 * MS).unwrap();
    assert_eq!(
        (reading.unix_nanos as i64, reading.offset_nanos, reading.uncertainty_nanos),
        (NOON + 699 * MS, MS, 2_000_000)
    );
    assert!(reading.checked);
    assert_eq!(read(700 * MS), Err(NotTrusted::Silent));
    // No answer leaves it as it is; the end makes it silence.
    let verdict = Ok(lease);
    for (later, expected) in [(0, verdict), (699 * MS, verdict), (700 * MS, Err(NotTrusted::Silent))] {
        let then = moment(now.monotonic + later, now.wall + later);
        history.silence(then);
        assert_eq!(unanswered(&policy, &history, verdict, then), expected);
    }
    let refused = Err(NotTrusted::Unsynchronised);
    assert_eq!(unanswered(&policy, &history, refused, now), Err(NotTrusted::Silent));
    history.silence(moment(now.monotonic, now.wall + SECOND));
    assert_eq!(unanswered(&policy, &history, verdict, now), Err(NotTrusted::Stepped));
}

#[test]
fn a_step_is_noticed_at_use_and_between_two_readings() {
    let policy = policy(1000, 1, 1000);
    // The rest of the accuracy counts if it is less than a step.
    for (uncertainty, step, notices) in [
        (0, 100, false),
        (0, 101, true),
        (0, -100, false),
        (0, -101, true),
        (990, 9, true),
        (990, -9, true),
        (990, 8, false),
    ] {
        let mut history = History::default();
        let lease = take(&policy, &mut history, &said(0, uncertainty), moment(0, NOON)).unwrap();
        let after = moment(100 * MS, NOON + (100 + step) * MS);
        let expected = if notices { Err(NotTrusted::Stepped) } else { Ok(()) };
        assert_eq!(lease.read(after, |time| time).map(|_| ()), expected, "{uncertainty} {step}");
        let again = take(&policy, &mut history, &said(0, uncertainty), after);
        // The kernel's next word counts: setting the clock makes it say that it is not synchronised.
        assert_eq!(again.map(|_| ()), expected, "{uncertainty} {step}");
        assert!(take(&policy, &mut history, &said(0, uncertainty), moment(350 * MS, after.wall + 250 * MS)).is_ok());
    }
}

/// What chronyd says that measured last at this second.
fn measured(second: u64) -> Discipline {
    Discipline { measurement: Some(second * 1_000_000_000), ..said(0, 0) }
}

/// By the monotonic clock, with the wall clock so many milliseconds ahead.
fn at(second: i64, ahead: i64) -> Moment {
    moment(second * SECOND, NOON + second * SECOND + ahead * MS)
}

/// Watched before its source measured the first that counts.
fn watched() -> History {
    let mut history = History::default();
    assert_eq!(take(&policy(1000, 1, 1000), &mut history, &measured(0), at(-1, 0)), Err(NotTrusted::Unmeasured));
    history
}

#[test]
fn a_source_that_does_not_see_a_step_is_believed_once_it_has_measured_again() {
    let (policy, mut history) = (policy(1000, 1, 1000), watched());
    assert!(take(&policy, &mut history, &measured(1), at(0, 0)).is_ok());
    assert_eq!(take(&policy, &mut history, &measured(1), at(1, 2000)), Err(NotTrusted::Stepped));
    for second in 2..10 {
        assert_eq!(take(&policy, &mut history, &measured(1), at(second, 2000)), Err(NotTrusted::Stepped));
    }
    assert_eq!(take(&policy, &mut history, &measured(1), at(10, 0)), Err(NotTrusted::Stepped), "set back");
    assert!(take(&policy, &mut history, &measured(2), at(11, 0)).is_ok());
    // In silence as well; what is measured meanwhile may have been with either clock.
    history.silence(at(12, 2000));
    assert_eq!(unanswered(&policy, &history, Err(NotTrusted::Silent), at(12, 2000)), Err(NotTrusted::Stepped));
    assert_eq!(take(&policy, &mut history, &measured(3), at(13, 2000)), Err(NotTrusted::Stepped));
    assert!(take(&policy, &mut history, &measured(4), at(14, 2000)).is_ok());
}

#[test]
fn what_was_measured_before_anybody_looked_does_not_count() {
    let (policy, mut history) = (policy(1000, 1, 1000), History::default());
    for second in 0..5 {
        assert_eq!(take(&policy, &mut history, &measured(100), at(second, 0)), Err(NotTrusted::Unmeasured));
    }
    let nobody = Discipline { synchronised: false, ..measured(100) };
    assert_eq!(take(&policy, &mut history, &nobody, at(5, 0)), Err(NotTrusted::Unsynchronised), "the first cause");
    assert!(take(&policy, &mut history, &measured(164), at(6, 0)).is_ok());
}

#[test]
fn small_steps_add_up_until_the_source_has_measured_again() {
    let (policy, mut history) = (policy(1000, 1, 1000), watched());
    assert!(take(&policy, &mut history, &measured(1), at(0, 0)).is_ok());
    assert!(take(&policy, &mut history, &measured(1), at(1, 60)).is_ok());
    assert_eq!(take(&policy, &mut history, &measured(1), at(2, 120)), Err(NotTrusted::Stepped));
    assert!(take(&policy, &mut history, &measured(2), at(3, 120)).is_ok());
    assert!(take(&policy, &mut history, &measured(2), at(4, 180)).is_ok());
    // Measured in between, with the one clock or the other.
    let lease = take(&policy, &mut history, &measured(3), at(5, 210)).unwrap();
    assert_eq!((lease.ahead - NOON, lease.bound), (195 * MS, 85 * MS));
    assert!(take(&policy, &mut history, &measured(3), at(6, 280)).is_ok());
    assert_eq!(take(&policy, &mut history, &measured(3), at(7, 290)), Err(NotTrusted::Stepped));
}

#[test]
fn around_an_announced_leap_second_no_time_is_told() {
    let policy = policy(1000, 1, 1000);
    let midnight = NOON + DAY / 2;
    // The margin and the accuracy are 11 s; before midnight a lease more, after it the second that is put in.
    let told = |from_midnight: i64| !(-12 * SECOND..12 * SECOND).contains(&from_midnight);
    // Announced all day, by the kernel or by chronyd, which still says so for a while afterwards.
    for announced_until in [0, 30 * SECOND] {
        let mut history = History::default();
        // An inserted second: the kernel shows the last one of the day twice, which is a step back.
        for tick in -4 * 40..4 * 40 {
            let monotonic = i64::from(tick) * 250 * MS;
            let wall = midnight + monotonic - if monotonic >= 0 { SECOND } else { 0 };
            let since = wall - midnight;
            let leap = match since {
                _ if (0..SECOND).contains(&monotonic) => Leap::Now,
                _ if since < announced_until => Leap::Announced,
                _ => Leap::None,
            };
            let verdict = take(&policy, &mut history, &Discipline { leap, ..said(0, 0) }, moment(monotonic, wall));
            let expected = if told(since) { Ok(()) } else { Err(NotTrusted::Leap) };
            assert_eq!(verdict.map(|_| ()), expected, "{} ms from midnight", since / MS);
            if let Ok(lease) = verdict {
                let end = lease.until + lease.ahead - midnight;
                assert!(end <= -11 * SECOND || end >= 12 * SECOND, "a lease never reaches into it: {end}");
            }
        }
    }
    // Not announced: an ordinary midnight.
    assert!(take(&policy, &mut History::default(), &said(0, 0), moment(0, midnight - 1)).is_ok());
    // Taken back in time: as well. Too late: it counts.
    for (before, expected) in [(13, Ok(())), (12, Err(NotTrusted::Leap))] {
        let mut history = History::default();
        let at = |second: i64| moment(second * SECOND, midnight + second * SECOND);
        let announced = Discipline { leap: Leap::Announced, ..said(0, 0) };
        let _ = take(&policy, &mut history, &announced, at(-before));
        assert_eq!(take(&policy, &mut history, &said(0, 0), at(-3)).map(|_| ()), expected, "{before} s before");
    }
}

#[test]
fn setting_the_clock_near_a_leap_second_is_a_step_all_the_same() {
    let (policy, mut history) = (policy(1000, 1, 1000), watched());
    let midnight = NOON + DAY / 2;
    let said = |leap| Discipline { leap, ..measured(1) };
    let _ = take(&policy, &mut history, &said(Leap::None), moment(0, midnight - 15 * SECOND));
    let _ = take(&policy, &mut history, &said(Leap::Announced), moment(10 * SECOND, midnight - 5 * SECOND));
    let _ = take(&policy, &mut history, &said(Leap::None), moment(11 * SECOND, midnight - SECOND));
    let after = take(&policy, &mut history, &said(Leap::None), moment(100 * SECOND, midnight + 88 * SECOND));
    assert_eq!(after, Err(NotTrusted::Stepped));
}

#[test]
fn promises_that_cannot_be_kept_are_refused() {
    assert_eq!(policy(1000, 1, 1000).check(), Ok(()));
    assert_eq!(policy(1000, 100, 1000).check(), Ok(()));
    for (policy, named) in [
        (policy(1000, 1000, 1000), "precision"),
        (policy(0, 0, 1000), "accuracy"),
        (policy(120_000, 1, 1000), "accuracy"),
        (policy(1000, 1, 10), "lease"),
        (policy(1000, 1, 100_000), "lease"),
        (policy(1, 0, 60_000), "drift"),
    ] {
        let problem = policy.check().unwrap_err();
        assert!(problem.contains(named), "{problem}");
        assert!(policy == self::policy(120_000, 1, 1000) || named == "lease" || verdict(&policy, &said(0, 0)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    /// UTC is a model here: the clock was off by something that the source's word allows, and afterwards both the
    /// oscillator and whoever sets the clock do what they like. All but the lease in parts of the accuracy, near its bounds.
    #[test]
    fn what_is_told_is_within_the_accuracy_whatever_becomes_of_the_clock(
        (accuracy_ms, lease_ms) in (1_u64..5000, 100_u64..60_000),
        (offset, uncertainty, precision) in (-0.6..=0.6_f64, 0.0..=0.6_f64, 0.0..=0.4_f64),
        (wrong, drift) in (prop_oneof![Just(-1.0), Just(1.0), -1.0..=1.0_f64], prop_oneof![Just(-500.0), Just(500.0)]),
        (later, step, told_before) in (0.0..=1.2_f64, -0.15..=0.15_f64, prop_oneof![Just(0.0), 0.0..=1.0_f64]),
    ) {
        let promised = policy(accuracy_ms, 0, lease_ms);
        let accuracy = nanos(promised.accuracy);
        let part = |of: f64| (accuracy as f64 * of) as i64;
        let policy = Policy { precision: Duration::from_nanos(part(precision) as u64), ..promised };
        let said = Discipline { offset: part(offset), uncertainty: part(uncertainty) as u64, ..said(0, 0) };
        let Ok(lease) = take(&policy, &mut History::default(), &said, moment(7 * SECOND, NOON)) else { return Ok(()) };
        // Relative to NOON, so that doubles do not round.
        let utc_then = -(said.offset as f64) - wrong * said.uncertainty as f64;
        let later = (nanos(policy.lease) as f64 * later) as i64;
        let now = moment(7 * SECOND + later, NOON + later + part(step));
        let utc_now = utc_then + later as f64 * (1.0 + drift / 1e6);
        if let Ok(reading) = lease.read(now, |wall| wall + part(told_before)) {
            let precision = nanos(policy.precision).max(1);
            // The worst that cutting off can do.
            for told in [reading.unix_nanos as i64 - NOON, reading.unix_nanos as i64 - NOON - precision] {
                let error = (told as f64 - utc_now).abs();
                prop_assert!(error <= accuracy as f64 + 10.0, "{error} ns of {accuracy}");
            }
        }
    }
}
