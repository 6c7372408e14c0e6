//! `http://host[:port]/path`, as far as a responder's address needs it.
//!
//! Invariant: host and path hold nothing that could end a request line or a header. It does not resolve names except in
//! [`Url::resolve`].

use crate::problem::Problem;
use std::net::{SocketAddr, ToSocketAddrs};

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// As written, for reports.
    pub(crate) text: String,
    /// For the Host field: host and, unless it is 80, port.
    pub(crate) authority: String,
    /// Begins with `/`; no query or fragment.
    pub(crate) path: String,
    host: String,
    port: u16,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str| Problem::new(format!("--url {text}: {why}; write http://host[:port]/path"));
        if text.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(refuse("spaces, controls and non-ASCII characters cannot be sent"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("no scheme"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => {
                let why = "https is not supported; OCSP and TSP answers are signed and usually served over plain http, \
                           so aim at the server behind the TLS terminator";
                return Err(refuse(why));
            }
            _ => return Err(refuse("only http is supported")),
        }
        if rest.contains(['?', '#']) {
            return Err(refuse("a query or fragment has no meaning for OCSP and TSP"));
        }
        let (authority, path) = match rest.find('/') {
            Some(i) => rest.split_at(i),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err(refuse("user names are not supported"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // A bare IPv6 address in brackets holds colons of its own.
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse::<u16>().map_err(|_| refuse("the port is not a number below 65536"))?)
            }
            _ => (authority, 80),
        };
        if host.is_empty() {
            return Err(refuse("no host"));
        }
        let named = if port == 80 { host.to_owned() } else { format!("{host}:{port}") };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { text: text.to_owned(), authority: named, path: path.to_owned(), host, port })
    }

    /// The first address that the name has.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, Problem> {
        let remedy = "check the name, or give an address";
        (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|e| Problem::new(format!("--url {}: {}: {e}; {remedy}", self.text, self.host)))?
            .next()
            .ok_or_else(|| Problem::new(format!("--url {}: {} has no address; {remedy}", self.text, self.host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_host_port_and_path_apart() {
        for (text, authority, path) in [
            ("http://a", "a", "/"),
            ("HTTP://a/", "a", "/"),
            ("http://a:80/x", "a", "/x"),
            ("http://a:8080/x/y", "a:8080", "/x/y"),
            ("http://[::1]:81", "[::1]:81", "/"),
            ("http://[::1]/p", "[::1]", "/p"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.authority.as_str(), url.path.as_str()), (authority, path), "{text}");
        }
        assert_eq!(Url::parse("http://[::1]:81").unwrap().resolve().unwrap().to_string(), "[::1]:81");
    }

    #[test]
    fn refuses_https_and_whatever_could_break_a_request_line() {
        let problem = Url::parse("https://a/").unwrap_err().to_string();
        assert!(problem.contains("https is not supported"), "{problem}");
        for text in [
            "a",
            "ftp://a",
            "http://",
            "http://:80/",
            "http://a:99999/",
            "http://a/b c",
            "http://a/\r\nX: y",
            "http://u@a/",
            "http://a/?q",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
