//! `[admin]`: the address of the admin listener, and what counts as ready. No address is bound here.

use std::net::{Ipv4Addr, SocketAddr};

use super::Section;

/// The admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// Health and metrics; never on a port of relying parties.
    pub listen: SocketAddr,
    /// Whether the service counts as ready while no key of some signer works. Kept answers are still served, and a
    /// balancer that stops using all replicas at once makes things worse.
    pub ready_without_signers: bool,
}

impl Default for Admin {
    /// On loopback: being reachable from elsewhere has to be a decision.
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 9090).into(), ready_without_signers: true }
    }
}

pub(super) fn read(root: &mut Section<'_>) -> Admin {
    let default = Admin::default();
    // Known, whether the file has it or not.
    root.leave_to_others(&["admin"]);
    if !root.has("admin") {
        return default;
    }
    let read = root.section("admin", |section| {
        let listen = section.address("listen").map_or(default.listen, canonical);
        let ready_without_signers = section.boolean("ready_without_signers").unwrap_or(default.ready_without_signers);
        Some(Admin { listen, ready_without_signers })
    });
    read.unwrap_or_default()
}

/// An address in the usual form: an IPv4 address within IPv6 becomes IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
