//! How connections are treated: values from the configuration, already checked. It does not know who uses them.

use std::time::Duration;

use super::{client::Trusted, deadline::Deadlines};
use crate::limits;

/// How connections are treated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionPolicy {
    /// How long clients may take.
    pub deadlines: Deadlines,
    /// How connections are ended.
    pub drain: Drain,
    /// Networks whose proxies may name client addresses.
    pub trusted: Trusted,
    /// Whether every connection begins with a PROXY header, and comes from a trusted network.
    pub proxy_protocol: bool,
}

/// How a worker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// How long new connections are still accepted after the end was announced.
    pub delay: Duration,
    /// How long connections may take to end after that.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::ZERO, deadline: limits::DRAIN_DEADLINE }
    }
}
