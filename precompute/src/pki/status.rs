//! Certificate status: what RFC 6960 calls CertStatus, with the reasons of RFC 5280. It does not know which
//! certificate.

use std::fmt;

use super::UnixTime;

/// CRLReason of RFC 5280 section 5.3.1, without removeFromCRL, which is an instruction in a
/// delta CRL and never the state of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Reason {
    /// No reason given; omitted from responses (RFC 5280 section 5.3.1 asks for its absence).
    Unspecified = 0,
    /// The subject's key is known or suspected to be compromised.
    KeyCompromise = 1,
    /// The CA's key is.
    CaCompromise = 2,
    /// The subject's name or other information changed.
    AffiliationChanged = 3,
    /// The certificate was replaced.
    Superseded = 4,
    /// No longer needed for its purpose.
    CessationOfOperation = 5,
    /// On hold: the one reason that can be taken back.
    CertificateHold = 6,
    /// A privilege was withdrawn.
    PrivilegeWithdrawn = 9,
    /// The attribute authority's key is compromised.
    AaCompromise = 10,
}

impl Reason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 9] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// The ENUMERATED value.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this ENUMERATED value, if it can be the state of a certificate.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name that RFC 5280's ASN.1 module gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }
}

/// What a source says about a listed certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Listed and not revoked.
    Good,
    /// Revoked, or on hold when the reason is [`Reason::CertificateHold`].
    Revoked {
        /// revocationTime, at most 2106-02-07 (32 bits of seconds).
        time: UnixTime,
        /// The reason, as the source gave it.
        reason: Reason,
    },
}

impl Status {
    /// In one word: `good`, or `revoked`, on hold as well.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// Revoked for good, and not on hold.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Revoked { reason, .. } if !matches!(reason, Reason::CertificateHold))
    }

    /// Whether the change from `self` to `next` is allowed. A final revocation stays final; a hold may be released or
    /// made final.
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Revoked { reason: Reason::CertificateHold, .. }, _) | (Self::Good, _) => true,
            (Self::Revoked { .. }, Self::Revoked { reason, .. }) => reason != Reason::CertificateHold,
            (Self::Revoked { .. }, Self::Good) => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Revoked { time, reason } => write!(f, "revoked {time} {}", reason.name()),
        }
    }
}

/// What is known about one listed certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// Good or revoked.
    pub status: Status,
    /// End of the certificate's validity; `None` if the source does not state it (a CRL).
    pub not_after: Option<UnixTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hold_can_be_taken_back() {
        let revoked = |reason| Status::Revoked { time: UnixTime(1), reason };
        for reason in Reason::ALL {
            let hold = reason == Reason::CertificateHold;
            assert!(Status::Good.may_become(revoked(reason)));
            assert_eq!(revoked(reason).may_become(Status::Good), hold, "{reason:?}");
            assert!(revoked(Reason::CertificateHold).may_become(revoked(reason)));
            assert_eq!(revoked(reason).may_become(revoked(Reason::CertificateHold)), hold);
        }
    }

    #[test]
    fn codes_round_trip_and_remove_from_crl_is_no_state() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        for code in [7, 8, 11, 255] {
            assert_eq!(Reason::from_code(code), None);
        }
    }
}
