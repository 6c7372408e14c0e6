use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use precompute::config::Document;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{limits, tsa::clock::ClockSource};

/// What every file needs beside the responder's own part.
const TENANT: &str = "[[tsa]]\npolicy = \"1.2.3\"\nsigner = { key = \"tsa.key\", certificate = \"tsa.pem\" }\n";

/// A file with these values; keys of the same section are together.
fn file<'k>(values: impl IntoIterator<Item = (&'k str, String)>) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in values {
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        *sections.entry(section).or_default() += &format!("{key} = {value}\n");
    }
    let mut text = format!("version = 1\n{}", sections.remove("").unwrap_or_default());
    sections.iter().for_each(|(section, keys)| text += &format!("[{section}]\n{keys}"));
    text + TENANT
}

fn read(text: &str) -> Config {
    let document = Document::from_text(Path::new("/etc/ostia/ostia.toml"), text);
    Config::reading(&document).finish().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Every key with its value.
fn written(config: &Config) -> Vec<(&'static str, Option<String>)> {
    let of_common = common::KEYS.iter().map(|key| (key.name, (key.written)(&config.common)));
    of_common.chain(KEYS.iter().map(|key| (key.name, (key.written)(config)))).collect()
}

/// The keys that stand there instead of `feed.redis`.
const OF_SENTINELS: [(&str, &str, &str); 4] = [
    ("feed.sentinels", "[\"rediss://a:26379\", \"rediss://b:26379\"]", "[\"rediss://a:26379\"]"),
    ("feed.master", "\"feed\"", "\"other\""),
    ("feed.sentinel_user", "\"ostia\"", "\"other\""),
    ("feed.sentinel_password_file", "\"sentinel.password\"", "\"other.password\""),
];

/// Two values of every key: the one in use, and the one in the file.
const VALUES: [(&str, &str, &str); common::KEYS.len() + KEYS.len() - OF_SENTINELS.len()] = [
    ("state_dir", "\"/var/lib/ostia\"", "\"/srv/ostia\""),
    ("admin.listen", "\"127.0.0.1:9090\"", "\"127.0.0.1:9091\""),
    ("admin.ready_without_signers", "true", "false"),
    ("admin.token_file", "\"api.token\"", "\"other.token\""),
    ("admin.certificate", "\"/etc/ostia/admin.pem\"", "\"/etc/ostia/new.pem\""),
    ("admin.key", "\"admin.key\"", "\"other.key\""),
    ("admin.client_ca", "\"/etc/ostia/clients.pem\"", "\"/etc/ostia/others.pem\""),
    ("admin.hosts", "[\"writer-1.example\"]", "[]"),
    ("admin.open_metrics", "true", "false"),
    ("cache.answers_octets", "16777216", "16777217"),
    ("cache.octets", "16777216", "16777217"),
    ("feed.cluster", "\"a\"", "\"b\""),
    ("feed.redis", "\"rediss://a:6379\"", "\"rediss://b:6379\""),
    ("feed.user", "\"ostia\"", "\"other\""),
    ("feed.password_file", "\"redis.password\"", "\"other.password\""),
    ("feed.tls_ca", "\"/etc/ostia/redis.pem\"", "\"system\""),
    ("feed.trusted", "[\"/etc/ostia/w.pub\"]", "[\"/etc/ostia/w.pub\", \"/etc/ostia/v.pub\"]"),
    ("feed.key", "\"w.key\"", "\"v.key\""),
    ("feed.https_ca", "\"/etc/ostia/writers.pem\"", "\"system\""),
    ("feed.api_url", "\"https://a:9443\"", "\"https://b:9443\""),
    ("feed.snapshot_listen", "\"10.0.0.1:8081\"", "\"10.0.0.1:8082\""),
    ("feed.snapshot_from", "[\"http://a:8081\"]", "[]"),
    ("feed.snapshot_interval", "\"6h\"", "\"7h\""),
    ("feed.takeover_after", "\"6s\"", "\"7s\""),
    ("feed.takeover", "\"by_itself\"", "\"by_hand\""),
    ("feed.priority", "0", "1"),
    ("feed.acknowledge_within", "\"2s\"", "\"3s\""),
    ("feed.acknowledge_redis_replicas", "0", "1"),
    ("feed.acknowledge_standbys", "0", "1"),
    ("feed.shared_answers", "true", "false"),
    ("feed.name", "\"dmz-1\"", "\"dmz-2\""),
    ("feed.replicas_wanted", "2", "1"),
    ("feed.configuration", "\"own\"", "\"published\""),
    ("feed.signer_keys", "false", "true"),
    ("journal.path", "\"/var/lib/ostia/journal.jsonl\"", "\"/srv/journal.jsonl\""),
    ("journal.rotate_size", "65536", "65537"),
    ("journal.rotate_age", "\"1d\"", "\"2d\""),
    ("journal.keep", "7", "8"),
    ("journal.ocsp", "true", "false"),
    ("journal.ocsp_path", "\"/var/lib/ostia/ocsp.jsonl\"", "\"/srv/ocsp.jsonl\""),
    ("journal.ocsp_keep", "7", "8"),
    ("transparency.directory", "\"/var/lib/ostia/transparency\"", "\"/srv/transparency\""),
    ("transparency.keep", "\"90d\"", "\"30d\""),
    ("transparency.head_every", "\"1m\"", "\"10s\""),
    ("http.listen", "[\"127.0.0.1:80\"]", "[\"127.0.0.1:80\", \"systemd\"]"),
    ("http.workers", "2", "3"),
    ("http.idle_deadline", "\"20s\"", "\"21s\""),
    ("http.head_deadline", "\"5s\"", "\"6s\""),
    ("http.body_deadline", "\"5s\"", "\"6s\""),
    ("http.write_deadline", "\"5s\"", "\"6s\""),
    ("http.drain_delay", "\"0s\"", "\"1s\""),
    ("http.drain_deadline", "\"5s\"", "\"6s\""),
    ("http.trusted_networks", "[\"10.0.0.0/8\"]", "[\"10.0.0.0/8\", \"192.168.0.0/16\"]"),
    ("http.proxy_protocol", "false", "true"),
    ("tls.listen", "[\"127.0.0.1:443\"]", "[\"127.0.0.1:444\"]"),
    ("tls.certificate", "\"/etc/ostia/tls.pem\"", "\"/etc/ostia/new.pem\""),
    ("tls.key", "\"/etc/ostia/tls.key\"", "\"/etc/ostia/new.key\""),
    ("log.access_sample", "0", "10"),
    ("time_stamping.clock", "\"kernel\"", "\"chrony\""),
    ("time_stamping.lease", "\"10s\"", "\"11s\""),
    ("time_stamping.record", "\"/var/lib/ostia/tokens.jsonl\"", "\"/srv/tokens.jsonl\""),
    ("time_stamping.record_rotate_octets", "65536", "65537"),
    ("time_stamping.record_rotate_age", "\"1d\"", "\"2d\""),
    ("time_stamping.record_keep", "7", "8"),
];

fn each_is_told_that_waits(values: &[(&'static str, &str, &str)]) {
    let in_use = || values.iter().map(|(name, in_use, _)| (*name, (*in_use).to_owned()));
    let started_with = read(&file(in_use()));
    assert_eq!(waiting(&started_with, &started_with), []);
    let mut given = written(&started_with);
    given.retain(|(_, value)| value.is_some());
    assert_eq!(given.len(), values.len());
    for (name, in_use_value, in_file_value) in values.iter().copied() {
        assert!(given.contains(&(name, Some(in_use_value.to_owned()))), "{name}: {given:?}");
        let changed = in_use().map(|(other, value)| (other, if other == name { in_file_value.into() } else { value }));
        let told = waiting(&started_with, &read(&file(changed)));
        let (in_use, in_file) = (in_use_value.to_owned(), in_file_value.to_owned());
        let expected = Waiting { key: name, in_use, in_file };
        let at_once = [
            "tls.certificate",
            "tls.key",
            "admin.token_file",
            "admin.certificate",
            "admin.key",
            "admin.client_ca",
            "admin.hosts",
            "admin.open_metrics",
        ];
        let at_once = at_once.contains(&name);
        assert_eq!(told, if at_once { vec![] } else { vec![expected] });
    }
}

#[test]
fn each_key_that_waits_for_a_restart_is_told_by_name_and_no_other() {
    let at = VALUES.iter().position(|(name, ..)| *name == "feed.redis").unwrap();
    let by_sentinels = [&VALUES[..at], &OF_SENTINELS, &VALUES[at + 1..]].concat();
    for values in [&VALUES[..], &by_sentinels] {
        each_is_told_that_waits(values);
    }
    let in_use = || VALUES.iter().map(|(name, in_use, _)| (*name, (*in_use).to_owned()));
    let started_with = read(&file(in_use()));
    let without = read(&file(in_use().filter(|(name, _)| !name.starts_with("tls."))));
    let expected = Waiting { key: "tls.listen", in_use: "[\"127.0.0.1:443\"]".into(), in_file: "nothing".into() };
    assert_eq!(waiting(&started_with, &without), [expected]);
    let other_tenants = file(in_use()).replace("1.2.3", "1.2.4");
    assert_eq!(waiting(&started_with, &read(&other_tenants)), [], "they are gone over to at once");
}

const EDGE: &str = "version = 1\n[feed]\ncluster = \"a\"\nredis = \"redis://a\"\ntrusted = \"w.pub\"\n[edge]\nupstreams = [\"http://a:80/\", \"https://b/\"]\ntls_ca = \"/etc/ca.pem\"\nfail_back = \"20s\"\n[[issuer]]\ncertificate = \"ca.pem\"\nsigner = { certificate = \"ocsp.pem\" }\n[[tsa]]\npolicy = \"1.2.3\"\nsigner = { certificate = \"tsa.pem\" }\n";

#[test]
fn the_keys_of_an_edge_wait_for_a_restart() {
    let in_use = read(EDGE);
    assert_eq!(waiting(&in_use, &in_use), []);
    for (name, value, other) in [
        ("edge.upstreams", "[\"http://a:80/\", \"https://b/\"]", "[\"http://a:80/\"]"),
        ("edge.tls_ca", "\"/etc/ca.pem\"", "\"system\""),
        ("edge.fail_back", "\"20s\"", "\"21s\""),
    ] {
        let told = waiting(&in_use, &read(&EDGE.replace(value, other)));
        assert_eq!(told, [Waiting { key: name, in_use: value.into(), in_file: other.into() }]);
    }
}

#[test]
fn an_edge_names_no_key() {
    let refused = |text: String| {
        let document = Document::from_text(Path::new("/etc/ostia/ostia.toml"), &text);
        Config::reading(&document).finish().unwrap_err().to_string()
    };
    for (from, to, why) in [
        (
            "certificate = \"ocsp.pem\"",
            "certificate = \"ocsp.pem\", key = \"ocsp.key\"",
            "an edge holds no key and no PIN",
        ),
        (
            "certificate = \"ocsp.pem\"",
            "certificate = \"ocsp.pem\", key = \"pkcs11:object=o?module-path=/m.so&pin-source=/pin\"",
            "an edge holds no key and no PIN",
        ),
        ("certificate = \"tsa.pem\"", "certificate = \"tsa.pem\", key = \"tsa.key\"", "TSA tsa of the tenant"),
        ("trusted =", "key = \"w.key\"\ntrusted =", "`feed.key`, a writer's"),
    ] {
        let problem = refused(EDGE.replace(from, to));
        assert!(problem.contains(why), "{problem}");
    }
    let without_feed = EDGE.replace("[feed]\ncluster = \"a\"\nredis = \"redis://a\"\ntrusted = \"w.pub\"\n", "");
    assert!(refused(without_feed).contains("needs `[feed]`"));
}

fn length(range: std::ops::RangeInclusive<Duration>) -> impl Strategy<Value = Duration> {
    (range.start().as_millis() as u64..=range.end().as_millis() as u64).prop_map(Duration::from_millis)
}

/// All of a port of its own.
fn listens(port: u16) -> impl Strategy<Value = Vec<Listen>> {
    let address = prop_oneof![Just("10.1.2.3"), Just("[::1]"), Just("0.0.0.0")];
    let address = address.prop_map(move |host| Listen::Address(format!("{host}:{port}").parse().unwrap()));
    (address, any::<bool>()).prop_map(|(address, systemd)| {
        let mut listens = vec![address];
        listens.extend(systemd.then_some(Listen::Systemd));
        listens
    })
}

proptest! {
    #[test]
    fn every_configuration_that_is_written_reads_back_as_the_same(
        (http, tls, admin, workers) in (listens(80), option::of(listens(443)), 1024u16.., 1..=limits::WORKERS_MAX),
        deadlines in [(); 4].map(|()| length(limits::DEADLINE_RANGE)),
        drain in (length(Duration::ZERO..=*limits::DEADLINE_RANGE.end()), length(limits::DEADLINE_RANGE)),
        (networks, proxy_protocol) in (vec((any::<[u8; 4]>(), 0u8..=32), 0..3), any::<bool>()),
        (ready_without_signers, access_sample, state_dir) in (any::<bool>(), any::<u32>(), "/[a-z/ \"\\\\]{1,20}"),
        cache in [(); 2].map(|()| (1u64 << 24)..=(1 << 40)),
        clock in prop_oneof![
            Just(ClockSource::Kernel),
            Just(ClockSource::Unchecked),
            any::<u16>().prop_map(|port| ClockSource::Chrony(([127, 0, 0, 1], port).into())),
        ],
        lease in length(limits::CLOCK_LEASE_RANGE),
        journal in option::of(("/[a-z]{1,9}", 1u64 << 16..=i64::MAX as u64, 60u64..366 * 86_400, option::of(1usize..=1_000_000))),
        transactions in ("/t/[a-z]{1,9}", option::of(1usize..=1_000_000), any::<bool>()),
        record in option::of(("/[a-z]{1,9}", 1u64 << 16..=i64::MAX as u64, 60u64..366 * 86_400, option::of(1usize..=1_000_000))),
    ) {
        // The simplest, and then all that can be said.
        let mut config = read(&file([]));
        config.http = http;
        config.tls = tls.map(|listen| crate::config::Tls {
            place: Default::default(),
            listen,
            certificate: "/etc/tls.pem".into(),
            key: std::path::Path::new("/etc/tls.key").into(),
        });
        config.common.admin.listen = SocketAddr::from(([127, 0, 0, 1], admin));
        config.workers = workers as usize;
        let [idle, head, body, write] = deadlines;
        config.connection_policy.deadlines = crate::net::deadline::Deadlines { idle, head, body, write };
        (config.connection_policy.drain.delay, config.connection_policy.drain.deadline) = drain;
        let networks: Vec<ipnet::IpNet> =
            networks.into_iter().map(|(address, prefix)| ipnet::Ipv4Net::new(address.into(), prefix).unwrap().into()).collect();
        config.connection_policy.trusted = crate::net::client::Trusted::new(networks);
        config.connection_policy.proxy_protocol = proxy_protocol;
        (config.common.admin.ready_without_signers, config.access_sample) = (ready_without_signers, access_sample);
        config.common.state_dir = state_dir.into();
        [config.common.cache.answers_octets, config.common.cache.octets] = cache;
        config.time_stamping.clock = clock;
        config.time_stamping.lease = lease;
        let options = |(path, rotate_octets, age, keep): (String, u64, u64, Option<usize>)| crate::tsa::record::Options {
            path: path.into(),
            rotate_octets,
            rotate_age: Duration::from_secs(age),
            keep,
        };
        config.time_stamping.record = record.map(options);
        config.common.journal = journal.map(options);
        // Rotated as the journal is.
        let (path, keep, is_on) = transactions;
        config.common.transactions = config.common.journal.clone().map(|journal| {
            let options = crate::tsa::record::Options { path: path.into(), keep, ..journal };
            precompute::config::Transactions { is_on, options }
        });
        let text = file(written(&config).into_iter().filter_map(|(name, value)| Some((name, value?))));
        // The authority of the file promises less than some clocks keep.
        let text = text.replace("policy = ", "accuracy = \"60s\"\npolicy = ");
        let mut read = read(&text);
        read.common.tenants.clone_from(&config.common.tenants);
        prop_assert_eq!(&read, &config, "{}", text);
    }
}
