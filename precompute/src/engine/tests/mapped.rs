//! An index that a process writes through mmap.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use super::*;
use crate::limits;

/// Waits until what was written shows in the times of its file, or never will.
fn settle() {
    std::thread::sleep(limits::SETTLED_AFTER + Duration::from_millis(20));
}

/// The line, filled up to this length.
fn filled(line: &str, length: usize) -> String {
    format!("{}\n", format_args!("{:x<length$}", line.trim_end()))
}

/// The second store to a page that is to be written anyway changes neither the size nor the times of the file, so a
/// revocation in it was never seen.
#[test]
fn a_revocation_that_is_stored_through_mmap_without_a_trace_is_found_by_the_slow_read() {
    let mut world = World::with_index();
    let [before, after] = [good(2), revoked(2, ",keyCompromise")].map(|line| filled(&line, 80));
    assert_eq!(before.len(), after.len());
    world.index(&(good(1) + &before + &good(3)));
    let path = world.ca.path("listed.txt");
    // The first store makes the page dirty, the second one revokes.
    let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\nat=int(sys.argv[2])\n\
        sys.stdin.readline()\nm[0:1]=m[0:1]\nprint('done',flush=True)\n\
        sys.stdin.readline()\nt=sys.argv[3].encode()+b'\\n'\nm[at:at+len(t)]=t\nprint('done',flush=True)\nsys.stdin.readline()";
    let at = good(1).len().to_string();
    let mut writer = Command::new("python3")
        .args(["-c", script, path.to_str().unwrap(), &at, after.trim_end()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let (mut order, mut told) = (writer.stdin.take().unwrap(), BufReader::new(writer.stdout.take().unwrap()).lines());
    let mut store = || {
        order.write_all(b"\n").unwrap();
        assert_eq!(told.next().unwrap().unwrap(), "done");
    };
    store();
    settle();
    world.look();
    world.look();
    assert_eq!(world.status(2), Some(Status::Good));
    let reads = world.report().reads;
    world.watched.rereads.due = Instant::now();
    world.look();
    assert_eq!(world.report().reads, reads, "the same content is not read as a change");

    store();
    settle();
    // Where the store shows in the times all the same, nobody sees it there.
    world.watched.watch.changed();
    assert!(!world.watched.watch.changed());
    world.look();
    assert_eq!((world.report().reads, world.status(2)), (reads, Some(Status::Good)), "not time yet");
    world.watched.rereads.due = Instant::now();
    world.look();
    assert_eq!((world.report().reads, world.status(2)), (reads + 1, Some(FINAL)));
    drop(order);
    writer.wait().unwrap();
}
