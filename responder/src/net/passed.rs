//! Sockets that systemd opened and passed on (sd_listen_fds), so that it can hold a port below 1024, or hold
//! connections while the service is started anew.

use std::{env, error::Error, fmt, net::TcpListener};

use listenfd::ListenFd;

/// Those that nobody has taken yet, with their names (`FileDescriptorName=` of the socket unit).
#[derive(Debug, Default)]
pub struct Passed(Vec<(String, TcpListener)>);

/// A wanted socket that was not passed, or a passed one that cannot be used.
#[derive(Debug)]
pub struct PassedError(String);

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for PassedError {}

impl Passed {
    /// What was passed to this process. To be asked once, and before there are other threads.
    pub fn to_us() -> Result<Self, PassedError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..descriptors.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match descriptors.take_tcp_listener(place) {
                Ok(Some(socket)) => sockets.push((name, socket)),
                Ok(None) => {}
                Err(error) => {
                    return Err(PassedError(format!(
                        "socket {place} («{name}») that systemd passed cannot be listened on: {error}; socket units of this service need ListenStream= with an IP address or a port"
                    )));
                }
            }
        }
        Ok(Self(sockets))
    }

    /// Takes what is meant for the section `name` of the configuration: everything, where no other section
    /// takes any, else what has that name. At least one.
    pub fn take(&mut self, name: &str, alone: bool) -> Result<Vec<TcpListener>, PassedError> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(other, _)| alone || other == name);
        self.0 = left;
        if taken.is_empty() {
            let named = if alone { String::new() } else { format!(" with FileDescriptorName={name}") };
            return Err(PassedError(format!(
                "{name}.listen: says «systemd», and systemd has passed no socket{named}; start the service by its socket unit (systemctl start ostia-responder.socket), or name an address instead"
            )));
        }
        Ok(taken.into_iter().map(|(_, socket)| socket).collect())
    }

    /// The names of what nobody took.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(names: &[&str]) -> Passed {
        let socket = |name: &&str| ((*name).to_owned(), TcpListener::bind("127.0.0.1:0").unwrap());
        Passed(names.iter().map(socket).collect())
    }

    #[test]
    fn sockets_go_where_their_names_say_and_all_to_one_who_is_alone() {
        let mut several = passed(&["http", "tls", "http", "ostia.socket"]);
        assert_eq!(several.take("tls", false).unwrap().len(), 1);
        assert_eq!(several.take("http", false).unwrap().len(), 2);
        assert_eq!(several.left().collect::<Vec<_>>(), ["ostia.socket"]);
        assert_eq!(passed(&["ostia.socket", "unknown"]).take("http", true).unwrap().len(), 2);
    }

    #[test]
    fn a_socket_that_was_not_passed_is_told_with_what_to_do() {
        for (mut passed, alone) in [(Passed::default(), true), (passed(&["tls"]), false)] {
            let error = passed.take("http", alone).unwrap_err().to_string();
            assert!(error.starts_with("http.listen: ") && error.contains("ostia-responder.socket"), "{error}");
        }
    }
}
