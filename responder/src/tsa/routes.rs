//! The paths of a tenant's authorities, and the certificates that can be fetched there.
//!
//! Invariant: each path has at least one authority, and its chain has every certificate of all of them once. It is
//! built with the configuration, so that no request builds any of it. It does not know HTTP.

use std::sync::Arc;

use precompute::{pki::Certificate, publication::Document, signers::TsaSigner};

use super::authority::Authority;

/// All paths of a tenant.
#[derive(Default, Debug)]
pub struct TsaRoutes(Vec<TsaRoute>);

#[derive(Debug)]
struct TsaRoute {
    /// Below the tenant's path; empty if it is that path.
    path: String,
    authorities: Vec<Arc<Authority>>,
    chain: Document,
}

/// The target of a request at a path.
#[derive(Clone, Copy, Debug)]
pub struct TsaTarget<'a> {
    /// In the order of the file; at least one.
    pub authorities: &'a [Arc<Authority>],
    /// Their certificates in PEM: the signers', in the order of their authorities, and then their chains.
    pub chain: &'a Document,
    /// Whether the chain is requested.
    pub is_chain: bool,
    /// Whether this is the tenant's own path, where certificate statuses can be requested as well.
    pub is_tenants: bool,
}

impl TsaRoutes {
    /// From authorities in the order of the file, which they keep at each path.
    pub fn new(authorities: Vec<Arc<Authority>>) -> Self {
        let mut paths: Vec<(String, Vec<Arc<Authority>>)> = Vec::new();
        for authority in authorities {
            match paths.iter_mut().find(|(path, _)| *path == authority.path) {
                Some((_, there)) => there.push(authority),
                None => paths.push((authority.path.clone(), vec![authority])),
            }
        }
        let route = |(path, authorities): (String, Vec<Arc<Authority>>)| {
            let signers: Vec<_> = authorities.iter().map(|authority| &*authority.signer).collect();
            TsaRoute { path, chain: chain(&signers), authorities }
        };
        Self(paths.into_iter().map(route).collect())
    }

    /// Every authority.
    pub fn authorities(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.0.iter().flat_map(|route| &route.authorities)
    }

    /// Every path, below the tenant's.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|route| &*route.path)
    }

    /// The authorities at `rest`, the path after the tenant's path.
    pub fn at(&self, rest: &[u8]) -> Option<TsaTarget<'_>> {
        if self.0.is_empty() {
            return None;
        }
        let (path, is_chain) = match rest.strip_suffix(b"/chain.pem") {
            Some(path) => (path, true),
            None => (rest.strip_suffix(b"/").unwrap_or(rest), false),
        };
        let TsaRoute { authorities, chain, .. } = self.0.iter().find(|route| route.path.as_bytes() == path)?;
        Some(TsaTarget { authorities, chain, is_chain, is_tenants: path.is_empty() })
    }
}

/// The chain of all these signers, each certificate once.
fn chain(signers: &[&TsaSigner]) -> Document {
    let own = signers.iter().map(|signer| signer.certificate());
    let behind = signers.iter().flat_map(|signer| signer.chain());
    Document::new(pem(own.chain(behind)))
}

/// Certificates in PEM, each once.
pub(super) fn pem<'c>(all: impl Iterator<Item = &'c Certificate>) -> String {
    let mut certificates: Vec<&Certificate> = Vec::new();
    for certificate in all {
        if !certificates.iter().any(|there| there.der() == certificate.der()) {
            certificates.push(certificate);
        }
    }
    let pem = |certificate: &Certificate| {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, certificate.der()).unwrap_or_default()
    };
    certificates.into_iter().map(pem).collect()
}
