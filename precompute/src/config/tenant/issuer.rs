//! A CA certificate that is answered for: where its records come from, and who signs.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::warn;

use super::{
    super::Section,
    noted, read_name,
    signer::{Purpose, read_signers},
};
use crate::{
    issuer_id::IssuerId,
    ocsp::{IssuerHashes, Policy, ResponseForm},
    pki::{Certificate, UnixTime, certificates},
    signers::{OcspSigner, Signers},
};

/// A CA certificate that is answered for.
#[derive(Debug)]
pub struct IssuerConfig {
    /// What it is known by everywhere.
    pub id: IssuerId,
    /// Stands in metrics and logs.
    pub name: String,
    /// The CA certificate.
    pub certificate: Certificate,
    /// How CertIDs name it.
    pub hashes: IssuerHashes,
    /// Where its records come from.
    pub sources: Sources,
    /// How it answers: as its tenant, but for what is said of it alone.
    pub policy: Policy,
    /// Whether the file says in words what unlisted serials are told.
    pub unlisted_is_said: bool,
    /// Who signs its answers.
    pub signers: Signers,
}

impl IssuerConfig {
    /// The first of its signers.
    pub fn signer(&self) -> &Arc<OcspSigner> {
        self.signers.first()
    }

    /// Whether nobody said what is told of those that its CRL does not list, which are all that are valid.
    pub fn is_silent_of_valid(&self) -> bool {
        self.sources.is_crl_alone() && !self.unlisted_is_said
    }
}

/// Where an issuer's records come from; at least an index or a CRL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// The database of `openssl ca`: lists every certificate.
    pub index: Option<PathBuf>,
    /// A complete CRL: lists the revoked ones.
    pub crl: Option<PathBuf>,
    /// A delta CRL to that CRL.
    pub delta_crl: Option<PathBuf>,
}

impl Sources {
    /// Every file of it.
    pub fn paths(&self) -> Vec<PathBuf> {
        [&self.index, &self.crl, &self.delta_crl].into_iter().flatten().cloned().collect()
    }

    /// The CRLs of it.
    pub fn crls(&self) -> impl Iterator<Item = &Path> {
        [&self.crl, &self.delta_crl].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Whether nothing but a CRL says who is revoked, and nothing who is good.
    pub fn is_crl_alone(&self) -> bool {
        self.index.is_none()
    }

    /// The file that says who is listed.
    pub fn main(&self) -> Option<&Path> {
        self.index.as_deref().or(self.crl.as_deref())
    }
}

/// What stands in its section, but for what is said of unlisted serials; `tenant` is the tenant's name, for logs, and
/// `policy` the tenant's.
pub(super) fn read(
    section: &mut Section<'_>,
    tenant: &str,
    policy: &Policy,
    form: ResponseForm,
    now: UnixTime,
) -> Option<IssuerConfig> {
    let certificate = read_certificate(section);
    if let Some(certificate) = &certificate {
        // Without extensions nothing can say whether it is a CA's: that it was named here does.
        if certificate.is_version_1() {
            warn!(
                tenant,
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
            section.problem(
                "certificate",
                format_args!("is not a CA certificate ({why}); name the certificate of the CA that issued the certificates asked about"),
            );
        } else if certificate.not_after() <= now {
            section.problem(
                "certificate",
                format_args!(
                    "expired at {}; remove the issuer or name the renewed certificate",
                    certificate.not_after()
                ),
            );
        } else {
            tell_of_ca(section, certificate, policy, now);
        }
    } else if !section.has("certificate") {
        section.problem("certificate", "is missing; name the CA certificate (PEM or DER)");
    }
    let sources =
        Sources { index: section.path("index"), crl: section.path("crl"), delta_crl: section.path("delta_crl") };
    for (key, path) in [("index", &sources.index), ("crl", &sources.crl), ("delta_crl", &sources.delta_crl)] {
        tell_of_mode(section, key, path.as_deref());
    }
    if !section.has("index") && !section.has("crl") {
        section.problem(
            "index",
            "is missing; name the CA's database (`index = \"index.txt\"`) or its CRL (`crl = \"ca.crl\"`)",
        );
    }
    if sources.delta_crl.is_some() && !section.has("crl") {
        section.problem("delta_crl", "needs the complete CRL that it changes; add `crl`");
    }
    let name = if section.has("name") {
        read_name(section)
    } else {
        certificate.as_ref().map(|certificate| certificate.subject())
    };
    let for_logs = format!("{tenant}/{}", name.as_deref().unwrap_or_default());
    let purpose = Purpose { name: &for_logs, others: false, issuer: certificate.as_ref(), form, now };
    let signers = read_signers(section, &purpose);
    let (name, certificate, signers) = (name?, certificate?, signers?);
    // One that is there and wrong has been told.
    sources.main()?;
    let (id, hashes) = (IssuerId::of(tenant, &certificate), IssuerHashes::of(&certificate));
    Some(IssuerConfig { id, name, hashes, certificate, sources, policy: *policy, unlisted_is_said: false, signers })
}

/// Who may write a source says who is revoked. A CRL is signed, and a wrong one refused.
fn tell_of_mode(section: &Section<'_>, key: &str, path: Option<&Path>) {
    let Some((path, metadata)) = path.and_then(|path| Some((path, std::fs::metadata(path).ok()?))) else { return };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o002 != 0 {
        let path = path.display();
        section.warning(key, format_args!("is {path} with mode {mode:04o}: every user of this machine can change the answers; run: chmod o-w {path}"));
    }
}

/// How long before its end a CA is warned of: its renewal takes longer than a signer's, and no answer outlives it.
const CA_ENDS_SOON: Duration = Duration::from_secs(30 * 86_400);

/// What is doubtful of a CA's certificate that has not expired.
fn tell_of_ca(section: &Section<'_>, certificate: &Certificate, policy: &Policy, now: UnixTime) {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if now < not_before {
        section.warning("certificate", format_args!("is valid only from {not_before} on: clients refuse all answers until then; check this machine's clock, or name the certificate that is in force"));
    }
    if not_after.since(now) < CA_ENDS_SOON {
        section.warning(
            "certificate",
            format_args!(
                "ends soon, at {not_after}, and no answer can be valid beyond it; renew the CA's certificate, and name the new one"
            ),
        );
    } else if now.after(policy.retain_expired) > not_after {
        section.warning("certificate", format_args!("ends at {not_after}, but `retain_expired` keeps a certificate that expires today for longer: there are no answers after that; shorten `retain_expired`, or renew the CA's certificate"));
    }
}

/// The first certificate of the file that the key `certificate` names.
fn read_certificate(section: &mut Section<'_>) -> Option<Certificate> {
    let path = section.path("certificate")?;
    let chain = noted(section, "certificate", certificates(&path))?;
    chain.into_iter().next()
}
