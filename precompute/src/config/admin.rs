//! `[admin]`: the address of the admin listener, what counts as ready, and who may push. No address is bound here, and no
//! token is read.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use super::{ConfigError, Document, Place, SecretFile, Section};

/// The admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// Its place in the file.
    pub place: Place,
    /// Health and metrics; never on a port of relying parties.
    pub listen: SocketAddr,
    /// Whether the service counts as ready while no key of some signer works. Kept answers are still served, and a
    /// balancer that stops using all replicas at once makes things worse.
    pub ready_without_signers: bool,
    /// The file with the token of the API; without one there is no API.
    pub token_file: Option<SecretFile>,
}

impl Default for Admin {
    /// On loopback: being reachable from elsewhere has to be a decision.
    fn default() -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 9090).into();
        Self { place: Place::default(), listen, ready_without_signers: true, token_file: None }
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
        let token_file = read_token_file(section, listen);
        Some(Admin { place: section.place(), listen, ready_without_signers, token_file })
    });
    read.unwrap_or_default()
}

fn read_token_file(section: &mut Section<'_>, listen: SocketAddr) -> Option<SecretFile> {
    let make = "name a file with a token, which `openssl rand -hex 32` makes";
    let file = SecretFile::read(section, "token_file", "token", make)?;
    if !listen.ip().is_loopback() {
        section.problem(
            "token_file",
            format_args!(
                "needs `listen` on a loopback address, such as 127.0.0.1:9090 or [::1]:9090: the listener has no TLS, so the token would cross the network where others can read it; it is {listen}"
            ),
        );
    }
    Some(file)
}

impl Admin {
    /// Reads this section alone: a program that asks the running service does not need the rest of the file.
    pub fn of(path: &Path) -> Result<Self, ConfigError> {
        Document::open(path)?.read(|root| Some(read(root)))
    }
}

/// An address in the usual form: an IPv4 address within IPv6 becomes IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether two sockets cannot be bound to these addresses at the same time.
pub fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let everything = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (everything || a.ip() == b.ip())
}
