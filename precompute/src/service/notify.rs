//! What the service reports to systemd, sd_notify(3). It does not know why.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The state of the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceState {
    /// It answers, for the first time or with another configuration.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It ends.
    Stopping,
    /// It does not hang.
    Moving,
}

/// Reports to systemd, if systemd asks for it.
pub fn notify(state: ServiceState) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    let message = match state {
        ServiceState::Ready => "READY=1\n".to_owned(),
        ServiceState::Reloading => {
            let now = clock_gettime(ClockId::Monotonic);
            format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
        }
        ServiceState::Stopping => "STOPPING=1\n".to_owned(),
        ServiceState::Moving => "WATCHDOG=1\n".to_owned(),
    };
    if let Err(error) = send(&socket, &message) {
        warn!(?socket, %error, "systemd could not be notified at NOTIFY_SOCKET: {}", message.trim_end());
    }
}

/// `socket`: a path, or a name in the abstract namespace with `@` before it.
fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_reached_by_its_path_and_in_the_abstract_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("ostia-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, listening) in [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&address).unwrap()),
        ] {
            send(&socket, "READY=1\n").unwrap();
            let mut message = [0; 20];
            let length = listening.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1\n");
        }
        assert!(send(OsStr::new("/nowhere/notify"), "").is_err());
    }
}
