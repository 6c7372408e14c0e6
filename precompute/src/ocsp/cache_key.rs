//! What caches call answers: the keys by which an answer is purged.
//!
//! Invariant: what an answer carries and what is purged is written here, and nowhere else. An issuer's key is the first 16
//! hexadecimal digits of its issuerKeyHash in SHA-256; an answer's key is that, a hyphen, and the serial number in
//! hexadecimal; that of its CRLs ends in `-crl`, which no serial number does. It does not know headers or caches.

use std::fmt;

use super::{HashAlgorithm, IssuerHashes};
use crate::pki::{Serial, hex};

/// The key that all answers of an issuer have. Tenants with the same CA share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey([u8; Self::BYTES]);

impl IssuerKey {
    /// Its characters.
    pub const BYTES: usize = 16;
    /// The most characters of the key of one answer.
    pub const WITH_SERIAL_MAX: usize = Self::BYTES + 1 + 2 * Serial::MAX_OCTETS;
    /// What follows it in the key of the issuer's CRLs,
    pub const CRLS: &str = "-crl";
    /// and of its certificates.
    pub const CERTIFICATES: &str = "-ca";
    /// One that no issuer has, but for one of 2⁶⁴.
    pub const NOBODYS: Self = Self([b'0'; Self::BYTES]);

    /// That of an issuer with these hashes.
    pub fn of(hashes: &IssuerHashes) -> Self {
        Self::of_key_hash(hashes.get(HashAlgorithm::Sha256).1)
    }

    /// That of an issuer with this issuerKeyHash in SHA-256.
    pub(crate) fn of_key_hash(hash: &[u8]) -> Self {
        let mut key = [0; Self::BYTES];
        hex::write(hash, &mut key);
        Self(key)
    }

    /// As it is written.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Writes the key of the answer about one certificate; returns how long it is.
    #[inline]
    pub fn write_with_serial(&self, serial: &Serial, out: &mut [u8; Self::WITH_SERIAL_MAX]) -> usize {
        out[..Self::BYTES].copy_from_slice(&self.0);
        out[Self::BYTES] = b'-';
        Self::BYTES + 1 + hex::write(serial.magnitude(), &mut out[Self::BYTES + 1..]).len()
    }
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerKey({self})")
    }
}

/// What is purged: something of an issuer, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CacheKey {
    /// Whose.
    pub issuer: IssuerKey,
    /// Which of it.
    pub about: About,
}

/// What of an issuer is purged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum About {
    /// Its answers, and what is published of it.
    All,
    /// The answers about this certificate.
    Certificate(Serial),
    /// The CRLs that are published.
    Crls,
}

impl CacheKey {
    /// The key of all that there is of an issuer.
    pub const fn whole(issuer: IssuerKey) -> Self {
        Self { issuer, about: About::All }
    }

    /// Whether it stands for all of its issuer.
    pub const fn is_whole(&self) -> bool {
        matches!(self.about, About::All)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serial = match self.about {
            About::All => return self.issuer.fmt(f),
            About::Crls => return write!(f, "{}{}", self.issuer, IssuerKey::CRLS),
            About::Certificate(serial) => serial,
        };
        let mut text = [0; IssuerKey::WITH_SERIAL_MAX];
        let length = self.issuer.write_with_serial(&serial, &mut text);
        text[..length].iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_answers_carry_it() {
        let issuer = IssuerKey(*b"0123456789abcdef");
        let serial = Serial::from_hex("0A1B").unwrap();
        let key = |about| CacheKey { issuer, about }.to_string();
        assert_eq!(key(About::All), "0123456789abcdef");
        assert_eq!(key(About::Crls), "0123456789abcdef-crl");
        assert_eq!(key(About::Certificate(serial)), format!("0123456789abcdef-{}", hex::text(serial.magnitude())));
        let longest = Serial::from_magnitude(&[0x7f; Serial::MAX_OCTETS]).unwrap();
        assert_eq!(key(About::Certificate(longest)).len(), IssuerKey::WITH_SERIAL_MAX);
        assert!(key(About::All).bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
