//! Sentinels over a Redis of a test's own, and servers that follow it.
//!
//! Invariant: all of it is real, listens on loopback or on a host of its own, and ends when it is dropped. A master that is away for a second is
//! replaced. It does not know what Redis is used for.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{RedisServer, Seat, until};

/// What they call the master.
const MASTER: &str = "feed";
/// How many must agree that the master is down.
const QUORUM: usize = 2;
/// How long a fail-over may take where everybody wants a processor.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Sentinels {
    /// Where their CA and their password are, where they speak TLS.
    tls: Option<PathBuf>,
    /// The Sentinels.
    pub all: Vec<RedisServer>,
    /// The servers that followed the first master in the beginning.
    pub followers: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts so many servers that follow `master`, each by `server` with these lines more in its configuration, and
    /// a Sentinel on each of these seats, with user and password where Redis wants them. Returns when all of them know each
    /// other.
    pub fn start(
        master: &RedisServer,
        followers: usize,
        server: impl Fn(&str) -> RedisServer,
        seats: [Seat; 3],
        login: Option<(String, String)>,
    ) -> Self {
        let (ip, port) = (master.address().ip(), master.port());
        let follow = format!("replicaof {ip} {port}\n");
        let followers: Vec<RedisServer> = (0..followers).map(|_| server(&follow)).collect();
        let login = login.map_or(String::new(), |(user, password)| {
            format!("sentinel auth-user {MASTER} {user}\nsentinel auth-pass {MASTER} {password}\n")
        });
        let watch = format!(
            "sentinel monitor {MASTER} {ip} {port} {QUORUM}\nsentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n{login}"
        );
        let all: Vec<RedisServer> = seats.into_iter().map(|seat| RedisServer::sentinel(seat, &watch)).collect();
        Self { tls: None, all, followers }.until_known()
    }

    /// The same with the shipped configurations, over the TLS of this directory.
    pub fn shipped(tls: &Path, master: &RedisServer, followers: usize) -> Self {
        let follow = format!("replicaof localhost {}\n", master.port());
        let followers: Vec<RedisServer> = (0..followers).map(|_| RedisServer::shipped(tls, &follow)).collect();
        let all: Vec<RedisServer> = (0..3).map(|_| RedisServer::shipped_sentinel(tls, master.port())).collect();
        let password = tls.join("sentinels.password");
        fs::write(&password, RedisServer::acl_password("SENTINELS")).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        Self { tls: Some(tls.to_owned()), all, followers }.until_known()
    }

    fn until_known(self) -> Self {
        let sentinels = self;
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
        let at = |host: &str| self.all.iter().map(|one| format!("{host}:{}", one.port())).collect::<Vec<_>>();
        let addresses = || self.all.iter().map(|one| one.address().to_string()).collect::<Vec<_>>();
        match &self.tls {
            None => format!("sentinels = {:?}\nmaster = {MASTER:?}", addresses()),
            Some(tls) => format!(
                "sentinels = {:?}\nmaster = {MASTER:?}\ntls_ca = {:?}\nsentinel_password_file = {:?}",
                at("rediss://localhost"),
                tls.join("ca.pem"),
                tls.join("sentinels.password")
            ),
        }
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
