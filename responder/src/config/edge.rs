//! `[edge]`: the replicas that sign what this one cannot, and that it has no secret of its own.
//!
//! Invariant: a file with `[edge]` names no key of a signer, no PIN and no key of a writer; one that does is refused with the
//! reason, so that whoever takes the machine over finds nothing to sign with. It opens nothing.

use std::time::Duration;

use precompute::config::{Config as Common, KeyConfig, Place, Section, TlsTrust, upstreams};

use crate::limits::upstream as limits;

/// `[edge]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Its place in the file.
    pub place: Place,
    /// The URLs of replicas, in the order of preference.
    pub upstreams: Vec<String>,
    /// Whose certificates count for `https://` URLs; `None` for those that the system trusts.
    pub tls_ca: Option<TlsTrust>,
    /// How long a preferred replica has to answer before it is gone back to.
    pub fail_back: Duration,
}

/// Reads the section.
pub(super) fn read(section: &mut Section<'_>) -> Option<Edge> {
    if !section.has("upstreams") {
        section.problem(
            "upstreams",
            "is missing; name the replicas that sign, such as `[\"https://ps1:8443\", \"https://ps2:8443\"]`",
        );
    }
    let upstreams = upstreams(section, "upstreams", "https://ps1.example:8443");
    let tls_ca = TlsTrust::read(section, "tls_ca");
    let fail_back = section.duration("fail_back", limits::FAIL_BACK_RANGE).unwrap_or(limits::FAIL_BACK_DEFAULT);
    Some(Edge { place: section.place(), upstreams, tls_ca, fail_back })
}

const WHY: &str = "has no place beside `[edge]`: an edge holds no key and no PIN, and passes on what has to be signed";

/// Checks that the rest of the file is that of an edge.
pub(super) fn check(root: &Section<'_>, common: &Common) {
    if !root.has("feed") {
        root.problem("edge", "needs `[feed]`, from which an edge has its records and answers; add it");
        return;
    }
    let has_key = |key: &KeyConfig| *key != KeyConfig::Elsewhere;
    for tenant in &common.tenants {
        let of_issuers = tenant.issuers.iter().flat_map(|issuer| {
            let name = issuer.name.as_deref().unwrap_or("without a name");
            issuer.signers.iter().map(move |signer| (format!("issuer {name}"), signer))
        });
        let of_tsas = tenant.tsas.iter().map(|tsa| (format!("TSA {}", tsa.name), &tsa.signer));
        for (whose, _) in of_issuers.chain(of_tsas).filter(|(_, signer)| has_key(&signer.key)) {
            let name = &tenant.name;
            root.problem("edge", format_args!("stands in a file with a `key` of a signer ({whose} of the tenant `{name}`), which {WHY}; remove `key` there, and leave `certificate`"));
        }
    }
    if common.feed.as_ref().is_some_and(|feed| feed.key.is_some()) {
        root.problem("edge", format_args!("stands in a file with `feed.key`, a writer's, which {WHY}; remove it"));
    }
}
