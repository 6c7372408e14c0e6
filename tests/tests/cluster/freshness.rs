//! Answers of minutes at replicas that have no key: given out for as long as the issuer's policy says, and no longer.
//!
//! The clocks on all walls are put forward, so that the writer is away for ten minutes in a second.

use ostia_tests::{Ca, ClusterPlan, FakeClock, Status, bash, http};

use crate::{SOON, issued, revoked};

/// A client of X-Road refuses what was signed more than an hour ago, or is past nextUpdate, and uses what it has for
/// twenty minutes and more. So what leaves is ten minutes old at most, whoever has lost whatever.
#[test]
fn for_x_road_a_replica_without_a_key_gives_out_nothing_older_than_ten_minutes_while_the_writer_is_away() {
    let dir = Ca::new("Clock");
    let clock = FakeClock::new(dir.dir());
    let mut cluster = ClusterPlan::of(1, 1).policy("validity = \"9h\"").clock(&clock).start();
    let (good, gone) = (issued(&cluster), revoked(&cluster));
    cluster.until_said(0, &good, &Status::Good, SOON);
    // The issuer's own word, at everybody.
    for member in cluster.writers.iter().chain(&cluster.replicas) {
        member.reload(|text| text.replacen("[[tenant.issuer]]\n", "[[tenant.issuer]]\nprofile = \"x-road\"\n", 1));
    }
    let now = |ahead: i64| bash(dir.dir(), "date +%s").trim().parse::<i64>().unwrap() + ahead;
    let times = |cluster: &ostia_tests::Cluster, serial: &str| -> Option<(i64, i64)> {
        let answer = cluster.ask(serial).at(cluster.replicas[0].site().http, "/");
        let [this, next] = [answer.this_update?, answer.next_update?]
            .map(|time| bash(dir.dir(), &format!("date -ud '{time}' +%s")).trim().parse().unwrap());
        Some((this, next))
    };
    let of_x_road = || times(&cluster, &good).filter(|(this, next)| next - this == 3600);
    let (signed, _) = cluster.until("the writer's answers for X-Road came", SOON, of_x_road);
    let reply = http::get(cluster.replicas[0].site().http, &http::ocsp_target("/", &cluster.ask(&good).request()));
    assert!(reply.cache_control_seconds("max-age") <= 300, "{reply:?}");
    cluster.writers[0].kill();
    clock.set("+8m");
    // Whoever follows the clock looks once a second, so the replica may be as much behind.
    for (serial, status) in [(&good, Status::Good), (&gone, Status::Revoked)] {
        cluster.until_said(0, serial, &status, SOON);
        let (this, next) = times(&cluster, serial).unwrap();
        let (age, left) = (now(480) - this, next - now(480));
        assert!(age <= 600 && left >= 3000, "signed {age} s ago, valid for {left} s; the first at {signed}");
    }
    clock.set("+11m");
    for serial in [&good, &gone] {
        cluster.until_said(0, serial, &Status::error("trylater"), SOON);
    }
    cluster.writers[0].start();
    for (serial, status) in [(&good, Status::Good), (&gone, Status::Revoked)] {
        cluster.until_said(0, serial, &status, SOON);
        let (this, _) = times(&cluster, serial).unwrap();
        assert!(now(660) - this <= 600, "signed anew");
    }
}
