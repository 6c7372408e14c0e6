//! What is followed of an issuer. It does not know its records.

use std::fmt;

use crate::{assemble::AssembledIssuer, config::Sources, issuer_id::IssuerId, ocsp::Unlisted, pki::Certificate};

/// The part of an issuer's configuration that its records depend on.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct FollowedIssuer {
    pub(super) id: IssuerId,
    /// For logs.
    pub(super) name: String,
    pub(super) certificate: Certificate,
    pub(super) sources: Sources,
    /// Whether serials that no source lists are answered as good.
    pub(super) unlisted_good: bool,
}

impl FollowedIssuer {
    pub(super) fn new(config: &AssembledIssuer) -> Self {
        Self {
            id: config.id.clone(),
            name: config.name.clone(),
            certificate: config.certificate.clone(),
            sources: config.sources.clone(),
            unlisted_good: config.policy.unlisted == Unlisted::Good,
        }
    }

    /// Whether a hold ends when the sources no longer list it. RFC 5280 section 5.3.1 says so of a CRL. An index that
    /// lost a line says nothing, and where unlisted serials are good, the certificate would be.
    pub(super) fn releases_by_leaving_out(&self) -> bool {
        self.sources.crl.is_some() && !(self.sources.index.is_some() && self.unlisted_good)
    }

    /// The name of its tenant, for logs.
    pub(super) fn tenant(&self) -> &str {
        self.id.tenant()
    }
}

/// `tenant/name`.
impl fmt::Display for FollowedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant(), self.name)
    }
}
