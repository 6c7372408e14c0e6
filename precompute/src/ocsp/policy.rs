//! How a tenant answers, or one of its issuers, as values: the answer for unlisted serials, validity, and the treatment of
//! requests.
//!
//! Pure. It does not know where a policy is written, or who sends requests.

use std::time::Duration;

use super::{
    Carries, Together,
    freshness::{AS_LONG_AS_VALID, Profile, Refresh},
};
use crate::{limits, pki::UnixTime};

/// How a tenant answers, or one of its issuers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whose rules the times follow.
    pub profile: Profile,
    /// From the signature to nextUpdate.
    pub validity: Duration,
    /// When the replacement of an answer is signed.
    pub refresh: Refresh,
    /// How long before the signature thisUpdate is, for clients whose clocks are slow.
    pub backdate: Duration,
    /// How long after its signature an answer is given out; nextUpdate may be later.
    pub serve_for: Duration,
    /// How long caches may keep an answer at most.
    pub max_age: Duration,
    /// The answer for serials that no source lists.
    pub unlisted: Unlisted,
    /// How long after the sources were last in order, or a CRL beside other sources went out of date, answers are still
    /// signed.
    pub stale_after: Duration,
    /// How long after its end what a CRL alone says is still told.
    pub crl_grace: Duration,
    /// How long after a certificate's end its status is still reported.
    pub retain_expired: Duration,
    /// Whether answers state that period (RFC 6960 section 4.4.4).
    pub archive_cutoff: bool,
    /// Which hash algorithms of CertIDs are answered together.
    pub together: Together,
    /// What becomes of the certificates of a CA whose own is revoked.
    pub ca_revoked: CaRevoked,
    /// What answers carry beside the status.
    pub carries: Carries,
    /// The treatment of a request's nonce.
    pub nonce: NoncePolicy,
    /// The treatment of a request's signature.
    pub signed_requests: SignedRequests,
    /// How many CertIDs one request may have.
    pub cert_ids_max: u8,
    /// Whether a POST must be of type application/ocsp-request.
    pub strict_content_type: bool,
    /// Whether `internalError` comes with HTTP status 503 instead of 200.
    pub internal_error_503: bool,
    /// Whether answers tell caches the keys by which they can be purged.
    pub surrogate_keys: bool,
}

impl Policy {
    /// The policy of a file that sets nothing.
    pub const DEFAULT: Self = Self {
        profile: Profile::Tls,
        validity: Duration::from_secs(4 * 86_400),
        refresh: Refresh::BaselineRequirements,
        backdate: Duration::ZERO,
        serve_for: AS_LONG_AS_VALID,
        max_age: AS_LONG_AS_VALID,
        unlisted: Unlisted::Unauthorized,
        stale_after: limits::STALE_AFTER_DEFAULT,
        crl_grace: Duration::ZERO,
        retain_expired: Duration::ZERO,
        archive_cutoff: false,
        together: Together::NONE,
        ca_revoked: CaRevoked::ItAlone,
        carries: Carries::NONE,
        nonce: NoncePolicy::Ignore,
        signed_requests: SignedRequests::Ignore,
        cert_ids_max: limits::CERT_IDS_MAX,
        strict_content_type: false,
        internal_error_503: false,
        surrogate_keys: true,
    };
}

/// The treatment of a request's nonce (RFC 9654).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoncePolicy {
    /// Answered without it, so that answers can be kept.
    Ignore,
    /// Repeated in an answer signed for this request alone.
    Echo,
    /// Like [`NoncePolicy::Echo`], and a request without one is malformed.
    Require,
}

/// The treatment of a request's signature (RFC 6960 section 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignedRequests {
    /// It is ignored.
    Ignore,
    /// If present, it must verify under the tenant's anchors.
    Verify,
    /// It must be present and verify.
    Require,
}

/// The answer for serials that no source lists (RFC 6960 section 2.2, RFC 9919, BR 4.9.10).
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

/// What becomes of the certificates of a CA whose own certificate is revoked (RFC 6960 section 2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaRevoked {
    /// Nothing.
    ItAlone,
    /// They are revoked with it, once its own issuer lists it as revoked.
    All,
    /// They are revoked with it, which is revoked since then.
    AllSince(UnixTime),
}

/// How answers name their signer and what they carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ResponseForm {
    /// ResponderID byName instead of byKey.
    pub responder_id_by_name: bool,
    /// Which certificates they carry.
    pub certificates: CertificateInclusion,
}

/// Which certificates a response carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CertificateInclusion {
    /// The signer's, unless it is the CA itself.
    #[default]
    Signer,
    /// Like [`CertificateInclusion::Signer`], and the certificates after it in its file.
    Chain,
    /// None: clients have them already.
    None,
}
