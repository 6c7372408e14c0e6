//! The responder's part of the configuration file; tenants are `precompute`'s.
//!
//! A plain value as that part is: no file that it names is opened here, but in [`crate::assemble`]. `keys` has every key of
//! this part with its value, so that a changed one is told by name.

pub mod keys;
mod network;
mod time_stamping;

use std::{net::SocketAddr, path::Path};

use precompute::config::{Config as Common, ConfigError, Document, Reading};

pub use self::{
    network::{Listen, Tls},
    time_stamping::TimeStamping,
};
use crate::net::{client::canonical, policy::ConnectionPolicy};

/// Everything that the file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Tenants and the state directory.
    pub common: Common,
    /// Where relying parties are answered; at least one address.
    pub http: Vec<Listen>,
    /// How they are treated, there and over TLS.
    pub connection_policy: ConnectionPolicy,
    /// Where and with what TLS is spoken.
    pub tls: Option<Tls>,
    /// Serving threads.
    pub workers: usize,
    /// Health and metrics, never on a port of `http`.
    pub admin: SocketAddr,
    /// Whether the service counts as ready while no key of some signer works: kept answers are served, and a
    /// balancer that turns away from all replicas at once makes it worse.
    pub ready_without_signers: bool,
    /// One of so many requests is logged; none for 0.
    pub access_sample: u32,
    /// What all time-stamping authorities share.
    pub time_stamping: TimeStamping,
}

/// The sections that count as known, whether they are in the file or not.
const SECTIONS: [&str; 5] = ["http", "tls", "admin", "log", "time_stamping"];

/// Loopback: being reachable from elsewhere is a decision.
const HTTP_DEFAULT: &str = "127.0.0.1:8080";
const ADMIN_DEFAULT: &str = "127.0.0.1:9090";

impl Config {
    /// Reads a configuration file whole. What it names is not looked at.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::reading(&Document::open(path)?).finish()
    }

    /// The same, for those who look at what it names before any problem is told.
    pub fn reading(document: &Document) -> Reading<Self> {
        document.reading(|root| {
            let http = if root.has("http") { root.section("http", network::read_http) } else { None };
            let tls = if root.has("tls") { root.section("tls", network::read_tls) } else { None };
            let (mut admin, mut ready_without_signers) = (None, None);
            if root.has("admin") {
                root.section("admin", |section| {
                    admin = section.address("listen").map(canonical);
                    ready_without_signers = section.boolean("ready_without_signers");
                    Some(())
                });
            }
            let access = if root.has("log") {
                root.section("log", |section| section.integer("access_sample", 0..=i64::from(u32::MAX)))
            } else {
                None
            };
            let time_stamping =
                if root.has("time_stamping") { root.section("time_stamping", time_stamping::read) } else { None };
            let time_stamping = time_stamping.unwrap_or_default();
            let common = Common::read(root);
            time_stamping::check(root, &time_stamping, &common);
            root.leave_to_others(&SECTIONS);
            root.finish();

            let network::Http { listen, workers, connection_policy } = http.unwrap_or_default();
            let http = listen.or_else(|| Some(vec![Listen::Address(HTTP_DEFAULT.parse().ok()?)]))?;
            let admin = admin.or_else(|| ADMIN_DEFAULT.parse().ok())?;
            let of_tls = tls.as_ref().map_or(&[][..], |tls| &tls.listen);
            for (name, address, by, taken) in taken_twice(&http, of_tls, admin) {
                let problem = format_args!(
                    "listens on {address}, which is taken by {taken} of `{by}`; give it a port of its own"
                );
                root.problem(name, problem);
            }
            Some(Self {
                common,
                http,
                connection_policy,
                tls,
                workers: workers.unwrap_or_else(cores),
                admin,
                ready_without_signers: ready_without_signers.unwrap_or(true),
                access_sample: access.unwrap_or(0) as u32,
                time_stamping,
            })
        })
    }
}

/// Addresses that cannot be listened on because of one before them: the section of each, it, and the same of the other.
fn taken_twice(
    http: &[Listen],
    tls: &[Listen],
    admin: SocketAddr,
) -> Vec<(&'static str, SocketAddr, &'static str, SocketAddr)> {
    let addresses = |name: &'static str, listens: &[Listen]| -> Vec<_> {
        let address =
            |listen: &Listen| if let Listen::Address(address) = listen { Some((name, *address)) } else { None };
        listens.iter().filter_map(address).collect()
    };
    let all = [addresses("http", http), addresses("tls", tls), vec![("admin", admin)]].concat();
    let first_taken = |(place, &(name, address)): (usize, &(&'static str, SocketAddr))| {
        let (by, taken) = all[..place].iter().find(|(_, other)| overlap(other, &address))?;
        Some((name, address, *by, *taken))
    };
    all.iter().enumerate().filter_map(first_taken).collect()
}

/// Whether two sockets cannot be bound to these at once.
fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let everything = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (everything || a.ip() == b.ip())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
