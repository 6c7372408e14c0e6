//! Replicas that have heard nobody for more than a minute.

use std::time::Duration;

use ostia_tests::{Cluster, ClusterPlan, Status};

use crate::{SOON, issued, revoked, until_lagging, until_logged};

const MINUTE: Duration = Duration::from_secs(60);
const STATES: [&str; 3] = ["fresh", "lagging", "stale"];

/// In which state a replica's metrics say that its feed is: exactly one.
#[track_caller]
fn state(cluster: &Cluster, replica: usize) -> Option<&'static str> {
    let of = |state: &str| cluster.replicas[replica].feed_metric("ostia_feed_freshness", &format!("state=\"{state}\""));
    let mut is = STATES.into_iter().filter(|state| of(state) == Some(1.0));
    is.next()
}

/// For how many seconds readiness says that nothing came.
fn silence(told: &str) -> Option<u64> {
    told.split_once("nothing that counts has come from the writer of `tests` for ")?.1.split_once(" s;")?.0.parse().ok()
}

#[test]
fn a_replica_that_has_heard_nobody_for_a_minute_is_stale_and_answers_until_it_hears_somebody_again() {
    let cluster = ClusterPlan::of(1, 2).hosts().start();
    let (gone, good, next) = (revoked(&cluster), issued(&cluster), issued(&cluster));
    cluster.until_fresh(SOON);
    assert_eq!(state(&cluster, 0), Some("fresh"));
    cluster.network().cut_off(&[cluster.replicas[0].host()]);
    until_lagging(&cluster, 0);
    assert_eq!(state(&cluster, 0), Some("lagging"));
    cluster.revoke(&next);
    cluster.until_said(1, &next, &Status::Revoked, SOON);
    cluster.until("the replica is stale", MINUTE + SOON, || (state(&cluster, 0)? == "stale").then_some(()));
    let lag = cluster.replicas[0].feed_metric("ostia_feed_lag_seconds", "").unwrap();
    assert!(lag > MINUTE.as_secs_f64(), "{lag}");
    let (status, told) = cluster.replicas[0].readiness_text("").unwrap();
    assert!(status == 200 && told.contains("degraded: feed"), "{status} {told}");
    assert!(silence(&told).is_some_and(|seconds| seconds >= MINUTE.as_secs()), "{told}");
    assert_eq!(cluster.replicas[0].readiness("?fresh=1"), Some(503));
    for (serial, status) in [(&gone, Status::Revoked), (&good, Status::Good), (&next, Status::Good)] {
        assert_eq!(cluster.says(0, serial), Some(status), "{serial}");
    }
    until_logged(&cluster, "the records are stale: no writer was heard for a minute", || cluster.replicas[0].log());
    // The other one notices nothing.
    assert_eq!((state(&cluster, 1), cluster.replicas[1].readiness("?fresh=1")), (Some("fresh"), Some(200)));
    assert!(!cluster.replicas[1].log().contains("stale"), "{}", cluster.replicas[1].log());
    cluster.network().heal();
    cluster.until_said(0, &next, &Status::Revoked, SOON);
    cluster.until_fresh(SOON);
    assert_eq!(state(&cluster, 0), Some("fresh"));
    until_logged(&cluster, "the records are no longer stale", || cluster.replicas[0].log());
    cluster.are_revoked_now(&[&gone, &next]);
}
