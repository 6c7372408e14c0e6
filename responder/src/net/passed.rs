//! Sockets that systemd opened and passed (sd_listen_fds), so that it can hold a port below 1024, or hold connections
//! during a restart of the service.
//!
//! Invariant: each socket is taken at most once. It does not know what is served there.

use std::{env, error::Error, fmt, net::TcpListener};

use listenfd::ListenFd;

/// The sockets that were not taken yet.
#[derive(Debug, Default)]
pub struct Passed {
    /// With their names (`FileDescriptorName=` of the socket unit).
    sockets: Vec<(String, TcpListener)>,
    /// A description of what was passed, for errors.
    told: String,
}

/// A wanted socket that was not passed, or a passed socket that cannot be used.
#[derive(Debug)]
pub struct PassedError(String);

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for PassedError {}

impl Passed {
    /// The sockets passed to this process. Call it once, before other threads exist.
    pub fn to_us() -> Result<Self, PassedError> {
        let (count, process) = (env::var("LISTEN_FDS").ok(), env::var("LISTEN_PID").ok());
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
                        "socket {place} (`{name}`) that systemd passed cannot be listened on: {error}; socket units of this service need ListenStream= with an IP address or a port"
                    )));
                }
            }
        }
        Ok(Self::new(sockets, count, process))
    }

    /// `count` and `process`: systemd's values for them.
    fn new(sockets: Vec<(String, TcpListener)>, count: Option<String>, process: Option<String>) -> Self {
        let told = match (count, process) {
            _ if !sockets.is_empty() => {
                let names: Vec<_> = sockets.iter().map(|(name, _)| format!("`{name}`")).collect();
                format!("it has passed sockets named {}", names.join(", "))
            }
            (Some(count), Some(process)) if process != std::process::id().to_string() => {
                format!("LISTEN_FDS={count} is for process {process}, and this is another")
            }
            (Some(count), _) => format!("LISTEN_FDS={count} has no listening TCP socket"),
            (None, _) => "LISTEN_FDS is not set: no socket unit has started this process".to_owned(),
        };
        Self { sockets, told }
    }

    /// Takes the sockets of the configuration section `name`: all of them if no other section takes any, otherwise
    /// those with that name. At least one.
    pub fn take(&mut self, name: &str, alone: bool) -> Result<Vec<TcpListener>, PassedError> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sockets).into_iter().partition(|(other, _)| alone || other == name);
        self.sockets = left;
        if taken.is_empty() {
            let named = if alone { String::new() } else { format!(" with FileDescriptorName={name}") };
            return Err(PassedError(format!(
                "{name}.listen: says `systemd`, and systemd has passed no socket{named} ({}); start the service by its socket unit (systemctl start ostia-responder.socket), or name an address instead",
                self.told
            )));
        }
        Ok(taken.into_iter().map(|(_, socket)| socket).collect())
    }

    /// The names of sockets that were not taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.sockets.iter().map(|(name, _)| name.as_str())
    }
}

/// What cannot be checked about a `key` with the value `systemd` before systemd starts the service.
pub fn doubt(key: &str) -> String {
    format!(
        "{key}: says `systemd`: whether a socket is passed shows only when the service is started by its socket unit; make sure that it is enabled (systemctl enable --now ostia-responder.socket)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(names: &[&str]) -> Passed {
        let socket = |name: &&str| ((*name).to_owned(), TcpListener::bind("127.0.0.1:0").unwrap());
        Passed::new(names.iter().map(socket).collect(), None, None)
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
        let said = |count: Option<&str>, process: Option<&str>| {
            Passed::new(Vec::new(), count.map(str::to_owned), process.map(str::to_owned))
        };
        let own = std::process::id().to_string();
        for (mut passed, alone, told) in [
            (said(None, None), true, "LISTEN_FDS is not set"),
            (said(Some("1"), Some("1")), true, "LISTEN_FDS=1 is for process 1, and this is another"),
            (said(Some("0"), Some(&own)), true, "LISTEN_FDS=0 has no"),
            (passed(&["tls", "x"]), false, "sockets named `tls`, `x`"),
        ] {
            let error = passed.take("http", alone).unwrap_err().to_string();
            assert!(error.starts_with("http.listen: ") && error.contains("ostia-responder.socket"), "{error}");
            assert!(error.contains(told), "{error}");
        }
    }
}
