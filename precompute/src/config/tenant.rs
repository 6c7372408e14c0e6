//! Tenants: issuers with their signers and sources (`issuer`), time-stamping authorities (`tsa`), and their policies
//! (`policy`).
//!
//! No file is opened here. It does not know certificates or keys.

mod client;
mod forwarded;
mod issuer;
mod policy;
mod presign;
mod publish;
mod renew;
mod signer;
mod sql;
mod tsa;
mod unlisted;

pub use client::{ClientConfig, ClientsConfig, Quota};
pub use forwarded::{ForwardedConfig, upstreams};
use issuer::Around;
pub use issuer::{Fetched, IssuerConfig, ListingFile, Sources};
pub use publish::Publish;
pub use renew::{RenewBy, RenewConfig};
pub use signer::{KeyConfig, SignerConfig};
pub use tsa::TsaConfig;
pub(crate) use tsa::shown_path;

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Place, Section, TlsTrust, in_words};
use crate::{
    limits,
    ocsp::{CertificateInclusion, HashAlgorithm, Policy, ResponseForm, SignedRequests, Unlisted},
};

/// A customer: issuers, keys and policies, separate from those of other tenants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in metrics, logs and the book.
    pub name: String,
    /// The name that it had before, whose records it takes along.
    pub formerly: Option<String>,
    /// Host names of its URLs, lower case; empty for every host.
    pub hosts: Vec<String>,
    /// The path of its URLs, starting with a slash, without one at the end; empty for the root.
    pub path: String,
    /// How it answers, except for unlisted serials; its issuers may differ.
    pub policy: Policy,
    /// How many OCSP answers may be signed in a second while clients wait; `None`: any number.
    pub signatures_per_second: Option<NonZeroU32>,
    /// How many time-stamps may be made in a second.
    pub time_stamps_per_second: Option<NonZeroU32>,
    /// Its own setting for unlisted serials, if any.
    pub unlisted: Option<Unlisted>,
    /// A file with the CAs of clients that may sign requests.
    pub request_anchors: Option<PathBuf>,
    /// How answers name their signer, and what they carry.
    pub form: ResponseForm,
    /// The hash algorithms of the CertIDs whose answers are pre-signed; empty if none are.
    pub presign: Vec<HashAlgorithm>,
    /// How many pushes a second are taken for it, whoever sends them; `None`: as many as come.
    pub pushes_per_second: Option<u32>,
    /// A tenant without issuers only time-stamps.
    pub issuers: Vec<IssuerConfig>,
    /// The issuers that other responders answer for.
    pub forwarded: Vec<ForwardedConfig>,
    /// Its time-stamping authorities.
    pub tsas: Vec<TsaConfig>,
}

impl TenantConfig {
    /// The tenant's setting for unlisted serials, if it applies to this issuer.
    pub fn inherited(&self, issuer: &IssuerConfig) -> Option<Unlisted> {
        // An issuer without sources here may have an index or only a CRL where its writer is.
        let may_be_by_crl = |issuer: &IssuerConfig| issuer.sources.is_crl_alone() || issuer.sources.is_none();
        let some_by_crl = self.issuers.iter().any(may_be_by_crl);
        unlisted::inherited(self.unlisted, !issuer.sources.is_crl_alone(), some_by_crl)
    }

    /// How it answers, before any setting of its issuers.
    pub fn own_policy(&self) -> Policy {
        Policy { unlisted: self.unlisted.unwrap_or(self.policy.unlisted), ..self.policy }
    }

    /// How it answers for one of its issuers.
    pub fn policy_of(&self, issuer: &IssuerConfig) -> Policy {
        let unlisted = issuer.unlisted.or_else(|| self.inherited(issuer));
        Policy { unlisted: unlisted.unwrap_or(Policy::DEFAULT.unlisted), ..issuer.policy }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Every tenant of the file: those of `[[tenant]]`, or one tenant with the `[[issuer]]` tables of the root.
/// `they_come`: all of these come from the feed as well, so that the file has none.
pub(super) fn read_all(root: &mut Section<'_>, of_feed: Role, they_come: bool, state_dir: &Path) -> Vec<TenantConfig> {
    let bare = ["issuer", "tsa"].into_iter().find(|key| root.has(key));
    if let (Some(key), true) = (bare, root.has("tenant")) {
        root.problem(key, format_args!("stands beside [[tenant]]; move it into one of them as [[tenant.{key}]]"));
        root.leave_to_others(&["issuer", "tsa", "tenant"]);
        return Vec::new();
    }
    if bare.is_some() {
        let tenants = vec![read_tenant(root, Some(BARE), of_feed, state_dir)];
        check_former_names(root, &tenants);
        tsa::check_reachable(root, &tenants);
        return tenants;
    }
    if !root.has("tenant") && they_come {
        return Vec::new();
    }
    if !root.has("tenant") {
        root.problem(
            "issuer",
            "is missing; add [[issuer]] with certificate, index or crl, and signer, or [[tsa]] with policy and signer",
        );
        return Vec::new();
    }
    let tenants = root.sections("tenant", |section| Some(read_tenant(section, None, of_feed, state_dir)));
    for (number, tenant) in tenants.iter().enumerate().filter(|(_, tenant)| !tenant.name.is_empty()) {
        for other in &tenants[..number] {
            if tenant.name == other.name {
                root.problem("tenant", format_args!("two tenants have the name `{}`; each needs its own", tenant.name));
            }
            if tenant.formerly.is_some() && tenant.formerly == other.formerly {
                let (one, two) = (&other.name, &tenant.name);
                root.problem(
                    "tenant",
                    format_args!(
                        "`{one}` and `{two}` have the same `formerly`; the records of a former name go to one tenant"
                    ),
                );
            }
            let share_host = tenant.hosts.is_empty() && other.hosts.is_empty()
                || tenant.hosts.iter().any(|host| other.hosts.contains(host));
            if tenant.path == other.path && share_host && !other.name.is_empty() {
                root.problem(
                    "tenant",
                    format_args!(
                        "`{}` and `{}` have the same URLs; give them different `path` or `hosts`",
                        other.name, tenant.name
                    ),
                );
            }
        }
    }
    check_former_names(root, &tenants);
    tsa::check_reachable(root, &tenants);
    tenants
}

/// A former name is nobody's present one.
fn check_former_names(root: &Section<'_>, tenants: &[TenantConfig]) {
    for (tenant, former) in tenants.iter().filter_map(|tenant| Some((tenant, tenant.formerly.as_ref()?))) {
        if let Some(present) = tenants.iter().find(|other| other.name == *former) {
            root.problem(
                "tenant",
                format_args!(
                    "`{}` was formerly `{former}`, which is the name of {} now; remove `formerly`, or one of them; to exchange two names, go by a third one, with a reload for each step",
                    tenant.name,
                    if present.name == tenant.name { "itself" } else { "another tenant" }
                ),
            );
        }
    }
}

/// Whose file it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// Whether records and answers come from a feed, so that issuers need no sources and their signers no keys.
    pub(super) is_of_replica: bool,
    /// Whether the file has `[feed]`.
    pub(super) has_feed: bool,
    /// Whether it has `[edge]`: others make time-stamps, so that authorities need no keys.
    pub(super) is_edge: bool,
}

/// The tenant's name in a file without `[[tenant]]`.
const BARE: &str = "default";

/// The names of the tenants, and nothing else of them.
pub(super) fn names_in(tables: &toml::Table) -> Vec<String> {
    if tables.contains_key("issuer") || tables.contains_key("tsa") {
        return vec![BARE.to_owned()];
    }
    let tenants = tables.get("tenant").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tenants.iter().filter_map(|tenant| tenant.get("name")?.as_str().map(str::to_owned)).collect()
}

fn read_tenant(section: &mut Section<'_>, bare_name: Option<&str>, of_feed: Role, state_dir: &Path) -> TenantConfig {
    let name = match bare_name {
        Some(name) => Some(name.to_owned()),
        None => read_name(section, "name"),
    };
    let formerly = if section.has("formerly") { read_name(section, "formerly") } else { None };
    let hosts: Vec<_> = section
        .strings("hosts")
        .unwrap_or_default()
        .iter()
        .map(|host| host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
        .collect();
    if let Some(host) = hosts.iter().find(|host| host.is_empty() || host.contains(['/', ' ']) || has_port(host)) {
        section.problem("hosts", format_args!("names `{host}`; expected host names without scheme and port"));
    }
    let path = section.string("path").unwrap_or_else(|| "/".into());
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'%' && b != b'#') {
        section.problem("path", format_args!("is `{path}`; expected a URL path such as `/acme`"));
    }
    let path = path.trim_end_matches('/').to_owned();
    let unlisted = unlisted::read(section);
    let policy = policy::read(section);
    let request_anchors = read_anchors(section, &policy);
    let (presign, together) = presign::read(section, &policy);
    let policy = Policy { together, ..policy };
    let form = ResponseForm {
        responder_id_by_name: section.choice("responder_id", &RESPONDER_IDS).unwrap_or_default(),
        certificates: section.choice("certificates", &CERTIFICATES).unwrap_or_default(),
    };
    if !section.has("issuer") && !section.has("tsa") {
        section.problem("issuer", "is missing; a tenant needs at least one [[tenant.issuer]] or [[tenant.tsa]]");
    }
    let pushes_per_second = section.integer("pushes_per_second", limits::RATE_RANGE);
    let tls_ca = TlsTrust::read(section, "tls_ca");
    let mut per_second = |key| {
        let number = section.integer(key, 1..=i64::from(limits::QUOTA_PER_SECOND_MAX));
        number.and_then(|number| NonZeroU32::new(number as u32))
    };
    let (signatures_per_second, time_stamps_per_second) =
        (per_second("signatures_per_second"), per_second("time_stamps_per_second"));
    let (mut issuers, mut forwarded): (Vec<IssuerConfig>, Vec<ForwardedConfig>) = (Vec::new(), Vec::new());
    section.sections("issuer", |section| {
        if section.has("upstream") {
            forwarded.push(forwarded::read(section, tls_ca.as_ref()));
            return Some(());
        }
        let around = Around { above: &policy, given: &issuers, of_feed, state_dir, tls_ca: tls_ca.as_ref() };
        let issuer = issuer::read(section, around);
        issuers.push(issuer);
        Some(())
    });
    let tsas = tsa::read_all(section, !of_feed.is_edge);
    TenantConfig {
        place: section.place(),
        name: name.unwrap_or_default(),
        formerly,
        hosts,
        path,
        policy,
        signatures_per_second,
        time_stamps_per_second,
        unlisted,
        request_anchors,
        form,
        presign,
        pushes_per_second: pushes_per_second.and_then(|rate| u32::try_from(rate).ok()),
        issuers,
        forwarded,
        tsas,
    }
}

/// The values of `responder_id`, and whether they mean the name.
const RESPONDER_IDS: [(&str, bool); 2] = [("by-key", false), ("by-name", true)];
/// The values of `certificates`.
const CERTIFICATES: [(&str, CertificateInclusion); 3] = [
    ("signer", CertificateInclusion::Signer),
    ("chain", CertificateInclusion::Chain),
    ("none", CertificateInclusion::None),
];

/// Whether the text has a port: `[::1]` has none, `[::1]:80` and `host:80` have one.
fn has_port(host: &str) -> bool {
    host.rfind(':').is_some_and(|colon| !host[colon..].contains(']'))
}

/// Names occur in metrics and paths: letters, digits, `-`, `_` and `.`.
fn read_name(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    if !section.has(key) {
        section.problem(key, "is missing; give it a short name for logs and metrics");
    }
    let name = section.string(key)?;
    let valid = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !valid {
        section.problem(key, format_args!("is `{name}`; expected 1 to 64 letters, digits, `-`, `_` or `.`"));
    }
    valid.then_some(name)
}

/// The file with the CAs of clients that may sign requests.
fn read_anchors(section: &mut Section<'_>, policy: &Policy) -> Option<PathBuf> {
    let wanted = policy.signed_requests != SignedRequests::Ignore;
    match (section.has("request_anchors"), wanted) {
        (false, true) => section.problem(
            "request_anchors",
            "is missing; name the file with the CA certificates (PEM) of the clients that may sign requests",
        ),
        (true, false) => section.problem(
            "request_anchors",
            "has no effect while request signatures are ignored; add `signed_requests = \"verify\"` or remove it",
        ),
        _ => {}
    }
    section.path("request_anchors")
}
