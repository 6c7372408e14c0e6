use super::*;
use crate::{
    feed::{
        Chain, WriterKey,
        body::{Heartbeat, IssuerStatus},
        redis::{Address, Cause, Named},
    },
    issuer_id::IssuerId,
    records::Digest,
    source::CrlMarks,
    state_dir::ServerId,
};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn micros(ago: u64) -> u64 {
    (NOW.0 - ago) * 1_000_000
}

const fn at(sequence: u64) -> Position {
    Position { epoch: 1_799_999_000_000_000, sequence }
}

fn cluster(name: &str) -> Cluster {
    Cluster::new(name).unwrap()
}

fn heartbeat(of: &str, key: u8, ago: u64) -> (Position, Vec<u8>) {
    let body = Body::Heartbeat(Heartbeat { time: micros(ago), ..Heartbeat::default() });
    let author = ServerId::from_bytes([3; 16]);
    let sealed = Entry { position: at(7), author, prev: Chain::START, body }
        .seal(&cluster(of), &WriterKey::from_seed(&[key; 32]));
    (at(7), sealed.bytes.to_vec())
}

fn manifest(key: u8, ago: u64) -> Vec<u8> {
    let manifest = Manifest {
        position: at(5),
        chain: Chain::START,
        author: ServerId::from_bytes([3; 16]),
        made: micros(ago),
        records: 2,
        octets: 100,
        chunk_octets: 100,
        record_chunks: 1,
        chunks: [[0; 32]].into(),
    };
    manifest.seal(&cluster("a"), &WriterKey::from_seed(&[key; 32]))
}

/// A feed that is in order.
fn in_order() -> Seen {
    Seen {
        extent: Some(Extent { last: at(7), first: Some(at(0)), length: 8 }),
        last: Some(heartbeat("a", 1, 0)),
        lives: true,
        recent: Vec::new(),
        manifest: Some(manifest(1, 180)),
        eviction: Some("noeviction".into()),
        fault: None,
        sentinels: Vec::new(),
        followers: None,
        may_share: None,
        may_register: None,
    }
}

/// Asks about a feed, with these issuers here.
fn asked<T>(issuers: &[(Issuer, String)], is_writer: bool, look: impl FnOnce(&Question<'_>) -> T) -> T {
    let redis = Server::at(Address::Tcp { host: "redis.example".into(), port: 6379 });
    let trusted = Trusted::of(&[WriterKey::from_seed(&[1; 32]).public()]).unwrap();
    let cluster = cluster("a");
    look(&Question {
        redis: &redis,
        cluster: &cluster,
        trusted: &trusted,
        sources: &[],
        https: &Https::default(),
        issuers,
        is_writer,
        shares: true,
    })
}

fn judged(seen: &Seen, is_writer: bool) -> Findings {
    asked(&[], is_writer, |question| seen.judge(question, NOW).0)
}

#[test]
fn a_feed_that_is_in_order_has_no_doubt() {
    for is_writer in [false, true] {
        let Findings { facts, doubts } = judged(&in_order(), is_writer);
        assert_eq!(doubts, []);
        let expected = [
            "Redis at redis.example:6379 has the feed `a`: last entry 1799999000000000-7, its epoch began at 2027-01-15T07:43:20Z",
            "a writer is at work",
            "the newest snapshot has 2 records and is 3 min old",
        ];
        assert_eq!(facts, expected);
    }
}

#[test]
fn each_doubt_names_the_key_the_place_and_the_remedy() {
    let fault = |message: &str| Fault { cause: Cause::Unreachable, message: message.into() };
    let nothing = Seen { eviction: in_order().eviction, ..Seen::default() };
    // What is seen, the key, what is told of it to a replica, and whether it is as it may be for a writer.
    let cases: &[(Seen, &str, &[&str], bool)] = &[
        (
            Seen { fault: Some(fault("Redis at redis.example:6379 cannot be reached: refused")), ..Seen::default() },
            "feed.redis",
            &["redis.example:6379 cannot be reached", "a start goes on and tries again"],
            false,
        ),
        (
            nothing,
            "feed.redis",
            &["redis.example:6379 is reached, and has no feed `a` yet", "`ostia-precompute run`"],
            true,
        ),
        (
            Seen { eviction: Some("allkeys-lru".into()), ..in_order() },
            "feed.redis",
            &["redis.example:6379 has `maxmemory-policy allkeys-lru`", "set `maxmemory-policy noeviction`"],
            false,
        ),
        (
            Seen { last: Some(heartbeat("a", 2, 0)), ..in_order() },
            "feed.trusted",
            &["the last entry of the feed `a` at redis.example:6379", "which `feed.trusted` does not list"],
            false,
        ),
        (
            Seen { last: Some(heartbeat("b", 1, 0)), ..in_order() },
            "feed.cluster",
            &["belongs to the cluster `b`; set `feed.cluster`"],
            false,
        ),
        (
            Seen { last: Some((at(7), b"junk".to_vec())), ..in_order() },
            "feed.redis",
            &["is refused: it makes no sense: another program wrote it"],
            false,
        ),
        (
            Seen { last: Some(heartbeat("a", 1, 400)), ..in_order() },
            "feed.redis",
            &["are 400 s apart", "set both right"],
            false,
        ),
        (
            Seen { lives: false, ..in_order() },
            "feed.redis",
            &["no writer is at work: nothing came within 2s; start `ostia-precompute run`"],
            true,
        ),
        (
            Seen { manifest: Some(manifest(2, 0)), ..in_order() },
            "feed.trusted",
            &["the manifest of the newest snapshot at redis.example:6379 is refused", "`feed.trusted`"],
            false,
        ),
    ];
    for (seen, about, told, may_be) in cases {
        let of_replica = judged(seen, false);
        let [doubt] = &of_replica.doubts[..] else { panic!("{told:?}: {of_replica:?}") };
        assert_eq!(doubt.about, *about);
        for told in *told {
            assert!(doubt.text.contains(told), "no `{told}` in {}", doubt.text);
        }
        assert_eq!(judged(seen, true).doubts.is_empty(), *may_be, "{told:?}");
    }
}

#[test]
fn an_old_sign_of_life_says_nothing_of_clocks() {
    let silent = Seen { last: Some(heartbeat("a", 1, 400)), lives: false, ..in_order() };
    assert_eq!(judged(&silent, true).doubts, []);
}

/// Of a writer at work: a status and a heartbeat that speak of these, and an entry of the epoch before that speaks of others.
fn speaking_of(tenants: &[&str]) -> Seen {
    let author = ServerId::from_bytes([3; 16]);
    let key = WriterKey::from_seed(&[1; 32]);
    let status = |tenant: &str| IssuerStatus {
        id: IssuerId::new(tenant, [7; 32]),
        verified: None,
        crl_next_update: None,
        is_crl_alone: false,
        crl_marks: CrlMarks::default(),
    };
    let digest = |tenant: &&str| (Issuer::from(&IssuerId::new(tenant, [7; 32])), Digest::default());
    let digests = tenants.iter().map(digest).collect();
    let before = Position { epoch: at(0).epoch - 1, sequence: 9 };
    let bodies = [
        (before, Body::IssuerStatus(vec![status("former")])),
        (at(6), Body::IssuerStatus(tenants.iter().map(|tenant| status(tenant)).collect())),
        (at(7), Body::Heartbeat(Heartbeat { time: micros(0), digests, ..Heartbeat::default() })),
    ];
    let sealed = bodies.map(|(position, body)| {
        let entry = Entry { position, author, prev: Chain::START, body };
        (position, entry.seal(&cluster("a"), &key).bytes.to_vec())
    });
    Seen { recent: sealed.into(), ..in_order() }
}

#[test]
fn issuers_that_only_one_side_has_are_named_with_what_is_to_be_done() {
    let here: Vec<_> =
        ["one", "two"].map(|tenant| (Issuer::from(&IssuerId::new(tenant, [7; 32])), format!("{tenant}/ca"))).into();
    let found = |seen: &Seen, is_writer: bool| {
        let mut findings = Findings::default();
        asked(&here, is_writer, |question| seen.compare_issuers(question, &mut findings));
        let doubts: Vec<String> =
            findings.doubts.iter().map(|doubt| format!("{}: {}", doubt.about, doubt.text)).collect();
        (findings.facts, doubts)
    };
    let nothing = (Vec::new(), Vec::new());
    for is_writer in [false, true] {
        assert_eq!(found(&speaking_of(&["one", "two"]), is_writer), nothing, "the same on both sides");
        assert_eq!(found(&in_order(), is_writer), nothing, "nothing is known of the writer's");
    }
    let (facts, doubts) = found(&speaking_of(&["one"]), false);
    assert!(facts.is_empty() && doubts.len() == 1, "{facts:?} {doubts:?}");
    assert!(doubts[0].starts_with("issuer: the writer at work tells nothing of two/ca, and"), "{doubts:?}");
    assert_eq!(found(&speaking_of(&["one"]), true), nothing, "a writer may have what the one at work does not");
    let more = speaking_of(&["one", "two", "three"]);
    let told = "the writer has issuers that are not configured here: CA 0707070707070707 of tenant `three`; ";
    let (facts, doubts) = found(&more, false);
    assert!(facts.len() == 1 && facts[0].starts_with(told) && doubts.is_empty(), "{facts:?} {doubts:?}");
    let (facts, doubts) = found(&more, true);
    assert!(
        facts.is_empty() && doubts[0].starts_with(&format!("issuer: {told}if this writer took over")),
        "{doubts:?}"
    );
}

#[test]
fn what_a_later_version_wrote_is_told_apart_from_what_somebody_forged() {
    let (position, sealed) = heartbeat("a", 1, 0);
    let mut later = sealed[..sealed.len() - 64].to_vec();
    later[0] = 2;
    let key = WriterKey::from_seed(&[1; 32]);
    let signed = [&later[..], &key.sign(crate::feed::keys::Purpose::Entry, &later)].concat();
    let forged = [&later[..], &[0; 64]].concat();
    for (bytes, about, told) in [
        (signed, "feed.redis", "a trusted writer wrote it in version 2 of the feed"),
        (forged, "feed.redis", "its signature is wrong"),
    ] {
        let findings = judged(&Seen { last: Some((position, bytes)), ..in_order() }, false);
        assert!(findings.doubts[0].about == about && findings.doubts[0].text.contains(told), "{findings:?}");
    }
}

#[test]
fn what_would_keep_sentinels_from_a_fail_over_is_doubted() {
    let at = |host: &str| Address::Tcp { host: host.to_owned(), port: 1 };
    let said = |sentinel: &str, master: &str, config_epoch, [followers, sentinels]: [u64; 2]| {
        let named = Named { address: at(master), config_epoch, followers, sentinels };
        Said { sentinel: at(sentinel), named: Some(named), fault: None }
    };
    let good = || vec![said("a", "10.0.0.1", 1, [2, 3]), said("b", "10.0.0.1", 1, [2, 3])];
    let silent = Said { sentinel: at("c"), named: None, fault: None };
    let faulty = Said { fault: Some("why".into()), ..said("c", "10.0.0.1", 1, [2, 3]) };
    for (sentinels, followers, expected) in [
        (vec![], None, &[][..]),
        (good(), Some(2), &[]),
        (good(), None, &[]),
        ([good(), vec![silent]].concat(), Some(2), &["c:1 does not answer"]),
        ([good(), vec![faulty]].concat(), Some(2), &["why"]),
        (
            [good(), vec![said("c", "10.0.0.2", 0, [2, 3])]].concat(),
            Some(2),
            &["c:1 names 10.0.0.2:1 and others 10.0.0.1:1"],
        ),
        (vec![said("a", "127.0.0.1", 1, [2, 3])], Some(2), &["each machine's own address"]),
        (vec![said("127.0.0.1", "127.0.0.1", 1, [2, 3])], Some(2), &[]),
        (vec![said("a", "10.0.0.1", 1, [2, 2])], Some(2), &["no majority is left"]),
        (good(), Some(0), &["no server follows the master now"]),
        (vec![said("a", "10.0.0.1", 1, [0, 3])], None, &["no server follows the master now"]),
        (
            [good(), vec![said("c", "10.0.0.1", 1, [0, 3])]].concat(),
            None,
            &["c:1 knows 0 of the 2 servers that follow"],
        ),
        (vec![said("c", "10.0.0.1", 1, [1, 3])], Some(2), &["c:1 knows 1 of the 2 servers"]),
    ] {
        let Findings { mut facts, mut doubts } = Findings::default();
        judge_sentinels(&sentinels, followers, &mut facts, &mut doubts);
        assert!(doubts.iter().all(|doubt| doubt.about == "feed.sentinels"));
        let texts: Vec<&String> = doubts.iter().map(|doubt| &doubt.text).collect();
        let fits = texts.len() == expected.len() && texts.iter().zip(expected).all(|(text, part)| text.contains(part));
        assert!(fits, "{texts:?} and not {expected:?}");
    }
}

#[test]
fn who_may_not_read_or_write_shared_answers_is_told_how_to_be_let() {
    let found = |may_share| {
        let (mut findings, seen) = (Findings::default(), Seen { may_share, ..in_order() });
        asked(&[], false, |question| seen.judge_sharing(question, &mut findings));
        findings
    };
    assert_eq!(found(None), Findings::default());
    let Findings { facts, doubts } = found(Some(MayShare::Both));
    assert_eq!(
        (&facts[..], doubts),
        (&["answers of keys on tokens are shared with other replicas (`ostia:a:a:*`)".to_owned()][..], vec![])
    );
    for (may_share, lacks) in [(MayShare::ReadOnly, "may not write"), (MayShare::Neither, "may not read")] {
        let Findings { facts, doubts } = found(Some(may_share));
        let [Doubt { about: "feed.shared_answers", text }] = &doubts[..] else { panic!("{doubts:?}") };
        assert!(facts.is_empty());
        for told in
            ["the user `default` of Redis at redis.example:6379", lacks, "`ostia:a:a:*`", "`ACL SETUSER default "]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}
