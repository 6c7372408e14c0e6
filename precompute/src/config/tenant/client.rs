//! The clients of a time-stamping authority: `[[tsa.client]]`, or `[[tenant.tsa.client]]`: by what each is recognised, and how
//! much it may have.
//!
//! Invariant: a key is known by its hash alone, and not even that gets into a message. Nothing is opened here, and whether a
//! certificate is valid is not known.

use std::{net::IpAddr, path::PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::{super::Place, Section, read_name};
use crate::{
    limits,
    principals::{Mark, TokenHash},
};

/// A client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in logs, metrics and the usage; empty if a problem was noted.
    pub name: String,
    /// The networks that it asks from; empty for every one. IPv4 within IPv6 counts as IPv4.
    pub networks: Vec<IpNet>,
    /// The hash of each of its keys; empty if it is recognised without.
    pub keys: Vec<TokenHash>,
    /// By what its certificate is recognised; empty if it is recognised without.
    pub certificates: Vec<Mark>,
    /// How many time-stamps it may have.
    pub quota: Quota,
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
    /// The file with the CAs of their certificates.
    pub client_ca: Option<PathBuf>,
}

impl ClientConfig {
    /// Whether it proves who it is, by more than where it is.
    pub fn has_proof(&self) -> bool {
        !self.keys.is_empty() || !self.certificates.is_empty()
    }
}

impl ClientsConfig {
    /// Whether any client shows a certificate.
    pub fn have_certificates(&self) -> bool {
        self.clients.iter().any(|client| !client.certificates.is_empty())
    }
}

/// Reads the clients of one authority.
pub(super) fn read_all(section: &mut Section<'_>) -> ClientsConfig {
    let open = section.boolean("open");
    if !section.has("client") {
        if open == Some(false) {
            section.problem("open", "is `false`, and nobody else may ask either; add [[tsa.client]], or remove it");
        }
        if section.has("client_ca") {
            section.problem(
                "client_ca",
                "has no effect without clients; add [[tsa.client]] with `certificate`, or remove it",
            );
        }
        return ClientsConfig { clients: Vec::new(), is_open: true, client_ca: None };
    }
    let client_ca = section.path("client_ca");
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
    let clients = ClientsConfig { clients, is_open: open.unwrap_or(false), client_ca };
    let is_name = |mark: &Mark| !matches!(mark, Mark::Key(_) | Mark::Certificate(_));
    let names = clients.clients.iter().flat_map(|client| &client.certificates).any(is_name);
    match (&clients.client_ca, names) {
        (None, true) => section.problem(
            "client_ca",
            "is missing, and a client is recognised by a name in its certificate, which anybody can write into one; name the file with the CAs that issue those",
        ),
        (Some(_), _) if !clients.have_certificates() => {
            section.problem("client_ca", "has no effect: no client has `certificate`; add it, or remove this");
        }
        _ => {}
    }
    clients
}

fn read(section: &mut Section<'_>) -> ClientConfig {
    let name = read_name(section, "name");
    let networks = read_networks(section);
    let keys = read_keys(section);
    let certificates = read_marks(section);
    if !["networks", "token_sha256", "certificate"].into_iter().any(|key| section.has(key)) {
        section.problem(
            "token_sha256",
            "is missing, and so are `networks` and `certificate`: nothing tells the client from others; `token_sha256` is the SHA-256 of a key that it sends (`openssl rand -hex 32 | tee client.key | tr -d '\\n' | sha256sum`)",
        );
    }
    let per_second = section.integer("per_second", 1..=i64::from(limits::QUOTA_PER_SECOND_MAX));
    let mut most = |key| section.integer(key, 1..=i64::MAX).map(|number| number as u64);
    let (per_day, per_month) = (most("per_day"), most("per_month"));
    let quota = Quota { per_second: per_second.map(|number| number as u32), per_day, per_month };
    ClientConfig { place: section.place(), name: name.unwrap_or_default(), networks, keys, certificates, quota }
}

fn read_marks(section: &mut Section<'_>) -> Vec<Mark> {
    let texts = section.texts("certificate", "a mark of a certificate, or a list of several").unwrap_or_default();
    let mut marks = Vec::new();
    for text in &texts {
        match text.parse::<Mark>() {
            Ok(mark) => marks.push(mark),
            Err(malformed) => section.problem("certificate", malformed),
        }
    }
    if texts.len() > limits::CLIENT_KEYS_MAX {
        section.problem("certificate", format_args!("has more than {} marks", limits::CLIENT_KEYS_MAX));
    }
    marks
}

fn read_keys(section: &mut Section<'_>) -> Vec<TokenHash> {
    let texts = section.texts("token_sha256", "a hash, or a list of several").unwrap_or_default();
    let keys: Vec<_> = texts.iter().filter_map(|text| TokenHash::from_hex(text)).collect();
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
