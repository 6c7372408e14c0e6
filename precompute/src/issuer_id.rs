//! The one id of a tenant's issuer, in memory, in every book and after every restart.
//!
//! Purpose: everything that belongs to an issuer (its configuration, its records, its entries in the book) carries this
//! id and is joined by it. Invariant: nothing that belongs to issuers is paired by its position in a list. It does not
//! know what an issuer has.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;

use crate::{
    limits,
    pki::{Certificate, hex::Hex},
};

/// A tenant's name and the CA behind one of its issuers. Two tenants with the same CA have two ids, and two sets of
/// records. A copy shares its parts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IssuerId(Arc<Parts>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Parts {
    tenant: String,
    ca: [u8; 32],
    fingerprint: [u8; 32],
}

impl IssuerId {
    /// `ca` is the [`Certificate::issuer_fingerprint`], the same for every tenant.
    pub fn new(tenant: &str, ca: [u8; 32]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(tenant.as_bytes());
        context.update(&[0]);
        context.update(&ca);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Self(Arc::new(Parts { tenant: tenant.to_owned(), ca, fingerprint }))
    }

    /// That of the CA with this certificate, as an issuer of `tenant`.
    pub fn of(tenant: &str, certificate: &Certificate) -> Self {
        Self::new(tenant, certificate.issuer_fingerprint())
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// The fingerprint of the CA alone, whichever tenant has it.
    pub fn ca(&self) -> &[u8; 32] {
        &self.0.ca
    }

    /// SHA-256 over both.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.0.fingerprint
    }

    /// For people who have to find it in a configuration elsewhere.
    pub fn in_words(&self) -> String {
        format!("CA {} of tenant `{}`", Hex(&self.0.ca[..8]), self.0.tenant)
    }

    /// The same CA under another tenant's name.
    pub fn under(&self, tenant: &str) -> Self {
        Self::new(tenant, self.0.ca)
    }
}

/// Names of issuers in one line, in order; of very many only the first.
pub fn in_a_line<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(limits::feed::STRANGERS_NAMED_MAX);
    names.truncate(limits::feed::STRANGERS_NAMED_MAX);
    let line = names.join(", ");
    if more > 0 { format!("{line} and {more} more") } else { line }
}

/// The first eight hexadecimal digits of the fingerprint: short enough to be typed, as part of a file's name.
impl fmt::Display for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0.fingerprint[..4]).fmt(f)
    }
}
