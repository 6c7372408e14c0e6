//! The responder's part of the configuration file; tenants are `precompute`'s part.
//!
//! Like that part it is a plain value: the files that it names are opened in [`crate::assemble`], not here. `keys` has
//! every key of this part with its value, so that a changed one is reported by name. It does not know what the sections
//! of tenants mean.

mod edge;
pub mod keys;
mod network;
mod time_stamping;

use std::{net::SocketAddr, path::Path};

use precompute::config::{Config as Common, ConfigError, Document, Reading, overlap};

pub use self::{
    edge::Edge,
    network::{Listen, Tls},
    time_stamping::TimeStamping,
};
use crate::net::policy::ConnectionPolicy;

/// Everything in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Tenants, the state directory and the admin listener.
    pub common: Common,
    /// Addresses for relying parties; at least one.
    pub http: Vec<Listen>,
    /// How connections are treated, on these addresses and over TLS.
    pub connection_policy: ConnectionPolicy,
    /// The TLS addresses and certificate.
    pub tls: Option<Tls>,
    /// Serving threads.
    pub workers: usize,
    /// One of this many requests is logged; none for 0.
    pub access_sample: u32,
    /// What all time-stamping authorities share.
    pub time_stamping: TimeStamping,
    /// The replicas that sign; `None` where this one is no edge.
    pub edge: Option<Edge>,
}

/// The sections that count as known, whether the file has them or not.
const SECTIONS: [&str; 5] = ["http", "tls", "log", "time_stamping", "edge"];

/// Loopback: being reachable from elsewhere has to be a decision.
const HTTP_DEFAULT: &str = "127.0.0.1:8080";

impl Config {
    /// Reads a whole configuration file. The files that it names are not opened.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::reading(&Document::open(path)?).finish()
    }

    /// The same, for callers that check what it names before any problem is reported.
    pub fn reading(document: &Document) -> Reading<Self> {
        document.reading(|root| {
            let http = if root.has("http") { root.section("http", network::read_http) } else { None };
            let tls = if root.has("tls") { root.section("tls", network::read_tls) } else { None };
            let access = if root.has("log") {
                root.section("log", |section| section.integer("access_sample", 0..=i64::from(u32::MAX)))
            } else {
                None
            };
            let time_stamping =
                if root.has("time_stamping") { root.section("time_stamping", time_stamping::read) } else { None };
            let time_stamping = time_stamping.unwrap_or_default();
            let edge = if root.has("edge") { root.section("edge", edge::read) } else { None };
            let common = Common::read(root);
            if edge.is_some() {
                edge::check(root, &common);
            }
            time_stamping::check(root, &time_stamping, &common);
            root.leave_to_others(&SECTIONS);
            root.finish();

            let network::Http { listen, workers, connection_policy } = http.unwrap_or_default();
            let http = listen.or_else(|| Some(vec![Listen::Address(HTTP_DEFAULT.parse().ok()?)]))?;
            let of_tls = tls.as_ref().map_or(&[][..], |tls| &tls.listen);
            for (name, address, by, taken) in taken_twice(&http, of_tls, &common) {
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
                access_sample: access.unwrap_or(0) as u32,
                time_stamping,
                edge,
            })
        })
    }
}

/// Addresses that are not available because of an earlier one in the file: the section and the address, and the same of
/// the earlier one.
fn taken_twice(
    http: &[Listen],
    tls: &[Listen],
    common: &Common,
) -> Vec<(&'static str, SocketAddr, &'static str, SocketAddr)> {
    let addresses = |name: &'static str, listens: &[Listen]| -> Vec<_> {
        let address =
            |listen: &Listen| if let Listen::Address(address) = listen { Some((name, *address)) } else { None };
        listens.iter().filter_map(address).collect()
    };
    let mut all = [addresses("http", http), addresses("tls", tls)].concat();
    let served = all.len();
    all.push(("admin", common.admin.listen));
    all.extend(common.feed.as_ref().and_then(|feed| feed.snapshot_listen).map(|listen| ("feed", listen)));
    let first_taken = |(place, &(name, address)): (usize, &(&'static str, SocketAddr))| {
        // That of the feed beside `admin` has been told with the common part.
        let before = if name == "feed" { served } else { place };
        let (by, taken) = all[..before].iter().find(|(_, other)| overlap(other, &address))?;
        Some((name, address, *by, *taken))
    };
    all.iter().enumerate().filter_map(first_taken).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
