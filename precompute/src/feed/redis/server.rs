//! Where Redis is, and how to be let in. It connects nobody by itself.

use std::{fmt, path::PathBuf};

use redis::{
    Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisError, TlsCertificates,
    io::tcp::TcpSettings,
};
use zeroize::Zeroizing;

/// Where Redis is, and how to be let in.
#[derive(Clone, Debug)]
pub struct Server {
    /// A host and port, a socket, or a master that Sentinels name.
    pub address: Address,
    /// Who this is there.
    pub login: Login,
    /// Who this is to the Sentinels, where there are any.
    pub sentinel_login: Login,
    /// `None` without TLS; else whom to trust, as PEM. For Redis and its Sentinels alike, but no socket.
    pub tls: Option<Trust>,
}

/// Who this is to a server.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// `None` for the default user.
    pub user: Option<String>,
    /// Never shown.
    pub password: Option<Zeroizing<String>>,
}

/// Where Redis listens.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// Wherever these Sentinels say that the master is.
    Master(Master),
    /// Not reached from here: the feed is polled from who gives snapshots.
    Polled,
}

/// A master that Sentinels watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Master {
    /// What `sentinel monitor` calls it.
    pub name: String,
    /// Where Sentinels listen, at least one; each a host and port.
    pub sentinels: Vec<Address>,
}

/// Whose certificates count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Those that the system trusts.
    System,
    /// Those of these CAs, as PEM.
    These(Vec<u8>),
}

impl Server {
    /// One that lets everybody in, without TLS.
    pub fn at(address: Address) -> Self {
        Self { address, login: Login::default(), sentinel_login: Login::default(), tls: None }
    }

    /// What is to be said of a server that does this when its memory is full (`maxmemory-policy`), if anything.
    pub fn doubt_of_eviction(&self, policy: &str) -> Option<String> {
        let address = &self.address;
        (policy != "noeviction").then(|| {
            format!(
                "Redis at {address} has `maxmemory-policy {policy}`, by which it may drop the feed when its memory is full; set `maxmemory-policy noeviction`"
            )
        })
    }

    /// A client of the server at this address, which is neither [`Address::Master`] nor [`Address::Polled`].
    pub(super) fn client(&self, address: &Address, login: &Login) -> Result<Client, RedisError> {
        let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.as_str());
        }
        let address = match address {
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Address::Tcp { host, port } if self.tls.is_some() => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Master(_) | Address::Polled => {
                return Err(RedisError::from((redis::ErrorKind::InvalidClientConfig, "it has no address of its own")));
            }
        };
        let info = address
            .into_connection_info()?
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(settings);
        match &self.tls {
            Some(Trust::These(cas)) => {
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(cas.clone()) })
            }
            _ => Client::open(info),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Login").field("user", &self.user).field("password", &password).finish()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
            Self::Master(Master { name, .. }) => write!(f, "the master `{name}`"),
            Self::Polled => f.write_str("nowhere"),
        }
    }
}
