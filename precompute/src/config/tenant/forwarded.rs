//! An issuer that somebody else's responder answers for: `[[issuer]]` with `upstream`. No file is opened here, and nobody is
//! asked.
//!
//! Nothing of it comes from sources or a feed, and nothing is signed for it; so what belongs to that is refused beside it.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{Place, Section, TlsTrust},
    read_name,
};
use crate::{
    feeder::SourceUrl,
    limits::{MAX_AGE_RANGE, UPSTREAMS_MAX},
};

/// A CA certificate for which another responder answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardedConfig {
    /// Its place in the file.
    pub place: Place,
    /// Its name in metrics and logs; `None` for the certificate's subject.
    pub name: Option<String>,
    /// The file with the CA certificate.
    pub certificate: PathBuf,
    /// The URLs of its responders, in the order of preference.
    pub upstreams: Vec<String>,
    /// How long caches may keep an answer at most; `None` for what the tenant says.
    pub max_age: Option<Duration>,
    /// Whose certificates count for `https://` URLs; `None` for those that the system trusts.
    pub tls_ca: Option<TlsTrust>,
}

/// What an issuer with records of its own may have, and this one may not.
const OWN: [&str; 29] = [
    "index",
    "issued",
    "issued_serials",
    "crl",
    "delta_crl",
    "crls_are_complete",
    "crl_every",
    "fetch_deltas",
    "crl_issuer",
    "sql",
    "pushes",
    "signer",
    "publish",
    "profile",
    "validity",
    "refresh",
    "backdate",
    "serve_for",
    "unlisted",
    "accept_unlisted_as_good",
    "ca_revoked",
    "ca_revoked_since",
    "stale_after",
    "crl_grace",
    "retain_expired",
    "archive_cutoff",
    "cert_hash",
    "crl_references",
    "invalidity_date",
];

/// Reads the section; `tls_ca`: the tenant's own.
pub(super) fn read(section: &mut Section<'_>, tls_ca: Option<&TlsTrust>) -> ForwardedConfig {
    let own: Vec<_> = OWN.into_iter().filter(|key| section.has(key)).collect();
    for key in &own {
        section.problem(key, "stands beside `upstream`, by which another responder answers for this CA: records and signers of its own are of no use; remove one of the two");
    }
    section.leave_to_others(&own);
    if !section.has("certificate") {
        section.problem("certificate", "is missing; name the CA certificate (PEM or DER)");
    }
    let certificate = section.path("certificate").unwrap_or_default();
    let name = if section.has("name") { read_name(section, "name") } else { None };
    let upstreams = upstreams(section, "upstream", "http://ocsp.ca.example");
    let max_age = section.duration("max_age", MAX_AGE_RANGE);
    let tls_ca = TlsTrust::read(section, "tls_ca").or_else(|| tls_ca.cloned());
    ForwardedConfig { place: section.place(), name, certificate, upstreams, max_age, tls_ca }
}

/// The URLs of responders, one or a list; `example` shows how one is written.
pub fn upstreams(section: &mut Section<'_>, key: &'static str, example: &str) -> Vec<String> {
    let written = section.texts(key, "a URL, or a list of URLs").unwrap_or_default();
    let (count, most) = (written.len(), UPSTREAMS_MAX);
    if section.has(key) && !(1..=most).contains(&count) {
        section.problem(key, format_args!("names {count}; name 1 to {most} responders, such as `{example}`"));
    }
    let mut urls = Vec::new();
    for text in written {
        let url = match text.parse::<SourceUrl>() {
            Ok(url) => url.without_secrets().filter(|url| !url.contains('?')),
            Err(problem) => {
                section.problem(key, problem);
                continue;
            }
        };
        match url {
            None => section.problem(
                key,
                "has a user name, a password or a query in it, and a responder is asked without; write scheme, host and path alone",
            ),
            Some(url) if urls.contains(&url) => {
                section.problem(key, format_args!("names {url} twice; name each once"));
            }
            Some(url) => urls.push(url),
        }
    }
    urls
}
