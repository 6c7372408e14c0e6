//! An issuing CA, as the file names it. No file is opened here, and the certificate is not known.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::{Place, Section, TlsTrust},
    Publish, Role, policy, publish, read_name,
    signer::{self, SignerConfig},
    sql, unlisted,
};
use crate::{
    feeder::{self, CrlAtUrl, DirectorySource, FilesOfIssuer, RowsOfIssuer, SourceUrl, Spec, SqlSource},
    limits,
    ocsp::{Policy, Unlisted},
    pki::{Certificate, written::Radix},
    source::Form,
    state_dir,
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
    /// The files with certificates of those who sign its CRLs beside it.
    pub crl_issuers: Vec<PathBuf>,
    /// Its own setting for unlisted serials; `None` for the tenant's.
    pub unlisted: Option<Unlisted>,
    /// What is published of it.
    pub publish: Publish,
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
}

/// Where an issuer's records come from; at least a listing, a CRL or pushes, except on a replica, which has them from the
/// feed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sources {
    /// Databases of `openssl ca`, and lists of what was issued: together they list every certificate.
    pub listings: Vec<ListingFile>,
    /// Its CRLs, which list the revoked ones: complete ones, deltas and parts. What each is, it says itself.
    pub crls: Vec<PathBuf>,
    /// Whether the CRLs make up the whole, though each covers a part only. The operator says so: of distribution points,
    /// nobody can tell how many there are.
    pub crls_are_complete: bool,
    /// Whether pushes alone are a source. They are taken for every issuer; this says that it needs no file.
    pub pushes: bool,
    /// Those of its files that mirror something at a URL.
    pub fetched: Vec<Fetched>,
    /// Whether deltas that CRLs at URLs name are not followed.
    pub leaves_deltas: bool,
    /// The database that one of its listings mirrors.
    pub sql: Option<SqlSource>,
    /// The directories that others of them mirror.
    pub directories: Vec<DirectorySource>,
}

/// A file that mirrors what is at a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Where it is fetched from.
    pub url: SourceUrl,
    /// The file, which is among the issuer's CRLs.
    pub mirror: PathBuf,
    /// The file with the CAs whose certificates count over TLS; `None` for those that the system trusts.
    pub tls_ca: Option<PathBuf>,
    /// How often it is asked for; `None` as its CRLs come.
    pub every: Option<Duration>,
    /// The file that mirrors the delta that it names; `None` if that is not followed.
    pub delta: Option<PathBuf>,
}

impl Sources {
    /// Of one database of `openssl ca`.
    pub fn of_index(path: impl Into<PathBuf>) -> Self {
        Self { listings: vec![ListingFile::database(path)], ..Self::default() }
    }

    /// All its files.
    pub fn paths(&self) -> Vec<PathBuf> {
        let listings = self.listings.iter().map(|listing| &listing.path);
        listings.chain(&self.crls).chain(self.deltas()).cloned().collect()
    }

    /// The mirrors of deltas that its CRLs at URLs may name, of which there may be none.
    pub fn deltas(&self) -> impl Iterator<Item = &PathBuf> {
        self.fetched.iter().filter_map(|fetched| fetched.delta.as_ref())
    }

    /// Whether something lists the certificates that were issued.
    pub fn list(&self) -> bool {
        !self.listings.is_empty()
    }

    /// The listing, if it is the only file: what it says is what there is.
    pub fn listing_alone(&self) -> Option<&ListingFile> {
        match &self.listings[..] {
            [listing] if !self.has_crls() => Some(listing),
            _ => None,
        }
    }

    /// Those of its files that others may write.
    pub fn paths_of_others(&self) -> Vec<PathBuf> {
        let mirrors: Vec<_> = self.mirrors().into_iter().chain(self.deltas().cloned()).collect();
        self.paths().into_iter().filter(|path| !mirrors.contains(path)).collect()
    }

    /// Whether it has files, and only this process writes them.
    pub fn are_mirrors(&self) -> bool {
        !self.paths().is_empty() && self.paths_of_others().is_empty()
    }

    /// Those of its files that mirror something, in the order of [`Sources::specs`].
    pub fn mirrors(&self) -> Vec<PathBuf> {
        let fetched = self.fetched.iter().map(|fetched| &fetched.mirror);
        let directories = self.directories.iter().map(|directory| &directory.mirror);
        fetched.chain(self.sql.as_ref().map(|sql| &sql.mirror)).chain(directories).cloned().collect()
    }

    /// The key that names a listing.
    pub fn key_of(&self, listing: &ListingFile) -> &'static str {
        match listing.form {
            Form::Database => "index",
            Form::Mirrored if self.sql.as_ref().is_some_and(|sql| sql.mirror == listing.path) => "sql",
            Form::Issued(_) | Form::Mirrored => "issued",
        }
    }

    /// What a file mirrors, without secrets.
    pub fn origin_of(&self, path: &Path) -> Option<String> {
        let fetched = self.fetched.iter().find(|fetched| fetched.mirror == path);
        let delta = self.fetched.iter().find(|fetched| fetched.delta.as_deref() == Some(path));
        let sql = self.sql.as_ref().filter(|sql| sql.mirror == path);
        let directory = self.directories.iter().find(|directory| directory.mirror == path);
        fetched
            .map(|fetched| fetched.url.to_string())
            .or_else(|| Some(sql?.url.to_string()))
            .or_else(|| Some(format!("the delta CRL that {} names", delta?.url)))
            .or_else(|| Some(directory?.path.display().to_string()))
    }

    /// What is fetched for it, but for the deltas that its CRLs name. `issuer`: its certificate; `crl_issuers`: those of who
    /// signs CRLs beside it; `hashes`: whether answers carry the hashes of certificates.
    pub fn specs(&self, issuer: &Certificate, crl_issuers: &[Certificate], hashes: bool) -> Vec<Spec> {
        let spec = |Fetched { url, mirror, tls_ca, every, delta }: Fetched| {
            let mut crl = CrlAtUrl::new(url, mirror, (issuer.clone(), crl_issuers.to_vec()));
            (crl.tls_ca, crl.every, crl.delta) = (tls_ca, every, delta);
            Spec::Crl(crl)
        };
        let rows = self.sql.clone().map(|source| Spec::Rows(RowsOfIssuer { source, issuer: issuer.clone() }));
        let files = self.directories.iter().cloned();
        let files = files.map(|source| Spec::Files(FilesOfIssuer { source, issuer: issuer.clone(), hashes }));
        self.fetched.iter().cloned().map(spec).chain(rows).chain(files).collect()
    }

    /// All its files as they are written: those at a URL by that, without its secrets.
    pub fn names(&self) -> Vec<String> {
        let name = |path: PathBuf| self.origin_of(&path).unwrap_or_else(|| path.display().to_string());
        let listings = self.listings.iter().map(|listing| &listing.path);
        listings.chain(&self.crls).cloned().map(name).collect()
    }

    /// Names `other` in place of a file.
    pub fn replace(&mut self, file: &Path, other: &Path) {
        let listings = self.listings.iter_mut().map(|listing| &mut listing.path);
        for path in listings.chain(&mut self.crls) {
            if path == file {
                *path = other.to_owned();
            }
        }
        let fetched = self.fetched.iter_mut();
        let mirrors = fetched.flat_map(|fetched| [Some(&mut fetched.mirror), fetched.delta.as_mut()]).flatten();
        let mirrors = mirrors.chain(self.sql.iter_mut().map(|sql| &mut sql.mirror));
        for mirror in mirrors.chain(self.directories.iter_mut().map(|directory| &mut directory.mirror)) {
            if mirror == file {
                *mirror = other.to_owned();
            }
        }
    }

    /// The URLs of its CRLs that answers may name, in the order of the file; empty in the place of one that has a login or
    /// another secret.
    pub fn crl_urls(&self) -> Box<[Box<str>]> {
        self.fetched.iter().map(|fetched| fetched.url.without_secrets().unwrap_or_default().into()).collect()
    }

    /// The place of the URL that a file mirrors among those, from 1 on; 0 if it mirrors none.
    pub fn crl_url_place(&self, path: &Path) -> u8 {
        let place = self.fetched.iter().position(|fetched| fetched.mirror == path).map(|place| place + 1);
        place.and_then(|place| u8::try_from(place).ok()).unwrap_or(0)
    }

    /// Whether this file mirrors a directory of certificates.
    pub fn mirrors_directory(&self, path: &Path) -> bool {
        self.directories.iter().any(|directory| directory.mirror == path)
    }

    /// Whether it has CRLs.
    pub fn has_crls(&self) -> bool {
        !self.crls.is_empty()
    }

    /// Whether the only source is a CRL, which names no good certificates.
    pub fn is_crl_alone(&self) -> bool {
        !self.list() && self.has_crls()
    }

    /// Whether there is no file: every record is pushed.
    pub fn is_pushes_alone(&self) -> bool {
        self.pushes && !self.list() && !self.has_crls()
    }

    /// Whether there is nothing: every record comes from the feed.
    pub fn is_none(&self) -> bool {
        !self.pushes && !self.list() && !self.has_crls()
    }

    /// The file that lists the certificates, the first of several.
    pub fn main(&self) -> Option<&Path> {
        self.listings.first().map(|listing| &listing.path).or(self.crls.first()).map(PathBuf::as_path)
    }
}

/// The files that list certificates. A directory, which is written with a slash at its end, is mirrored into one; those are
/// added to `directories`. `of`: what tells the issuer's mirrors from those of others.
fn listings(
    section: &mut Section<'_>,
    state_dir: &Path,
    of: &[u8],
    directories: &mut Vec<DirectorySource>,
) -> Vec<ListingFile> {
    let radix = section.choice("issued_serials", &[("hexadecimal", Radix::Hexadecimal), ("decimal", Radix::Decimal)]);
    let issued = Form::Issued(radix.unwrap_or_default());
    let mut listings: Vec<ListingFile> = Vec::new();
    for (key, form) in [("index", Form::Database), ("issued", issued)] {
        for written in written_files(section, key, limits::LISTINGS_MAX) {
            let path = section.resolve(&written);
            let listing = match form {
                Form::Issued(names) if written.ends_with('/') => {
                    let source = directory(path.clone(), names, state_dir, of);
                    directories.push(source.clone());
                    ListingFile { path: source.mirror, form: Form::Mirrored }
                }
                form => ListingFile { path: path.clone(), form },
            };
            if listings.iter().any(|other| other.path == listing.path) {
                section.problem(key, format_args!("names {} twice; name each once", path.display()));
            }
            listings.push(listing);
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

fn directory(path: PathBuf, names: Radix, state_dir: &Path, of: &[u8]) -> DirectorySource {
    let words = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = feeder::mirror_name(&words, &[b"directory\0", path.as_os_str().as_encoded_bytes(), b"\0", of]);
    DirectorySource { path, names, mirror: state_dir.join(feeder::DIRECTORY).join(name) }
}

/// What an issuer's section is read with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The tenant's policy.
    pub(super) above: &'a Policy,
    /// The tenant's issuers before it.
    pub(super) given: &'a [IssuerConfig],
    pub(super) of_feed: Role,
    pub(super) state_dir: &'a Path,
    /// The tenant's own.
    pub(super) tls_ca: Option<&'a TlsTrust>,
}

/// Reads an issuer's section.
pub(super) fn read(section: &mut Section<'_>, around: Around<'_>) -> IssuerConfig {
    let Around { above, given, of_feed: Role { is_of_replica, has_feed, .. }, .. } = around;
    let (unlisted, policy) = (unlisted::read(section), policy::read_times(section, above));
    let ca_revoked = policy::ca_revoked_since(section).unwrap_or(policy.ca_revoked);
    let policy = Policy { ca_revoked, ..policy };
    let certificate = section.path("certificate");
    if !section.has("certificate") {
        section.problem("certificate", "is missing; name the CA certificate (PEM or DER)");
    }
    let own = TlsTrust::read(section, "tls_ca");
    let fetch_deltas = section.boolean("fetch_deltas");
    let places = Places {
        certificate: certificate.as_deref(),
        state_dir: around.state_dir,
        tls_ca: own.as_ref().or(around.tls_ca),
        every: section.duration("crl_every", limits::fetch::CRL_EVERY),
        fetch_deltas: fetch_deltas.unwrap_or(true),
    };
    let (mut fetched, mut directories) = (Vec::new(), Vec::new());
    let of = certificate.as_deref().map(|path| path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let sql = sql::read(section, around.state_dir, of);
    let mirrored = sql.iter().map(|sql| ListingFile { path: sql.mirror.clone(), form: Form::Mirrored });
    let sources = Sources {
        listings: listings(section, around.state_dir, of, &mut directories).into_iter().chain(mirrored).collect(),
        crls: places.crls(section, &mut fetched),
        crls_are_complete: section.boolean("crls_are_complete").unwrap_or(false),
        pushes: section.boolean("pushes").unwrap_or(false),
        fetched,
        leaves_deltas: fetch_deltas == Some(false),
        sql,
        directories,
    };
    if own.is_some() && sources.fetched.is_empty() {
        section.problem("tls_ca", "has no effect: no source of this issuer is at a URL; remove it");
    }
    if section.has("crl_every") && sources.fetched.is_empty() {
        section.problem("crl_every", "has no effect: no CRL of this issuer is at a URL; remove it");
    }
    if sources.crls_are_complete && !sources.has_crls() && !is_of_replica {
        section.problem("crls_are_complete", "speaks of CRLs, and there is none; add `crl`, or remove it");
    }
    if fetch_deltas.is_some() && !sources.has_crls() && !is_of_replica {
        section.problem(
            "fetch_deltas",
            "says whether delta CRLs are followed that a CRL names, and there is no CRL; remove it",
        );
    }
    let crl_issuers = read_files(section, "crl_issuer", limits::CRL_ISSUERS_MAX);
    if !crl_issuers.is_empty() && !sources.has_crls() && !is_of_replica {
        section.problem("crl_issuer", "names who signs CRLs, and there is no CRL; add `crl`, or remove `crl_issuer`");
    }
    let publish = publish::read(section, &sources, has_feed);
    let has_file = section.has("index")
        | section.has("issued")
        | section.has("crl")
        | section.has("delta_crl")
        | section.has("sql");
    if !has_file && !sources.pushes && !is_of_replica {
        section.problem(
            "index",
            "is missing; name the CA's database (`index = \"index.txt\"`), a list of what it has issued (`issued = \"issued.txt\"`) or a directory of that (`issued = \"certs/\"`) or its CRL (`crl = \"ca.crl\"`), or write `pushes = true` if every certificate is pushed",
        );
    }
    let name = if section.has("name") { read_name(section, "name") } else { None };
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
        crl_issuers,
        unlisted,
        publish,
        signers,
    }
}

/// What it takes to make a URL a file.
struct Places<'a> {
    /// The issuer's certificate, by which its mirrors are told from those of others.
    certificate: Option<&'a Path>,
    state_dir: &'a Path,
    tls_ca: Option<&'a TlsTrust>,
    every: Option<Duration>,
    /// Whether the deltas are fetched that a CRL at a URL names.
    fetch_deltas: bool,
}

impl Places<'_> {
    /// The CRLs of `crl`, and of `delta_crl`, which is a further name for the same list: paths, and URLs, of which there are
    /// mirrors. What is fetched is added to `fetched`.
    fn crls(&self, section: &mut Section<'_>, fetched: &mut Vec<Fetched>) -> Vec<PathBuf> {
        let mut crls: Vec<PathBuf> = Vec::new();
        for key in ["crl", "delta_crl"] {
            for written in written_files(section, key, limits::CRL_FILES_MAX) {
                let path = section.resolve(&written);
                match self.entry(&written, path, fetched) {
                    Ok(path) if crls.contains(&path) => {}
                    Ok(path) => crls.push(path),
                    Err(problem) => section.problem(key, problem),
                }
            }
        }
        if section.has("delta_crl") && !section.has("crl") {
            section.problem("delta_crl", "needs the complete CRL that it changes; add `crl`");
        }
        let most = limits::CRL_FILES_MAX;
        if crls.len() > most {
            section.problem("crl", format_args!("and `delta_crl` name {} files; at most {most} are read", crls.len()));
        }
        crls
    }

    /// One entry: `written` in the file, which is `path` if it is one. The error completes the name of its key.
    fn entry(&self, written: &str, path: PathBuf, fetched: &mut Vec<Fetched>) -> Result<PathBuf, feeder::UrlError> {
        if let Some(path) = SourceUrl::file_path(written) {
            return path.map(PathBuf::from);
        }
        if !SourceUrl::is_meant(written) {
            return Ok(path);
        }
        let url: SourceUrl = written.parse()?;
        let of = self.certificate.map(|path| path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let mirror = self.state_dir.join(feeder::DIRECTORY).join(url.mirror_name(of));
        let tls_ca = match self.tls_ca {
            Some(TlsTrust::File(path)) => Some(path.clone()),
            Some(TlsTrust::System) | None => None,
        };
        if fetched.iter().all(|other| other.mirror != mirror) {
            let delta = self.fetch_deltas.then(|| state_dir::behind(&mirror, ".delta"));
            fetched.push(Fetched { url, mirror: mirror.clone(), tls_ca, every: self.every, delta });
        }
        Ok(mirror)
    }
}

/// The files that a key names: one or a list of at most `most`, as they are written.
fn written_files(section: &mut Section<'_>, key: &'static str, most: usize) -> Vec<String> {
    let Some(written) = section.texts(key, "a path, or a list of paths") else { return Vec::new() };
    if written.is_empty() || !written.iter().all(|name| is_path(name)) {
        section.problem(key, "has to be a path, or a list of paths such as `[\"a.pem\", \"b.pem\"]`");
    }
    if written.len() > most {
        section.problem(key, format_args!("names {} files; at most {most} are read", written.len()));
    }
    written.into_iter().filter(|name| is_path(name)).collect()
}

/// The same as paths, each once.
fn read_files(section: &mut Section<'_>, key: &'static str, most: usize) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in written_files(section, key, most).iter().map(|name| section.resolve(name)) {
        if !files.contains(&path) {
            files.push(path);
        }
    }
    files
}

fn is_path(name: &str) -> bool {
    !name.is_empty() && !name.contains("-----BEGIN")
}
