//! `[http]` and `[tls]`: the addresses for relying parties, and how connections are treated. No address is bound here.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use precompute::config::{Place, SecretFile, Section};

use crate::{
    limits,
    net::{
        client::{Trusted, canonical},
        deadline::Deadlines,
        policy::{ConnectionPolicy, Drain},
    },
};

/// Where connections come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// A socket that this process binds.
    Address(SocketAddr),
    /// Sockets that systemd opened.
    Systemd,
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Systemd => f.write_str(SYSTEMD),
        }
    }
}

const SYSTEMD: &str = "systemd";

/// `[tls]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// Its place in the file.
    pub place: Place,
    /// The TLS addresses; at least one.
    pub listen: Vec<Listen>,
    /// The file with the server's certificate and its chain.
    pub certificate: PathBuf,
    /// The file with its key.
    pub key: SecretFile,
}

/// `[http]`; an absent value is `None`.
#[derive(Debug, Default)]
pub(super) struct Http {
    /// The addresses for plain HTTP.
    pub listen: Option<Vec<Listen>>,
    /// Serving threads.
    pub workers: Option<usize>,
    /// How connections are treated.
    pub connection_policy: ConnectionPolicy,
}

/// Reads `[http]`.
pub(super) fn read_http(section: &mut Section<'_>) -> Option<Http> {
    let listen = read_listen(section);
    let workers = section.integer("workers", 1..=limits::WORKERS_MAX).map(|workers| workers as usize);
    let mut time = |key, default, range| section.duration(key, range).unwrap_or(default);
    let (deadlines, drain) = (Deadlines::default(), Drain::default());
    let deadlines = Deadlines {
        idle: time("idle_deadline", deadlines.idle, limits::DEADLINE_RANGE),
        head: time("head_deadline", deadlines.head, limits::DEADLINE_RANGE),
        body: time("body_deadline", deadlines.body, limits::DEADLINE_RANGE),
        write: time("write_deadline", deadlines.write, limits::DEADLINE_RANGE),
    };
    let drain = Drain {
        delay: time("drain_delay", drain.delay, Duration::ZERO..=*limits::DEADLINE_RANGE.end()),
        deadline: time("drain_deadline", drain.deadline, limits::DEADLINE_RANGE),
    };
    let trusted = read_trusted(section);
    let proxy_protocol = section.boolean("proxy_protocol").unwrap_or(false);
    if proxy_protocol && !section.has("trusted_networks") {
        let remedy = "needs `trusted_networks`, which names the networks of your balancers, such as [\"10.0.0.0/8\"]; connections from elsewhere are refused";
        section.problem("proxy_protocol", remedy);
    }
    Some(Http {
        listen,
        workers,
        connection_policy: ConnectionPolicy { deadlines, drain, trusted: trusted.unwrap_or_default(), proxy_protocol },
    })
}

/// Reads `[tls]`.
pub(super) fn read_tls(section: &mut Section<'_>) -> Option<Tls> {
    let listen = read_listen(section);
    for name in ["certificate", "key"] {
        if !section.has(name) {
            section.problem(name, "is missing; name a PEM file (certificate: the server's, then its chain)");
        }
    }
    let certificate = section.path("certificate").unwrap_or_default();
    let key = SecretFile::of_private_key(section, "key").unwrap_or_default();
    if !section.has("listen") {
        section.problem("listen", "is missing; name at least one address, such as \"0.0.0.0:443\"");
    }
    Some(Tls { place: section.place(), listen: listen.unwrap_or_default(), certificate, key })
}

fn read_listen(section: &mut Section<'_>) -> Option<Vec<Listen>> {
    let mut listen = Vec::new();
    let texts = section.strings("listen")?;
    if texts.is_empty() {
        section.problem("listen", "is empty; name at least one address");
    }
    for text in &texts {
        match text.parse() {
            Ok(address) => listen.push(Listen::Address(canonical(address))),
            Err(_) if text == SYSTEMD => listen.push(Listen::Systemd),
            Err(_) => section.problem(
                "listen",
                format_args!(
                    "names `{text}`{}; expected an address with a port, such as `127.0.0.1:8080` or `[::]:80`, or `{SYSTEMD}` for sockets of a systemd socket unit",
                    what_is_wrong(text)
                ),
            ),
        }
    }
    (listen.len() == texts.len() && !texts.is_empty()).then_some(listen)
}

/// Why a text is not an address with a port, if that can be determined.
fn what_is_wrong(text: &str) -> &'static str {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    if bare.parse::<Ipv6Addr>().is_ok() {
        ", which has no port, or no brackets around the address before it"
    } else if bare.parse::<IpAddr>().is_ok() {
        ", which has no port"
    } else if is_port(text.trim_start_matches(['*', ':'])) {
        ", which has no address"
    } else if text.contains("://") {
        ", which is a URL"
    } else if text.rsplit_once(':').is_none_or(|(_, port)| is_port(port)) && !text.is_empty() {
        ", which is a host name: those are not looked up"
    } else {
        ""
    }
}

fn read_trusted(section: &mut Section<'_>) -> Option<Trusted> {
    if !section.has("trusted_networks") {
        return Some(Trusted::default());
    }
    let texts = section.strings("trusted_networks")?;
    let networks: Result<Vec<IpNet>, _> = texts.iter().map(|text| text.parse().map_err(|_| text)).collect();
    match networks {
        Ok(networks) => Some(Trusted::new(networks)),
        Err(text) => {
            let wanted = "expected networks with a prefix length, such as `10.0.0.0/8` or `::1/128`";
            section.problem("trusted_networks", format_args!("names `{text}`; {wanted}"));
            None
        }
    }
}
