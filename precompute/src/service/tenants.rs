//! The issuers of a configuration with their records and signers, by tenant.
//!
//! Invariant: a value never changes once made. A changed configuration makes another, which takes over every issuer
//! whose answers stay right, so that answers kept under its number go on being used. It does not know URLs.

use std::sync::Arc;

use crate::{
    assemble::{AssembledIssuer, AssembledTenant, Assembly},
    engine::{IssuerState, NotFollowed, States},
    issuer::{Above, ActiveIssuer, IssuerError, OwnRecord},
    issuer_id::IssuerId,
    limits,
    ocsp::{CaRevoked, HashAlgorithm},
    presign::Subject,
};

/// All tenants.
#[derive(Default, Debug)]
pub struct Tenants(Vec<Tenant>);

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// The names of its issuers with only a CRL and no `unlisted`.
    pub silent: Vec<String>,
    /// The hash algorithms of the CertIDs whose answers are signed ahead; empty if none are.
    pub presign: Vec<HashAlgorithm>,
    /// In the order of the file.
    pub issuers: Vec<Arc<ActiveIssuer>>,
}

impl Tenants {
    /// `states` has the state of every issuer of `config`. Everything in `former` that has not changed is taken over.
    pub fn new(config: &Assembly, states: &States, former: Option<&Self>) -> Result<Self, IssuerError> {
        let tenants = config.tenants.iter().map(|tenant| {
            let former = former.and_then(|former| former.get(&tenant.name));
            Tenant::new(tenant, states, former)
        });
        tenants.collect::<Result<_, _>>().map(Self)
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Tenant> {
        self.0.iter()
    }

    /// The tenant of this name.
    pub fn get(&self, name: &str) -> Option<&Tenant> {
        self.0.iter().find(|tenant| *tenant.name == *name)
    }

    /// Every issuer with its tenant's name.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, &Arc<ActiveIssuer>)> {
        self.0.iter().flat_map(|tenant| tenant.issuers.iter().map(|issuer| (&*tenant.name, issuer)))
    }

    /// The issuer with this id.
    pub fn issuer(&self, id: &IssuerId) -> Option<&Arc<ActiveIssuer>> {
        self.get(id.tenant())?.issuers.iter().find(|issuer| issuer.id() == id)
    }

    /// The issuers whose answers are signed ahead.
    pub fn subjects(&self) -> Vec<Subject> {
        let ahead = self.0.iter().filter(|tenant| !tenant.presign.is_empty());
        ahead
            .flat_map(|tenant| {
                let subject = |issuer| Subject { issuer: Arc::clone(issuer), ahead: tenant.presign.clone() };
                tenant.issuers.iter().map(subject)
            })
            .collect()
    }
}

impl Tenant {
    fn new(config: &AssembledTenant, states: &States, former: Option<&Self>) -> Result<Self, IssuerError> {
        let issuer = |issuer: &AssembledIssuer| -> Result<_, IssuerError> {
            let AssembledIssuer { id, name, policy, certificate, signers, .. } = issuer;
            let state = states.get(id)?;
            let own = own_record(config, issuer, states)?;
            let mut formers = former.into_iter().flat_map(|tenant| &tenant.issuers);
            let is_same =
                |former: &&Arc<ActiveIssuer>| answers_for(former, issuer, state) && former.has_own_record(own.as_ref());
            if let Some(same) = formers.find(is_same) {
                let has_more = issuer.signers.all().len() > same.signers.all().len();
                return Ok(if has_more { Arc::new(same.with_more_signers(signers.clone())) } else { Arc::clone(same) });
            }
            let active = ActiveIssuer::new(id, name, *policy, certificate, state.clone(), signers.clone())?;
            let active = active.with_crl_urls(issuer.sources.crl_urls()).with_own_record(own);
            let mut formers = former.into_iter().flat_map(|tenant| &tenant.issuers);
            Ok(Arc::new(active.after(formers.find(|former| *former.id() == *id).map(Arc::as_ref))))
        };
        let silent = config.issuers.iter().filter(|issuer| issuer.is_silent_of_valid());
        Ok(Self {
            name: config.name.as_str().into(),
            silent: silent.map(|issuer| issuer.name.clone()).collect(),
            presign: config.presign.clone(),
            issuers: config.issuers.iter().map(issuer).collect::<Result<_, _>>()?,
        })
    }
}

/// The record of the issuer's own certificate, if its certificates are revoked with it and its own issuer is one of the same
/// tenant.
pub fn own_record(
    tenant: &AssembledTenant,
    issuer: &AssembledIssuer,
    states: &States,
) -> Result<Option<OwnRecord>, NotFollowed> {
    own_record_within(tenant, issuer, states, limits::CAS_ABOVE_MAX)
}

fn own_record_within(
    tenant: &AssembledTenant,
    issuer: &AssembledIssuer,
    states: &States,
    most: usize,
) -> Result<Option<OwnRecord>, NotFollowed> {
    let above = tenant.issuer_of(issuer).filter(|_| issuer.policy.ca_revoked == CaRevoked::All);
    let (Some(ca), Some(serial)) = (above, issuer.certificate.serial()) else { return Ok(None) };
    let above = match ca.policy.ca_revoked {
        CaRevoked::ItAlone => Above::Nothing,
        CaRevoked::AllSince(since) => Above::Since(since),
        // A root is its own, and CAs that certify each other have each other above them.
        CaRevoked::All if ca.id == issuer.id || most == 0 => Above::Nothing,
        CaRevoked::All => own_record_within(tenant, ca, states, most - 1)?
            .map_or(Above::Nothing, |record| Above::Record(Box::new(record))),
    };
    Ok(Some(OwnRecord { records: Arc::clone(&states.get(&ca.id)?.records), serial, above }))
}

/// Whether this issuer's answers are right for an issuer of the same tenant with this configuration, which may have more
/// signers after those of this one: a renewed one stands behind its predecessor.
fn answers_for(active: &ActiveIssuer, config: &AssembledIssuer, state: &IssuerState) -> bool {
    *active.id() == config.id
        && active.name == config.name
        && active.policy == config.policy
        && active.crl_urls == config.sources.crl_urls()
        && Arc::ptr_eq(&active.state.records, &state.records)
        && active.signers.all().len() <= config.signers.all().len()
        && active.signers.all().iter().zip(config.signers.all()).all(|(signer, other)| {
            signer.template().fingerprint() == other.template().fingerprint()
                && (signer.not_before(), signer.not_after()) == (other.not_before(), other.not_after())
                && match (signer.signing(), other.signing()) {
                    (Some(signing), Some(other)) => {
                        signing.setting() == other.setting()
                            // After somebody has fixed a locked token, it may be asked again, by a new pool.
                            && signing.status().locked() <= other.status().locked()
                    }
                    (signing, other) => signing.is_none() && other.is_none(),
                }
        })
}
