//! The paths of a tenant's authorities, and the certificates that can be fetched there.
//!
//! Invariant: each path has at least one authority, whose tokens are made here or, on an edge, elsewhere, and its chain has every
//! certificate of all of them once. It is built with the configuration, so that no request builds any of it. It does not know
//! HTTP.

use std::sync::Arc;

use precompute::{pki::Certificate, publication::Document, signers::TsaSigner};

use super::{authority::Authority, elsewhere::ElsewhereAt};

/// All paths of a tenant.
#[derive(Default, Debug)]
pub struct TsaRoutes(Vec<TsaRoute>);

#[derive(Debug)]
struct TsaRoute {
    /// Below the tenant's path; empty if it is that path.
    path: String,
    made: Made,
}

#[derive(Debug)]
enum Made {
    Here(Here),
    Elsewhere(Arc<ElsewhereAt>),
}

/// The authorities at a path whose tokens are made here.
#[derive(Debug)]
pub struct Here {
    /// In the order of the file; at least one.
    pub authorities: Vec<Arc<Authority>>,
    /// Their certificates in PEM: the signers', in the order of their authorities, and then their chains.
    pub chain: Document,
}

/// The target of a request at a path.
#[derive(Clone, Copy, Debug)]
pub struct TsaTarget<'a> {
    /// Where its tokens are made.
    pub made: MadeAt<'a>,
    /// Whether the chain is requested.
    pub is_chain: bool,
    /// Whether this is the tenant's own path, where certificate statuses can be requested as well.
    pub is_tenants: bool,
}

/// Where tokens are made.
#[derive(Clone, Copy, Debug)]
pub enum MadeAt<'a> {
    /// By these authorities.
    Here(&'a Here),
    /// By the replicas behind an edge.
    Elsewhere(&'a Arc<ElsewhereAt>),
}

impl TsaRoutes {
    /// From authorities in the order of the file, which they keep at each path, and the paths of those of an edge.
    pub fn new(authorities: Vec<Arc<Authority>>, elsewhere: Vec<Arc<ElsewhereAt>>) -> Self {
        let mut paths: Vec<(String, Vec<Arc<Authority>>)> = Vec::new();
        for authority in authorities {
            match paths.iter_mut().find(|(path, _)| *path == authority.path) {
                Some((_, there)) => there.push(authority),
                None => paths.push((authority.path.clone(), vec![authority])),
            }
        }
        let here = |(path, authorities): (String, Vec<Arc<Authority>>)| {
            let signers: Vec<_> = authorities.iter().map(|authority| &*authority.signer).collect();
            TsaRoute { path, made: Made::Here(Here { chain: chain(&signers), authorities }) }
        };
        let of_edge = |at: Arc<ElsewhereAt>| TsaRoute { path: at.path.clone(), made: Made::Elsewhere(at) };
        Self(paths.into_iter().map(here).chain(elsewhere.into_iter().map(of_edge)).collect())
    }

    /// Every authority whose tokens are made here.
    pub fn authorities(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.0.iter().flat_map(|route| match &route.made {
            Made::Here(here) => here.authorities.as_slice(),
            Made::Elsewhere(_) => &[],
        })
    }

    /// Those of an edge, by path.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Arc<ElsewhereAt>> {
        self.0.iter().filter_map(|route| match &route.made {
            Made::Here(_) => None,
            Made::Elsewhere(at) => Some(at),
        })
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
        let made = match &self.0.iter().find(|route| route.path.as_bytes() == path)?.made {
            Made::Here(here) => MadeAt::Here(here),
            Made::Elsewhere(at) => MadeAt::Elsewhere(at),
        };
        Some(TsaTarget { made, is_chain, is_tenants: path.is_empty() })
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
