//! Tenants: issuers with their signers and sources (`issuer`), time-stamping authorities (`tsa`), and the policies for
//! them (`policy`).

use std::{fmt, sync::Arc, time::Duration};

use super::Section;
use crate::{
    ocsp::{CertificateInclusion, HashAlgorithm, Policy, ResponseForm, SignedRequests},
    pki::{Certificate, UnixTime, certificates},
};

mod issuer;
mod names;
mod policy;
mod presign;
mod signer;
mod tsa;
mod unlisted;

pub use issuer::{IssuerConfig, Sources};
pub use tsa::TsaConfig;

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
                root.problem("tenant", format_args!("two tenants have the name `{}`; each needs its own", tenant.name));
            }
            let share_host = tenant.hosts.is_empty() && other.hosts.is_empty()
                || tenant.hosts.iter().any(|host| other.hosts.contains(host));
            if tenant.path == other.path && share_host {
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
    tsa::check_all(root, &tenants);
    Some(tenants)
}

fn read_tenant(section: &mut Section<'_>, bare_name: Option<&str>, now: UnixTime) -> Option<Tenant> {
    let name = match bare_name {
        Some(name) => Some(name.to_owned()),
        None => read_name(section),
    };
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
    let said_of_unlisted = unlisted::read(section);
    let policy = policy::read(section, said_of_unlisted);
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
    let issuers = section.sections("issuer", |issuer| {
        let tenant = name.as_deref().unwrap_or_default();
        let own = unlisted::read(issuer);
        let read = issuer::read(issuer, tenant, &policy, form, now)?;
        let fingerprint = read.certificate.issuer_fingerprint();
        if seen.contains(&fingerprint) {
            issuer.problem(
                "certificate",
                "is of an issuer that this tenant already has; put all its sources into one [[issuer]]",
            );
        }
        seen.push(fingerprint);
        let name = issuer.has("name").then(|| read.name.clone());
        name.iter().for_each(|name| names::check_given(issuer, name, &given));
        given.push(name);
        Some((read, own, issuer.later()))
    });
    let mut issuers = unlisted::settle(section, said_of_unlisted, issuers);
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
        section.problem("name", format_args!("is `{name}`; expected 1 to 64 letters, digits, `-`, `_` or `.`"));
    }
    valid.then_some(name)
}

/// The CAs of those who may sign requests: every certificate of the file.
fn read_anchors(section: &mut Section<'_>, policy: &Policy) -> Arc<[Certificate]> {
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
    let path = section.path("request_anchors");
    path.and_then(|path| noted(section, "request_anchors", certificates(&path))).unwrap_or_default().into()
}

fn noted<T>(section: &Section<'_>, key: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
    result.map_err(|error| section.problem(key, error)).ok()
}

#[cfg(test)]
mod tests;
