//! What those who run the service see of it: the sample of requests in the log.

use std::time::Duration;

use ostia_tests::{
    KeyKind, Query, Stamped,
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
        let seconds: f64 = field(line, "seconds").parse().unwrap();
        assert!(seconds > 0.0 && seconds < Duration::from_secs(10).as_secs_f64(), "{line}");
    }
    for (line, body) in lines.iter().zip(octets) {
        let told: usize = field(line, "octets").parse().unwrap();
        assert!((body + 100..body + 400).contains(&told), "with the head, {body}: {line}");
    }
}
