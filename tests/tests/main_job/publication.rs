//! CRLs and CA certificates beside the answers, fetched with the clients that fetch them: openssl, curl, a cache.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Nginx, Responder, Signer, Site, Status, Tenant,
    der::{self, element, holding},
    free_port,
    http::{self, Reply, get, request},
    openssl, run, until, write_tls_pair,
};

const PATIENCE: Duration = Duration::from_secs(40);

fn publishing(ca: &Ca, crls: &[&Path]) -> String {
    format!("index = {:?}\ncrl = {crls:?}\npublish = [\"crl\", \"ca\"]", ca.index())
}

/// A CA with its signer and a CRL in PEM, which is old enough to be told by its date.
fn authority(name: &str) -> (Ca, Signer, PathBuf) {
    let ca = Ca::new(name);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let crl = ca.write_older_crl("ca.crl");
    (ca, signer, crl)
}

fn site(ca: &Ca, signer: &Signer, crls: &[&Path]) -> Site {
    let tenant = Tenant::new("tests").set("path = \"/pki\"");
    Site::new(&[tenant.issuer("ca", ca, &publishing(ca, crls), &signer.lines())])
}

fn der_of(ca: &Ca, crl: &Path) -> Vec<u8> {
    openssl(ca.dir(), ["crl", "-in", &crl.display().to_string(), "-outform", "DER", "-out", "read.der"]);
    fs::read(ca.file("read.der")).unwrap()
}

fn asked(responder: &Responder, method: &str, target: &str, fields: &str) -> Reply {
    http::exchange(responder.http(), &request(method, target, fields)).unwrap()
}

#[test]
fn what_a_certificate_names_is_there_in_der_with_its_type_and_its_dates() {
    let (ca, signer, crl) = authority("CA");
    let responder = site(&ca, &signer, &[&crl]).start();
    let reply = get(responder.http(), "/pki/ca.crl");
    assert_eq!((reply.status, reply.expect("content-type")), (200, "application/pkix-crl"), "{reply:?}");
    assert!(reply.body == der_of(&ca, &crl), "DER, although the file is PEM");
    let text = openssl(ca.dir(), ["crl", "-in", "ca.crl", "-noout", "-lastupdate", "-nextupdate"]);
    let seconds = |name: &str| {
        let date = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        ostia_tests::bash(ca.dir(), &format!("date -ud '{date}' +%s")).trim().parse::<u64>().unwrap()
    };
    let since = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(reply.date("last-modified"), since + Duration::from_secs(seconds("lastUpdate=")));
    // A day, by openssl's configuration.
    let end = since + Duration::from_secs(seconds("nextUpdate="));
    let max_age = Duration::from_secs(reply.cache_control_seconds("max-age"));
    assert_eq!(reply.date("date") + max_age, end, "{reply:?}");
    assert_eq!(reply.date("expires"), end);
    assert_eq!(reply.expect("accept-ranges"), "bytes");
    let etag = reply.expect("etag");
    assert!(etag.starts_with('"') && etag.len() == 34, "strong: {etag}");
    let surrogate = reply.expect("surrogate-key").split(' ').collect::<Vec<_>>();
    assert_eq!(surrogate[1], format!("{}-crl", surrogate[0]));

    let certificate = get(responder.http(), "/pki/ca.cer");
    assert_eq!((certificate.status, certificate.expect("content-type")), (200, "application/pkix-cert"));
    openssl(ca.dir(), ["x509", "-in", &ca.certificate().display().to_string(), "-outform", "DER", "-out", "ca.der"]);
    assert!(certificate.body == fs::read(ca.file("ca.der")).unwrap());
    let bundle = get(responder.http(), "/pki/ca.p7c");
    assert_eq!((bundle.status, bundle.expect("content-type")), (200, "application/pkcs7-mime"));
    fs::write(ca.file("ca.p7c"), &bundle.body).unwrap();
    let text = openssl(ca.dir(), ["pkcs7", "-inform", "DER", "-in", "ca.p7c", "-print_certs", "-noout"]);
    assert_eq!(text.matches("subject=").count(), 1, "{text}");

    assert!(get(responder.http(), "/pki/").text().contains("GET of /pki/ca.crl returns a CRL"));
    assert!(responder.metric("ostia_requests_total", "issuer=\"ca\",method=\"GET\",result=\"published\"") >= 3.0);
}

#[test]
fn only_what_is_published_is_there_and_ocsp_is_answered_as_ever() {
    let (ca, signer, crl) = authority("CA");
    let leaf = ca.issue();
    let responder = site(&ca, &signer, &[&crl]).start();
    let ask = Ask::about(&ca, &leaf);
    until("the answer", PATIENCE, || (ask.at(responder.http(), "/pki").status == Status::Good).then_some(()));
    ask.read(&get(responder.http(), &http::ocsp_target("/pki", &ask.request())).body).expect(Status::Good);
    // To a published name as well: whoever posts there asks for a status.
    ask.read(&http::post(responder.http(), "/pki/ca.crl", &ask.request()).body).expect(Status::Good);
    for target in
        ["other.crl", "ca+.crl", "ca~7.crl", "CA.crl", "ca.crl.crl", "x/ca.crl", "ca+.cer", "other.p7c", ".crl"]
    {
        let reply = get(responder.http(), &format!("/pki/{target}"));
        assert_eq!((reply.status, reply.expect("cache-control")), (404, "no-store"), "{target}");
    }
    assert_eq!(get(responder.http(), "/ca.crl").status, 404, "below the tenant's path alone");
    assert_eq!(get(responder.http(), "/pki/ca.crl?x=/y.z").status, 200, "a query says nothing");
    assert_eq!(asked(&responder, "DELETE", "/pki/ca.crl", "").status, 405);
    // A reload that takes it away, and one that brings it back.
    responder.reload(|text| text.replace("publish = [\"crl\", \"ca\"]", "publish = [\"ca\"]"));
    until("no CRL", PATIENCE, || (get(responder.http(), "/pki/ca.crl").status == 404).then_some(()));
    assert_eq!(get(responder.http(), "/pki/ca.cer").status, 200);
    responder.reload(|text| text.replace("publish = [\"ca\"]", "publish = [\"crl\"]"));
    until("the CRL", PATIENCE, || (get(responder.http(), "/pki/ca.crl").status == 200).then_some(()));
    assert_eq!(get(responder.http(), "/pki/ca.cer").status, 404);
    assert!(get(responder.http(), "/pki/ca.crl").body == der_of(&ca, &crl));
}

#[test]
fn a_client_that_has_it_is_told_so_and_one_that_wants_a_part_gets_that() {
    let (ca, signer, crl) = authority("CA");
    let responder = site(&ca, &signer, &[&crl]).start();
    let whole = get(responder.http(), "/pki/ca.crl");
    let (etag, modified, length) = (whole.expect("etag"), whole.expect("last-modified"), whole.body.len());
    let with = |fields: String| asked(&responder, "GET", "/pki/ca.crl", &fields);
    for (fields, status) in [
        (format!("If-None-Match: {etag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{etag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {modified}\r\n"), 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(), 200),
        // The tag counts, not the date beside it.
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}\r\n"), 200),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        ("Range: bytes=0--1\r\n".to_owned(), 200),
        ("Range: bytes=0-1,4-5\r\n".to_owned(), 200),
        (format!("Range: bytes=0-9\r\nIf-None-Match: {etag}\r\n"), 304),
        ("Range: bytes=0-9\r\nIf-Range: \"x\"\r\n".to_owned(), 200),
    ] {
        let reply = with(fields.clone());
        assert_eq!(reply.status, status, "{fields}");
        if status == 200 {
            assert!(reply.body == whole.body, "{fields}");
        } else if status == 304 {
            assert_eq!((reply.expect("etag"), reply.header("content-length")), (etag, None));
        }
    }
    for (range, from, to) in [("0-9", 0, 10), ("10-", 10, length), ("-7", length - 7, length)] {
        for fields in ["", &format!("If-Range: {etag}\r\n"), &format!("If-Range: {modified}\r\n")] {
            let reply = with(format!("Range: bytes={range}\r\n{fields}"));
            assert_eq!((reply.status, &reply.body[..]), (206, &whole.body[from..to]), "{range} {fields}");
            assert_eq!(reply.expect("content-range"), format!("bytes {from}-{}/{length}", to - 1));
            assert_eq!(reply.expect("etag"), etag);
        }
    }
    let behind = with(format!("Range: bytes={length}-\r\n"));
    assert_eq!((behind.status, behind.expect("content-range")), (416, &*format!("bytes */{length}")));
    let head = asked(&responder, "HEAD", "/pki/ca.crl", "Range: bytes=0-9\r\n");
    assert_eq!((head.status, head.expect("content-length"), head.body.len()), (200, &*length.to_string(), 0));
    // A download that was cut off is resumed by curl.
    fs::write(ca.file("part.crl"), &whole.body[..100]).unwrap();
    let url = format!("http://{}/pki/ca.crl", responder.http());
    let resumed = run(Command::new("curl").current_dir(ca.dir()).args(["-sf", "-C", "-", "-o", "part.crl", &url]));
    assert!(resumed.status.success(), "{}", resumed.text);
    assert!(fs::read(ca.file("part.crl")).unwrap() == whole.body);
    // And fetched again only if it has changed.
    let status = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.current_dir(ca.dir()).args(["-s", "-o", "again.crl", "-w", "%{http_code}"]).args(arguments).arg(&url);
        run(&mut curl).text
    };
    assert_eq!(status(&["-R"]), "200");
    assert_eq!(status(&["-z", "again.crl"]), "304");
    assert_eq!(status(&["--etag-save", "tag"]), "200");
    assert_eq!(status(&["--etag-compare", "tag"]), "304");
}

/// A reader of DER refuses a CRL in PEM, and openssl one with another media type.
#[test]
fn openssl_fetches_the_crl_that_a_certificate_names_and_finds_it_revoked() {
    let (ca, signer, crl) = authority("CA");
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    ca.write_crl("ca.crl");
    let responder = site(&ca, &signer, &[&crl]).start();
    // As a registration desk would have it: the extension is that of the certificate to be verified.
    let point = format!("crlDistributionPoints = URI:http://{}/pki/ca.crl\n", responder.http());
    fs::write(ca.file("cdp.cnf"), point).unwrap();
    let verified = |leaf: &ostia_tests::Leaf, name: &str| {
        let key = ca.key().display().to_string();
        let own = ca.certificate().display().to_string();
        let serial = format!("0x{}", leaf.serial);
        let (csr, pem) = (format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            ca.dir(),
            ["req", "-new", "-noenc", "-newkey", "rsa:2048", "-keyout", "k.pem", "-subj", "/CN=x", "-out", &csr],
        );
        openssl(
            ca.dir(),
            [
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                &own,
                "-CAkey",
                &key,
                "-set_serial",
                &serial,
                "-extfile",
                "cdp.cnf",
                "-out",
                &pem,
            ],
        );
        let mut verify = Command::new("openssl");
        verify.current_dir(ca.dir()).args(["verify", "-crl_check", "-crl_download", "-CAfile", &own, &pem]);
        run(&mut verify).text
    };
    assert!(verified(&good, "good").contains("good.pem: OK"));
    let text = verified(&revoked, "revoked");
    assert!(text.contains("certificate revoked"), "{text}");
}

#[test]
fn what_is_refused_changes_nothing_and_an_expired_crl_is_served_and_not_kept() {
    let (ca, signer, crl) = authority("CA");
    let responder = site(&ca, &signer, &[&crl]).start();
    let first = get(responder.http(), "/pki/ca.crl");
    let put = |content: &[u8]| {
        fs::write(ca.file("new"), content).unwrap();
        fs::rename(ca.file("new"), &crl).unwrap();
    };
    let kept = fs::read(&crl).unwrap();
    put(b"<html>");
    until("it is refused", PATIENCE, || responder.readiness().1.contains("holds no CRL").then_some(()));
    assert_eq!(
        get(responder.http(), "/pki/ca.crl"),
        Reply { headers: get(responder.http(), "/pki/ca.crl").headers, ..first.clone() }
    );
    // After a restart nothing is known of it until it can be read.
    let responder = responder.kill_and_start_again();
    let reply = get(responder.http(), "/pki/ca.crl");
    assert_eq!((reply.status, reply.expect("cache-control")), (503, "no-store"));
    put(&kept);
    until("it is back", PATIENCE, || (get(responder.http(), "/pki/ca.crl").body == first.body).then_some(()));
    // The next one, which ends at once.
    openssl(
        ca.dir(),
        [
            "ca",
            "-config",
            "openssl.cnf",
            "-gencrl",
            "-crl_lastupdate",
            "20250101000000Z",
            "-crlsec",
            "1",
            "-out",
            "new",
        ],
    );
    let older = fs::read(ca.file("new")).unwrap();
    put(&older);
    until("it is refused", PATIENCE, || responder.readiness().1.contains("is older than the CRL").then_some(()));
    assert!(get(responder.http(), "/pki/ca.crl").body == first.body, "an older one is not published");
    openssl(ca.dir(), ["ca", "-config", "openssl.cnf", "-gencrl", "-crlsec", "1", "-out", "new"]);
    put(&fs::read(ca.file("new")).unwrap());
    until("the next one, and its end", PATIENCE, || {
        let reply = get(responder.http(), "/pki/ca.crl");
        assert_eq!(reply.status, 200);
        (reply.body != first.body && reply.cache_control_seconds("max-age") == 0).then_some(())
    });
}

/// Windows' name of a delta has a plus sign, which clients and servers escape or do not.
#[test]
fn deltas_and_shards_have_names_of_their_own_which_check_tells() {
    let (ca, signer, crl) = authority("CA");
    let leaf = ca.issue();
    ca.revoke(&leaf, &[]);
    let line = ca.index_fields(&leaf).join("\t") + "\n";
    let delta = ca.write_delta_crl(1, &line, "delta.crl");
    let shard = ca.write_part_crl("fullname = URI:http://crl.example/shards/7.crl", "", "shard.crl");
    let site = site(&ca, &signer, &[&shard, &delta, &crl]);
    let checked = site.check();
    assert!(checked.text.contains("publishes "), "{}", checked.text);
    let paths = ["/pki/ca.crl", "/pki/ca+.crl", "/pki/ca~7.crl", "/pki/ca.cer", "/pki/ca.p7c"];
    assert!(paths.iter().all(|path| checked.text.contains(path)), "{}", checked.text);
    let responder = site.start();
    for (target, file) in [
        ("ca.crl", &crl),
        ("ca+.crl", &delta),
        ("ca%2B.crl", &delta),
        ("ca%2b.crl", &delta),
        // A proxy has made a space of the plus sign, and sends it raw.
        ("ca .crl", &delta),
        ("ca~7.crl", &shard),
        ("ca%7E7.crl", &shard),
    ] {
        let reply = get(responder.http(), &format!("/pki/{target}"));
        assert_eq!((reply.status, reply.expect("content-type")), (200, "application/pkix-crl"), "{target}");
        assert!(reply.body == der_of(&ca, file), "{target}");
    }
    assert_eq!(get(responder.http(), "/pki/ca%252B.crl").status, 404, "escaped twice");
}

#[test]
fn a_cache_keeps_it_serves_parts_of_it_and_asks_whether_it_has_changed() {
    let (ca, signer, crl) = authority("CA");
    let tenant = Tenant::new("tests").set("max_age = \"1s\"");
    let site = Site::new(&[tenant.issuer("ca", &ca, &publishing(&ca, &[&crl]), &signer.lines())]);
    let responder = site.start();
    let (dir, front) = (tempfile::tempdir().unwrap(), free_port(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let _nginx = Nginx::with(
        dir.path(),
        &format!(
            "proxy_cache_path {0}/cache keys_zone=c:1m;\nserver {{\nlisten {front};\nlocation / {{\nproxy_pass http://{1};\nproxy_cache c;\nproxy_cache_revalidate on;\nadd_header X-Cache $upstream_cache_status always;\n}}\n}}",
            dir.path().display(),
            responder.http()
        ),
    );
    until("nginx listens", PATIENCE, || TcpStream::connect(front).ok());
    let first = get(front, "/ca.crl");
    assert_eq!((first.status, first.expect("x-cache")), (200, "MISS"));
    let part = http::exchange(front, &request("GET", "/ca.crl", "Range: bytes=5-9\r\n")).unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &first.body[5..10]), "{part:?}");
    until("it asks, and hears that nothing has changed", PATIENCE, || {
        let reply = get(front, "/ca.crl");
        assert!(reply.body == first.body);
        (reply.expect("x-cache") == "REVALIDATED").then_some(())
    });
    ca.write_crl("ca.crl");
    let next = der_of(&ca, &crl);
    until("the next one", PATIENCE, || (get(front, "/ca.crl").body == next).then_some(()));
    assert!(responder.metric("ostia_requests_total", "issuer=\"ca\",method=\"GET\",result=\"not_modified\"") >= 1.0);
}

/// A CRL with `padding` bytes in an extension that nobody has to understand, signed by the CA.
fn large_crl(ca: &Ca, crl: &Path, padding: usize) -> Vec<u8> {
    let small = der_of(ca, crl);
    let list = der::only(0x30, &small);
    let [tbs, algorithm, _] = der::elements(list.content)[..] else { panic!("{list:?}") };
    let fields = der::elements(tbs.content);
    let (extensions, others) = fields.split_last().unwrap();
    let content = der::only(0x30, extensions.content).content;
    let more = holding(0x30, &[&der::oid("1.3.6.1.4.1.99999.7"), &element(4, &vec![7; padding])]);
    let extensions = holding(0xa0, &[&holding(0x30, &[content, &more])]);
    let mut parts: Vec<&[u8]> = others.iter().map(|field| field.whole).collect();
    parts.push(&extensions);
    let tbs = holding(0x30, &parts);
    fs::write(ca.file("tbs"), &tbs).unwrap();
    openssl(ca.dir(), ["dgst", "-sha256", "-sign", &ca.key().display().to_string(), "-out", "signature", "tbs"]);
    let signature = [&[0], &fs::read(ca.file("signature")).unwrap()[..]].concat();
    holding(0x30, &[&tbs, algorithm.whole, &element(3, &signature)])
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn begin(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&request("GET", target, "Connection: close\r\n")).unwrap();
    stream
}

#[test]
fn a_hundred_slow_readers_of_a_hundred_megabytes_share_one_copy() {
    const OCTETS: usize = 100 << 20;
    const READERS: usize = 100;
    let (ca, signer, crl) = authority("CA");
    let large = large_crl(&ca, &crl, OCTETS);
    fs::write(ca.file("large.der"), &large).unwrap();
    fs::rename(ca.file("large.der"), &crl).unwrap();
    let site = site(&ca, &signer, &[&crl]);
    let secure = free_port(site.http.ip());
    write_tls_pair(site.dir(), secure.ip(), &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    site.edit_config(|config| {
        let tls = format!("\n[tls]\nlisten = [\"{secure}\"]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n[admin]");
        config.replacen("\n[admin]", &tls, 1)
    });
    let (dir, responder) = (site.dir().to_owned(), site.start());
    let one = http::exchange_within(
        responder.http(),
        &request("GET", "/pki/ca.crl", "Range: bytes=104857000-104857009\r\n"),
        PATIENCE,
    );
    assert_eq!(one.unwrap().body, large[104_857_000..104_857_010]);
    let before = resident(responder.pid());
    let mut readers: Vec<_> = (0..READERS).map(|_| begin(responder.http(), "/pki/ca.crl")).collect();
    let mut piece = vec![0; 64 << 10];
    for _ in 0..4 {
        for reader in &mut readers {
            reader.read_exact(&mut piece).unwrap();
        }
    }
    let beside = Instant::now();
    let ask = asked(&responder, "HEAD", "/pki/ca.crl", "");
    assert_eq!((ask.status, ask.expect("content-length")), (200, &*large.len().to_string()));
    assert!(beside.elapsed() < PATIENCE / 2, "nobody waits behind them");
    let grown = resident(responder.pid()).saturating_sub(before);
    assert!(grown < OCTETS / 2, "{} MiB for {READERS} readers", grown >> 20);
    // Each gets on where it is; one of them to the end.
    let mut whole = Vec::new();
    let mut last = begin(responder.http(), "/pki/ca.crl");
    last.read_to_end(&mut whole).unwrap();
    assert!(whole.ends_with(&large), "{} bytes", whole.len());
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--cacert", "cert.pem", "-o", "got", &format!("https://{secure}/pki/ca.crl")]);
    let fetched = run(curl.current_dir(&dir));
    assert!(fetched.status.success(), "{}", fetched.text);
    assert!(fs::read(dir.join("got")).unwrap() == large);
}
