//! What a key is used for, so that the log can say what happens to requests while nobody signs. It does not know which
//! key.

/// As extendedKeyUsage names it (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyPurpose {
    /// OCSP responses, which are kept and reused.
    OcspSigning {
        /// Whether others sign for the same issuer.
        others: bool,
    },
    /// Time-stamp tokens; each is signed on request.
    TimeStamping,
}

impl KeyPurpose {
    /// What requests get while no key works.
    pub fn while_nobody_signs(self) -> &'static str {
        match self {
            Self::OcspSigning { others: false } => {
                "kept answers are served until nextUpdate, others are refused with tryLater"
            }
            Self::OcspSigning { others: true } => {
                "kept answers are served until nextUpdate, others are signed by the issuer's other valid signers that work, or refused with tryLater"
            }
            Self::TimeStamping => "time-stamps are refused with systemFailure",
        }
    }

    /// What to do about unverified signatures that may be wrong, and where they are.
    pub(super) fn after_wrong_ones(self) -> &'static str {
        match self {
            Self::OcspSigning { .. } => {
                "may be wrong, kept and stored: stop the service, remove `answers.redb`, and set `verify = \"all\"`"
            }
            Self::TimeStamping => {
                "may be wrong and in the hands of clients: set `verify = \"all\"`, and have the tokens of that time verified"
            }
        }
    }
}
