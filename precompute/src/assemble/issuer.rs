//! An issuer: its certificate, and the modes of its source files. It does not know what the sources say.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use tracing::warn;

use super::{
    Assembler, chain_of, issuer_of, publication,
    signer::{Of, Opened},
};
use crate::{
    config::{At, IssuerConfig, Sources, TenantConfig},
    feed::https,
    issuer_id::IssuerId,
    limits,
    ocsp::{CaRevoked, HashAlgorithm, IssuerHashes, Policy, Unlisted},
    pki::{Certificate, UnixTime, certificates, hex::Hex},
    publication::Published,
    renew::Renewing,
    signers::{OcspSigner, Signers},
    source::{Form, check_crl_issuer},
};

/// A CA certificate for which answers are given.
#[derive(Debug)]
pub struct AssembledIssuer {
    /// Its id everywhere.
    pub id: IssuerId,
    /// Its name in metrics and logs.
    pub name: String,
    /// The line of its certificate in the file.
    pub line: Option<usize>,
    /// The CA certificate.
    pub certificate: Certificate,
    /// Its name and key hashes for CertIDs.
    pub hashes: IssuerHashes,
    /// Where its records come from.
    pub sources: Sources,
    /// The certificates of those who sign its CRLs beside it.
    pub crl_issuers: Vec<Certificate>,
    /// How it answers: the tenant's policy with the issuer's own settings.
    pub policy: Policy,
    /// Whether the file states the answer for unlisted serials.
    pub unlisted_is_said: bool,
    /// The signers of its answers.
    pub signers: Signers,
    /// What is published of it; `None` if nothing is.
    pub published: Option<Published>,
    /// Those that are renewed.
    pub renewing: Vec<Renewing>,
    /// How many of the file they are from.
    pub signers_count: usize,
}

impl AssembledIssuer {
    /// The first of its signers.
    pub fn signer(&self) -> &Arc<OcspSigner> {
        self.signers.first()
    }

    /// Whether nothing states the answer for serials that its CRL does not list, which include all valid ones.
    pub fn is_silent_of_valid(&self) -> bool {
        self.sources.is_crl_alone() && !self.unlisted_is_said
    }
}

impl<'a> Assembler<'a> {
    /// The issuers of a tenant, each with a unique name.
    pub(super) fn issuers(&self, tenant: &'a TenantConfig) -> Vec<AssembledIssuer> {
        let mut seen: Vec<[u8; 32]> = Vec::new();
        let (mut issuers, mut given) = (Vec::new(), Vec::new());
        for config in &tenant.issuers {
            let Some(issuer) = self.issuer(tenant, config) else { continue };
            let at = self.at(&config.place);
            let fingerprint = issuer.certificate.issuer_fingerprint();
            if seen.contains(&fingerprint) {
                at.problem(
                    "certificate",
                    "is of an issuer that this tenant already has; put all its sources into one [[issuer]]",
                );
            }
            seen.push(fingerprint);
            self.tell_of_unlisted(tenant, config, &issuer);
            issuers.push(issuer);
            given.push(config.name.is_some());
        }
        tell_apart(&self.at(&tenant.place), &mut issuers, &given);
        publication::name(&self.at(&tenant.place), &mut issuers);
        self.tell_of_roots(tenant, &issuers);
        issuers
    }

    fn issuer(&self, tenant: &'a TenantConfig, config: &'a IssuerConfig) -> Option<AssembledIssuer> {
        let at = self.at(&config.place);
        let chain = chain_of(&at, Some(&config.certificate)).unwrap_or_default();
        let certificate = chain.first().cloned();
        if let Some(certificate) = &certificate {
            self.check_ca(&at, tenant, &tenant.policy_of(config), certificate);
        }
        let Sources { listings, crls, .. } = &config.sources;
        for listing in listings {
            tell_of_mode(&at, config.sources.key_of(listing), Some(&listing.path));
        }
        crls.iter().for_each(|crl| tell_of_mode(&at, "crl", Some(crl)));
        let cas: BTreeSet<_> = config.sources.fetched.iter().filter_map(|fetched| fetched.tls_ca.as_deref()).collect();
        for path in cas {
            let at = if at.has("tls_ca") { self.at(&config.place) } else { self.at(&tenant.place) };
            at.noted("tls_ca", https::cas(path));
        }
        let crl_issuers = certificate.as_ref().map(|ca| self.crl_issuers(&at, config, ca)).unwrap_or_default();
        let name = config.name.clone().or_else(|| Some(certificate.as_ref()?.subject())).unwrap_or_default();
        let of = Of { tenant: &tenant.name, name: &name, form: tenant.form, certificate: certificate.as_ref() };
        let Opened { signers, renewing, count: signers_count } = self.signers(of, config);
        let (certificate, signers) = (certificate?, signers?);
        Some(AssembledIssuer {
            id: IssuerId::of(&tenant.name, &certificate),
            name,
            line: at.line("certificate"),
            hashes: IssuerHashes::of(&certificate),
            certificate,
            sources: config.sources.clone(),
            crl_issuers,
            policy: tenant.policy_of(config),
            unlisted_is_said: config.unlisted.or(tenant.unlisted).is_some(),
            signers,
            published: publication::of(config.publish, &chain),
            renewing,
            signers_count,
        })
    }

    /// Warns where nobody can say that an issuer's own certificate is revoked, and of what was not yet.
    fn tell_of_roots(&self, tenant: &'a TenantConfig, issuers: &[AssembledIssuer]) {
        for issuer in issuers {
            let name = &issuer.name;
            let at = self.at(&tenant.place);
            match issuer.policy.ca_revoked {
                CaRevoked::All if issuer_of(issuers, issuer).is_none() => at.warning(
                    "ca_revoked",
                    format_args!(
                        "is `all`, and the CA that has issued the certificate of `{name}` is no issuer of this tenant: nothing shows when it is revoked. Add that CA, or write `ca_revoked_since` at the issuer once it is"
                    ),
                ),
                CaRevoked::AllSince(since) if since > self.now => at.problem(
                    "ca_revoked_since",
                    format_args!("of `{name}` is {since}, which is in the future; give a time that is not later than now"),
                ),
                _ => {}
            }
        }
    }

    /// The certificates of those who sign the CRLs of `ca` beside it.
    fn crl_issuers(&self, at: &At<'_>, config: &IssuerConfig, ca: &Certificate) -> Vec<Certificate> {
        const KEY: &str = "crl_issuer";
        let files = config.crl_issuers.iter().filter_map(|path| at.noted(KEY, certificates(path)));
        let found: Vec<_> = files.flatten().collect();
        let most = limits::CRL_ISSUERS_MAX;
        if found.len() > most {
            at.problem(KEY, format_args!("has {} certificates; at most {most} may sign an issuer's CRLs", found.len()));
        }
        for certificate in &found {
            let (name, end) = (certificate.subject(), certificate.not_after());
            if let Err(problem) = check_crl_issuer(certificate, ca, &found) {
                at.problem(KEY, format_args!("has the certificate of `{name}`, which {problem}"));
            }
            if end <= self.now {
                at.warning(KEY, format_args!("has the certificate of `{name}`, which expired at {end}: CRLs that it has signed are refused; name its renewed certificate, or remove it"));
            }
        }
        found
    }

    pub(super) fn check_ca(&self, at: &At<'_>, tenant: &TenantConfig, policy: &Policy, certificate: &Certificate) {
        // Without extensions, the certificate cannot say that it is a CA's; the configuration does.
        if certificate.is_version_1() {
            warn!(
                tenant = tenant.name,
                certificate = certificate.subject(),
                "the CA certificate has version 1, which cannot mark it as a CA's; it is accepted here, but many clients reject it: renew it as version 3 with basicConstraints"
            );
        }
        if !certificate.is_ca() && !certificate.is_version_1() {
            let why = if certificate.has_basic_constraints() {
                "its basicConstraints does not say CA"
            } else {
                "it has no basicConstraints, which a CA certificate of version 3 must have"
            };
            at.problem(
                "certificate",
                format_args!("is not a CA certificate ({why}); name the certificate of the CA that issued the certificates asked about"),
            );
        } else if certificate.not_after() <= self.now {
            at.problem(
                "certificate",
                format_args!(
                    "expired at {}; remove the issuer or name the renewed certificate",
                    certificate.not_after()
                ),
            );
        } else {
            tell_of_ca(at, certificate, policy, self.now);
        }
    }

    /// Warns of doubtful settings for serials that no source lists.
    fn tell_of_unlisted(&self, tenant: &'a TenantConfig, config: &'a IssuerConfig, issuer: &AssembledIssuer) {
        let at = self.at(&config.place);
        let (own, said) = (config.unlisted, tenant.unlisted);
        let is_left_out = own.is_none() && tenant.inherited(config) != said;
        if is_left_out && config.sources.is_none() {
            at.warning(
                "certificate",
                "is of an issuer without `index` and `crl` here, so the tenant's `unlisted = \"good\"`, which is for issuers with only a CRL, does not apply: serial numbers that the feed does not list are `unauthorized`; set `unlisted` here, as the writer has it",
            );
        } else if is_left_out {
            let has_index = config.sources.listings.iter().any(|listing| listing.form == Form::Database);
            let key = match (has_index, &config.sources.sql) {
                (true, _) => "index",
                (false, Some(_)) => "sql",
                (false, None) => "issued",
            };
            at.warning(
                key,
                "lists every certificate of this CA, so the tenant's `unlisted = \"good\"`, which is for its issuers with only a CRL, does not apply here: serial numbers that it does not list are `unauthorized`; set `unlisted` here too",
            );
        }
        if issuer.is_silent_of_valid() {
            at.problem_where_checked(
                "crl",
                format_args!(
                    "lists revoked certificates only, and `unlisted` is not set for all others: each of them, valid or not, is answered `unauthorized`, as if this CA were unknown here. {CHOICES}"
                ),
            );
        }
        if issuer.policy.unlisted == Unlisted::Good {
            let place = if own.is_some() { at } else { self.at(&tenant.place) };
            place.warning(
                "unlisted",
                format_args!(
                    "is `good`: certificates of `{}` that no source lists are answered as good, including those that the CA never issued; BR 4.9.10 forbids it for TLS CAs. Give its issuer an `index`, or choose another value",
                    issuer.name
                ),
            );
        }
    }
}

/// The possible settings for an issuer that has only a CRL.
const CHOICES: &str = "Name a list of what the CA has issued (`issued`, or its database as `index`): then good is proven. Or say here what the others get: `unlisted = \"good\"` with `accept_unlisted_as_good = true` (clients accept every certificate that is not revoked, including those this CA never issued, such as forged ones: BR 4.9.10 forbids it for TLS CAs), `unlisted = \"unauthorized\"` (no change), `unlisted = \"unknown\"` (signed; most clients refuse it) or `unlisted = \"revoked\"` (signed; all refuse it)";

/// Whoever may write a source decides who is revoked. A CRL is signed, and a wrong one is refused.
pub(super) fn tell_of_mode(at: &At<'_>, key: &str, path: Option<&Path>) {
    let Some((path, metadata)) = path.and_then(|path| Some((path, std::fs::metadata(path).ok()?))) else { return };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o002 != 0 {
        let path = path.display();
        at.warning(key, format_args!("is {path} with mode {mode:04o}: every user of this machine can change the answers; run: chmod o-w {path}"));
    }
}

/// How long before a CA certificate ends a warning begins: its renewal takes longer than a signer's, and no answer
/// outlives it.
const CA_ENDS_SOON: Duration = Duration::from_secs(30 * 86_400);

/// Warns of doubts about a CA certificate that has not expired.
fn tell_of_ca(at: &At<'_>, certificate: &Certificate, policy: &Policy, now: UnixTime) {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if now < not_before {
        at.warning("certificate", format_args!("is valid only from {not_before} on: clients refuse all answers until then; check this machine's clock, or name the certificate that is in force"));
    }
    if not_after.since(now) < CA_ENDS_SOON {
        at.warning(
            "certificate",
            format_args!(
                "ends soon, at {not_after}, and no answer can be valid beyond it; renew the CA's certificate, and name the new one"
            ),
        );
    } else if now.after(policy.retain_expired) > not_after {
        at.warning("certificate", format_args!("ends at {not_after}, but `retain_expired` keeps a certificate that expires today for longer: there are no answers after that; shorten `retain_expired`, or renew the CA's certificate"));
    }
}

/// Gives each issuer of a tenant a unique name, because metrics and logs distinguish issuers by name. An issuer without
/// a name in the file is named after its subject, which a CA keeps when it changes its key. If names are equal, the
/// first keeps its name, and the later ones get the first digits of their key's hash as well. `given`: whether the file
/// names each issuer, in order.
fn tell_apart(at: &At<'_>, issuers: &mut [AssembledIssuer], given: &[bool]) {
    for place in 0..issuers.len() {
        let name = issuers[place].name.clone();
        let is_taken = |(other, issuer): (usize, &AssembledIssuer)| {
            issuer.name == name && (other < place || other > place && given[other])
        };
        if !given[place] && issuers.iter().enumerate().any(is_taken) {
            let key_hash = issuers[place].hashes.get(HashAlgorithm::Sha256).1;
            let name = format!("{name} {}", Hex(&key_hash[..4]));
            if issuers.iter().any(|issuer| issuer.name == name) {
                let problem = format_args!("two would be called `{name}`; give each of them a `name`");
                at.problem("issuer", problem);
            }
            issuers[place].name = name;
        }
    }
}
