//! A key that is slow, and more to sign than it can.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant, SystemTime},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant,
    http::{Connection, ocsp_target, request},
};

/// Certificates that are only lines of the index, with serials of two bytes.
const LINES: std::ops::Range<u16> = 0x4000..0x8000;

/// A responder with one thread of RSA-4096: some 600 signatures a second.
fn slow() -> (Ca, Responder, Vec<u8>) {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::Rsa4096);
    let mut index = fs::read_to_string(ca.index()).unwrap();
    for serial in LINES {
        writeln!(index, "V\t351231235959Z\t\t{serial:04X}\tunknown\t/CN=line").unwrap();
    }
    ca.replace_index(&index);
    let sources = format!("index = {:?}", ca.index());
    let lines = format!("{}\nthreads = 1", signer.lines());
    let site = Site::new(&[Tenant::new("slow").issuer("ca", &ca, &sources, &lines)]);
    let responder = site.start();
    let request = Ask::serial(&ca, "7000").request();
    assert!(request.ends_with(&[2, 2, 0x70, 0]), "the serial stands last");
    (ca, responder, request)
}

/// A GET for the certificate of a line.
fn ask_for(der: &[u8], serial: u16) -> Vec<u8> {
    let mut der = der.to_vec();
    let at = der.len() - 2;
    der[at..].copy_from_slice(&serial.to_be_bytes());
    request("GET", &ocsp_target("/", &der), "")
}

#[test]
fn an_answer_that_is_ready_does_not_wait_for_the_signature_of_the_next() {
    // Both stood in one output once, so that a good was sent long after it had been decided on.
    let (ca, responder, der) = slow();
    Ask::serial(&ca, "7000").at(responder.http(), "/").expect(Status::Good);
    let queue: Vec<_> = (0x7002..0x7100)
        .map(|serial| {
            let mut connection = Connection::open(responder.http()).unwrap();
            connection.send(&ask_for(&der, serial)).unwrap();
            connection
        })
        .collect();
    let mut connection = Connection::open(responder.http()).unwrap();
    let begin = Instant::now();
    connection.send(&[ask_for(&der, 0x7000), ask_for(&der, 0x7001)].concat()).unwrap();
    assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
    let ready = begin.elapsed();
    let last = connection.receive(false).unwrap().unwrap();
    let signed = begin.elapsed();
    assert!(last.cache_control_seconds("max-age") > 0, "{}", last.text());
    assert!(ready < signed / 2, "ready after {ready:?}, signed after {signed:?}");
    drop(queue);
}

#[test]
fn a_flood_of_misses_is_told_try_later_at_once_while_hits_go_on_and_then_all_is_well() {
    const TRY_LATER: [u8; 5] = [0x30, 3, 0x0a, 1, 3];
    let (ca, responder, der) = slow();
    let hit = Ask::serial(&ca, "7000");
    hit.at(responder.http(), "/").expect(Status::Good);
    let send = |serial: u16| {
        let mut connection = Connection::open(responder.http()).unwrap();
        connection.send(&ask_for(&der, serial)).unwrap();
        connection
    };
    // Who waits has his word after 5 s.
    let soon = |begin: Instant| begin.elapsed() < Duration::from_secs(4);
    let refused = || responder.metric("ostia_requests_total", "result=\"try_later\"") > 0.0;
    // Far faster than the key signs, until what may wait waits.
    let mut serials = LINES.start..0x6000;
    let mut flood = Vec::new();
    while !refused() {
        let more: Vec<_> = serials.by_ref().take(256).map(send).collect();
        assert!(!more.is_empty(), "{} requests fill no queue", flood.len());
        flood.extend(more);
    }
    // Of some more one finds no room that was just made, and need not wait for its word.
    let begin = Instant::now();
    let mut last: Vec<_> = (0x6000..0x6200).map(send).collect();
    let reply = last.pop().unwrap().receive(false).unwrap().unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &TRY_LATER[..]));
    assert_eq!(reply.expect("cache-control"), "no-store");
    assert!(soon(begin), "after {:?}", begin.elapsed());
    let begin = Instant::now();
    hit.at(responder.http(), "/").expect(Status::Good);
    assert!(soon(begin), "a hit after {:?}", begin.elapsed());

    let told = flood.iter_mut().chain(&mut last).map(|connection| connection.receive(false).unwrap().unwrap().body);
    let signed = told.filter(|body| *body != TRY_LATER).count();
    assert!(signed > 100, "those who found room are answered: {signed}");
    Ask::serial(&ca, "61FF").at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn answers_that_waited_for_their_signature_have_dates_that_agree() {
    let (_, responder, der) = slow();
    // Asked late in a second, so that it turns while most of them wait: a Date from before the wait is then
    // a second behind.
    let into_second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_millis();
    std::thread::sleep(Duration::from_millis(u64::from((1850 - into_second) % 1000)));
    let mut connections: Vec<_> = (0..200)
        .map(|place| {
            let mut connection = Connection::open(responder.http()).unwrap();
            connection.send(&ask_for(&der, LINES.start + place)).unwrap();
            connection
        })
        .collect();
    let agree = |connection: &mut Connection| {
        let reply = connection.receive(false).unwrap().unwrap();
        reply.date("expires") == reply.date("date") + Duration::from_secs(reply.cache_control_seconds("max-age"))
    };
    let apart = connections.iter_mut().map(agree).filter(|agree| !agree).count();
    assert_eq!(apart, 0, "of 200");
}
