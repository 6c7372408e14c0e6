//! Whose certificates an engine follows, and from where it knows them.

use crate::{
    config::{IssuerConfig, Sources, Tenant},
    issuer_id::IssuerId,
    ocsp::Unlisted,
    pki::Certificate,
};

/// An issuer of a tenant, with its sources.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) certificate: Certificate,
    pub(super) sources: Sources,
    /// Whether serials that no source lists are answered as good.
    pub(super) unlisted_good: bool,
}

impl Subject {
    pub(super) fn new(tenant: &Tenant, issuer: &IssuerConfig) -> Self {
        Self {
            unlisted_good: issuer.policy.unlisted == Unlisted::Good,
            ..Self::of(&tenant.name, &issuer.name, issuer.certificate.clone(), issuer.sources.clone())
        }
    }

    pub(super) fn of(tenant: &str, name: &str, certificate: Certificate, sources: Sources) -> Self {
        Self { tenant: tenant.to_owned(), name: name.to_owned(), certificate, sources, unlisted_good: false }
    }

    /// Whether it is this issuer, from these sources.
    pub(super) fn is(&self, tenant: &Tenant, issuer: &IssuerConfig) -> bool {
        self.tenant == tenant.name
            && self.name == issuer.name
            && self.certificate.der() == issuer.certificate.der()
            && self.sources == issuer.sources
            && self.unlisted_good == (issuer.policy.unlisted == Unlisted::Good)
    }

    /// What the book knows its records by: the tenant counts, so that two tenants with the same CA keep two sets.
    pub(super) fn id(&self) -> IssuerId {
        IssuerId::new(&self.tenant, self.certificate.issuer_fingerprint())
    }
}
