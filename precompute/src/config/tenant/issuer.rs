//! An issuing CA, as the file names it. No file is opened here, and the certificate is not known.

use std::path::{Path, PathBuf};

use super::{
    super::{Place, Section},
    read_name,
    signer::{self, SignerConfig},
    unlisted,
};
use crate::{limits, ocsp::Unlisted};

/// A CA certificate for which answers are given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in metrics and logs; `None` for the certificate's subject.
    pub name: Option<String>,
    /// The file with the CA certificate.
    pub certificate: PathBuf,
    /// Where its records come from.
    pub sources: Sources,
    /// The files with certificates of those who sign its CRLs beside it.
    pub crl_issuers: Vec<PathBuf>,
    /// Its own setting for unlisted serials; `None` for the tenant's.
    pub unlisted: Option<Unlisted>,
    /// The signers of its answers; at least one.
    pub signers: Vec<SignerConfig>,
}

/// Where an issuer's records come from; at least an index, a CRL or pushes, except on a replica, which has them from the
/// feed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sources {
    /// The database of `openssl ca`: lists every certificate.
    pub index: Option<PathBuf>,
    /// Its CRLs, which list the revoked ones: complete ones, deltas and parts. What each is, it says itself.
    pub crls: Vec<PathBuf>,
    /// Whether pushes alone are a source. They are taken for every issuer; this says that it needs no file.
    pub pushes: bool,
}

impl Sources {
    /// All its files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.index.iter().chain(&self.crls).cloned().collect()
    }

    /// Whether it has CRLs.
    pub fn has_crls(&self) -> bool {
        !self.crls.is_empty()
    }

    /// Whether the only source is a CRL, which names no good certificates.
    pub fn is_crl_alone(&self) -> bool {
        self.index.is_none() && self.has_crls()
    }

    /// Whether there is no file: every record is pushed.
    pub fn is_pushes_alone(&self) -> bool {
        self.pushes && self.index.is_none() && !self.has_crls()
    }

    /// Whether there is nothing: every record comes from the feed.
    pub fn is_none(&self) -> bool {
        !self.pushes && self.index.is_none() && !self.has_crls()
    }

    /// The file that lists the certificates.
    pub fn main(&self) -> Option<&Path> {
        self.index.as_deref().or(self.crls.first().map(PathBuf::as_path))
    }
}

/// Reads an issuer's section. `given`: the tenant's issuers before it. `is_of_replica`: as in [`super::read_all`].
pub(super) fn read(section: &mut Section<'_>, given: &[IssuerConfig], is_of_replica: bool) -> IssuerConfig {
    let unlisted = unlisted::read(section);
    let certificate = section.path("certificate");
    if !section.has("certificate") {
        section.problem("certificate", "is missing; name the CA certificate (PEM or DER)");
    }
    let sources = Sources {
        index: section.path("index"),
        crls: read_crls(section),
        pushes: section.boolean("pushes").unwrap_or(false),
    };
    let crl_issuers = read_files(section, "crl_issuer", limits::CRL_ISSUERS_MAX);
    if !crl_issuers.is_empty() && !sources.has_crls() && !is_of_replica {
        section.problem("crl_issuer", "names who signs CRLs, and there is no CRL; add `crl`, or remove `crl_issuer`");
    }
    let has_file = section.has("index") | section.has("crl") | section.has("delta_crl");
    if !has_file && !sources.pushes && !is_of_replica {
        section.problem(
            "index",
            "is missing; name the CA's database (`index = \"index.txt\"`) or its CRL (`crl = \"ca.crl\"`), or write `pushes = true` if every certificate is pushed",
        );
    }
    let name = if section.has("name") { read_name(section) } else { None };
    // Names are unique within a tenant, because metrics and logs distinguish issuers by name.
    if let Some(name) = name.as_ref().filter(|name| given.iter().any(|other| other.name.as_ref() == Some(name))) {
        let remedy =
            "the name of another issuer of this tenant; logs and metrics tell issuers apart by it, give each its own";
        section.problem("name", format_args!("is `{name}`, {remedy}"));
    }
    let signers = signer::read_all(section, is_of_replica);
    IssuerConfig {
        place: section.place(),
        name,
        certificate: certificate.unwrap_or_default(),
        sources,
        crl_issuers,
        unlisted,
        signers,
    }
}

/// The files of `crl`, and of `delta_crl`, which is a further name for the same list.
fn read_crls(section: &mut Section<'_>) -> Vec<PathBuf> {
    let mut crls = read_files(section, "crl", limits::CRL_FILES_MAX);
    let deltas = read_files(section, "delta_crl", limits::CRL_FILES_MAX);
    if !deltas.is_empty() && !section.has("crl") {
        section.problem("delta_crl", "needs the complete CRL that it changes; add `crl`");
    }
    crls.extend(deltas.into_iter().filter(|delta| !crls.contains(delta)).collect::<Vec<_>>());
    let most = limits::CRL_FILES_MAX;
    if crls.len() > most {
        section.problem("crl", format_args!("and `delta_crl` name {} files; at most {most} are read", crls.len()));
    }
    crls
}

/// One file or a list of at most `most`, each once.
fn read_files(section: &mut Section<'_>, key: &'static str, most: usize) -> Vec<PathBuf> {
    let written = section.strings(key).unwrap_or_default();
    if section.has(key) && (written.is_empty() || !written.iter().all(|name| is_path(name))) {
        section.problem(key, "has to be a path, or a list of paths such as `[\"a.pem\", \"b.pem\"]`");
    }
    if written.len() > most {
        section.problem(key, format_args!("names {} files; at most {most} are read", written.len()));
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for name in written.iter().filter(|name| is_path(name)) {
        let path = section.resolve(name);
        if !files.contains(&path) {
            files.push(path);
        }
    }
    files
}

fn is_path(name: &str) -> bool {
    !name.is_empty() && !name.contains("-----BEGIN")
}
