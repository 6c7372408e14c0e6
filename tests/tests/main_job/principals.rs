//! Who may ask on the admin listener: by tokens and client certificates, over TLS, by role and tenant. Clients are `curl`.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use ostia_tests::{Ca, Delegate, Ended, KeyKind, Responder, Site, Tenant, bash, http, run, until};
use serde_json::{Value, json};

/// A CA of clients and servers, in a directory of the site: `clients.pem` with `ca.key`.
const MAKE_CA: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out clients.pem -days 30 -subj '/CN=Admin CA'";

/// A certificate of that CA, `NAME.pem` with `NAME.key`, for so many days, which may have ended.
pub(super) fn issue(site: &Site, ca: &str, name: &str, names: &str, days: i32) {
    bash(
        site.dir(),
        &format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj '/CN={name}' && \
             openssl x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -set_serial 0x$(openssl rand -hex 8) -out {name}.pem \
                 -days {days} \
                 -extfile <(printf 'subjectAltName={names}\\nbasicConstraints=critical,CA:FALSE\\n') && \
             chmod 600 {name}.key"
        ),
    );
}

pub(super) const LATER: i32 = 30;

/// Two tenants, and a listener with TLS for which `principals` count.
pub(super) fn secured(principals: &str) -> (Ca, Site) {
    let ca = Ca::new("Main job CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = |name: &str| {
        Tenant::new(name).set(&format!("path = \"/{name}\"")).issuer("ca", &ca, "pushes = true", &signer.lines())
    };
    let site = Site::new(&[tenant("acme"), tenant("other")]);
    bash(site.dir(), MAKE_CA);
    bash(site.dir(), "cp ca.key clients.key");
    issue(&site, "clients", "server", &format!("DNS:admin.example,IP:{}", site.admin.ip()), LATER);
    let keys = "[admin]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"clients.pem\"\n";
    site.edit_config(|text| text.replacen("[admin]\n", keys, 1) + principals);
    (ca, site)
}

/// `[[admin.principal]]` with a token that is its name, or rather long.
fn by_token(name: &str, allow: &str, more: &str) -> String {
    let hash = bash_hash(&token(name));
    format!("\n[[admin.principal]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nallow = {allow}\n{more}\n")
}

fn bash_hash(text: &str) -> String {
    let ended = run(Command::new("bash").args(["-c", &format!("printf %s '{text}' | sha256sum")]));
    ended.text.split(' ').next().unwrap().to_owned()
}

/// The token of whoever has this name.
fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef0123456789abcdef")
}

/// What `curl` is told: the status and the body, or status 0 and why it got none.
fn curl(site: &Site, path: &str, arguments: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "--noproxy", "*", "--cacert", "clients.pem", "-w", "\n%{http_code}"]);
    command.arg(format!("https://{}{path}", site.admin)).args(arguments).current_dir(site.dir());
    let Ended { text, .. } = run(&mut command);
    let (body, status) = text.trim_end().rsplit_once('\n').unwrap_or(("", &text));
    match status.parse() {
        Ok(0) | Err(_) => (0, text),
        Ok(status) => (status, body.to_owned()),
    }
}

fn with_token(site: &Site, name: &str, path: &str) -> (u16, Value) {
    let (status, body) = curl(site, path, &["-H", &format!("Authorization: Bearer {}", token(name))]);
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

/// Starts it, and waits until it is ready over TLS.
pub(super) fn start(site: Site) -> Responder {
    let command = site.serve();
    let responder = site.launch(command);
    until("it is ready over TLS", Duration::from_secs(45), || {
        (curl(&responder.site, "/readyz", &[]).0 == 200).then_some(())
    });
    responder
}

#[test]
fn over_tls_a_token_or_a_client_certificate_says_who_asks_and_nothing_else_is_told() {
    let by_certificate =
        "\n[[admin.principal]]\nname = \"deploy\"\ncertificate = \"dns:deploy.example\"\nallow = [\"operator:acme\"]\n";
    let (_ca, site) = secured(&(by_token("watch", "[\"viewer:*\"]", "") + by_certificate));
    issue(&site, "clients", "deploy", "DNS:deploy.example", LATER);
    issue(&site, "clients", "unknown", "DNS:unknown.example", LATER);
    issue(&site, "clients", "expired", "DNS:deploy.example", -1);
    bash(site.dir(), &MAKE_CA.replace("ca.key", "strangers.key").replace("clients.pem", "strangers.pem"));
    issue(&site, "strangers", "forged", "DNS:deploy.example", LATER);
    let responder = start(site);
    let site = &responder.site;
    let shows =
        |name: &str, path: &str| curl(site, path, &["--cert", &format!("{name}.pem"), "--key", &format!("{name}.key")]);
    let names = |body: &str| {
        let value: Value = serde_json::from_str(body).unwrap();
        let issuers = value["issuers"].as_array().unwrap().clone();
        issuers.iter().map(|issuer| issuer["tenant"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (status, body) = shows("deploy", "/v1/issuers");
    assert_eq!((status, names(&body)), (200, vec!["acme".to_owned()]));
    let (status, body) = with_token(site, "watch", "/v1/issuers");
    assert_eq!((status, names(&body.to_string()).len()), (200, 2));
    assert_eq!(shows("unknown", "/v1/issuers").0, 401);
    for refused in ["expired", "forged"] {
        let (status, text) = shows(refused, "/v1/issuers");
        assert!(status == 0 && text.contains("alert"), "{refused}: {status} {text}");
    }
    // Health is for everybody, without what it says of tenants; metrics are for who may view the service, on loopback as well.
    assert_eq!(curl(site, "/v1/issuers", &[]).0, 401);
    assert_eq!(curl(site, "/readyz", &[]), (200, "ready\n".to_owned()));
    assert_eq!(curl(site, "/metrics", &[]).0, 401);
    assert_eq!(shows("deploy", "/metrics").0, 403, "it sees one tenant");
    let bearer = format!("Authorization: Bearer {}", token("watch"));
    let (status, metrics) = curl(site, "/metrics", &["-H", &bearer]);
    assert!(status == 200 && metrics.contains("tenant=\"acme\""), "{status} {metrics}");
    assert!(responder.site.check().status.success());
    // Who speaks HTTP is told what to do.
    let plain = http::exchange(site.admin, &http::request("GET", "/readyz", "")).unwrap();
    assert_eq!((plain.status, plain.text().as_str()), (400, "this listener speaks TLS; ask by https://\n"));
}

#[test]
fn a_reload_changes_principals_and_the_certificate_and_names_a_tenant_that_is_not_there() {
    let (_ca, site) = secured(&by_token("watch", "[\"viewer:acme\"]", ""));
    let responder = start(site);
    let site = &responder.site;
    assert_eq!(with_token(site, "watch", "/v1/issuers").0, 200);
    issue(site, "clients", "renewed", &format!("IP:{}", site.admin.ip()), LATER);
    fs::set_permissions(site.dir().join("renewed.key"), fs::Permissions::from_mode(0o600)).unwrap();
    responder.reload(|text| {
        text.replace("server.", "renewed.")
            .replace("viewer:acme", "viewer:acne")
            .replace("name = \"watch\"", "name = \"eyes\"")
    });
    let serial = || {
        let shown =
            format!("openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509 -noout -subject", site.admin);
        run(Command::new("bash").args(["-c", &shown])).text
    };
    until("the renewed certificate is shown", Duration::from_secs(30), || serial().contains("renewed").then_some(()));
    assert_eq!(with_token(site, "watch", "/v1/issuers"), (200, json!({ "issuers": [] })));
    let log = responder.log();
    assert!(log.contains("names the tenant `acne`, which is not in this file; did you mean `acme`?"), "{log}");
    assert!(!log.contains(&token("watch")) && !log.contains(&bash_hash(&token("watch"))), "{log}");
    // In the same files it is taken without one.
    bash(site.dir(), "cp server.key renewed.key && cp server.pem renewed.pem");
    until("the former one is shown again", Duration::from_secs(30), || serial().contains("server").then_some(()));
}

/// The command line takes everything from the configuration, or asks as somebody else and elsewhere.
#[test]
fn the_command_line_asks_over_tls_by_the_configuration_alone_or_as_another_principal() {
    let (_ca, site) = secured(&by_token("registration", "[\"operator:acme\"]", ""));
    let by_certificate = "\n[[admin.principal]]\nname = \"deploy\"\ncertificate = \"dns:deploy.example\"\nallow = [\"operator:other\"]\n";
    site.edit_config(|text| text + by_certificate);
    issue(&site, "clients", "deploy", "DNS:deploy.example", LATER);
    issue(&site, "clients", "expired", "DNS:deploy.example", -1);
    let write = |name: &str, token: &str| {
        let path = site.dir().join(name);
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("registration.token", &token("registration"));
    write("wrong.token", &token("nobody"));
    write("api.token", &token("the administrator"));
    let responder = start(site);
    let site = &responder.site;
    let file = |name: &str| site.dir().join(name).to_str().unwrap().to_owned();
    let push = |serial: &str, more: &[&str]| {
        site.precompute("revoke", &[&["--even-unlisted", serial, "--issuer"], more].concat())
    };
    let refused = |ended: &Ended, words: &[&str]| {
        for words in words {
            assert!(!ended.status.success() && ended.text.contains(words), "no `{words}`: {}", ended.text);
        }
    };
    let done = |ended: &Ended| assert!(ended.status.success(), "{}", ended.text);
    // The certificate that the configuration names is the listener's, whatever names it has.
    done(&site.precompute("health", &[]));
    done(&push("0A", &["acme:ca", "--token-file", &file("registration.token")]));
    refused(
        &push("0A", &["other:ca", "--token-file", &file("registration.token")]),
        &["--issuer other:ca names no issuer of the service; it has `acme:ca`"],
    );
    refused(&push("0A", &["acme:ca"]), &["admin.token_file: is missing, so nothing says who asks"]);
    refused(
        &push("0A", &["acme:ca", "--token-file", &file("wrong.token")]),
        &["no principal under [admin] has this token", "it was asked with the token of", "wrong.token"],
    );
    let shown = ["--client-certificate", &file("deploy.pem"), "--client-key", &file("deploy.key")].map(str::to_owned);
    let shown: Vec<_> = shown.iter().map(|text| &**text).collect();
    done(&push("0B", &[&["other:ca"], &shown[..]].concat()));
    let expired =
        ["--client-certificate", &file("expired.pem"), "--client-key", &file("expired.key")].map(str::to_owned);
    let expired: Vec<_> = expired.iter().map(|text| &**text).collect();
    refused(&push("0B", &[&["other:ca"], &expired[..]].concat()), &["expired"]);
    // Elsewhere its CA has to count, and its name has to be in the certificate.
    let url = format!("https://{}", site.admin);
    let elsewhere = |more: &[&str]| {
        let token = file("registration.token");
        site.precompute("status", &[&["0A", "--url", &url, "--token-file", &token], more].concat())
    };
    refused(&elsewhere(&[]), &["UnknownIssuer", "--ca names a CA"]);
    done(&elsewhere(&["--ca", &file("clients.pem")]));
    let told = elsewhere(&["--ca", &file("clients.pem")]).text;
    assert!(told.contains("0A acme/ca") && told.contains("revoked"), "{told}");
    refused(&site.precompute("status", &["0A", "--url", &url]), &["--token-file or --client-certificate is needed"]);
    refused(
        &site.precompute("status", &["0A", "--url", "http://writer.example", "--token-file", &file("wrong.token")]),
        &["has no TLS, so that others could read the token"],
    );
    let journal = responder.log();
    for words in ["registration", "deploy"] {
        assert!(journal.contains(&format!("\"principal\":\"{words}\"")) || journal.contains(words), "{journal}");
    }
    for secret in [token("registration"), token("nobody")] {
        assert!(!journal.contains(&secret), "{journal}");
    }
}

/// The lines that `token new` prints are a configuration, and the token that it shows counts.
#[test]
fn a_token_is_shown_once_and_the_configuration_gets_its_hash_alone() {
    let (_ca, site) = secured("");
    let new = |more: &[&str]| {
        run(Command::new(&ostia_tests::programs().precompute)
            .args(["token", "new", "--name", "desk", "--allow", "operator:acme", "--deny", "release:acme"])
            .args(more)
            .current_dir(site.dir()))
    };
    let made = new(&[]);
    assert!(made.status.success(), "{}", made.text);
    let (shown, lines) = made.text.split_once("[[admin.principal]]").unwrap();
    let token = shown.lines().find(|line| line.len() == 64 && line.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let token = token.unwrap_or_else(|| panic!("no token: {shown}")).to_owned();
    assert!(!lines.contains(&token) && lines.contains(&bash_hash(&token)), "{lines}");
    site.edit_config(|text| format!("{text}\n[[admin.principal]]{lines}"));
    let written = new(&["--out", "desk.token"]);
    assert!(written.status.success() && !written.text.contains(&token), "{}", written.text);
    let mode = fs::metadata(site.dir().join("desk.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(new(&["--out", "desk.token"]).text.contains("already exists and is not overwritten"));
    assert!(new(&["--config", "ostia.toml"]).text.contains("has a principal `desk` already"));
    let list = run(Command::new(&ostia_tests::programs().precompute)
        .args(["token", "list", "--config", "ostia.toml"])
        .current_dir(site.dir()));
    assert_eq!(list.text.trim(), "desk: by a token; may operator:acme, and not release:acme");
    let responder = start(site);
    let (status, body) = curl(&responder.site, "/v1/issuers", &["-H", &format!("Authorization: Bearer {token}")]);
    assert_eq!(status, 200, "{body}");
}

/// Strangers bring neither the listener nor who is known to a stop, and learn nothing.
#[test]
fn hanging_handshakes_and_a_scan_keep_nobody_out_and_are_told_of_by_their_beginning() {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };
    let (_ca, site) = secured(&by_token("watch", "[\"viewer:*\"]", ""));
    site.edit_config(|text| text.replacen("[http]", "[journal]\npath = \"journal.jsonl\"\n\n[http]", 1));
    let responder = start(site);
    let site = &responder.site;
    let hang = |octets: &[u8]| {
        let mut stream = TcpStream::connect(site.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _ = stream.write_all(octets);
        stream
    };
    // The beginning of a record with a ClientHello that never comes.
    let begun: Vec<_> = (0..300).map(|_| hang(&[22, 3, 1, 2, 0, 1])).collect();
    assert_eq!(with_token(site, "watch", "/v1/issuers").0, 200, "while 300 handshakes hang");
    let mut ended = 0;
    for mut stream in begun {
        let mut said = Vec::new();
        // By its end or by a reset, within the deadline of the header section.
        ended += usize::from(
            !matches!(stream.read_to_end(&mut said), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        );
    }
    assert_eq!(ended, 300);
    for octets in [&b"\0\0\0\0"[..], b"\x16\x03\x01\xff\xff", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut said = Vec::new();
        let _ = hang(octets).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("acme"), "{said}");
    }
    for path in ["/v1", "/v1/issuers", "/v1/snapshot", "/v1/certificates/0A", "/v1/issuers/acme:ca/certificates/0A"] {
        for more in [&[][..], &["-H", "Authorization: Bearer wrong"], &["-X", "POST"]] {
            let (status, body) = curl(site, path, more);
            assert!(status == 401 && !body.contains("acme"), "{path}: {status} {body}");
        }
    }
    let scan = (0..40).map(|number| curl(site, &format!("/v1/nothing/{number}"), &[]).0);
    assert!(scan.into_iter().all(|status| status == 401));
    let told = || {
        let journal = fs::read_to_string(site.dir().join("journal.jsonl")).unwrap_or_default();
        journal.lines().filter(|line| line.contains("\"type\":\"refused\"")).count()
    };
    until("refusals are in the journal", Duration::from_secs(30), || (told() >= 20).then_some(()));
    let log = responder.log();
    let lines = log.lines().filter(|line| line.contains("a request was refused")).count();
    // 20 at once, and 12 a minute: far fewer than there were.
    assert!((20..50).contains(&told()) && (20..50).contains(&lines), "{} and {lines}", told());
    assert_eq!(with_token(site, "watch", "/v1/issuers").0, 200);
}

/// The whole matrix, each cell by a request of its own to the running service: who, of which tenant, and what may be done.
/// Where nothing may be, whatever is of the tenant is not there.
#[test]
fn each_role_does_in_each_tenant_what_the_matrix_says_and_deny_beats_allow() {
    let ca = Ca::new("Main job CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = |name: &str| {
        Tenant::new(name).set(&format!("path = \"/{name}\"")).issuer("ca", &ca, "pushes = true", &signer.lines())
    };
    let site = Site::new(&[tenant("acme"), tenant("other")]);
    const ALL: &str = "view add revoke release";
    // Name, allow, deny; what it may do in acme, in other, and to the whole service.
    let matrix = [
        ("viewer", "[\"viewer:acme\"]", "[]", "view", "", ""),
        ("auditor", "[\"auditor:acme\"]", "[]", "view", "", ""),
        ("operator", "[\"operator:acme\"]", "[]", ALL, "", ""),
        ("administrator", "[\"administrator:acme\"]", "[]", ALL, "", ""),
        ("viewer-of-all", "[\"viewer:*\"]", "[]", "view", "view", ""),
        ("auditor-of-all", "[\"auditor:*\"]", "[]", "view", "view", ""),
        ("operator-of-all", "[\"operator:*\"]", "[]", ALL, ALL, ""),
        ("administrator-of-all", "[\"administrator:*\"]", "[]", ALL, ALL, "backup operate"),
        ("mixed", "[\"viewer:acme\", \"operator:other\"]", "[]", "view", ALL, ""),
        ("no-revocations", "[\"administrator:*\"]", "[\"revoke:acme\"]", "view add release", ALL, "backup operate"),
        ("not-other", "[\"administrator:*\"]", "[\"*:other\"]", ALL, "", ""),
        ("blind", "[\"operator:*\"]", "[\"view:*\"]", "add revoke release", "add revoke release", ""),
        ("nobody", "[\"administrator:*\"]", "[\"*:*\"]", "", "", ""),
    ];
    let principals: String =
        matrix.iter().map(|(name, allow, deny, ..)| by_token(name, allow, &format!("deny = {deny}"))).collect();
    site.edit_config(|text| text + &principals);
    let responder = site.start();
    let admin = responder.site.admin;
    let ask = |who: &str, method: &str, path: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token(who),
            body.len()
        );
        let reply = http::exchange(admin, request.as_bytes()).unwrap();
        (reply.status, reply.text())
    };
    let asked = [
        ("view", "GET", "certificates/0A", ""),
        ("add", "POST", "add", r#"{"serial":"0A"}"#),
        ("revoke", "POST", "revoke", r#"{"serial":"0A","even_unlisted":true,"reason":"certificateHold"}"#),
        ("release", "POST", "release", r#"{"serial":"0A"}"#),
    ];
    for (who, _, _, in_acme, in_other, of_service) in matrix {
        for (tenant, may) in [("acme", in_acme), ("other", in_other)] {
            for (action, method, path, body) in asked {
                let (status, text) = ask(who, method, &format!("/v1/issuers/{tenant}:ca/{path}"), body);
                let case = format!("{who}: {action} in {tenant}: {status} {text}");
                let is_allowed = may.split(' ').any(|may| may == action);
                match status {
                    // Refused for what it is, such as a hold that is not there, is not for a missing right.
                    200 | 409 => assert!(is_allowed, "{case}"),
                    403 => assert!(
                        !is_allowed && !may.is_empty() && text.contains("urn:ostia:problem:forbidden"),
                        "{case}"
                    ),
                    404 if text.contains("not-listed") => assert!(is_allowed, "{case}"),
                    404 => assert!(may.is_empty() && text.contains("unknown-issuer"), "{case}"),
                    _ => panic!("{case}"),
                }
            }
        }
        let listed = ask(who, "GET", "/v1/issuers", "").1;
        for (tenant, may) in [("acme", in_acme), ("other", in_other)] {
            assert_eq!(listed.contains(tenant), may.contains("view"), "{who} {tenant}: {listed}");
        }
        let found = ask(who, "GET", "/v1/certificates/0A", "").1;
        assert!(in_other.contains("view") || !found.contains("other"), "{who}: {found}");
        for (action, method, path) in [("backup", "GET", "/v1/snapshot"), ("operate", "POST", "/v1/feed/promote")] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                token(who)
            );
            let status = head_of(admin, &request);
            // Alone there is no feed to operate, which only who might may know.
            let expected = match (of_service.contains(action), action) {
                (false, _) => 403,
                (true, "backup") => 200,
                (true, _) => 404,
            };
            assert_eq!(status, expected, "{who}: {action}");
        }
    }
}

/// The status of an answer whose body is not text.
fn head_of(admin: std::net::SocketAddr, request: &str) -> u16 {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}
