//! Certificate serial numbers, RFC 5280 section 4.1.2.2: positive, at most 20 bytes.

use std::fmt;

use super::hex;

/// A certificate serial number: 1 … 2^160−1, held as 20 bytes, big-endian, padded on the left.
///
/// A conforming CA never lists a serial outside of that range. Such a serial is not a value of this type, so every
/// look-up for one ends before it begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; Serial::MAX_OCTETS]);

impl Serial {
    /// The most bytes of value that RFC 5280 allows.
    pub const MAX_OCTETS: usize = 20;

    /// From big-endian magnitude bytes, leading zeros allowed. `None` for zero, for an empty
    /// slice and for values over 20 bytes.
    pub fn from_magnitude(octets: &[u8]) -> Option<Self> {
        let start = octets.iter().position(|&b| b != 0)?;
        let value = &octets[start..];
        let mut padded = [0; Self::MAX_OCTETS];
        let offset = Self::MAX_OCTETS.checked_sub(value.len())?;
        padded[offset..].copy_from_slice(value);
        Some(Self(padded))
    }

    /// From the content bytes of a DER INTEGER. `None` for a number that no conforming CA issues: negative, zero, over
    /// 20 bytes of value.
    pub fn from_der_content(content: &[u8]) -> Option<Self> {
        match content.first() {
            Some(first) if first & 0x80 == 0 => Self::from_magnitude(content),
            _ => None,
        }
    }

    /// From hexadecimal digits of any case, as `openssl ca` writes them; an odd count is allowed.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim_start_matches('0').as_bytes();
        if digits.is_empty() || digits.len() > 2 * Self::MAX_OCTETS {
            return None;
        }
        let mut padded = [0; Self::MAX_OCTETS];
        for (octet, pair) in padded.iter_mut().rev().zip(digits.rchunks(2)) {
            *octet = match *pair {
                [high, low] => hex::byte(high, low)?,
                [low] => hex::value(low)?,
                _ => return None,
            };
        }
        Some(Self(padded))
    }

    /// The 20 padded bytes.
    pub const fn padded(&self) -> &[u8; Self::MAX_OCTETS] {
        &self.0
    }

    /// Big-endian magnitude without leading zeros.
    pub fn magnitude(&self) -> &[u8] {
        let start = self.0.iter().position(|&b| b != 0).unwrap_or(Self::MAX_OCTETS - 1);
        &self.0[start..]
    }

    /// Calls `then` with the content bytes of the DER INTEGER.
    pub fn with_der_content<T>(&self, then: impl FnOnce(&[u8]) -> T) -> T {
        let mut content = [0; Self::MAX_OCTETS + 1];
        content[1..].copy_from_slice(&self.0);
        let start = content.len() - self.magnitude().len();
        // A leading zero byte keeps it from being negative.
        let sign = usize::from(content[start] & 0x80 != 0);
        then(&content[start - sign..])
    }
}

/// Upper-case hexadecimal with an even number of digits, as `openssl ca` writes serials.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * Self::MAX_OCTETS];
        let count = hex::write(self.magnitude(), &mut digits).len();
        digits.make_ascii_uppercase();
        f.write_str(std::str::from_utf8(&digits[..count]).unwrap_or_default())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_magnitude_agree_whatever_the_padding() {
        let plain = Serial::from_hex("0A1b").unwrap();
        assert_eq!(plain, Serial::from_magnitude(&[0, 0, 0x0a, 0x1b]).unwrap());
        assert_eq!(plain, Serial::from_hex("A1B").unwrap());
        assert_eq!(plain.to_string(), "0A1B");
        assert_eq!(plain.magnitude(), [0x0a, 0x1b]);
    }

    #[test]
    fn refuses_what_no_conforming_ca_issues() {
        assert_eq!(Serial::from_magnitude(&[]), None);
        assert_eq!(Serial::from_magnitude(&[0, 0]), None);
        assert_eq!(Serial::from_magnitude(&[1; 21]), None);
        assert_eq!(Serial::from_der_content(&[0x80]), None, "negative");
        assert_eq!(Serial::from_hex(""), None);
        assert_eq!(Serial::from_hex("00"), None);
        assert_eq!(Serial::from_hex("12 4"), None);
        assert_eq!(Serial::from_hex(&"F".repeat(41)), None);
    }

    #[test]
    fn takes_the_largest_serial() {
        let largest = Serial::from_hex(&"F".repeat(40)).unwrap();
        let mut content = vec![0];
        content.extend([0xff; 20]);
        assert_eq!(Serial::from_der_content(&content), Some(largest));
    }

    #[test]
    fn der_content_is_minimal_and_positive() {
        for (hex, content) in [("1", &[1][..]), ("7F", &[0x7f]), ("80", &[0, 0x80]), ("0100", &[1, 0])] {
            let serial = Serial::from_hex(hex).unwrap();
            serial.with_der_content(|octets| {
                assert_eq!(octets, content);
                assert_eq!(Serial::from_der_content(octets), Some(serial));
            });
        }
        let largest = Serial::from_hex(&"F".repeat(40)).unwrap();
        assert_eq!(largest.with_der_content(<[u8]>::len), 21);
    }
}
