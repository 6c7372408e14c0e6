//! The console, in Chromium: people look certificates up, revoke and release them, and nobody else does. What a browser does is
//! in `console.py`; what clients are told afterwards, `openssl` says.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, Delegate, Kept, KeyKind, Leaf, Responder, Site, Status, Tenant, Tsa, TsaCertificate, bash, http, python,
    python_command, run, until,
};
use serde_json::{Value, json};

use crate::{
    principals::{LATER, issue, secured, start},
    pushes::{TOKEN, ask, is, with_api},
};

const PATIENCE: Duration = Duration::from_secs(60);
const VIEWER: &str = "viewer-0123456789abcdef0123456789abcdef";

/// Runs a scenario in the browser. With `OSTIA_CONSOLE_SHOTS`, a directory, its pages are kept there as pictures.
#[track_caller]
fn browse(scenario: &str, responder: &Responder, given: Value) {
    let ended = python("main_job/console.py", &[scenario, &arguments(responder, given)]);
    assert!(ended.status.success(), "{scenario}: {}\n{}", ended.text, responder.log());
}

fn arguments(responder: &Responder, mut given: Value) -> String {
    if given["url"].is_null() {
        given["url"] = format!("http://{}", responder.site.admin).into();
    }
    if let Some(shots) = std::env::var_os("OSTIA_CONSOLE_SHOTS") {
        given["shots"] = shots.to_str().unwrap().into();
    }
    given.to_string()
}

/// `[[admin.principal]]` with this token.
fn principal(name: &str, token: &str, allow: &str) -> String {
    let hash = run(Command::new("bash").args(["-c", &format!("printf %s '{token}' | sha256sum")])).text;
    let hash = hash.split(' ').next().unwrap();
    format!("\n[[admin.principal]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nallow = [\"{allow}\"]\n")
}

/// A service with an API, a journal and a time-stamping authority.
fn started() -> (Ca, Responder) {
    let ca = Ca::new("Console CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256));
    let site = with_api(Site::new(&[Tenant::of(&ca, &signer).tsa(&tsa)]));
    site.edit_config(|text| format!("{text}\n[journal]\n"));
    (ca, site.start())
}

/// Two certificates that its index lists.
fn two_listed(ca: &Ca, responder: &Responder) -> [Leaf; 2] {
    let leaves = [ca.issue(), ca.issue()];
    until("the index is read", PATIENCE, || {
        (Ask::about(ca, &leaves[1]).at(responder.http(), "/").status == Status::Good).then_some(())
    });
    leaves
}

fn all_of_it(scenario: &str) {
    let (ca, responder) = started();
    let [Leaf { serial: revoked, .. }, Leaf { serial: held, path }] = two_listed(&ca, &responder);
    let given = json!({
        "token": TOKEN,
        "issuer": "ca",
        "revoke": revoked,
        "hold": held,
        "hold_file": path,
        "add": "0ADD",
        "unlisted": "0BAD",
    });
    browse(scenario, &responder, given);
    is(&responder, &ca, &revoked, Status::Revoked);
    is(&responder, &ca, &held, Status::Revoked);
    is(&responder, &ca, "0ADD", Status::Good);
    is(&responder, &ca, "0BAD", Status::Revoked);
    let reason = |serial: &str| {
        let record = ask(&responder, "GET", &format!("/v1/certificates/{serial}"), "").1;
        record["certificates"][0]["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!([reason(&revoked), reason(&held)], ["keyCompromise", "certificateHold"]);
    // Log and journal name who it was, as for any other client.
    let log = responder.log();
    assert!(log.contains("\"principal\":\"token_file\"") && log.contains("`Mozilla/5.0"), "{log}");
    assert!(!log.contains(TOKEN), "{log}");
}

#[test]
fn in_a_browser_everything_is_looked_up_and_done_that_the_api_does_and_answered_at_once() {
    all_of_it("with_script");
}

#[test]
fn without_scripts_the_same_is_done() {
    all_of_it("without_script");
}

#[test]
fn a_viewer_of_one_tenant_has_no_buttons_and_does_nothing_by_forged_requests() {
    let ca = Ca::new("Console CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = |name: &str| {
        Tenant::new(name).set(&format!("path = \"/{name}\"")).issuer(
            &format!("{name}-ca"),
            &ca,
            "pushes = true",
            &signer.lines(),
        )
    };
    let site = with_api(Site::new(&[tenant("acme"), tenant("rival")]));
    const AUDITOR: &str = "auditor-0123456789abcdef0123456789abcdef";
    let (ann, bea) = (principal("ann", VIEWER, "viewer:acme"), principal("bea", AUDITOR, "auditor:acme"));
    site.edit_config(|text| text + &ann + &bea + "\n[journal]\n");
    let responder = site.start();
    for (tenant, serial) in [("acme", "0A"), ("rival", "0B")] {
        let path = format!("/v1/issuers/{tenant}:{tenant}-ca/add");
        assert_eq!(ask(&responder, "POST", &path, &json!({ "serial": serial }).to_string()).0, 200);
    }
    let issuers = ask(&responder, "GET", "/v1/issuers", "").1;
    let rival = issuers["issuers"].as_array().unwrap().iter().find(|issuer| issuer["tenant"] == "rival").unwrap();
    let given = json!({
        "viewer": VIEWER,
        "auditor": AUDITOR,
        "tenant": "acme",
        "issuer": "acme-ca",
        "serial": "0A",
        "other_tenant": "rival",
        "other_issuer": rival["id"],
        "other_serial": "0B",
    });
    browse("roles", &responder, given);
    for (tenant, serial) in [("acme", "0A"), ("rival", "0B")] {
        let status = Ask::serial(&ca, serial).at(responder.http(), &format!("/{tenant}")).status;
        assert_eq!(status, Status::Good, "{tenant}");
    }
}

#[test]
fn forms_of_other_pages_and_without_their_sessions_secret_do_nothing() {
    let (ca, responder) = started();
    let [Leaf { serial, .. }, _] = two_listed(&ca, &responder);
    let issuer = ask(&responder, "GET", "/v1/issuers", "").1["issuers"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/console/certificates/{issuer}/{serial}/revoke");
    browse("forged", &responder, json!({ "token": TOKEN, "path": path, "serial": serial }));
    is(&responder, &ca, &serial, Status::Revoked);
}

#[test]
fn names_that_would_be_markup_are_shown_and_run_nothing() {
    const NAME: &str = "<img src=x onerror='window.ran=1'><svg onload='window.ran=2'>";
    let (ca, site) = crate::ca_and_site();
    let site = with_api(site);
    // The names of certificates and clients are anybody's: a signer's, a foreign CA's, a program's.
    let request = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj";
    bash(
        site.dir(),
        &format!(
            "{request} \"/CN={NAME}\" -keyout signer.key -out signer.csr && \
             openssl x509 -req -in signer.csr -CA {:?} -CAkey {:?} -set_serial 77 -days 30 -out signer.pem \
                 -extfile <(printf '%s\\n' keyUsage=critical,digitalSignature extendedKeyUsage=OCSPSigning noCheck=ignored) && \
             {request} \"/CN={NAME}\" -x509 -keyout foreign.key -out foreign.pem && chmod 600 *.key",
            ca.certificate(),
            ca.key(),
        ),
    );
    let signer = signer_lines(&site.config());
    site.edit_config(|text| {
        text.replace(&signer, "certificate = \"signer.pem\"\nkey = \"signer.key\"") + "\n[journal]\n"
    });
    let responder = site.start();
    let issuer = ask(&responder, "GET", "/v1/issuers", "").1["issuers"][0]["id"].as_str().unwrap().to_owned();
    let body = r#"{"serial":"0A"}"#;
    let push = format!(
        "POST /v1/issuers/{issuer}/add HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nUser-Agent: {NAME}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(http::exchange(responder.site.admin, push.as_bytes()).unwrap().status, 200);
    let foreign = responder.site.dir().join("foreign.pem");
    browse("hostile", &responder, json!({ "token": TOKEN, "name": NAME, "serial": "0A", "file": foreign }));
}

/// The lines of the only signer in a configuration.
fn signer_lines(config: &std::path::Path) -> String {
    let text = std::fs::read_to_string(config).unwrap();
    text.split_once("[tenant.issuer.signer]\n").unwrap().1.trim_end().to_owned()
}

#[test]
fn a_session_ends_when_a_reload_takes_its_principal_away_and_an_open_page_says_so() {
    const NEW: &str = "another-0123456789abcdef0123456789abcdef";
    let (_ca, site) = crate::ca_and_site();
    site.edit_config(|text| text + &principal("ann", VIEWER, "viewer:*"));
    let responder = site.start();
    let arguments = arguments(&responder, json!({ "token": VIEWER, "new_token": NEW }));
    let mut browser = python_command("main_job/console.py", &["stays", &arguments])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(browser.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    if line.trim() == "signed in" {
        let (old, new) = (principal("ann", VIEWER, "viewer:*"), principal("ann", NEW, "viewer:*"));
        responder.reload(|text| text.replace(&old, &new));
        until("the reload", PATIENCE, || {
            let log = responder.log();
            assert!(!log.contains("stays as it was"), "{log}");
            log.contains("the configuration was read again").then_some(())
        });
        browser.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    let ended = browser.wait_with_output().unwrap();
    assert!(ended.status.success(), "{line}{}\n{}", String::from_utf8_lossy(&ended.stderr), responder.log());
}

/// The session is worth nothing without the certificate: each of its requests shows that anew.
#[test]
fn in_a_browser_one_signs_in_by_a_client_certificate_which_each_request_of_the_session_shows() {
    let principal =
        "\n[[admin.principal]]\nname = \"deploy\"\ncertificate = \"dns:deploy.example\"\nallow = [\"operator:acme\"]\n";
    let (_ca, site) = secured(&format!("{principal}[journal]\n"));
    issue(&site, "clients", "deploy", "DNS:deploy.example", LATER);
    issue(&site, "clients", "unknown", "DNS:unknown.example", LATER);
    let responder = start(site);
    let (url, dir) = (format!("https://{}", responder.site.admin), responder.site.dir());
    browse("by_certificate", &responder, json!({ "url": url, "dir": dir, "name": "deploy", "stranger": "unknown" }));
    let log = responder.log();
    assert!(log.contains("signed in to the console") && log.contains("\"by\":\"certificate\""), "{log}");
    let signed_in = Kept::of(&responder.site).expect("sign_in", &[("principal", "deploy"), ("by", "certificate")]);
    assert_eq!(signed_in["outcome"], "done", "{signed_in}");
}

/// Whatever is asked for, by whatever method.
#[test]
fn strangers_get_a_page_to_sign_in_and_nothing_else_and_every_page_has_its_policy() {
    let (_ca, responder) = started();
    let admin = responder.site.admin;
    let get = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n{headers}Connection: close\r\n\r\n");
        http::exchange(admin, request.as_bytes()).unwrap()
    };
    for path in [
        "/console/",
        "/console/look-up?serial=0A",
        "/console/charts",
        "/console/clocks",
        "/console/audit",
        "/console/nothing",
        "/console/certificates/00/0A",
        "/console/certificates/00/0A/revoke",
    ] {
        for headers in ["", "Cookie: ostia-console=\r\n", &format!("Cookie: ostia-console={}\r\n", "0".repeat(64))] {
            let reply = get(path, headers);
            assert_eq!(reply.status, 303, "{path}");
            assert!(reply.expect("location").starts_with("/console/sign-in"), "{path}");
            assert!(reply.body.is_empty(), "{path}");
        }
    }
    let own = format!("Host: {admin}\r\nOrigin: http://{admin}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let post = |path: &str, headers: &str, body: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        http::exchange(admin, request.as_bytes()).unwrap()
    };
    for path in ["/console/look-up", "/console/certificates/00/0A/revoke", "/console/sign-out"] {
        assert_eq!(post(path, &own, "serial=0A").status, 303, "{path}");
    }
    let signed_in = post("/console/sign-in", &own, &format!("token={TOKEN}"));
    let cookie = signed_in.expect("set-cookie").to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    // A token counts for nothing where a form comes from elsewhere, or by another name.
    for headers in [
        own.replace("Origin: http://", "Origin: https://"),
        own.replace("Origin", "X-Origin"),
        own.replacen(&format!("Host: {admin}"), "Host: rebound.example", 1),
    ] {
        let reply = post("/console/sign-in", &headers, &format!("token={TOKEN}"));
        assert!([403, 421].contains(&reply.status) && reply.header("set-cookie").is_none(), "{headers}");
    }
    assert_eq!(get("/console/", "Cookie: ostia-console=x\r\n").status, 303);
    for (path, status) in
        [("/console/", 200), ("/console/sign-in", 200), ("/console/nothing", 404), ("/console/audit", 200)]
    {
        let reply = get(path, &cookie);
        assert_eq!(reply.status, status, "{path}");
        let policy = reply.expect("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(reply.expect(name), value, "{path}");
        }
        assert!(!reply.text().contains(TOKEN), "{path}");
    }
    // The API is not for the cookie.
    assert_eq!(get("/v1/issuers", &cookie).status, 401);
    // Files are kept by browsers, and known by what is in them.
    let page = get("/console/", &cookie).text();
    for file in ["console.css", "console.js"] {
        let at = page.find(&format!("/console/assets/{file}")).unwrap();
        let path = page[at..].split('"').next().unwrap();
        let reply = get(path, "");
        assert_eq!(reply.status, 200, "{path}");
        let etag = reply.expect("etag").to_owned();
        assert_eq!(get(path, &format!("If-None-Match: {etag}\r\n")).status, 304, "{path}");
    }
    // Browsers find the console, and programs are told of it.
    let root = get("/", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!((root.status, root.expect("location")), (303, "/console/"));
    assert_eq!(get("/", "Accept: */*\r\n").status, 404);
    let log = responder.log();
    assert!(log.contains("signed in to the console") && !log.contains(TOKEN), "{log}");
}

#[test]
fn the_writer_has_a_console_as_well_and_over_tls_its_cookie_is_bound_to_the_host() {
    let (_ca, site) = crate::ca_and_site();
    let site = with_api(site);
    bash(
        site.dir(),
        &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout admin.key -out admin.pem -days 30 \
             -subj '/CN=admin' -addext 'subjectAltName=IP:{}' && chmod 600 admin.key",
            site.admin.ip()
        ),
    );
    site.edit_config(|text| {
        text.replacen("[admin]\n", "[admin]\ncertificate = \"admin.pem\"\nkey = \"admin.key\"\n", 1)
    });
    let alone = site.run_alone();
    let responder = site.launch(alone);
    let admin = responder.site.admin;
    let curl = |arguments: &[&str]| {
        let pem = responder.site.dir().join("admin.pem");
        run(Command::new("curl").args(["-sS", "-i", "--max-time", "20", "--cacert"]).arg(pem).args(arguments)).text
    };
    let url = format!("https://{admin}/console");
    until("the admin listener", PATIENCE, || curl(&[&format!("{url}/sign-in")]).contains("Sign in").then_some(()));
    let origin = format!("Origin: https://{admin}");
    let token = format!("token={TOKEN}");
    let signed_in = curl(&["-H", &origin, "--data", &token, &format!("{url}/sign-in")]);
    let cookie =
        signed_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{signed_in}"));
    assert!(cookie.starts_with("__Host-ostia-console=") && cookie.contains("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let overview = curl(&["-H", &format!("Cookie: {cookie}"), &format!("{url}/")]);
    assert!(overview.contains("ostia-precompute") && overview.contains("Signed in as"), "{overview}");
    // It makes no time-stamps.
    assert!(!overview.contains("/console/clocks"), "{overview}");
    assert_eq!(
        curl(&["-H", &format!("Cookie: {cookie}"), &format!("{url}/clocks")]).lines().next().unwrap().trim(),
        "HTTP/1.1 404 Not Found"
    );
}

#[test]
fn whoever_asks_or_pushes_too_often_is_told_to_wait_on_pages_as_well() {
    const OFTEN: &str = "pusher-0123456789abcdef0123456789abcdef";
    let (_ca, site) = crate::ca_and_site();
    let site = with_api(site);
    let slow = principal("slow", VIEWER, "viewer:*") + "requests_per_second = 2\n";
    let pusher = principal("pusher", OFTEN, "operator:*") + "pushes_per_second = 1\n";
    site.edit_config(|text| text + &slow + &pusher);
    let responder = site.start();
    let admin = responder.site.admin;
    let issuer = ask(&responder, "GET", "/v1/issuers", "").1["issuers"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&responder, "POST", &format!("/v1/issuers/{issuer}/add"), r#"{"serial":"0A"}"#).0, 200);
    let exchange = |method: &str, path: &str, cookie: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nOrigin: http://{admin}\r\n{cookie}Connection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        http::exchange(admin, request.as_bytes()).unwrap()
    };
    let sign_in = |token: &str| {
        let reply = exchange("POST", "/console/sign-in", "", &format!("token={token}"));
        format!("Cookie: {}\r\n", reply.expect("set-cookie").split(';').next().unwrap())
    };
    let (slow, pusher) = (sign_in(VIEWER), sign_in(OFTEN));
    let mut replies = (0..100).map(|_| exchange("GET", "/console/look-up", &slow, ""));
    let told = replies.find(|reply| reply.status == 429).expect("a hundred pages at once are too many");
    assert!(told.expect("retry-after").parse::<u64>().unwrap() >= 1 && told.text().contains("requests_per_second"));
    // Nobody else waits for that.
    let page = exchange("GET", "/console/look-up", &pusher, "").text();
    let form = page.split_once("name=\"form\" value=\"").unwrap().1.split('"').next().unwrap();
    let path = format!("/console/certificates/{issuer}/0A/hold");
    let mut replies = (0..100).map(|key| exchange("POST", &path, &pusher, &format!("form={form}&key=k{key}")));
    let told = replies.find(|reply| reply.status == 429).expect("a hundred pushes at once are too many");
    assert!(told.text().contains("pushes_per_second"), "{}", told.text());
}
