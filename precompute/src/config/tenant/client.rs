//! The clients of a time-stamping authority: `[[tsa.client]]`, or `[[tenant.tsa.client]]`: by what each is recognised, and how
//! much it may have.
//!
//! Invariant: a key is known by its hash alone, and not even that gets into a message. Nothing is opened here.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{super::Place, Section, read_name};
use crate::{limits, pki::hex};

/// A client.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in logs, metrics and the usage; empty if a problem was noted.
    pub name: String,
    /// The networks that it asks from; empty for every one. IPv4 within IPv6 counts as IPv4.
    pub networks: Vec<IpNet>,
    /// SHA-256 of each of its keys; empty if it is recognised without.
    pub keys: Vec<[u8; 32]>,
    /// How many time-stamps it may have.
    pub quota: Quota,
}

/// Not even the hash of a key is shown.
impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, networks, keys, quota, .. } = self;
        write!(f, "ClientConfig({name:?}, {networks:?}, {} keys, {quota:?})", keys.len())
    }
}

/// How much somebody may have; `None`: as much as they like.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quota {
    /// In a second, and as many at once.
    pub per_second: Option<u32>,
    /// In a day of UTC.
    pub per_day: Option<u64>,
    /// In a month of UTC.
    pub per_month: Option<u64>,
}

/// Who may ask an authority.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClientsConfig {
    /// In the order of the file.
    pub clients: Vec<ClientConfig>,
    /// Whether everybody else may, too: `open`, or there are no clients.
    pub is_open: bool,
}

/// Reads the clients of one authority.
pub(super) fn read_all(section: &mut Section<'_>) -> ClientsConfig {
    let open = section.boolean("open");
    if !section.has("client") {
        if open == Some(false) {
            section.problem("open", "is `false`, and nobody else may ask either; add [[tsa.client]], or remove it");
        }
        return ClientsConfig { clients: Vec::new(), is_open: true };
    }
    if section.count("client").is_some_and(|count| count > limits::TSA_CLIENTS_MAX) {
        section.problem("client", format_args!("is there more than {} times", limits::TSA_CLIENTS_MAX));
    }
    let mut clients: Vec<ClientConfig> = Vec::new();
    section.sections("client", |section| {
        let client = read(section);
        if clients.iter().any(|other| other.name == client.name && !client.name.is_empty()) {
            section.problem("name", format_args!("is `{}`, the name of another client of this TSA; the usage tells clients apart by it, give each its own", client.name));
        }
        if let Some(other) = clients.iter().find(|other| other.keys.iter().any(|key| client.keys.contains(key))) {
            section.problem("token_sha256", format_args!("is that of `{}` too; give each its own", other.name));
        }
        clients.push(client);
        Some(())
    });
    ClientsConfig { clients, is_open: open.unwrap_or(false) }
}

fn read(section: &mut Section<'_>) -> ClientConfig {
    let name = read_name(section, "name");
    let networks = read_networks(section);
    let keys = read_keys(section);
    if !section.has("networks") && !section.has("token_sha256") {
        section.problem(
            "token_sha256",
            "is missing, and so is `networks`: nothing tells the client from others; `token_sha256` is the SHA-256 of a key that it sends (`openssl rand -hex 32 | tee client.key | tr -d '\\n' | sha256sum`)",
        );
    }
    let per_second = section.integer("per_second", 1..=i64::from(limits::QUOTA_PER_SECOND_MAX));
    let mut most = |key| section.integer(key, 1..=i64::MAX).map(|number| number as u64);
    let (per_day, per_month) = (most("per_day"), most("per_month"));
    let quota = Quota { per_second: per_second.map(|number| number as u32), per_day, per_month };
    ClientConfig { place: section.place(), name: name.unwrap_or_default(), networks, keys, quota }
}

fn read_keys(section: &mut Section<'_>) -> Vec<[u8; 32]> {
    let texts = section.texts("token_sha256", "a hash, or a list of several").unwrap_or_default();
    let keys: Vec<_> = texts.iter().filter_map(|text| hex::array(text)).collect();
    let expected = "expected the 64 hexadecimal digits of the SHA-256 of a key, or a list while a key is exchanged";
    if keys.len() < texts.len() || section.has("token_sha256") && texts.is_empty() {
        section.problem("token_sha256", format_args!("is no SHA-256 hash, and is not shown; {expected}"));
    }
    if texts.len() > limits::CLIENT_KEYS_MAX {
        section.problem("token_sha256", format_args!("has more than {} hashes", limits::CLIENT_KEYS_MAX));
    }
    keys
}

fn read_networks(section: &mut Section<'_>) -> Vec<IpNet> {
    let texts = section.strings("networks").unwrap_or_default();
    if section.has("networks") && texts.is_empty() || texts.len() > limits::CLIENT_NETWORKS_MAX {
        section.problem(
            "networks",
            format_args!("has {} entries; expected 1 to {} networks", texts.len(), limits::CLIENT_NETWORKS_MAX),
        );
    }
    let mut networks = Vec::new();
    for text in &texts {
        match text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error)) {
            Ok(network) => networks.push(canonical(network)),
            Err(_) => section.problem(
                "networks",
                format_args!("has `{text}`; expected networks such as \"10.1.0.0/16\" or \"2001:db8::/32\""),
            ),
        }
    }
    networks
}

/// A network in the usual form: an IPv4 network within IPv6 becomes IPv4.
fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, prefix).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}
