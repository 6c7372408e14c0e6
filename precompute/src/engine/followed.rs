//! What is followed of an issuer. It does not know its records.

use std::fmt;

use crate::{
    assemble::{AssembledIssuer, AssembledTenant, Assembly},
    config::Sources,
    feeder::Spec,
    issuer_id::IssuerId,
    ocsp::{Carries, Unlisted},
    pki::Certificate,
    source::SourceError,
    state_dir::StateError,
};

/// The part of an issuer's configuration that its records depend on.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct FollowedIssuer {
    pub(super) id: IssuerId,
    /// For logs.
    pub(super) name: String,
    /// The former name of its tenant, whose records it takes along.
    pub(super) formerly: Option<String>,
    pub(super) certificate: Certificate,
    pub(super) sources: Sources,
    /// Those who sign its CRLs beside it.
    pub(super) crl_issuers: Vec<Certificate>,
    /// Whether serials that no source lists are answered as good.
    pub(super) unlisted_good: bool,
    /// What its answers carry beside the status, which its sources have to say.
    pub(super) carries: Carries,
    /// Whether its CRLs are published.
    pub(super) publishes_crls: bool,
}

impl FollowedIssuer {
    pub(super) fn new(tenant: &AssembledTenant, config: &AssembledIssuer) -> Self {
        Self {
            id: config.id.clone(),
            name: config.name.clone(),
            formerly: tenant.formerly.clone(),
            certificate: config.certificate.clone(),
            sources: config.sources.clone(),
            crl_issuers: config.crl_issuers.clone(),
            unlisted_good: config.policy.unlisted == Unlisted::Good,
            carries: config.policy.carries,
            publishes_crls: config.published.as_ref().is_some_and(|published| published.crls),
        }
    }

    /// One that is read from these sources, and has nothing else.
    #[cfg(test)]
    pub(super) fn of(tenant: &str, name: &str, certificate: &Certificate, sources: Sources) -> Self {
        Self {
            id: IssuerId::of(tenant, certificate),
            name: name.to_owned(),
            formerly: None,
            certificate: certificate.clone(),
            sources,
            crl_issuers: Vec::new(),
            unlisted_good: false,
            carries: Carries::NONE,
            publishes_crls: false,
        }
    }

    /// Whether a hold ends when the sources no longer list it. RFC 5280 section 5.3.1 says so of a CRL. An index that
    /// lost a line says nothing, and where unlisted serials are good, the certificate would be.
    pub(super) fn releases_by_leaving_out(&self) -> bool {
        self.sources.has_crls() && !(self.sources.list() && self.unlisted_good)
    }

    /// Its sources that are fetched.
    pub(super) fn fetched(&self) -> Vec<Spec> {
        let specs = self.named();
        specs.iter().flat_map(|spec| [Some(spec.clone()), spec.delta()]).flatten().collect()
    }

    /// Those of them that the configuration names itself.
    pub(super) fn named(&self) -> Vec<Spec> {
        self.sources.specs(&self.certificate, &self.crl_issuers, self.carries.cert_hash)
    }

    /// Says of a fault of a mirror where that is from.
    pub(super) fn with_origin(&self, fault: SourceError) -> SourceError {
        let Some(url) = self.sources.origin_of(&fault.path) else { return fault };
        let problem = match fault.path.exists() {
            true => format!("{} (fetched from {url})", fault.problem),
            false => format!("is fetched from {url}, and has not come yet"),
        };
        SourceError { problem, ..fault }
    }

    /// Whether this was its tenant's name.
    pub(super) fn was_of(&self, tenant: &str) -> bool {
        self.formerly.as_deref() == Some(tenant)
    }

    /// The name of its tenant, for logs.
    pub(super) fn tenant(&self) -> &str {
        self.id.tenant()
    }
}

/// The issuers of a configuration. One without a source, as a replica may have them, is an error: everything that the book
/// has of it would count as listed no longer.
pub(super) fn followed(config: &Assembly) -> Result<Vec<FollowedIssuer>, StateError> {
    let without_source = config.issuers().find(|(_, issuer)| issuer.sources.is_none());
    if let Some((tenant, issuer)) = without_source {
        return Err(StateError::new(
            &config.state_dir,
            format!(
                "is not used for {}/{}, which has no source here: the configuration is that of a replica (`[feed]` without `key`)",
                tenant.name, issuer.name
            ),
            "name its `index` or `crl`, or write `pushes = true`; a replica is started anew by `ostia-responder serve`",
        ));
    }
    Ok(config.issuers().map(|(tenant, issuer)| FollowedIssuer::new(tenant, issuer)).collect())
}

/// `tenant/name`.
impl fmt::Display for FollowedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant(), self.name)
    }
}
