//! The feed that a configuration names: where Redis is and how to be let in, whom to trust, and what a writer signs with.
//!
//! Invariant: secrets are read from their files here, and shown nowhere. It connects to nothing.

use std::{net::SocketAddr, time::Duration};

use crate::feed::{Cluster, Trusted, WriterKey, redis::Server};

/// The feed that this program reads, and writes if it has a key.
#[derive(Debug)]
pub struct AssembledFeed {
    /// Whose feed it is.
    pub cluster: Cluster,
    /// Where Redis is, and how to be let in.
    pub redis: Server,
    /// Whose entries count.
    pub trusted: Trusted,
    /// What a writer signs with; a replica has none.
    pub key: Option<WriterKey>,
    /// The URL at which others reach this writer's API.
    pub api_url: Option<String>,
    /// Where snapshots are given out and fetched.
    pub snapshots: SnapshotPlaces,
    /// How old the newest snapshot may be.
    pub snapshot_interval: Duration,
    /// How long the writer at work is silent before this one takes over.
    pub takeover_after: Duration,
    /// 0 takes over first.
    pub priority: u32,
    /// How long a push waits for the feed.
    pub acknowledge_within: Duration,
}

/// Where snapshots are given out and fetched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SnapshotPlaces {
    /// The address at which this program gives them out.
    pub listen: Option<SocketAddr>,
    /// Base URLs to fetch from: of writers and of other replicas.
    pub from: Vec<String>,
}
