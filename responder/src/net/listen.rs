//! Listening sockets: one for each worker and address, sharing the port.
//!
//! Invariant: an address that another process listens on is refused. It does not know what is served there.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    thread,
    time::Instant,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits;

/// An address that cannot be used for listening.
#[derive(Debug)]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    error: io::Error,
    /// Whether it is an IPv6 address on a machine without IPv6.
    without_ipv6: bool,
}

impl ListenError {
    fn new(key: &'static str, address: SocketAddr, error: io::Error) -> Self {
        let without_ipv6 = address.is_ipv6()
            && match error.raw_os_error() {
                Some(code) if code == Errno::AFNOSUPPORT.raw_os_error() => true,
                Some(code) if code == Errno::ADDRNOTAVAIL.raw_os_error() => !some_interface_has_ipv6(),
                _ => false,
            };
        Self { key, address, error, without_ipv6 }
    }
}

/// The kernel lists IPv6 addresses here, including that of `lo`; the file does not exist without IPv6.
fn some_interface_has_ipv6() -> bool {
    fs::read("/proc/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty())
}

impl ListenError {
    /// The kernel's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot listen on {}: {}", self.key, self.address, self.error)?;
        match self.error.kind() {
            _ if self.without_ipv6 => write!(
                f,
                "; this machine has no IPv6: leave `{}` out, or turn IPv6 on (sysctl net.ipv6.conf.all.disable_ipv6, kernel parameter ipv6.disable)",
                self.address
            ),
            io::ErrorKind::AddrInUse => {
                f.write_str("; stop the program that holds the port (`ss -ltnp` names it), or choose another")
            }
            io::ErrorKind::PermissionDenied => f.write_str(
                "; ports below 1024 need CAP_NET_BIND_SERVICE (which the systemd unit gives), or choose a higher one",
            ),
            io::ErrorKind::AddrNotAvailable => f.write_str(
                "; no interface of this machine has this address: name one that `ip addr` shows, or `0.0.0.0` or `[::]` for all of them",
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {}

/// What prevents listening on `address`, apart from a process that has it now; nothing stays bound.
pub fn doubt(key: &'static str, address: SocketAddr) -> Option<ListenError> {
    let error = socket(address, Others::None).err()?;
    (error.kind() != io::ErrorKind::AddrInUse).then(|| ListenError::new(key, address, error))
}

/// An address that is reserved, but does not accept connections yet.
#[derive(Debug)]
pub struct Reserved {
    /// The key in the configuration, for errors.
    key: &'static str,
    address: SocketAddr,
    /// Closed when the listeners take its place.
    held: Socket,
}

/// Reserves `address`; port 0 means any free port. `key`: the key in the configuration, for errors.
pub fn reserve(key: &'static str, address: SocketAddr) -> Result<Reserved, ListenError> {
    // Two processes that start at the same time could both bind an address with reuse allowed, so that is tried second.
    // The first attempt fails while connections of the last run still linger.
    let held = socket(address, Others::None).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => socket(address, Others::Lingering),
        _ => Err(error),
    });
    let held = held.map_err(|error| ListenError::new(key, address, error))?;
    let address = held.local_addr().ok().and_then(|bound| bound.as_socket()).unwrap_or(address);
    Ok(Reserved { key, address, held })
}

/// Like [`reserve`], but retries a taken address for [`limits::LISTEN_PATIENCE`]: when a process is killed, the kernel
/// closes the sockets held by io_uring some time after the process has gone.
pub fn reserve_soon(key: &'static str, address: SocketAddr) -> Result<Reserved, ListenError> {
    let begin = Instant::now();
    loop {
        match reserve(key, address) {
            Err(ListenError { error, .. })
                if error.kind() == io::ErrorKind::AddrInUse && begin.elapsed() < limits::LISTEN_PATIENCE =>
            {
                thread::sleep(limits::LISTEN_AGAIN);
            }
            reserved => return reserved,
        }
    }
}

impl Reserved {
    /// The address, with the chosen port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listeners of `workers`; the kernel spreads connections over them.
    pub fn shared(self, workers: usize) -> Result<Vec<TcpListener>, ListenError> {
        let Self { key, address, held } = self;
        drop(held);
        let fail = |error| ListenError::new(key, address, error);
        // Sharing would also let in another process of this user, to which the port may then belong as well.
        drop(socket(address, Others::Lingering).map_err(fail)?);
        let socket = |_| {
            let socket = socket(address, Others::Sharing)?;
            socket.listen(limits::BACKLOG)?;
            for_worker(socket.into())
        };
        (0..workers).map(socket).collect::<io::Result<_>>().map_err(fail)
    }

    /// One listener.
    pub fn single(self) -> Result<TcpListener, ListenError> {
        let Self { key, address, held } = self;
        drop(held);
        let listen = || {
            let socket = socket(address, Others::Lingering)?;
            socket.listen(limits::BACKLOG)?;
            Ok(socket.into())
        };
        listen().map_err(|error| ListenError::new(key, address, error))
    }
}

/// The listeners of `workers` on one socket that another process bound; the first worker takes a connection.
pub fn passed(socket: TcpListener, workers: usize) -> io::Result<Vec<TcpListener>> {
    let socket = for_worker(socket)?;
    (0..workers).map(|_| socket.try_clone()).collect()
}

/// Accepting returns if no client waits. Accepted connections send their answers at once, because answers are small and
/// complete; waiting to fill a segment would only delay them. Of a long body the kernel holds little beyond what is on its
/// way, so that it is told of each piece that a slow client has read. Connections inherit this from their listener.
fn for_worker(listener: TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    let socket = SockRef::from(&listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(limits::UNSENT_OCTETS)?;
    Ok(listener)
}

/// Who else may use an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    None,
    /// Connections of the last run may; a listener may not.
    Lingering,
    /// Listeners of this process may, too.
    Sharing,
}

fn socket(address: SocketAddr, others: Others) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(others != Others::None)?;
    socket.set_reuse_port(others == Others::Sharing)?;
    if address.is_ipv6() {
        // So that `[::]` and `0.0.0.0` can be used at the same time.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::TcpStream;

    #[test]
    fn workers_share_one_port_that_nobody_else_gets() {
        let reserved = reserve("http.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.address();
        let listeners = reserved.shared(3).unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        let error = reserve("http.listen", address).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("stop the program"), "{error}");
        drop(listeners);
        let _alone = reserve("admin.listen", address).unwrap().single().unwrap();
        assert!(reserve("http.listen", address).is_err());
    }

    #[test]
    fn a_reserved_address_is_ours_and_refuses_connections_until_it_is_listened_on() {
        let reserved = reserve("http.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.address();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(reserve("http.listen", address).is_err(), "two that start at once");
        let _listeners = reserved.shared(2).unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn an_address_that_is_taken_for_a_moment_is_waited_for_and_no_longer() {
        let taken = reserve("http.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.address();
        let begin = Instant::now();
        assert!(reserve_soon("http.listen", address).unwrap_err().to_string().contains("stop the program"));
        assert!(begin.elapsed() >= limits::LISTEN_PATIENCE);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reserve_soon("http.listen", address));
            thread::sleep(3 * limits::LISTEN_AGAIN);
            drop(taken);
            assert_eq!(waiting.join().unwrap().unwrap().address(), address);
        });
    }

    #[test]
    fn connections_of_the_last_run_do_not_stand_in_the_way() {
        let listener = reserve("http.listen", "127.0.0.1:0".parse().unwrap()).unwrap().single().unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        // Closed on this side first, so that the connection lingers here.
        drop(listener.accept().unwrap());
        drop((listener, client));
        assert!(socket(address, Others::None).is_err(), "it lingers");
        reserve("http.listen", address).unwrap().shared(2).unwrap();
    }
}
