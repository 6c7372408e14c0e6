//! An issuer that another responder answers for: its certificate, and whom to trust over TLS. Nobody is asked here.

use std::time::Duration;

use super::{AssembledIssuer, Assembler, chain_of};
use crate::{
    config::{TenantConfig, TlsTrust},
    feed::https,
    pki::Certificate,
};

/// A CA certificate for which another responder answers.
#[derive(Clone, Debug)]
pub struct AssembledForwarded {
    /// Its name in metrics and logs.
    pub name: String,
    /// The CA certificate.
    pub certificate: Certificate,
    /// How long caches may keep an answer at most.
    pub max_age: Duration,
    /// The URLs of its responders, in the order of preference.
    pub upstreams: Vec<String>,
    /// The CAs whose certificates count over TLS, PEM; `None` for those of the system.
    pub cas: Option<Vec<u8>>,
}

impl<'a> Assembler<'a> {
    /// Those of a tenant, each with a name of its own. `issuers`: the tenant's own.
    pub(super) fn forwarded(&self, tenant: &'a TenantConfig, issuers: &[AssembledIssuer]) -> Vec<AssembledForwarded> {
        let mut found: Vec<AssembledForwarded> = Vec::new();
        for config in &tenant.forwarded {
            let at = self.at(&config.place);
            let cas = match &config.tls_ca {
                Some(TlsTrust::File(path)) => at.noted("tls_ca", https::cas(path)),
                Some(TlsTrust::System) | None => None,
            };
            let chain = chain_of(&at, Some(&config.certificate)).unwrap_or_default();
            let Some(certificate) = chain.into_iter().next() else { continue };
            self.check_ca(&at, tenant, &tenant.policy, &certificate);
            let key = certificate.issuer_fingerprint();
            let others = issuers.iter().map(|issuer| (&issuer.name, issuer.certificate.issuer_fingerprint()));
            let others = others.chain(found.iter().map(|other| (&other.name, other.certificate.issuer_fingerprint())));
            let name = config.name.clone().unwrap_or_else(|| certificate.subject());
            for (other, fingerprint) in others {
                if fingerprint == key {
                    at.problem("certificate", "is of an issuer that this tenant already has; answer for it here, or have the other responder do so, and remove one of the two [[issuer]]");
                } else if *other == name {
                    at.problem("certificate", format_args!("is called `{name}` like another issuer of this tenant; logs and metrics tell issuers apart by it, give this one a `name`"));
                }
            }
            let (upstreams, max_age) = (config.upstreams.clone(), config.max_age.unwrap_or(tenant.policy.max_age));
            found.push(AssembledForwarded { name, certificate, max_age, upstreams, cas });
        }
        found
    }
}
