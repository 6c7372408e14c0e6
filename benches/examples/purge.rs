//! How long a relying party may still see *good* after a revocation was acknowledged, by what stands between.
//!
//! `benches/purge [REVOCATIONS]` (default 50): for each set-up so many certificates are asked about, revoked by a push, and asked
//! about again and again until the answer says so. What is measured is the time from the acknowledgement of the push to the
//! first request whose answer says *revoked*.

#![allow(missing_docs, clippy::print_stdout)]

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Cluster, ClusterPlan, Delegate, KeyKind, Nginx, Responder, Site, Status, Tenant, Varnish, free_port,
    http::{self, ocsp_target},
    until,
};

const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// The `max_age` of set-ups without purge: short, so that the measurement ends.
const MAX_AGE: &str = "max_age = \"5s\"";

fn loopback() -> SocketAddr {
    free_port(Ipv4Addr::LOCALHOST.into())
}

fn cache(driver: &str, at: SocketAddr) -> String {
    format!("\n[[purge]]\ndriver = \"{driver}\"\nurl = \"http://{at}/\"\n")
}

/// A responder alone that takes pushes, with these lines of policy and caches.
fn alone(ca: &Ca, policy: &str, caches: &str) -> Site {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::of(ca, &signer).presigned();
    let site = Site::new(&[if policy.is_empty() { tenant } else { tenant.set(policy) }]);
    let token = site.dir().join("api.token");
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let with_token = |text: String| text.replacen("[admin]\n", "[admin]\ntoken_file = \"api.token\"\n", 1);
    site.edit_config(|text| with_token(text) + caches);
    site
}

fn revoke(admin: SocketAddr, issuer: &str, serial: &str) {
    let body = format!("{{\"serial\":\"{serial}\"}}");
    let request = format!(
        "POST /v1/issuers/{issuer}/revoke HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let reply = http::exchange(admin, request.as_bytes()).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Asks through `front` as if nothing was kept on the way to it.
fn seen(ca: &Ca, serials: &[String], admin: SocketAddr, issuer: &str, front: SocketAddr) -> Vec<Duration> {
    let mut took = Vec::new();
    for serial in serials {
        let about = Ask::serial(ca, serial);
        let target = ocsp_target("/", &about.request());
        let get = || http::get(front, &target).body;
        let good = until("it is answered", PATIENCE, || Some(get()).filter(|body| !body.is_empty()));
        about.read(&good).expect(Status::Good);
        // What is kept is given out once more.
        get();
        revoke(admin, issuer, serial);
        let acknowledged = Instant::now();
        // Another answer than before is the revocation; `openssl` reads it once it is here, since that takes milliseconds.
        let revoked = loop {
            let body = get();
            if body != good {
                break body;
            }
        };
        took.push(acknowledged.elapsed());
        about.read(&revoked).expect(Status::Revoked);
    }
    took
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("| {what} | {:.1} | {:.1} | {:.1} |", at(0.5), at(0.99), at(1.0));
}

/// A responder alone and what stands before it; `front` makes that once the responder answers.
fn measure_alone<T>(
    what: &str,
    count: usize,
    (policy, caches): (&str, &str),
    front: impl FnOnce(&Responder) -> (T, SocketAddr),
) {
    let ca = Ca::new("CA");
    let serials = ca.list(count);
    let responder = alone(&ca, policy, caches).start();
    let (_stands, at) = front(&responder);
    settle(&responder.site.admin, caches);
    show(what, seen(&ca, &serials, responder.site.admin, "tests:ca", at));
}

/// Waits until the issuer was purged twice.
fn settle(admin: &SocketAddr, caches: &str) {
    if caches.is_empty() {
        return;
    }
    let purged = |text: String| {
        let mut lines = text.lines().map(str::to_owned);
        lines.any(|line| line.starts_with("ostia_purge_keys_total{") && line.ends_with(" 2"))
    };
    until("the issuer is purged twice", PATIENCE, || purged(http::get(*admin, "/metrics").text()).then_some(()));
}

fn measure_cluster(what: &str, count: usize, driver: &str, vcl: &str) {
    let mut cluster: Cluster = ClusterPlan::of(1, 1).listed(count).start();
    let front = loopback();
    let _varnish = Varnish::start(vcl, front, cluster.replicas[0].site().http);
    cluster.writers[0].restart_with(|text| text + &cache(driver, front));
    cluster.until_led(PATIENCE);
    let admin = cluster.writers[0].site().admin;
    settle(&admin, driver);
    show(what, seen(&cluster.ca, &cluster.listed.clone(), admin, "tests:ca", front));
}

fn main() {
    let count = env::args().nth(1).map_or(50, |count| count.parse().expect("how many"));
    let few = count.min(5);
    println!("| set-up | p50 ms | p99 ms | most |\n|---|---|---|---|");
    measure_alone("straight", count, ("", ""), |responder| ((), responder.http()));
    measure_alone("nginx, max_age 5 s, without purge", few, (MAX_AGE, ""), |responder| {
        let (dir, at) = (tempfile::tempdir().unwrap(), loopback());
        let lines = format!(
            "merge_slashes off; proxy_cache_path {}/kept keys_zone=kept:1m;
             server {{ listen {at}; location / {{ proxy_pass http://{}; proxy_cache kept; }} }}",
            dir.path().display(),
            responder.http()
        );
        let nginx = Nginx::with(dir.path(), &lines);
        until("nginx listens", PATIENCE, || std::net::TcpStream::connect(at).ok());
        ((nginx, dir), at)
    });
    measure_alone("Varnish, max_age 5 s, without purge", few, (MAX_AGE, ""), |responder| {
        let varnish = Varnish::start("varnish.vcl", loopback(), responder.http());
        let at = varnish.address();
        healthy(at);
        (varnish, at)
    });
    for (driver, vcl) in [("varnish-ban", "varnish.vcl"), ("varnish-xkey", "varnish-xkey.vcl")] {
        let front = loopback();
        measure_alone(&format!("Varnish, {driver}, alone"), count, ("", &cache(driver, front)), |responder| {
            let varnish = Varnish::start(vcl, front, responder.http());
            healthy(front);
            (varnish, front)
        });
        measure_cluster(&format!("Varnish, {driver}, before a replica"), count, driver, vcl);
    }
}

/// Waits until Varnish has found its backend.
fn healthy(front: SocketAddr) {
    until("varnish answers", PATIENCE, || {
        http::exchange(front, &http::request("GET", "/", "")).ok().filter(|reply| reply.status == 200)
    });
}
