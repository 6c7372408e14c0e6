//! Entries that no writer of the cluster has written.

use std::time::Duration;

use ostia_tests::{Cluster, ClusterPlan};

use crate::{SOON, revoked};

#[test]
fn forged_and_damaged_entries_are_passed_over_and_counted() {
    let cluster = ClusterPlan::of(2, 2).start();
    let before = revoked(&cluster);
    // One as it was written by its writer, and one with a bit of it flipped; in places of their own.
    let script = "local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        local epoch, seq = string.match(last[1], '(%d+)-(%d+)')
        local whole = last[2][2]
        local bent = string.sub(whole, 1, -2) .. string.char((string.byte(whole, -1) + 1) % 256)
        for step, bytes in ipairs({whole, bent, '', 'nonsense', string.rep('x', 1000000)}) do
            redis.call('XADD', KEYS[1], epoch .. '-' .. string.format('%d', seq + step), 'b', bytes)
        end
        redis.call('XADD', KEYS[1], epoch .. '-' .. string.format('%d', seq + 6), 'other', 'field')
        return epoch";
    cluster.redis.cli(["EVAL", script, "1", Cluster::STREAM]);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    for replica in &cluster.replicas {
        let refused = replica.feed_metric("ostia_feed_entries_refused_total", "");
        assert!(refused >= Some(6.0), "{refused:?}\n{}", cluster.logs());
        assert_eq!(replica.feed_metric("ostia_feed_contradictions", ""), Some(0.0));
    }
    cluster.until_fresh(SOON);
}

#[test]
fn the_largest_possible_id_keeps_nobody_out_for_long() {
    let cluster = ClusterPlan::of(2, 2).start();
    let before = revoked(&cluster);
    cluster.redis.cli(["XADD", Cluster::STREAM, "18446744073709551615-18446744073709551615", "b", "poison"]);
    let after = revoked(&cluster);
    cluster.are_revoked_now(&[&before, &after]);
    cluster.until_fresh(Duration::from_secs(30));
}

#[test]
fn a_manifest_of_nobody_is_not_followed() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    let before = revoked(&cluster);
    cluster.redis.cli(["SET", Cluster::HEAD, "forged"]);
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].start();
    // The writer sets its own again.
    cluster.until_filled(newcomer);
    cluster.are_revoked_now(&[&before]);
}
