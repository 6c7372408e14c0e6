//! CRLs by URL, from a real nginx: slow, broken, gone and back, over TLS, with something else in their place.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Leaf, Nginx, Responder, Site, Status, Tenant, free_port,
    http::{exchange, request},
    openssl, programs, run, until,
};

/// Long enough for a busy machine, and for a question that is repeated after failures.
const PATIENCE: Duration = Duration::from_secs(60);
/// Far less than a question may take.
const AT_ONCE: Duration = Duration::from_secs(30);

const UNLISTED: &str = "unlisted = \"good\"\naccept_unlisted_as_good = true";
const HTML: &str = "<!DOCTYPE html><html><title>Sign in</title></html>";

/// A web server with a directory.
pub(crate) struct Web {
    dir: tempfile::TempDir,
    address: SocketAddr,
    tls: SocketAddr,
    nginx: Option<Nginx>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (dir, address, tls) = (tempfile::tempdir().unwrap(), free_port(ip), free_port(ip));
        fs::create_dir(dir.path().join("www")).unwrap();
        certify(dir.path(), ip);
        let mut web = Self { dir, address, tls, nginx: None };
        web.begins();
        web
    }

    fn begins(&mut self) {
        let (dir, address, tls) = (self.dir.path().display(), self.address, self.tls);
        self.nginx = Some(Nginx::with(
            self.dir.path(),
            &format!(
                "server {{
                   listen {address};
                   listen {tls} ssl;
                   ssl_certificate {dir}/web.pem;
                   ssl_certificate_key {dir}/web.key;
                   access_log {dir}/access.log;
                   root {dir}/www;
                   location = /moved.crl {{ return 301 https://{tls}/ca.crl; }}
                   location = /down.crl {{ return 302 http://{address}/ca.crl; }}
                   location = /loop.crl {{ return 302 /loop.crl; }}
                   location /private/ {{ auth_basic x; auth_basic_user_file {dir}/users; alias {dir}/www/; }}
                   location /slow/ {{ alias {dir}/www/; limit_rate_after 300; limit_rate 1; }}
                 }}"
            ),
        ));
        until("nginx listens", PATIENCE, || TcpStream::connect(self.address).ok());
    }

    fn ends(&mut self) {
        self.nginx = None;
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    fn https(&self, name: &str) -> String {
        format!("https://{}/{name}", self.tls)
    }

    /// Puts a file there at once.
    pub(crate) fn gives(&self, name: &str, content: &[u8]) {
        let new = self.dir.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.dir.path().join("www").join(name)).unwrap();
    }

    /// Puts the newest CRL of a CA there.
    fn publishes(&self, ca: &Ca) -> Vec<u8> {
        let crl = fs::read(ca.write_crl("now.crl")).unwrap();
        self.gives("ca.crl", &crl);
        crl
    }

    /// How often `name` was answered with `status`.
    fn answered(&self, name: &str, status: u16) -> usize {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("\"GET /{name} HTTP/1.1\" {status} "))).count()
    }
}

/// A private CA, `root.pem`, and a certificate of it for the web server.
pub(crate) fn certify(dir: &Path, ip: IpAddr) {
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
    let root = ["req", "-x509", "-days", "30", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem"];
    openssl(dir, [&root[..], &kind].concat());
    openssl(dir, [&["req", "-new", "-subj", "/CN=web", "-keyout", "web.key", "-out", "web.csr"][..], &kind].concat());
    fs::write(dir.join("web.ext"), format!("subjectAltName = IP:{ip}\n")).unwrap();
    openssl(
        dir,
        [
            "x509", "-req", "-in", "web.csr", "-CA", "root.pem", "-CAkey", "root.key", "-extfile", "web.ext", "-days",
            "9", "-out", "web.pem",
        ],
    );
    fs::write(dir.join("users"), "ostia:{PLAIN}7391\n").unwrap();
}

/// A site with one issuer, whose sources are these lines.
fn site(ca: &Ca, sources: &str) -> Site {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    Site::new(&[Tenant::new("crl").set(UNLISTED).issuer("ca", ca, sources, &signer.lines())])
}

fn crl(url: &str) -> String {
    format!("crl = {url:?}")
}

fn status(responder: &Responder, ca: &Ca, leaf: &Leaf) -> Status {
    Ask::about(ca, leaf).at(responder.http(), "/").status
}

#[track_caller]
fn turns(responder: &Responder, ca: &Ca, leaf: &Leaf, wanted: &Status) {
    until(&format!("{} turns {wanted:?}", leaf.serial), PATIENCE, || {
        (status(responder, ca, leaf) == *wanted).then_some(())
    });
}

#[track_caller]
fn readiness_says(responder: &Responder, wanted: &[&str]) -> String {
    until(&format!("readiness says {wanted:?}"), PATIENCE, || {
        let (code, text) = responder.readiness();
        (code == 200 && wanted.iter().all(|wanted| text.contains(wanted))).then_some(text)
    })
}

fn mirror(responder: &Responder) -> PathBuf {
    let files = fs::read_dir(responder.site.dir().join("state/fetched")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    files.find(|file| file.extension().is_none_or(|end| end != "json")).expect("there is a mirror")
}

#[test]
fn a_crl_at_a_url_is_followed_conditionally_and_outlives_its_server() {
    let (ca, mut web) = (Ca::new("CA"), Web::start());
    let [first, second, third] = [ca.issue(), ca.issue(), ca.issue()];
    ca.revoke(&first, &[]);
    web.publishes(&ca);
    let responder = site(&ca, &crl(&web.url("ca.crl"))).start();
    assert_eq!([&first, &second].map(|leaf| status(&responder, &ca, leaf)), [Status::Revoked, Status::Good]);
    assert_eq!((web.answered("ca.crl", 200), web.answered("ca.crl", 304)), (1, 0));
    responder.signal("HUP");
    until("nothing has changed", PATIENCE, || (web.answered("ca.crl", 304) == 1).then_some(()));
    ca.revoke(&second, &[]);
    web.publishes(&ca);
    responder.signal("HUP");
    turns(&responder, &ca, &second, &Status::Revoked);
    assert_eq!(web.answered("ca.crl", 200), 2);
    assert_eq!(responder.metric("ostia_source_fetch_faulty", "url=\"http://"), 0.0);

    web.ends();
    responder.signal("HUP");
    let url = web.url("ca.crl");
    let said = readiness_says(&responder, &["degraded: crl/ca: ", &url, "gives no answer", "stays in use"]);
    assert_eq!(said.matches(&url).count(), 1, "{said}");
    assert_eq!(responder.metric("ostia_source_fetch_faulty", "url=\"http://"), 1.0);
    assert!(responder.metric("ostia_source_fetch_failures_total", "") >= 1.0);
    // A restart goes on with what is here, and does not wait for anybody.
    let responder = responder.kill_and_start_again();
    let leaves = [&first, &second, &third].map(|leaf| status(&responder, &ca, leaf));
    assert_eq!(leaves, [Status::Revoked, Status::Revoked, Status::Good]);
    readiness_says(&responder, &[&url, "gives no answer", "stays in use"]);
    ca.revoke(&third, &[]);
    web.publishes(&ca);
    web.begins();
    turns(&responder, &ca, &third, &Status::Revoked);
    until("it is told that it is well", PATIENCE, || responder.log().contains("can be fetched again").then_some(()));
    assert_eq!(responder.log().matches("gives no answer").count(), 2, "once by each process: {}", responder.log());
}

#[test]
fn whatever_a_web_server_gives_in_place_of_the_crl_changes_nothing_and_is_told_once() {
    let (ca, web) = (Ca::new("CA"), Web::start());
    let [revoked, good] = [ca.issue(), ca.issue()];
    let old = web.publishes(&ca);
    ca.revoke(&revoked, &[]);
    let newest = web.publishes(&ca);
    let responder = site(&ca, &crl(&web.url("ca.crl"))).start();
    let kept = fs::read(mirror(&responder)).unwrap();
    assert_eq!(kept, newest);
    let other = fs::read(Ca::new("Other").write_crl("other.crl")).unwrap();
    for (content, told) in [
        (HTML.as_bytes(), "it begins like HTML"),
        (&old, "is older than the CRL taken before"),
        (&newest[..newest.len() / 2], "are not taken"),
        (&other, "was issued by"),
        (b"", "an empty body"),
    ] {
        web.gives("ca.crl", content);
        responder.signal("HUP");
        readiness_says(&responder, &[told, "answers 200", "stays in use"]);
        assert_eq!(fs::read(mirror(&responder)).unwrap(), kept);
        assert_eq!([&revoked, &good].map(|leaf| status(&responder, &ca, leaf)), [Status::Revoked, Status::Good]);
    }
    fs::remove_file(web.dir.path().join("www/ca.crl")).unwrap();
    responder.signal("HUP");
    readiness_says(&responder, &["answers 404", "is the URL right?"]);
    let log = responder.log();
    assert_eq!(log.matches("and it is asked again").count(), 1, "it lasts: {log}");
    web.gives("ca.crl", &newest);
    // After so many failures it would be asked in minutes.
    responder.signal("HUP");
    until("it is well again", PATIENCE, || (!responder.readiness().1.contains("degraded")).then_some(()));
}

#[test]
fn over_tls_the_cas_that_are_named_count_and_no_redirect_leads_out_of_it() {
    let (ca, web) = (Ca::new("CA"), Web::start());
    let revoked = ca.issue();
    ca.revoke(&revoked, &[]);
    web.publishes(&ca);
    let tls_ca = format!("\ntls_ca = {:?}", web.dir.path().join("root.pem"));
    let responder = site(&ca, &(crl(&web.https("ca.crl")) + &tls_ca)).start();
    assert_eq!(status(&responder, &ca, &revoked), Status::Revoked);
    let other = |responder: &Responder, from: String, to: String, told: &[&str]| {
        responder.reload(|text| text.replace(&from, &to));
        readiness_says(responder, &[told, &[to.as_str()]].concat());
    };
    let (https, down) = (web.https("ca.crl"), web.https("down.crl"));
    other(&responder, https, down.clone(), &["from TLS to none, which is not followed", "is fetched from"]);
    other(&responder, down, web.url("loop.crl"), &["leads on and on", "is fetched from"]);
    responder.reload(|text| text.replace("loop.crl", "moved.crl"));
    until("over TLS in the end", PATIENCE, || (!responder.readiness().1.contains("degraded")).then_some(()));
    assert_eq!((web.answered("moved.crl", 301), web.answered("ca.crl", 200)), (1, 2));
    // Whose certificate it is nobody here has said.
    responder.reload(|text| text.replace(&tls_ca, "").replace(&web.url("moved.crl"), &web.https("ca.crl")));
    readiness_says(&responder, &["`tls_ca` here has to name the CA of its certificate", &web.https("ca.crl")]);
    assert_eq!(status(&responder, &ca, &revoked), Status::Revoked, "the book knows");
}

#[test]
fn a_password_in_a_url_goes_to_its_server_and_nowhere_else() {
    let (ca, web) = (Ca::new("CA"), Web::start());
    let revoked = ca.issue();
    ca.revoke(&revoked, &[]);
    web.publishes(&ca);
    let with = |login: &str| crl(&web.url("private/ca.crl").replace("http://", &format!("http://{login}")));
    let site = site(&ca, &with("ostia:739100@"));
    let command = site.serve();
    // Nothing is known of any issuer.
    let responder = site.launch(command);
    until("readiness says why", PATIENCE, || {
        let reply = exchange(responder.site.admin, &request("GET", "/readyz/ocsp", "")).ok()?;
        let url = web.url("private/ca.crl");
        let told = ["answers 401", "https://user:password@…", &url].iter().all(|told| reply.text().contains(told));
        (reply.status == 503 && told).then_some(())
    });
    responder.reload(|text| text.replace("ostia:739100@", "ostia:7391@"));
    turns(&responder, &ca, &revoked, &Status::Revoked);
    let said = responder.log() + &responder.readiness().1 + &responder.metrics();
    let notes = fs::read_dir(responder.site.dir().join("state/fetched")).unwrap();
    let notes: String =
        notes.map(|file| String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap()).into_owned()).collect();
    assert!(!(said + &notes).contains("7391"));
}

#[test]
fn a_server_that_gives_a_byte_a_second_delays_neither_another_issuer_nor_the_end() {
    let (slow, quick, web) = (Ca::new("Slow"), Ca::new("Quick"), Web::start());
    let leaves = [slow.issue(), quick.issue()];
    web.publishes(&slow);
    let issuer = |tenant: Tenant, name: &str, ca: &Ca, sources: &str| {
        tenant.issuer(name, ca, sources, &ca.delegate(Delegate::Proper, KeyKind::P256).lines())
    };
    let tenant = issuer(Tenant::new("crl").set(UNLISTED), "slow", &slow, &crl(&web.url("slow/ca.crl")));
    let tenant = issuer(tenant, "quick", &quick, &format!("index = {:?}\nunlisted = \"unauthorized\"", quick.index()));
    let begun = Instant::now();
    let mut responder = Site::new(&[tenant]).start();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    readiness_says(
        &responder,
        &["crl/slow: ", &web.url("slow/ca.crl"), "is being fetched for the first time", "bytes are here"],
    );
    assert_eq!(status(&responder, &quick, &leaves[1]), Status::Good);
    assert_eq!(status(&responder, &slow, &leaves[0]), Status::error("trylater"));
    quick.revoke(&leaves[1], &[]);
    turns(&responder, &quick, &leaves[1], &Status::Revoked);
    let begun = Instant::now();
    assert!(responder.end_by("TERM").success());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn check_asks_once_and_looks_at_what_is_here_where_nothing_comes() {
    let (ca, mut web) = (Ca::new("CA"), Web::start());
    web.publishes(&ca);
    let site = site(&ca, &crl(&web.url("ca.crl")));
    let url = web.url("ca.crl");
    let checked = site.check();
    assert!(checked.status.success() && checked.text.contains(&format!("from {url}")), "{checked:?}");
    assert!(!site.dir().join("state").exists(), "nothing is kept");
    web.gives("ca.crl", HTML.as_bytes());
    let checked = site.check();
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.text.contains("it begins like HTML") && checked.text.contains("get `tryLater`"), "{checked:?}");

    web.publishes(&ca);
    let synced = site.precompute("sync", &[]);
    assert!(synced.status.success(), "{synced:?}");
    web.ends();
    let checked = site.check();
    assert!(checked.status.success(), "{checked:?}");
    for told in [&*url, "gives no answer", "what it said last, at", "is looked at in its place"] {
        assert!(checked.text.contains(told), "{told}: {checked:?}");
    }
    assert!(!site.check_with(&["--strict"]).status.success());
}

#[test]
fn what_a_source_says_is_shown_from_a_file_a_url_or_a_configuration() {
    let (ca, web) = (Ca::new("CA"), Web::start());
    let [held, revoked, good] = [ca.issue(), ca.issue(), ca.issue()];
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    web.publishes(&ca);
    let tries = |arguments: &[&str]| {
        run(std::process::Command::new(&programs().precompute).args(["source", "try"]).args(arguments))
    };
    let (issuer, file, url) = (ca.certificate(), ca.file("now.crl"), web.url("ca.crl"));
    let (issuer, file) = (issuer.to_str().unwrap(), file.to_str().unwrap());
    for source in [file, &url, &format!("file://{file}")] {
        let tried = tries(&["--issuer", issuer, source, "--serial", &revoked.serial, "--serial", &good.serial]);
        assert!(tried.status.success(), "{tried:?}");
        for line in [
            "a complete CRL with 2 entries",
            "number: 0x01",
            "scope: all certificates of the issuer",
            "reasons: certificateHold 1, keyCompromise 1",
            &format!("first and last serial number: {}, {}", held.serial, revoked.serial),
            "keyCompromise",
            &format!("{}: not listed", good.serial),
        ] {
            assert!(tried.text.contains(line), "{line}: {}", tried.text);
        }
        assert!(tried.text.contains("nextUpdate: 2") && tried.text.contains("(in "), "{}", tried.text);
    }
    let index = tries(&[ca.index().to_str().unwrap(), "--serial", &good.serial]);
    assert!(index.text.contains("an index of `openssl ca` with 3 certificates"), "{index:?}");
    assert!(index.text.contains(&format!("{}: good, valid until", good.serial)), "{index:?}");

    let site = site(&ca, &crl(&url));
    let config = site.config();
    let of_config = tries(&["--config", config.to_str().unwrap()]);
    assert!(
        of_config.status.success() && of_config.text.starts_with(&format!("{url}: a complete CRL")),
        "{of_config:?}"
    );
    web.gives("ca.crl", HTML.as_bytes());
    for (arguments, told) in [
        (&["--config", config.to_str().unwrap()][..], "it begins like HTML"),
        (&["--issuer", issuer, &url], "it begins like HTML"),
        (&[&url], "name its file by --issuer"),
        (&[file], "name its file by --issuer"),
        (&["--issuer", issuer, "ldap://dc/CN=CA"], "is an LDAP URL"),
        (&["--issuer", issuer, "nowhere.crl"], "nowhere.crl: cannot be read"),
    ] {
        let tried = tries(arguments);
        assert!(!tried.status.success() && tried.text.contains(told), "{told}: {tried:?}");
    }
}

#[test]
fn the_delta_that_a_crl_names_is_followed_by_itself_and_check_says_where_it_is_not() {
    let (ca, web) = (Ca::new("CA"), Web::start());
    let (good, revoked) = (ca.issue(), ca.issue());
    // As AD CS names it: with LDAP first, and with spaces as they are.
    let extension = format!("freshestCRL = URI:ldap:///CN=CA?deltaRevocationList,URI:{}", web.url("My CA+.crl"));
    let file = ca.write_crl_with(&extension, "complete.crl");
    web.gives("ca.crl", &fs::read(&file).unwrap());
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    let line = ca.index_fields(&revoked).join("\t") + "\n";
    web.gives("My CA+.crl", &fs::read(ca.write_delta_crl(1, &line, "delta.crl")).unwrap());
    let url = web.url("ca.crl");
    {
        let responder = site(&ca, &crl(&url)).start();
        Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
        Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    }
    let without = site(&ca, &format!("{}\nfetch_deltas = false", crl(&url))).start();
    Ask::about(&ca, &revoked).at(without.http(), "/").expect(Status::Good);

    let issuer = ca.certificate();
    let tried = run(std::process::Command::new(&programs().precompute).args([
        "source",
        "try",
        "--issuer",
        issuer.to_str().unwrap(),
        &url,
        "--serial",
        &revoked.serial,
    ]));
    let delta = format!("the delta CRL that {url} names: a delta CRL to CRL 0x01 with 1 entries");
    assert!(tried.text.contains(&delta) && tried.text.contains("keyCompromise"), "{}", tried.text);
    let told = "names a delta CRL at `http://";
    let of_file = |more: &str| site(&ca, &format!("{}\n{more}", crl(file.to_str().unwrap()))).check().text;
    assert!(of_file("").contains(told), "{}", of_file(""));
    assert!(!of_file("fetch_deltas = false").contains(told));
    // Its server has lost it: the complete CRL goes on.
    fs::remove_file(web.dir.path().join("www/My CA+.crl")).unwrap();
    let checked = site(&ca, &crl(&url)).check();
    assert!(checked.status.success(), "{}", checked.text);
    assert!(checked.text.contains("names as its delta") && checked.text.contains("answers 404"), "{}", checked.text);
}

/// A balancer sent its share of the requests to a server that could only say `tryLater`, beside others that had the CRL.
#[test]
fn a_server_that_never_knew_anything_is_not_ready_and_one_that_did_stays_ready() {
    let (ca, mut web) = (Ca::new("CA"), Web::start());
    let leaf = ca.issue();
    web.publishes(&ca);
    web.ends();
    let site = site(&ca, &crl(&web.url("ca.crl")));
    let command = site.serve();
    let mut responder = site.launch(command);
    until("it says why", PATIENCE, || {
        let reply = exchange(responder.site.admin, &request("GET", "/readyz/ocsp", "")).ok()?;
        (reply.status == 503 && reply.text().starts_with("not ready: nothing is known of any issuer yet")).then_some(())
    });
    assert_eq!(responder.site.precompute("health", &[]).status.code(), Some(1));
    assert_eq!(status(&responder, &ca, &leaf), Status::error("trylater"));
    web.begins();
    responder.until_answered("/readyz/ocsp", PATIENCE);
    turns(&responder, &ca, &leaf, &Status::Good);
    web.ends();
    let responder = responder.kill_and_start_again();
    assert_eq!(status(&responder, &ca, &leaf), Status::Good);
}
