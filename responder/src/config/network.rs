//! `[http]` and `[tls]`: where relying parties are answered, and how they are treated.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use precompute::{
    config::Section,
    pki::{Certificate, UnixTime},
};

use crate::{
    limits,
    net::{
        client::{Trusted, canonical},
        deadline::Deadlines,
        policy::{ConnectionPolicy, Drain},
        tls::Certificates,
    },
};

/// Where connections come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// A socket of our own.
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
#[derive(Debug)]
pub struct Tls {
    /// Where TLS is spoken; at least one.
    pub listen: Vec<Listen>,
    /// With what.
    pub certificates: Arc<Certificates>,
}

/// `[http]`; what is absent is `None`.
#[derive(Debug, Default)]
pub(super) struct Http {
    /// Where plain HTTP is spoken.
    pub listen: Option<Vec<Listen>>,
    /// Serving threads.
    pub workers: Option<usize>,
    /// How clients are treated.
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
        connection_policy: ConnectionPolicy { deadlines, drain, trusted: trusted?, proxy_protocol },
    })
}

/// Reads `[tls]`.
pub(super) fn read_tls(section: &mut Section<'_>, now: UnixTime) -> Option<Tls> {
    let listen = read_listen(section);
    let [certificate, key] = ["certificate", "key"].map(|name| {
        let path = section.path(name);
        if path.is_none() && !section.has(name) {
            section.problem(name, "is missing; name a PEM file (certificate: the server's, then its chain)");
        }
        path
    });
    if !section.has("listen") {
        section.problem("listen", "is missing; name at least one address, such as \"0.0.0.0:443\"");
    }
    match Certificates::open(&certificate?, &key?) {
        Ok(certificates) => {
            tell_of_validity(section, &certificates, now);
            Some(Tls { listen: listen?, certificates })
        }
        Err(error) => {
            section.problem(if error.of_key { "key" } else { "certificate" }, error);
            None
        }
    }
}

/// How long before its end a TLS certificate is warned of. Those of ACME are renewed 30 days before.
const TLS_ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// It is served whatever its validity: a new one is taken from the same files while the service runs.
fn tell_of_validity(section: &Section<'_>, certificates: &Certificates, now: UnixTime) {
    let Some(certificate) = certificates.certificate().and_then(|der| Certificate::from_der(&der).ok()) else { return };
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    let problem = if now < not_before {
        format!("is valid only from {not_before} on; check this machine's clock")
    } else if not_after <= now {
        format!("expired at {not_after}; renew it")
    } else if not_after.since(now) < TLS_ENDS_SOON {
        format!("expires soon, at {not_after}; renew it")
    } else {
        return;
    };
    section.warning(
        "certificate",
        format_args!(
            "{problem}: clients refuse the connection; a new pair in the same files is used without a restart"
        ),
    );
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

/// Why a text is no address with a port, where that can be told.
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
