//! The client's address: the other end of the connection, or the address that a trusted proxy names.
//!
//! Invariant: only a peer in a trusted network can name another address. Pure. It does not know sockets.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net};

use super::http::List;

/// The client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// The other end of the connection; behind a proxy that uses the PROXY protocol, the other end of the proxy's
    /// connection.
    pub peer: SocketAddr,
    /// The address in X-Forwarded-For, if the peer is trusted.
    pub forwarded: Option<IpAddr>,
}

impl Client {
    /// The best known address.
    pub fn address(&self) -> IpAddr {
        self.forwarded.unwrap_or_else(|| self.peer.ip())
    }
}

/// The networks whose proxies may name client addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trusted(Arc<[IpNet]>);

impl Trusted {
    /// Exactly these networks; an IPv4 network may be written as IPv4 within IPv6.
    pub fn new(networks: Vec<IpNet>) -> Self {
        let canonical = |network: IpNet| match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
            (IpAddr::V4(address), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
                Ipv4Net::new(address, prefix).map_or(network, IpNet::V4)
            }
            _ => network,
        };
        Self(networks.into_iter().map(canonical).collect())
    }

    /// All of them.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// Whether the address is in one of them; an IPv4 address within IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind `peer`. Each proxy appends to X-Forwarded-For the address of its own peer. So the last address
    /// that is not a trusted proxy is the client; anybody may have written what comes before it.
    pub fn client(&self, peer: SocketAddr, forwarded_for: &List<'_>) -> Client {
        let peer = canonical(peer);
        let mut forwarded = None;
        if !forwarded_for.is_empty() && self.contains(peer.ip()) {
            for entry in forwarded_for.members().rev() {
                let Some(address) = parse(entry) else { break };
                forwarded = Some(address);
                if !self.contains(address) {
                    break;
                }
            }
        }
        Client { peer, forwarded }
    }
}

/// An address in the usual form: an IPv4 address within IPv6, as sockets for both families report it, becomes IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address, with or without a port and brackets, as proxies write it.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http;

    fn trusted() -> Trusted {
        Trusted::new(["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec())
    }

    fn asked(trusted: &Trusted, peer: &str, fields: &str) -> Client {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let head = http::head(text.as_bytes()).unwrap().unwrap();
        trusted.client(peer.parse().unwrap(), &head.forwarded_for)
    }

    #[test]
    fn an_address_of_ipv4_is_written_one_way() {
        let mapped = Trusted::new(vec!["::ffff:10.0.0.0/104".parse().unwrap(), "::/0".parse().unwrap()]);
        let client = asked(&mapped, "[::ffff:10.1.2.3]:5", "X-Forwarded-For: ::ffff:192.0.2.7\r\n");
        assert_eq!((client.peer.to_string(), client.address().to_string()), ("10.1.2.3:5".into(), "192.0.2.7".into()));
        assert!(!mapped.contains("11.0.0.1".parse().unwrap()) && mapped.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        let text = "X-Forwarded-For: 192.0.2.7\r\n";
        let from = |peer: &str| asked(&trusted(), peer, text).address().to_string();
        assert_eq!(from("10.1.2.3:5"), "192.0.2.7");
        assert_eq!(from("[fd00::1]:5"), "192.0.2.7");
        assert_eq!(from("[::ffff:10.1.2.3]:5"), "192.0.2.7", "IPv4 in IPv6 is the same address");
        assert_eq!(from("203.0.113.9:5"), "203.0.113.9");
        assert_eq!(asked(&Trusted::default(), "127.0.0.1:5", text).forwarded, None);
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_counts() {
        for (field, wanted) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("6.6.6.6, 192.0.2.7", Some("192.0.2.7")),
            ("6.6.6.6, 192.0.2.7, 10.9.9.9", Some("192.0.2.7")),
            ("10.1.1.1,10.9.9.9", Some("10.1.1.1")),
            ("192.0.2.7:4711", Some("192.0.2.7")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("unknown", None),
            ("6.6.6.6, unknown", None),
            ("192.0.2.7, unknown, 10.9.9.9", Some("10.9.9.9")),
            ("", None),
            (",", None),
            // Proxies may add a field instead of a member: all fields are one list.
            ("6.6.6.6, 192.0.2.7\r\nX-Forwarded-For: 10.9.9.9", Some("192.0.2.7")),
            ("192.0.2.7\r\nVia: x\r\nx-forwarded-for: 10.1.1.1, 10.9.9.9", Some("192.0.2.7")),
            ("6.6.6.6\r\nX-Forwarded-For: unknown", None),
        ] {
            let client = asked(&trusted(), "10.0.0.1:5", &format!("X-Forwarded-For: {field}\r\n"));
            assert_eq!(client.forwarded, wanted.map(|text| text.parse().unwrap()), "{field}");
        }
    }
}
