//! Sentinels over a Redis of a test's own, and servers that follow it.
//!
//! Invariant: all of it is real, listens on loopback, and ends when it is dropped. A master that is away for a second is
//! replaced. It does not know what Redis is used for.

use std::time::Duration;

use crate::{RedisServer, until};

/// What they call the master.
const MASTER: &str = "feed";
/// How many must agree that the master is down.
const QUORUM: usize = 2;
/// How long a fail-over may take where everybody wants a processor.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Sentinels {
    /// The Sentinels.
    pub all: Vec<RedisServer>,
    /// The servers that followed the first master in the beginning.
    pub followers: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts so many servers that follow `master`, with the same lines in their configuration, and three Sentinels.
    /// Returns when all of them know each other.
    pub fn start(master: &RedisServer, followers: usize, lines: &str) -> Self {
        let follow = format!("replicaof 127.0.0.1 {}\n{lines}", master.port());
        let followers: Vec<RedisServer> = (0..followers).map(|_| RedisServer::with(&follow)).collect();
        let watch = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {} {QUORUM}\nsentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n",
            master.port()
        );
        let all: Vec<RedisServer> = (0..3).map(|_| RedisServer::sentinel(&watch)).collect();
        let sentinels = Self { all, followers };
        let know_all = |one: &RedisServer| {
            let told = one.cli(["SENTINEL", "MASTER", MASTER]);
            let field = |name: &str| told.lines().skip_while(|line| *line != name).nth(1).map(str::to_owned);
            field("num-slaves") == Some(sentinels.followers.len().to_string())
                && field("num-other-sentinels").as_deref() == Some("2")
        };
        until("the Sentinels know each other", PATIENCE, || sentinels.all.iter().all(know_all).then_some(()));
        sentinels
    }

    /// The lines of `[feed]` that name them.
    pub fn lines(&self) -> String {
        let all: Vec<_> = self.all.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("sentinels = {all:?}\nmaster = {MASTER:?}")
    }

    /// The port of the master, as the first of them that answers names it.
    pub fn named(&self) -> u16 {
        let port = |one: &RedisServer| {
            one.is_running()
                .then(|| one.cli(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]))?
                .lines()
                .nth(1)?
                .parse()
                .ok()
        };
        self.all.iter().find_map(port).expect("a Sentinel names a master")
    }

    /// Waits until they name another than `former`; gives the server that follows no more.
    #[track_caller]
    pub fn until_another_than(&self, former: u16) -> &RedisServer {
        let port =
            until("the Sentinels name another master", PATIENCE, || Some(self.named()).filter(|port| *port != former));
        self.followers.iter().find(|follower| follower.port() == port).expect("one of the followers")
    }
}
