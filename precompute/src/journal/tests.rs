//! Journals as serving threads and operators meet them, in real files. What verifies them is tested with [`crate::audit`].

mod starts;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::*;

pub(crate) const KIND: Kind = Kind { name: "tests", title: "the record of tests" };

/// An entry of a tenant.
#[derive(Debug)]
pub(crate) struct Numbered(pub(crate) &'static str, pub(crate) u32);

impl Entry for Numbered {
    fn push(&self, members: &mut String) {
        use std::fmt::Write as _;
        let Self(tenant, number) = self;
        let _ = write!(members, r#""type":"token","tenant":"{tenant}","number":{number}"#);
    }
}

/// A server with a key of its own; the same for the same name.
pub(crate) fn identity(name: u8) -> Identity {
    static MADE: Mutex<Vec<(u8, Identity)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap();
    if let Some((_, there)) = made.iter().find(|(of, _)| *of == name) {
        return there.clone();
    }
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::of(ServerId::from_bytes([name; 16]), dir.path()).unwrap();
    made.push((name, identity.clone()));
    identity
}

fn begin(options: Options, queues: usize) -> (Journal, Vec<Recorder<Numbered>>) {
    start(&identity(1), KIND, options, queues).unwrap()
}

/// On a disk without room.
fn begin_full(path: &Path, queues: usize) -> (Journal, Vec<Recorder<Numbered>>) {
    let file = file::Appended::full(KIND, Options::new(path.to_owned()));
    start_on(file, found::Found::nothing(), identity(1), queues).unwrap()
}

/// The lines of a file that are not the journal's own.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| !["file", "head"].contains(&line["type"].as_str().unwrap())).collect()
}

/// The numbers of the tokens in the lines.
fn numbers(lines: &[Value], tenant: &str) -> Vec<u32> {
    let of_tenant = lines.iter().filter(|line| line["type"] == "token" && line["tenant"] == tenant);
    of_tenant.map(|line| line["number"].as_u64().unwrap() as u32).collect()
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !look() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_token_of_every_thread_is_there_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let (writer, recorders) = begin(Options::new(path.clone()), 3);
    writer.notes().note(r#""type":"clock","from":"trusted","to":"stepped""#.into());
    thread::scope(|scope| {
        for (recorder, tenant) in recorders.into_iter().zip(["a", "b", "c"]) {
            scope.spawn(move || {
                for number in 0..20_000 {
                    assert!(recorder.record(Numbered(tenant, number)));
                }
            });
        }
    });
    // Soon, without an end of the service.
    until("all is written", || writer.status().written == 60_001);
    let state = writer.finish();
    assert!(state.head > 1_700_000_000, "{state:?}");
    let expected =
        JournalStatus { written: 60_001, lost: 0, failures: 0, rotations: 0, head: state.head, problem: None };
    assert_eq!(state, expected);
    let lines = lines(&path);
    assert_eq!(lines.len(), 60_001);
    for tenant in ["a", "b", "c"] {
        assert_eq!(numbers(&lines, tenant), (0..20_000).collect::<Vec<_>>());
    }
    let clock = lines.iter().find(|line| line["type"] == "clock").unwrap();
    assert_eq!((&clock["from"], &clock["to"]), (&"trusted".into(), &"stepped".into()));
}

#[test]
fn what_was_recorded_before_the_end_is_there_after_it_and_a_restart_goes_on_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    for start_number in [0, 1000, 2000] {
        let (writer, recorders) = begin(Options::new(path.clone()), 1);
        for number in 0..1000 {
            assert!(recorders[0].record(Numbered("a", start_number + number)));
        }
        assert_eq!(writer.finish().written, 1000);
        assert!(!recorders[0].record(Numbered("a", 0)), "nobody takes it any more");
        // As after a loss of power.
        File::options().append(true).open(&path).unwrap().write_all(br#"{"server":"tok"#).unwrap();
    }
    let (writer, _recorders) = begin(Options::new(path.clone()), 1);
    assert_eq!(writer.finish().problem, None);
    let lines = lines(&path);
    assert_eq!(numbers(&lines, "a"), (0..3000).collect::<Vec<_>>());
    let torn: Vec<_> = lines.iter().filter(|line| line["type"] == "torn").collect();
    assert!(torn.len() == 3 && torn.iter().all(|line| line["text"] == r#"{"server":"tok"#), "{torn:?}");
    assert_eq!(files(dir.path()).len(), 1);
}

/// Files of a directory, the one without a time last.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.rotate_left(1);
    files
}

#[test]
fn while_the_disk_is_full_tokens_wait_then_are_dropped_and_counted_and_the_record_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let (writer, recorders) = begin_full(&path, 2);
    // More than fits, on one of two queues; no call takes long.
    let (mut taken, mut slowest, mut number) = (0_u32, Duration::ZERO, 0);
    while writer.status().lost < 100 {
        let begin = Instant::now();
        taken += u32::from(recorders[0].record(Numbered("a", number)));
        slowest = slowest.max(begin.elapsed());
        number += 1;
        assert!(number < 3 * limits::QUEUE_MAX as u32, "bounded");
    }
    assert!(recorders[1].record(Numbered("b", 7)), "the other thread's queue has room");
    assert!(slowest < limits::INTERVAL * 200, "{slowest:?}");
    until("it is told", || writer.status().problem.is_some());
    let state = writer.status();
    assert!(state.problem.as_ref().is_some_and(|problem| problem.contains("No space left")), "{state:?}");
    assert_eq!(state.written, 0);

    // There is room again, on another disk.
    writer.reopen();
    until("it is written", || writer.status().written >= u64::from(taken));
    let state = writer.finish();
    assert_eq!((state.problem, state.lost), (None, u64::from(number - taken)));
    let lines = lines(&path);
    let there = numbers(&lines, "a");
    assert_eq!(there.len(), taken as usize, "none twice");
    assert_eq!(there.iter().collect::<HashSet<_>>().len(), taken as usize);
    assert!(there.is_sorted());
    assert_eq!(numbers(&lines, "b"), [7]);
    let told: u64 =
        lines.iter().filter(|line| line["type"] == "lost").map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(told, state.lost, "the record says how many are missing");
    assert_eq!(lines.len() as u64, state.written);
}

#[test]
fn the_end_does_not_wait_for_a_full_disk_for_long() {
    let (writer, recorders) = begin_full(Path::new("record"), 1);
    for number in 0..500 {
        assert!(recorders[0].record(Numbered("a", number)));
    }
    let begin = Instant::now();
    let state = writer.finish();
    assert!(begin.elapsed() < limits::END_MAX + Duration::from_secs(20));
    assert_eq!((state.written, state.lost), (0, 500));
    assert!(state.failures > 1 && state.problem.is_some());
}

#[test]
fn files_are_rotated_while_tokens_come_and_hold_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let options = Options { rotate_octets: 50_000, ..Options::new(path.clone()) };
    let (writer, recorders) = begin(options, 1);
    for number in 0..10_000 {
        assert!(recorders[0].record(Numbered("a", number)));
    }
    let state = writer.finish();
    assert!(state.rotations >= 3 && state.problem.is_none(), "{state:?}");
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // The file without a time is the latest.
    files.rotate_left(1);
    assert_eq!(files.len() as u64, state.rotations + 1);
    let all: Vec<_> = files.iter().flat_map(|file| numbers(&lines(file), "a")).collect();
    assert_eq!(all, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn a_rotation_that_fails_loses_nothing_and_is_told_once_until_it_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, path) = (dir.path().join("inside"), dir.path().join("inside/record"));
    fs::create_dir(&inside).unwrap();
    let (writer, recorders) = begin(Options { rotate_octets: 1, ..Options::new(path.clone()) }, 1);
    let begin = Instant::now();
    // The name leads nowhere any more; the open file continues.
    let away = dir.path().join("away");
    fs::rename(&inside, &away).unwrap();
    assert!(recorders[0].record(Numbered("a", 0)));
    until("it is told", || writer.status().problem.is_some());
    assert!(recorders[0].record(Numbered("a", 1)));
    until("it is written all the same", || writer.status().written == 2);
    let failures = writer.status().failures;
    assert!(failures <= begin.elapsed().as_secs() + 2, "{failures}: it is tried again once a second");
    fs::rename(&away, &inside).unwrap();
    until("it is well again", || {
        recorders[0].record(Numbered("a", 2));
        writer.status().rotations > 0
    });
    assert_eq!(writer.finish().problem, None);
}

/// Lines must not go on to a file that nobody can read any more, without a message, until a SIGHUP.
#[test]
fn a_file_that_is_removed_or_replaced_is_begun_anew_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("record"), dir.path().join("aside"));
    let (writer, recorders) = begin(Options::new(path.clone()), 1);
    let mut number = 0;
    let mut record_until_there = |what: &str| {
        until(what, || {
            number += 1;
            assert!(recorders[0].record(Numbered("a", number)));
            path.exists() && numbers(&lines(&path), "a").last().is_some_and(|last| last + 50 > number)
        });
        number
    };
    record_until_there("the first");
    fs::remove_file(&path).unwrap();
    record_until_there("after it was removed");
    // As an editor writes it.
    fs::write(&aside, "").unwrap();
    fs::rename(&aside, &path).unwrap();
    let before = record_until_there("after it was replaced");
    let state = writer.status();
    assert_eq!((state.lost, state.failures, state.rotations, state.problem), (0, 0, 0, None));

    // A renamed file is written to until another is requested.
    fs::rename(&path, &aside).unwrap();
    thread::sleep(limits::SYNCHRONISED_EVERY * 2);
    assert!(recorders[0].record(Numbered("a", before + 1)));
    let written = writer.finish().written;
    assert!(written > 3 && !path.exists());
    assert_eq!(numbers(&lines(&aside), "a").last(), Some(&(before + 1)));
}

#[test]
fn tokens_wait_for_a_file_that_cannot_be_begun_in_the_place_of_a_removed_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let (writer, recorders) = begin(Options::new(path.clone()), 1);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    until("it is told", || writer.status().problem.is_some());
    let state = writer.status();
    assert!(state.problem.as_ref().is_some_and(|problem| problem.contains("a directory is there")), "{state:?}");
    for number in 0..100 {
        assert!(recorders[0].record(Numbered("a", number)));
    }
    writer.reopen();
    thread::sleep(limits::INTERVAL * 4);
    assert_eq!(writer.status().written, 0, "into a file that nobody can read");
    fs::remove_dir(&path).unwrap();
    until("all is written", || writer.status().written == 100);
    let state = writer.finish();
    assert_eq!((state.lost, state.problem), (0, None));
    assert_eq!(numbers(&lines(&path), "a"), (0..100).collect::<Vec<_>>());
}
