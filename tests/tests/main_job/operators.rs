//! What operators see: health, metrics, logs.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Status,
    http::{get, ocsp_target, post},
    until,
};

use crate::{ca_and_site, serving};

#[test]
fn health_is_told_on_the_admin_listener_only() {
    let (_ca, _, responder) = serving(Ca::issue);
    for path in ["/livez", "/readyz", "/readyz/ocsp", "/metrics"] {
        assert_eq!(get(responder.site.admin, path).status, 200, "{path}");
        // Relying parties see a malformed OCSP request there, or the page for people.
        let reply = get(responder.http(), path);
        assert!(!reply.text().contains("ostia_") && !reply.text().contains("ready"), "{path}: {reply:?}");
    }
    assert_eq!(get(responder.site.admin, "/").status, 404);
}

#[test]
fn metrics_count_what_was_asked_and_what_became_of_it() {
    let (ca, leaf, responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &[]);
        leaf
    });
    let metric = |labels: &str| responder.metric("ostia_requests_total", labels);
    let request = Ask::about(&ca, &leaf).request();
    for _ in 0..3 {
        get(responder.http(), &ocsp_target("/", &request));
    }
    post(responder.http(), "/", b"nonsense");
    let by_get = |result: &str| metric(&format!("method=\"GET\",result=\"{result}\""));
    // The first was signed for, the others found it.
    assert_eq!((by_get("signed"), by_get("hit")), (1.0, 2.0), "{}", responder.metrics());
    assert_eq!(metric("method=\"POST\",result=\"malformed_request\""), 1.0);
    let records = |status: &str| responder.metric("ostia_records", &format!("status=\"{status}\""));
    // The delegate's own certificate is listed too.
    assert_eq!((records("good"), records("revoked")), (1.0, 1.0));
    assert_eq!(responder.metric("ostia_source_faulty", "issuer=\"ca\""), 0.0);
    // Parsers want types.
    let text = responder.metrics();
    assert!(text.contains("# TYPE ostia_requests_total counter\nostia_requests_total{"), "{text}");
}

#[test]
fn a_log_that_is_no_terminal_is_json_line_by_line() {
    let (ca, leaf, mut responder) = serving(Ca::issue);
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    responder.end_by("TERM");
    let log = responder.log();
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        assert!(
            line.starts_with("{\"timestamp\":\"20") && line.contains("\"level\":") && line.ends_with('}'),
            "{line}"
        );
        assert!(!line.contains('\x1b'), "no colours in a file: {line}");
    }
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    for is_abstract in [false, true] {
        let (_ca, site) = ca_and_site();
        let path = site.dir().join("notify");
        let (socket, systemd) = if is_abstract {
            let name = format!("{}/notify", site.dir().display());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            (format!("@{name}").into(), UnixDatagram::bind_addr(&address).unwrap())
        } else {
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap())
        };
        systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let told = |wanted: &str| {
            let mut message = [0; 512];
            let length = systemd.recv(&mut message).unwrap();
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            assert!(message.lines().any(|line| line == wanted), "{wanted}: {message}");
            message
        };
        let mut command = site.serve();
        command.env("NOTIFY_SOCKET", &socket);
        let mut responder = site.start_by(command);
        told("READY=1");
        responder.signal("HUP");
        assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
        told("READY=1");
        assert!(responder.end_by("TERM").success());
        told("STOPPING=1");
    }
}

#[test]
fn a_sample_of_the_requests_is_told_in_the_log() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    site.edit_config(|text| text.replacen("[http]", "[log]\naccess_sample = 5\n[http]\nworkers = 1", 1));
    let responder = site.start();
    let ask = Ask::about(&ca, &leaf).request();
    for _ in 0..20 {
        assert_eq!(post(responder.http(), "/", &ask).status, 200);
    }
    let lines = || -> Vec<String> {
        responder.log().lines().filter(|line| line.contains("\"message\":\"request\"")).map(str::to_owned).collect()
    };
    until("the lines", Duration::from_secs(20), || (lines().len() == 4).then_some(()));
    let lines = lines();
    let wanted = ["\"client\":\"127.", "\"issuer\":\"ca\"", &leaf.serial, "\"method\":\"POST\"", "\"path\":\"/\""];
    for wanted in wanted.into_iter().chain(["\"status\":200", "\"octets\":", "\"seconds\":"]) {
        assert!(lines.iter().all(|line| line.contains(wanted)), "{wanted} in {lines:?}");
    }
    assert!(lines[0].contains("\"result\":\"signed\"") && lines[3].contains("\"result\":\"hit\""), "{lines:?}");
}

#[test]
fn latencies_are_told_as_histograms() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let ask = Ask::about(&ca, &leaf).request();
    for _ in 0..10 {
        assert_eq!(post(responder.http(), "/", &ask).status, 200);
    }
    let count = |signed: &str| responder.metric("ostia_latency_seconds_count", &format!("signed=\"{signed}\""));
    until("the last one", Duration::from_secs(20), || ((count("yes"), count("no")) == (1.0, 9.0)).then_some(()));
    let metrics = responder.metrics();
    assert!(metrics.contains("ostia_latency_seconds_bucket{le=\"+Inf\",signed=\"no\"} 9"), "{metrics}");
}

/// Each change was told twice, and none by its serial.
#[test]
fn a_revocation_is_told_once_by_its_serial_and_so_are_hold_and_release() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let held = ca.issue();
    let lines = |wanted: &[&str]| {
        responder.log().lines().filter(|line| wanted.iter().all(|wanted| line.contains(wanted))).count()
    };
    let told =
        |wanted: &[&str]| until(&format!("{wanted:?}"), Duration::from_secs(20), || (lines(wanted) > 0).then_some(()));
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    told(&["\"put on hold\"", &held.serial]);
    ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    told(&["\"revoked\"", &leaf.serial, "keyCompromise"]);
    ca.release(&held);
    told(&["\"released from hold\"", &held.serial]);
    // A file is read again that has just been written, which changes nothing.
    let reads = || responder.metric("ostia_source_reads_total", "");
    let before = reads();
    ca.replace_index(&std::fs::read_to_string(ca.index()).unwrap());
    until("another read", Duration::from_secs(20), || (reads() > before).then_some(()));
    let of = |serial: &str| lines(&[&format!("\"serial\":\"{serial}\"")]);
    assert_eq!((of(&leaf.serial), of(&held.serial)), (1, 2), "{}", responder.log());
    let changed = responder.log().lines().filter(|line| line.contains("\"the source was read\"")).count();
    // The start, a new certificate (which a look may have found together with its hold), and three changes.
    assert!((4..=5).contains(&changed), "{}", responder.log());
}

/// It said that 8 were due and 24 signed.
#[test]
fn what_was_due_and_what_was_signed_ahead_are_counted_alike() {
    let ca = Ca::new("CA");
    for _ in 0..8 {
        ca.issue();
    }
    let signer = ca.delegate(ostia_tests::Delegate::Proper, ostia_tests::KeyKind::P256);
    let responder = ostia_tests::Site::new(&[ostia_tests::Tenant::of(&ca, &signer).presigned()]).start();
    let told = || {
        responder
            .log()
            .lines()
            .filter(|line| line.contains("answers were signed ahead"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    until("the first pass", Duration::from_secs(20), || (told().len() == 1).then_some(()));
    // All of it is due once more.
    responder.reload(|text| text.replacen("[[tenant]]", "[[tenant]]\nvalidity = \"5d\"", 1));
    until("the second pass", Duration::from_secs(20), || (told().len() == 2).then_some(()));
    for line in told() {
        let number = |name: &str| -> u64 {
            let rest = line.split(&format!("\"{name}\":")).nth(1).unwrap();
            rest.split([',', '}']).next().unwrap().parse().unwrap()
        };
        assert_eq!((number("due"), number("signed")), (9, 9), "{line}");
    }
}

/// A start with a CRL told the first hundred as if they had been revoked that moment.
#[test]
fn a_first_start_tells_nobody_by_serial_who_was_revoked_long_ago() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    ca.revoke(&leaf, &[]);
    let signer = ca.delegate(ostia_tests::Delegate::Proper, ostia_tests::KeyKind::P256);
    let sources = format!("crl = {:?}", ca.write_crl("ca.crl"));
    let tenant = ostia_tests::Tenant::new("alone").set("unlisted = \"unknown\"");
    let responder = ostia_tests::Site::new(&[tenant.issuer("ca", &ca, &sources, &signer.lines())]).start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);
    let log = responder.log();
    assert!(log.contains("the source was read") && !log.contains(&format!("\"serial\":\"{}\"", leaf.serial)), "{log}");
}
