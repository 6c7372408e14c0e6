//! Where a process of a test is: on loopback beside all others, or on a host of its own.
//!
//! Who starts a process asks here under which address others reach it, and what it is run by. It does not know which
//! process that is.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
};

use super::Host;

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Seat {
    host: Option<Host>,
    /// What takes the place of `redis-server` there.
    redis: Option<PathBuf>,
}

impl Seat {
    /// On a host.
    pub fn on(host: Host) -> Self {
        Self { host: Some(host), redis: None }
    }

    /// With another program in place of `redis-server`.
    #[must_use]
    pub fn with_redis(self, program: Option<PathBuf>) -> Self {
        Self { redis: program, ..self }
    }

    /// `redis-server`, or what takes its place.
    pub fn redis_server(&self) -> Command {
        self.redis
            .as_ref()
            .map_or_else(|| self.command("redis-server"), |program| self.command(&program.to_string_lossy()))
    }

    /// The host.
    #[track_caller]
    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("it is on a host of its own: `ClusterPlan::hosts`")
    }

    /// The address under which the other processes reach what listens there.
    pub fn address(&self) -> IpAddr {
        self.host.as_ref().map_or(Ipv4Addr::LOCALHOST, Host::address).into()
    }

    /// Every address at which it is to listen: the test's own way in, and that of others.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let own = self.host.iter().map(|host| host.address().into());
        [Ipv4Addr::LOCALHOST.into()].into_iter().chain(own).collect()
    }

    /// What a command is run by to run there.
    pub fn prefix(&self) -> Vec<String> {
        self.host.as_ref().map_or_else(Vec::new, Host::prefix)
    }

    /// A program that runs there.
    pub fn command(&self, program: &str) -> Command {
        self.host.as_ref().map_or_else(|| Command::new(program), |host| host.command(program))
    }

    /// From now on the test reaches what listens there at this address of loopback.
    pub fn open_door(&self, address: SocketAddr) {
        if let Some(host) = &self.host {
            host.open_door(address);
        }
    }

    /// Connects to an address of loopback there.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.host.as_ref().map_or_else(|| TcpStream::connect(address), |host| host.connect(address))
    }
}
