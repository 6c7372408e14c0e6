//! What an issuer of a tenant is known by, in every book and after every restart.

use std::fmt;

use aws_lc_rs::digest;

use crate::pki::hex::Hex;

/// A tenant's name and the CA behind one of its issuers. Two tenants with the same CA have two sets of records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerId {
    tenant: String,
    issuer: [u8; 32],
    fingerprint: [u8; 32],
}

impl IssuerId {
    /// `issuer` is the [`Certificate::issuer_fingerprint`](crate::pki::Certificate::issuer_fingerprint), the same for
    /// every tenant.
    pub fn new(tenant: &str, issuer: [u8; 32]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(tenant.as_bytes());
        context.update(&[0]);
        context.update(&issuer);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Self { tenant: tenant.to_owned(), issuer, fingerprint }
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The CA, whoever's tenant it is.
    pub fn issuer(&self) -> &[u8; 32] {
        &self.issuer
    }

    /// SHA-256 over both.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The same CA under another tenant's name.
    pub fn under(&self, tenant: &str) -> Self {
        Self::new(tenant, self.issuer)
    }
}

/// The first eight hexadecimal digits of the fingerprint: short enough to be typed, as part of a file's name.
impl fmt::Display for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.fingerprint[..4]).fmt(f)
    }
}
