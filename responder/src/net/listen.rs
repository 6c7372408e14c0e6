//! Listening sockets: one for each worker and address, sharing the port.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot listen on {}: {}", self.key, self.address, self.error)?;
        f.write_str(match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                "; stop the program that holds the port (`ss -ltnp` names it), or choose another"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher one",
            io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
            _ => "",
        })
    }
}

impl std::error::Error for ListenError {}

/// Binds `workers` listeners to `address` that share it; the kernel spreads connections over them.
/// Port 0 chooses one port for all. `key` is the configuration's, for errors.
pub fn shared(key: &'static str, address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, ListenError> {
    let fail = |error| ListenError { key, address, error };
    // Sharing would also let another process of this user in, whose port it then is as much as ours.
    let alone = socket(address, false).map_err(fail)?;
    let address = alone.local_addr().ok().and_then(|bound| bound.as_socket()).unwrap_or(address);
    drop(alone);
    (0..workers)
        .map(|_| {
            let socket = socket(address, true).map_err(fail)?;
            socket.listen(limits::BACKLOG).map_err(fail)?;
            for_worker(socket.into()).map_err(fail)
        })
        .collect()
}

/// The listeners of `workers` on one socket that somebody else bound; whoever is first takes a connection.
pub fn passed(socket: TcpListener, workers: usize) -> io::Result<Vec<TcpListener>> {
    let socket = for_worker(socket)?;
    (0..workers).map(|_| socket.try_clone()).collect()
}

/// Accepting returns when nobody waits, and what is accepted sends its answers at once: they are small and whole,
/// waiting to fill a segment would only delay them. Connections inherit this from their listener.
fn for_worker(listener: TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    Ok(listener)
}

/// Binds one listener; `key` as in [`shared`].
pub fn single(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let fail = |error| ListenError { key, address, error };
    let socket = socket(address, false).map_err(fail)?;
    socket.listen(limits::BACKLOG).map_err(fail)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the last run that still linger do not stand in the way; a listener does.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` can be listened on side by side.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port_that_nobody_else_gets() {
        let listeners = shared("http.listen", "127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        let error = shared("http.listen", address, 1).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("stop the program"), "{error}");
        drop(listeners);
        let _alone = single("admin.listen", address).unwrap();
        assert!(shared("http.listen", address, 1).is_err());
    }
}
