//! The tenants as the workers see them: who is asked by which URL, and for which issuer.
//!
//! Invariant (4 of the house): an issuer, with its key and records, is reached only through its
//! own tenant. Immutable once made.

use std::sync::{Arc, atomic::AtomicBool};

use precompute::{
    config::{Config, Policy},
    engine::IssuerState,
    ocsp::{CertId, IssuerHashes},
    records::Records,
    sign::OcspSigner,
};

/// Everybody.
#[derive(Debug)]
pub struct Site {
    tenants: Vec<Tenant>,
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    /// For logs and metrics.
    pub name: String,
    /// Its place in the site.
    pub index: usize,
    hosts: Vec<String>,
    path: String,
    issuers: Vec<Arc<Issuer>>,
}

/// One issuer of one tenant.
#[derive(Debug)]
pub struct Issuer {
    /// Its place among all issuers of the site.
    pub index: u32,
    /// For logs and metrics.
    pub name: String,
    /// The tenant's policy.
    pub policy: Policy,
    /// What CertIDs name it by.
    pub hashes: IssuerHashes,
    /// Its certificates.
    pub records: Arc<Records>,
    /// Who signs for it.
    pub signer: Arc<OcspSigner>,
    /// Whether the log says already that the signer's certificate has expired.
    pub expiry_told: AtomicBool,
}

impl Site {
    /// `states` are those of `config`'s issuers, in order.
    pub fn new(config: &Config, states: &[IssuerState]) -> Self {
        let mut states = (0..).zip(states);
        let tenants = config.tenants.iter().enumerate().map(|(index, tenant)| Tenant {
            name: tenant.name.clone(),
            index,
            hosts: tenant.hosts.clone(),
            path: tenant.path.clone(),
            issuers: tenant
                .issuers
                .iter()
                .zip(states.by_ref())
                .map(|(issuer, (index, state))| {
                    Arc::new(Issuer {
                        index,
                        name: issuer.name.clone(),
                        policy: tenant.policy,
                        hashes: issuer.hashes.clone(),
                        records: Arc::clone(&state.records),
                        signer: Arc::clone(&issuer.signer),
                        expiry_told: AtomicBool::new(false),
                    })
                })
                .collect(),
        });
        Self { tenants: tenants.collect() }
    }

    /// The tenants, in the order of the file.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// The tenant of a URL and what follows its path: of those that serve `host`, the one with
    /// the longest path; a named host goes before none.
    pub fn route<'p>(&self, host: Option<&[u8]>, path: &'p [u8]) -> Option<(&Tenant, &'p [u8])> {
        let mut best: Option<(&Tenant, &[u8], (bool, usize))> = None;
        for tenant in &self.tenants {
            let Some(rest) = tenant.rest_of(path) else { continue };
            if !tenant.serves(host) {
                continue;
            }
            let rank = (!tenant.hosts.is_empty(), tenant.path.len());
            if best.is_none_or(|(_, _, other)| rank > other) {
                best = Some((tenant, rest, rank));
            }
        }
        best.map(|(tenant, rest, _)| (tenant, rest))
    }
}

impl Tenant {
    fn serves(&self, host: Option<&[u8]>) -> bool {
        self.hosts.is_empty()
            || host.is_some_and(|host| {
                let name = without_port(host);
                self.hosts.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
            })
    }

    /// What follows this tenant's path in `path`, if `path` is it or below it.
    fn rest_of<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.path.as_bytes())?;
        (self.path.is_empty() || matches!(rest.first(), None | Some(b'/'))).then_some(rest)
    }

    /// The issuer that a CertID names, if it is this tenant's.
    pub fn issuer(&self, id: &CertId<'_>) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.hashes.get(id.hash) == (id.issuer_name_hash, id.issuer_key_hash))
    }
}

/// A Host field's value without its port; IPv6 addresses stand in brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let end = match host.first() {
        Some(b'[') => host.iter().position(|&b| b == b']').map(|at| at + 1),
        _ => host.iter().position(|&b| b == b':'),
    };
    &host[..end.unwrap_or(host.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(tenants: &[(&str, &[&str], &str)]) -> Site {
        let tenant = |(index, (name, hosts, path)): (usize, &(&str, &[&str], &str))| Tenant {
            name: (*name).to_owned(),
            index,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            path: (*path).to_owned(),
            issuers: Vec::new(),
        };
        Site { tenants: tenants.iter().enumerate().map(tenant).collect() }
    }

    #[test]
    fn a_url_reaches_the_tenant_with_the_longest_path_and_a_named_host_first() {
        let site = site(&[("root", &[], ""), ("a", &[], "/a"), ("ab", &[], "/a/b"), ("named", &["ocsp.example"], "")]);
        for (host, path, expected) in [
            (None, "/", Some(("root", "/"))),
            (None, "", Some(("root", ""))),
            (None, "/a", Some(("a", ""))),
            (None, "/a/MFE", Some(("a", "/MFE"))),
            (None, "/ab", Some(("root", "/ab"))),
            (None, "/a/b/MFE", Some(("ab", "/MFE"))),
            (None, "/a/bMFE", Some(("a", "/bMFE"))),
            (Some("ocsp.example"), "/MFE", Some(("named", "/MFE"))),
            (Some("OCSP.example:8080"), "/a/MFE", Some(("named", "/a/MFE"))),
            (Some("other.example"), "/MFE", Some(("root", "/MFE"))),
            (Some("[::1]:80"), "/a/MFE", Some(("a", "/MFE"))),
        ] {
            let found = site.route(host.map(str::as_bytes), path.as_bytes());
            let found = found.map(|(tenant, rest)| (tenant.name.as_str(), std::str::from_utf8(rest).unwrap()));
            assert_eq!(found, expected, "{host:?} {path}");
        }
    }

    #[test]
    fn a_url_outside_of_every_tenant_reaches_nobody() {
        let site = site(&[("a", &[], "/a"), ("named", &["ocsp.example"], "")]);
        assert!(site.route(None, b"/b").is_none());
        assert!(site.route(Some(b"other"), b"/").is_none());
    }
}
