//! What a check has found in order, for people and for programs.
//!
//! It does not know the sections of the responder, which has facts of its own beside these.

use std::{fmt, fs, path::Path};

use serde::Serialize;

use crate::{
    assemble::{AssembledIssuer, AssembledTenant},
    engine::Survey,
    pki::{Certificate, hex},
    signers::OcspSigner,
};

/// What `ostia-precompute check` tells.
#[derive(Serialize, Debug)]
pub(super) struct Facts {
    pub(super) state: StateFacts,
    pub(super) issuers: Vec<IssuerFacts>,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        self.issuers.iter().try_for_each(|issuer| write!(f, "\n{issuer}"))
    }
}

/// The state directory.
#[derive(Serialize, Debug)]
pub struct StateFacts {
    directory: String,
    /// The size of the book; `null` before the first start.
    book_bytes: Option<u64>,
    /// The size of the answers signed ahead.
    answers_bytes: Option<u64>,
}

impl StateFacts {
    /// Of this directory.
    pub fn of(directory: &Path) -> Self {
        let size = |name: &str| fs::metadata(directory.join(name)).ok().map(|metadata| metadata.len());
        let (book_bytes, answers_bytes) = (size("book.redb"), size("answers.redb"));
        Self { directory: directory.display().to_string(), book_bytes, answers_bytes }
    }
}

impl fmt::Display for StateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  state in {}", self.directory)
    }
}

/// A certificate in use.
#[derive(Serialize, Debug)]
pub struct CertificateFacts {
    subject: String,
    /// In hexadecimal.
    serial: String,
    not_before: String,
    not_after: String,
}

impl CertificateFacts {
    /// Of this certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject(),
            serial: hex::text(certificate.serial_content()).to_ascii_uppercase(),
            not_before: certificate.not_before().to_string(),
            not_after: certificate.not_after().to_string(),
        }
    }
}

/// A signer of an issuer.
#[derive(Serialize, Debug)]
struct SignerFacts {
    algorithm: String,
    /// Whether its key is here.
    key_here: bool,
    not_after: String,
    certificate: Option<CertificateFacts>,
}

impl SignerFacts {
    fn of(signer: &OcspSigner) -> Self {
        let certificate = Certificate::from_der(signer.certificate_der()).ok();
        Self {
            algorithm: signer.algorithm().to_string(),
            key_here: signer.signing().is_some(),
            not_after: signer.not_after().to_string(),
            certificate: certificate.as_ref().map(CertificateFacts::of),
        }
    }
}

impl fmt::Display for SignerFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.key_here { "" } else { " by a key elsewhere" };
        write!(f, "{} until {}{place}", self.algorithm, self.not_after)
    }
}

/// An issuer.
#[derive(Serialize, Debug)]
pub struct IssuerFacts {
    tenant: String,
    name: String,
    id: String,
    certificate: CertificateFacts,
    signers: Vec<SignerFacts>,
    /// Files and URLs without secrets; `the feed` of a replica.
    sources: Vec<String>,
    /// How many certificates they list; `null` if they were not read.
    certificates: Option<u64>,
    /// Paths at which its CRLs and its certificate are served.
    published_at: Vec<String>,
}

impl IssuerFacts {
    /// `survey`: what its sources say, if they were read.
    pub fn of(tenant: &AssembledTenant, issuer: &AssembledIssuer, survey: Option<&Survey>) -> Self {
        let mut sources = issuer.sources.names();
        if issuer.sources.is_none() {
            sources.push("the feed".into());
        }
        Self {
            tenant: tenant.name.clone(),
            name: issuer.name.clone(),
            id: hex::text(issuer.id.fingerprint()),
            certificate: CertificateFacts::of(&issuer.certificate),
            signers: issuer.signers.all().iter().map(|signer| SignerFacts::of(signer)).collect(),
            sources,
            certificates: survey.map(|survey| survey.listed),
            published_at: Vec::new(),
        }
    }

    /// The same, published at these paths.
    #[must_use]
    pub fn published_at(self, published_at: Vec<String>) -> Self {
        Self { published_at, ..self }
    }
}

impl fmt::Display for IssuerFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signers: Vec<_> = self.signers.iter().map(ToString::to_string).collect();
        let listed = self.certificates.map_or("records".to_owned(), |count| format!("{count} certificates"));
        let (signers, sources) = (signers.join("; "), self.sources.join(", "));
        write!(f, "  {}/{}: signs with {signers}, {listed} from {sources}", self.tenant, self.name)?;
        match &self.published_at[..] {
            [] => Ok(()),
            paths => write!(f, "\n    publishes {}", paths.join(", ")),
        }
    }
}
