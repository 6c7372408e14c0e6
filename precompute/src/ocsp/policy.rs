//! How a tenant answers, as values: what is said of unlisted serials, for how long, and what is done with requests.
//!
//! Pure. It does not know where a policy is written, nor who asks.

use std::time::Duration;

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

/// How answers name their signer and what they carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ResponseForm {
    /// ResponderID byName instead of byKey.
    pub responder_id_by_name: bool,
    /// Which certificates go along.
    pub certificates: CertificateInclusion,
}

/// Which certificates a response carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CertificateInclusion {
    /// The signer's, unless it is the CA itself.
    #[default]
    Signer,
    /// As [`CertificateInclusion::Signer`], and those that stand behind it in its file.
    Chain,
    /// None: clients have them already.
    None,
}
