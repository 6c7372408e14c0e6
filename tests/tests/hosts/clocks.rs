//! Writers whose clocks are apart, and who take over from each other.

use ostia_tests::{Cluster, ClusterPlan};

use crate::{SOON, issued, revoked, until_agreed, until_told};

/// Kills the one that leads; gives who leads next.
#[track_caller]
fn replaced(cluster: &mut Cluster) -> usize {
    let leader = cluster.until_led(SOON);
    cluster.writers[leader].kill();
    cluster.until_led_by_another(leader, SOON)
}

/// One is an hour ahead, and takes over; then the other one, an hour behind, does.
#[test]
fn writers_an_hour_apart_take_over_from_each_other_and_nothing_is_lost() {
    let mut cluster = ClusterPlan::of(2, 2).replicas_with_key().set_up();
    cluster.writers[1].follow_clock("+1h");
    cluster.writers[0].start();
    assert_eq!(cluster.until_led(SOON), 0);
    cluster.writers[1].start();
    (0..2).for_each(|number| cluster.replicas[number].start());
    (0..2).for_each(|number| cluster.until_filled(number));
    let mut known = vec![revoked(&cluster)];
    until_agreed(&cluster);
    cluster.until_fresh(SOON);
    let mut epochs = vec![cluster.writers[0].epoch()];
    for former in [0, 1, 0] {
        let leader = replaced(&mut cluster);
        assert_eq!(leader, 1 - former, "{}", cluster.logs());
        let epoch = cluster.writers[leader].epoch();
        assert!(epoch > *epochs.last().unwrap(), "{epoch} after {epochs:?}");
        epochs.push(epoch);
        let next = issued(&cluster);
        cluster.revoke(&next);
        cluster.until_revoked_everywhere(&next);
        known.push(next);
        for replica in &cluster.replicas {
            // The one that is ahead is followed, and what it says of the time does not count.
            let (what, fresh) = if leader == 1 { ("clock", 503) } else { ("ready", 200) };
            cluster.until("freshness", SOON, || (replica.readiness("?fresh=1")? == fresh).then_some(()));
            assert!(until_told(&cluster, replica, what).starts_with("ready"));
        }
        cluster.writers[former].start();
        until_agreed(&cluster);
    }
    cluster.are_revoked_now(&known.iter().map(String::as_str).collect::<Vec<_>>());
}
