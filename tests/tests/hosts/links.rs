//! Replicas that are far away, at the end of a slow link.

use std::{fmt::Write as _, fs, time::Duration};

use ostia_tests::{ClusterPlan, Site, Status};

use crate::{SOON, issued, revoked};

/// Certificates of which a snapshot is made: more than a slow link carries in a second.
const LISTED: u32 = 3000;

/// 50 ms each way, and 1 Mbit/s: they are filled, follow, and hear of revocations. The writer gives out snapshots at whatever
/// addresses it has, and they know it by a name.
#[test]
fn replicas_behind_slow_links_are_filled_by_a_writer_that_they_know_by_name_and_follow() {
    let mut cluster = ClusterPlan::of(1, 3).distant_replicas(Duration::from_millis(50)).set_up();
    let mut index = fs::read_to_string(cluster.ca.index()).unwrap();
    for number in 0..LISTED {
        let _ = writeln!(index, "V\t351231235959Z\t\t7F{number:06X}\tunknown\t/CN=host-{number}.example");
    }
    fs::write(cluster.ca.index(), index).unwrap();
    let says = |site: &Site, what: &str| fs::read_to_string(site.config()).unwrap().contains(what);
    assert!(says(cluster.writers[0].site(), "snapshot_listen = \"0.0.0.0:8081\""));
    assert!(says(cluster.replicas[0].site(), "snapshot_from = [\"http://writer-0:8081\"]"));
    cluster.replicas.iter().for_each(|replica| replica.host().limit_rate("1mbit"));
    cluster.writers[0].start();
    cluster.until_led(SOON);
    (0..3).for_each(|number| cluster.replicas[number].start());
    (0..3).for_each(|number| cluster.until_filled(number));
    let last = format!("7F{:06X}", LISTED - 1);
    cluster.until_said_everywhere(&last, &Status::Good, 2 * SOON);
    let (before, next) = (revoked(&cluster), issued(&cluster));
    let ended = cluster.lag(&["--pushes", "60", "--expect", "p99<5s,wrong=0"]);
    assert!(ended.status.success(), "{}\n{}", ended.text, cluster.logs());
    eprintln!("{}", ended.text);
    cluster.revoke(&next);
    cluster.until_revoked_everywhere(&next);
    cluster.are_revoked_now(&[&before, &next]);
    cluster.until_fresh(SOON);
}
