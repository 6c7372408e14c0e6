//! Answers that replicas with the key of a signer on tokens share through Redis.
//!
//! Redis is given 5 ms, which a busy machine does not always keep: who looks for what a shared answer does tries with another
//! certificate where nobody could tell in time.

use ostia_tests::{Ask, Cluster, ClusterPlan, Member, RedisServer, Status, http};

use crate::{SOON, issued, until_logged};

/// How many certificates are tried until one question was answered in time.
const TRIES: usize = 30;

/// Nothing is signed ahead, so that every answer is missed first.
fn plan(replicas: usize) -> ClusterPlan {
    ClusterPlan::of(1, replicas).policy("presign = false").replicas_on_tokens()
}

fn questions(member: &Member, outcome: &str) -> f64 {
    member.feed_metric("ostia_feed_shared_answers_total", &format!("outcome=\"{outcome}\"")).unwrap()
}

fn offers(member: &Member, outcome: &str) -> f64 {
    member.feed_metric("ostia_feed_shared_offers_total", &format!("outcome=\"{outcome}\"")).unwrap()
}

fn signatures(member: &Member) -> f64 {
    member.feed_metric("ostia_token_signatures_total", "").unwrap()
}

/// Waits until a replica asks others, or does not.
#[track_caller]
fn until_state(cluster: &Cluster, replica: usize, state: &str) {
    cluster.until(&format!("the state of replica {replica} is {state}"), SOON, || {
        let label = format!("state=\"{state}\"");
        let is_so = cluster.replicas[replica].feed_metric("ostia_feed_shared_state", &label)? == 1.0;
        is_so.then_some(())
    });
}

fn body(cluster: &Cluster, replica: usize, ask: &Ask) -> Vec<u8> {
    let reply = http::post(cluster.replicas[replica].site().http, "/", &ask.request());
    assert_eq!(reply.status, 200, "{reply:?}\n{}", cluster.logs());
    reply.body
}

/// All keys of shared answers.
fn keys(redis: &RedisServer) -> Vec<String> {
    redis.cli(["KEYS", "ostia:tests:a:*"]).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Has a replica sign an answer that nobody else has yet; gives the question, the answer, and its key in Redis.
#[track_caller]
fn shared(cluster: &Cluster, replica: usize, serial: &str) -> (Ask, Vec<u8>, String) {
    let ask = cluster.ask(serial).hash("sha256");
    let before = keys(&cluster.redis);
    let answer = body(cluster, replica, &ask);
    let key = cluster.until("the answer is offered", SOON, || {
        keys(&cluster.redis).into_iter().find(|key| key.ends_with(&format!(":{serial}")) && !before.contains(key))
    });
    (ask, answer, key)
}

/// With one certificate after the other: has replica 0 sign an answer, does something to it in Redis, and asks replica 1, until
/// that one counts this outcome; gives what both answered then.
#[track_caller]
fn until_counted(cluster: &Cluster, outcome: &str, change: impl Fn(&str, &str)) -> (String, Vec<u8>, Vec<u8>) {
    let asking = &cluster.replicas[1];
    for _ in 0..TRIES {
        let serial = issued(cluster);
        (0..2).for_each(|replica| until_state(cluster, replica, "asked"));
        let (ask, first, key) = shared(cluster, 0, &serial);
        change(&serial, &key);
        let in_vain = || questions(asking, "late") + questions(asking, "not_asked");
        let (before, unanswered) = (questions(asking, outcome), in_vain());
        let second = body(cluster, 1, &ask);
        if questions(asking, outcome) == before + 1.0 {
            return (serial, first, second);
        }
        assert!(in_vain() > unanswered, "no {outcome}\n{}", cluster.logs());
    }
    panic!("nothing was answered in time\n{}", cluster.logs());
}

#[test]
fn what_one_replica_has_signed_another_serves_byte_for_byte_and_signs_nothing() {
    let mut cluster = plan(2).policy("nonce = \"echo\"").users().start();
    let signed = || signatures(&cluster.replicas[1]);
    let before = std::cell::Cell::new(0.0);
    let (serial, first, second) = until_counted(&cluster, "taken", |_, _| before.set(signed()));
    assert_eq!((first, signed()), (second, before.get()), "{}", cluster.logs());
    // Nor does one that comes later.
    let third = cluster.add_replica();
    cluster.replicas[third].start();
    cluster.until_filled(third);
    until_state(&cluster, third, "asked");
    let of_first = body(&cluster, 0, &cluster.ask(&serial).hash("sha256"));
    let taken = questions(&cluster.replicas[third], "taken");
    let of_third = body(&cluster, third, &cluster.ask(&serial).hash("sha256"));
    let is_taken = questions(&cluster.replicas[third], "taken") > taken;
    assert_eq!(of_third == of_first, is_taken, "{}", cluster.logs());
    // It expires with the answer.
    let key = keys(&cluster.redis).pop().unwrap();
    let lasts: u64 = cluster.redis.cli(["PTTL", &key]).parse().unwrap();
    assert!((1..=4 * 86_400_000).contains(&lasts), "{lasts}");
    // What is for one client is neither asked for nor offered.
    let there = keys(&cluster.redis).len();
    let counted = |member: &Member| {
        let asked = ["taken", "absent", "outdated", "refused", "late", "not_asked"].map(|it| questions(member, it));
        (asked, ["offered", "no_room", "dropped"].map(|it| offers(member, it)))
    };
    let before = [0, 1, third].map(|replica| counted(&cluster.replicas[replica]));
    for replica in [0, 1, third] {
        cluster.ask(&serial).nonce().at(cluster.replicas[replica].site().http, "/").expect(Status::Good);
    }
    assert_eq!([0, 1, third].map(|replica| counted(&cluster.replicas[replica])), before);
    assert_eq!(keys(&cluster.redis).len(), there);
}

#[test]
fn what_was_shared_before_a_revocation_is_never_served_after_it() {
    let cluster = plan(2).start();
    let (serial, _, second) = until_counted(&cluster, "outdated", |serial, _| {
        cluster.revoke(serial);
        cluster.until_revoked_everywhere(serial);
    });
    let ask = cluster.ask(&serial).hash("sha256");
    ask.read(&second).expect(Status::Revoked);
    ask.read(&body(&cluster, 0, &ask)).expect(Status::Revoked);
    // What has replaced it is shared as well.
    let (_, first, second) = until_counted(&cluster, "taken", |_, _| ());
    assert_eq!(first, second);
}

#[test]
fn whatever_else_is_in_its_place_the_right_answer_is_served_and_the_value_is_refused() {
    let cluster = plan(2).start();
    let other = issued(&cluster);
    let (_, _, other) = shared(&cluster, 0, &other);
    let redis = &cluster.redis;
    let cut = "local v = redis.call('GET', KEYS[1]) return redis.call('SET', KEYS[1], string.sub(v, 1, -2))";
    let empty = "return redis.call('SET', KEYS[1], string.rep('\\0', 81))";
    type Change<'c> = (&'c str, &'c dyn Fn(&str));
    let cases: &[Change<'_>] = &[
        ("garbage", &|key| drop(redis.cli(["SET", key, "garbage", "KEEPTTL"]))),
        ("another type", &|key| {
            redis.cli(["DEL", key]);
            redis.cli(["RPUSH", key, "a", "b"]);
        }),
        ("ten megabytes", &|key| drop(redis.cli(["SETRANGE", key, "10000000", "x"]))),
        ("a forged signature", &|key| drop(redis.cli(["SETRANGE", key, "40", "AAAA"]))),
        ("a later end", &|key| drop(redis.cli(["SETRANGE", key, "13", "zzzz"]))),
        ("a byte less", &|key| drop(redis.cli(["EVAL", cut, "1", key]))),
        ("nothing but zeros", &|key| drop(redis.cli(["EVAL", empty, "1", key]))),
        ("another certificate's", &|key| drop(redis.cli(["COPY", &other, key, "REPLACE"]))),
    ];
    for (what, change) in cases {
        let (serial, first, second) = until_counted(&cluster, "refused", |_, key| change(key));
        assert_ne!(first, second, "{what}");
        cluster.ask(&serial).hash("sha256").read(&second).expect(Status::Good);
        // What has been signed instead is offered in its place.
        let key = cluster.until(what, SOON, || {
            keys(redis)
                .into_iter()
                .find(|key| key.ends_with(&format!(":{serial}")) && redis.cli(["STRLEN", key]) == "81")
        });
        assert_eq!(redis.cli(["TYPE", &key]), "string", "{what}");
    }
    let told = "Redis holds what no replica with this configuration has signed";
    until_logged(&cluster, told, || cluster.replicas[1].log());
    assert_eq!(cluster.replicas[1].log().matches(told).count(), 1, "{}", cluster.logs());
}

/// Certificates that every replica knows and of which none has an answer in SHA-256.
fn known(cluster: &Cluster, count: usize) -> Vec<String> {
    (0..count).map(|_| issued(cluster)).collect()
}

#[test]
fn while_redis_hangs_or_is_gone_what_is_missed_is_signed_and_one_question_alone_is_waited_for() {
    let mut cluster = plan(1).start();
    for gone in ["hangs", "is gone"] {
        let serials = known(&cluster, 20);
        until_state(&cluster, 0, "asked");
        let counted = || ["late", "not_asked"].map(|outcome| questions(&cluster.replicas[0], outcome));
        let before = counted();
        if gone == "hangs" {
            cluster.redis.pause();
        } else {
            cluster.redis.kill();
        }
        for serial in &serials {
            let ask = cluster.ask(serial).hash("sha256");
            ask.read(&body(&cluster, 0, &ask)).expect(Status::Good);
        }
        let counted = ["late", "not_asked"].map(|outcome| questions(&cluster.replicas[0], outcome));
        let [late, not_asked] = [counted[0] - before[0], counted[1] - before[1]];
        assert_eq!(late + not_asked, 20.0, "Redis {gone}\n{}", cluster.logs());
        assert!(late <= 1.0, "{late} were waited for while Redis {gone}\n{}", cluster.logs());
        until_state(&cluster, 0, "away");
        until_logged(&cluster, "other replicas cannot be asked for answers", || cluster.replicas[0].log());
        if gone == "hangs" {
            cluster.redis.go_on();
        } else {
            cluster.redis.restart();
        }
        until_state(&cluster, 0, "asked");
        until_logged(&cluster, "other replicas are asked for answers again", || cluster.replicas[0].log());
        cluster.until_fresh(SOON);
    }
    let serial = issued(&cluster);
    shared(&cluster, 0, &serial);
}

#[test]
fn keys_in_files_share_nothing_and_tokens_share_nothing_where_that_is_turned_off() {
    let cluster = ClusterPlan::of(1, 1).policy("presign = false").replicas_with_key().start();
    issued(&cluster);
    assert_eq!(keys(&cluster.redis), [""; 0]);
    until_state(&cluster, 0, "idle");
    let cluster = plan(1).set("shared_answers = false").start();
    issued(&cluster);
    assert_eq!(keys(&cluster.redis), [""; 0]);
    assert_eq!(cluster.replicas[0].feed_metric("ostia_feed_shared_state", ""), None);
}

#[test]
fn check_says_whether_the_user_of_redis_may_share_answers() {
    let cluster = plan(1).users().start();
    let checked = || cluster.replicas[0].site().check().text;
    let told = checked();
    assert!(told.contains("answers of keys on tokens are shared with other replicas (`ostia:tests:a:*`)"), "{told}");
    cluster.redis.cli(["ACL", "SETUSER", "ostia-replica", "-set"]);
    let told = checked();
    let doubt = "feed.shared_answers: the user `ostia-replica` of Redis at ";
    assert!(told.contains(doubt) && told.contains("may not write `ostia:tests:a:*`"), "{told}");
    // What it may not write it signs and serves all the same.
    issued(&cluster);
    until_logged(&cluster, "cannot be shared with other replicas", || cluster.replicas[0].log());
    assert!(offers(&cluster.replicas[0], "dropped") > 0.0);
}
