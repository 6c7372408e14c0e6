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
