//! `health`: whether the running service is ready, as its exit status, for containers and scripts that have no HTTP client.
//!
//! Invariant: it succeeds only where `/readyz` says 200. It does not know what ready means.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use ureq::Agent;

use crate::{config::Admin, limits, output::say};

/// Asks the service that runs with this configuration, for both programs. A file that cannot be read is no reason to call a
/// running service ill: it goes on with the one before, and is asked at the usual address.
pub fn run(config: &Path) -> Result<(), Box<dyn Error>> {
    let url = format!("http://{}/readyz", reachable(Admin::of(config).unwrap_or_default().listen));
    let agent = Agent::config_builder()
        // It would not find this machine's loopback address.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(limits::HEALTH_ANSWER_MAX))
        .build()
        .new_agent();
    let silent = |error: ureq::Error| format!("{url}: {error}; does the service run?");
    let mut response = agent.get(&url).call().map_err(silent)?;
    let told = response.body_mut().with_config().limit(limits::CLIENT_ANSWER_OCTETS_MAX).read_to_string();
    let told = told.map_err(silent)?.trim_end().to_owned();
    if response.status() == 200 { Ok(say(told)?) } else { Err(told.into()) }
}

/// Where a listener of this address is reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_all_addresses_is_asked_at_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
