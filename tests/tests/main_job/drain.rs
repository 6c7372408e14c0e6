//! How it ends: nobody who has connected is turned away.

use std::{
    io::ErrorKind,
    net::TcpStream,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Leaf, Responder, Status,
    http::{Connection, exchange, get, request},
    until,
};

use crate::ca_and_site;

#[test]
fn whoever_connected_before_listening_ended_is_answered() {
    // One request a connection, from several threads, with SIGTERM in their midst; some rounds, since it is a race.
    for round in 0..5 {
        let (_ca, site) = ca_and_site();
        site.set_http("workers = 2");
        let mut responder = site.start();
        let http = responder.http();
        let (ended, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
                thread::spawn(move || {
                    while !ended.load(SeqCst) {
                        let mut connection = match Connection::open(http) {
                            Ok(connection) => connection,
                            // Nobody listens any more.
                            Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                            Err(error) => panic!("connecting: {error}"),
                        };
                        let close = if number % 2 == 0 { "Connection: close\r\n" } else { "" };
                        connection.send(&request("GET", "/", close)).expect("whoever connected can ask");
                        let reply = connection.receive(false).expect("and is not reset");
                        assert_eq!(reply.expect("and is answered").status, 200);
                        answered.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        until("they are at it", Duration::from_secs(60), || (answered.load(SeqCst) > 500).then_some(()));
        let status = responder.end_by("TERM");
        ended.store(true, SeqCst);
        for client in clients {
            assert!(client.join().is_ok(), "round {round}: a client was not served");
        }
        assert!(status.success(), "{status}\n{}", responder.log());
    }
}

#[test]
fn while_balancers_take_notice_everybody_is_answered_and_told_to_go() {
    let (_ca, site) = ca_and_site();
    site.set_http("drain_delay = \"8s\"");
    let mut responder = site.start();
    let (http, admin) = (responder.http(), responder.site.admin);
    let ask = |connection: &mut Connection| {
        connection.send(&request("GET", "/", "")).unwrap();
        connection.receive(false).unwrap().unwrap()
    };
    let [mut busy, mut idle] = [(); 2].map(|()| Connection::open(http).unwrap());
    for connection in [&mut busy, &mut idle] {
        assert_eq!(ask(connection).header("connection"), None, "it may stay");
    }
    let begin = Instant::now();
    let ending = thread::spawn(move || {
        let status = responder.end_by("TERM");
        (responder, status)
    });
    let not_ready = || {
        let reply = exchange(admin, &request("GET", "/readyz/ocsp", "")).ok()?;
        (reply.status == 503).then_some(())
    };
    until("it is not ready", Duration::from_secs(7), not_ready);
    let fresh = get(http, "/");
    assert_eq!((fresh.status, fresh.header("connection")), (200, Some("close")));
    let last = ask(&mut busy);
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert_eq!(busy.receive(false).unwrap(), None);
    assert!(begin.elapsed() < Duration::from_secs(8), "all of it within the delay");
    assert_eq!(idle.receive(false).unwrap(), None, "closed in order when the delay is over");
    let took = begin.elapsed().as_secs_f32();
    // A request that is under way would have 10 s more.
    assert!((7.5..16.0).contains(&took), "{took} s");
    let (responder, status) = ending.join().unwrap();
    assert!(status.success(), "{status}\n{}", responder.log());
    assert_eq!(TcpStream::connect(http).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Asks for the end, and waits until it is under way; then has `leaf` revoked, which has to be answered while balancers take
/// notice.
fn stop_and_revoke(ca: &Ca, leaf: &Leaf, mut responder: Responder) {
    let (http, admin) = (responder.http(), responder.site.admin);
    let ending = thread::spawn(move || (responder.end_by("TERM"), responder));
    let not_ready = || {
        let reply = exchange(admin, &request("GET", "/readyz/ocsp", "")).ok()?;
        (reply.status == 503).then_some(())
    };
    until("it is not ready", Duration::from_secs(5), not_ready);
    ca.revoke(leaf, &[]);
    let ask = Ask::about(ca, leaf);
    until("it is revoked", Duration::from_secs(9), || (ask.at(http, "/").status == Status::Revoked).then_some(()));
    let (status, responder) = ending.join().unwrap();
    assert!(status.success(), "{status}\n{}", responder.log());
}

/// The sources are followed until the last answer has left, not until the service is told to stop.
#[test]
fn a_certificate_revoked_while_balancers_take_notice_is_answered_revoked() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    site.set_http("drain_delay = \"15s\"");
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    stop_and_revoke(&ca, &leaf, responder);
}

/// Between the former sources and the new site there is a moment in which the present site is followed by nobody: a stop
/// must not make it last.
#[test]
fn a_stop_in_the_middle_of_a_reload_leaves_nobody_unfollowed() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    site.set_http("drain_delay = \"15s\"");
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    let other = ca.file("other");
    std::os::unix::fs::symlink(ca.dir(), &other).unwrap();
    let (before, after) = (ca.index(), other.join("index.txt"));
    let edit = |text: String| text.replace(before.to_str().unwrap(), after.to_str().unwrap());
    assert_ne!(
        edit(std::fs::read_to_string(responder.site.config()).unwrap()),
        std::fs::read_to_string(responder.site.config()).unwrap()
    );
    responder.reload(edit);
    // In most runs the engine is waiting for the end of the former sources then.
    thread::sleep(Duration::from_millis(60));
    stop_and_revoke(&ca, &leaf, responder);
}

#[test]
fn who_does_not_come_to_an_end_is_cut_at_the_deadline_of_the_operator() {
    let (_ca, site) = ca_and_site();
    site.set_http("drain_deadline = \"1s\"");
    let mut responder = site.start();
    let mut stuck = Connection::open(responder.http()).unwrap();
    stuck.send(b"GET / HT").unwrap();
    // Read before the signal: seen by another that is answered.
    assert_eq!(get(responder.http(), "/").status, 200);
    let begin = Instant::now();
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    // By default it would have 10 s.
    assert!((1.0..9.0).contains(&begin.elapsed().as_secs_f32()), "{:?}", begin.elapsed());
}

/// Each stop of a service that is not root's had a warning, without a cause or a remedy, where the kernel wants
/// CAP_NET_ADMIN of whoever filters what comes to a listening socket.
#[test]
fn a_stop_without_privileges_warns_of_nothing_and_says_what_spares_a_reset() {
    let (_ca, site) = ca_and_site();
    site.set_http("workers = 2");
    let serve = site.serve();
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    unprivileged.arg(serve.get_program()).args(serve.get_args());
    let mut responder = site.start_by(unprivileged);
    assert_eq!(get(responder.http(), "/").status, 200);
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    let log = responder.log();
    assert!(!log.contains("WARN"), "{log}");
    // Other kernels let anybody do it.
    let told: Vec<_> = log.lines().filter(|line| line.contains("may be reset")).collect();
    assert!(told.len() <= 1, "once: {log}");
    assert!(told.iter().all(|line| line.contains("CAP_NET_ADMIN") && line.contains("socket unit")), "{log}");
}

/// A balancer is told to leave, and whoever asks all the same is answered; also after a start anew.
#[test]
fn a_server_that_is_drained_is_not_ready_and_answers() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let mut responder = site.start();
    let drain = |responder: &Responder, more: &[&str]| {
        let mut command = Command::new(&ostia_tests::programs().responder);
        let ended = ostia_tests::run(command.args(["drain", "--config"]).arg(responder.site.config()).args(more));
        assert!(ended.status.success(), "{}", ended.text);
    };
    let ready = |responder: &Responder| {
        ["/readyz/ocsp", "/readyz/tsa"].map(|path| {
            let reply = get(responder.site.admin, path);
            (reply.status, reply.text().starts_with("not ready: drained; "))
        })
    };
    assert_eq!(ready(&responder)[0], (200, false));
    drain(&responder, &[]);
    for _ in 0..2 {
        assert_eq!(ready(&responder), [(503, true); 2]);
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        responder.end_by("TERM");
        let site = responder.into_site();
        let command = site.serve();
        responder = site.launch(command);
        responder.until_answered("/livez", Duration::from_secs(60));
    }
    assert!(responder.log().contains("drained: balancers are told to send nothing here"));
    drain(&responder, &["--end"]);
    assert_eq!(ready(&responder)[0], (200, false));
}
