//! Who may ask on the admin listener: by tokens and client certificates, over TLS, by role and tenant. Clients are `curl`.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use ostia_tests::{Ca, Delegate, Ended, KeyKind, Responder, Site, Tenant, bash, http, run, until};
use serde_json::{Value, json};

/// A CA of clients and servers, in a directory of the site: `clients.pem` with `ca.key`.
const MAKE_CA: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out clients.pem -days 30 -subj '/CN=Admin CA'";

/// A certificate of that CA, `NAME.pem` with `NAME.key`, for so many days, which may have ended.
fn issue(site: &Site, ca: &str, name: &str, names: &str, days: i32) {
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

const LATER: i32 = 30;

/// Two tenants, and a listener with TLS for which `principals` count.
fn secured(principals: &str) -> (Ca, Site) {
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
fn start(site: Site) -> Responder {
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
    // Health is for everybody, without what it says of tenants; metrics are not on loopback alone.
    assert_eq!(curl(site, "/v1/issuers", &[]).0, 401);
    assert_eq!(curl(site, "/metrics", &[]).0, 200, "on loopback");
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
