//! The addresses: reserved at the start, so that errors come first, and used for listening when the service can answer.
//!
//! Until then the kernel refuses connections, and balancers use another replica. Sockets that systemd passed already
//! listen: their connections wait. It does not know what is served.

use std::{
    error::Error,
    net::{SocketAddr, TcpListener},
};

use tracing::warn;

use super::Running;
use crate::{
    config::{Config, Listen},
    net::{
        accept::Listener,
        client::canonical,
        listen::{self, Reserved},
        passed::{self, Passed},
    },
};

/// The reserved addresses.
pub(super) struct Bound {
    running: Running,
    places: Vec<Place>,
    admin: Reserved,
    workers: usize,
}

/// The listening sockets.
pub(super) struct Listening {
    /// The listeners of each worker.
    pub(super) workers: Vec<Vec<Listener>>,
    pub(super) admin: TcpListener,
}

/// One address for relying parties.
struct Place {
    source: Source,
    tls: bool,
}

enum Source {
    Reserved(Reserved),
    Passed(TcpListener),
}

/// See [`super::doubts`].
pub(super) fn doubts(config: &Config) -> Vec<String> {
    let tls = config.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
    let mut doubts = Vec::new();
    for (key, listens) in [("http.listen", &config.http[..]), ("tls.listen", tls)] {
        for listen in listens {
            match listen {
                Listen::Address(address) => doubts.extend(listen::doubt(key, *address).map(|error| error.to_string())),
                Listen::Systemd => doubts.push(passed::doubt(key)),
            }
        }
    }
    doubts.extend(listen::doubt("admin.listen", config.common.admin.listen).map(|error| error.to_string()));
    doubts
}

impl Bound {
    /// Reserves every address of `config`.
    pub(super) fn bind(config: &Config) -> Result<Self, Box<dyn Error>> {
        let mut passed = Passed::to_us()?;
        let tls = config.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        let alone = !(config.http.contains(&Listen::Systemd) && tls.contains(&Listen::Systemd));
        let (mut places, mut http_addresses, mut tls_addresses) = (Vec::new(), Vec::new(), Vec::new());
        for (name, listens, tls) in [("http", &config.http[..], false), ("tls", tls, true)] {
            let addresses: &mut Vec<SocketAddr> = if tls { &mut tls_addresses } else { &mut http_addresses };
            for listen in listens {
                match listen {
                    Listen::Address(address) => {
                        let key = if tls { "tls.listen" } else { "http.listen" };
                        let reserved = listen::reserve_soon(key, *address)?;
                        addresses.push(reserved.address());
                        places.push(Place { source: Source::Reserved(reserved), tls });
                    }
                    Listen::Systemd => {
                        for socket in passed.take(name, alone)? {
                            addresses.push(canonical(socket.local_addr()?));
                            places.push(Place { source: Source::Passed(socket), tls });
                        }
                    }
                }
            }
        }
        for name in passed.left() {
            warn!(
                name,
                "systemd passed a socket that the configuration does not use; set listen = [\"systemd\"] under [http] or [tls]"
            );
        }
        let admin = listen::reserve_soon("admin.listen", config.common.admin.listen)?;
        let running = Running { http: http_addresses, tls: tls_addresses, admin: admin.address() };
        Ok(Self { running, places, admin, workers: config.workers })
    }

    /// The addresses.
    pub(super) fn running(&self) -> &Running {
        &self.running
    }

    /// From now on connections are accepted.
    pub(super) fn listen(self) -> Result<Listening, Box<dyn Error>> {
        let mut workers: Vec<Vec<Listener>> = (0..self.workers).map(|_| Vec::new()).collect();
        for Place { source, tls } in self.places {
            let inherited = matches!(source, Source::Passed(_));
            let shares = match source {
                Source::Reserved(reserved) => reserved.shared(self.workers)?,
                Source::Passed(socket) => listen::passed(socket, self.workers)?,
            };
            for (worker, socket) in workers.iter_mut().zip(shares) {
                worker.push(Listener { socket, tls, inherited });
            }
        }
        Ok(Listening { workers, admin: self.admin.single()? })
    }
}
