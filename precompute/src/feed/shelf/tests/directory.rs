//! What is in the directory, whatever happens to it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt as _, symlink},
    process::Command,
};

use super::*;

/// A whole snapshot's two files.
fn files(snapshot: &Snapshot) -> [String; 2] {
    ["manifest", "snapshot"].map(|ending| format!("{}.{ending}", snapshot.id()))
}

#[test]
fn what_was_finished_is_there_after_a_restart_and_what_was_not_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::new(1, 5, 1000);
    let directory = open(dir.path()).unwrap();
    let kept = snapshot.write(&directory).unwrap();
    assert_eq!(fs::read(dir.path().join(&files(&snapshot)[1])).unwrap(), snapshot.whole());
    let mut draft = directory.draft().unwrap();
    draft.put(&snapshot.chunks[0]).unwrap();
    assert_eq!(names(dir.path()).len(), 3);
    // As after `kill -9`.
    std::mem::forget(draft);
    drop((kept, directory));
    fs::write(dir.path().join(format!("{}.manifest.new", snapshot.id())), "half").unwrap();
    // The forgotten draft has the directory's lock in this process.
    let copy = tempfile::tempdir().unwrap();
    for name in names(dir.path()) {
        fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }

    let directory = open(copy.path()).unwrap();
    assert_eq!(names(copy.path()), files(&snapshot));
    let kept = directory.whole(snapshot.id()).unwrap();
    assert_eq!(directory.newest().unwrap().id(), snapshot.id());
    assert_eq!(**kept.sealed(), *snapshot.sealed);
    for (number, chunk) in snapshot.chunks.iter().enumerate() {
        assert_eq!(kept.chunk(number).as_ref(), Ok(chunk));
    }
    kept.chunk(5).unwrap_err();
}

#[test]
fn the_two_newest_stay_and_who_reads_an_older_one_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let snapshots: Vec<_> = (1..5).map(|sequence| Snapshot::new(sequence, 3, 1000)).collect();
    let kept: Vec<_> = snapshots.iter().map(|snapshot| snapshot.write(&directory).unwrap()).collect();
    assert_eq!(names(dir.path()), [files(&snapshots[2]), files(&snapshots[3])].concat());
    assert_eq!(kept[0].chunk(2).unwrap(), snapshots[0].chunks[2]);
    assert!(directory.whole(snapshots[0].id()).is_none());
    // The same one again is the same file.
    snapshots[3].write(&directory).unwrap();
    assert_eq!(names(dir.path()).len(), 4);
    // One from before an epoch that was too high is the newest if it came last.
    let lower = Snapshot::new(0, 3, 1000);
    lower.write(&directory).unwrap();
    assert_eq!(directory.newest().unwrap().id(), lower.id());
    assert!(directory.whole(snapshots[3].id()).is_some());
}

/// Who takes over makes a snapshot while the former writer's is still fetched. The manifest of the one stood alone for a
/// moment, and was removed for the other: after a restart that snapshot was of no use.
#[test]
fn a_snapshot_that_is_made_keeps_its_manifest_while_others_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).unwrap();
    let ends = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in (1000..).take_while(|_| !ends.load(std::sync::atomic::Ordering::Relaxed)) {
                let other = Snapshot::new(sequence, 1, 100);
                directory.partial(&other.manifest, other.id()).unwrap();
            }
        });
        let lost = (1..300).find(|sequence| {
            let snapshot = Snapshot::new(*sequence, 1, 100);
            snapshot.write(&directory).unwrap();
            !dir.path().join(&files(&snapshot)[0]).exists()
        });
        ends.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(lost, None);
    });
}

#[test]
fn files_of_other_names_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let id = Snapshot::new(1, 2, 1000).id();
    let foreign = ["README", "draft-", "draft-x", "x.snapshot", "1-2-3.partial", &format!("{id}.snapshot.bak")];
    for name in foreign {
        fs::write(dir.path().join(name), "mine").unwrap();
    }
    fs::create_dir(dir.path().join("a directory")).unwrap();
    let directory = open(dir.path()).unwrap();
    for sequence in 1..4 {
        Snapshot::new(sequence, 2, 1000).write(&directory).unwrap();
    }
    for name in foreign {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "mine", "{name}");
    }
    // One of our names that is something else is no snapshot, and no start fails for it.
    drop(directory);
    let other = Snapshot::new(9, 2, 1000);
    fs::create_dir(dir.path().join(&files(&other)[1])).unwrap();
    fs::write(dir.path().join(&files(&other)[0]), &other.sealed).unwrap();
    let linked = Snapshot::new(8, 2, 1000);
    fs::write(dir.path().join("elsewhere"), linked.whole()).unwrap();
    symlink("elsewhere", dir.path().join(&files(&linked)[1])).unwrap();
    fs::write(dir.path().join(&files(&linked)[0]), &linked.sealed).unwrap();
    let directory = open(dir.path()).unwrap();
    assert!(directory.whole(other.id()).is_none() && directory.whole(linked.id()).is_none());
    assert!(directory.whole(Snapshot::new(3, 2, 1000).id()).is_some());
}

#[test]
fn no_chunk_leaves_that_was_changed_under_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::new(1, 4, 1000);
    let directory = open(dir.path()).unwrap();
    let kept = snapshot.write(&directory).unwrap();
    let path = dir.path().join(&files(&snapshot)[1]);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for (at, number) in [(0, 0), (999, 0), (1000, 1), (3500, 3)] {
        let right = snapshot.whole()[at];
        file.write_all_at(&[right ^ 1], at as u64).unwrap();
        let fault = kept.chunk(number).unwrap_err();
        assert_eq!((fault.cause, &fault.path), (Cause::Damaged, &path));
        assert!(fault.to_string().contains(&format!("chunk {number} (bytes {}", number * 1000)), "{fault}");
        file.write_all_at(&[right], at as u64).unwrap();
        assert_eq!(kept.chunk(number).as_ref(), Ok(&snapshot.chunks[number]));
    }
    // Cut at every border, and beside it.
    for octets in [3499, 3001, 3000, 2999, 2000, 1000, 1, 0] {
        file.set_len(octets).unwrap();
        for number in 0..4 {
            let whole = snapshot.manifest.place(number).is_some_and(|(start, length)| start + length as u64 <= octets);
            assert_eq!(kept.chunk(number).is_ok(), whole, "chunk {number} of {octets} bytes");
        }
    }
    // After a restart it is not whole any more, and nothing has to be removed by hand.
    drop((kept, directory));
    let directory = open(dir.path()).unwrap();
    assert!(directory.whole(snapshot.id()).is_none());
    snapshot.write(&directory).unwrap();
    assert!(directory.whole(snapshot.id()).is_some());
}

#[test]
fn a_manifest_that_nobody_trusted_has_signed_makes_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::new(1, 2, 1000);
    let other_key = snapshot.manifest.seal(&cluster(), &WriterKey::from_seed(&[8; 32]));
    let other_cluster = snapshot.manifest.seal(&Cluster::new("other").unwrap(), &key());
    let of_another = Snapshot::new(2, 2, 1000).sealed;
    let cases: [(&str, &[u8], &str); 5] = [
        ("nothing", b"", "it is empty"),
        ("cut", &snapshot.sealed[..snapshot.sealed.len() - 1], "cut short"),
        ("another key", &other_key, "not list"),
        ("another cluster", &other_cluster, "`other`"),
        ("another snapshot", &of_another, "another snapshot"),
    ];
    for (what, sealed, told) in cases {
        let directory = open(dir.path()).unwrap();
        let mut draft = directory.draft().unwrap();
        snapshot.chunks.iter().for_each(|chunk| draft.put(chunk).unwrap());
        if what == "another snapshot" {
            drop(draft);
        } else {
            let fault = draft.finish(sealed).unwrap_err();
            assert_eq!(fault.cause, Cause::Untrusted, "{what}: {fault}");
            assert!(fault.to_string().contains(told), "{what}: {fault}");
        }
        drop(directory);
        fs::write(dir.path().join(&files(&snapshot)[0]), sealed).unwrap();
        fs::write(dir.path().join(&files(&snapshot)[1]), snapshot.whole()).unwrap();
        let directory = open(dir.path()).unwrap();
        assert!(directory.whole(snapshot.id()).is_none(), "{what}");
        // Both stay where they are, and who removes one alone has the other for good.
        let fault = directory.find(snapshot.id()).unwrap_err().to_string();
        if what != "another snapshot" {
            let names = files(&snapshot).iter().all(|name| fault.contains(name));
            assert!(names && fault.contains("remove both files"), "{what}: {fault}");
        }
    }
    let directory = open(dir.path()).unwrap();
    let mut draft = directory.draft().unwrap();
    draft.put(&snapshot.chunks[0]).unwrap();
    let fault = draft.finish(&snapshot.sealed).unwrap_err();
    assert!(fault.to_string().contains("not of what was written"), "{fault}");
    assert!(names(dir.path()).iter().all(|name| !name.starts_with("draft")));
}

#[test]
fn a_directory_that_cannot_be_had_is_told_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let shared = open(&dir.path().join("shared")).unwrap();
    fs::create_dir_all(dir.path().join("odd/lock")).unwrap();
    for (name, cause, told) in [
        ("file", Cause::Other, "cannot be made"),
        ("file/below", Cause::Other, "cannot be made"),
        ("shared", Cause::InUse, "its own directory"),
        ("odd", Cause::Other, "cannot be taken"),
        // Also for root.
        ("/sys/kernel", Cause::Denied, "can be written"),
    ] {
        let fault = open(&dir.path().join(name)).unwrap_err();
        assert_eq!(fault.cause, cause, "{fault}");
        assert!(fault.to_string().contains(told) && fault.to_string().contains(name), "{fault}");
    }
    drop(shared);
    open(&dir.path().join("shared")).unwrap();
}

/// What a process does whose files may have 8 KiB at most, which fails as a full disk does.
const LIMITED: &str = "OSTIA_TEST_LIMITED";

#[test]
fn on_a_full_disk_a_writer_is_told_and_nothing_half_is_left() {
    if let Some(dir) = std::env::var_os(LIMITED) {
        let directory = open(Path::new(&dir)).unwrap();
        let fault = Snapshot::new(1, 9, 1000).write(&directory).unwrap_err();
        assert_eq!(fault.cause, Cause::Full, "{fault}");
        assert!(fault.to_string().contains("draft-0") && fault.to_string().contains("make room"), "{fault}");
        assert_eq!(names(Path::new(&dir)), [""; 0]);
        Snapshot::new(2, 7, 1000).write(&directory).unwrap();
        return;
    }
    alone_with_small_files("feed::shelf::tests::directory::on_a_full_disk_a_writer_is_told_and_nothing_half_is_left");
}

/// Runs one test again in a process of its own, with a directory in its environment.
pub(super) fn alone_with_small_files(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let ended = Command::new("bash")
        // Else a file that would grow past the limit ends the process.
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(LIMITED, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let erred = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{erred}");
}

pub(super) fn limited() -> Option<std::path::PathBuf> {
    std::env::var_os(LIMITED).map(Into::into)
}
