//! Time-stamping authorities: each with its key and certificate, and whether those of different tenants are separate.
//! It does not know clocks or tokens.

use std::{path::Path, sync::Arc};

use super::{AssembledTenant, Assembler, key::Wanted, renewed::Whose};
use crate::{
    config::{At, ClientsConfig, TsaConfig, shown_path},
    limits,
    pki::{Certificate, certificates, is_same_general_name, is_same_name},
    renew::{Renewing, Signs},
    sign::{KeyPurpose, Signing},
    signers::{EndOfUse, TsaSigner, TsaSignerError, UseOfKey},
    tls::ClientCas,
    tsp::{TsaName, TsaPolicy},
};

/// One time-stamping authority.
#[derive(Debug)]
pub struct AssembledTsa {
    /// Its name in metrics, logs and records.
    pub name: String,
    /// Its path below the tenant's path: starts with a slash, and has none at the end; empty for `/`.
    pub path: String,
    /// The policies and contents of its tokens.
    pub policy: TsaPolicy,
    /// The signer of its tokens.
    pub signer: Arc<TsaSigner>,
    /// Who may ask it.
    pub clients: ClientsConfig,
    /// The CAs of their certificates.
    pub client_cas: Option<Arc<ClientCas>>,
    /// What renews the signer, if anything does.
    pub renewing: Option<Renewing>,
    /// Whether another tenant's authority may have the same key.
    shared_key: bool,
}

impl AssembledTsa {
    /// [`Self::path`] as the configuration writes it.
    pub fn shown_path(&self) -> &str {
        shown_path(&self.path)
    }

    /// The name of the authority in its tokens, a whole GeneralName, DER: the certificate's subject if tokens name
    /// none.
    pub fn signed_name(&self) -> Vec<u8> {
        self.policy.signed_name(self.signer.certificate())
    }
}

/// An authority whose tokens other servers make.
#[derive(Clone, Debug)]
pub struct AssembledTsaElsewhere {
    /// Its name in metrics and logs.
    pub name: String,
    /// As [`AssembledTsa::path`].
    pub path: String,
    /// The policies of its tokens.
    pub policy: TsaPolicy,
    /// The certificate of who signs its tokens, and the chain after it; at least one.
    pub certificates: Vec<Certificate>,
}

/// Checks across all tenants.
pub(super) fn check_all(root: &At<'_>, tenants: &[AssembledTenant]) {
    let all: Vec<_> = tenants.iter().flat_map(|tenant| tenant.tsas.iter().map(move |tsa| (tenant, tsa))).collect();
    for (place, (tenant, tsa)) in all.iter().enumerate() {
        for (other_tenant, other) in &all[..place] {
            let (own, others) = (tsa.signer.certificate(), other.signer.certificate());
            let names = format_args!("`{}/{}` and `{}/{}`", other_tenant.name, other.name, tenant.name, tsa.name);
            let alone = other_tenant.name == tenant.name || tsa.shared_key && other.shared_key;
            if own.spki_der() == others.spki_der() && !alone {
                root.problem("tenant", format_args!("{names} sign with the same key, so that one tenant's tokens pass for the other's; give each its own, or write `shared_key = true` in both"));
            }
            let one_name = is_same_name(own.subject_der(), others.subject_der())
                || is_same_general_name(&tsa.signed_name(), &other.signed_name());
            if one_name && (tsa.policy.ordering || other.policy.ordering) {
                root.problem("tenant", format_args!("{names} sign in the same name, and `ordering` would have to hold for the tokens of both together; give each its own name, or remove `ordering`"));
            }
        }
    }
}

impl<'a> Assembler<'a> {
    pub(super) fn tsa_elsewhere(&self, config: &'a TsaConfig) -> Option<AssembledTsaElsewhere> {
        let certificates = self.chain_of_signer(&config.signer)?;
        let own = certificates.first()?;
        let at = self.at(&config.signer.place);
        if own.not_after() <= self.now {
            at.problem("certificate", format_args!("expired at {}; name the renewed one", own.not_after()));
        }
        at.noted("certificate", own.check_time_stamping_only());
        let (name, path, policy) = (config.name.clone(), config.path.clone(), config.policy.clone());
        Some(AssembledTsaElsewhere { name, path, policy, certificates })
    }

    pub(super) fn tsa(&self, tenant: &str, config: &'a TsaConfig) -> Option<AssembledTsa> {
        let (signer, renewing) = self.tsa_signer(tenant, config)?;
        let signer = Arc::new(signer);
        let at = self.at(&config.place);
        check_names(&at, &config.policy, signer.certificate());
        let client_cas = self.client_cas(&at, config.clients.client_ca.as_deref());
        Some(AssembledTsa {
            name: config.name.clone(),
            path: config.path.clone(),
            policy: config.policy.clone(),
            signer,
            clients: config.clients.clone(),
            client_cas,
            renewing,
            shared_key: config.shared_key,
        })
    }

    /// `None` also if a problem was noted: then nothing of it is used.
    fn client_cas(&self, at: &At<'_>, path: Option<&Path>) -> Option<Arc<ClientCas>> {
        let cas = at.noted("client_ca", certificates(path?))?;
        for ca in cas.iter().filter(|ca| ca.not_after() <= self.now) {
            at.warning("client_ca", format_args!("has a CA that expired at {}: {}", ca.not_after(), ca.subject()));
        }
        at.noted("client_ca", ClientCas::new(cas)).map(Arc::new)
    }

    fn tsa_signer(&self, tenant: &str, tsa: &'a TsaConfig) -> Option<(TsaSigner, Option<Renewing>)> {
        let TsaConfig { signer: config, validity_left, key_usage_end, policy, .. } = tsa;
        let name = format!("{tenant}/{}", tsa.name);
        let at = self.at(&config.place);
        let file = self.chain_of_signer(config);
        let key = self.key(config, file.as_ref().and_then(|file| file.first()))?;
        let file = file?;
        let wanted = Wanted { name: &name, purpose: KeyPurpose::TimeStamping };
        let pool: Arc<dyn Signing> = Arc::new(self.pool(config, &key, file.first()?, &wanted)?);
        let needs_alternative_name = policy.tsa_name == TsaName::SubjectAltName;
        let signs =
            Signs::TimeStamps { validity_left: *validity_left, key_usage_end: *key_usage_end, needs_alternative_name };
        let whose = Whose { tenant, name: &tsa.name, is_tsa: true };
        let (chains, renewing) = self.standing(config, whose, file, signs, Some(Arc::downgrade(&pool)));
        let (certificate, chain) = chains.last()?.split_first()?;
        let (count, allowed) = (chain.len(), limits::CHAIN_CERTIFICATES_MAX);
        if count > allowed {
            at.problem(
                "certificate",
                format_args!("has {count} certificates after the signer's; leave at most {allowed} in the file"),
            );
        }
        let octets = certificate.public_key_octets();
        let signer =
            TsaSigner::new(&name, (certificate, chain), octets, pool, self.now, *validity_left, *key_usage_end);
        let signer = signer.map_err(|error| {
            let about = match &error {
                TsaSignerError::EndsSoon { .. } => "validity_left",
                TsaSignerError::OutOfUse(UseOfKey { by: EndOfUse::Configuration, .. }) => "key_usage_end",
                _ => "certificate",
            };
            let about = if at.has(about) { about } else { "certificate" };
            // By the clock of this machine, which a time daemon may not have set yet.
            if self.now < certificate.not_before() {
                at.problem_for_now(about, error)
            } else {
                at.problem(about, error)
            }
        });
        Some((signer.ok()?.with_key_names(key.names()), renewing))
    }
}

/// Checks that the certificate has the names that the policy requires.
fn check_names(at: &At<'_>, policy: &TsaPolicy, certificate: &Certificate) {
    if policy.tsa_name == TsaName::SubjectAltName && certificate.subject_alt_names().is_empty() {
        at.problem(
            "tsa_name",
            "is `subject-alt-name`, and the certificate has no subjectAltName; choose `subject` or `none`",
        );
    }
}
