//! `[admin]`: the address of the admin listener, its TLS, what counts as ready, and who may ask for something. No address
//! is bound here, and no token, key or certificate is read.
//!
//! Invariant: nobody has a token or a certificate that counts where others could listen: that takes TLS or a loopback address.

mod principal;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

pub use self::principal::{OF_TOKEN_FILE, PrincipalConfig};
use super::{ConfigError, Document, Place, SecretFile, Section};
use crate::{limits, pki::written::excerpt, principals::Proof};

/// The admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// Its place in the file.
    pub place: Place,
    /// Health, metrics and the API; never on a port of relying parties.
    pub listen: SocketAddr,
    /// Whether the service counts as ready while no key of some signer works. Kept answers are still served, and a
    /// balancer that stops using all replicas at once makes things worse.
    pub ready_without_signers: bool,
    /// The file with the token of an administrator.
    pub token_file: Option<SecretFile>,
    /// TLS of the listener.
    pub tls: Option<AdminTls>,
    /// Names and addresses under which it is reached, in lower case, beside loopback; `None` for those of its certificate.
    pub hosts: Option<Vec<String>>,
    /// Whether metrics and the remarks of health are for everybody; `None`: where principals come over TLS from
    /// other machines, they are for principals.
    pub open_metrics: Option<bool>,
    /// Who else may ask for something.
    pub principals: Vec<PrincipalConfig>,
}

/// TLS of the admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminTls {
    /// The file with the server's certificate and its chain.
    pub certificate: PathBuf,
    /// The file with its key.
    pub key: SecretFile,
    /// The file with the CAs whose clients may show a certificate.
    pub client_ca: Option<PathBuf>,
}

impl Default for Admin {
    /// On loopback: being reachable from elsewhere has to be a decision.
    fn default() -> Self {
        Self {
            place: Place::default(),
            listen: (Ipv4Addr::LOCALHOST, 9090).into(),
            ready_without_signers: true,
            token_file: None,
            tls: None,
            hosts: None,
            open_metrics: None,
            principals: Vec::new(),
        }
    }
}

pub(super) fn read(root: &mut Section<'_>) -> Admin {
    let default = Admin::default();
    // Known, whether the file has it or not.
    root.leave_to_others(&["admin"]);
    if !root.has("admin") {
        return default;
    }
    let read = root.section("admin", |section| {
        let listen = section.address("listen").map_or(default.listen, canonical);
        let ready_without_signers = section.boolean("ready_without_signers").unwrap_or(default.ready_without_signers);
        let make = "name a file with a token, which `openssl rand -hex 32` makes";
        let token_file = SecretFile::read(section, "token_file", "token", make);
        let tls = read_tls(section);
        let hosts = read_hosts(section);
        let open_metrics = section.boolean("open_metrics");
        let principals = principal::read_all(section);
        let keys = [("token_file", token_file.is_some()), ("principal", !principals.is_empty())];
        for (key, _) in keys.into_iter().filter(|(_, is_there)| *is_there && !can_be_private(listen, section)) {
            section.problem(
                key,
                format_args!(
                    "needs `listen` on a loopback address, such as 127.0.0.1:9090 or [::1]:9090, or TLS (`certificate` and `key`): the listener has no TLS, so the token would cross the network where others can read it; it is {listen}"
                ),
            );
        }
        let has_ca = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !has_ca && principals.iter().any(|one| matches!(one.proof, Proof::Certificate(_))) {
            section.problem(
                "client_ca",
                "is missing, and a principal is recognised by its `certificate`; name the file with the CAs that issue those",
            );
        }
        let place = section.place();
        Some(Admin { place, listen, ready_without_signers, token_file, tls, hosts, open_metrics, principals })
    });
    read.unwrap_or_default()
}

/// Whether nobody can listen to what is said there. TLS with something wrong about it is told of already.
fn can_be_private(listen: SocketAddr, section: &Section<'_>) -> bool {
    listen.ip().is_loopback() || section.has("certificate") || section.has("key")
}

fn read_tls(section: &mut Section<'_>) -> Option<AdminTls> {
    let (has_certificate, has_key) = (section.has("certificate"), section.has("key"));
    let certificate = section.path("certificate");
    let key = SecretFile::of_private_key(section, "key");
    let client_ca = section.path("client_ca");
    for (missing, name, beside) in
        [(has_key && !has_certificate, "certificate", "key"), (has_certificate && !has_key, "key", "certificate")]
    {
        if missing {
            let what = "name a PEM file (certificate: the listener's, then its chain)";
            section.problem(name, format_args!("is missing beside `{beside}`; {what}"));
        }
    }
    if !has_certificate && !has_key {
        if section.has("client_ca") {
            section.problem("client_ca", "needs `certificate` and `key`: clients show certificates over TLS alone");
        }
        return None;
    }
    Some(AdminTls { certificate: certificate.unwrap_or_default(), key: key.unwrap_or_default(), client_ca })
}

fn read_hosts(section: &mut Section<'_>) -> Option<Vec<String>> {
    let hosts = section.strings("hosts")?;
    if hosts.len() > limits::ADMIN_HOSTS_MAX {
        section.problem("hosts", format_args!("has more than {} entries", limits::ADMIN_HOSTS_MAX));
        return None;
    }
    for host in &hosts {
        let is_name =
            !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        if !is_name && host.parse::<IpAddr>().is_err() {
            section.problem(
                "hosts",
                format_args!(
                    "has {}; expected names or addresses without a port, such as \"writer-1.example\"",
                    excerpt(host)
                ),
            );
        }
    }
    Some(hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
}

impl Admin {
    /// Reads this section alone: a program that asks the running service does not need the rest of the file.
    pub fn of(path: &Path) -> Result<Self, ConfigError> {
        Document::open(path)?.read(|root| Some(read(root)))
    }

    /// Whether somebody may ask for something.
    pub fn has_principals(&self) -> bool {
        self.token_file.is_some() || !self.principals.is_empty()
    }
}

/// An address in the usual form: an IPv4 address within IPv6 becomes IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether two sockets cannot be bound to these addresses at the same time.
pub fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let everything = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (everything || a.ip() == b.ip())
}
