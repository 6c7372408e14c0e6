//! What tests of a cluster say again and again.

use std::time::Duration;

use super::{Cluster, Member};
use crate::Status;

/// For whatever has to happen at once, on a machine that may be busy: less than the 30 s after which a reader changes
/// over to another chain.
pub const SOON: Duration = Duration::from_secs(28);

/// A certificate that is known everywhere.
#[track_caller]
pub fn issued(cluster: &Cluster) -> String {
    let leaf = cluster.ca.issue();
    cluster.until_said_everywhere(&leaf.serial, &Status::Good, SOON);
    leaf.serial
}

/// One that is revoked everywhere.
#[track_caller]
pub fn revoked(cluster: &Cluster) -> String {
    let serial = issued(cluster);
    cluster.revoke(&serial);
    cluster.until_revoked_everywhere(&serial);
    serial
}

/// Waits until the readiness of a member says something; gives all that it says.
#[track_caller]
pub fn until_told(cluster: &Cluster, member: &Member, what: &str) -> String {
    cluster.until(&format!("readiness says `{what}`"), SOON, || {
        Some(member.readiness_text("")?.1).filter(|told| told.contains(what))
    })
}

/// Waits until a log says something.
#[track_caller]
pub fn until_logged(cluster: &Cluster, what: &str, log: impl Fn() -> String) {
    cluster.until(&format!("the log says `{what}`"), SOON, || log().contains(what).then_some(()));
}
