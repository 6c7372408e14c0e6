//! A source that goes silent, drifts, hangs and comes back, on a virtual clock and on the real one.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Instant,
};

use super::{
    keeper::{Watch, heard},
    *,
};

const MS: i64 = 1_000_000;
const TICK: i64 = 250 * MS;
const POLICY: Policy =
    Policy { accuracy: Duration::from_secs(1), precision: Duration::from_millis(1), lease: Duration::from_secs(1) };

const GOOD: Discipline =
    Discipline { synchronised: true, offset: MS, uncertainty: 5_000_000, leap: Leap::None, measurement: None };

/// A machine whose clocks go as it is told.
struct Machine {
    watch: Watch,
    history: History,
    clock: Arc<Clock>,
    now: Moment,
    /// Of every transition: what to.
    told: Vec<&'static str>,
}

impl Machine {
    fn new() -> Self {
        let clock = Arc::new(Clock::new(ClockSource::Kernel, POLICY, Arc::default()));
        let now = Moment { monotonic: 5 * TICK, wall: 1_700_000_000_000 * MS };
        Self { watch: Watch::new(Arc::clone(&clock)), history: History::default(), clock, now, told: Vec::new() }
    }

    fn pass(&mut self, nanos: i64) {
        self.now = Moment { monotonic: self.now.monotonic + nanos, wall: self.now.wall + nanos };
    }

    fn set(&mut self, ahead: i64) {
        self.now.wall += ahead;
    }

    /// The next reading, a quarter of a lease after the last one.
    fn look(&mut self, said: Option<Discipline>) -> Result<Reading, NotTrusted> {
        self.pass(TICK);
        let said = said.ok_or_else(|| io::Error::other("nothing"));
        let said = heard(&mut self.history, said, self.now.monotonic, self.now);
        for transition in self.watch.take(&said, &self.history, self.now.monotonic, self.now).into_iter().flatten() {
            assert_ne!(transition.from, transition.to);
            self.told.push(Transition::label(transition.to));
        }
        self.clock.at(self.now)
    }

    fn at(&self) -> Result<(), NotTrusted> {
        self.clock.at(self.now).map(|_| ())
    }

    fn count(&self, label: &str) -> u64 {
        self.clock.state().transitions.into_iter().find(|(name, _)| *name == label).unwrap().1
    }
}

#[test]
fn a_source_that_goes_silent_is_trusted_for_one_lease_and_again_when_it_is_back() {
    let mut machine = Machine::new();
    assert_eq!(machine.at(), Err(NotTrusted::Unread));
    assert_eq!(machine.look(None), Err(NotTrusted::Silent));
    assert!(machine.look(Some(GOOD)).is_ok());
    for _ in 0..3 {
        assert!(machine.look(None).is_ok());
    }
    machine.pass(TICK - 1);
    assert_eq!(machine.at(), Ok(()));
    machine.pass(1);
    assert_eq!(machine.at(), Err(NotTrusted::Silent), "without anybody looking");
    assert_eq!(machine.look(None), Err(NotTrusted::Silent));
    assert_eq!(machine.look(None), Err(NotTrusted::Silent));
    assert_eq!(machine.clock.state().problem.as_deref(), Some("nothing"));
    assert!(machine.look(Some(GOOD)).is_ok());
    assert_eq!(machine.told, ["silent", "trusted", "silent", "trusted"]);
    assert_eq!((machine.count("trusted"), machine.count("silent")), (2, 2));
    assert_eq!(machine.clock.state().problem, None);
    // No thread looked in the meantime, yet no time was given for a while.
    machine.pass(4 * TICK);
    assert!(machine.look(Some(GOOD)).is_ok());
    assert_eq!(machine.told[4..], ["silent", "trusted"]);
}

#[test]
fn what_the_source_takes_back_counts_at_once() {
    for (said, reason) in [
        (Discipline { synchronised: false, ..GOOD }, NotTrusted::Unsynchronised),
        (Discipline { uncertainty: 1_000_000_000, ..GOOD }, NotTrusted::Inaccurate),
        (Discipline { leap: Leap::Now, ..GOOD }, NotTrusted::Leap),
    ] {
        let mut machine = Machine::new();
        assert!(machine.look(Some(GOOD)).is_ok());
        for _ in 0..10 {
            assert_eq!(machine.look(Some(said)), Err(reason));
        }
        assert_eq!(machine.clock.state().discipline, Some(said));
        assert_eq!(machine.count(reason.label()), 1, "told once");
        if reason != NotTrusted::Leap {
            assert!(machine.look(Some(GOOD)).is_ok());
        }
    }
}

#[test]
fn a_clock_that_drifts_is_trusted_up_to_the_accuracy() {
    let mut machine = Machine::new();
    // The kernel adds 500 ppm: 0.125 ms a reading.
    let refused_at = (0..20_000_u64)
        .map(|number| GOOD.uncertainty + number * 125_000)
        .find(|uncertainty| machine.look(Some(Discipline { uncertainty: *uncertainty, ..GOOD })).is_err());
    // Offset 1 ms, precision 1 ms, drift in a lease 0.5 ms.
    assert_eq!(refused_at, Some(997_625_000));
    assert_eq!(machine.told, ["trusted", "inaccurate"]);
}

#[test]
fn setting_the_clock_ends_the_lease_at_once_and_time_never_goes_back() {
    let mut machine = Machine::new();
    let before = machine.look(Some(GOOD)).unwrap().unix_nanos;
    machine.set(-2000 * MS);
    assert_eq!(machine.at(), Err(NotTrusted::Stepped), "before anybody looks");
    assert_eq!(machine.look(Some(GOOD)), Err(NotTrusted::Stepped));
    // The source confirms the time now, but the times given are further ahead than allowed.
    assert_eq!(machine.look(Some(GOOD)), Err(NotTrusted::Behind));
    let told = (0..20).find_map(|_| machine.look(Some(GOOD)).ok()).unwrap();
    assert_eq!(told.unix_nanos, before, "not earlier than before, and that is within the accuracy");
    assert!(machine.now.wall.abs_diff(told.unix_nanos as i64) < 993_500_001);
    // Back by less than a step: it stands still.
    let mut machine = Machine::new();
    let before = machine.look(Some(GOOD)).unwrap().unix_nanos;
    machine.set(-90 * MS);
    assert_eq!(machine.clock.at(machine.now).unwrap().unix_nanos, before);
    assert_eq!(machine.told, ["trusted"]);
}

#[test]
fn an_unchecked_clock_is_told_as_it_is_but_never_goes_back() {
    let (keeper, clocks) =
        start(ClockSource::Unchecked, &[POLICY], &Arc::default(), &Arc::default(), Box::new(|_| ())).unwrap();
    let clock = &clocks[0];
    let reading = clock.now().unwrap();
    assert!(!reading.checked);
    let state = clock.state();
    assert_eq!((state.verdict, state.lease_left, state.source.label()), (Ok(()), Duration::MAX, "unchecked"));
    let wall = i64::try_from(reading.unix_nanos).unwrap();
    let at = |ahead: i64| {
        clock.at(Moment { monotonic: 0, wall: wall + ahead }).map(|reading| reading.unix_nanos as i64 - wall)
    };
    assert_eq!(at(5000 * MS), Ok(5000 * MS));
    assert_eq!(at(4500 * MS), Ok(5000 * MS));
    assert_eq!(at(4000 * MS), Err(NotTrusted::Behind), "ahead by more than the accuracy");
    assert_eq!(at(6000 * MS), Ok(6000 * MS));
    drop(keeper);
    assert_eq!(clock.now(), Err(NotTrusted::Unread), "nobody keeps it");
}

/// When tokens stop, the log, the metrics and the record must say so.
#[test]
fn an_unchecked_clock_that_is_set_back_is_told_of_as_any_other() {
    let clock = Arc::new(Clock::new(ClockSource::Unchecked, POLICY, Arc::default()));
    let mut watch = Watch::unchecked(Arc::clone(&clock));
    let at = |millis: i64| Moment { monotonic: 0, wall: (1_700_000_000_000 + millis) * MS };
    let count = |label: &str| clock.state().transitions.into_iter().find(|(name, _)| *name == label).unwrap().1;
    assert_eq!(watch.look(at(0)), None, "it is warned of at the start");
    // No time was given while it was ahead.
    assert_eq!(watch.look(at(5000)), None);
    assert_eq!(watch.look(at(0)), None);
    clock.at(at(5000)).unwrap();
    assert_eq!(watch.look(at(4500)), None, "within the accuracy");
    let behind = watch.look(at(2000)).unwrap();
    assert_eq!((behind.from, behind.to, behind.source.label()), (Ok(()), Err(NotTrusted::Behind), "unchecked"));
    assert_eq!(watch.look(at(2250)), None, "told once");
    assert_eq!(clock.at(at(2250)).map(|_| ()), Err(NotTrusted::Behind));
    let again = watch.look(at(5000)).unwrap();
    assert_eq!((again.from, again.to), (Err(NotTrusted::Behind), Ok(())));
    assert_eq!((count("behind"), count("trusted")), (1, 1));
}

#[test]
fn the_kernels_word_is_the_verdict() {
    let (keeper, clocks) =
        start(ClockSource::Kernel, &[POLICY], &Arc::default(), &Arc::default(), Box::new(|_| ())).unwrap();
    let state = clocks[0].state();
    let said = state.discipline.expect("the kernel answers");
    let (now, mut history) = (Clocks.read_together(), History::default());
    assert!(history.answer(&said, now.monotonic, now));
    let verdict = judge(&POLICY, &history, &said, now.monotonic, now).map(|_| ());
    assert_eq!(state.verdict, verdict, "{said:?}");
    assert_eq!(clocks[0].now().map(|_| ()), verdict);
    drop(keeper);
    assert_eq!(clocks[0].now(), Err(NotTrusted::Unread));
}

#[test]
fn a_source_that_hangs_holds_up_nobody_and_its_lease_ends() {
    // This test requests each answer; until then the keeper's thread waits in the source.
    let (answer, answers) = mpsc::channel::<Discipline>();
    let asked = Arc::new(AtomicU64::new(0));
    let ask = {
        let asked = Arc::clone(&asked);
        Box::new(move |_| {
            asked.fetch_add(1, SeqCst);
            answers.recv().map_err(io::Error::other)
        })
    };
    let policy = Policy { lease: Duration::from_millis(200), ..POLICY };
    let clock = Arc::new(Clock::new(ClockSource::Kernel, policy, Arc::default()));
    let (told, transitions) = mpsc::channel();
    let hook = Box::new(move |transition: &Transition| told.send(transition.to).unwrap());
    answer.send(GOOD).unwrap();
    let keeper = keeper::Keeper::start_asking(ask, vec![Arc::clone(&clock)], Arc::default(), hook).unwrap();
    // If this test fails, the thread is released before it is joined.
    let held = (answer, keeper);
    let answer = &held.0;
    assert_eq!(transitions.recv().unwrap(), Ok(()));
    let begin = Instant::now();
    while clock.now().is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(clock.now(), Err(NotTrusted::Silent), "although the thread waits for the source");
    assert!(asked.load(SeqCst) <= 2);
    // It comes back: a late answer says nothing about now, the next one does.
    for _ in 0..50 {
        answer.send(GOOD).unwrap();
    }
    while clock.now().is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    }
}

/// A reload to another accuracy must not make tokens that are 5 s off.
#[test]
fn what_was_measured_before_the_clock_was_set_counts_for_nobody_who_comes_later() {
    let (history, monotone) = (SharedHistory::default(), Arc::default());
    let said = |measurement| Ok(Discipline { measurement: Some(measurement), ..GOOD });
    let now = Clocks.read_together();
    let mut shared = history.lock().unwrap();
    // Measured, and then set by 5 s.
    for (measurement, before, ahead) in [(1, 3, -5000), (1_000_000_000, 2, -5000), (1_000_000_000, 1, 0)] {
        let at = Moment { monotonic: now.monotonic - before * MS, wall: now.wall - before * MS + ahead * MS };
        heard(&mut shared, said(measurement), at.monotonic, at).unwrap();
    }
    drop(shared);
    let watch = |accuracy_ms, measurement| {
        let policy = Policy { accuracy: Duration::from_millis(accuracy_ms), ..POLICY };
        let clock = Arc::new(Clock::new(ClockSource::CHRONY, policy, Arc::clone(&monotone)));
        let ask = Box::new(move |_| said(measurement));
        let watched = vec![Arc::clone(&clock)];
        let keeper = keeper::Keeper::start_asking(ask, watched, Arc::clone(&history), Box::new(|_| ())).unwrap();
        (clock.now().map(|_| ()), keeper)
    };
    for accuracy_ms in [1000, 500, 2000, 40_000] {
        assert_eq!(watch(accuracy_ms, 1_000_000_000).0, Err(NotTrusted::Stepped), "{accuracy_ms}");
    }
    // A change that is no step for any policy.
    assert_eq!(watch(60_000, 1_000_000_000).0, Ok(()));
    assert_eq!(watch(1000, 64_000_000_000).0, Ok(()), "measured again");
}

#[test]
fn every_policy_gets_its_own_verdict_from_one_reading() {
    let strict = Policy { accuracy: Duration::from_millis(5), ..POLICY };
    let monotone = Arc::default();
    let both = [POLICY, strict].map(|policy| Arc::new(Clock::new(ClockSource::Kernel, policy, Arc::clone(&monotone))));
    let keeper =
        keeper::Keeper::start_asking(Box::new(|_| Ok(GOOD)), both.to_vec(), Arc::default(), Box::new(|_| ())).unwrap();
    assert!(both[0].now().is_ok());
    assert_eq!(both[1].now(), Err(NotTrusted::Inaccurate));
    drop(keeper);
}

#[test]
fn sources_are_named_as_they_are_configured() {
    for (text, source) in [
        ("kernel", ClockSource::Kernel),
        ("chrony", ClockSource::CHRONY),
        ("unchecked", ClockSource::Unchecked),
        ("chrony:127.0.0.1:1323", ClockSource::Chrony(([127, 0, 0, 1], 1323).into())),
        ("chrony:[::1]:323", ClockSource::Chrony("[::1]:323".parse().unwrap())),
    ] {
        assert_eq!(text.parse(), Ok(source));
        assert_eq!(source.to_string(), text);
    }
    for text in ["", "Kernel", "ntp", "chrony:", "chrony:323", "chrony:192.0.2.1:323", "chrony:localhost:323"] {
        let problem = text.parse::<ClockSource>().unwrap_err();
        assert!(problem.contains("`kernel`"), "{problem}");
    }
    assert_eq!(ClockSource::default(), ClockSource::Kernel);
    for (number, reason) in NotTrusted::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, number);
    }
}
