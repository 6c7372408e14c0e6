//! What clients would object to in an issuer's signers.
//!
//! A certificate that was valid at the start may expire, or be revoked by the CA that it answers for. Then another
//! signer of the issuer signs in its place, and answers kept from the old one are no longer looked up. If there is no
//! other, answers go on, because refusing would not give a better one. It does not know who is told.

use std::{fmt, time::Duration};

use super::ActiveIssuer;
use crate::pki::{Serial, UnixTime};

/// What is wrong with an issuer's signers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SignerFault {
    /// All of them have expired; the last one at this time.
    Expired(UnixTime),
    /// None of them is valid yet.
    NoneYet,
    /// The issuer itself lists this signer's certificate as revoked.
    Revoked {
        /// The serial of the certificate.
        serial: Serial,
        /// Whether another signer signs in its place.
        replaced: bool,
    },
}

impl fmt::Display for SignerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(end) => write!(f, "the signing certificate expired at {end}; renew it"),
            Self::NoneYet => f.write_str("no signing certificate is valid yet; check this machine's clock"),
            Self::Revoked { serial, replaced: false } => write!(
                f,
                "the signing certificate {serial} is revoked by its CA: clients that check it reject its answers; name another signer"
            ),
            Self::Revoked { serial, replaced: true } => write!(
                f,
                "the signing certificate {serial} is revoked by its CA: the issuer's other signers sign in its place; remove it, or name another"
            ),
        }
    }
}

impl ActiveIssuer {
    /// When the last of its signers ends.
    pub fn not_after(&self) -> UnixTime {
        self.signers.all().iter().map(|signer| signer.not_after()).max().unwrap_or(UnixTime(0))
    }

    /// Whether some signer is valid.
    pub fn can_sign(&self, now: UnixTime) -> bool {
        self.signers.choose(now, Duration::ZERO, std::iter::empty()).is_some()
    }

    /// Whether the key of some signer is here, so that answers that nobody has signed ahead are signed.
    pub fn has_key(&self) -> bool {
        self.signers.all().iter().any(|signer| signer.signing().is_some())
    }

    /// What is wrong with its signers.
    pub fn signer_faults(&self, now: UnixTime) -> impl Iterator<Item = SignerFault> {
        let end = self.not_after();
        let none = if end <= now { SignerFault::Expired(end) } else { SignerFault::NoneYet };
        let none = (!self.can_sign(now)).then_some(none);
        let is_revoked = |serial: &Serial| self.state.records.is_revoked(serial);
        let signers = || self.signers.all().iter();
        let replaced =
            signers().any(|signer| signer.check_validity(now).is_ok() && !signer.serial().is_some_and(is_revoked));
        let revoked = signers().filter_map(|signer| signer.serial()).filter(move |serial| is_revoked(serial));
        none.into_iter().chain(revoked.map(move |serial| SignerFault::Revoked { serial: *serial, replaced }))
    }

    /// Notes which signers are revoked now: they sign no more, and those no longer revoked sign again. True if anything
    /// has changed.
    pub fn note_revoked_signers(&self) -> bool {
        self.signers.note_revoked(|serial| self.state.records.is_revoked(serial))
    }
}
