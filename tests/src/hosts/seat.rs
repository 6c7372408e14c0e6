//! Where a process of a test is: on loopback beside all others, or on a host of its own.
//!
//! Who starts a process asks here under which address others reach it, and what it is run by. It does not know which
//! process that is.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use super::Host;

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Seat(Option<Host>);

impl Seat {
    /// On a host.
    pub fn on(host: Host) -> Self {
        Self(Some(host))
    }

    /// The host.
    #[track_caller]
    pub fn host(&self) -> &Host {
        self.0.as_ref().expect("it is on a host of its own: `ClusterPlan::hosts`")
    }

    /// The address under which the other processes reach what listens there.
    pub fn address(&self) -> IpAddr {
        self.0.as_ref().map_or(Ipv4Addr::LOCALHOST, Host::address).into()
    }

    /// Every address at which it is to listen: the test's own way in, and that of others.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let own = self.0.iter().map(|host| host.address().into());
        [Ipv4Addr::LOCALHOST.into()].into_iter().chain(own).collect()
    }

    /// What a command is run by to run there.
    pub fn prefix(&self) -> Vec<String> {
        self.0.as_ref().map_or_else(Vec::new, Host::prefix)
    }

    /// A program that runs there.
    pub fn command(&self, program: &str) -> Command {
        self.0.as_ref().map_or_else(|| Command::new(program), |host| host.command(program))
    }

    /// From now on the test reaches what listens there at this address of loopback.
    pub fn open_door(&self, address: SocketAddr) {
        if let Some(host) = &self.0 {
            host.open_door(address);
        }
    }

    /// Connects to an address of loopback there.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.0.as_ref().map_or_else(|| TcpStream::connect(address), |host| host.connect(address))
    }
}
