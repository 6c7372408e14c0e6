//! Connects to a server that is known by a name, without waiting for a name server that is silent.
//!
//! Purpose: the system looks a name up for as long as its own settings say, which may be minutes, and the client does so
//! while it connects. Here both are done on a thread apart, and waited for within bounds, so that whoever asks Redis can
//! say what is wrong, be told to stop, and take another configuration. Invariants:
//!
//! - One attempt is waited for once: who tries again while its look-up is late hears at once that it is.
//! - An attempt that is late is not in vain: who tries again takes what came of it. So a first name server that is dead
//!   costs five seconds, and not every connection.
//! - An attempt that has taken [`limits::NAME_KEPT`], or leads to another server than is wanted, is given up: what comes of
//!   it is dropped, and its thread ends with the look-up.
//!
//! Addresses and sockets are connected to at once, by the thread that wants it. It does not know what is asked.

use std::{
    fmt, io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use redis::{Connection, ErrorKind, RedisError};

use super::{Address, Login, Server};
use crate::limits::feed as limits;

/// Makes one connection after the other.
pub(super) struct Dialler<T = Result<Connection, RedisError>> {
    attempt: Option<Attempt<T>>,
}

impl<T> Default for Dialler<T> {
    fn default() -> Self {
        Self { attempt: None }
    }
}

/// Why there is no connection.
pub(super) enum Failure {
    /// Nobody has said yet which address the name has.
    Unresolved,
    /// It is not made yet.
    Late,
    /// What the client says.
    Client(RedisError),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Client(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => write!(f, "its name could not be resolved within {:?}", limits::NAME_WITHIN),
            Self::Late => write!(f, "not within {:?}", limits::CONNECT_WITHIN),
            Self::Client(error) if error.is_timeout() => Self::Late.fmt(f),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl Dialler {
    /// Connects to this address, which is no [`Address::Master`]. It takes [`limits::NAME_WITHIN`] for the name and
    /// [`limits::CONNECT_WITHIN`] for the rest, at most.
    pub(super) fn connect(&mut self, server: &Server, to: &Address, login: &Login) -> Result<Connection, Failure> {
        let Some((host, port)) = name(to) else {
            let made =
                server.client(to, login).and_then(|client| client.get_connection_with_timeout(limits::CONNECT_WITHIN));
            return made.map_err(Failure::Client);
        };
        let work = || {
            let (server, login, host) = (server.clone(), login.clone(), host.to_owned());
            move |is_resolved: &dyn Fn()| dial(&server, &host, port, &login, is_resolved)
        };
        self.wait_for(to, work)?.map_err(Failure::Client)
    }
}

/// The name of a host, and its port, where there is something to look up.
fn name(address: &Address) -> Option<(&str, u16)> {
    match address {
        Address::Tcp { host, port } if host.parse::<IpAddr>().is_err() => Some((host, *port)),
        Address::Tcp { .. } | Address::Unix(_) | Address::Master(_) | Address::Polled => None,
    }
}

/// Looks the name up, says that this is done, and connects.
fn dial(
    server: &Server,
    host: &str,
    port: u16,
    login: &Login,
    is_resolved: &dyn Fn(),
) -> Result<Connection, RedisError> {
    let begun = Instant::now();
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    is_resolved();
    if server.tls.is_some() {
        // Its certificate has the name, and with that the client looks it up once more, which takes as long.
        let (named, within) = (Address::Tcp { host: host.to_owned(), port }, begun.elapsed() + limits::CONNECT_WITHIN);
        return server.client(&named, login)?.get_connection_with_timeout(within);
    }
    let mut made = Err(RedisError::from((ErrorKind::InvalidClientConfig, "its name has no address")));
    for address in addresses {
        let address = Address::Tcp { host: address.ip().to_string(), port };
        made = server
            .client(&address, login)
            .and_then(|client| client.get_connection_with_timeout(limits::CONNECT_WITHIN));
        if made.is_ok() {
            break;
        }
    }
    made
}

struct Attempt<T> {
    to: Address,
    began: Instant,
    resolved: Option<Instant>,
    steps: Receiver<Step<T>>,
}

enum Step<T> {
    Resolved,
    Ended(T),
}

impl<T: Send + 'static> Dialler<T> {
    /// What comes of an attempt: of the one that is under way, or else of a new one. `work`: what that is to do, and when
    /// to say that the name is resolved.
    fn wait_for<W>(&mut self, to: &Address, work: impl FnOnce() -> W) -> Result<T, Failure>
    where
        W: FnOnce(&dyn Fn()) -> T + Send + 'static,
    {
        let is_wanted = |attempt: &Attempt<T>| attempt.to == *to && attempt.began.elapsed() < limits::NAME_KEPT;
        let mut attempt = match self.attempt.take().filter(is_wanted) {
            Some(attempt) => attempt,
            None => Attempt::begin(to, work()).map_err(|error| Failure::Client(error.into()))?,
        };
        loop {
            match attempt.steps.recv_timeout(attempt.patience()) {
                Ok(Step::Resolved) => attempt.resolved = Some(Instant::now()),
                Ok(Step::Ended(outcome)) => return Ok(outcome),
                Err(RecvTimeoutError::Timeout) => {
                    let failure = if attempt.resolved.is_some() { Failure::Late } else { Failure::Unresolved };
                    self.attempt = Some(attempt);
                    return Err(failure);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Client(io::Error::other("the thread that connects has ended").into()));
                }
            }
        }
    }
}

impl<T: Send + 'static> Attempt<T> {
    fn begin(to: &Address, work: impl FnOnce(&dyn Fn()) -> T + Send + 'static) -> io::Result<Self> {
        let (told, steps): (SyncSender<Step<T>>, _) = sync_channel(2);
        // Who has given it up does not hear of it.
        let run = move || {
            let outcome = work(&|| _ = told.send(Step::Resolved));
            let _ = told.send(Step::Ended(outcome));
        };
        thread::Builder::new().name("connect".into()).spawn(run)?;
        Ok(Self { to: to.clone(), began: Instant::now(), resolved: None, steps })
    }

    /// How long it is waited for from now on.
    fn patience(&self) -> Duration {
        let until = match self.resolved {
            Some(resolved) => resolved + limits::CONNECT_WITHIN,
            None => self.began + limits::NAME_WITHIN,
        };
        until.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn to(host: &str) -> Address {
        Address::Tcp { host: host.to_owned(), port: 6379 }
    }

    /// A look-up that ends when this is sent or dropped.
    fn hangs(until: mpsc::Receiver<u32>) -> impl FnOnce(&dyn Fn()) -> Option<u32> + Send + 'static {
        move |_| until.recv().ok()
    }

    fn is_unresolved(outcome: &Result<Option<u32>, Failure>) -> bool {
        matches!(outcome, Err(Failure::Unresolved))
    }

    #[test]
    fn a_name_server_that_is_silent_is_waited_for_once_and_what_it_says_late_counts() {
        let (answer, answered) = mpsc::channel();
        let mut dialler = Dialler::default();
        let begun = Instant::now();
        assert!(is_unresolved(&dialler.wait_for(&to("a"), || hangs(answered))));
        assert!(begun.elapsed() >= limits::NAME_WITHIN);
        let again = Instant::now();
        for _ in 0..1000 {
            let more = || -> fn(&dyn Fn()) -> Option<u32> { panic!("one is under way") };
            assert!(is_unresolved(&dialler.wait_for(&to("a"), more)));
        }
        assert!(again.elapsed() < limits::NAME_WITHIN, "{:?}", again.elapsed());
        answer.send(7).unwrap();
        let none = || -> fn(&dyn Fn()) -> Option<u32> { panic!("that one has ended") };
        let mut late = Err(Failure::Unresolved);
        while is_unresolved(&late) && begun.elapsed() < limits::NAME_KEPT {
            late = dialler.wait_for(&to("a"), none);
        }
        assert!(matches!(late, Ok(Some(7))));
        // It counts once.
        assert!(matches!(dialler.wait_for(&to("a"), || |_: &dyn Fn()| Some(8)), Ok(Some(8))));
    }

    #[test]
    fn what_comes_of_an_attempt_for_another_server_is_dropped() {
        let (answer, answered) = mpsc::channel();
        let mut dialler = Dialler::default();
        assert!(is_unresolved(&dialler.wait_for(&to("a"), || hangs(answered))));
        assert!(matches!(dialler.wait_for(&to("b"), || |_: &dyn Fn()| Some(2)), Ok(Some(2))));
        answer.send(1).unwrap();
        assert!(matches!(dialler.wait_for(&to("a"), || |_: &dyn Fn()| Some(3)), Ok(Some(3))));
    }

    #[test]
    fn an_attempt_that_takes_too_long_is_given_up_for_another_one() {
        let (_answer, answered) = mpsc::channel();
        let mut dialler = Dialler::default();
        assert!(is_unresolved(&dialler.wait_for(&to("a"), || hangs(answered))));
        // As if all that time had passed.
        let attempt = dialler.attempt.as_mut().unwrap();
        attempt.began = attempt.began.checked_sub(limits::NAME_KEPT).unwrap();
        assert!(matches!(dialler.wait_for(&to("a"), || |_: &dyn Fn()| Some(4)), Ok(Some(4))));
    }

    #[test]
    fn connecting_has_time_of_its_own_after_the_name() {
        let mut dialler = Dialler::default();
        let work = |is_resolved: &dyn Fn()| {
            thread::sleep(limits::NAME_WITHIN / 2);
            is_resolved();
            thread::sleep(limits::NAME_WITHIN + limits::CONNECT_WITHIN);
        };
        let begun = Instant::now();
        assert!(matches!(dialler.wait_for(&to("a"), || work), Err(Failure::Late)));
        assert!(begun.elapsed() >= limits::NAME_WITHIN / 2 + limits::CONNECT_WITHIN);
    }

    #[test]
    fn only_names_are_looked_up() {
        for address in [to("192.0.2.1"), to("2001:db8::1"), Address::Unix("/run/redis.sock".into())] {
            assert!(name(&address).is_none(), "{address}");
        }
        assert_eq!(name(&to("redis.example")), Some(("redis.example", 6379)));
        // As if it were a name: what the system says of it is told.
        assert!(name(&to("192.0.2.256")).is_some());
    }
}
