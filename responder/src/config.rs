//! The responder's part of the configuration file; tenants are `precompute`'s.

use std::{net::SocketAddr, path::Path};

use precompute::{
    config::{Config as Common, ConfigError, Document},
    pki::UnixTime,
};

use crate::limits;

/// Everything that the file says.
#[derive(Debug)]
pub struct Config {
    /// Tenants and the state directory.
    pub common: Common,
    /// Where relying parties are answered; at least one address.
    pub http: Vec<SocketAddr>,
    /// Serving threads.
    pub workers: usize,
    /// Health and metrics, never on a port of `http`.
    pub admin: SocketAddr,
    /// Octets that the table of answers about listed certificates may take.
    pub answers_octets: u64,
    /// Octets of other answers that are kept.
    pub cache_octets: u64,
}

/// Loopback: being reachable from elsewhere is a decision.
const HTTP_DEFAULT: &str = "127.0.0.1:8080";
const ADMIN_DEFAULT: &str = "127.0.0.1:9090";

impl Config {
    /// Reads a configuration file whole: keys and certificates are opened and tried.
    pub fn read(path: &Path, now: UnixTime) -> Result<Self, ConfigError> {
        Document::open(path)?.read(|root| {
            let (mut http, mut workers) = (None, None);
            if root.has("http") {
                root.section("http", |section| {
                    http = section.addresses("listen");
                    workers = section.integer("workers", 1..=limits::WORKERS_MAX);
                    if http.as_ref().is_some_and(Vec::is_empty) {
                        section.problem("listen", "is empty; name at least one address");
                    }
                    Some(())
                });
            }
            let admin =
                if root.has("admin") { root.section("admin", |section| section.address("listen")) } else { None };
            let range = limits::CACHE_OCTETS_MIN..=limits::CACHE_OCTETS_MAX;
            let (mut answers, mut cache) = (None, None);
            if root.has("cache") {
                root.section("cache", |section| {
                    answers = section.integer("answers_octets", range.clone());
                    cache = section.integer("octets", range);
                    Some(())
                });
            }
            let common = Common::read(root, now);
            root.finish();

            let http = http.or_else(|| Some(vec![HTTP_DEFAULT.parse().ok()?]))?;
            let admin = admin.or_else(|| ADMIN_DEFAULT.parse().ok())?;
            if let Some(address) = http.iter().find(|address| overlap(address, &admin)) {
                let problem = format_args!(
                    "listens on {admin}, which is taken by {address} of `http`; give it a port of its own"
                );
                root.problem("admin", problem);
            }
            Some(Self {
                common: common?,
                http,
                workers: workers.map_or_else(cores, |workers| workers as usize),
                admin,
                answers_octets: answers.unwrap_or(limits::ANSWERS_OCTETS_DEFAULT) as u64,
                cache_octets: cache.unwrap_or(limits::CACHE_OCTETS_DEFAULT) as u64,
            })
        })
    }
}

/// Whether two sockets cannot be bound to these at once.
fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let everything = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (everything || a.ip() == b.ip())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
