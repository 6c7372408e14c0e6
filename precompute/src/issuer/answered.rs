//! What a client that asks about a certificate is told now, for those who look the certificate up.
//!
//! Purpose: a record says what is known of a certificate; what is answered may be something else, because it has expired,
//! because nothing may be signed, or because the policy says so. Invariant: it is decided by what answers decide by
//! ([`ActiveIssuer::find`], [`statement`], [`ActiveIssuer::may_be_signed`], [`ActiveIssuer::carried`]), and never by the
//! record alone. It does not know answers that are kept from before, which are served until they end, or whose signers work.

use super::ActiveIssuer;
use crate::{
    ocsp::{CertStatus, OcspError, profile::statement},
    pki::{Serial, UnixTime},
    records::Found,
};

/// What is answered, and why it is not what the record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// `good`, `revoked`, `unknown`, or the error of RFC 6960: `unauthorized`, `try_later`.
    pub status: &'static str,
    /// Why, where the record alone does not say it.
    pub why: Option<String>,
}

impl Answered {
    fn of(status: &'static str, why: impl Into<Option<String>>) -> Self {
        Self { status, why: why.into() }
    }
}

impl ActiveIssuer {
    /// What is answered `now` about a certificate, if it has to be signed for.
    pub fn answered(&self, serial: &Serial, now: UnixTime) -> Answered {
        const LATER: &str = "try_later";
        let Ok(found) = self.find(serial) else {
            return Answered::of(LATER, "nothing was ever read or pushed for this issuer".to_owned());
        };
        let statement = match statement(&self.policy, found, now) {
            Ok(statement) => statement,
            Err(_) => return self.unauthorized(found),
        };
        if self.may_be_signed(now).is_err() {
            let why = "nothing new is signed, because what the sources said counts no longer; an answer from before is served until it ends";
            return Answered::of(LATER, why.to_owned());
        }
        if self.carried(serial, &statement).is_err() {
            return Answered::of(LATER, "`cert_hash` is set, and the hash of the certificate is not known".to_owned());
        }
        let status = match statement.status {
            CertStatus::Good => "good",
            CertStatus::Revoked { .. } => "revoked",
            CertStatus::Unknown => "unknown",
        };
        let why = match (self.state.records.get(serial), self.ca_revoked_since()) {
            (Some(own), _) if found.is_some_and(|found| found.status == own.status) => None,
            (_, Some(since)) if found.is_some() => Some(format!("its CA is revoked since {since}")),
            _ => Some("`unlisted` says so".to_owned()),
        };
        Answered::of(status, why)
    }

    /// A listed certificate is refused for nothing but its end.
    fn unauthorized(&self, found: Option<Found>) -> Answered {
        let why = match found.and_then(|found| found.not_after) {
            Some(end) if self.policy.retain_expired.is_zero() => format!("it expired at {end}"),
            Some(end) => format!("it expired at {end}, and the time of `retain_expired` is over"),
            None => "`unlisted` says so".to_owned(),
        };
        Answered::of("unauthorized", why)
    }

    /// Whether anything may be said with the present time: what is too old is not, while answers signed earlier state their
    /// own. Gives the latest nextUpdate that the sources allow.
    pub fn may_be_signed(&self, now: UnixTime) -> Result<UnixTime, OcspError> {
        let told_until = self.told_until();
        if self.state.health.is_stale(now, self.policy.stale_after) || told_until <= now {
            return Err(OcspError::TryLater);
        }
        Ok(told_until)
    }
}
