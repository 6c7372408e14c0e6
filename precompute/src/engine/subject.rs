//! Whose certificates an engine follows, and from where it knows them.

use aws_lc_rs::digest;

use crate::{
    config::{IssuerConfig, Sources, Tenant, Unlisted},
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
        let unlisted_good = tenant.policy.unlisted == Unlisted::Good;
        Self {
            unlisted_good,
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
            && self.unlisted_good == (tenant.policy.unlisted == Unlisted::Good)
    }

    /// What the book knows an issuer's records by: the tenant counts, so that two tenants with the same CA keep two sets.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.tenant.as_bytes());
        context.update(&[0]);
        context.update(&self.certificate.issuer_fingerprint());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}
