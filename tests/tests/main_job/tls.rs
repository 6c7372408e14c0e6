//! OCSP over TLS, and certificates exchanged while connections live. Clients are `openssl s_client` and `curl`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use ostia_tests::{Ask, Ca, Kept, Responder, Site, Status, free_port, http, openssl, run, until, write_tls_pair};

use crate::ca_and_site;

const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-newkey", "rsa:2048"];

fn with_tls() -> (Ca, Site, SocketAddr) {
    let (ca, site) = ca_and_site();
    let address = free_port(site.http.ip());
    write_tls_pair(site.dir(), address.ip(), P256);
    site.edit_config(|config| {
        let tls =
            format!("\n[tls]\nlisten = [\"{address}\"]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n[admin]");
        config.replacen("\n[admin]", &tls, 1)
    });
    (ca, site, address)
}

/// One TLS connection on which several requests can be sent.
struct Client {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Client {
    fn open(address: SocketAddr, dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("timeout");
        command.args(["30", "openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", "cert.pem"]);
        command.args(["-connect", &address.to_string()]).args(arguments).current_dir(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (requests, replies) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, requests, replies }
    }

    /// The body of a 200.
    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.requests.write_all(request).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.replies.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200 "), "{line:?}");
        while line != "\r\n" {
            line.clear();
            assert_ne!(self.replies.read_line(&mut line).unwrap(), 0);
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.replies.read_exact(&mut body).unwrap();
        body
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `curl`, which trusts `cert.pem` as it is now, gets for `/`.
fn curl(address: SocketAddr, dir: &Path) -> Option<String> {
    let url = format!("https://{address}/");
    let ended = run(Command::new("curl")
        .args(["-sS", "-m", "10", "--noproxy", "*", "--cacert", "cert.pem", &url])
        .current_dir(dir));
    ended.status.success().then_some(ended.text)
}

fn says(responder: &Responder, what: &str) {
    until(what, Duration::from_secs(30), || responder.log().contains(what).then_some(()));
}

#[test]
fn answers_are_the_same_over_tls_1_2_and_1_3() {
    let (ca, site, address) = with_tls();
    let leaf = ca.issue();
    let responder = site.start();
    let der = Ask::about(&ca, &leaf).request();
    let request = http::request("GET", &http::ocsp_target("/", &der), "");
    let plain = http::get(responder.http(), &http::ocsp_target("/", &der)).body;
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Client::open(address, responder.site.dir(), &[version]);
        for _ in 0..3 {
            assert_eq!(client.ask(&request), plain, "{version}");
        }
    }
    Ask::about(&ca, &leaf).read(&plain).expect(Status::Good);
    assert!(curl(address, responder.site.dir()).is_some_and(|text| text.contains("OCSP")));
}

#[test]
fn a_client_that_speaks_another_protocol_is_told_so_by_tls_1_2_and_1_3() {
    // With TLS 1.3 the connection was closed without a word, behind a handshake that had seemed to go well.
    let (_ca, site, address) = with_tls();
    let responder = site.start();
    let negotiated = |version: &str, protocols: &str| {
        let mut command = Command::new("timeout");
        command.args(["20", "openssl", "s_client", version, "-alpn", protocols, "-connect", &address.to_string()]);
        run(&mut command).text
    };
    for version in ["-tls1_2", "-tls1_3"] {
        for protocols in ["h2", "http/1.0,spdy/3"] {
            let text = negotiated(version, protocols);
            // Of RFC 7301 section 3.2.
            let told = text.contains("alert no application protocol") && text.contains("alert number 120");
            assert!(told, "{version} {protocols}: {text}");
        }
        for protocols in ["http/1.1", "h2,http/1.1"] {
            let text = negotiated(version, protocols);
            assert!(text.contains("ALPN protocol: http/1.1"), "{version} {protocols}: {text}");
        }
    }
    assert_eq!(responder.metric("ostia_tls_handshakes_failed_total", ""), 4.0);
}

#[test]
fn a_new_certificate_is_taken_without_ending_connections_and_a_bad_one_is_not() {
    let (_ca, site, address) = with_tls();
    site.edit_config(|text| text.replacen("\n[admin]", "\n[journal]\n[admin]", 1));
    let responder = site.start();
    let (dir, kept) = (responder.site.dir(), Kept::of(&responder.site));
    let request = http::request("GET", "/", "");
    let mut living = Client::open(address, dir, &[]);
    assert!(!living.ask(&request).is_empty());

    // curl trusts nothing but the certificate that lies there now, which has another key.
    write_tls_pair(dir, address.ip(), RSA);
    until("the new certificate is shown", Duration::from_secs(30), || curl(address, dir));
    assert!(!living.ask(&request).is_empty(), "the connection from before goes on");
    let renewed = kept.expect("certificate", &[("tls", "cert.pem"), ("what", "renewed")]);
    let serial = openssl(dir, ["x509", "-in", "cert.pem", "-noout", "-serial"]);
    assert!(serial.contains(renewed["serial"].as_str().unwrap()), "{renewed} {serial}");

    // A key that does not fit, and then one that others may read: the pair from before stays.
    let good = fs::read(dir.join("key.pem")).unwrap();
    openssl(dir, ["genpkey", "-algorithm", "RSA", "-out", "other.key"]);
    fs::rename(dir.join("other.key"), dir.join("key.pem")).unwrap();
    says(&responder, "does not fit the key");
    kept.expect("certificate", &[("tls", "cert.pem"), ("what", "refused"), ("problem", "does not fit the key")]);
    kept.verifies();
    assert!(curl(address, dir).is_some());
    fs::write(dir.join("key.pem"), &good).unwrap();
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    says(&responder, "chmod 600");
    assert!(curl(address, dir).is_some());
    assert!(!living.ask(&request).is_empty());
}

#[test]
fn a_reload_goes_over_to_another_pair_and_follows_it() {
    let (_ca, site, address) = with_tls();
    site.edit_config(|text| text.replacen("\n[admin]", "\n[journal]\n[admin]", 1));
    let responder = site.start();
    let dir = responder.site.dir();
    let mut living = Client::open(address, dir, &[]);
    assert!(!living.ask(&http::request("GET", "/", "")).is_empty());
    // curl trusts cert.pem, which becomes a link to the pair that is meant.
    let turn_to = |name: &str| {
        let beside = dir.join(name);
        fs::create_dir(&beside).unwrap();
        write_tls_pair(&beside, address.ip(), RSA);
        fs::rename(dir.join("cert.pem"), dir.join(format!("before-{name}.pem"))).unwrap();
        std::os::unix::fs::symlink(beside.join("cert.pem"), dir.join("cert.pem")).unwrap();
    };
    responder.site.edit_config(|text| {
        text.replace("certificate = \"cert.pem\"", "certificate = \"first/cert.pem\"")
            .replace("key = \"key.pem\"", "key = \"first/key.pem\"")
    });
    turn_to("first");
    responder.signal("HUP");
    until("the pair that is named now", Duration::from_secs(30), || curl(address, dir));
    Kept::of(&responder.site).expect("certificate", &[("tls", "first/cert.pem"), ("what", "renewed")]);
    // It is this one that is followed.
    write_tls_pair(&dir.join("first"), address.ip(), P256);
    until("the pair renewed", Duration::from_secs(30), || curl(address, dir));
    assert!(!living.ask(&http::request("GET", "/", "")).is_empty(), "the connection from before goes on");

    // A pair that cannot be used refuses the whole configuration.
    fs::create_dir(dir.join("none")).unwrap();
    responder.reload(|text| text.replace("first/cert.pem", "none/cert.pem"));
    until("the refusal", Duration::from_secs(30), || responder.readiness().1.contains("tls.certificate").then_some(()));
    assert!(curl(address, dir).is_some());
}

#[test]
fn who_speaks_no_tls_ends_without_a_word_and_costs_nobody_else() {
    let (_ca, site, address) = with_tls();
    site.set_http("head_deadline = \"1s\"");
    let responder = site.start();
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(&[0x16, 3, 1]).unwrap();
    for octets in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1], &[0; 500]] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(octets).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        // At most an alert.
        assert!(said.len() <= 7 && said.first().is_none_or(|&kind| kind == 0x15), "{said:?}");
    }
    assert!(curl(address, responder.site.dir()).is_some());
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(silent.read(&mut [0; 9]).unwrap_or(0), 0, "the deadline of a header section counts for handshakes");
    assert!(responder.metric("ostia_tls_handshakes_failed_total", "") >= 3.0);
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_at_the_start() {
    let (_ca, site, address) = with_tls();
    let dir = site.dir().to_owned();
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(site.check().status.success(), "its group may read it");
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    site.is_refused(&["tls.key", "chmod 600"]);
    openssl(&dir, ["genpkey", "-algorithm", "ED25519", "-out", "key.pem"]);
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    site.is_refused(&["tls.certificate", "does not fit"]);
    fs::write(dir.join("cert.pem"), "none").unwrap();
    site.is_refused(&["tls.certificate", "no certificate in PEM"]);
    write_tls_pair(&dir, address.ip(), P256);
    site.edit_config(|config| config.replacen(&format!("listen = [\"{address}\"]"), "listen = []", 1));
    site.is_refused(&["tls.listen", "at least one"]);
}
