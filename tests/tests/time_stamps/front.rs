//! Time-stamps behind what people put before a service: TLS, a balancer, and the PROXY protocol between them.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
    process::Command,
};

use ostia_tests::{
    Ca, Haproxy, KeyKind, Query, Responder, Site, Stamped, Tenant, Tsa, TsaCertificate, bash, free_port, openssl, run,
    until, write_tls_pair,
};

use crate::PATIENCE;

const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A responder that stamps over TLS, with lines for `[http]`; the address where it does.
fn over_tls(lines: &str) -> (Ca, Responder, SocketAddr) {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &signer))]);
    let address = free_port(site.http.ip());
    write_tls_pair(site.dir(), address.ip(), P256);
    site.set_http(lines);
    let tls = format!("\n[tls]\nlisten = [\"{address}\"]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n[admin]");
    site.edit_config(|config| config.replacen("\n[admin]", &tls, 1));
    let mut command = site.serve();
    command.env("OSTIA_LOG", "debug");
    (ca, site.start_by(command), address)
}

/// The part of a command line by which curl posts the file `query`.
const CURL: &str =
    "curl -sS --fail -m 20 --noproxy '*' -H 'Content-Type: application/timestamp-query' --data-binary @query";

/// That `openssl ts` verifies the response in this file for the file `query`.
#[track_caller]
fn expect_verified(dir: &Path, ca: &Ca, response: &str) {
    let root = ca.certificate();
    let root = root.to_str().unwrap();
    let said = openssl(dir, ["ts", "-verify", "-queryfile", "query", "-in", response, "-CAfile", root]);
    assert!(said.contains("Verification: OK"), "{response}: {said}");
}

#[test]
fn openssl_ts_and_curl_stamp_through_haproxy_with_tls_on_both_sides_and_the_proxy_protocol_between() {
    const REQUESTS: usize = 100;
    let (ca, responder, tls) = over_tls("proxy_protocol = true\ntrusted_networks = [\"127.0.0.0/8\"]");
    let (own, front) = (responder.site.dir(), free_port(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    write_tls_pair(dir, front.ip(), P256);
    fs::copy(own.join("cert.pem"), dir.join("behind.pem")).unwrap();
    bash(dir, "(umask 077; cat cert.pem key.pem > front.pem)");
    let lines = format!(
        "  bind [::1]:{} ssl crt front.pem\n  server one {tls} send-proxy-v2 ssl verify required ca-file behind.pem check\n",
        front.port()
    );
    let _haproxy = Haproxy::start(dir, &lines);
    fs::write(dir.join("file"), "what is stamped").unwrap();
    openssl(dir, ["ts", "-query", "-data", "file", "-sha256", "-cert", "-out", "query"]);
    let curl = format!("{CURL} --cacert cert.pem");
    let url = format!("'https://{front}/tsa'");
    let mut first = Command::new("bash");
    first.args(["-c", &format!("{curl} --globoff -o response {url}")]).current_dir(dir);
    until("haproxy passes it on", PATIENCE, || run(&mut first).status.success().then_some(()));
    expect_verified(dir, &ca, "response");
    // By HTTP/1.0 as well.
    let said = bash(dir, &format!("{curl} --globoff --http1.0 -o old -w '%{{http_code}}' {url}"));
    assert_eq!(said, "200");
    expect_verified(dir, &ca, "old");

    // Many on one connection, each with a token of its own.
    let urls = format!("'https://\\[::1\\]:{}/tsa?[1-{REQUESTS}]'", front.port());
    let connects = bash(dir, &format!("{curl} -o 'response-#1' -w '%{{num_connects}}\\n' {urls}"));
    let connects: Vec<u32> = connects.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((connects.len(), connects.iter().sum::<u32>()), (REQUESTS, 1), "{connects:?}");
    let serials: HashSet<_> = (1..=REQUESTS)
        .map(|number| {
            let response = fs::read(dir.join(format!("response-{number}"))).unwrap();
            Stamped::decode(&response).granted().info.serial.clone()
        })
        .collect();
    assert_eq!(serials.len(), REQUESTS);
    for number in [1, REQUESTS / 2, REQUESTS] {
        expect_verified(dir, &ca, &format!("response-{number}"));
    }

    // The client is known all the way.
    let refused = run(Command::new("bash")
        .args(["-c", &format!("{curl} --globoff -H 'Content-Length: x' {url}")])
        .current_dir(dir));
    assert!(refused.text.contains("400"), "{refused:?}");
    let told = || {
        responder
            .log()
            .lines()
            .any(|line| line.contains("a request was refused") && line.contains("\"client\":\"::1\""))
    };
    until("the log names the client", PATIENCE, || told().then_some(()));
    assert_eq!(responder.metric("ostia_proxy_headers_refused_total", ""), 0.0, "nor by its health checks");
    assert_eq!(responder.metric("ostia_tsa_requests_total", "result=\"granted\""), (REQUESTS + 2) as f64);
}

/// The time-stamps in bytes of responses, one behind the other.
#[track_caller]
fn stamps(mut octets: &[u8]) -> Vec<Stamped> {
    let mut stamps = Vec::new();
    while !octets.is_empty() {
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(octets[..end].to_ascii_lowercase()).unwrap();
        assert!(head.starts_with("http/1.1 200 ") && head.contains("application/timestamp-reply"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
        let body = end + length.trim().parse::<usize>().unwrap();
        stamps.push(Stamped::decode(&octets[end..body]));
        octets = &octets[body..];
    }
    stamps
}

#[test]
fn queries_that_come_in_one_write_over_tls_are_answered_in_order() {
    const COUNT: u32 = 40;
    let (ca, responder, tls) = over_tls("");
    let dir = responder.site.dir();
    let requests = (0..COUNT).flat_map(|number| {
        let last = if number + 1 == COUNT { "Connection: close\r\n" } else { "" };
        Query::new(number).request("/tsa", last)
    });
    fs::write(dir.join("requests"), requests.collect::<Vec<u8>>()).unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let client = format!("openssl s_client -quiet -verify_return_error -CAfile cert.pem {version} -connect {tls}");
        bash(dir, &format!("timeout 120 {client} <requests >replies 2>/dev/null"));
        let stamps = stamps(&fs::read(dir.join("replies")).unwrap());
        assert_eq!(stamps.len(), COUNT as usize, "{version}");
        for (number, stamped) in (0..).zip(&stamps) {
            assert_eq!(stamped.granted().info.imprint, Query::new(number).imprint(), "{version}");
        }
        stamps[7].expect_verified(&Query::new(7).der(), &ca.certificate(), None);
    }
}
