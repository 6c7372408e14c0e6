//! Which hash algorithms of CertIDs are answered together: one response with a SingleResponse for each, under one signature.
//!
//! RFC 6960 section 4.2.2.3 has a response answer what was asked; more SingleResponses beside that are allowed, and every
//! client that asks by one of the algorithms finds its own. Such a response is kept, stored and told once, under the first
//! of its algorithms. Invariant: an algorithm belongs to one set, and every set has a first. Pure.

use super::HashAlgorithm;

/// The sets, by algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Together([u8; 4]);

/// Each by itself.
impl Default for Together {
    fn default() -> Self {
        Self::NONE
    }
}

impl Together {
    /// Each by itself.
    pub const NONE: Self = Self([1, 2, 4, 8]);

    /// The same with these in one set, which were in none with others before.
    #[must_use]
    pub fn joining(mut self, algorithms: &[HashAlgorithm]) -> Self {
        let set = algorithms.iter().fold(0, |set, algorithm| set | 1 << *algorithm as u8);
        algorithms.iter().for_each(|algorithm| self.0[*algorithm as usize] = set);
        self
    }

    /// The first of the set of an algorithm.
    #[inline]
    pub fn first(self, algorithm: HashAlgorithm) -> HashAlgorithm {
        HashAlgorithm::ALL[self.0[algorithm as usize].trailing_zeros() as usize % HashAlgorithm::ALL.len()]
    }

    /// Whether an algorithm is alone.
    #[inline]
    pub fn is_alone(self, algorithm: HashAlgorithm) -> bool {
        self.0[algorithm as usize].is_power_of_two()
    }

    /// The set of an algorithm, in the order of [`HashAlgorithm::ALL`].
    pub fn of(self, algorithm: HashAlgorithm) -> impl Iterator<Item = HashAlgorithm> + Clone {
        let set = self.0[algorithm as usize];
        HashAlgorithm::ALL.into_iter().filter(move |other| set & 1 << *other as u8 > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{HashAlgorithm::*, *};

    #[test]
    fn those_that_are_joined_have_one_first_and_the_others_are_alone() {
        let together = Together::NONE.joining(&[Sha512, Sha1]).joining(&[Sha256, Sha384]);
        for (algorithm, first, set) in
            [(Sha1, Sha1, [Sha1, Sha512]), (Sha512, Sha1, [Sha1, Sha512]), (Sha384, Sha256, [Sha256, Sha384])]
        {
            assert_eq!((together.first(algorithm), together.is_alone(algorithm)), (first, false));
            assert_eq!(together.of(algorithm).collect::<Vec<_>>(), set);
        }
        for algorithm in HashAlgorithm::ALL {
            assert_eq!((Together::NONE.first(algorithm), Together::NONE.is_alone(algorithm)), (algorithm, true));
            assert_eq!(Together::NONE.of(algorithm).collect::<Vec<_>>(), [algorithm]);
        }
    }
}
