//! What survives: kill -9, orderly ends, and starts on damaged ground.

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::TcpStream,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant, SystemTime},
};

use ostia_tests::{Ask, Ca, Responder, Status, http, run, until};

use crate::{book::forget_revocations, ca_and_site, serving};

/// The arguments of `strace` that make the first opening of `file` in each thread take so long, as on a file system
/// that hangs.
fn hanging(file: &Path, takes: Duration) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "trace=openat", "-P"]).arg(file);
    strace.arg("-e").arg(format!("inject=openat:delay_enter={}:when=1", takes.as_micros()));
    strace
}

/// The sources alone would not do: at the end they have forgotten every revocation, and the last start, without the book,
/// shows what is told then.
#[test]
fn after_kill_9_everything_is_found_again() {
    let (ca, (good, revoked), responder) = serving(|ca| {
        let revoked = ca.issue();
        ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
        (ca.issue(), revoked)
    });
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    let before = Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);

    // Killed in the very moment of a change, again and again: what was once said is never unsaid.
    let (mut responder, mut all) = (responder, vec![revoked]);
    for _ in 0..3 {
        let leaf = ca.issue();
        ca.revoke(&leaf, &[]);
        responder = responder.kill_and_start_again();
        all.push(leaf);
        for leaf in &all {
            Ask::about(&ca, leaf).at(responder.http(), "/").expect(Status::Revoked);
        }
    }

    responder.end_by("KILL");
    forget_revocations(&ca);
    let responder = responder.into_site().start();
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    for leaf in &all {
        Ask::about(&ca, leaf).at(responder.http(), "/").expect(Status::Revoked);
    }
    let after = Ask::about(&ca, &all[0]).at(responder.http(), "/").expect(Status::Revoked);
    assert_eq!((before.revocation_time, before.reason), (after.revocation_time, after.reason));

    let mut responder = responder;
    responder.end_by("KILL");
    let site = responder.into_site();
    fs::remove_file(site.dir().join("state/book.redb")).unwrap();
    let without = site.start();
    for leaf in &all {
        Ask::about(&ca, leaf).at(without.http(), "/").expect(Status::Good);
    }
}

#[test]
fn the_book_remembers_a_revocation_that_its_source_forgot_while_it_was_down() {
    let (ca, revoked, mut responder) = serving(Ca::issue);
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    let ask = Ask::about(&ca, &revoked);
    let told = || (ask.at(responder.http(), "/").status == Status::Revoked).then_some(());
    until("the revocation is told", Duration::from_secs(20), told);
    // It is written in the same look in which it is shown, and a later look comes after that.
    let look = || responder.metric("ostia_source_last_look_seconds", "");
    let told = look();
    until("it is on disk", Duration::from_secs(20), || (look() > told + 1.0).then_some(()));
    responder.end_by("KILL");
    let site = responder.into_site();

    let shown = site.precompute("show", &[&revoked.serial]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(shown.text.contains("revoked") && shown.text.contains("keyCompromise"), "{shown:?}");

    let fields = ca.index_fields(&revoked);
    let forged = ["V", &fields[1], "", &fields[3], &fields[4], &fields[5]].join("\t");
    let index = fs::read_to_string(ca.index()).unwrap();
    ca.replace_index(&index.replace(&fields.join("\t"), &forged));
    let responder = site.start();
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
}

#[test]
fn a_first_start_without_a_readable_index_fails_and_names_it() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let kept = fs::read_to_string(ca.index()).unwrap();
    fs::remove_file(ca.index()).unwrap();
    let said = site.refuses_to_start();
    assert!(said.contains(&ca.index().display().to_string()), "{said}");
    ca.replace_index(&kept);
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn a_restart_goes_on_from_the_book_where_a_source_is_broken() {
    // One customer's broken file kept all of them from being answered after a crash.
    let (ca, (good, revoked), mut responder) = serving(|ca| {
        let revoked = ca.issue();
        ca.revoke(&revoked, &[]);
        (ca.issue(), revoked)
    });
    responder.end_by("KILL");
    let site = responder.into_site();
    let kept = fs::read_to_string(ca.index()).unwrap();
    fs::write(ca.index(), "garbage\n").unwrap();
    let synced = site.precompute("sync", &[]);
    assert!(!synced.status.success() && synced.text.contains("index.txt:1:"), "{synced:?}");
    let responder = site.start();
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    let (_, text) = responder.readiness();
    assert!(text.contains("degraded: ") && text.contains("index.txt:1:"), "{text}");
    ca.replace_index(&kept);
    ca.revoke(&good, &[]);
    let told = || (Ask::about(&ca, &good).at(responder.http(), "/").status == Status::Revoked).then_some(());
    until("followed again", Duration::from_secs(20), told);
}

#[test]
fn sigterm_and_sigint_end_it_cleanly_and_idle_connections_do_not_hold_it_up() {
    for signal in ["TERM", "INT"] {
        let (ca, leaf, mut responder) = serving(Ca::issue);
        let request = http::request("GET", &http::ocsp_target("/", &Ask::about(&ca, &leaf).request()), "");
        let mut idle = [(); 3].map(|()| http::Connection::open(responder.http()).unwrap());
        for connection in &mut idle[1..] {
            connection.send(&request).unwrap();
            assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
        }
        let begin = Instant::now();
        let status = responder.end_by(signal);
        // A request that is under way would have 10 s.
        assert!(begin.elapsed() < Duration::from_secs(8), "SIG{signal}: {:?}", begin.elapsed());
        ended_cleanly(status, &responder);
        for connection in &mut idle {
            assert_eq!(connection.receive(false).unwrap(), None, "closed in order, not reset");
        }
    }
}

#[test]
fn a_request_under_way_is_finished_after_sigterm_and_a_stuck_one_ends_at_a_deadline() {
    let (ca, leaf, mut responder) = serving(Ca::issue);
    let request = http::request("GET", &http::ocsp_target("/", &Ask::about(&ca, &leaf).request()), "");
    let (begun, rest) = request.split_at(20);
    let [mut finished, mut stuck] = [(); 2].map(|()| http::Connection::open(responder.http()).unwrap());
    for connection in [&mut finished, &mut stuck] {
        connection.send(begun).unwrap();
    }
    // Two connections accepted and read before the signal: seen by a third that is answered.
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    let finishing = std::thread::spawn({
        let (rest, log) = (rest.to_vec(), responder.site.dir().join("log"));
        move || {
            let told = || fs::read_to_string(&log).unwrap().contains("stopping").then_some(());
            until("it is stopping", Duration::from_secs(9), told);
            finished.send(&rest).unwrap();
            finished.receive(false).unwrap()
        }
    });
    let status = responder.end_by("TERM");
    ended_cleanly(status, &responder);
    let reply = finishing.join().unwrap().expect("answered although it was stopping");
    assert_eq!(reply.status, 200);
    Ask::about(&ca, &leaf).read(&reply.body).expect(Status::Good);
}

fn ended_cleanly(status: ExitStatus, responder: &Responder) {
    let log = responder.log();
    assert!(status.success(), "{status}\n{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

#[test]
fn a_second_responder_on_the_same_state_is_refused() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let (_other_ca, other) = ca_and_site();
    let state = format!("{:?}", responder.site.dir().join("state"));
    other.edit_config(|config| config.replace("\"state\"", &state));
    let said = other.refuses_to_start();
    let who = format!("the state directory belongs to `ostia-responder serve`, process {} on ", responder.pid());
    assert!(said.contains("state/lock: ") && said.contains(&who), "{said}");
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn while_sources_are_read_a_reload_waits_and_nobody_can_connect() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let log = site.dir().join("log");
    let out = File::create(&log).unwrap();
    let (serve, mut starting) = (site.serve(), hanging(&ca.index(), Duration::from_secs(12)));
    // -D: the service stays this process's child, so that signals reach it.
    starting.arg("-D").arg(serve.get_program()).args(serve.get_args());
    let mut starting = starting.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
    let logged = |what: &str| fs::read_to_string(&log).unwrap().contains(what).then_some(());
    until("the sources' turn", Duration::from_secs(20), || logged("the book is loaded"));
    let hangup = run(Command::new("kill").args(["-s", "HUP", &starting.id().to_string()]));
    assert!(hangup.status.success(), "{hangup:?}");
    for address in [site.http, site.admin] {
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "another replica can be asked at once");
    }
    let other = site.refuses_to_start();
    assert!(other.contains("the state directory belongs to") && other.contains("stop it first"), "{other}");
    let elsewhere = format!("{:?}", site.dir().join("elsewhere"));
    site.edit_config(|config| config.replace("\"state\"", &elsewhere));
    let other = site.refuses_to_start();
    assert!(other.contains("http.listen") && other.contains("stop the program"), "the address is taken: {other}");
    site.edit_config(|config| config.replace(&elsewhere, "\"state\""));
    assert!(logged("ready").is_none(), "all of this was during the start");

    until("the reload", Duration::from_secs(90), || logged("the configuration was read again"));
    Ask::about(&ca, &leaf).at(site.http, "/").expect(Status::Good);
    starting.kill().unwrap();
    starting.wait().unwrap();
}

#[test]
fn a_reload_that_comes_while_keys_are_opened_waits() {
    let (ca, site) = ca_and_site();
    let log = site.dir().join("log");
    let out = File::create(&log).unwrap();
    let (serve, mut starting) = (site.serve(), hanging(&ca.certificate(), Duration::from_secs(10)));
    starting.arg("-D").arg(serve.get_program()).args(serve.get_args());
    let mut starting = starting.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
    until("the service takes SIGHUP", Duration::from_secs(20), || {
        let status = fs::read_to_string(format!("/proc/{}/status", starting.id())).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let caught = u64::from_str_radix(&field("SigCgt:"), 16).unwrap();
        (field("Name:").starts_with("ostia") && caught & 1 == 1).then_some(())
    });
    let hangup = run(Command::new("kill").args(["-s", "HUP", &starting.id().to_string()]));
    assert!(hangup.status.success(), "{hangup:?}");
    let logged = |what: &str| fs::read_to_string(&log).unwrap().contains(what).then_some(());
    assert!(logged("the book is loaded").is_none(), "before the configuration was read");
    until("the reload", Duration::from_secs(90), || logged("the configuration was read again"));
    starting.kill().unwrap();
    starting.wait().unwrap();
}

#[test]
fn a_source_that_hangs_does_not_hold_up_the_end() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let told = responder.site.dir().join("strace");
    let mut strace = hanging(&ca.index(), Duration::from_secs(60));
    strace.arg("-p").arg(responder.pid().to_string()).stderr(File::create(&told).unwrap());
    let mut strace = strace.spawn().unwrap();
    until("strace", Duration::from_secs(20), || fs::read_to_string(&told).unwrap().contains("attached").then_some(()));
    ca.revoke(&leaf, &[]);
    until("the look that hangs", Duration::from_secs(20), || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        (now - responder.metric("ostia_source_last_look_seconds", "") > 3.0).then_some(())
    });
    responder.signal("TERM");
    let stopped = || responder.log().contains("\"stopped\"").then_some(());
    until("it has stopped", Duration::from_secs(30), stopped);
    // The kernel is done with a process when its tracer is.
    strace.kill().unwrap();
    strace.wait().unwrap();
}
