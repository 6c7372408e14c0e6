//! How a tenant answers.

use std::time::Duration;

use super::{super::Section, DAY, HOUR};
use crate::limits;

/// How a tenant answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// From thisUpdate to nextUpdate.
    pub validity: Duration,
    /// What is said of serials that no source lists.
    pub unlisted: Unlisted,
    /// How long after the sources were last in order, or the CRL went out of date, answers are still signed.
    pub stale_after: Duration,
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
        stale_after: limits::STALE_AFTER_DEFAULT,
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

/// The policy that stands in a tenant's section; `unlisted` is what it says of unlisted serials.
pub(super) fn read(section: &mut Section<'_>, unlisted: Option<Unlisted>) -> Policy {
    let default = Policy::DEFAULT;
    let policy = Policy {
        validity: section.duration("validity", 8 * HOUR..=10 * DAY).unwrap_or(default.validity),
        unlisted: unlisted.unwrap_or(default.unlisted),
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
            "tells for how long expired certificates are still known, which is not at all; add `retain_expired = \"2555d\"` or the like",
        );
    }
    policy
}
