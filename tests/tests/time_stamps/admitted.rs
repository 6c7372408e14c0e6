//! Who may ask an authority, how much each gets, and what is counted of it: with curl and openssl as people use them.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use ostia_tests::{
    Ended, KeyKind, Query, Responder, Site, Stamped, bash,
    http::{Connection, Reply, exchange},
    run, until,
};
use serde_json::Value;

use crate::{PATIENCE, site};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn sha256(text: &str) -> String {
    bash("/".as_ref(), &format!("printf %s {text} | sha256sum | cut -d' ' -f1")).trim().to_owned()
}

/// The configuration with a client of the last authority.
fn client(lines: &str) -> String {
    format!("[[tenant.tsa.client]]\n{lines}\n")
}

fn by_key(name: &str) -> String {
    client(&format!("name = \"{name}\"\ntoken_sha256 = \"{}\"", sha256(KEY)))
}

fn ask(address: SocketAddr, number: u32, headers: &str) -> Reply {
    exchange(address, &Query::new(number).request("/tsa", headers)).unwrap()
}

fn usage(site: &Site, arguments: &[&str]) -> Ended {
    site.precompute("usage", arguments)
}

/// What a client has had: time-stamps, and requests over its quota.
fn had(site: &Site, client: Option<&str>) -> (u64, u64) {
    let told = usage(site, &["--json"]);
    let document: Value = serde_json::from_str(&told.text).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let of = |one: &&Value| one["client"].as_str() == client;
    let number = |one: &Value, name: &str| one[name].as_u64().unwrap();
    let used = document["usage"].as_array().unwrap().iter().find(of);
    used.map_or((0, 0), |one| (number(one, "granted"), number(one, "over_quota")))
}

#[track_caller]
fn until_had(site: &Site, client: Option<&str>, expected: (u64, u64)) {
    until(&format!("{client:?} had {expected:?}"), PATIENCE, || (had(site, client) == expected).then_some(()));
}

/// What curl gets of a query in a file: its exit status, and whether a token came that openssl verifies.
fn curl(dir: &Path, responder: &Responder, arguments: &[&str]) -> (Ended, bool) {
    let url = format!("http://{}/tsa", responder.http());
    let _ = fs::remove_file(dir.join("reply.tsr"));
    let fixed = [
        "-sS",
        "-f",
        "-m",
        "60",
        "--noproxy",
        "*",
        "-H",
        "Content-Type: application/timestamp-query",
        "--data-binary",
        "@query.tsq",
        "-o",
        "reply.tsr",
    ];
    let ended = run(Command::new("curl").args(fixed).args(arguments).arg(url).current_dir(dir));
    let verified = dir.join("reply.tsr").exists()
        && run(Command::new("openssl")
            .args(["ts", "-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "ca.pem"])
            .current_dir(dir))
        .status
        .success();
    (ended, verified)
}

#[test]
fn an_authority_with_clients_makes_tokens_for_them_and_for_nobody_else() {
    let (ca, site) = site(KeyKind::P256, |tsa| tsa);
    let other_network = client("name = \"elsewhere\"\nnetworks = [\"192.0.2.0/24\", \"2001:db8::/32\"]");
    site.edit_config(|text| text + &by_key("build") + &other_network);
    let responder = site.start();
    let dir = ca.dir();
    bash(dir, "openssl ts -query -data ca.pem -sha256 -cert -out query.tsq");
    // As curl, and with it all that use its library, sends a key.
    let bearer = format!("Authorization: Bearer {KEY}");
    for arguments in
        [&["-u", &format!("anybody:{KEY}")][..], &["-H", &bearer], &["--anyauth", "-u", &format!(":{KEY}")]]
    {
        let (ended, verified) = curl(dir, &responder, arguments);
        assert!(ended.status.success() && verified, "{arguments:?}: {ended:?} {}", responder.log());
    }
    for arguments in [&[][..], &["-u", "build:wrong"], &["-H", "Authorization: Bearer wrong"]] {
        let (ended, verified) = curl(dir, &responder, arguments);
        assert!(ended.status.code() == Some(22) && !verified && ended.text.contains("401"), "{arguments:?}: {ended:?}");
    }
    let refused = ask(responder.http(), 1, "");
    assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true));
    assert!(refused.text().contains("as a bearer token, or as the password of HTTP Basic"), "{}", refused.text());
    // What a stranger writes of its own address counts for nothing.
    assert_eq!(ask(responder.http(), 2, "X-Forwarded-For: 192.0.2.7\r\n").status, 401);
    // The certificates are for everybody who has a token.
    assert_eq!(ostia_tests::http::get(responder.http(), "/tsa/chain.pem").status, 200);
    assert_eq!(responder.metric("ostia_tsa_requests_total", "result=\"granted\""), 3.0);
    assert!(responder.metric("ostia_tsa_requests_total", "result=\"denied\"") >= 5.0);
    assert!(!responder.log().contains(KEY));
    let (_, site) = (until_had(&responder.site, Some("build"), (3, 0)), responder.into_site());
    // What is wrong is told without a word of the hash.
    site.edit_config(|text| text.replacen(&sha256(KEY), "abc123", 1));
    let refused = site.refuses_to_start();
    assert!(refused.contains("tsa.client[0].token_sha256") && !refused.contains("abc123"), "{refused}");
}

#[test]
fn a_client_is_known_by_its_network_through_a_trusted_balancer_alone() {
    let (_ca, site) = site(KeyKind::P256, |tsa| tsa);
    site.set_http("trusted_networks = [\"127.0.0.0/8\"]");
    site.edit_config(|text| text + &client("name = \"office\"\nnetworks = [\"192.0.2.0/24\"]"));
    let responder = site.start();
    let from = |address: &str, number| ask(responder.http(), number, &format!("X-Forwarded-For: {address}\r\n")).status;
    assert_eq!([from("192.0.2.7", 1), from("192.0.3.7", 2), from("192.0.2.7, 198.51.100.1", 3)], [200, 403, 403]);
    assert_eq!(ask(responder.http(), 4, "").status, 403, "there is nothing that it could send");
    until_had(&responder.site, Some("office"), (1, 0));
    // Open again: everybody may ask, and office is still counted apart.
    responder.reload(|text| text.replacen("\n[tenant.tsa.signer]", "open = true\n[tenant.tsa.signer]", 1));
    until("it is open", PATIENCE, || (from("192.0.3.7", 5) == 200).then_some(()));
    assert_eq!(from("192.0.2.7", 6), 200);
    until_had(&responder.site, Some("office"), (2, 0));
    until("others are counted", PATIENCE, || (had(&responder.site, None).0 >= 1).then_some(()));
}

#[test]
fn a_quota_bounds_one_client_and_no_other_and_lasts_through_kill_9() {
    let (_ca, site) = site(KeyKind::P256, |tsa| tsa);
    let bounded = client("name = \"bounded\"\nnetworks = [\"192.0.2.0/24\"]\nper_month = 5");
    let quick = client("name = \"quick\"\nnetworks = [\"198.51.100.0/24\"]\nper_second = 3");
    site.set_http("trusted_networks = [\"127.0.0.0/8\"]");
    site.edit_config(|text| text + &bounded + &quick);
    let responder = site.start();
    let stamped = |responder: &Responder, address: &str, number| {
        Stamped::read(&ask(responder.http(), number, &format!("X-Forwarded-For: {address}\r\n")))
    };
    (0..5).for_each(|number| _ = stamped(&responder, "192.0.2.7", number).granted());
    let over = stamped(&responder, "192.0.2.7", 5);
    over.expect_rejection("badRequest");
    until_had(&responder.site, Some("bounded"), (5, 1));
    let responder = responder.kill_and_start_again();
    stamped(&responder, "192.0.2.8", 6).expect_rejection("badRequest");
    until_had(&responder.site, Some("bounded"), (5, 2));
    // Another one gets a burst on one connection, and no more of it than its second allows.
    let mut connection = Connection::open(responder.http()).unwrap();
    let begun = std::time::Instant::now();
    let mut granted = 0;
    for number in 0..40 {
        connection.send(&Query::new(100 + number).request("/tsa", "X-Forwarded-For: 198.51.100.1\r\n")).unwrap();
        let reply = connection.receive(false).unwrap().unwrap();
        assert_eq!(reply.status, 200);
        granted += usize::from(reply.body.len() > 300);
    }
    let most = 3 + 3 * (begun.elapsed().as_secs() as usize + 1);
    assert!((3..=most.min(39)).contains(&granted), "{granted} of 40 in {:?}", begun.elapsed());
    assert!(responder.metric("ostia_tsa_requests_total", "result=\"over_quota\"") >= 1.0);
    let told = responder.log().matches("the quota of a client is used up").count();
    // And one of before it was killed.
    assert!((2..=3).contains(&told), "a line for each client: {}", responder.log());
    let csv = usage(&responder.site, &["--csv", "--tenant", "tests"]).text;
    assert!(csv.starts_with("month,server,tenant,tsa,client,granted,over_quota\n"), "{csv}");
    assert!(csv.lines().any(|line| line.contains(",tests,stamps,bounded,5,2")), "{csv}");
    let none = usage(&responder.site, &["--month", "2001-01"]);
    assert!(none.text.contains("2001-01: no time-stamps were counted here"), "{none:?}");
    assert_eq!(usage(&responder.site, &["--month", "2001-13"]).status.code(), Some(2));
}

/// A certificate of a client, in `NAME.pem` with `NAME.key`, signed by a CA in `clients-ca.pem` or by itself.
fn make_certificates(dir: &Path) {
    let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
    let of_client = "-addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=clientAuth -addext subjectAltName=DNS:build.example";
    bash(dir, &format!("{new} -subj '/CN=Clients' -keyout clients-ca.key -out clients-ca.pem"));
    bash(
        dir,
        &format!(
            "{new} {of_client} -subj '/CN=build' -CA clients-ca.pem -CAkey clients-ca.key -keyout build.key -out build.pem"
        ),
    );
    // By another CA in the same name.
    bash(dir, &format!("{new} {of_client} -subj '/CN=build' -keyout forged.key -out forged.pem"));
    bash(dir, &format!("{new} {of_client} -subj '/CN=pinned' -keyout pinned.key -out pinned.pem"));
}

#[test]
fn a_client_is_known_by_its_certificate_and_nobody_else_is_asked_for_one() {
    let (ca, site) = site(KeyKind::P256, |tsa| tsa);
    let dir = site.dir().to_owned();
    make_certificates(&dir);
    let ip = site.admin.ip();
    let tls = ostia_tests::free_port(ip);
    ostia_tests::write_tls_pair(&dir, ip, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let hash = bash(&dir, "openssl x509 -in pinned.pem -outform DER | sha256sum | cut -d' ' -f1");
    site.edit_config(|text| {
        let text = text.replacen(
            "[admin]",
            &format!("[tls]\nlisten = [\"{tls}\"]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[admin]"),
            1,
        );
        let text = text.replacen("\n[tenant.tsa.signer]", "client_ca = \"clients-ca.pem\"\n[tenant.tsa.signer]", 1);
        text + &client("name = \"build\"\ncertificate = \"dns:build.example\"")
            + &by_key("by-key")
            + &client(&format!("name = \"pinned\"\ncertificate = \"sha256:{}\"", hash.trim()))
    });
    let responder = site.start();
    bash(
        &dir,
        &format!("cp {:?} ca.pem && openssl ts -query -data ca.pem -sha256 -cert -out query.tsq", ca.certificate()),
    );
    let url = format!("https://{tls}/tsa");
    let curl = |arguments: &[&str]| {
        let fixed = [
            "-sS",
            "-k",
            "-m",
            "60",
            "--noproxy",
            "*",
            "-H",
            "Content-Type: application/timestamp-query",
            "--data-binary",
            "@query.tsq",
            "-o",
            "reply.tsr",
            "-w",
            "%{http_code}",
        ];
        let ended = run(Command::new("curl").args(fixed).args(arguments).arg(&url).current_dir(&dir));
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
        ended.text.trim().to_owned()
    };
    let shown = |name: &str| [format!("{name}.pem"), format!("{name}.key")];
    for (name, expected) in [("build", "200"), ("forged", "401"), ("pinned", "401")] {
        let [certificate, key] = shown(name);
        for version in ["1.2", "1.3"] {
            assert_eq!(
                curl(&["--tls-max", version, "--cert", &certificate, "--key", &key]),
                expected,
                "{name} {version}: {}",
                responder.log()
            );
        }
    }
    // What is signed by itself is known by its hash where no CA vouches for others.
    responder.reload(|text| {
        text.replacen("client_ca = \"clients-ca.pem\"\n", "", 1).replacen(
            "dns:build.example",
            "key-sha256:0000000000000000000000000000000000000000000000000000000000000000",
            1,
        )
    });
    let [certificate, key] = shown("pinned");
    until("the pinned one is known", PATIENCE, || {
        (curl(&["--cert", &certificate, "--key", &key]) == "200").then_some(())
    });
    assert_eq!(curl(&["-u", &format!("x:{KEY}")]), "200", "a client without certificate gets through TLS");
    assert_eq!(curl(&[]), "401");
    let asks = || {
        let line = format!(
            "openssl s_client -connect {tls} -tls1_2 -servername a.test -msg </dev/null 2>&1 | grep -c CertificateRequest || true"
        );
        bash(&dir, &line).trim() != "0"
    };
    assert!(asks());
    // Of a tenant at a host of its own nobody else's clients hear.
    responder.reload(|text| text.replacen("name = \"tests\"", "name = \"tests\"\nhosts = [\"tsa.test\"]", 1));
    until("another host asks for none", PATIENCE, || (!asks()).then_some(()));
}

/// An administrator with [`KEY`], and an auditor of another tenant with another token.
fn with_principals(site: &Site) {
    let token = site.dir().join("api.token");
    fs::write(&token, KEY).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let hash = sha256(OTHERS);
    let auditor = format!(
        "[[admin.principal]]\nname = \"auditor\"\ntoken_sha256 = \"{hash}\"\nallow = [\"auditor:elsewhere\"]\n"
    );
    site.edit_config(|text| text.replacen("[admin]\n", "[admin]\ntoken_file = \"api.token\"\n", 1) + &auditor);
}

const OTHERS: &str = "fedcba9876543210fedcba9876543210";

/// Seven time-stamps are told to who may audit the tenant, and nothing to who may audit another one.
fn expect_over_the_api(responder: &Responder) {
    let admin = responder.site.admin;
    let asked = |token: &str, query: &str| {
        let request = format!(
            "GET /v1/usage{query} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let reply = exchange(admin, request.as_bytes()).unwrap();
        (reply.status, serde_json::from_str::<Value>(&reply.text()).unwrap_or_default())
    };
    let (status, told) = asked(KEY, "?tenant=tests");
    assert_eq!((status, told["usage"][0]["granted"].as_u64()), (200, Some(7)), "{told}");
    assert_eq!(asked(KEY, "?month=2001-01").1["usage"], serde_json::json!([]));
    assert_eq!(asked(KEY, "?month=x").0, 400);
    assert_eq!(asked(OTHERS, "").0, 403, "it may audit no tenant that is here");
    let refused = asked(OTHERS, "?tenant=tests");
    assert_eq!(refused.0, asked(OTHERS, "?tenant=nobody").0, "who may not look learns nothing: {refused:?}");
    assert!([403, 404].contains(&refused.0), "{refused:?}");
}

/// What is lost by `kill -9` is what was counted since the last save, and nothing before it.
#[test]
fn the_usage_outlives_kill_9_but_for_the_last_second() {
    let (_ca, site) = site(KeyKind::P256, |tsa| tsa);
    with_principals(&site);
    let responder = site.start();
    (0..7).for_each(|number| _ = Stamped::read(&ask(responder.http(), number, "")).granted());
    until_had(&responder.site, None, (7, 0));
    expect_over_the_api(&responder);
    let mut responder = responder.kill_and_start_again();
    (0..4).for_each(|number| _ = Stamped::read(&ask(responder.http(), 10 + number, "")).granted());
    // An orderly end loses nothing at all.
    assert!(responder.end_by("TERM").success());
    let site = responder.into_site();
    assert_eq!(had(&site, None), (11, 0));
    let directory = site.dir().join("state/usage");
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 1, "a file a month: {files:?}");
}
