//! CRL numbers (RFC 5280 section 5.2.3). It does not know which CRLs they are of.

use std::fmt;

/// A CRL number, 0 … 2^160−1 (RFC 5280 section 5.2.3: at most 20 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; CrlNumber::MAX_OCTETS]);

impl CrlNumber {
    /// From [`CrlNumber::padded`].
    pub const fn from_padded(padded: [u8; Self::MAX_OCTETS]) -> Self {
        Self(padded)
    }

    /// The most bytes of value that RFC 5280 allows.
    pub const MAX_OCTETS: usize = 20;

    /// From the content bytes of a DER INTEGER; `None` for a negative one and for one over 20 bytes of value.
    pub fn from_der_content(content: &[u8]) -> Option<Self> {
        let first = *content.first()?;
        if first & 0x80 != 0 {
            return None;
        }
        let start = content.iter().position(|&octet| octet != 0).unwrap_or(content.len());
        let value = &content[start..];
        let mut padded = [0; Self::MAX_OCTETS];
        padded[Self::MAX_OCTETS.checked_sub(value.len())?..].copy_from_slice(value);
        Some(Self(padded))
    }

    /// As a number, unless it is over 8 bytes.
    pub fn as_u64(&self) -> Option<u64> {
        let (high, low) = self.0.split_last_chunk::<8>()?;
        high.iter().all(|octet| *octet == 0).then(|| u64::from_be_bytes(*low))
    }

    /// The 20 padded bytes, big-endian.
    pub const fn padded(&self) -> &[u8; Self::MAX_OCTETS] {
        &self.0
    }
}

/// `0x` and upper-case hexadecimal with an even number of digits, like openssl's crlnumber file.
impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.iter().position(|&octet| octet != 0).unwrap_or(Self::MAX_OCTETS - 1);
        f.write_str("0x")?;
        self.0[start..].iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlNumber({self})")
    }
}
