//! Writers that stand by: a push that has to be on their disks as well, and a hand-over to one of them.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Api, Cluster, ClusterPlan, Ended, Status, programs, run};

use crate::{SOON, issued, revoked, until_logged, until_told};

/// A push to the leader, which waits for one standby.
const ONE_STANDBY: &str = "acknowledge_standbys = 1\nacknowledge_within = \"1s\"";

#[test]
fn a_push_is_acknowledged_once_a_standby_has_it_on_disk_and_refused_while_none_does() {
    let mut cluster = ClusterPlan::of(2, 1).set_of_writers(ONE_STANDBY).start();
    let [first, second] = [(); 2].map(|()| issued(&cluster));
    let leader = cluster.until_led(SOON);
    let standby = 1 - leader;
    cluster.until("the leader knows of the standby", SOON, || {
        (cluster.writers[leader].feed_metric("ostia_feed_standbys", "")? == 1.0).then_some(())
    });
    assert_eq!(cluster.push(leader, "revoke", &first).status, 200, "{}", cluster.logs());
    // What it acknowledged survives the disk of the leader and all that Redis has.
    cluster.writers[standby].pause();
    let refused = cluster.push(leader, "revoke", &second);
    assert!(refused.status == 503 && refused.text.contains("only 0 of the 1 standbys"), "{refused:?}");
    until_told(&cluster, &cluster.writers[leader], "0 of the 1 standbys that must have what is acknowledged");
    cluster.writers[standby].go_on();
    cluster.until("it counts once the standby has it", SOON, || {
        (cluster.push(leader, "revoke", &second).status == 200).then_some(())
    });
    cluster.writers[leader].kill();
    std::fs::remove_dir_all(cluster.writers[leader].site().dir().join("state")).unwrap();
    cluster.redis.cli(["FLUSHALL"]);
    cluster.until_led_by_another(leader, SOON);
    // Replicas that never were anywhere near it.
    let empty = cluster.add_replica();
    cluster.replicas[empty].start();
    cluster.until_filled(empty);
    for serial in [&first, &second] {
        cluster.until_said(empty, serial, &Status::Revoked, SOON);
    }
}

#[test]
fn what_nobody_trusted_says_of_its_disk_does_not_make_a_push_count() {
    let mut cluster = ClusterPlan::of(2, 1).set_of_writers(ONE_STANDBY).start();
    let leader = cluster.until_led(SOON);
    let standby = 1 - leader;
    let serial = issued(&cluster);
    assert_eq!(cluster.push(leader, "revoke", &serial).status, 200, "{}", cluster.logs());
    let (key, other) = ("ostia:tests:ack", issued(&cluster));
    let field = cluster.redis.cli(["HKEYS", key]).trim().to_owned();
    cluster.writers[standby].pause();
    // What it said last stays as it is, and says nothing of what came since; nor does anything that is made up.
    let refused = cluster.push(leader, "revoke", &other);
    assert!(refused.status == 503 && refused.text.contains("not-told"), "{refused:?}");
    for forged in ["", "rubbish", &"x".repeat(100_000)] {
        cluster.redis.cli(["HSET", key, &field, forged]);
        let refused = cluster.push(leader, "revoke", &other);
        assert!(refused.status == 503 && refused.text.contains("not-told"), "{refused:?}");
    }
    // A key of another type is nobody's.
    cluster.redis.cli(["DEL", key]);
    cluster.redis.cli(["SET", key, "rubbish"]);
    cluster.writers[standby].go_on();
    cluster.until("it counts again", SOON, || (cluster.push(leader, "revoke", &other).status == 200).then_some(()));
}

/// Pushes go on at whoever takes them, until `is_over`; gives the longest time in which nobody did, and how many were taken.
fn longest_gap(apis: &[Api], serial: &str, is_over: &AtomicBool) -> (Duration, usize) {
    let (mut taken, mut last, mut longest) = (0_usize, Instant::now(), Duration::ZERO);
    while !is_over.load(Relaxed) {
        // On hold, and released: it is a change each time.
        let (verb, reason) =
            if taken.is_multiple_of(2) { ("revoke", ",\"reason\":\"certificateHold\"") } else { ("release", "") };
        let body = format!("{{\"serial\":\"{serial}\"{reason}}}");
        if apis.iter().any(|api| api.push(verb, &body, SOON).status == 200) {
            (taken, longest, last) = (taken + 1, longest.max(last.elapsed()), Instant::now());
        }
    }
    (longest, taken)
}

#[test]
fn a_leader_that_is_stopped_in_order_hands_over_to_the_standby_that_has_everything_before_anybody_misses_it() {
    let mut cluster = ClusterPlan::of(3, 1).start();
    // Who stands by would wait for a minute if it had to take the end for silence.
    for writer in 0..3 {
        cluster.writers[writer].restart_with(|text| text.replace("takeover_after = \"2s\"", "takeover_after = \"1m\""));
        cluster.until_led(SOON);
    }
    let (serial, before) = (issued(&cluster), revoked(&cluster));
    let (apis, is_over) = (cluster.apis(), AtomicBool::new(false));
    let (longest, taken) = thread::scope(|scope| {
        let pushes = scope.spawn(|| longest_gap(&apis, &serial, &is_over));
        for _ in 0..3 {
            let leader = cluster.until_led(SOON);
            cluster.until("the leader knows of both standbys", SOON, || {
                (cluster.writers[leader].feed_metric("ostia_feed_standbys", "")? == 2.0).then_some(())
            });
            cluster.writers[leader].end_by("TERM");
            until_logged(&cluster, "hands over to", || cluster.writers[leader].log());
            cluster.until_led_by_another(leader, SOON);
            cluster.writers[leader].start();
        }
        is_over.store(true, Relaxed);
        pushes.join().unwrap()
    });
    assert!(taken > 10 && longest < Duration::from_secs(5), "{taken} {longest:?}\n{}", cluster.logs());
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
}

/// `ostia-precompute handover` or `promote` with the configuration of a writer.
fn operate(cluster: &Cluster, what: &str, writer: usize) -> Ended {
    run(Command::new(&programs().precompute).args([what, "--config"]).arg(cluster.writers[writer].site().config()))
}

fn until_it_stands_by(cluster: &Cluster, writer: usize) {
    cluster.until("it stands by", SOON, || {
        (cluster.writers[writer].feed_metric("ostia_feed_role", "role=\"standing_by\"")? == 1.0).then_some(())
    });
}

#[test]
fn an_operator_has_another_writer_lead_and_it_is_said_where_none_can() {
    let mut cluster = ClusterPlan::of(2, 1).start();
    let [first, second] = [(); 2].map(|()| issued(&cluster));
    let leader = cluster.until_led(SOON);
    let standby = 1 - leader;
    let refused = operate(&cluster, "handover", standby);
    let at_the_leader = format!("http://{} does: ask the one that leads", cluster.writers[leader].site().admin);
    assert!(!refused.status.success() && refused.text.contains(&at_the_leader), "{refused:?}");
    let done = cluster.until("the leader knows of the standby", SOON, || {
        Some(operate(&cluster, "handover", leader)).filter(|done| done.status.success())
    });
    assert!(done.text.contains("this writer stands by, and "), "{done:?}");
    cluster.until_led_by_another(leader, SOON);
    until_it_stands_by(&cluster, leader);
    assert_eq!(cluster.revoke(&first), standby, "{}", cluster.logs());
    cluster.until_revoked_everywhere(&first);
    // Where nobody else is at hand, it goes on.
    cluster.writers[leader].kill();
    let refused = cluster.until("it is missed", SOON, || {
        Some(operate(&cluster, "handover", standby)).filter(|refused| refused.text.contains("no other writer keeps up"))
    });
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(cluster.revoke(&second), standby);
    cluster.until_revoked_everywhere(&second);
}

#[test]
fn a_writer_that_takes_over_by_hand_waits_for_an_operator_and_then_leads_through_a_restart() {
    let mut cluster = ClusterPlan::of(2, 1).start();
    let before = revoked(&cluster);
    let leader = cluster.until_led(SOON);
    let by_hand = 1 - leader;
    cluster.writers[by_hand]
        .restart_with(|text| text.replace("takeover_after", "takeover = \"by_hand\"\ntakeover_after"));
    until_it_stands_by(&cluster, by_hand);
    let silence = |cluster: &Cluster| cluster.writers[by_hand].feed_metric("ostia_feed_silence_seconds", "");
    cluster.until("it hears the leader", SOON, || silence(&cluster).map(drop));
    cluster.writers[leader].kill();
    // Thrice as long as another one would wait.
    cluster.until("it misses the leader", SOON, || (silence(&cluster)? > 12.0).then_some(()));
    assert_eq!(cluster.leader(), None, "{}", cluster.logs());
    let done = operate(&cluster, "promote", by_hand);
    assert!(done.status.success() && done.text.contains("this writer leads"), "{done:?}");
    let after = revoked(&cluster);
    cluster.writers[by_hand].kill();
    cluster.writers[by_hand].start();
    assert_eq!(cluster.until_led(SOON), by_hand);
    let last = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after, &last]);
}

#[test]
fn a_user_who_may_not_say_what_is_on_disk_is_named_and_everything_else_goes_on() {
    let cluster = ClusterPlan::of(2, 1).users().start();
    let before = revoked(&cluster);
    let leader = cluster.until_led(SOON);
    cluster.redis.cli(["ACL", "SETUSER", "ostia-writer", "-hset", "-hmget"]);
    let told =
        until_told(&cluster, &cluster.writers[1 - leader], "the writer at work cannot be told what is on disk here");
    assert!(told.contains("ACL GETUSER ostia-writer"), "{told}");
    until_told(&cluster, &cluster.writers[leader], "what standbys have on disk cannot be read");
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.redis.cli(["ACL", "SETUSER", "ostia-writer", "+hset", "+hmget"]);
    cluster.until("it is over", SOON, || {
        let (_, lines) = cluster.writers[1 - leader].readiness_text("")?;
        (!lines.contains("cannot be told")).then_some(())
    });
}

#[test]
fn a_writer_that_has_no_records_yet_is_not_promoted() {
    let mut cluster = ClusterPlan::of(2, 1).set_up();
    cluster.writers[0].start();
    cluster.until_led(SOON);
    cluster.replicas[0].start();
    cluster.until_filled(0);
    let before = revoked(&cluster);
    // It reaches nobody who has the snapshot.
    cluster.writers[1].site().edit_config(|text| {
        let start = text.find("snapshot_from").unwrap();
        let end = start + text[start..].find('\n').unwrap();
        format!("{}snapshot_from = []{}", &text[..start], &text[end..])
    });
    cluster.writers[1].start();
    until_it_stands_by(&cluster, 1);
    let refused = operate(&cluster, "promote", 1);
    assert!(!refused.status.success() && refused.text.contains("has no records of the feed yet"), "{refused:?}");
    assert_eq!(cluster.leader(), Some(0));
    cluster.are_revoked_now(&[&before]);
}
