//! What a tenant can choose, each choice at work.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant,
    http::{Connection, Reply, exchange, get, ocsp_target, post},
    openssl, run, until,
};

/// A responder whose one tenant has these lines.
fn with(settings: &str) -> (Ca, Leaf, Responder) {
    let ca = Ca::new("Policies CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let responder = Site::new(&[Tenant::of(&ca, &signer).set(settings)]).start();
    (ca, leaf, responder)
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..128 => vec![tag, length as u8],
        128..256 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [header, content.to_vec()].concat()
}

const NONCE: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

fn extensions(octets: &[u8]) -> Vec<u8> {
    der(0x30, &der(0x30, &[NONCE, &der(0x04, &der(0x04, octets))].concat()))
}

/// id-pkix-ocsp-pref-sig-algs.
const PREFERRED: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x08];

/// The Request of a request for one certificate.
fn single(request: &[u8]) -> Vec<u8> {
    // OCSPRequest, TBSRequest, requestList: three SEQUENCEs around it.
    let inside = |element: &[u8]| element[if element[1] < 0x80 { 2 } else { 3 }..].to_vec();
    inside(&inside(&inside(request)))
}

/// A request of these Requests, with requestExtensions and their tag or nothing.
fn message(requests: &[u8], extensions: &[u8]) -> Vec<u8> {
    der(0x30, &der(0x30, &[&der(0x30, requests), extensions].concat()))
}

fn with_nonce(ask: &Ask, nonce: &[u8]) -> Vec<u8> {
    message(&single(&ask.request()), &der(0xa2, &extensions(nonce)))
}

fn said(reply: &Reply) -> &'static str {
    match &reply.body[..] {
        [0x30, 0x03, 0x0a, 0x01, code] => {
            ["", "malformedRequest", "internalError", "tryLater", "", "sigRequired", "unauthorized"][usize::from(*code)]
        }
        _ => "signed",
    }
}

fn holds(reply: &Reply, octets: &[u8]) -> bool {
    reply.body.windows(octets.len()).any(|window| window == octets)
}

fn is_uncacheable(reply: &Reply) -> bool {
    reply.expect("cache-control").contains("no-store")
}

#[test]
fn by_default_a_nonce_is_ignored_and_the_answer_is_everybodys() {
    let (ca, leaf, responder) = with("");
    let ask = Ask::about(&ca, &leaf);
    let plain = post(responder.http(), "/", &ask.request());
    let answer = post(responder.http(), "/", &with_nonce(&ask, &[7; 16]));
    assert_eq!(answer.body, plain.body);
    assert!(!is_uncacheable(&answer), "{answer:?}");
    // Apple's framework and others put the bytes into extnValue as they are; nobody looks.
    for value in [vec![7; 16], vec![], der(0x04, &[]), der(0x04, &[7; 129]), vec![0x04, 0x80]] {
        for critical in [&[][..], &[1, 1, 0xff]] {
            let extension = der(0x30, &[NONCE, critical, &der(0x04, &value)].concat());
            let message = message(&single(&ask.request()), &der(0xa2, &der(0x30, &extension)));
            for reply in [post(responder.http(), "/", &message), get(responder.http(), &ocsp_target("/", &message))] {
                assert_eq!(reply.body, plain.body, "{value:02x?}");
            }
        }
    }
    ask.clone().nonce().at(responder.http(), "/").expect(Status::Good);
}

#[test]
fn an_echoed_nonce_comes_back_exactly_in_an_answer_that_nobody_keeps() {
    let (ca, leaf, responder) = with("nonce = \"echo\"");
    let ask = Ask::about(&ca, &leaf);
    let plain = post(responder.http(), "/", &ask.request());
    assert!(!is_uncacheable(&plain), "without a nonce nothing changes");
    for (length, expected) in [
        (0, "malformedRequest"),
        (1, "left out"),
        (15, "left out"),
        (16, "echoed"),
        (32, "echoed"),
        (33, "left out"),
        (128, "left out"),
        (129, "malformedRequest"),
    ] {
        let nonce: Vec<u8> = (0..length).map(|at| at as u8 ^ 0x5a).collect();
        let message = with_nonce(&ask, &nonce);
        for reply in [post(responder.http(), "/", &message), get(responder.http(), &ocsp_target("/", &message))] {
            match expected {
                "left out" => assert_eq!(reply.body, plain.body, "{length}"),
                "echoed" => {
                    let extension = [NONCE, &der(0x04, &der(0x04, &nonce))].concat();
                    assert!(holds(&reply, &extension) && is_uncacheable(&reply), "{length}: {reply:?}");
                    ask.read(&reply.body).expect(Status::Good);
                }
                error => assert_eq!(said(&reply), error, "{length}"),
            }
        }
    }
    let raw = der(0x30, &der(0x30, &[NONCE, &der(0x04, &[7; 16])].concat()));
    let reply = post(responder.http(), "/", &message(&single(&ask.request()), &der(0xa2, &raw)));
    assert_eq!(said(&reply), "malformedRequest", "there is nothing that could be echoed");
    let inner = der(0x30, &[&single(&ask.request())[2..], &der(0xa0, &extensions(&[9; 16]))[..]].concat());
    let reply = post(responder.http(), "/", &message(&inner, &[]));
    assert_eq!(reply.body, plain.body, "a nonce in singleRequestExtensions is ignored");

    let answer = ask.clone().nonce().at(responder.http(), "/");
    assert!(!answer.text.contains("no nonce in response"), "{}", answer.text);
    answer.expect(Status::Good);
    ca.revoke(&leaf, &[]);
    until("the revocation", Duration::from_secs(20), || {
        (ask.clone().nonce().at(responder.http(), "/").status == Status::Revoked).then_some(())
    });
    Ask::serial(&ca, "ABCDEF").nonce().at(responder.http(), "/").expect(Status::error("unauthorized"));
}

#[test]
fn a_required_nonce_must_be_there() {
    let (ca, leaf, responder) = with("nonce = \"require\"");
    let ask = Ask::about(&ca, &leaf);
    ask.at(responder.http(), "/").expect(Status::error("malformedrequest"));
    ask.clone().nonce().at(responder.http(), "/").expect(Status::Good);
    assert_eq!(
        said(&post(responder.http(), "/", &with_nonce(&ask, &[7; 8]))),
        "malformedRequest",
        "too short to be echoed"
    );
}

#[test]
fn a_flood_of_nonces_keeps_no_certificate_from_being_answered() {
    let ca = Ca::new("Policies CA");
    let leaves: Vec<_> = (0..8).map(|_| ca.issue()).collect();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let responder = Site::new(&[Tenant::of(&ca, &signer).set("nonce = \"echo\"")]).start();
    let flood = {
        let message = with_nonce(&Ask::about(&ca, &leaves[0]), &[7; 16]);
        let mut one = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", message.len()).into_bytes();
        one.extend(&message);
        one.repeat(16)
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = Connection::open(responder.http()).unwrap();
                while !done.load(Relaxed) {
                    connection.send(&flood).unwrap();
                    for _ in 0..16 {
                        let reply = connection.receive(false).unwrap().expect("the connection stays");
                        assert!(["signed", "tryLater"].contains(&said(&reply)) && is_uncacheable(&reply), "{reply:?}");
                    }
                }
            });
        }
        for leaf in &leaves {
            let reply = post(responder.http(), "/", &Ask::about(&ca, leaf).request());
            assert_eq!(said(&reply), "signed", "{reply:?}");
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn a_post_of_another_type_is_answered_or_refused() {
    for (settings, other) in [("", 200), ("content_type = \"strict\"", 415)] {
        let (ca, leaf, responder) = with(settings);
        let body = Ask::about(&ca, &leaf).request();
        let ask = |field: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{field}Content-Length: {}\r\n\r\n", body.len());
            exchange(responder.http(), &[head.as_bytes(), &body].concat()).unwrap()
        };
        for (field, status) in [
            ("Content-Type: application/ocsp-request\r\n", 200),
            ("content-type:APPLICATION/ocsp-request ; charset=binary\r\n", 200),
            ("Content-Type: application/x-www-form-urlencoded\r\n", other),
            ("Content-Type: application/ocsp-request2\r\n", other),
            ("", other),
        ] {
            let reply = ask(field);
            assert_eq!(reply.status, status, "{settings} {field}: {reply:?}");
            if status == 415 {
                assert_eq!(reply.expect("accept"), "application/ocsp-request");
            }
        }
        assert_eq!(get(responder.http(), &ocsp_target("/", &body)).status, 200, "a GET has no type");
    }
}

#[test]
fn more_certificates_than_allowed_are_malformed() {
    let (ca, leaf, responder) = with("cert_ids_max = 2");
    let ask = Ask::about(&ca, &leaf);
    for (count, expected) in [(1, "signed"), (2, "signed"), (3, "malformedRequest")] {
        let reply = post(responder.http(), "/", &message(&single(&ask.request()).repeat(count), &[]));
        assert_eq!(said(&reply), expected, "{count}");
    }
}

/// The Request about another serial number, given by its content bytes.
fn of_serial(ca: &Ca, hash: &str, serial: &[u8]) -> Vec<u8> {
    let single = single(&Ask::serial(ca, "ABCDEF").hash(hash).request());
    // Within Request and CertID; the serial takes six bytes with its header.
    let start = if single[1] < 0x80 { 4 } else { 6 };
    let hashes = &single[start..single.len() - 6];
    der(0x30, &der(0x30, &[hashes, &der(0x02, serial)].concat()))
}

#[test]
fn a_serial_that_no_certificate_has_is_unauthorized_whatever_is_said_of_unlisted_ones() {
    // A CRL that revoked such serials could not be kept by them, and with `unlisted = "good"` they were good.
    let mut largest = vec![0];
    largest.extend([0xff; 20]);
    for (unlisted, of_others) in [
        ("unlisted = \"good\"\naccept_unlisted_as_good = true", "good"),
        ("unlisted = \"unknown\"", "unknown"),
        ("unlisted = \"revoked\"", "revoked"),
        ("unlisted = \"unauthorized\"", "unknown"),
    ] {
        for nonces in ["ignore", "echo"] {
            let (ca, leaf, responder) = with(&format!("{unlisted}\nnonce = {nonces:?}"));
            let http = responder.http();
            let preferred = &der(0x30, &der(0x30, &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]));
            let preferred = [PREFERRED, &der(0x04, preferred)].concat();
            let lists = [vec![], der(0xa2, &extensions(&[7; 16])), der(0xa2, &der(0x30, &der(0x30, &preferred)))];
            for serial in [&[0xfb][..], &[0x80, 1, 2], &[0], &[1; 21], &[&[0], &[0xff; 21][..]].concat()] {
                for (hash, list) in
                    [("sha1", &lists[0]), ("sha512", &lists[0]), ("sha1", &lists[1]), ("sha1", &lists[2])]
                {
                    let message = message(&of_serial(&ca, hash, serial), list);
                    for reply in [post(http, "/", &message), get(http, &ocsp_target("/", &message))] {
                        assert_eq!(said(&reply), "unauthorized", "{unlisted} {serial:02x?} {list:02x?}");
                        assert!(is_uncacheable(&reply));
                    }
                }
            }
            for serial in [&[0, 1][..], &[0xff, 0xfb], &[]] {
                let reply = post(http, "/", &message(&of_serial(&ca, "sha1", serial), &[]));
                assert_eq!(said(&reply), "malformedRequest", "not minimal: {serial:02x?}");
            }
            // Among others, listed or not, it is unknown.
            let several = [of_serial(&ca, "sha1", &[0xfb]), single(&Ask::about(&ca, &leaf).request())];
            let several = [several.concat(), of_serial(&ca, "sha1", &largest)].concat();
            for list in [&lists[0], &lists[1]] {
                let statuses = statuses(&ca, &post(http, "/", &message(&several, list)));
                assert_eq!(statuses, ["unknown", "good", of_others], "{unlisted}");
            }
        }
    }
}

/// What an answer says of each certificate, in order.
fn statuses(ca: &Ca, reply: &Reply) -> Vec<String> {
    fs::write(ca.file("answer"), &reply.body).unwrap();
    let text = openssl(ca.dir(), ["ocsp", "-respin", "answer", "-resp_text", "-noverify"]);
    text.lines().filter_map(|line| line.trim().strip_prefix("Cert Status: ")).map(str::to_owned).collect()
}

#[test]
fn an_archive_cutoff_tells_since_when_expired_certificates_are_known() {
    let ca = Ca::new("Policies CA");
    let (leaf, expired) = (ca.issue(), ca.issue_expired());
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let settings = "archive_cutoff = true\nretain_expired = \"3650d\"";
    let responder = Site::new(&[Tenant::of(&ca, &signer).set(settings)]).start();
    let started = openssl(ca.dir(), ["x509", "-in", "ca.pem", "-noout", "-startdate"]);
    let started = started.trim().strip_prefix("notBefore=").unwrap().to_owned();
    for leaf in [&leaf, &expired] {
        let ask = Ask::about(&ca, leaf);
        // Signed now, then from what is kept.
        for _ in 0..2 {
            let reply = post(responder.http(), "/", &ask.request());
            ask.read(&reply.body).expect(Status::Good);
            fs::write(ca.file("answer"), &reply.body).unwrap();
            let text = openssl(ca.dir(), ["ocsp", "-respin", "answer", "-resp_text", "-noverify"]);
            // The CA is younger than ten years: nothing is known from before it.
            let cutoff = text.split("Archive Cutoff:").nth(1).and_then(|rest| rest.lines().nth(1)).map(str::trim);
            assert_eq!(cutoff, Some(started.as_str()), "{text}");
        }
    }
}

#[test]
fn an_internal_error_says_so_in_http_where_that_is_wanted() {
    for (settings, status) in [("", 200), ("internal_error_status = 503", 503)] {
        let ca = Ca::new("Policies CA");
        let leaf = ca.issue();
        let signer = ca.delegate_for(Duration::from_secs(15));
        let responder = Site::new(&[Tenant::of(&ca, &signer).set(settings)]).start();
        let ask = Ask::about(&ca, &leaf).request();
        assert_eq!(said(&post(responder.http(), "/", &ask)), "signed");
        let reply = until("the signer has expired", Duration::from_secs(40), || {
            Some(post(responder.http(), "/", &ask)).filter(|reply| said(reply) == "internalError")
        });
        assert_eq!((reply.status, is_uncacheable(&reply)), (status, true), "{reply:?}");
        assert_eq!(reply.expect("content-type"), "application/ocsp-response");
        let told = || responder.readiness().1.contains("the signing certificate expired").then_some(());
        until("readiness tells", Duration::from_secs(20), told);
        let told = || responder.log().matches("the signing certificate has expired").count();
        until("the log tells", Duration::from_secs(20), || (told() > 0).then_some(()));
        assert_eq!(told(), 1, "told once");
    }
}

#[test]
fn a_signed_request_is_ignored_verified_or_required() {
    let (clients, strangers) = (Ca::new("Clients"), Ca::new("Strangers"));
    let signed_by = |ask: &Ask, signers: &Ca| {
        let client = signers.issue();
        fs::write(signers.file("request.der"), ask.request()).unwrap();
        let arguments = ["ocsp", "-reqin", "request.der", "-signkey", "leaf.key", "-reqout", "signed.der", "-signer"];
        let mut command = std::process::Command::new("openssl");
        let ended = run(command.current_dir(signers.dir()).args(arguments).arg(&client.path));
        assert!(ended.status.success(), "{}", ended.text);
        fs::read(signers.file("signed.der")).unwrap()
    };
    let anchors = format!("request_anchors = {:?}", clients.certificate());
    for (settings, [unsigned, signed, strange, tampered]) in [
        (String::new(), ["signed"; 4]),
        (format!("signed_requests = \"verify\"\n{anchors}"), ["signed", "signed", "unauthorized", "unauthorized"]),
        (
            format!("signed_requests = \"require\"\n{anchors}"),
            ["sigRequired", "signed", "unauthorized", "unauthorized"],
        ),
    ] {
        let (ca, leaf, responder) = with(&settings);
        let ask = Ask::about(&ca, &leaf);
        let good = signed_by(&ask, &clients);
        let mut bad = good.clone();
        // Within the serial number.
        let at = bad.windows(4).position(|window| window == [0x02, 0x02, 0x10, 0x00]).expect("serial 1000") + 3;
        bad[at] ^= 1;
        for (what, message, expected) in [
            ("unsigned", ask.request(), unsigned),
            ("signed", good, signed),
            ("signed by a stranger", signed_by(&ask, &strangers), strange),
            ("tampered with", bad, tampered),
        ] {
            assert_eq!(said(&post(responder.http(), "/", &message)), expected, "{settings}: {what}");
        }
    }
}

#[test]
fn surrogate_keys_can_be_left_out() {
    let (ca, leaf, responder) = with("surrogate_keys = false");
    let reply = get(responder.http(), &ocsp_target("/", &Ask::about(&ca, &leaf).request()));
    assert_eq!((reply.status, reply.header("surrogate-key"), reply.header("cache-tag")), (200, None, None));
}
