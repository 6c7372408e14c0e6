//! Redis is away for long: nothing that was known is lost, answers are renewed meanwhile, and all of it comes afterwards.
//!
//! The clocks on all walls run forty times as fast here, so that the outage of a minute takes forty, in the middle of which
//! every answer has to be renewed. What waits by another clock (heartbeats, the pauses between two attempts) waits as ever.

use std::{
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Ca, Client, Cluster, ClusterPlan, FakeClock, Status, bash};

use crate::{DURABLE, SOON, issued, revoked};

/// How often the clock is put forward while it runs fast; whoever follows it looks once a second.
const STEP: Duration = Duration::from_secs(1);

/// Puts the clock forward bit by bit, from so many seconds ahead to so many, within a time.
fn run_fast(clock: &FakeClock, from: u64, to: u64, within: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < within {
        let share = begun.elapsed().as_secs_f64() / within.as_secs_f64();
        clock.set(&format!("+{}s", from + ((to - from) as f64 * share) as u64));
        thread::sleep(STEP);
    }
    clock.set(&format!("+{to}s"));
}

const HOUR: u64 = 3600;

/// When a replica's answer about a certificate was signed, in seconds since 1970.
fn signed_at(cluster: &Cluster, replica: usize, serial: &str) -> Option<i64> {
    let answer = cluster.ask(serial).at(cluster.replicas[replica].site().http, "/");
    let time = answer.this_update?;
    Some(bash(cluster.ca.dir(), &format!("date -ud '{time}' +%s")).trim().parse().unwrap())
}

#[test]
fn while_redis_is_away_for_long_no_answer_is_lost_and_afterwards_everything_is_there_anew() {
    let dir = Ca::new("Clock");
    let clock = FakeClock::new(dir.dir());
    let plan = ClusterPlan::of(2, 2).redis(DURABLE).policy("validity = \"8h\"").clock(&clock);
    let mut cluster = plan.start();
    let signing = cluster.add_replica_with(true);
    cluster.replicas[signing].start();
    cluster.until_filled(signing);
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    let [pushed, again, other] = [(); 3].map(|()| issued(&cluster));
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    let first = signed_at(&cluster, 0, &good).unwrap();
    // Answers of eight hours are replaced after three and a half, up to four.
    clock.set(&format!("+{}s", 3 * HOUR + 20 * 60));
    cluster.until_fresh(SOON);
    let leader = cluster.until_led(SOON);
    let client = Client::of(&cluster, &[&good, &gone]);
    let addresses = [0, 1, signing].map(|replica| cluster.replicas[replica].site().http);
    let clients = client.ask(&addresses, 2);
    cluster.redis.kill();
    let away = Instant::now();
    thread::scope(|scope| {
        let running = scope.spawn(|| run_fast(&clock, 3 * HOUR + 20 * 60, 4 * HOUR + 5 * 60, Duration::from_secs(40)));
        // Taken by the book, told to nobody; the leader is killed with it, and starts again without Redis.
        for serial in [&pushed, &again] {
            let answer = cluster.push(leader, "revoke", serial);
            assert!(answer.status == 503 && answer.text.contains("not-told"), "{answer:?}");
        }
        cluster.ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
        // Its book has it within a second, and it is killed with what it knows.
        thread::sleep(Duration::from_secs(5));
        running.join().unwrap();
    });
    cluster.writers[leader].kill();
    cluster.writers[leader].start();
    let answer = cluster.push(leader, "revoke", &other);
    eprintln!("who has just started says {answer:?}");
    // Answers of before are valid for hours, and nobody was told anything else.
    clients.end_with_only(&[Status::Good, Status::Revoked]);
    for replica in [0, 1] {
        assert_eq!(signed_at(&cluster, replica, &good), Some(first), "it has no key, and what it has is the same");
        let (status, text) = cluster.replicas[replica].readiness_text("").unwrap();
        assert!(status == 200 && text.contains("degraded: feed"), "{status} {text}");
    }
    // Past their end, who has a key signs, and the others say nothing but `tryLater`; revoked or good, nobody is wrong.
    clock.set(&format!("+{}s", 8 * HOUR + 10 * 60));
    let later = Status::error("trylater");
    for replica in [0, 1] {
        cluster.until_said(replica, &good, &later, SOON);
        cluster.until_said(replica, &gone, &later, SOON);
    }
    cluster.until_said(signing, &gone, &Status::Revoked, SOON);
    cluster.until_said(signing, &good, &Status::Good, SOON);
    eprintln!("Redis was away for {:?}", away.elapsed());
    cluster.redis.restart();
    for serial in [&pushed, &again, &leaf.serial] {
        cluster.until_revoked_everywhere(serial);
    }
    cluster.until_said_everywhere(&good, &Status::Good, SOON);
    cluster.until_said_everywhere(&gone, &Status::Revoked, SOON);
    cluster.until_fresh(SOON);
    let now = first + i64::try_from(8 * HOUR).unwrap();
    for replica in cluster.answering() {
        for serial in [&good, &gone, &pushed, &again, &leaf.serial] {
            let signed = signed_at(&cluster, replica, serial).unwrap();
            assert!(signed > now - 300, "{serial} at replica {replica} was signed {} s ago", now - signed);
        }
    }
    if answer.text.contains("not-told") {
        cluster.until_revoked_everywhere(&other);
    }
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&gone, &pushed, &again, &leaf.serial, &after]);
}
