//! Whether an answer is the right one: everything that can be said without public-key arithmetic.
//!
//! Invariant: pure; the same body, question, knowledge and time always give the same verdict. It does not know HTTP,
//! nor signatures (`proof`), and reads no clock.

use crate::ocsp::request::IssuerId;
use crate::ocsp::response::{CertStatus, OcspResponse};
use crate::outcome::Kind;
use crate::time::UnixSeconds;
use clap::ValueEnum;

/// CRLReason certificateHold.
const CERTIFICATE_HOLD: u8 = 6;

/// What is known beforehand about one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// Nothing: any signed status will do.
    Any,
    /// The index lists it as expired: as `Any`, and its responder may also have dropped it.
    Expired,
    Good,
    /// With the time and the reason of the index (`None`: unspecified, or one that OCSP cannot express).
    Revoked {
        at: UnixSeconds,
        reason: Reason,
    },
    /// It was never issued.
    Unlisted,
}

/// A revocation reason, as far as the index fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Not in the index, or in a form that OCSP has no code for.
    Unfixed,
    /// CRLReason; 0 (unspecified) equals absence.
    Code(u8),
}

/// What a responder may say about serials that were never issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unlisted {
    /// `unauthorized`, `unknown` or `revoked`: all that RFC 6960 and the Baseline Requirements allow
    NotGood,
    /// the error response `unauthorized`
    Unauthorized,
    /// a signed `unknown`
    Unknown,
    /// a signed `revoked` (RFC 6960 section 2.2, extended revoke)
    Revoked,
    /// a signed `good`
    Good,
    /// anything that is well-formed
    Any,
}

/// What makes an answer right, the same for every certificate of a run.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) issuer: IssuerId,
    pub(crate) unlisted: Unlisted,
    pub(crate) status_may_change: bool,
    pub(crate) nonce_may_be_missing: bool,
    /// Tolerated difference between the two clocks.
    pub(crate) skew_s: i64,
    pub(crate) max_age_s: Option<i64>,
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) serial: &'a [u8],
    /// Empty: none was sent.
    pub(crate) nonce: &'a [u8],
    pub(crate) expectation: Expectation,
}

/// An acceptable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// `unauthorized` where that is the right thing to say.
    Unsigned,
    Signed(Answer),
}

/// A signed answer that is right if its signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: CertStatus,
    /// The verdict holds, for the same bytes, between these times.
    pub(crate) right_from: UnixSeconds,
    /// See `right_from`.
    pub(crate) right_until: UnixSeconds,
}

/// Judges the body of a 200 response.
pub(crate) fn judge(rules: &Rules, question: &Question<'_>, body: &[u8], now: UnixSeconds) -> Result<Accepted, Kind> {
    let response = match OcspResponse::read(body).map_err(|_| Kind::Malformed)? {
        OcspResponse::Error(Kind::OcspUnauthorized) if may_be_unauthorized(rules, question.expectation) => {
            return Ok(Accepted::Unsigned);
        }
        OcspResponse::Error(kind) => return Err(kind),
        OcspResponse::Basic(basic) => basic,
    };
    let single = response
        .single_for(&rules.issuer, question.serial)
        .map_err(|_| Kind::Malformed)?
        .ok_or(Kind::CertIdMismatch)?;
    match response.nonce {
        None if question.nonce.is_empty() || rules.nonce_may_be_missing => {}
        Some(nonce) if !question.nonce.is_empty() && nonce == question.nonce => {}
        // A nonce that nobody asked for is another client's answer only if it was cached; it harms nothing.
        Some(_) if question.nonce.is_empty() => {}
        _ => return Err(Kind::NonceMismatch),
    }
    let right_from = single.this_update.max(response.produced_at).saturating_sub(rules.skew_s);
    let aged = rules.max_age_s.map_or(i64::MAX, |age| single.this_update.saturating_add(age));
    let right_until = single.next_update.unwrap_or(i64::MAX).min(aged).saturating_add(rules.skew_s);
    if single.next_update.is_some_and(|next| next < single.this_update) {
        return Err(Kind::Malformed);
    }
    if now < right_from {
        return Err(Kind::NotYetValid);
    }
    if now > right_until {
        return Err(Kind::Expired);
    }
    if !is_expected(rules, question.expectation, single.status) {
        return Err(Kind::WrongStatus);
    }
    Ok(Accepted::Signed(Answer { status: single.status, right_from, right_until }))
}

fn may_be_unauthorized(rules: &Rules, expectation: Expectation) -> bool {
    match expectation {
        Expectation::Expired => true,
        Expectation::Unlisted => matches!(rules.unlisted, Unlisted::NotGood | Unlisted::Unauthorized | Unlisted::Any),
        Expectation::Any | Expectation::Good | Expectation::Revoked { .. } => false,
    }
}

fn is_expected(rules: &Rules, expectation: Expectation, status: CertStatus) -> bool {
    use CertStatus as Is;
    match (expectation, status) {
        (Expectation::Any | Expectation::Expired, _) => true,
        (Expectation::Unlisted, status) => matches!(
            (rules.unlisted, status),
            (Unlisted::Any, _)
                | (Unlisted::NotGood | Unlisted::Unknown, Is::Unknown)
                | (Unlisted::NotGood | Unlisted::Revoked, Is::Revoked { .. })
                | (Unlisted::Good, Is::Good)
        ),
        (Expectation::Good, Is::Good) => true,
        (Expectation::Good, Is::Revoked { .. }) => rules.status_may_change,
        (Expectation::Revoked { at, reason }, Is::Revoked { at: says, reason: code }) => {
            let same = at == says && reason_fits(reason, code);
            // A hold may become a revocation for another reason; nothing else about a revocation may change.
            same || (rules.status_may_change && reason == Reason::Code(CERTIFICATE_HOLD))
        }
        // Only a hold can be released.
        (Expectation::Revoked { reason, .. }, Is::Good) => {
            rules.status_may_change && reason == Reason::Code(CERTIFICATE_HOLD)
        }
        _ => false,
    }
}

fn reason_fits(expected: Reason, says: Option<u8>) -> bool {
    match expected {
        Reason::Unfixed => true,
        Reason::Code(code) => code == says.unwrap_or(0),
    }
}
