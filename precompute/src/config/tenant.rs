//! Tenants: issuers with their signers and sources, and the policies for them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::Section;
use crate::{
    limits,
    ocsp::IssuerHashes,
    pki::{Certificate, UnixTime, certificates},
    sign::{OcspSigner, Pool, ResponseForm, SoftwareKey},
};

/// A customer: issuers, keys and policies, kept apart from the others'.
#[derive(Debug)]
pub struct Tenant {
    /// Stands in metrics, logs and the book.
    pub name: String,
    /// Host names of its URLs, lower case; empty for every host.
    pub hosts: Vec<String>,
    /// The path of its URLs, starting with a slash, without one at the end; empty for the root.
    pub path: String,
    /// How it answers.
    pub policy: Policy,
    /// At least one.
    pub issuers: Vec<IssuerConfig>,
}

/// How a tenant answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// From thisUpdate to nextUpdate.
    pub validity: Duration,
    /// What is said of serials that no source lists.
    pub unlisted: Unlisted,
    /// How long after a certificate's end its status is still told.
    pub retain_expired: Duration,
}

/// What is said of serials that no source lists (RFC 6960 section 2.2, RFC 9919, BR 4.9.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unlisted {
    /// The unsigned error `unauthorized`.
    Unauthorized,
    /// Signed `unknown`.
    Unknown,
    /// Signed `revoked` by the extended definition: hold, 1970-01-01.
    Revoked,
    /// Signed `good`.
    Good,
}

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
    pub signer: Arc<OcspSigner>,
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

    /// The file that says who is listed.
    pub fn main(&self) -> Option<&Path> {
        self.index.as_deref().or(self.crl.as_deref())
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Every tenant of the file: those of `[[tenant]]`, or the one whose `[[issuer]]` stand at the root.
pub(super) fn read_all(root: &mut Section<'_>, now: UnixTime) -> Option<Vec<Tenant>> {
    let bare = root.has("issuer");
    if bare && root.has("tenant") {
        root.problem("issuer", "stands beside [[tenant]]; move it into one of them as [[tenant.issuer]]");
        root.leave_to_others(&["issuer", "tenant"]);
        return None;
    }
    if bare {
        return Some(vec![read_tenant(root, Some("default"), now)?]);
    }
    if !root.has("tenant") {
        root.problem("issuer", "is missing; add [[issuer]] with certificate, index or crl, and signer");
        return None;
    }
    let tenants = root.sections("tenant", |section| read_tenant(section, None, now));
    for (number, tenant) in tenants.iter().enumerate() {
        for other in &tenants[..number] {
            if tenant.name == other.name {
                root.problem("tenant", format_args!("two tenants have the name «{}»; each needs its own", tenant.name));
            }
            let share_host = tenant.hosts.is_empty() && other.hosts.is_empty()
                || tenant.hosts.iter().any(|host| other.hosts.contains(host));
            if tenant.path == other.path && share_host {
                root.problem(
                    "tenant",
                    format_args!(
                        "«{}» and «{}» have the same URLs; give them different `path` or `hosts`",
                        other.name, tenant.name
                    ),
                );
            }
        }
    }
    Some(tenants)
}

fn read_tenant(section: &mut Section<'_>, bare_name: Option<&str>, now: UnixTime) -> Option<Tenant> {
    let name = match bare_name {
        Some(name) => Some(name.to_owned()),
        None => read_name(section),
    };
    let hosts: Vec<_> =
        section.strings("hosts").unwrap_or_default().iter().map(|host| host.to_ascii_lowercase()).collect();
    if let Some(host) = hosts.iter().find(|host| host.is_empty() || host.contains(['/', ' ']) || has_port(host)) {
        section.problem("hosts", format_args!("names «{host}»; expected host names without scheme and port"));
    }
    let path = section.string("path").unwrap_or_else(|| "/".into());
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'%' && b != b'#') {
        section.problem("path", format_args!("is «{path}»; expected a URL path such as «/acme»"));
    }
    let path = path.trim_end_matches('/').to_owned();
    let policy = read_policy(section);
    let form = ResponseForm {
        responder_id_by_name: section
            .choice("responder_id", &[("by-key", false), ("by-name", true)])
            .unwrap_or_default(),
    };
    if !section.has("issuer") {
        section.problem("issuer", "is missing; a tenant needs at least one [[tenant.issuer]]");
    }
    let mut seen: Vec<[u8; 32]> = Vec::new();
    let issuers = section.sections("issuer", |issuer| {
        let read = read_issuer(issuer, form, now)?;
        let fingerprint = read.certificate.issuer_fingerprint();
        if seen.contains(&fingerprint) {
            issuer.problem(
                "certificate",
                "is of an issuer that this tenant names already; give one [[issuer]] all its sources",
            );
        }
        seen.push(fingerprint);
        Some(read)
    });
    Some(Tenant { name: name?, hosts, path, policy, issuers })
}

/// `[::1]` has none, `[::1]:80` and `host:80` have one.
fn has_port(host: &str) -> bool {
    host.rfind(':').is_some_and(|colon| !host[colon..].contains(']'))
}

/// Names stand in metrics and paths: letters, digits, `-`, `_` and `.`.
fn read_name(section: &mut Section<'_>) -> Option<String> {
    if !section.has("name") {
        section.problem("name", "is missing; give it a short name for logs and metrics");
    }
    let name = section.string("name")?;
    let valid = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !valid {
        section.problem("name", format_args!("is «{name}»; expected 1 to 64 letters, digits, `-`, `_` or `.`"));
    }
    valid.then_some(name)
}

fn read_policy(section: &mut Section<'_>) -> Policy {
    let unlisted = section.choice(
        "unlisted",
        &[
            ("unauthorized", Unlisted::Unauthorized),
            ("unknown", Unlisted::Unknown),
            ("revoked", Unlisted::Revoked),
            ("good", Unlisted::Good),
        ],
    );
    let accepted = section.boolean("accept_unlisted_as_good").unwrap_or(false);
    if unlisted == Some(Unlisted::Good) && !accepted {
        section.problem(
            "unlisted",
            "is «good», which vouches for certificates that the CA may never have issued (BR 4.9.10 forbids it for TLS CAs); if that is meant, add `accept_unlisted_as_good = true`",
        );
    }
    Policy {
        validity: section.duration("validity", 8 * HOUR..=10 * DAY).unwrap_or(4 * DAY),
        unlisted: unlisted.unwrap_or(Unlisted::Unauthorized),
        retain_expired: section.duration("retain_expired", Duration::ZERO..=36_500 * DAY).unwrap_or(Duration::ZERO),
    }
}

fn read_issuer(section: &mut Section<'_>, form: ResponseForm, now: UnixTime) -> Option<IssuerConfig> {
    let certificate = read_certificate(section);
    if let Some(certificate) = &certificate {
        if !certificate.is_ca() {
            section.problem(
                "certificate",
                "is not a CA's (basicConstraints says no CA); name the CA certificate that issues what is asked about",
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
    let has_signer = section.has("signer");
    if !has_signer {
        section.problem("signer", "is missing; add `signer = { key = \"ocsp.key\", certificate = \"ocsp.pem\" }`");
    }
    let signer = section.section("signer", |signer| {
        read_signer(signer, name.as_deref().unwrap_or_default(), certificate.as_ref(), form, now)
    });
    let (name, certificate, signer) = (name?, certificate?, signer?);
    Some(IssuerConfig { name, hashes: IssuerHashes::of(&certificate), certificate, sources, signer: Arc::new(signer) })
}

fn read_signer(
    section: &mut Section<'_>,
    issuer_name: &str,
    issuer: Option<&Certificate>,
    form: ResponseForm,
    now: UnixTime,
) -> Option<OcspSigner> {
    let own = read_certificate(section);
    let certificate_given = section.has("certificate");
    let threads = section.integer("threads", 1..=limits::SIGN_THREADS_MAX);
    if !section.has("key") {
        section.problem("key", "is missing; name the private key in PEM");
    }
    let path = section.path("key")?;
    let key = noted(section, "key", SoftwareKey::from_file(&path))?;
    let issuer = issuer?;
    let certificate = if certificate_given { own? } else { issuer.clone() };
    let threads = threads.map_or_else(|| default_sign_threads(&key), |threads| threads as usize);
    let pool = Pool::software(&key, threads, limits::SIGN_QUEUE_LENGTH_MAX);
    let pool = noted(section, "threads", pool.map_err(|error| format!("{threads} cannot be started: {error}")))?;
    let signer = OcspSigner::new(issuer_name, issuer, &certificate, key.public_key_octets(), Arc::new(pool), form, now);
    noted(section, if certificate_given { "certificate" } else { "key" }, signer)
}

/// As many as there are cores: software signing is arithmetic and nothing else. One where the serving
/// threads sign themselves and only refreshes are left.
fn default_sign_threads(key: &SoftwareKey) -> usize {
    if key.algorithm().is_cheap() {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(limits::SIGN_THREADS_MAX as usize))
}

/// The first certificate of the file that the key `certificate` names.
fn read_certificate(section: &mut Section<'_>) -> Option<Certificate> {
    let path = section.path("certificate")?;
    let chain = noted(section, "certificate", certificates(&path))?;
    chain.into_iter().next()
}

fn noted<T>(section: &Section<'_>, key: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
    result.map_err(|error| section.problem(key, error)).ok()
}

#[cfg(test)]
mod tests;
