//! What the watchdog of systemd hears of a service of which a thread hangs.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{Ca, Delegate, KeyKind, Launched, Site, Tenant, until};

/// What systemd would allow.
const ALLOWED: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether the service says that it works before `limit` has passed.
fn is_told(systemd: &UnixDatagram, limit: Duration) -> bool {
    let begin = Instant::now();
    systemd.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while begin.elapsed() < limit {
        let mut message = [0; 100];
        let length = systemd.recv(&mut message).unwrap_or(0);
        if message[..length].starts_with(b"WATCHDOG=1") {
            return true;
        }
    }
    false
}

#[test]
fn the_watchdog_hears_nothing_while_one_serving_thread_hangs() {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    let dir = site.dir().to_owned();
    let socket = dir.join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    let mut serve = site.serve();
    serve.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", ALLOWED.as_micros().to_string());
    let responder = site.start_by(serve);
    assert!(is_told(&systemd, PATIENCE) && is_told(&systemd, PATIENCE));

    let threads = fs::read_dir(format!("/proc/{}/task", responder.pid())).unwrap().map(|entry| entry.unwrap().path());
    let is_worker = |path: &std::path::PathBuf| fs::read_to_string(path.join("comm")).unwrap().trim() == "worker-0";
    let worker = threads.into_iter().find(is_worker).unwrap();
    let mut strace = Command::new("strace");
    let calls = "io_uring_enter,epoll_wait,epoll_pwait";
    strace.args(["-q", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:delay_enter=600s"), "-p"]).arg(worker.file_name().unwrap());
    let held = Launched::start(strace, &dir.join("strace"));
    until("the watchdog hears nothing", PATIENCE, || (!is_told(&systemd, ALLOWED)).then_some(()));
    let log = responder.log();
    assert!(log.contains("a thread hangs") && log.contains("serving thread 0"), "{log}");
    // All others work, and it would be answered by them.
    drop(held);
    assert!(is_told(&systemd, PATIENCE), "it is forgiven once it moves");
}
