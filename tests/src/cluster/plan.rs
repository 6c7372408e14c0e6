//! What a [`Cluster`](super::Cluster) is to be made of. It starts nothing.

use std::{fmt::Write as _, time::Duration};

use crate::FakeClock;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    pub(super) writers: usize,
    pub(super) replicas: usize,
    pub(super) redis: String,
    pub(super) followers: Option<usize>,
    pub(super) has_users: bool,
    pub(super) is_shipped: bool,
    pub(super) is_valkey: bool,
    pub(super) of_all: String,
    pub(super) takeover_after: &'static str,
    pub(super) of_writers: String,
    pub(super) of_replicas: String,
    pub(super) of_tenant: Vec<String>,
    pub(super) replicas_sign: bool,
    pub(super) on_tokens: bool,
    pub(super) replicas_stamp: bool,
    pub(super) listed: usize,
    pub(super) clock: Option<FakeClock>,
    pub(super) has_hosts: bool,
    pub(super) distance: Option<Duration>,
    pub(super) renews: bool,
}

impl Default for ClusterPlan {
    /// Two writers and three replicas, which have no key; whoever stands by takes over after two seconds and more.
    fn default() -> Self {
        Self {
            writers: 2,
            replicas: 3,
            redis: String::new(),
            followers: None,
            has_users: false,
            is_shipped: false,
            is_valkey: false,
            of_all: String::new(),
            takeover_after: "2s",
            of_writers: String::new(),
            of_replicas: String::new(),
            of_tenant: Vec::new(),
            replicas_sign: false,
            on_tokens: false,
            replicas_stamp: false,
            listed: 0,
            clock: None,
            has_hosts: false,
            distance: None,
            renews: false,
        }
    }
}

impl ClusterPlan {
    /// So many processes of both kinds.
    pub fn of(writers: usize, replicas: usize) -> Self {
        Self { writers, replicas, ..Self::default() }
    }

    /// With these lines in the configuration of Redis.
    #[must_use]
    pub fn redis(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.redis);
        self
    }

    /// With so many servers that follow Redis, and three Sentinels that say which of them all is the master.
    #[must_use]
    pub fn sentinels(mut self, followers: usize) -> Self {
        self.followers = Some(followers);
        self
    }

    /// With the shipped list of users at Redis: writers, replicas and Sentinels have one each.
    #[must_use]
    pub fn users(mut self) -> Self {
        self.has_users = true;
        self
    }

    /// With Redis, Sentinels and users as the shipped configurations have them, TLS included. Only with
    /// [`sentinels`](Self::sentinels).
    #[must_use]
    pub fn shipped(mut self) -> Self {
        (self.has_users, self.is_shipped) = (true, true);
        self
    }

    /// With Valkey in place of Redis, Sentinels included.
    #[must_use]
    pub fn valkey(mut self) -> Self {
        self.is_valkey = true;
        self
    }

    /// With a line more in `[feed]` of everybody.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.of_all, "{line}");
        self
    }

    /// With another time after which whoever stands by takes over.
    #[must_use]
    pub fn takeover_after(mut self, time: &'static str) -> Self {
        self.takeover_after = time;
        self
    }

    /// With a line more in `[feed]` of writers.
    #[must_use]
    pub fn set_of_writers(mut self, line: &str) -> Self {
        let _ = writeln!(self.of_writers, "{line}");
        self
    }

    /// With a line more of the tenant's policy, for everybody.
    #[must_use]
    pub fn policy(mut self, line: &str) -> Self {
        self.of_tenant.push(line.to_owned());
        self
    }

    /// With this clock on everybody's wall.
    #[must_use]
    pub fn clock(mut self, clock: &FakeClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// With the key of the signer at replicas as well: they sign what the feed does not carry.
    #[must_use]
    pub fn replicas_with_key(mut self) -> Self {
        self.replicas_sign = true;
        self
    }

    /// With a host for each process, called `redis-0` (the master, then those that follow it), `sentinel-0`, `writer-0`,
    /// `replica-0` and so on. Not with [`users`](Self::users) or [`shipped`](Self::shipped).
    #[must_use]
    pub fn hosts(mut self) -> Self {
        self.has_hosts = true;
        self
    }

    /// The same, where whatever is sent to a replica or by it arrives so much later.
    #[must_use]
    pub fn distant_replicas(mut self, delay: Duration) -> Self {
        (self.has_hosts, self.distance) = (true, Some(delay));
        self
    }

    /// With the key of the signer on a token of SoftHSM at replicas; writers have it in a file.
    #[must_use]
    pub fn replicas_on_tokens(mut self) -> Self {
        (self.replicas_sign, self.on_tokens) = (true, true);
        self
    }

    /// With lines more in `[http]` of replicas.
    #[must_use]
    pub fn set_of_replicas(mut self, lines: &str) -> Self {
        let _ = writeln!(self.of_replicas, "{lines}");
        self
    }

    /// With a signer whose certificate ends in a day. Writers have a new one issued and put it into the file that all have; replicas
    /// take it from there.
    #[must_use]
    pub fn renewing(mut self) -> Self {
        self.renews = true;
        self
    }

    /// With a time-stamping authority at `/tsa` of every replica, all with one key.
    #[must_use]
    pub fn stamping(mut self) -> Self {
        self.replicas_stamp = true;
        self
    }

    /// With so many certificates in the CA's index from the beginning: [`Cluster::listed`](super::Cluster::listed).
    #[must_use]
    pub fn listed(mut self, count: usize) -> Self {
        self.listed = count;
        self
    }
}
