//! A cluster of real processes when something fails: each row of the feed's failure table that one Redis suffices for.
//!
//! What becomes of readers is in `replicas`, of Redis in `redis`, of writers in `writers`, of the feed when somebody else
//! writes into it in `strangers`; how soon revocations come is in `lag`. Replicas with keys and without are in `keys`, answers
//! that they share in `sharing`, what starts without Redis in `starts`, long outages in `outage`, connections of a replica that
//! dies in `killed`, acknowledgements and hand-overs in `standbys`, a second site in `sites`, the page that sets it all up in
//! `page`, changed configurations in `reloads` (replicas) and `roles` (writers). What is not as it is taken for: issuers that
//! one side lacks in `issuers`, streams, keys and clocks in `mistaken`, sources of snapshots in `sources`, TLS before writers in
//! `https`; and in `reported` what others have met. Books that come back from a backup are in `backup`.
//!
//! Invariant: a certificate that a replica has once called revoked is never called anything else again, whatever fails.
//! Take-overs come after two seconds, so that all of it takes minutes; the tables' figures are for the default of six.

mod backup;
mod balancers;
mod https;
mod issuers;
mod keys;
mod killed;
mod lag;
mod mistaken;
mod outage;
mod page;
mod redis;
mod reloads;
mod replicas;
mod reported;
mod roles;
mod sentinels;
mod sharing;
mod sites;
mod sources;
mod standbys;
mod starts;
mod strangers;
mod writers;

use std::time::Duration;

use ostia_tests::{Cluster, Member, Status};

/// For whatever has to happen at once, on a machine that may be busy: less than the 30 s after which a reader changes
/// over to another chain.
const SOON: Duration = Duration::from_secs(28);

/// The lines of a Redis that keeps what it acknowledged.
const DURABLE: &str = "appendonly yes\nappendfsync always\n";

/// A certificate that is known everywhere.
#[track_caller]
fn issued(cluster: &Cluster) -> String {
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    leaf.serial
}

/// One that is revoked everywhere.
#[track_caller]
fn revoked(cluster: &Cluster) -> String {
    let serial = issued(cluster);
    cluster.revoke(&serial);
    cluster.until_revoked_everywhere(&serial);
    serial
}

/// Waits until the readiness of a member says something; gives all that it says.
#[track_caller]
fn until_told(cluster: &Cluster, member: &Member, what: &str) -> String {
    cluster.until(&format!("readiness says `{what}`"), SOON, || {
        Some(member.readiness_text("")?.1).filter(|told| told.contains(what))
    })
}

/// Waits until a log says something.
#[track_caller]
fn until_logged(cluster: &Cluster, what: &str, log: impl Fn() -> String) {
    cluster.until(&format!("the log says `{what}`"), SOON, || log().contains(what).then_some(()));
}
