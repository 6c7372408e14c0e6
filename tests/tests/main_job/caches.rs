//! Caches before a service that tells them of changes: real Varnish and nginx, and vendors that a server stands for which
//! records what it is told.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, Haproxy, KeyKind, Leaf, Nginx, Recorded, Recorder, Responder, Said, Site, Status, Tenant,
    Varnish, free_port,
    http::{self, ocsp_target},
    run, until,
};
use serde_json::json;

use crate::{
    fetching::certify,
    pushes::{ask, issuer, with_api},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// A second purge that does not come while a test looks.
const NEVER: &str = "again_after = \"10m\"\n";
const DONE: Said = Said::This(200, "", "done");

fn loopback() -> SocketAddr {
    free_port(Ipv4Addr::LOCALHOST.into())
}

/// A site that takes pushes, with these caches.
fn site(ca: &Ca, caches: &str) -> Site {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = with_api(Site::new(&[Tenant::of(ca, &signer)]));
    site.edit_config(|text| format!("{text}\n{caches}"));
    site
}

fn cache(driver: &str, url: &str, lines: &str) -> String {
    format!("[[purge]]\ndriver = {driver:?}\nurl = {url:?}\n{lines}\n")
}

fn told_of(recorder: &Recorder, lines: &str) -> String {
    let body = "method = \"PURGE\"\nheaders = [\"X-Keys: {keys}\"]\n";
    cache("template", &format!("http://{}/", recorder.address()), &format!("{body}{lines}"))
}

#[track_caller]
fn revoke(responder: &Responder, leaf: &Leaf) {
    let path = format!("/v1/issuers/{}/revoke", issuer(responder));
    let (status, said) = ask(responder, "POST", &path, &json!({ "serial": leaf.serial }).to_string());
    assert_eq!(status, 200, "{said}");
}

/// Keys that were purged, each as often as it was.
fn keys(recorder: &Recorder) -> Vec<String> {
    let of = |recorded: Recorded| recorded.header("x-keys").unwrap().split(' ').map(str::to_owned).collect::<Vec<_>>();
    recorder.seen().into_iter().flat_map(of).collect()
}

/// The keys of an answer: the issuer's and its own.
fn keys_of(responder: &Responder, ca: &Ca, leaf: &Leaf) -> [String; 2] {
    let reply = http::get(responder.http(), &ocsp_target("/", &Ask::about(ca, leaf).request()));
    let keys: Vec<_> = reply.expect("surrogate-key").split(' ').map(str::to_owned).collect();
    keys.try_into().unwrap()
}

fn until_told(recorder: &Recorder, key: &str, times: usize) {
    let count = || keys(recorder).iter().filter(|told| *told == key).count();
    until(&format!("{key} is purged {times} times"), PATIENCE, || (count() >= times).then_some(()));
}

#[test]
fn a_revocation_shows_through_varnish_which_is_told_of_it_and_keeps_all_others() {
    for (driver, vcl) in [("varnish-ban", "varnish.vcl"), ("varnish-xkey", "varnish-xkey.vcl")] {
        let ca = Ca::new("CA");
        let leaves = [(); 4].map(|()| ca.issue());
        let front = loopback();
        let site = site(&ca, &cache(driver, &format!("http://{front}/"), NEVER));
        let varnish = Varnish::start(vcl, front, site.http);
        let responder = site.start();
        let about = leaves.each_ref().map(|leaf| Ask::about(&ca, leaf));
        let get = |place: usize| varnish.get(&ocsp_target("/", &about[place].request()));
        // The issuer is purged once at the start.
        let label = format!("cache=\"{front}\"");
        let purged = || responder.metric("ostia_purge_keys_total", &label) as u64;
        until("the issuer is purged", PATIENCE, || (purged() == 1).then_some(()));
        until("varnish answers", PATIENCE, || {
            let request = http::request("GET", &ocsp_target("/", &about[0].request()), "");
            http::exchange(front, &request).ok().filter(|reply| reply.status == 200)
        });
        (0..leaves.len()).for_each(|place| drop(get(place)));
        assert!((0..leaves.len()).all(|place| get(place).1), "{driver}: all of them are kept");
        for place in [0, 1] {
            about[place].read(&get(place).0.body).expect(Status::Good);
            let begin = Instant::now();
            revoke(&responder, &leaves[place]);
            let acknowledged = Instant::now();
            until("it shows through the cache", PATIENCE, || {
                (about[place].read(&get(place).0.body).status == Status::Revoked).then_some(())
            });
            eprintln!("{driver}: {:?} after the acknowledgement, {:?} in all", acknowledged.elapsed(), begin.elapsed());
        }
        assert!([2, 3].iter().all(|place| get(*place).1), "{driver}: the others are kept");
        assert_eq!((purged(), responder.metric("ostia_purge_waiting", &label)), (3, 0.0), "{driver}");
        assert_eq!(responder.metric("ostia_purge_latency_seconds_count", &label), 3.0);
        assert_eq!(responder.readiness().1, "ready\n");
    }
}

#[test]
fn nginx_gives_out_an_old_answer_until_its_max_age_is_over_and_no_longer() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let site = with_api(Site::new(&[Tenant::of(&ca, &signer).set("max_age = \"3s\"")]));
    let responder = site.start();
    let (dir, front) = (tempfile::tempdir().unwrap(), loopback());
    let lines = format!(
        "merge_slashes off; proxy_cache_path {}/kept keys_zone=kept:1m;
         server {{ listen {front}; location / {{ proxy_pass http://{}; proxy_cache kept; add_header X-Kept $upstream_cache_status; }} }}",
        dir.path().display(),
        responder.http()
    );
    let _nginx = Nginx::with(dir.path(), &lines);
    let about = Ask::about(&ca, &leaf);
    let get = || http::exchange(front, &http::request("GET", &ocsp_target("/", &about.request()), ""));
    until("nginx answers", PATIENCE, || get().ok().filter(|reply| reply.status == 200));
    // One that is fetched now is given out after the revocation as well.
    until("it is fetched anew", PATIENCE, || (get().unwrap().expect("x-kept") != "HIT").then_some(()));
    let fetched = Instant::now();
    revoke(&responder, &leaf);
    let reply = get().unwrap();
    // A machine that stands still for three seconds proves nothing.
    if fetched.elapsed() < Duration::from_secs(2) {
        assert_eq!(reply.expect("x-kept"), "HIT");
        about.read(&reply.body).expect(Status::Good);
    }
    until("max-age is over", PATIENCE, || (about.read(&get().unwrap().body).status == Status::Revoked).then_some(()));
}

/// A request but for what is new each time, as it is compared.
fn written(recorded: &Recorded) -> String {
    let is_signature = |line: &&String| !line.starts_with("authorization: EG1-HMAC-SHA256 ");
    let headers: Vec<_> = recorded.headers.iter().filter(is_signature).cloned().collect();
    format!("{}\n{}\n\n{}", recorded.line, headers.join("\n"), recorded.body)
}

fn write_secret(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn each_vendor_gets_the_request_of_its_documents_over_tls() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let success =
        "{\"success\":true,\"errors\":[],\"messages\":[],\"result\":{\"id\":\"023e105f4ecef8ad9ca31a8372d0c353\"}}";
    let recorder = Recorder::start(Said::This(201, "Content-Type: application/json\r\n", success));
    let (tls, dir) = (loopback(), tempfile::tempdir().unwrap());
    certify(dir.path(), tls.ip());
    let pair = ["web.pem", "web.key"].map(|name| fs::read_to_string(dir.path().join(name)).unwrap()).concat();
    write_secret(dir.path(), "pair.pem", &pair);
    let lines = format!("  bind {tls} ssl crt pair.pem\n  server vendor {}\n", recorder.address());
    let _haproxy = Haproxy::start(dir.path(), &lines);
    write_secret(dir.path(), "token", "vendors-token-7391\n");
    let edgerc = "[default]\nclient_secret = c2VjcmV0LTczOTE=\nhost = 127.0.0.1\naccess_token = akab-access-7391\nclient_token = akab-client-7391\n";
    write_secret(dir.path(), "edgerc", edgerc);
    let target = |driver: &str, path: &str, secret: &str, lines: &str| {
        let file = format!("credentials_file = {:?}\n", dir.path().join(secret));
        let trust = format!("tls_ca = {:?}\nname = {driver:?}\n", dir.path().join("root.pem"));
        cache(driver, &format!("https://{tls}{path}"), &format!("{file}{trust}{NEVER}{lines}"))
    };
    let template = "method = \"PATCH\"\nheaders = [\"X-Token: {credentials}\", \"Content-Type: text/plain\"]\nbody = \"{keys_by_comma}\"";
    let caches = [
        target("fastly", "/service/SU1Z0isxPaozGVKXdv0eY/purge", "token", "soft = true"),
        target("cloudflare", "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache", "token", ""),
        target("akamai", "/ccu/v3/invalidate/tag/production", "edgerc", ""),
        target("template", "/flush?now", "token", template),
    ];
    let site = site(&ca, &caches.concat());
    until("haproxy listens", PATIENCE, || std::net::TcpStream::connect(tls).ok());
    let checked = site.check();
    assert!(checked.status.success() && !checked.text.contains("the cache"), "{}", checked.text);
    assert_eq!(recorder.seen().len(), 4, "each is tried out");
    let responder = site.start();
    until("the issuer is purged everywhere", PATIENCE, || (recorder.seen().len() == 8).then_some(()));
    let [whole, key] = keys_of(&responder, &ca, &leaf);
    revoke(&responder, &leaf);
    until("all have been told", PATIENCE, || (recorder.seen().len() == 12).then_some(()));
    let written: BTreeSet<_> = recorder.seen().iter().map(written).collect();
    let agent = "user-agent: ostia/0.2.0";
    let json = |length: usize| format!("content-type: application/json\ncontent-length: {length}\nhost: {tls}");
    for (key, length) in [(&key, key.len()), (&whole, whole.len())] {
        for wanted in [
            format!(
                "POST /service/SU1Z0isxPaozGVKXdv0eY/purge HTTP/1.1\n{agent}\nfastly-key: vendors-token-7391\naccept: application/json\nfastly-soft-purge: 1\n{}\n\n{{\"surrogate_keys\":[\"{key}\"]}}",
                json(23 + length)
            ),
            format!(
                "POST /client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache HTTP/1.1\n{agent}\nauthorization: Bearer vendors-token-7391\n{}\n\n{{\"tags\":[\"{key}\"]}}",
                json(13 + length)
            ),
            format!(
                "POST /ccu/v3/invalidate/tag/production HTTP/1.1\n{agent}\n{}\n\n{{\"objects\":[\"{key}\"]}}",
                json(16 + length)
            ),
            format!(
                "PATCH /flush?now HTTP/1.1\n{agent}\nx-token: vendors-token-7391\ncontent-type: text/plain\ncontent-length: {length}\nhost: {tls}\n\n{key}"
            ),
        ] {
            let sorted = |text: &str| {
                let (head, body) = text.split_once("\n\n").unwrap();
                let (line, headers) = head.split_once('\n').unwrap();
                let headers: BTreeSet<_> = headers.lines().map(str::to_ascii_lowercase).collect();
                (line.to_owned(), headers, body.to_owned())
            };
            let is_there = written.iter().any(|written| {
                let (mut written, wanted) = (sorted(written), sorted(&wanted));
                // What a client of HTTP says of its own.
                let own = written
                    .1
                    .clone()
                    .into_iter()
                    .filter(|line| line == "accept: */*" || line.starts_with("accept-encoding: "));
                own.for_each(|line| _ = written.1.remove(&line));
                if !wanted.1.contains("accept: application/json") {
                    written.1.remove("accept: application/json");
                }
                written == wanted
            });
            assert!(is_there, "no\n{wanted}\nin\n{written:#?}");
        }
    }
    recorder
        .seen()
        .iter()
        .filter(|recorded| recorded.line.contains("/ccu/"))
        .for_each(|recorded| verify(recorded, &tls));
    let shown = responder.log() + &responder.metrics() + &responder.readiness().1;
    assert!(!shown.contains("7391") && !shown.contains("c2VjcmV0"), "{shown}");
}

/// Akamai's signature, made once more by somebody else: Python's own hashes.
fn verify(recorded: &Recorded, host: &SocketAddr) {
    let header = recorded.header("authorization").unwrap();
    let (begin, signature) = header.rsplit_once("signature=").unwrap();
    assert!(
        begin.starts_with("EG1-HMAC-SHA256 client_token=akab-client-7391;access_token=akab-access-7391;timestamp=")
    );
    let program = "
import base64, hashlib, hmac, sys
begin, host, body = sys.argv[1:]
mac = lambda key, data: base64.b64encode(hmac.new(key, data, hashlib.sha256).digest())
timestamp = begin.split('timestamp=')[1].split(';')[0]
digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
data = '\\t'.join(['POST', 'https', host, '/ccu/v3/invalidate/tag/production', '', digest, begin])
print(mac(mac(b'c2VjcmV0LTczOTE=', timestamp.encode()), data.encode()).decode())
";
    let made = run(Command::new("python3").args(["-c", program, begin, &host.to_string(), &recorded.body]));
    assert_eq!(made.text.trim(), signature, "{header}");
}

/// Whatever a cache says, it is told again until it has done what it was asked to, and nobody waits for it.
#[test]
fn a_cache_that_refuses_hangs_or_is_away_delays_nobody_and_loses_nothing() {
    let ca = Ca::new("CA");
    let leaves = [(); 9].map(|()| ca.issue());
    let (faulty, fine) = (Recorder::start(DONE), Recorder::start(DONE));
    let away = loopback();
    let caches = [
        told_of(&faulty, "name = \"faulty\"\nagain_after = \"10m\""),
        told_of(&fine, "name = \"fine\"\nagain_after = \"10m\""),
        cache("varnish-ban", &format!("http://{away}/"), "name = \"away\""),
    ];
    let site = site(&ca, &caches.concat());
    site.edit_config(|text| text.replacen("[admin]\n", "[journal]\npath = \"journal.jsonl\"\n[admin]\n", 1));
    let responder = site.start();
    let metric = |name: &str, cache: &str| responder.metric(name, &format!("cache=\"{cache}\""));
    until("the issuer is purged", PATIENCE, || (faulty.seen().len() == 1 && fine.seen().len() == 1).then_some(()));
    let faults = [
        (
            Said::This(429, "Retry-After: 1\r\n", "slow down"),
            "answered 429: too many requests; `per_minute` sets fewer; it said: slow down",
        ),
        (Said::This(500, "", ""), "answered 500"),
        (Said::This(302, "Location: http://127.0.0.1:1/\r\n", ""), "answered 302: it leads elsewhere"),
        (Said::This(401, "", "who are you?"), "it does not accept `credentials_file`"),
        (Said::Closed, "gives no answer"),
        (Said::Nothing, "gives no answer: timeout"),
    ];
    for ((said, problem), leaf) in faults.into_iter().zip(&leaves) {
        let [_, key] = keys_of(&responder, &ca, leaf);
        faulty.say([], said);
        revoke(&responder, leaf);
        until_told(&fine, &key, 1);
        let complaint = until("it is told", PATIENCE, || {
            let lines = responder.readiness().1;
            lines.lines().find(|line| line.contains("the cache `faulty`") && line.contains(problem)).map(str::to_owned)
        });
        assert!(
            complaint.starts_with("degraded: the cache `faulty` has not been told of 1 changed answers"),
            "{complaint}"
        );
        assert_eq!((metric("ostia_purge_waiting", "faulty"), metric("ostia_purge_waiting", "fine")), (1.0, 0.0));
        let before = keys(&faulty).iter().filter(|told| **told == key).count();
        faulty.say([], DONE);
        until_told(&faulty, &key, before.max(1));
        until("it is told again", PATIENCE, || (metric("ostia_purge_failing", "faulty") == 0.0).then_some(()));
        assert_eq!(metric("ostia_purge_waiting", "faulty"), 0.0, "{problem}");
    }
    // The one that was never there.
    assert!(metric("ostia_purge_failures_total", "away") >= 2.0 && metric("ostia_purge_failing", "away") == 1.0);
    assert!(metric("ostia_purge_oldest_seconds", "away") > 0.0);
    let log = responder.log();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    // One line for each time that it begins to fail, whatever the number of tries; and one for each end of it.
    assert_eq!(
        (lines("\"cache\":\"faulty\""), lines("is told of changes again"), lines("\"cache\":\"away\"")),
        (12, 6, 1),
        "{log}"
    );
    let varnish = Varnish::start("varnish.vcl", away, responder.http());
    until("it is told as well", PATIENCE, || (metric("ostia_purge_waiting", "away") == 0.0).then_some(()));
    drop(varnish);
    let dir = responder.site.dir().to_owned();
    let kept = until("the journal has it", PATIENCE, || {
        let text = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
        (text.matches("\"type\":\"purge_failed\"").count() >= 7).then_some(text)
    });
    assert!(kept.contains("\"type\":\"purge\",\"cache\":\"fine\",\"count\":1,\"keys\":[\""), "{kept}");
}

#[test]
fn ten_thousand_revocations_are_one_purge_of_the_issuer() {
    let ca = Ca::new("CA");
    ca.list(10_000);
    let recorder = Recorder::start(DONE);
    let responder = site(&ca, &told_of(&recorder, "batch = 4")).start();
    until("the issuer is purged", PATIENCE, || (recorder.seen().len() == 2).then_some(()));
    let whole = keys(&recorder)[0].clone();
    let index = fs::read_to_string(ca.index()).unwrap();
    let revoked =
        index.lines().map(|line| line.replacen("V\t", "R\t", 1).replacen("Z\t\t", "Z\t260101000000Z\t", 1) + "\n");
    ca.replace_index(&revoked.collect::<String>());
    until("all are revoked", PATIENCE, || {
        (responder.metric("ostia_records", "status=\"revoked\"") >= 10_000.0).then_some(())
    });
    until_told(&recorder, &whole, 4);
    let told = keys(&recorder);
    // A few may have been named before there were too many.
    assert!(told.len() < 100, "{} keys in {} requests", told.len(), recorder.seen().len());
}

#[test]
fn a_process_that_was_killed_before_it_could_tell_purges_the_issuer_when_it_is_back() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let recorder = Recorder::start(DONE);
    let responder = site(&ca, &told_of(&recorder, NEVER)).start();
    until("the issuer is purged", PATIENCE, || (recorder.seen().len() == 1).then_some(()));
    let [whole, key] = keys_of(&responder, &ca, &leaf);
    recorder.say([], Said::This(503, "", ""));
    revoke(&responder, &leaf);
    until_told(&recorder, &key, 1);
    let before = recorder.seen().len();
    let responder = responder.kill_and_start_again();
    recorder.say([], DONE);
    let told = || {
        recorder.seen()[before..].iter().filter_map(|seen| seen.header("x-keys").map(str::to_owned)).collect::<Vec<_>>()
    };
    until("it is told what it was not", PATIENCE, || told().contains(&whole).then_some(()));
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);
}

#[test]
fn another_signer_another_policy_and_another_cache_are_purged_as_a_whole_by_a_reload() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let other = ca.delegate(Delegate::Proper, KeyKind::P256);
    let (recorder, later) = (Recorder::start(DONE), Recorder::start(DONE));
    let responder = site(&ca, &told_of(&recorder, NEVER)).start();
    until("the issuer is purged", PATIENCE, || (recorder.seen().len() == 1).then_some(()));
    let [whole, key] = keys_of(&responder, &ca, &leaf);
    let is_signer = |line: &str| line.starts_with("certificate = ") || line.starts_with("key = ");
    responder.reload(|text| {
        let (before, after) =
            text.split_once("[[tenant.issuer.signer]]").or_else(|| text.split_once("[tenant.issuer.signer]")).unwrap();
        let (_, after): (Vec<&str>, Vec<&str>) = after.lines().partition(|line| is_signer(line));
        format!("{before}[tenant.issuer.signer]\n{}{}", other.lines(), after.join("\n"))
    });
    until_told(&recorder, &whole, 2);
    // A reload that changes nothing purges nothing, and one more cache is told of everything.
    responder.reload(|text| text + &told_of(&later, "name = \"later\""));
    until_told(&later, &whole, 1);
    revoke(&responder, &leaf);
    until_told(&later, &key, 2);
    until_told(&recorder, &key, 1);
    assert_eq!(keys(&recorder), [whole.clone(), whole, key]);
}

/// Nobody answers for it here any more, and what caches have of it would be given out until max-age is over.
#[test]
fn an_issuer_that_leaves_the_configuration_is_purged_also_of_a_cache_that_no_longer_names_its_tenant() {
    let (ca, leaving) = (Ca::new("CA"), Ca::new("Leaving"));
    let [leaf, other] = [&ca, &leaving].map(Ca::issue);
    let recorders = [(); 2].map(|()| Recorder::start(DONE));
    let signer = |ca: &Ca| ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("index = {:?}", leaving.index());
    let second =
        Tenant::new("second").set("path = \"/second\"").issuer("ca", &leaving, &sources, &signer(&leaving).lines());
    let first = Tenant::of(&ca, &signer(&ca)).set("path = \"/first\"");
    let site = with_api(Site::new(&[first, second.clone()]));
    let of_both = "name = \"both\"\ntenants = [\"tests\", \"second\"]\nagain_after = \"10m\"\n";
    let caches = told_of(&recorders[0], NEVER) + &told_of(&recorders[1], of_both);
    site.edit_config(|text| text + &caches);
    let responder = site.start();
    let key = |path: &str, ca: &Ca, leaf: &Leaf| {
        let reply = http::get(responder.http(), &ocsp_target(path, &Ask::about(ca, leaf).request()));
        reply.expect("surrogate-key").split(' ').next().unwrap().to_owned()
    };
    let (stays, leaves) = (key("/first/", &ca, &leaf), key("/second/", &leaving, &other));
    recorders.iter().for_each(|recorder| {
        [&stays, &leaves].iter().for_each(|key| until_told(recorder, key, 1));
    });
    responder.reload(|text| {
        let without = text.replace(&second.text(), "");
        assert_ne!(without, text, "it is there");
        without.replace("tenants = [\"tests\", \"second\"]", "tenants = [\"tests\"]")
    });
    recorders.iter().for_each(|recorder| until_told(recorder, &leaves, 2));
    assert_eq!(keys(&recorders[0]).iter().filter(|told| **told == stays).count(), 1, "the other is not purged");
}

#[test]
fn a_new_crl_purges_the_crls_of_its_issuer_and_no_answer() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let crl = ca.write_older_crl("ca.crl");
    let lines = format!("index = {:?}\ncrl = {crl:?}\npublish = [\"crl\"]", ca.index());
    let site = Site::new(&[Tenant::new("tests").issuer("ca", &ca, &lines, &signer.lines())]);
    let (front, recorder) = (loopback(), Recorder::start(DONE));
    let varnish = Varnish::start("varnish.vcl", front, site.http);
    let caches = cache("varnish-ban", &format!("http://{front}/"), NEVER) + &told_of(&recorder, NEVER);
    site.edit_config(|text| text + &caches);
    let responder = site.start();
    let [whole, _] = keys_of(&responder, &ca, &leaf);
    let label = format!("cache=\"{front}\"");
    let purged = || responder.metric("ostia_purge_keys_total", &label) as u64;
    until("the issuer is purged", PATIENCE, || (purged() == 1).then_some(()));
    let answer = ocsp_target("/", &Ask::about(&ca, &leaf).request());
    until("varnish answers", PATIENCE, || {
        http::exchange(front, &http::request("GET", &answer, "")).ok().filter(|reply| reply.status == 200)
    });
    until("both are kept", PATIENCE, || (varnish.get(&answer).1 && varnish.get("/ca.crl").1).then_some(()));
    let old = varnish.get("/ca.crl").0.body;
    // The same certificates: no record changes.
    ca.write_crl("ca.crl");
    until("the new one is given out", PATIENCE, || (varnish.get("/ca.crl").0.body != old).then_some(()));
    assert_eq!(varnish.get("/ca.crl").0.body, http::get(responder.http(), "/ca.crl").body);
    assert!(varnish.get(&answer).1, "the answer is kept");
    until_told(&recorder, &format!("{whole}-crl"), 1);
    assert_eq!(keys(&recorder), [whole.clone(), format!("{whole}-crl")]);
}

/// A cache may fetch the old answer once more after it was purged: from a replica that lags. Then the second purge removes it.
#[test]
fn an_old_answer_that_varnish_fetched_once_more_is_purged_again() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let front = loopback();
    let site = site(&ca, &cache("varnish-ban", &format!("http://{front}/"), "again_after = \"5s\""));
    // What is purged is an answer of another origin, which lags.
    let is_new = Arc::new(AtomicBool::new(false));
    let (responder, origin) = (site.start(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let [whole, key] = keys_of(&responder, &ca, &leaf);
    let varnish = Varnish::start("varnish.vcl", front, origin.local_addr().unwrap());
    let lags = Arc::clone(&is_new);
    thread::spawn(move || {
        for mut stream in origin.incoming().map_while(Result::ok) {
            let body = if lags.load(SeqCst) { "new" } else { "old" };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\nCache-Control: max-age=3600\r\nSurrogate-Key: {whole} {key}\r\n\r\n{body}").as_bytes(),
            );
        }
    });
    let label = format!("cache=\"{front}\"");
    let purged = || responder.metric("ostia_purge_keys_total", &label) as u64;
    // The issuer, twice.
    until("the issuer is purged twice", PATIENCE, || (purged() == 2).then_some(()));
    until("it is kept", PATIENCE, || varnish.get("/x").1.then_some(()));
    revoke(&responder, &leaf);
    until("it is purged", PATIENCE, || (purged() == 3).then_some(()));
    let (reply, is_kept) = varnish.get("/x");
    assert_eq!((reply.text().as_str(), is_kept), ("old", false), "it was purged, and the origin lags");
    is_new.store(true, SeqCst);
    assert_eq!(varnish.get("/x").0.text(), "old", "and the cache keeps that");
    until("the second purge", PATIENCE, || (varnish.get("/x").0.text() == "new").then_some(()));
    assert_eq!(purged(), 4);
}

#[test]
fn check_tries_caches_out_and_says_what_is_wrong_with_them() {
    let ca = Ca::new("CA");
    ca.issue();
    let recorder = Recorder::start(Said::This(403, "", ""));
    let away = loopback();
    let caches = [
        cache("varnish-xkey", &format!("http://{}/", recorder.address()), "name = \"one\""),
        cache("varnish-ban", &format!("http://{away}/"), "name = \"two\""),
    ];
    let site = site(&ca, &caches.concat());
    for checked in [site.check(), site.precompute("check", &[])] {
        assert!(checked.status.success(), "{}", checked.text);
        for said in
            ["answered 403: its acl `purgers` has to name this server", "gives no answer: io: Connection refused"]
        {
            assert!(checked.text.contains(said), "no `{said}` in {}", checked.text);
        }
    }
    let told = recorder.seen();
    assert_eq!(told[0].header("xkey-purge"), Some("0000000000000000-01"));
    // Nobody's answers, so nobody's cache is emptied by a check.
    assert_eq!(told.len(), 2);
}

#[test]
fn purge_by_hand_tells_the_caches_that_are_meant_what_is_meant() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    let recorders = [(); 2].map(|()| Recorder::start(DONE));
    let lines = ["name = \"one\"", "name = \"two\"\ntenants = [\"tests\"]"];
    let caches: String = recorders.iter().zip(lines).map(|(recorder, lines)| told_of(recorder, lines)).collect();
    // No service runs.
    let site = site(&ca, &caches);
    let purge = |arguments: &[&str]| site.precompute("purge", arguments);
    let told = || recorders.each_ref().map(|recorder| keys(recorder).len());
    let done = purge(&["--all"]);
    assert!(done.status.success() && told() == [1, 1], "{}", done.text);
    let whole = keys(&recorders[0])[0].clone();
    assert!(done.text.contains(&format!("one: purged {whole} in ")), "{}", done.text);
    let done = purge(&["--issuer", "tests:ca", "--cache", "two", &leaf.serial, "0A1B"]);
    assert!(done.status.success() && told() == [1, 3], "{}", done.text);
    assert!(keys(&recorders[1])[1..].iter().all(|key| key.starts_with(&format!("{whole}-"))));
    for (arguments, code, said) in [
        (&[][..], 2, "--all"),
        (&["--all", "--cache", "three"], 1, "no cache is called `three`; there are `one`, `two`"),
        (&["--issuer", "other"], 2, "no issuer is called `other`; there are tests:ca"),
        (&["--issuer", "ca", "xyz"], 2, "a serial number is"),
        (&["--all", "0A"], 2, "--issuer"),
    ] {
        let refused = purge(arguments);
        assert!(refused.status.code() == Some(code) && refused.text.contains(said), "{arguments:?}: {refused:?}");
    }
    recorders[0].say([], Said::This(500, "", "out of order"));
    let refused = purge(&["--issuer", "ca"]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.text);
    for said in ["one: the cache answered 500; it said: out of order", "two: purged", "1 of 2 caches were not told"] {
        assert!(refused.text.contains(said), "{}", refused.text);
    }
}
