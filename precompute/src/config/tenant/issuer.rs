//! A CA certificate that is answered for: where its records come from, and who signs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::{
    super::Section,
    noted, read_name,
    signer::{Purpose, read_signers},
};
use crate::{
    ocsp::IssuerHashes,
    pki::{Certificate, UnixTime, certificates},
    sign::{OcspSigner, ResponseForm, Signers},
};

/// A CA certificate that is answered for.
#[derive(Debug)]
pub struct IssuerConfig {
    /// Stands in metrics and logs.
    pub name: String,
    /// The CA certificate.
    pub certificate: Certificate,
    /// How CertIDs name it.
    pub hashes: IssuerHashes,
    /// Where its records come from.
    pub sources: Sources,
    /// Who signs its answers.
    pub signers: Signers,
}

impl IssuerConfig {
    /// The first of its signers.
    pub fn signer(&self) -> &Arc<OcspSigner> {
        self.signers.first()
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

/// What stands in its section; `tenant` is the tenant's name, for logs.
pub(super) fn read(section: &mut Section<'_>, tenant: &str, form: ResponseForm, now: UnixTime) -> Option<IssuerConfig> {
    let certificate = read_certificate(section);
    if let Some(certificate) = &certificate {
        // Without extensions nothing can say whether it is a CA's: that it was named here does.
        if certificate.is_version_1() {
            warn!(
                tenant,
                certificate = certificate.subject(),
                "the CA certificate is of version 1, in which nothing says that it is a CA's; it is taken as one, and many clients refuse it: renew it as version 3 with basicConstraints"
            );
        }
        if !certificate.is_ca() && !certificate.is_version_1() {
            let why = if certificate.has_basic_constraints() {
                "basicConstraints says no CA"
            } else {
                "it has no basicConstraints, and a CA's of version 3 has"
            };
            section.problem(
                "certificate",
                format_args!("is not a CA's ({why}); name the CA certificate that issues what is asked about"),
            );
        } else if certificate.not_after() <= now {
            section.problem(
                "certificate",
                format_args!(
                    "expired at {}; remove the issuer or name the renewed certificate",
                    certificate.not_after()
                ),
            );
        }
    } else if !section.has("certificate") {
        section.problem("certificate", "is missing; name the CA certificate (PEM or DER)");
    }
    let sources =
        Sources { index: section.path("index"), crl: section.path("crl"), delta_crl: section.path("delta_crl") };
    if sources.index.is_none() && sources.crl.is_none() {
        section.problem(
            "index",
            "is missing; name the CA's database (`index = \"index.txt\"`) or its CRL (`crl = \"ca.crl\"`)",
        );
    }
    if sources.delta_crl.is_some() && sources.crl.is_none() {
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
    Some(IssuerConfig { name, hashes: IssuerHashes::of(&certificate), certificate, sources, signers })
}

/// The first certificate of the file that the key `certificate` names.
fn read_certificate(section: &mut Section<'_>) -> Option<Certificate> {
    let path = section.path("certificate")?;
    let chain = noted(section, "certificate", certificates(&path))?;
    chain.into_iter().next()
}
