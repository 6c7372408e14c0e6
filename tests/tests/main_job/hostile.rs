//! Clients that mean harm, or are broken: each is bounded in time and memory, and nobody else waits for it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Responder,
    http::{Connection, get, request},
    until,
};

use crate::{ca_and_site, serving};

fn impatient() -> Responder {
    let (_ca, site) = ca_and_site();
    // One worker: whoever makes it stall makes it stall for all.
    site.set_http(
        "workers = 1\nhead_deadline = \"1s\"\nbody_deadline = \"1s\"\nidle_deadline = \"1s\"\nwrite_deadline = \"1s\"",
    );
    site.start()
}

/// Nobody waits: answers take no longer than on a machine that is busy with tests anyhow. Behind one who stalls the
/// worker each would wait for a second, or all for ten.
#[track_caller]
fn others_are_answered(http: SocketAddr) {
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(http, "/").status, 200);
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "20 answers in {:?}", begin.elapsed());
}

fn connect(http: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// All that comes until the end, which must come in time, by a reset or in order.
#[track_caller]
fn until_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("no end: {error}"),
        _ => said,
    }
}

/// Sends a byte now and then; gives how long that went well.
fn drip(http: SocketAddr, begin: &[u8]) -> Duration {
    let mut stream = connect(http);
    let started = Instant::now();
    stream.write_all(begin).unwrap();
    while stream.write_all(b"x").is_ok() && started.elapsed() < Duration::from_secs(15) {
        thread::sleep(Duration::from_millis(50));
    }
    started.elapsed()
}

#[test]
fn what_drips_in_ends_at_its_deadline() {
    let responder = impatient();
    for begin in [
        &b"GET /"[..],
        b"POST / HTTP/1.1\r\nHost: x\r\nX-Header: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n",
    ] {
        let took = drip(responder.http(), begin);
        // By default it would be 10 s.
        assert!((1.0..9.0).contains(&took.as_secs_f32()), "{}: {took:?}", String::from_utf8_lossy(begin));
    }
    // Nothing at all.
    let began = Instant::now();
    assert_eq!(until_the_end(connect(responder.http())), b"");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let counted = || (responder.metric("ostia_connections_expired_total", "") == 5.0).then_some(());
    until("all are counted", Duration::from_secs(20), counted);
    others_are_answered(responder.http());
}

#[test]
fn a_client_that_never_reads_is_cut_and_holds_little_memory() {
    let responder = impatient();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", responder.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    others_are_answered(responder.http());
    let before = resident();
    let pipeline = request("GET", "/", "").repeat(20_000);
    let greedy: Vec<_> = (0..20)
        .map(|_| {
            let (mut stream, pipeline) = (connect(responder.http()), pipeline.clone());
            // Until nobody takes any more.
            thread::spawn(move || (stream.write_all(&pipeline), stream))
        })
        .collect();
    others_are_answered(responder.http());
    let grown = resident().saturating_sub(before);
    assert!(grown < 20 * 512, "{grown} KiB for 20 connections");
    let cut = || (responder.metric("ostia_connections_expired_total", "") >= 20.0).then_some(());
    until("all of them are cut", Duration::from_secs(25), cut);
    for client in greedy {
        drop(client.join().unwrap());
    }
    others_are_answered(responder.http());
}

#[test]
fn a_request_whose_client_has_nothing_more_to_say_is_answered() {
    let responder = impatient();
    for octets in [request("GET", "/", ""), request("GET", "/", "").repeat(3)] {
        let mut stream = connect(responder.http());
        stream.write_all(&octets).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let said = String::from_utf8(until_the_end(stream)).unwrap();
        assert_eq!(said.matches("HTTP/1.1 200 OK").count(), octets.len() / request("GET", "/", "").len(), "{said}");
    }
    // Half a request is none.
    let mut stream = connect(responder.http());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(until_the_end(stream), b"");
}

#[test]
fn two_thousand_idle_connections_keep_nobody_waiting() {
    let (_ca, (), responder) = serving(|_| ());
    let mut idle: Vec<_> = (0..2000).map(|_| Connection::open(responder.http()).unwrap()).collect();
    for connection in idle.iter_mut().step_by(2) {
        connection.send(&request("GET", "/", "")).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
    }
    let open = || (responder.metric("ostia_connections_open", "") >= 2000.0).then_some(());
    until("all are open", Duration::from_secs(20), open);
    others_are_answered(responder.http());
    for connection in &mut idle {
        connection.send(&request("GET", "/", "")).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
    }
}

#[test]
fn silent_connections_make_room_for_those_who_ask() {
    let (_ca, site) = ca_and_site();
    site.set_http("workers = 1");
    let serve = site.serve();
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    let responder = site.start_by(limited);
    let log = responder.log();
    let most = log.split("\"connections\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    let most: usize = most.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("the bound in {log}"));
    assert!((20..60).contains(&most), "{most}");

    let silent: Vec<_> = (0..most - 1).map(|_| connect(responder.http())).collect();
    let ask = |connection: &mut Connection| {
        connection.send(&request("GET", "/", "")).unwrap();
        assert_eq!(connection.receive(false).unwrap().expect("an answer").status, 200);
    };
    let mut busy = Connection::open(responder.http()).unwrap();
    ask(&mut busy);
    assert_eq!(responder.metric("ostia_connections_open", ""), most as f64, "there are as many as there may be");
    // Idleness is counted in seconds.
    thread::sleep(Duration::from_millis(1100));
    let mut newcomers = Vec::new();
    for _ in 0..most / 2 {
        ask(&mut busy);
        newcomers.push(Connection::open(responder.http()).unwrap());
        newcomers.iter_mut().for_each(ask);
    }
    ask(&mut busy);
    let is_closed = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_ok_and(|octets| octets == 0)
    };
    assert_eq!(silent.iter().filter(|stream| is_closed(stream)).count(), most / 2, "closed in order, not reset");
    assert_eq!(responder.metric("ostia_connections_turned_away_total", ""), 0.0);
    assert_eq!(responder.metric("ostia_connections_displaced_total", ""), (most / 2) as f64);
    assert!(responder.metric("ostia_connections_open", "") <= most as f64);
}

#[test]
fn half_requests_to_the_admin_listener_hold_few_descriptors() {
    let (_ca, (), responder) = serving(|_| ());
    let open = || std::fs::read_dir(format!("/proc/{}/fd", responder.pid())).unwrap().count();
    let before = open();
    let half = |_| {
        let mut stream = connect(responder.site.admin);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x").unwrap();
        stream
    };
    let _half: Vec<_> = (0..1000).map(half).collect();
    assert_eq!(get(responder.site.admin, "/livez").status, 200);
    assert!(open() < before + 100, "{} descriptors, {before} before", open());
    // And those end, too.
    until("they have ended", Duration::from_secs(25), || (open() < before + 5).then_some(()));
    assert_eq!(get(responder.site.admin, "/livez").status, 200);
}

#[test]
fn what_is_no_request_is_refused_once_and_nothing_behind_it_is_answered() {
    let responder = impatient();
    let good = String::from_utf8(request("GET", "/", "")).unwrap();
    let header = |octets: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(octets));
    let fields = |count| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count)).into_bytes();
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let client_hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 500]].concat();
    for (what, octets, statuses) in [
        ("a header of 64 KiB", header(64 << 10).into_bytes(), &["431"][..]),
        ("5,000 fields", fields(5000), &["431"]),
        ("100 fields, which fit", fields(100), &["200"]),
        ("a body of 1 MiB announced", post("Content-Length: 1048576\r\n").into_bytes(), &["413"]),
        ("the same and sent", (post("Content-Length: 1048576\r\n") + &"b".repeat(60_000)).into_bytes(), &["413"]),
        (
            "chunks without an end",
            (post("Transfer-Encoding: chunked\r\n") + &"1\r\nb\r\n".repeat(9000)).into_bytes(),
            &["413"],
        ),
        ("good, bad, good", (good.clone() + "GET / HTTP/1.1\r\n\r\n" + &good).into_bytes(), &["200", "400"]),
        (
            "two framings, then good",
            (post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n") + &good).into_bytes(),
            &["400"],
        ),
        ("good, half", (good.clone() + "GET / HT").into_bytes(), &["200"]),
        ("garbage", vec![0xff; 3000], &["400"]),
        ("NUL", b"\0".to_vec(), &["400"]),
        ("TLS on the plain port", client_hello, &["400"]),
    ] {
        let mut stream = connect(responder.http());
        // The responder may have had enough before all is sent.
        let _ = stream.write_all(&octets);
        let said = String::from_utf8(until_the_end(stream)).unwrap();
        let found: Vec<_> = said.split("HTTP/1.1 ").skip(1).map(|reply| &reply[..3]).collect();
        assert_eq!(found, statuses, "{what}: {said}");
    }
    others_are_answered(responder.http());
}
