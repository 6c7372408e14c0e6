//! Where Redis is, and where an API is, as the file writes it.
//!
//! Invariant: what may hold a password gets into no message. It does not know who connects.

use std::{net::Ipv6Addr, path::PathBuf};

use crate::{feed::redis::Address, limits::feed as limits};

/// The forms of the address of Redis, for messages.
pub(super) const FORMS: &str =
    "`redis://host:6379`, `rediss://host:6379` for TLS, or `unix:/run/redis/redis.sock` for a socket";

/// An address of Redis, and whether there is TLS; `None` if the form does not say it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    pub(super) address: Address,
    pub(super) tls: Option<bool>,
}

/// The schemes of Redis and Valkey, and whether they mean TLS.
const SCHEMES: [(&str, bool); 4] =
    [("redis://", false), ("rediss://", true), ("valkey://", false), ("valkeys://", true)];

/// The ports of Redis and of a Sentinel.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Reads the address of Redis. The error completes "redis …".
pub(super) fn parse(text: &str) -> Result<Written, String> {
    if text.starts_with('/') || text.starts_with("unix:") {
        return socket(text);
    }
    parse_with(text, PORT)
}

/// `default`: the port that a URL without one means.
fn parse_with(text: &str, default: u16) -> Result<Written, String> {
    let scheme = SCHEMES.iter().find_map(|(scheme, tls)| Some((text.strip_prefix(scheme)?, *tls)));
    // `user:password@host`, or parameters behind a question mark.
    if text.contains(['@', '?', '#']) {
        return Err(
            "may hold a password, and is not shown; write host and port alone here, the user as `user`, and the password into a file that `password_file` names"
                .into(),
        );
    }
    let no = |why: &str| Err(format!("is `{}`, {why}; expected {FORMS}", shown(text)));
    let (authority, tls) = match scheme {
        Some((rest, tls)) => {
            let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
            // Redis begins with database 0 on every connection.
            if !matches!(database, "" | "0" | "0/") {
                return no("which names a database; the feed is in database 0");
            }
            (authority, Some(tls))
        }
        None if text.contains("://") => return no("whose scheme is none of Redis"),
        None if text.contains('/') => return no("which is neither a host with a port nor an absolute path"),
        None => (text, None),
    };
    let Some((host, port)) = host_and_port(authority) else {
        return no("which has no host, or no proper one or port; an IPv6 address stands in brackets");
    };
    match port.or(tls.map(|_| default)) {
        Some(port) => Ok(Written { address: Address::Tcp { host: host.to_owned(), port }, tls }),
        None => no(&format!("which has no port: `{host}:{default}`")),
    }
}

/// Reads the address of a Sentinel. The error completes "sentinels …".
pub(super) fn sentinel(text: &str) -> Result<Written, String> {
    if text.starts_with('/') || text.starts_with("unix:") {
        return Err(format!("has `{}`; a Sentinel has a host and a port", shown(text)));
    }
    parse_with(text, SENTINEL_PORT).map_err(|problem| problem.replacen("is `", "has `", 1))
}

fn socket(text: &str) -> Result<Written, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
    if path.contains(['?', '@']) {
        return Err("may hold a password, and is not shown; write the path of the socket alone: `unix:/path`".into());
    }
    if !path.starts_with('/') || path.len() > limits::SOCKET_PATH_OCTETS_MAX {
        let most = limits::SOCKET_PATH_OCTETS_MAX;
        return Err(format!("is `{}`; expected the absolute path of a socket, of at most {most} bytes", shown(text)));
    }
    Ok(Written { address: Address::Unix(PathBuf::from(path)), tls: Some(false) })
}

/// A host, without brackets, and the port if there is one.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match behind.strip_prefix(':') {
            Some(number) => Some((host, Some(port(number)?))),
            None => behind.is_empty().then_some((host, None)),
        };
    }
    let (host, number) = match text.split_once(':') {
        Some((host, number)) => (host, Some(port(number)?)),
        None => (text, None),
    };
    let is_name = !host.is_empty()
        && host.len() <= limits::HOST_OCTETS_MAX
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    is_name.then_some((host, number))
}

/// Reads the base URL of an API. The error completes "api_url …".
pub(super) fn http(text: &str) -> Result<String, String> {
    const FORM: &str = "expected a URL such as `https://writer-1.example:9443`";
    if text.contains(['@', '?', '#']) {
        return Err(format!("has something beside host, port and path that may be secret, and is not shown; {FORM}"));
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = rest.is_some_and(|rest| {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        host_and_port(authority).is_some() && path.bytes().all(|b| b.is_ascii_graphic())
    });
    if !fits || text.len() > limits::NAME_OCTETS_MAX {
        let most = limits::NAME_OCTETS_MAX;
        return Err(format!("is `{}`; {FORM}, of at most {most} bytes", shown(text)));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// At most so much of it is shown.
fn shown(text: &str) -> String {
    text.escape_debug().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_is_found_at_a_host_or_a_socket() {
        let tcp = |host: &str, port, tls| Ok((Address::Tcp { host: host.to_owned(), port }, tls));
        let unix = |path: &str| Ok((Address::Unix(path.into()), Some(false)));
        let brackets = "an IPv6 address stands in brackets";
        for (text, expected) in [
            ("redis.example:6379", tcp("redis.example", 6379, None)),
            ("10.0.0.1:7000", tcp("10.0.0.1", 7000, None)),
            ("redis_1:6379", tcp("redis_1", 6379, None)),
            ("[::1]:6379", tcp("::1", 6379, None)),
            ("redis://a:1", tcp("a", 1, Some(false))),
            ("redis://a", tcp("a", 6379, Some(false))),
            ("rediss://a/", tcp("a", 6379, Some(true))),
            ("rediss://[fd00::1]:7/0", tcp("fd00::1", 7, Some(true))),
            ("valkey://a:1", tcp("a", 1, Some(false))),
            ("valkeys://a:1", tcp("a", 1, Some(true))),
            ("/run/redis.sock", unix("/run/redis.sock")),
            ("unix:/run/redis.sock", unix("/run/redis.sock")),
            ("unix:///run/redis.sock", unix("/run/redis.sock")),
            ("redis://a:1/3", Err("which names a database; the feed is in database 0")),
            ("redis.example", Err("which has no port: `redis.example:6379`")),
            ("::1:6379", Err(brackets)),
            ("[::1", Err(brackets)),
            ("[::1]6379", Err(brackets)),
            ("[localhost]:6379", Err(brackets)),
            ("a:0", Err(brackets)),
            ("a:65536", Err(brackets)),
            ("a:+1", Err(brackets)),
            ("a b:1", Err(brackets)),
            (":1", Err(brackets)),
            ("", Err(brackets)),
            ("redis://", Err(brackets)),
            ("http://a:1", Err("whose scheme is none of Redis")),
            ("run/redis.sock", Err("neither a host with a port nor an absolute path")),
            ("unix:redis.sock", Err("expected the absolute path of a socket")),
        ] {
            let parsed = parse(text).map(|Written { address, tls }| (address, tls));
            match (&parsed, &expected) {
                (Err(problem), Err(words)) => assert!(problem.contains(words), "{text}: {problem}"),
                (parsed, expected) => assert_eq!(parsed.as_ref().ok(), expected.as_ref().ok(), "{text}: {parsed:?}"),
            }
        }
        let long = format!("/{}", "a".repeat(limits::SOCKET_PATH_OCTETS_MAX));
        assert!(parse(&long).is_err() && parse(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn a_sentinel_has_a_host_and_another_port_and_is_no_socket() {
        for (text, expected) in [
            ("a:7", Ok(("a", 7, None))),
            ("redis://a", Ok(("a", 26379, Some(false)))),
            ("rediss://[::1]", Ok(("::1", 26379, Some(true)))),
            ("a", Err("has `a`, which has no port: `a:26379`")),
            ("/run/redis.sock", Err("has `/run/redis.sock`; a Sentinel has a host and a port")),
            ("redis://:7391@a", Err("is not shown")),
        ] {
            match (sentinel(text), expected) {
                (Ok(read), Ok((host, port, tls))) => {
                    assert_eq!((read.address, read.tls), (Address::Tcp { host: host.into(), port }, tls), "{text}");
                }
                (Err(problem), Err(words)) => assert!(problem.contains(words), "{text}: {problem}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        for text in [
            "redis://:7391@a:1",
            "redis://user:7391@a:1/0",
            "rediss://7391@a",
            "user:7391@a:1",
            "http://user:7391@a:1",
            "redis://a:1?password=7391",
            "unix:/run/redis.sock?pass=7391",
            "unix://user:7391@/run/redis.sock",
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains("is not shown") && !problem.contains("7391"), "{problem}");
            let problem = http(text).unwrap_err();
            assert!(!problem.contains("7391"), "{problem}");
        }
    }

    #[test]
    fn an_api_is_reached_over_http_or_https() {
        for (text, expected) in [
            ("https://a.example:9443/", Some("https://a.example:9443")),
            ("http://127.0.0.1:9090", Some("http://127.0.0.1:9090")),
            ("https://[::1]/ostia/", Some("https://[::1]/ostia")),
            ("a.example:9443", None),
            ("ftp://a.example", None),
            ("https://", None),
            ("https://a b", None),
            ("https://a/b c", None),
        ] {
            assert_eq!(http(text).ok().as_deref(), expected, "{text}");
        }
        assert!(http(&format!("https://a/{}", "b".repeat(limits::NAME_OCTETS_MAX))).is_err());
    }
}
