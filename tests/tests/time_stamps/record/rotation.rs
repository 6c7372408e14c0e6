//! Files of the record that are ended and begun anew, by the service and by others, while tokens come.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
    time::Duration,
};

use ostia_tests::{FakeClock, Responder, http::Connection, until};

use super::{files, metric, objects, recording, serial, serials};
use crate::PATIENCE;

/// Bytes after which a file is ended: the least that may be configured, some 100 lines.
const OCTETS: u64 = 64 << 10;

/// What each client waits between two tokens, so that a busy disk keeps up with them: what becomes of lines where it does
/// not is in `faults`.
const PACE: Duration = Duration::from_millis(1);

/// Gets tokens with three clients until `enough` says so; their serial numbers.
fn stamp_until(responder: &Responder, mut enough: impl FnMut() -> bool) -> HashSet<String> {
    let (done, next) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(responder.http()).unwrap();
                    let mut given = Vec::new();
                    while !done.load(Relaxed) {
                        given.push(super::serial_of(&mut connection, next.fetch_add(1, Relaxed)));
                        thread::sleep(PACE);
                    }
                    given
                })
            })
            .collect();
        until("enough of them", PATIENCE, || enough().then_some(()));
        done.store(true, Relaxed);
        let given: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let distinct: HashSet<_> = given.iter().cloned().collect();
        assert_eq!(distinct.len(), given.len(), "no serial number twice");
        distinct
    })
}

/// That the record, all its files together, names each of these tokens once and no others. Whoever looks while a file is
/// being renamed may miss it, and looks again.
#[track_caller]
fn expect_recorded(dir: &Path, given: &HashSet<String>) {
    until(&format!("each of {} once", given.len()), PATIENCE, || {
        let recorded = serials(dir);
        (recorded.len() == given.len() && recorded.into_iter().collect::<HashSet<_>>() == *given).then_some(())
    });
}

#[test]
fn while_tokens_come_files_are_rotated_by_size_and_by_others_and_no_line_is_lost_or_doubled() {
    let (_ca, site) = recording(&format!("record_rotate_octets = {OCTETS}"));
    site.set_http("workers = 2");
    let mut responder = site.start();
    let dir = responder.site.dir().to_owned();
    let current = dir.join("tokens.jsonl");
    let (mut renamed, mut rotations) = (0, 0);
    let mut given = stamp_until(&responder, || {
        rotations = metric(&responder, "rotations_total");
        // As logrotate does, in between: its names are its own affair.
        let next = dir.join(format!("tokens.jsonl.{}", renamed + 1));
        // Where the service is just renaming it itself, the next look comes soon.
        if rotations > 2 * renamed && renamed < 2 && fs::rename(&current, next).is_ok() {
            renamed += 1;
            responder.signal("HUP");
            until("another is begun", PATIENCE, || current.exists().then_some(()));
        }
        renamed == 2 && rotations >= 6
    });
    expect_recorded(&dir, &given);
    until("they are counted", PATIENCE, || (metric(&responder, "lines_total") == given.len() as u64).then_some(()));
    assert_eq!((metric(&responder, "lost_total"), metric(&responder, "faulty")), (0, 0), "{}", responder.log());
    // One that others have renamed may have been due, too, and then was ended by both.
    let own = files(&dir).len() - 1 - renamed as usize;
    assert!(
        (6 - renamed as usize..=metric(&responder, "rotations_total") as usize).contains(&own),
        "{:?}",
        files(&dir)
    );
    assert!(!responder.log().contains("cannot be begun anew"), "{}", responder.log());
    for file in files(&dir) {
        let name = file.file_name().unwrap().to_str().unwrap().trim_start_matches("tokens.jsonl").to_owned();
        if name.contains('Z') {
            // As soon as it has grown so far, by at most what is written at once.
            let octets = fs::metadata(&file).unwrap().len();
            assert!((OCTETS..16 * OCTETS).contains(&octets), "{name}: {octets}");
        }
    }

    // After a kill a restart goes on in the same file.
    responder.end_by("KILL");
    let before = files(&dir).len();
    let mut responder = responder.into_site().start();
    given.extend(stamp_until(&responder, || metric(&responder, "rotations_total") >= 2));
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    expect_recorded(&dir, &given);
    assert!(files(&dir).len() >= before + 2);
}

#[test]
fn of_rotated_files_only_so_many_stay_as_are_to_be_kept_and_others_are_left_alone() {
    let (_ca, site) = recording(&format!("record_rotate_octets = {OCTETS}\nrecord_keep = 2"));
    let mut responder = site.start();
    let dir = responder.site.dir().to_owned();
    // Nobody's business: names by others.
    let foreign = ["tokens.jsonl.1", "tokens.jsonl.20200101000000Z.gz", "tokens.jsonl.old"].map(|name| dir.join(name));
    foreign.iter().for_each(|path| fs::write(path, "").unwrap());
    let rotated = || {
        files(&dir).into_iter().filter(|path| path.to_str().unwrap().contains(".jsonl.2") && !foreign.contains(path))
    };
    let mut given = stamp_until(&responder, || {
        // One more while the surplus is being removed.
        assert!(rotated().count() <= 3, "{:?}", files(&dir));
        metric(&responder, "rotations_total") >= 6
    });
    given.insert(serial(&responder, 1));
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    assert_eq!(rotated().count(), 2, "{:?}", files(&dir));
    assert!(foreign.iter().all(|path| path.exists()));
    assert!(
        responder.log().matches("a rotated file of the record of time-stamps is removed, as configured").count() >= 4
    );
    // What is there was given, each once, and it is the latest.
    let left = serials(&dir);
    let distinct: HashSet<_> = left.iter().cloned().collect();
    assert!(distinct.len() == left.len() && distinct.is_subset(&given) && left.len() > 150, "{}", left.len());
}

#[test]
fn a_file_is_rotated_when_it_is_old_enough() {
    let (_ca, site) = recording("record_rotate_age = \"1h\"");
    // One, so that tokens are recorded in the order in which they were given.
    site.set_http("workers = 1");
    let dir = site.dir().to_owned();
    let clock = FakeClock::new(&dir);
    let site = clock.environment().into_iter().fold(site, |site, (name, value)| site.environment(name, value));
    let responder = site.start();
    let mut given: Vec<_> = (0..3).map(|number| serial(&responder, number)).collect();
    until("they are written", PATIENCE, || (metric(&responder, "lines_total") == 3).then_some(()));
    assert_eq!(metric(&responder, "rotations_total"), 0, "it is young");
    // With the first token of the next hour it ends.
    clock.set("+3601s");
    until("it is old", PATIENCE, || {
        given.push(serial(&responder, given.len() as u32));
        (metric(&responder, "rotations_total") > 0).then_some(())
    });
    clock.set("+0");
    let recorded = until("all is written", PATIENCE, || Some(serials(&dir)).filter(|all| all.len() == given.len()));
    assert_eq!(recorded, given, "in order, across the files");
    assert!(files(&dir).len() >= 2 && objects(&files(&dir)[0]).len() >= 4, "{:?}", files(&dir));
    assert_eq!(metric(&responder, "lost_total"), 0);
}
