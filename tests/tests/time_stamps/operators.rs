//! What those who run the service see of it, and what it says to people who come by.

use std::time::Duration;

use ostia_tests::{
    Ca, Delegate, KeyKind, Query, Site, Stamped, Tenant, Tsa, TsaCertificate,
    http::{Connection, exchange, get, request},
    until,
};

use crate::{PATIENCE, stamping_after};

#[test]
fn a_sample_of_the_requests_for_time_stamps_is_told_in_the_log() {
    let (_ca, responder) = stamping_after(KeyKind::P256, |text| {
        text.replacen("[http]", "[log]\naccess_sample = 1\n[http]\nworkers = 1", 1)
    });
    let mut octets = Vec::new();
    let mut connection = Connection::open(responder.http()).unwrap();
    for query in [Query::new(1), Query::new(2).hash("md5"), Query::new(3).policy("1.2.3")] {
        connection.send(&query.request("/tsa", "")).unwrap();
        octets.push(Stamped::read(&connection.receive(false).unwrap().unwrap()).der.len());
    }
    octets.push(get(responder.http(), "/tsa/chain.pem").body.len());
    let etag = get(responder.http(), "/tsa/chain.pem").expect("etag").to_owned();
    exchange(responder.http(), &request("HEAD", "/tsa/chain.pem", &format!("If-None-Match: {etag}\r\n"))).unwrap();
    get(responder.http(), "/tsa");
    exchange(responder.http(), &request("PUT", "/tsa", "")).unwrap();
    let lines = || -> Vec<String> {
        responder.log().lines().filter(|line| line.contains("\"message\":\"request\"")).map(str::to_owned).collect()
    };
    until("the lines", PATIENCE, || (lines().len() == 8).then_some(()));
    let lines = lines();
    let field = |line: &str, name: &str| {
        let value = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {line}")).1;
        value[..value.find([',', '}']).unwrap()].trim_matches('"').to_owned()
    };
    let expected = [
        ("POST", "granted", "200"),
        ("POST", "badAlg", "200"),
        ("POST", "unacceptedPolicy", "200"),
        ("GET", "chain", "200"),
        ("GET", "chain", "200"),
        ("HEAD", "chain", "304"),
        ("GET", "refused", "405"),
        ("other", "refused", "405"),
    ];
    for (line, (method, result, status)) in lines.iter().zip(expected) {
        let told = ["method", "result", "status"].map(|name| field(line, name));
        assert_eq!(told, [method, result, status], "{line}");
        assert_eq!(["tenant", "tsa"].map(|name| field(line, name)), ["tests", "stamps"]);
        assert!(field(line, "client").starts_with("127."), "{line}");
        assert!(["/tsa", "/tsa/chain.pem"].contains(&field(line, "path").as_str()), "{line}");
        let seconds: f64 = field(line, "seconds").parse().unwrap();
        assert!(seconds > 0.0 && seconds < Duration::from_secs(10).as_secs_f64(), "{line}");
    }
    for (line, body) in lines.iter().zip(octets) {
        let told: usize = field(line, "octets").parse().unwrap();
        assert!((body + 100..body + 400).contains(&told), "with the head, {body}: {line}");
    }
}

#[test]
fn a_clock_that_nobody_checks_is_warned_of_once_with_all_who_tell_time_by_it() {
    let ca = Ca::new("Time-stamping CA");
    let tsa = |name: &str, lines: &str| {
        let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
        Tsa::of(name, &signer).set(&format!("path = \"/{name}\"\n{lines}"))
    };
    // Three different promises.
    let one = Tenant::new("a").set("path = \"/a\"").tsa(&tsa("x", "")).tsa(&tsa("y", "accuracy = \"2s\""));
    let two = Tenant::new("b").set("path = \"/b\"").tsa(&tsa("z", "precision = \"microseconds\""));
    let responder = Site::new(&[one, two]).start();
    let warnings = || -> Vec<String> {
        responder.log().lines().filter(|line| line.contains("\\\"unchecked\\\"")).map(str::to_owned).collect()
    };
    assert_eq!(warnings().len(), 1, "{}", responder.log());
    assert!(warnings()[0].contains("a/x, a/y, b/z") && warnings()[0].contains("WARN"), "{}", warnings()[0]);
    // Who comes later is told of, and nobody again.
    responder.reload(|text| text + &tsa("w", "accuracy = \"3s\"").text());
    until("it is told", PATIENCE, || (warnings().len() == 2).then_some(()));
    assert!(warnings()[1].contains("\"b/w\""), "{}", warnings()[1]);
    responder.reload(|text| text);
    until("it is read again", PATIENCE, || (responder.log().matches("was read again").count() == 2).then_some(()));
    assert_eq!(warnings().len(), 2);
}

#[test]
fn people_who_come_by_are_told_what_is_served_at_each_tenants_path() {
    let ca = Ca::new("CA");
    let delegate = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tsa =
        |path: &str| Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256)).set(&format!("path = {path:?}"));
    let tenant = |name: &str| Tenant::new(name).set(&format!("path = \"/{name}\""));
    let ocsp = |tenant: Tenant| tenant.issuer("ca", &ca, &format!("index = {:?}", ca.index()), &delegate.lines());
    let responder =
        Site::new(&[ocsp(tenant("ocsp")), tenant("stamps").tsa(&tsa("/tsa")), ocsp(tenant("both")).tsa(&tsa("/here"))])
            .start();
    for (path, has_ocsp, door) in
        [("/ocsp", true, None), ("/stamps", false, Some("/stamps/tsa")), ("/both/", true, Some("/both/here"))]
    {
        let reply = get(responder.http(), path);
        let text = reply.text();
        assert_eq!((reply.status, text.contains("OCSP responder")), (200, has_ocsp), "{path}: {text}");
        assert_eq!(text.contains("time-stamping authority"), door.is_some(), "{path}: {text}");
        if let Some(door) = door {
            assert!(text.contains(&format!("At {door} ")) && text.contains(&format!("{door}/chain.pem")), "{text}");
            assert_eq!(get(responder.http(), &format!("{door}/chain.pem")).status, 200);
        }
    }
}
