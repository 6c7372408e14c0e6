//! Which of two CRLs of one scope and kind is later.
//!
//! Purpose: an old CRL that is put back must not release a hold. Invariant: a CRL that follows the last one is later by
//! number and by time, or is the same. Pure: the time is a parameter. It does not know entries.

use aws_lc_rs::digest;

use super::{Crl, CrlNumber};
use crate::{limits, pki::UnixTime};

/// What is kept of a CRL that was taken, for comparison with the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrlMark {
    /// Its cRLNumber.
    pub number: Option<CrlNumber>,
    /// Its thisUpdate.
    pub this_update: UnixTime,
    /// SHA-256 of the signed part; zeros if it was not kept.
    pub digest: [u8; 32],
}

/// Which certificates a CRL covers, and under which key it is signed: zeros if it covers all and is signed with the CA's
/// present key, otherwise SHA-256 of the value of its issuingDistributionPoint. Of another signer (a CRL issuer, or the CA
/// under another key) it begins with [`CrlScope::OTHER`], and is a hash of the signer as well. CRLs of one scope are
/// numbered in one sequence (RFC 5280 section 5.2.3), and only they can release a hold that they have listed (sections
/// 5.2.5 and 5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CrlScope(pub [u8; 32]);

impl CrlScope {
    /// All of the issuer's certificates.
    pub const WHOLE: Self = Self([0; 32]);
    /// How the scopes of other signers begin.
    pub const OTHER: [u8; 4] = [0xff; 4];

    /// Whether another signer has this scope.
    pub fn is_of_other_signer(self) -> bool {
        self.0.starts_with(&Self::OTHER)
    }
}

impl CrlMark {
    pub(super) fn of(tbs: &[u8], number: Option<CrlNumber>, this_update: UnixTime) -> Self {
        let mut mark = Self { number, this_update, digest: [0; 32] };
        mark.digest.copy_from_slice(digest::digest(&digest::SHA256, tbs).as_ref());
        mark
    }

    /// Whether it may follow `taken`, the last CRL; the error says what is odd. An equal number with other content, or
    /// a missing number after one with a number, is as odd as a lower one (RFC 5280 section 5.2.3: they only rise).
    pub fn follows(&self, taken: Option<&Self>) -> Result<(), String> {
        let Some(taken) = taken.filter(|taken| taken.digest != self.digest) else { return Ok(()) };
        match (self.number, taken.number) {
            (None, Some(number)) => {
                return Err(format!("has no cRLNumber, and that of the CRL taken before was {number}"));
            }
            (Some(number), Some(before)) if number < before => {
                return Err(format!(
                    "is older than the CRL taken before (its cRLNumber is lower, {number} after {before}); put the \
                     newest CRL in its place"
                ));
            }
            (Some(number), Some(before)) if number == before && taken.digest != [0; 32] => {
                return Err(format!("has the cRLNumber {number} of the CRL taken before, and says something else"));
            }
            _ => {}
        }
        if self.this_update < taken.this_update {
            return Err(format!(
                "is older than the CRL taken before (its thisUpdate is earlier, {} after {}); put the newest CRL in its place",
                self.this_update, taken.this_update
            ));
        }
        Ok(())
    }

    /// Refuses a thisUpdate in the future: after the CA's clock is corrected, its next CRL would be older than this
    /// one.
    pub fn is_past(&self, now: UnixTime) -> Result<(), String> {
        if self.this_update > now && self.this_update.since(now) > limits::CLOCK_SKEW_MAX {
            return Err(format!(
                "was issued at {}, and it is {now}; check the clocks of its CA and of this machine",
                self.this_update
            ));
        }
        Ok(())
    }
}

impl Crl {
    /// What is kept of it.
    pub fn mark(&self) -> CrlMark {
        self.mark
    }

    /// Which part of the certificates it covers, whoever has signed it: zeros for all of them, otherwise SHA-256 of the value
    /// of its issuingDistributionPoint.
    pub fn part(&self) -> [u8; 32] {
        let mut part = [0; 32];
        if let Some(value) = self.distribution_point().filter(|_| !self.header.coverage.is_complete()) {
            part.copy_from_slice(digest::digest(&digest::SHA256, value).as_ref());
        }
        part
    }

    /// Which certificates it covers, and who has signed it.
    pub fn scope(&self) -> CrlScope {
        let part = self.distribution_point().filter(|_| !self.header.coverage.is_complete());
        let mut context = digest::Context::new(&digest::SHA256);
        match (self.is_own_key, part) {
            (true, None) => return CrlScope::WHOLE,
            (true, Some(part)) => context.update(part),
            (false, part) => {
                context.update(&self.signer);
                context.update(part.unwrap_or_default());
            }
        }
        let mut scope = [0; 32];
        scope.copy_from_slice(context.finish().as_ref());
        if !self.is_own_key {
            scope[..CrlScope::OTHER.len()].copy_from_slice(&CrlScope::OTHER);
        }
        CrlScope(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: Option<u8>, this_update: u64, content: u8) -> CrlMark {
        let number = number.and_then(|number| CrlNumber::from_der_content(&[number]));
        CrlMark { number, this_update: UnixTime(this_update), digest: [content; 32] }
    }

    #[test]
    fn only_a_later_crl_follows() {
        let taken = mark(Some(5), 100, 1);
        for (next, problem) in [
            (mark(Some(5), 100, 1), None),
            (mark(Some(6), 100, 2), None),
            (mark(Some(6), 101, 2), None),
            (mark(Some(4), 101, 2), Some("its cRLNumber is lower, 0x04 after 0x05")),
            (mark(Some(6), 99, 2), Some("its thisUpdate is earlier")),
            (mark(Some(5), 101, 2), Some("says something else")),
            (mark(Some(5), 99, 2), Some("says something else")),
            (mark(None, 101, 2), Some("has no cRLNumber")),
        ] {
            let said = next.follows(Some(&taken));
            assert!(
                said.as_ref().err().is_none_or(|said| problem.is_some_and(|problem| said.contains(problem))),
                "{said:?}"
            );
            assert_eq!(said.is_err(), problem.is_some(), "{next:?}");
            assert_eq!(next.follows(None), Ok(()), "the first one");
        }
        let unnumbered = mark(None, 100, 1);
        assert_eq!(mark(None, 100, 2).follows(Some(&unnumbered)), Ok(()), "two within a second");
        assert_eq!(mark(Some(1), 101, 2).follows(Some(&unnumbered)), Ok(()), "a CA that begins to number");
        assert!(mark(None, 99, 2).follows(Some(&unnumbered)).is_err());
        // An earlier version kept only the number.
        let number_only = mark(Some(5), 0, 0);
        assert_eq!(mark(Some(5), 100, 1).follows(Some(&number_only)), Ok(()));
        assert!(mark(Some(4), 100, 1).follows(Some(&number_only)).is_err());
    }

    #[test]
    fn a_crl_of_the_future_is_refused() {
        let crl = mark(Some(5), 10_000, 1);
        let skew = limits::CLOCK_SKEW_MAX.as_secs();
        assert_eq!(crl.is_past(UnixTime(10_000 - skew)), Ok(()));
        assert!(crl.is_past(UnixTime(9_999 - skew)).is_err());
    }
}
