//! The closed set of ways in which a request can end badly.
//!
//! Invariant: every answer that is not right is counted under exactly one kind, and reports, tests and `--expect` all
//! take their names from here. It does not know how a kind is detected.

use serde::Serialize;

/// Whose fault it looks like, and what it means for the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// No answer, or one that says so: counted as `errors`.
    Failed,
    /// An answer that must not have been given: counted as `wrong`, and makes the exit status non-zero.
    Wrong,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $class:ident $variant:ident = $name:literal,)*) => {
        /// One way of not being right.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Kind { $($(#[doc = $doc])* $variant,)* }

        impl Kind {
            /// Every kind, in the order of the report.
            pub(crate) const ALL: &'static [Kind] = &[$(Kind::$variant,)*];
            /// How many there are: the length of a table of counters.
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// The name in tables, JSON and tests.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// Failed or wrong.
            pub(crate) const fn class(self) -> Class {
                match self { $(Kind::$variant => Class::$class,)* }
            }
        }
    };
}

kinds! {
    /// The TCP connection was refused, unreachable or timed out.
    Failed Connect = "connect",
    /// No complete response within `--timeout`.
    Failed Timeout = "timeout",
    /// The peer closed or reset the connection while it owed a response.
    Failed Reset = "reset",
    /// An HTTP status other than 200.
    Failed HttpStatus = "http_status",
    /// OCSPResponseStatus malformedRequest (1).
    Failed OcspMalformedRequest = "ocsp_malformed_request",
    /// OCSPResponseStatus internalError (2).
    Failed OcspInternalError = "ocsp_internal_error",
    /// OCSPResponseStatus tryLater (3).
    Failed OcspTryLater = "ocsp_try_later",
    /// OCSPResponseStatus sigRequired (5).
    Failed OcspSigRequired = "ocsp_sig_required",
    /// OCSPResponseStatus unauthorized (6).
    Failed OcspUnauthorized = "ocsp_unauthorized",
    /// PKIFailureInfo badAlg.
    Failed TspBadAlg = "tsp_bad_alg",
    /// PKIFailureInfo badRequest.
    Failed TspBadRequest = "tsp_bad_request",
    /// PKIFailureInfo badDataFormat.
    Failed TspBadDataFormat = "tsp_bad_data_format",
    /// PKIFailureInfo timeNotAvailable.
    Failed TspTimeNotAvailable = "tsp_time_not_available",
    /// PKIFailureInfo unacceptedPolicy.
    Failed TspUnacceptedPolicy = "tsp_unaccepted_policy",
    /// PKIFailureInfo unacceptedExtension.
    Failed TspUnacceptedExtension = "tsp_unaccepted_extension",
    /// PKIFailureInfo addInfoNotAvailable.
    Failed TspAddInfoNotAvailable = "tsp_add_info_not_available",
    /// PKIFailureInfo systemFailure.
    Failed TspSystemFailure = "tsp_system_failure",
    /// PKIStatus that grants nothing, without a failInfo that RFC 3161 names.
    Failed TspNotGranted = "tsp_not_granted",
    /// Not HTTP, not DER, or not the structure its RFC prescribes.
    Wrong Malformed = "malformed",
    /// No SingleResponse for the CertID of the request: serial, issuer hashes or hash algorithm differ.
    Wrong CertIdMismatch = "cert_id_mismatch",
    /// nextUpdate has passed, or thisUpdate is older than `--max-age`.
    Wrong Expired = "expired",
    /// thisUpdate or producedAt lies in the future.
    Wrong NotYetValid = "not_yet_valid",
    /// The signature does not verify under the signer's key.
    Wrong BadSignature = "bad_signature",
    /// The signer is neither the issuer nor certified by it for this purpose, now.
    Wrong UntrustedSigner = "untrusted_signer",
    /// Signed with an algorithm that this program cannot check.
    Wrong UnsupportedAlgorithm = "unsupported_algorithm",
    /// good, revoked or unknown against what the index says; or another revocation time or reason.
    Wrong WrongStatus = "wrong_status",
    /// Signed, and not revoked, about a certificate that the same replica has called revoked before.
    Wrong WentBack = "went_back",
    /// The nonce is missing or is not the request's.
    Wrong NonceMismatch = "nonce_mismatch",
    /// A time-stamp over another messageImprint.
    Wrong ImprintMismatch = "imprint_mismatch",
    /// A time-stamp under another policy than was asked for.
    Wrong PolicyMismatch = "policy_mismatch",
    /// genTime is further from now than `--skew` and the stated accuracy allow.
    Wrong GenTime = "gen_time",
    /// contentType, messageDigest or signingCertificate attributes are missing or do not fit.
    Wrong SignedAttributes = "signed_attributes",
    /// A time-stamp's serialNumber that another token carried.
    Wrong RepeatedSerial = "repeated_serial",
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Counters, one a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds([u64; Kind::COUNT]);

impl Default for Kinds {
    fn default() -> Self {
        Self([0; Kind::COUNT])
    }
}

impl Kinds {
    pub(crate) fn add(&mut self, kind: Kind, n: u64) {
        self.0[kind as usize] += n;
    }

    pub(crate) fn get(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Sum over one class.
    pub(crate) fn of(&self, class: Class) -> u64 {
        Kind::ALL.iter().filter(|k| k.class() == class).map(|k| self.get(*k)).sum()
    }

    /// The kinds that occurred.
    pub(crate) fn nonzero(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.iter().map(|k| (*k, self.get(*k))).filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_counter_and_name() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|k| k.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::COUNT);
        let mut kinds = Kinds::default();
        for (i, kind) in Kind::ALL.iter().enumerate() {
            kinds.add(*kind, i as u64 + 1);
        }
        for (i, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kinds.get(*kind), i as u64 + 1, "{}", kind.name());
        }
    }

    #[test]
    fn failed_and_wrong_are_counted_apart() {
        let mut kinds = Kinds::default();
        kinds.add(Kind::Timeout, 3);
        kinds.add(Kind::BadSignature, 2);
        assert_eq!((kinds.of(Class::Failed), kinds.of(Class::Wrong)), (3, 2));
        assert_eq!(kinds.nonzero().count(), 2);
    }
}
