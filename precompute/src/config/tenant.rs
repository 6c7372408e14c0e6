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
    ocsp::{HashAlgorithm, IssuerHashes},
    pki::{Certificate, UnixTime, certificates},
    sign::{CertificateInclusion, OcspSigner, ResponseForm, Signers},
};

mod names;
mod presign;
mod signer;
mod tsa;

use signer::{Purpose, read_signers};
pub use tsa::{TsaCertificates, TsaConfig, TsaName, TsaPolicy};

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
    /// CAs of those who may sign requests.
    pub request_anchors: Arc<[Certificate]>,
    /// The hash algorithms of the CertIDs whose answers are signed before anybody asks; none where nothing is.
    pub presign: Vec<HashAlgorithm>,
    /// Without one it only time-stamps.
    pub issuers: Vec<IssuerConfig>,
    /// Its time-stamping authorities.
    pub tsas: Vec<TsaConfig>,
}

/// How a tenant answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// From thisUpdate to nextUpdate.
    pub validity: Duration,
    /// What is said of serials that no source lists.
    pub unlisted: Unlisted,
    /// How long after the sources were last in order answers are still signed; `None`: for ever.
    pub stale_after: Option<Duration>,
    /// How long after a certificate's end its status is still told.
    pub retain_expired: Duration,
    /// Whether answers say for how long (RFC 6960 section 4.4.4).
    pub archive_cutoff: bool,
    /// What is done with a request's nonce.
    pub nonce: NoncePolicy,
    /// What is done with a request's signature.
    pub signed_requests: SignedRequests,
    /// CertIDs that one request may have.
    pub cert_ids_max: u8,
    /// Whether a POST must be of type application/ocsp-request.
    pub strict_content_type: bool,
    /// Whether `internalError` comes with HTTP status 503 instead of 200.
    pub internal_error_503: bool,
    /// Whether answers tell caches the names by which they can be dropped.
    pub surrogate_keys: bool,
}

impl Policy {
    /// Of a file that sets nothing.
    pub const DEFAULT: Self = Self {
        validity: Duration::from_secs(4 * 86_400),
        unlisted: Unlisted::Unauthorized,
        stale_after: None,
        retain_expired: Duration::ZERO,
        archive_cutoff: false,
        nonce: NoncePolicy::Ignore,
        signed_requests: SignedRequests::Ignore,
        cert_ids_max: limits::CERT_IDS_MAX,
        strict_content_type: false,
        internal_error_503: false,
        surrogate_keys: true,
    };
}

/// What is done with a request's nonce (RFC 9654).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoncePolicy {
    /// Answered without it, so that answers can be kept.
    Ignore,
    /// Repeated in an answer signed for this request alone.
    Echo,
    /// As [`NoncePolicy::Echo`], and a request without one is malformed.
    Require,
}

/// What is done with a request's signature (RFC 6960 section 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignedRequests {
    /// Nothing.
    Ignore,
    /// One that is there must verify under the tenant's anchors.
    Verify,
    /// And it must be there.
    Require,
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

    /// The file that says who is listed.
    pub fn main(&self) -> Option<&Path> {
        self.index.as_deref().or(self.crl.as_deref())
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Every tenant of the file: those of `[[tenant]]`, or the one whose `[[issuer]]` stand at the root.
pub(super) fn read_all(root: &mut Section<'_>, now: UnixTime) -> Option<Vec<Tenant>> {
    let bare = ["issuer", "tsa"].into_iter().find(|key| root.has(key));
    if let (Some(key), true) = (bare, root.has("tenant")) {
        root.problem(key, format_args!("stands beside [[tenant]]; move it into one of them as [[tenant.{key}]]"));
        root.leave_to_others(&["issuer", "tsa", "tenant"]);
        return None;
    }
    if bare.is_some() {
        let tenants = vec![read_tenant(root, Some("default"), now)?];
        tsa::check_all(root, &tenants);
        return Some(tenants);
    }
    if !root.has("tenant") {
        root.problem(
            "issuer",
            "is missing; add [[issuer]] with certificate, index or crl, and signer, or [[tsa]] with policy and signer",
        );
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
    tsa::check_all(root, &tenants);
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
    let request_anchors = read_anchors(section, &policy);
    let presign = presign::read(section, &policy);
    let form = ResponseForm {
        responder_id_by_name: section
            .choice("responder_id", &[("by-key", false), ("by-name", true)])
            .unwrap_or_default(),
        certificates: section
            .choice(
                "certificates",
                &[
                    ("signer", CertificateInclusion::Signer),
                    ("chain", CertificateInclusion::Chain),
                    ("none", CertificateInclusion::None),
                ],
            )
            .unwrap_or_default(),
    };
    if !section.has("issuer") && !section.has("tsa") {
        section.problem("issuer", "is missing; a tenant needs at least one [[tenant.issuer]] or [[tenant.tsa]]");
    }
    let mut seen: Vec<[u8; 32]> = Vec::new();
    let mut given: Vec<Option<String>> = Vec::new();
    let mut issuers = section.sections("issuer", |issuer| {
        let read = read_issuer(issuer, name.as_deref().unwrap_or_default(), form, now)?;
        let fingerprint = read.certificate.issuer_fingerprint();
        if seen.contains(&fingerprint) {
            issuer.problem(
                "certificate",
                "is of an issuer that this tenant names already; give one [[issuer]] all its sources",
            );
        }
        seen.push(fingerprint);
        let name = issuer.has("name").then(|| read.name.clone());
        name.iter().for_each(|name| names::check_given(issuer, name, &given));
        given.push(name);
        Some(read)
    });
    names::tell_apart(section, &mut issuers, &given);
    let tsas = tsa::read_all(section, name.as_deref().unwrap_or_default(), now);
    Some(Tenant { name: name?, hosts, path, policy, request_anchors, presign, issuers, tsas })
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
    let default = Policy::DEFAULT;
    let policy = Policy {
        validity: section.duration("validity", 8 * HOUR..=10 * DAY).unwrap_or(default.validity),
        unlisted: unlisted.unwrap_or(default.unlisted),
        stale_after: section.duration("stale_after", 2 * HOUR..=3650 * DAY).or(default.stale_after),
        retain_expired: section
            .duration("retain_expired", Duration::ZERO..=36_500 * DAY)
            .unwrap_or(default.retain_expired),
        archive_cutoff: section.boolean("archive_cutoff").unwrap_or(default.archive_cutoff),
        nonce: section
            .choice(
                "nonce",
                &[("ignore", NoncePolicy::Ignore), ("echo", NoncePolicy::Echo), ("require", NoncePolicy::Require)],
            )
            .unwrap_or(default.nonce),
        signed_requests: section
            .choice(
                "signed_requests",
                &[
                    ("ignore", SignedRequests::Ignore),
                    ("verify", SignedRequests::Verify),
                    ("require", SignedRequests::Require),
                ],
            )
            .unwrap_or(default.signed_requests),
        cert_ids_max: section
            .integer("cert_ids_max", 1..=i64::from(limits::CERT_IDS_MAX))
            .map_or(default.cert_ids_max, |count| count as u8),
        strict_content_type: section
            .choice("content_type", &[("any", false), ("strict", true)])
            .unwrap_or(default.strict_content_type),
        internal_error_503: match section.integer("internal_error_status", 200..=503) {
            Some(status) if status != 200 && status != 503 => {
                section.problem("internal_error_status", format_args!("is {status}; expected 200 or 503"));
                false
            }
            status => status == Some(503),
        },
        surrogate_keys: section.boolean("surrogate_keys").unwrap_or(default.surrogate_keys),
    };
    if policy.archive_cutoff && policy.retain_expired.is_zero() {
        section.problem(
            "archive_cutoff",
            "tells for how long expired certificates are still known, which is not at all; add `retain_expired = \"2555d\"` or the like",
        );
    }
    policy
}

/// The CAs of those who may sign requests: every certificate of the file.
fn read_anchors(section: &mut Section<'_>, policy: &Policy) -> Arc<[Certificate]> {
    let wanted = policy.signed_requests != SignedRequests::Ignore;
    match (section.has("request_anchors"), wanted) {
        (false, true) => section.problem(
            "request_anchors",
            "is missing; name the file with the CA certificates (PEM) of those who may sign requests",
        ),
        (true, false) => section.problem(
            "request_anchors",
            "has no use while signatures of requests are ignored; add `signed_requests = \"verify\"` or remove it",
        ),
        _ => {}
    }
    let path = section.path("request_anchors");
    path.and_then(|path| noted(section, "request_anchors", certificates(&path))).unwrap_or_default().into()
}

fn read_issuer(section: &mut Section<'_>, tenant: &str, form: ResponseForm, now: UnixTime) -> Option<IssuerConfig> {
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

fn noted<T>(section: &Section<'_>, key: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
    result.map_err(|error| section.problem(key, error)).ok()
}

#[cfg(test)]
mod tests;
