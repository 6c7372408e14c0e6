//! What is pushed: statements about single certificates that do not come from a source.
//!
//! Purpose: the values of a push and of its outcome. Invariant: a refusal says what the record says now, and what to do.
//! It does not know how a push is decided (`reconcile`), or who sends it.

use std::fmt;

use crate::{
    pki::{Reason, Serial, UnixTime},
    records::CertificateHash,
    state_dir::StateError,
};

/// One statement about one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Push {
    /// The certificate's serial number.
    pub serial: Serial,
    /// What is to become of it.
    pub order: Order,
    /// The SHA-256 hash of the certificate, if that was given.
    pub certificate_sha256: Option<CertificateHash>,
}

impl Push {
    /// One whose certificate is not known.
    pub const fn new(serial: Serial, order: Order) -> Self {
        Self { serial, order, certificate_sha256: None }
    }
}

/// What is to become of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// It was issued.
    Add {
        /// The end of its validity, if known.
        not_after: Option<UnixTime>,
    },
    /// It is revoked, or put on hold where the reason is [`Reason::CertificateHold`].
    Revoke {
        /// When; `None` for now.
        time: Option<UnixTime>,
        /// Why.
        reason: Reason,
        /// Whether that counts also where nobody has listed the certificate.
        even_unlisted: bool,
    },
    /// Its hold ends.
    Release,
}

impl Order {
    /// The same once it was decided: whoever was listed then may have lost its line since, and a revocation that is in
    /// the book counts all the same.
    pub(crate) const fn once_decided(self) -> Self {
        match self {
            Self::Revoke { time, reason, .. } => Self::Revoke { time, reason, even_unlisted: true },
            other => other,
        }
    }
}

/// What became of a push that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The record says so now.
    Done,
    /// The record had said so before.
    Unchanged,
    /// The push holds it no more, but a source does.
    StillHeld,
}

/// Why a push was not taken. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Nobody has listed the certificate.
    NotListed,
    /// It is revoked, and stays so as it is.
    AlreadyRevoked {
        /// Since when.
        time: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// It is revoked, which is never taken back.
    Unrevoking {
        /// Since when.
        time: UnixTime,
        /// Why.
        reason: Reason,
    },
    /// It is good: there is no hold to end.
    NotOnHold,
    /// A source holds it, and only that source can release it.
    HeldBySource,
    /// The time of the revocation lies further in the future than clocks differ.
    InTheFuture {
        /// The time.
        time: UnixTime,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str(
                "no source and no push has listed this certificate; check the serial number and the issuer, or add it first",
            ),
            Self::AlreadyRevoked { time, reason } => {
                write!(f, "it has been revoked since {time} ({}), which stays as it is", reason.name())
            }
            Self::Unrevoking { time, reason } => write!(
                f,
                "it has been revoked since {time} ({}), and a revocation is never taken back; only a hold can be released",
                reason.name()
            ),
            Self::NotOnHold => f.write_str("it is not on hold"),
            Self::HeldBySource => {
                f.write_str("a source of this issuer has it on hold: release it there, and the next read takes that up")
            }
            Self::InTheFuture { time } => {
                write!(f, "the time of revocation {time} is in the future; give a time that is not later than now")
            }
        }
    }
}

/// Why pushes were not taken at all. Nothing is shown. A push that was not acknowledged may be on disk all the same, so
/// it may count after a restart.
#[derive(Debug)]
pub enum PushError {
    /// The book cannot be written.
    NotDurable(StateError),
    /// The idempotency key was used for another request.
    KeyReused,
    /// The issuer belongs to a configuration that is not adopted yet, or is no longer.
    NotServed,
    /// Another process leads.
    StandsBy,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDurable(error) => write!(f, "nothing was taken, because it cannot be made durable: {error}"),
            Self::KeyReused => {
                f.write_str("this idempotency key was used for another request; give each request a key of its own")
            }
            Self::NotServed => f.write_str("the issuer is not in the present configuration"),
            Self::StandsBy => f.write_str("this writer stands by and takes no pushes; push to the one that leads"),
        }
    }
}

impl std::error::Error for PushError {}
