//! How the running service is reached, and what is shown to it: by the configuration alone, or by options.
//!
//! Invariant: a token goes over TLS or to a loopback address, and to another place than the configuration's only if it was
//! named with that place. It does not know what is asked.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use rustls_pki_types::CertificateDer;
use ureq::{
    Agent,
    config::ConfigBuilder,
    http::Uri,
    typestate::AgentScope,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};
use zeroize::Zeroizing;

use super::tls::{TlsConnector, Trust};
use crate::{
    assemble::read_token, cli::Usage, config::Admin, limits, output::shell_word, pki::certificates,
    sign::read_private_key,
};

/// Who names the file of a token, where the command line does not.
const TOKEN_FILE_VARIABLE: &str = "OSTIA_TOKEN_FILE";

/// Options of commands that ask the running service.
#[derive(Args, Clone, Default, Debug)]
#[command(next_help_heading = "How the service is reached")]
pub(crate) struct Reach {
    /// The URL of the service's admin listener, such as https://writer-1.example:9090. Without it: `admin.listen` of the
    /// configuration.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with the token of a principal. Without it: the one that OSTIA_TOKEN_FILE names, else `admin.token_file`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The CAs whose certificates count for the listener, beside the one that the configuration names. Without it: those
    /// of the system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A client certificate, with its chain, to be shown instead of a token.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl Reach {
    /// Whether it is another service than that of the configuration.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.url.is_some()
    }
}

/// The service, reached.
pub(super) struct Reached {
    pub(super) agent: Agent,
    /// Up to the path.
    pub(super) base: String,
    /// What stands in the header that says who asks; `None` where a certificate does.
    pub(super) authorization: Option<Zeroizing<String>>,
    /// What says who asks, in words.
    pub(super) shown: String,
    /// Where to look when nothing answers, in words.
    pub(super) place: String,
}

/// For the service that runs with this configuration; `None` if nothing says who asks.
pub(super) fn reach(options: &Reach, config: &Path) -> Result<Option<Reached>, Box<dyn Error>> {
    let named = options.token_file.clone().or_else(|| std::env::var_os(TOKEN_FILE_VARIABLE).map(PathBuf::from));
    let by_certificate = options.client_certificate.is_some();
    let (base, admin) = match &options.url {
        Some(url) if named.is_none() && !by_certificate => {
            let what = "--token-file or --client-certificate is needed beside --url: the token of the configuration goes nowhere else";
            return Err(Usage::new(format!("{what} than to its own listener ({url})")).into());
        }
        Some(url) => (checked(url)?, None),
        None => {
            let admin = Admin::of(config)?;
            let scheme = if admin.tls.is_some() { "https" } else { "http" };
            (format!("{scheme}://{}", reachable(admin.listen)), Some(admin))
        }
    };
    let of_config = admin.as_ref().and_then(|admin| admin.token_file.as_ref());
    let (authorization, shown) = match (named, of_config) {
        (Some(path), _) => {
            (Some(authorization(&path).map_err(|error| error.to_string())?), format!("the token of {}", path.display()))
        }
        (None, _) if by_certificate => (None, "the client certificate".to_owned()),
        (None, Some(file)) => {
            let told = |error| format!("{}: admin.token_file: {error}", config.display());
            let path = file.find_now().map_err(told)?;
            (Some(authorization(&path).map_err(told)?), format!("the token of {}", path.display()))
        }
        (None, None) => return Ok(None),
    };
    let builder = Agent::config_builder()
        .timeout_connect(Some(limits::CLIENT_CONNECT_MAX))
        .timeout_global(Some(limits::CLIENT_ANSWER_MAX));
    let agent = agent(builder, trust(options, admin.as_ref(), &base)?)?;
    let place = match &options.url {
        Some(_) => "is the service running, and is --url its admin listener?".to_owned(),
        None => format!(
            "is the service running, and is `admin.listen` in {} the address that it was started with?",
            shell_word(&config.to_string_lossy())
        ),
    };
    Ok(Some(Reached { agent, base, authorization, shown, place }))
}

fn authorization(path: &Path) -> Result<Zeroizing<String>, crate::pki::FileError> {
    Ok(Zeroizing::new(format!("Bearer {}", *read_token(path)?)))
}

/// An agent for the listener of this configuration, to which nothing is shown.
pub(in crate::cli) fn agent_of(
    admin: &Admin,
    builder: ConfigBuilder<AgentScope>,
) -> Result<(Agent, String), Box<dyn Error>> {
    let scheme = if admin.tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{}", reachable(admin.listen));
    let trust = trust(&Reach::default(), Some(admin), &base)?;
    Ok((agent(builder, trust)?, base))
}

fn agent(builder: ConfigBuilder<AgentScope>, trust: Trust) -> Result<Agent, Box<dyn Error>> {
    // A proxy of the environment would get the token, and so would another place that an answer names.
    let config = builder.proxy(None).http_status_as_error(false).max_redirects(0).build();
    let connector = TcpConnector::default().chain(TlsConnector(trust.config()?));
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
}

fn trust(options: &Reach, admin: Option<&Admin>, base: &str) -> Result<Trust, Box<dyn Error>> {
    if base.starts_with("http:") {
        return Ok(Trust::default());
    }
    let read = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let read = certificates(path).map_err(|error| error.to_string())?;
        Ok(read.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect())
    };
    let own = admin.and_then(|admin| admin.tls.as_ref()).map(|tls| read(&tls.certificate)).transpose()?;
    let roots = match &options.ca {
        Some(path) => read(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let shown = match (&options.client_certificate, &options.client_key) {
        (Some(certificate), Some(key)) => {
            let key = read_private_key(key, limits::TLS_FILE_OCTETS_MAX).map_err(|error| error.to_string())?;
            Some((read(certificate)?, key))
        }
        _ => None,
    };
    Ok(Trust { own: own.and_then(|chain| chain.into_iter().next()), roots, shown })
}

/// A URL without its path, if a token may go there.
fn checked(url: &str) -> Result<String, Usage> {
    let refuse = |what: &str| Usage::new(format!("--url {url} {what}; expected such as https://writer-1.example:9090"));
    let uri: Uri = url.parse().map_err(|_| refuse("is no URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(refuse("is no URL")) };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(refuse("has more than a scheme, a host and a port"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
    match scheme {
        "https" => Ok(format!("https://{authority}")),
        "http" if is_loopback => Ok(format!("http://{authority}")),
        "http" => Err(refuse("has no TLS, so that others could read the token")),
        _ => Err(refuse("has another scheme")),
    }
}

/// Where a listener of this address is reached from its own machine.
pub(in crate::cli) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_all_addresses_is_asked_at_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }

    #[test]
    fn a_token_goes_nowhere_where_others_could_read_it() {
        for (url, base) in [
            ("https://writer-1.example:9090", "https://writer-1.example:9090"),
            ("https://10.0.0.1/", "https://10.0.0.1"),
            ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
            ("http://[::1]:9090/", "http://[::1]:9090"),
            ("http://localhost", "http://localhost"),
        ] {
            assert_eq!(checked(url).ok().as_deref(), Some(base), "{url}");
        }
        for (url, words) in [
            ("http://writer-1.example:9090", "has no TLS"),
            ("http://localhost.example", "has no TLS"),
            ("ftp://127.0.0.1", "has another scheme"),
            ("writer-1.example", "is no URL"),
            ("https://a@writer-1.example", "has more than"),
            ("https://writer-1.example/v1", "has more than"),
        ] {
            let error = checked(url).unwrap_err().to_string();
            assert!(error.contains(words), "{url}: {error}");
        }
    }
}
