//! Large sources that change all the time or are read by a reload: revocations in them and beside them do not wait.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn tenant(name: &str, ca: &Ca, index: &Path) -> Tenant {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
    tenant.issuer("ca", ca, &format!("index = {index:?}"), &signer.lines())
}

fn line(serial: u32) -> String {
    format!("V\t491231235959Z\t\t{serial:08X}\tunknown\t/CN={serial}\n")
}

fn lines(serials: std::ops::Range<u32>) -> String {
    serials.map(line).collect()
}

/// How long it takes from now until the certificate is told revoked.
#[track_caller]
fn revoked_within(responder: &Responder, ca: &Ca, serial: &str, path: &str) -> Duration {
    let begun = Instant::now();
    until(serial, PATIENCE, || {
        (Ask::serial(ca, serial).at(responder.http(), path).status == Status::Revoked).then_some(())
    });
    begun.elapsed()
}

fn reloads(responder: &Responder) -> usize {
    responder.log().matches("the configuration was read again").count()
}

/// Appends a line to the file at `path` ten times a second until it is dropped.
struct Appending<'a> {
    done: &'a AtomicBool,
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        self.done.store(true, Relaxed);
    }
}

fn append_until(done: &AtomicBool, path: &Path, writing: &Mutex<()>, first: u32) {
    for serial in first.. {
        if done.load(Relaxed) {
            return;
        }
        let guard = writing.lock().unwrap();
        File::options().append(true).open(path).unwrap().write_all(line(serial).as_bytes()).unwrap();
        drop(guard);
        thread::sleep(Duration::from_millis(100));
    }
}

/// A read never found the file still: a revocation in it stayed untold as long as the writer went on, and a reload was
/// refused after a minute.
#[test]
fn in_an_index_that_is_appended_to_all_the_time_revocations_are_told_and_a_reload_is_taken() {
    let ca = Ca::new("CA");
    let site = Site::new(&[tenant("a", &ca, &ca.index())]);
    let first = fs::read_to_string(ca.index()).unwrap() + &lines(0x2000_0000..0x2003_0D40);
    ca.replace_index(&first);
    let responder = site.start();
    let (done, writing) = (AtomicBool::new(false), Mutex::new(()));
    let index = ca.index();
    thread::scope(|scope| {
        let _appending = Appending { done: &done };
        scope.spawn(|| append_until(&done, &index, &writing, 0x3000_0000));
        thread::sleep(Duration::from_millis(500));
        // One that nobody has listed before.
        {
            let _writing = writing.lock().unwrap();
            let revoked = "R\t491231235959Z\t260101000000Z,keyCompromise\t40000001\tunknown\t/CN=unlisted before\n";
            File::options().append(true).open(&index).unwrap().write_all(revoked.as_bytes()).unwrap();
        }
        let appended = revoked_within(&responder, &ca, "40000001", "/a");
        // One in the middle of a file that is put in its place.
        {
            let _writing = writing.lock().unwrap();
            let revoked = "R\t491231235959Z\t260101000000Z\t20018000\tunknown\t";
            let text = fs::read_to_string(&index).unwrap();
            ca.replace_index(&text.replace("V\t491231235959Z\t\t20018000\tunknown\t", revoked));
        }
        let replaced = revoked_within(&responder, &ca, "20018000", "/a");
        let begun = Instant::now();
        responder.reload(|text| text.replacen("path = \"/a\"", "path = \"/b\"", 1));
        until("the reload", PATIENCE, || (reloads(&responder) == 1).then_some(()));
        let reload = begun.elapsed();
        // With another source it has to read.
        fs::hard_link(&index, ca.file("linked.txt")).unwrap();
        let other = ca.file("linked.txt");
        let begun = Instant::now();
        responder.reload(|text| text.replace(index.to_str().unwrap(), other.to_str().unwrap()));
        until("the reload to another source", PATIENCE, || (reloads(&responder) == 2).then_some(()));
        let moved = begun.elapsed();
        eprintln!("appended {appended:?}, replaced {replaced:?}, reload {reload:?}, reload to another path {moved:?}");
        // Neither was told as long as the writer went on, and a file that looks unchanged is read again after a minute.
        assert!(appended.max(replaced) < Duration::from_secs(30), "{appended:?}, {replaced:?}");
        Ask::serial(&ca, "40000001").at(responder.http(), "/b").expect(Status::Revoked);
    });
}

/// It was delayed by 2 to 2.7 s.
#[test]
fn a_large_index_that_a_reload_reads_delays_no_revocation_of_another_issuer() {
    let (small, large) = (Ca::new("Small CA"), Ca::new("Large CA"));
    let leaves = [(); 6].map(|()| small.issue());
    large.replace_index(&lines(0x2000_0000..0x2004_93E0));
    let responder = Site::new(&[tenant("small", &small, &small.index())]).start();
    let new_tenant = tenant("large", &large, &large.index()).text();
    let revoked = |leaf: &Leaf| {
        small.revoke(leaf, &[]);
        revoked_within(&responder, &small, &leaf.serial, "/small")
    };
    let (alone, beside) = leaves.split_at(2);
    let alone = alone.iter().map(revoked).max().unwrap();
    let (done, writing, index) = (AtomicBool::new(false), Mutex::new(()), large.index());
    thread::scope(|scope| {
        let _appending = Appending { done: &done };
        scope.spawn(|| append_until(&done, &index, &writing, 0x3000_0000));
        responder.reload(|text| text + &new_tenant);
        let mut during = 0;
        let slowest = beside.iter().map(|leaf| {
            let took = revoked(leaf);
            during += usize::from(reloads(&responder) == 0);
            took
        });
        let slowest = slowest.max().unwrap();
        eprintln!("{during} of {} beside the reload, the slowest {slowest:?}; alone {alone:?}", beside.len());
        assert!(during > 0, "the reload was over before");
        // What the reload takes is longer on a slow machine, as is the rest.
        assert!(slowest < Duration::from_millis(2500).max(4 * alone), "{slowest:?}, alone {alone:?}");
        until("the reload", PATIENCE, || (reloads(&responder) == 1).then_some(()));
        Ask::serial(&large, "20000001").at(responder.http(), "/large").expect(Status::Good);
    });
}

/// The reload was refused after a minute, in which nothing else was reloaded.
#[test]
fn a_reload_to_a_source_that_hangs_after_its_first_read_is_taken_at_once() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (leaf_a, leaf_b) = (a.issue(), b.issue());
    let hangs = b.file("hangs.txt");
    fs::copy(b.index(), &hangs).unwrap();
    // An old file: one read is enough.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().append(true).open(&hangs).unwrap().set_modified(old).unwrap();
    let site = Site::new(&[tenant("a", &a, &a.index()), tenant("b", &b, &b.index())]);
    let serve = site.serve();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-o", "/dev/null", "-P"]).arg(&hangs);
    // Each thread opens it once and hangs at the next time.
    command.args(["-e", "trace=openat", "-e", "inject=openat:delay_enter=20s:when=2+", "--"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let responder = site.start_within(PATIENCE, command, Stdio::null());
    let begun = Instant::now();
    responder.reload(|text| text.replace(b.index().to_str().unwrap(), hangs.to_str().unwrap()));
    until("the reload", PATIENCE, || (reloads(&responder) == 1).then_some(()));
    let took = begun.elapsed();
    eprintln!("taken after {took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    Ask::about(&b, &leaf_b).at(responder.http(), "/b").expect(Status::Good);
    // It is read again, hangs, and nobody else waits for it.
    File::options().append(true).open(&hangs).unwrap().write_all(line(0x2000_0000).as_bytes()).unwrap();
    let hangs_now = || responder.readiness().1.contains("b/ca: the sources were last checked").then_some(());
    until("it hangs", PATIENCE, hangs_now);
    a.revoke(&leaf_a, &[]);
    let took = revoked_within(&responder, &a, &leaf_a.serial, "/a");
    assert!(took < Duration::from_secs(12), "{took:?}");
    let begun = Instant::now();
    responder.reload(|text| text.replace(hangs.to_str().unwrap(), b.index().to_str().unwrap()));
    until("the reload away from it", PATIENCE, || (reloads(&responder) == 2).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    b.revoke(&leaf_b, &[]);
    let took = revoked_within(&responder, &b, &leaf_b.serial, "/b");
    assert!(took < Duration::from_secs(12), "{took:?}");
}
