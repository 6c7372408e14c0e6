//! An issuing CA, as the file names it. No file is opened here, and the certificate is not known.

use std::path::{Path, PathBuf};

use super::{
    super::{Place, Section},
    policy, read_name,
    signer::{self, SignerConfig},
    unlisted,
};
use crate::{
    limits,
    ocsp::{Policy, Unlisted},
    pki::written::Radix,
    source::Form,
};

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
    /// How it answers: the tenant's policy with what it says itself, except for unlisted serials.
    pub policy: Policy,
    /// Its own setting for unlisted serials; `None` for the tenant's.
    pub unlisted: Option<Unlisted>,
    /// The signers of its answers; at least one.
    pub signers: Vec<SignerConfig>,
}

/// A file that lists certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListingFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it lists them.
    pub form: Form,
}

impl ListingFile {
    /// The database of `openssl ca`.
    pub fn database(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), form: Form::Database }
    }

    /// The key that names it.
    pub fn key(&self) -> &'static str {
        match self.form {
            Form::Database => "index",
            Form::Issued(_) => "issued",
        }
    }
}

/// Where an issuer's records come from; at least a listing, a CRL or pushes, except on a replica, which has them from the
/// feed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sources {
    /// Databases of `openssl ca`, and lists of what was issued: together they list every certificate.
    pub listings: Vec<ListingFile>,
    /// A complete CRL: lists the revoked ones.
    pub crl: Option<PathBuf>,
    /// A delta CRL to that CRL.
    pub delta_crl: Option<PathBuf>,
    /// Whether pushes alone are a source. They are taken for every issuer; this says that it needs no file.
    pub pushes: bool,
}

impl Sources {
    /// Of one database of `openssl ca`.
    pub fn of_index(path: impl Into<PathBuf>) -> Self {
        Self { listings: vec![ListingFile::database(path)], ..Self::default() }
    }

    /// All its files.
    pub fn paths(&self) -> Vec<PathBuf> {
        let listings = self.listings.iter().map(|listing| &listing.path);
        listings.chain([&self.crl, &self.delta_crl].into_iter().flatten()).cloned().collect()
    }

    /// Whether something lists the certificates that were issued.
    pub fn list(&self) -> bool {
        !self.listings.is_empty()
    }

    /// The listing, if it is the only file: what it says is what there is.
    pub fn listing_alone(&self) -> Option<&ListingFile> {
        match &self.listings[..] {
            [listing] if self.crl.is_none() => Some(listing),
            _ => None,
        }
    }

    /// Its CRLs.
    pub fn crls(&self) -> impl Iterator<Item = &Path> {
        [&self.crl, &self.delta_crl].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Whether the only source is a CRL, which names no good certificates.
    pub fn is_crl_alone(&self) -> bool {
        !self.list() && self.crl.is_some()
    }

    /// Whether there is no file: every record is pushed.
    pub fn is_pushes_alone(&self) -> bool {
        self.pushes && !self.list() && self.crl.is_none()
    }

    /// Whether there is nothing: every record comes from the feed.
    pub fn is_none(&self) -> bool {
        !self.pushes && !self.list() && self.crl.is_none()
    }

    /// The file that lists the certificates, the first of several.
    pub fn main(&self) -> Option<&Path> {
        self.listings.first().map(|listing| listing.path.as_path()).or(self.crl.as_deref())
    }
}

/// The files that list certificates.
fn listings(section: &mut Section<'_>) -> Vec<ListingFile> {
    let radix = section.choice("issued_serials", &[("hexadecimal", Radix::Hexadecimal), ("decimal", Radix::Decimal)]);
    let issued = Form::Issued(radix.unwrap_or_default());
    let mut listings: Vec<ListingFile> = Vec::new();
    for (key, form) in [("index", Form::Database), ("issued", issued)] {
        for path in section.paths(key).unwrap_or_default() {
            if listings.iter().any(|other| other.path == path) {
                section.problem(key, format_args!("names {} twice; name each file once", path.display()));
            }
            listings.push(ListingFile { path, form });
        }
    }
    if listings.len() > limits::LISTINGS_MAX {
        let (count, most) = (listings.len(), limits::LISTINGS_MAX);
        section.problem(
            "issued",
            format_args!("and `index` name {count} files, and {most} is the most; join some of them"),
        );
    }
    if radix.is_some() && !section.has("issued") {
        section.problem("issued_serials", "says how the serial numbers of `issued` are written, which is missing");
    }
    listings
}

/// Reads an issuer's section. `above`: its tenant's policy; `given`: the tenant's issuers before it. `is_of_replica`: as in [`super::read_all`].
pub(super) fn read(
    section: &mut Section<'_>,
    (above, given): (&Policy, &[IssuerConfig]),
    is_of_replica: bool,
) -> IssuerConfig {
    let (unlisted, policy) = (unlisted::read(section), policy::read_times(section, above));
    let certificate = section.path("certificate");
    if !section.has("certificate") {
        section.problem("certificate", "is missing; name the CA certificate (PEM or DER)");
    }
    let sources = Sources {
        listings: listings(section),
        crl: section.path("crl"),
        delta_crl: section.path("delta_crl"),
        pushes: section.boolean("pushes").unwrap_or(false),
    };
    let has_file = section.has("index") | section.has("issued") | section.has("crl");
    if !has_file && !sources.pushes && !is_of_replica {
        section.problem(
            "index",
            "is missing; name the CA's database (`index = \"index.txt\"`), a list of what it has issued (`issued = \"issued.txt\"`) or its CRL (`crl = \"ca.crl\"`), or write `pushes = true` if every certificate is pushed",
        );
    }
    if sources.delta_crl.is_some() && !section.has("crl") {
        section.problem("delta_crl", "needs the complete CRL that it changes; add `crl`");
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
        policy,
        unlisted,
        signers,
    }
}
