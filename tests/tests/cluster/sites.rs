//! A second site, whose Redis a relay fills from the first: followed, promoted, and what becomes of the first one's return.
//!
//! The first writer and the first replica are at the first site, with the cluster's Redis; the others at the second.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{
    Cluster, ClusterPlan, Ended, Launched, RedisServer, Status, bash, free_port, http, programs, run, write_tls_pair,
};

use crate::{SOON, revoked, until_logged};

/// How long the writer of a second site has to begin anew what was removed there.
const BEGINS_ANEW_WITHIN: Duration = Duration::from_secs(30);

/// Two sites.
pub(super) struct Sites {
    pub(super) cluster: Cluster,
    redis: RedisServer,
    relay: Option<Launched>,
    dir: tempfile::TempDir,
    /// Of the relay.
    pub(super) admin: SocketAddr,
}

impl Sites {
    /// A writer and a replica at each, all of which have everything.
    pub(super) fn start() -> Self {
        // One replica at each is meant.
        let cluster = ClusterPlan::of(2, 2).set_of_writers("replicas_wanted = 1").set_up();
        let redis = RedisServer::start();
        let (here, there) = (format!("127.0.0.1:{}", cluster.redis.port()), format!("127.0.0.1:{}", redis.port()));
        let moved = |text: String| text.replace(&here, &there);
        cluster.writers[1]
            .site()
            .edit_config(|text| moved(text).replace("takeover_after", "takeover = \"by_hand\"\ntakeover_after"));
        cluster.replicas[1].site().edit_config(moved);
        let kept = "[transparency]\ndirectory = \"said\"\n[http]\n";
        cluster.replicas[0].site().edit_config(|text| text.replacen("[http]\n", kept, 1));
        let (dir, address) = (tempfile::tempdir().unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (admin, snapshots) = (free_port(address), free_port(address));
        let config = format!(
            "version = 1\n[feed]\ncluster = \"tests\"\nredis = \"{there}\"\ntrusted = [{:?}]\nsnapshot_listen = \"{snapshots}\"\nsnapshot_from = [\"http://{}\"]\n[relay]\nredis = \"{here}\"\n[admin]\nlisten = \"{admin}\"\n",
            cluster.trusted(),
            cluster.writers[0].snapshots().unwrap()
        );
        fs::write(dir.path().join("relay.toml"), config).unwrap();
        cluster.replicas[1].site().edit_config(|text| {
            let start = text.find("snapshot_from").unwrap();
            let end = start + text[start..].find('\n').unwrap();
            // It reaches nothing of the first site.
            format!("{}snapshot_from = [\"http://{snapshots}\"]{}", &text[..start], &text[end..])
        });
        let mut sites = Self { cluster, redis, relay: None, dir, admin };
        sites.cluster.writers[0].start();
        sites.cluster.until_led(SOON);
        sites.start_relay();
        sites.cluster.writers[1].start();
        (0..2).for_each(|replica| sites.cluster.replicas[replica].start());
        (0..2).for_each(|replica| sites.cluster.until_filled(replica));
        sites.cluster.until_fresh(SOON);
        sites
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("relay.toml")
    }

    fn start_relay(&mut self) {
        let mut command = Command::new(&programs().precompute);
        command.args(["relay", "--config"]).arg(self.config());
        self.relay = Some(Launched::start(command, &self.dir.path().join("log")));
    }

    /// Has the second writer lead.
    fn promote(&self) -> Ended {
        let config = self.cluster.writers[1].site().config();
        run(Command::new(&programs().precompute).args(["promote", "--config"]).arg(config))
    }

    /// What the relay says of itself; `None` if it does not answer.
    fn says(&self) -> Option<(u16, String)> {
        let reply = http::exchange(self.admin, &http::request("GET", "/readyz", "")).ok()?;
        Some((reply.status, reply.text()))
    }

    #[track_caller]
    fn until_it_says(&self, status: u16, what: &str) {
        let says = || self.says().filter(|(told, lines)| *told == status && lines.contains(what)).map(drop);
        self.cluster.until(&format!("the relay says {status} {what}"), SOON, says);
    }

    /// How old the last sign of life is that the relay has copied, in seconds.
    fn age(&self) -> Option<f64> {
        let metrics = http::exchange(self.admin, &http::request("GET", "/metrics", "")).ok()?.text();
        metrics.lines().find_map(|line| line.strip_prefix("ostia_relay_age_seconds ")?.parse().ok())
    }

    /// All entries of a stream, as they are.
    fn entries(redis: &RedisServer) -> String {
        redis.cli(["XRANGE", Cluster::STREAM, "-", "+"])
    }
}

#[test]
fn a_second_site_follows_entry_for_entry_and_leads_on_when_the_first_is_lost() {
    let mut sites = Sites::start();
    let before = revoked(&sites.cluster);
    sites.until_it_says(200, "copying: both sites have everything up to ");
    sites.cluster.until("both streams are the same, byte for byte", SOON, || {
        let [here, there] = [&sites.cluster.redis, &sites.redis].map(Sites::entries);
        (here == there && here.len() > 100).then_some(())
    });
    // The first site is lost, in the middle of everything.
    let [next, last] = [(); 2].map(|()| sites.cluster.ca.issue().serial);
    sites.cluster.until_said_everywhere(&next, &Status::Good, SOON);
    sites.cluster.until_said_everywhere(&last, &Status::Good, SOON);
    let age = sites.cluster.until("a sign of life is copied", SOON, || sites.age());
    sites.cluster.writers[0].kill();
    sites.cluster.replicas[0].kill();
    sites.cluster.redis.kill();
    sites.until_it_says(503, "not copying: Redis at ");
    assert_eq!(sites.cluster.says(1, &before), Some(Status::Revoked), "it answers on");
    assert_eq!(sites.cluster.leader(), None);
    let begun = Instant::now();
    let promoted = sites.promote();
    assert!(promoted.status.success(), "{promoted:?}\n{}", sites.cluster.logs());
    let led = begun.elapsed();
    sites.cluster.revoke(&next);
    let took = begun.elapsed();
    // For whoever runs it with --nocapture: what the loss costs, and how long until revocations are taken again.
    eprintln!(
        "the last sign of life was {age:.3} s old; another one led after {led:?}, and had taken a push after {took:?}"
    );
    assert!(age < 5.0 && took < SOON, "{age} {took:?}");
    sites.cluster.until_said(1, &next, &Status::Revoked, SOON);
    // The first site is back, and leads there. Nothing of it comes over what the second one says.
    sites.cluster.redis.restart();
    sites.cluster.writers[0].start();
    sites.cluster.until("the first writer leads its own site", SOON, || {
        (sites.cluster.writers[0].feed_metric("ostia_feed_role", "role=\"leading\"")? == 1.0).then_some(())
    });
    sites.until_it_says(503, "a writer was promoted there");
    let own = sites.cluster.writers[1].epoch();
    assert_eq!(sites.cluster.push(1, "revoke", &last).status, 200, "{}", sites.cluster.logs());
    sites.cluster.until_said(1, &last, &Status::Revoked, SOON);
    assert_eq!(sites.cluster.writers[1].epoch(), own, "{}", sites.cluster.logs());
    for serial in [&before, &next, &last] {
        assert_eq!(sites.cluster.says(1, serial), Some(Status::Revoked));
    }
    // Also after a restart of the relay, which then remembers nothing.
    sites.relay = None;
    sites.start_relay();
    sites.until_it_says(503, "a writer was promoted there");
    let log = || fs::read_to_string(sites.dir.path().join("log")).unwrap();
    until_logged(&sites.cluster, "nothing is copied any more: the second site has an entry of its own", log);
}

/// The relay looked where it is when a connection was lost. Where none was it found nothing of a promotion while there was
/// nothing to copy, and put the first site's next leadership over it.
#[test]
fn a_first_site_whose_redis_was_never_away_is_not_copied_over_what_a_promoted_second_one_says() {
    let mut sites = Sites::start();
    let before = revoked(&sites.cluster);
    let next = sites.cluster.ca.issue().serial;
    sites.cluster.until_said_everywhere(&next, &Status::Good, SOON);
    // Its last word says that another one may lead, and comes to the second site as well.
    sites.cluster.writers[0].end_by("TERM");
    let silence = |sites: &Sites| sites.cluster.writers[1].feed_metric("ostia_feed_silence_seconds", "");
    sites.cluster.until("the second writer has nothing to hear", SOON, || (silence(&sites)? > 6.0).then_some(()));
    assert_eq!(sites.cluster.leader(), None, "by hand: {}", sites.cluster.logs());
    let promoted = sites.promote();
    assert!(promoted.status.success(), "{promoted:?}\n{}", sites.cluster.logs());
    sites.until_it_says(503, "a writer was promoted there");
    let own = sites.cluster.writers[1].epoch();
    sites.cluster.writers[0].start();
    sites.cluster.until("the first writer leads its own site", SOON, || {
        (sites.cluster.writers[0].feed_metric("ostia_feed_role", "role=\"leading\"")? == 1.0).then_some(())
    });
    assert_eq!(sites.cluster.push(1, "revoke", &next).status, 200, "{}", sites.cluster.logs());
    sites.cluster.until_said(1, &next, &Status::Revoked, SOON);
    assert_eq!(sites.cluster.writers[1].epoch(), own, "{}", sites.cluster.logs());
    assert_eq!(sites.cluster.says(1, &before), Some(Status::Revoked));
    // What is removed there is for its writer to begin anew. Once that is gone as well, the first site fills it, and not before
    // that one had time to come back.
    sites.redis.cli(["FLUSHALL"]);
    let epoch = || Some(sites.cluster.writers[1].epoch()).filter(|epoch| *epoch > own);
    let anew = sites.cluster.until("the second writer begins anew", SOON, epoch) as u64;
    sites.until_it_says(503, &format!("the second site has an entry of its own, {anew}-"));
    sites.cluster.writers[1].kill();
    let emptied = Instant::now();
    sites.redis.cli(["FLUSHALL"]);
    sites.cluster.until("the second site is filled from the first", BEGINS_ANEW_WITHIN + SOON, || {
        sites.says().filter(|(status, lines)| *status == 200 && lines.starts_with("copying: ")).map(drop)
    });
    assert!(emptied.elapsed() >= BEGINS_ANEW_WITHIN, "{:?}", emptied.elapsed());
    sites.cluster.until_fresh(2 * SOON);
    sites.cluster.are_revoked_now(&[&before]);
    assert_eq!(sites.cluster.says(1, &next), Some(Status::Revoked));
}

/// Nobody else trims the second Redis. The first one has more memory, and keeps what the second has no room for.
#[test]
fn a_second_redis_that_is_full_of_the_stream_is_made_room_in_by_the_relay() {
    let mut sites = Sites::start();
    let gone = revoked(&sites.cluster);
    for number in 0..400 {
        let pushed = sites.cluster.push(0, "add", &format!("7E{number:06X}"));
        assert_eq!(pushed.status, 200, "{pushed:?}");
    }
    let head = |redis: &RedisServer| redis.cli(["--no-raw", "GET", Cluster::HEAD]);
    let before = head(&sites.redis);
    sites.cluster.writers[0].restart_with(|text| text);
    sites.cluster.until("the second site has the manifest of another snapshot", SOON, || {
        let heads = [&sites.redis, &sites.cluster.redis].map(head);
        (heads[0] != before && heads[0] == heads[1]).then_some(())
    });
    let length = |redis: &RedisServer| redis.cli(["XLEN", Cluster::STREAM]).parse::<u64>().unwrap();
    let (first, second) = (length(&sites.cluster.redis), length(&sites.redis));
    assert!(first > 400 && second > 400, "{first} {second}");
    let mut late = String::new();
    sites.cluster.until("room was made", SOON, || {
        if length(&sites.redis) < second - 300 {
            return Some(());
        }
        sites.redis.leave_no_memory();
        late = revoked(&sites.cluster);
        None
    });
    sites.until_it_says(200, "copying: ");
    let kept = length(&sites.cluster.redis);
    assert!(kept >= first, "{first}, then {kept}");
    sites.cluster.are_revoked_now(&[&gone, &late]);
    sites.cluster.until_fresh(SOON);
}

#[test]
fn a_relay_goes_on_after_whatever_was_killed_emptied_or_forged() {
    let mut sites = Sites::start();
    let first = revoked(&sites.cluster);
    // Somebody writes into the first Redis, as far ahead as IDs go.
    let forged = "18446744073709551615-1";
    sites.cluster.redis.cli(["XADD", Cluster::STREAM, forged, "b", "rubbish"]);
    let second = revoked(&sites.cluster);
    assert!(!Sites::entries(&sites.redis).contains(forged));
    // The relay dies, and much is told meanwhile.
    sites.relay = None;
    let third = sites.cluster.ca.issue().serial;
    sites.cluster.until_said(0, &third, &Status::Good, SOON);
    sites.cluster.revoke(&third);
    sites.start_relay();
    sites.cluster.until_revoked_everywhere(&third);
    // The second Redis is emptied, and comes back empty.
    sites.redis.cli(["FLUSHALL"]);
    let fourth = revoked(&sites.cluster);
    sites.redis.kill();
    sites.until_it_says(503, "not copying: ");
    sites.redis.restart();
    let fifth = revoked(&sites.cluster);
    // The first one as well: its writer begins a new epoch.
    sites.cluster.redis.cli(["FLUSHALL"]);
    let sixth = revoked(&sites.cluster);
    sites.cluster.are_revoked_now(&[&first, &second, &third, &fourth, &fifth, &sixth]);
    sites.cluster.until_fresh(SOON);
    sites.until_it_says(200, "copying: ");
}

/// Its listener was open to everybody and without TLS, whatever the configuration said, and no list had it.
#[test]
fn a_relay_is_listed_and_its_listener_speaks_tls_and_tells_metrics_to_principals_alone() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut sites = Sites::start();
    sites.relay = None;
    let dir = sites.dir.path().to_owned();
    write_tls_pair(&dir, sites.admin.ip(), &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let hash = bash(&dir, &format!("printf %s {TOKEN} | sha256sum | cut -d' ' -f1")).trim().to_owned();
    let keys = "[admin]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let principal =
        format!("[[admin.principal]]\nname = \"prometheus\"\ntoken_sha256 = \"{hash}\"\nallow = [\"viewer:*\"]\n");
    let config = fs::read_to_string(sites.config()).unwrap().replacen("[admin]\n", keys, 1) + &principal;
    fs::write(sites.config(), config).unwrap();
    sites.start_relay();
    let curl = |path: &str, more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "20", "--noproxy", "*", "-w", "%{http_code}", "--cacert"]).arg(dir.join("cert.pem"));
        run(command.arg(format!("https://{}{path}", sites.admin)).args(more)).text
    };
    let bearer = format!("Authorization: Bearer {TOKEN}");
    sites.cluster.until("it copies again", SOON, || {
        curl("/readyz", &["-H", &bearer]).starts_with("copying: both sites").then_some(())
    });
    let metrics = curl("/metrics", &["-H", &bearer]);
    assert!(metrics.contains("ostia_relay_promoted{} 0") && metrics.contains("ostia_feed_registered{} 1"), "{metrics}");
    assert!(curl("/metrics", &[]).ends_with("401"), "{}", curl("/metrics", &[]));
    let list = || {
        let config = sites.cluster.writers[1].site().config();
        run(Command::new(&programs().precompute).args(["server", "list", "--json", "--config"]).arg(config)).text
    };
    sites.cluster.until("it is listed where it writes", SOON, || {
        let list: serde_json::Value = serde_json::from_str(&list()).ok()?;
        let relay = list["servers"].as_array()?.iter().find(|server| server["role"] == "relay")?.clone();
        let is_it = relay["state"] == "live" && relay["addresses"]["admin"][0] == sites.admin.to_string();
        (is_it && relay["position"].is_string()).then_some(())
    });
}

#[test]
fn what_is_wrong_in_the_file_of_a_relay_is_told() {
    let sites = Sites::start();
    let right = fs::read_to_string(sites.config()).unwrap();
    let file = sites.dir.path().join("wrong.toml");
    let here = format!("127.0.0.1:{}", sites.cluster.redis.port());
    let there = format!("127.0.0.1:{}", sites.redis.port());
    for (from, to, told) in [
        ("[relay]\n", "[relais]\n", "relay: is missing"),
        ("[feed]\n", "[feet]\n", "feed: is missing"),
        (&*here, &*there, "relay.redis: is that of `[feed]`"),
        ("[relay]\nredis", "[relay]\nkey = \"a\"\nredis", "relay.key: is not a known key"),
        ("cluster = \"tests\"", "cluster = \"tests\"\nkey = \"w.key\"", "a relay signs nothing"),
        ("[admin]", "[[issuer]]\ncertificate = \"a\"\n[admin]", "issuer: is not a known key"),
    ] {
        fs::write(&file, right.replace(from, to)).unwrap();
        let refused = run(Command::new(&programs().precompute).args(["relay", "--config"]).arg(&file));
        assert!(refused.status.code() == Some(78) && refused.text.contains(told), "{told}: {refused:?}");
    }
}
