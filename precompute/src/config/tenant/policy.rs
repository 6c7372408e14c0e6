//! Reads how a tenant answers. It does not know issuers.

use std::time::Duration;

use super::{super::Section, DAY, HOUR};
use crate::{
    limits,
    ocsp::{NoncePolicy, Policy, SignedRequests},
};

/// The policy in a tenant's section, except for unlisted serials.
pub(super) fn read(section: &mut Section<'_>) -> Policy {
    let default = Policy::DEFAULT;
    let policy = Policy {
        validity: section.duration("validity", 8 * HOUR..=10 * DAY).unwrap_or(default.validity),
        unlisted: default.unlisted,
        stale_after: section.duration("stale_after", 2 * HOUR..=3650 * DAY).unwrap_or(default.stale_after),
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
            "says how long the status of expired certificates is kept, which is not at all; add `retain_expired = \"2555d\"` or the like",
        );
    }
    policy
}
