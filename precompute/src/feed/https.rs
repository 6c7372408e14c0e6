//! How others are asked over HTTP, and whose certificates count there.
//!
//! Purpose: one client for debts, snapshots and sources. Invariants: no proxy of the environment is asked, no redirect is followed, and
//! over `https://` nobody is trusted but the CAs that are named, or else those of the system. It does not know what is
//! asked for, or how long that may take.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::crypto::aws_lc_rs;
use tracing::warn;
use ureq::{
    Agent,
    config::ConfigBuilder,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
    typestate::AgentScope,
};

use super::redis::{NAME_REMEDY, Trust, is_of_name};
use crate::pki::{FileError, certificates};

/// Whose certificates count for `https://` URLs. A copy shares what was read.
#[derive(Clone, Debug, Default)]
pub struct Https(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// `None` for those of the system.
    pem: Option<Vec<u8>>,
    /// The certificates of the system are read when they are needed first.
    roots: OnceLock<RootCerts>,
}

impl Https {
    /// For these CAs.
    pub fn trusting(trust: &Trust) -> Self {
        let pem = match trust {
            Trust::System => None,
            Trust::These(pem) => Some(pem.clone()),
        };
        Self(Arc::new(Shared { pem, roots: OnceLock::new() }))
    }

    /// The CAs, as PEM; `None` for those of the system.
    pub fn cas(&self) -> Option<&[u8]> {
        self.0.pem.as_deref()
    }

    /// A client that is still to be given its bounds. One that is not `over_tls` is for `http://` alone.
    pub(crate) fn client(&self, over_tls: bool) -> ConfigBuilder<AgentScope> {
        let read = || self.0.pem.as_deref().map_or_else(of_system, of_pem);
        let roots = if over_tls { self.0.roots.get_or_init(read).clone() } else { RootCerts::from(Vec::new()) };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()));
        // A proxy, or another place that an answer names, would get the token.
        Agent::config_builder().proxy(None).max_redirects(0).http_status_as_error(false).tls_config(tls.build())
    }

    /// Whether the certificates have been needed.
    #[cfg(test)]
    pub(crate) fn were_read(&self) -> bool {
        self.0.roots.get().is_some()
    }
}

/// Whether it takes TLS to ask there.
pub(crate) fn is_over_tls(url: &str) -> bool {
    !url.starts_with("http:")
}

/// The certificates of a file as PEM, whatever form they have there.
pub fn cas(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut text = Vec::new();
    for certificate in certificates(path)? {
        let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, certificate.der());
        text.extend_from_slice(pem.map_err(|error| FileError::new(path, error))?.as_bytes());
    }
    Ok(text)
}

fn of_pem(pem: &[u8]) -> RootCerts {
    // The file was read and its certificates written again as PEM by this program.
    parse_pem(pem).filter_map(|item| if let Ok(PemItem::Certificate(ca)) = item { Some(ca) } else { None }).into()
}

fn of_system() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let problem = found.errors.first().map_or_else(|| "it has none".to_owned(), ToString::to_string);
        warn!(
            "the CAs that the system trusts cannot be read ({problem}); `feed.https_ca`, and `tls_ca` for sources, name a file with others"
        );
    }
    found.certs.iter().map(|ca| Certificate::from_der(ca).to_owned()).into()
}

/// What to do where a name, a certificate or TLS itself keeps an answer away; empty for any other fault. `names`: the key
/// with the URL; `ca`: the key with the CAs.
pub(crate) fn remedy(error: &str, names: &str, ca: &str) -> String {
    let says = |what: &str| error.contains(what);
    if is_of_name(error) {
        NAME_REMEDY.to_owned()
    } else if says("CaUsedAsEndEntity") {
        "; its certificate is a CA's own, as `openssl req -x509` makes it: give it one that this CA has issued"
            .to_owned()
    } else if says("not valid for name") || says("not valid for any names") {
        format!("; its certificate has other names: {names} has to say one that stands in it")
    } else if says("UnknownIssuer") || says("BadSignature") {
        format!("; {ca} here has to name the CA of its certificate")
    } else if says("certificate expired") || says("certificate not valid yet") {
        "; renew its certificate, and look at the clocks of both machines".to_owned()
    } else if says("certificate") {
        "; look at its certificate (`openssl s_client -connect HOST:PORT`)".to_owned()
    } else if says("corrupt message") || says("InvalidContentType") {
        format!(
            "; what answers there speaks no TLS: either {names} has to say `http://`, or what gives out TLS there is missing"
        )
    } else {
        String::new()
    }
}
