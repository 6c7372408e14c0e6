//! A cluster whose processes are on hosts of their own, when something fails between them.
//!
//! `network` is the network itself. In `partitions` hosts are cut off, in one direction or both, alone or with others; in
//! `links` they are far from each other; in `clocks` the clocks of writers are apart; in `name_servers` nobody says which address
//! a name has; in `stale` one is cut off for more than a minute. What is said of the processes is in the
//! tests of `cluster`, where all are on one machine. Invariants: a certificate that a replica has once called revoked is
//! never called anything else again; whoever was cut off needs nobody's help on its return. It takes root.

mod clocks;
mod links;
mod name_servers;
mod network;
mod partitions;
mod stale;

use std::{thread, time::Duration};

use ostia_tests::{
    Cluster, Host,
    words::{SOON, issued, revoked, until_logged, until_told},
};

/// For a fail-over of Sentinels and a take-over after it, or both on the way back.
const FAIL_OVER: Duration = Duration::from_secs(60);

/// Pushes revocations of these to a writer, one after the other, until one is not acknowledged; gives those that it has
/// taken, acknowledged or not.
#[track_caller]
fn push_until_refused<'a>(cluster: &Cluster, writer: usize, serials: &'a [String]) -> &'a [String] {
    for (number, serial) in serials.iter().enumerate() {
        let pushed = cluster.push(writer, "revoke", serial);
        if pushed.status != 200 {
            assert_eq!(pushed.status, 503, "{pushed:?}");
            // Asked after it has noticed, it takes nothing.
            return &serials[..number + usize::from(pushed.text.contains("problem:not-told"))];
        }
        thread::sleep(Duration::from_millis(500));
    }
    panic!("all of them are acknowledged\n{}", cluster.logs());
}

/// Pushes a hold or its end, which is acknowledged.
#[track_caller]
fn push_hold(cluster: &Cluster, writer: usize, verb: &str, serial: &str) {
    let reason = if verb == "revoke" { ",\"reason\":\"certificateHold\"" } else { "" };
    let pushed = cluster.push_body(writer, verb, &format!("{{\"serial\":\"{serial}\"{reason}}}"));
    assert_eq!(pushed.status, 200, "{pushed:?}\n{}", cluster.logs());
}

/// Waits until all writers have the same records, and one of them leads.
#[track_caller]
fn until_agreed(cluster: &Cluster) {
    let digest = |writer: usize| cluster.writers[writer].digest();
    cluster.until("all writers have the same records", FAIL_OVER, || {
        let first = digest(0)?;
        ((1..cluster.writers.len()).all(|writer| digest(writer).as_ref() == Some(&first)) && cluster.leader().is_some())
            .then_some(())
    });
}

/// Waits until a replica hears no writer. It is still ready, and says why it is not fresh.
#[track_caller]
fn until_lagging(cluster: &Cluster, replica: usize) {
    cluster.until(&format!("replica {replica} lags"), SOON, || {
        (cluster.replicas[replica].readiness("?fresh=1")? == 503).then_some(())
    });
    let (status, text) = cluster.replicas[replica].readiness_text("").unwrap();
    assert!(status == 200 && text.contains("degraded: feed"), "{status} {text}");
}

/// All hosts of the servers through which the feed travels.
fn servers(cluster: &Cluster) -> Vec<&Host> {
    let followers = cluster.sentinels.iter().flat_map(|sentinels| &sentinels.followers);
    [&cluster.redis].into_iter().chain(followers).map(|server| server.host()).collect()
}
