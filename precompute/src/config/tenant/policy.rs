//! Reads how a tenant answers, and for how long what one of its issuers says is valid.
//!
//! Invariant: what an issuer says counts before what its tenant says, and a key before the profile that stands beside it;
//! an issuer's profile counts before its tenant's keys, so that `profile` alone always means the whole profile. It does
//! not know issuers, or what is said of unlisted serials.

use std::time::Duration;

use super::{super::Section, DAY, HOUR, in_words};
use crate::{
    limits,
    ocsp::{CaRevoked, Carries, NoncePolicy, Policy, Profile, Refresh, Share, SignedRequests},
};

/// The keys that a tenant and each of its issuers may have.
const KEYS: [&str; 10] = [
    "profile",
    "validity",
    "refresh",
    "backdate",
    "serve_for",
    "max_age",
    "stale_after",
    "crl_grace",
    "retain_expired",
    "archive_cutoff",
];

/// The policy in a tenant's section, except for unlisted serials.
pub(super) fn read(section: &mut Section<'_>) -> Policy {
    let default = read_times(section, &Policy::DEFAULT);
    Policy {
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
        ..default
    }
}

/// What a tenant's or an issuer's section says about time; for the rest, `above` counts.
pub(super) fn read_times(section: &mut Section<'_>, above: &Policy) -> Policy {
    let says_something = KEYS.iter().fold(false, |says, key| section.has(key) | says);
    let above = section.choice("profile", &Profile::WORDS).map_or(*above, |profile| profile.applied_to(*above));
    let policy = Policy {
        validity: section.duration("validity", limits::VALIDITY_RANGE).unwrap_or(above.validity),
        refresh: section.share("refresh", Share::MIN..=Share::MAX).map_or(above.refresh, Refresh::Share),
        backdate: section.duration("backdate", Duration::ZERO..=limits::BACKDATE_MAX).unwrap_or(above.backdate),
        serve_for: section.duration("serve_for", limits::SERVE_FOR_RANGE).unwrap_or(above.serve_for),
        max_age: section.duration("max_age", limits::MAX_AGE_RANGE).unwrap_or(above.max_age),
        stale_after: section.duration("stale_after", 2 * HOUR..=3650 * DAY).unwrap_or(above.stale_after),
        crl_grace: section.duration("crl_grace", Duration::ZERO..=limits::CRL_GRACE_MAX).unwrap_or(above.crl_grace),
        retain_expired: section
            .duration("retain_expired", Duration::ZERO..=36_500 * DAY)
            .unwrap_or(above.retain_expired),
        archive_cutoff: section.boolean("archive_cutoff").unwrap_or(above.archive_cutoff),
        ca_revoked: section
            .choice("ca_revoked", &[("it_alone", CaRevoked::ItAlone), ("all", CaRevoked::All)])
            .unwrap_or(above.ca_revoked),
        carries: Carries {
            cert_hash: section.boolean("cert_hash").unwrap_or(above.carries.cert_hash),
            crl_reference: section.boolean("crl_references").unwrap_or(above.carries.crl_reference),
            invalidity_date: section.boolean("invalidity_date").unwrap_or(above.carries.invalidity_date),
        },
        ..above
    };
    if says_something {
        check(section, &policy);
    }
    policy
}

/// When an issuer's own certificate was revoked by the operator's word, which counts before what its own issuer lists.
pub(super) fn ca_revoked_since(section: &mut Section<'_>) -> Option<CaRevoked> {
    section.instant("ca_revoked_since").map(CaRevoked::AllSince)
}

/// Tells what cannot be, and what the rules of the profile forbid.
fn check(section: &Section<'_>, policy: &Policy) {
    if policy.archive_cutoff && policy.retain_expired.is_zero() {
        section.problem(
            "archive_cutoff",
            "says how long the status of expired certificates is kept, which is not at all; add `retain_expired = \"2555d\"` or the like",
        );
    }
    if policy.backdate > policy.validity / 2 {
        let (backdate, validity) = (in_words(policy.backdate), in_words(policy.validity));
        let key = if section.has("backdate") { "backdate" } else { "validity" };
        section.problem(
            key,
            format_args!(
                "does not fit: answers are valid for {validity} (`validity`) and thisUpdate is set back by {backdate} (`backdate`), which has to be half of that at most; shorten `backdate`"
            ),
        );
        return;
    }
    for (key, doubt) in policy.doubts(in_words) {
        section.warning(key, doubt);
    }
}
