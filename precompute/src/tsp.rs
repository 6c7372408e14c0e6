//! The basic values of time-stamping, RFC 3161.
//!
//! Purpose: the parts of a policy, as values that cannot be wrong in form. It does not know requests, keys or clocks.

mod oid;
mod policy;

pub use oid::{Oid, OidError};
pub use policy::{TsaCertificates, TsaName, TsaPolicy};

use std::{fmt, time::Duration};

use crate::pki::{
    encode::{Unsigned, wrapped},
    tag,
};

/// Hash functions of message imprints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ImprintHash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
    /// SHA3-256
    Sha3_256,
    /// SHA3-384
    Sha3_384,
    /// SHA3-512
    Sha3_512,
    /// SHA-1, for clients that know nothing else; never by default
    Sha1,
}

impl ImprintHash {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Sha256, Self::Sha384, Self::Sha512, Self::Sha3_256, Self::Sha3_384, Self::Sha3_512, Self::Sha1];

    /// The ones accepted by default: collisions of SHA-1 have been found.
    pub const DEFAULT: [Self; 6] =
        [Self::Sha256, Self::Sha384, Self::Sha512, Self::Sha3_256, Self::Sha3_384, Self::Sha3_512];

    /// The content bytes of its OBJECT IDENTIFIER.
    pub const fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
            Self::Sha384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
            Self::Sha512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
            Self::Sha3_256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x08],
            Self::Sha3_384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x09],
            Self::Sha3_512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x0a],
            Self::Sha1 => &[0x2b, 0x0e, 0x03, 0x02, 0x1a],
        }
    }

    /// The function with these OBJECT IDENTIFIER content bytes.
    pub fn from_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.oid() == oid)
    }

    /// The length of a digest in bytes. It is a constant of the algorithm and never 0.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha3_256 => "sha3-256",
            Self::Sha3_384 => "sha3-384",
            Self::Sha3_512 => "sha3-512",
            Self::Sha1 => "sha1",
        }
    }
}

/// The fraction of a second in genTime.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// None.
    Seconds,
    /// Three digits. Cutting off up to a whole second would use up an accuracy of one second.
    #[default]
    Milliseconds,
    /// Six digits.
    Microseconds,
}

impl Precision {
    /// Nanoseconds of its unit.
    pub const fn nanoseconds(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1000,
        }
    }

    /// Digits of the fraction.
    pub const fn digits(self) -> usize {
        match self {
            Self::Seconds => 0,
            Self::Milliseconds => 3,
            Self::Microseconds => 6,
        }
    }

    /// The instant that genTime states for another instant, both in nanoseconds since 1970. It is cut off to the unit,
    /// and is one unit earlier if the last digit of the fraction would be 0, which DER omits (X.690 section 11.7.3). So
    /// every genTime has all its digits, which some clients require. A later instant never gets an earlier time.
    pub const fn told(self, nanoseconds: u64) -> u64 {
        let unit = self.nanoseconds();
        let cut_off = nanoseconds - nanoseconds % unit;
        let ends_in_zero = self.digits() > 0 && cut_off.is_multiple_of(10 * unit);
        if ends_in_zero { cut_off.saturating_sub(unit) } else { cut_off }
    }

    /// How far genTime may be before the instant that it is for, in nanoseconds: see [`Self::told`].
    pub const fn told_early_max(self) -> u64 {
        let units = if self.digits() > 0 { 2 } else { 1 };
        units * self.nanoseconds()
    }
}

/// How far genTime may be from UTC, RFC 3161 section 2.4.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accuracy(Duration);

impl Accuracy {
    /// One second.
    pub const DEFAULT: Self = Self(Duration::from_secs(1));

    /// From whole microseconds, at least one; `None` for anything else.
    pub fn new(accuracy: Duration) -> Option<Self> {
        let whole = accuracy.subsec_nanos().is_multiple_of(1000);
        (whole && !accuracy.is_zero() && accuracy.as_secs() < 1 << 31).then_some(Self(accuracy))
    }

    /// As a length of time.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// The element Accuracy, DER. Parts that are 0 are omitted, as millis and micros must be (1 to 999).
    pub fn to_der(self) -> Vec<u8> {
        let micros = self.0.subsec_micros();
        let parts = [
            (tag::INTEGER, self.0.as_secs() as u32),
            (tag::implicit(0), micros / 1000),
            (tag::implicit(1), micros % 1000),
        ];
        let mut content = Vec::new();
        for (tag, value) in parts.into_iter().filter(|(_, value)| *value > 0) {
            Unsigned::of(&value.to_be_bytes()).put(&mut content, tag);
        }
        wrapped(tag::SEQUENCE, &[&content])
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_accuracy_that_are_zero_are_left_out() {
        for (micros, der) in [
            (1_000_000, &[0x30, 3, 2, 1, 1][..]),
            (500_000, &[0x30, 4, 0x80, 2, 0x01, 0xf4]),
            (100_000, &[0x30, 3, 0x80, 1, 100]),
            (200_000, &[0x30, 4, 0x80, 2, 0, 200]),
            (1, &[0x30, 3, 0x81, 1, 1]),
            (128_001_999, &[0x30, 11, 2, 2, 0, 128, 0x80, 1, 1, 0x81, 2, 0x03, 0xe7]),
        ] {
            assert_eq!(Accuracy::new(Duration::from_micros(micros)).unwrap().to_der(), der, "{micros} µs");
        }
        for refused in [Duration::ZERO, Duration::from_nanos(1_000_001), Duration::from_secs(1 << 31)] {
            assert!(Accuracy::new(refused).is_none(), "{refused:?}");
        }
    }

    #[test]
    fn every_hash_is_known_by_its_own_identifier() {
        for hash in ImprintHash::ALL {
            assert_eq!(ImprintHash::from_oid(hash.oid()), Some(hash));
        }
        // id-sha224 and md5
        assert_eq!(ImprintHash::from_oid(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04]), None);
        assert_eq!(ImprintHash::from_oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05]), None);
    }
}
