//! Serial numbers of time-stamps, drawn by processes that are killed and started again while the clock jumps.
//!
//! The processes are this very program, told by the environment where to write what they draw.

use std::{
    collections::HashSet,
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use ostia_tests::{FakeClock, until};
use responder::tsa::serial::{OCTETS, SerialNumber, Serials};

const DIR: &str = "OSTIA_TEST_SERIALS_DIR";
const COUNT: &str = "OSTIA_TEST_SERIALS_COUNT";
/// Of the test that the processes run.
const NAME: &str = "two_threads_draw_no_serial_twice";

const PROCESSES: usize = 4;
const THREADS: usize = 2;
/// Of every process, all its lives together.
const SERIALS: usize = 1_000_000;
/// What the clock shows in turn: it goes back every other time.
const CLOCKS: [&str; 4] = ["+400d", "-3000d", "+1h", "-2s"];
const PATIENCE: Duration = Duration::from_secs(120);

/// Draws at least `count` and, where `steps`, until the clock has been seen to go back; into a file of its own.
fn draw(dir: &Path, thread: usize, count: usize, steps: bool) {
    let mut serials = Serials::new().unwrap();
    let mut file = File::create(dir.join(thread.to_string())).unwrap();
    let mut batch = Vec::new();
    let (mut drawn, mut stepped, mut before) = (0, !steps, SystemTime::now());
    while drawn < count || !stepped {
        batch.clear();
        for _ in 0..1000 {
            batch.extend_from_slice(&serials.next_serial().unwrap());
        }
        file.write_all(&batch).unwrap();
        drawn += 1000;
        let now = SystemTime::now();
        stepped |= now < before;
        before = now;
    }
}

/// All serials below `dir`; the last of a file is not whole where its writer was killed.
fn drawn_below(dir: &Path, numbers: &mut Vec<SerialNumber>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            drawn_below(&entry.path(), numbers);
        } else {
            numbers.extend(fs::read(entry.path()).unwrap().as_chunks::<OCTETS>().0);
        }
    }
}

fn assert_distinct(dir: &Path, at_least: usize) {
    let mut numbers = Vec::new();
    drawn_below(dir, &mut numbers);
    assert!(numbers.len() >= at_least, "{} were drawn", numbers.len());
    assert!(numbers.iter().all(|number| (0x40..0x80).contains(&number[0])), "each takes 20 bytes and is positive");
    // The last 16 bytes tell them apart as well, and are sorted in half the time.
    let mut ends: Vec<_> = numbers.iter().map(|number| u128::from_be_bytes(*number.last_chunk().unwrap())).collect();
    ends.sort_unstable();
    assert!(ends.is_sorted_by(|a, b| a < b), "one of {} came twice", ends.len());
}

#[test]
fn two_threads_draw_no_serial_twice() {
    let told = env::var_os(DIR).map(PathBuf::from);
    let count: usize = env::var(COUNT).map_or(50_000, |count| count.parse().unwrap());
    let own = tempfile::tempdir().unwrap();
    let (dir, steps) = (told.as_deref().unwrap_or(own.path()), told.is_some());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || draw(dir, thread, count, steps));
        }
    });
    // Whoever told this one looks at all of them together.
    if !steps {
        assert_distinct(dir, THREADS * count);
    }
}

/// One life of a process.
struct Life {
    child: Child,
    dir: PathBuf,
}

impl Life {
    /// Draws `count` in all, by a clock that follows the file `clock`.
    fn begin(dir: PathBuf, count: usize, clock: &FakeClock) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", NAME]).stdout(Stdio::null());
        command.env(DIR, &dir).env(COUNT, (count / THREADS).to_string());
        command.envs(clock.environment());
        Self { child: command.spawn().unwrap(), dir }
    }

    fn drawn(&self) -> usize {
        let mut numbers = 0;
        for entry in fs::read_dir(&self.dir).unwrap().map(Result::unwrap) {
            numbers += entry.metadata().unwrap().len() as usize / OCTETS;
        }
        numbers
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn four_processes_killed_and_restarted_while_the_clock_jumps_draw_no_serial_twice() {
    let root = tempfile::tempdir().unwrap();
    let clock = FakeClock::new(root.path());
    let mut turns = CLOCKS.iter().cycle();
    let mut step = || clock.set(turns.next().unwrap());
    step();
    let serials = root.path().join("serials");
    let begin =
        |process: usize, life: usize, count| Life::begin(serials.join(format!("{process}-{life}")), count, &clock);
    // Two lives that end in the middle of drawing, and a third that makes up the million.
    let mut lives: Vec<_> = (0..PROCESSES).map(|process| begin(process, 0, SERIALS)).collect();
    for life in [1, 2] {
        for (process, running) in lives.iter_mut().enumerate() {
            until("a quarter is drawn", PATIENCE, || (running.drawn() >= SERIALS / 4).then_some(()));
            running.child.kill().unwrap();
            assert!(!running.child.wait().unwrap().success(), "killed before it was done");
            *running = begin(process, life, if life == 2 { SERIALS / 2 } else { SERIALS });
        }
        step();
    }
    let mut ended = HashSet::new();
    let mut looks = 0;
    until("all are done", PATIENCE, || {
        looks += 1;
        // Twice a second or so; they look at the file once a second.
        if looks % 25 == 0 {
            step();
        }
        for (process, running) in lives.iter_mut().enumerate() {
            if let Some(status) = running.child.try_wait().unwrap() {
                assert!(status.success(), "process {process}: {status}");
                ended.insert(process);
            }
        }
        (ended.len() == PROCESSES).then_some(())
    });
    assert_distinct(&serials, PROCESSES * SERIALS);
}
