//! OBJECT IDENTIFIERs of any length, with arcs of up to 128 bits: policies may be under 2.25, where an arc is a UUID.
//!
//! Invariant: a value is well-formed content. It does not know what an OBJECT IDENTIFIER names.

use std::fmt;

use crate::limits;

/// An OBJECT IDENTIFIER, as the content bytes of its DER.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Oid(Box<[u8]>);

/// A text that is not an OBJECT IDENTIFIER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OidError;

impl fmt::Display for OidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an object identifier such as `1.3.6.1.4.1.99999.1`: numbers with dots, the first 0, 1 or 2, below 0 and 1 a second up to 39")
    }
}

impl std::error::Error for OidError {}

impl Oid {
    /// From numbers separated by dots.
    pub fn parse(text: &str) -> Result<Self, OidError> {
        let number = |text: &str| {
            // No sign and no leading zeros: each number has one spelling.
            let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            if plain { text.parse::<u128>().map_err(|_| OidError) } else { Err(OidError) }
        };
        let arcs = text.split('.').map(number).collect::<Result<Vec<_>, _>>()?;
        let [root @ 0..=2, second, rest @ ..] = &arcs[..] else { return Err(OidError) };
        if *root < 2 && *second > 39 {
            return Err(OidError);
        }
        let mut content = Vec::new();
        base_128(&mut content, second.checked_add(40 * root).ok_or(OidError)?);
        rest.iter().for_each(|arc| base_128(&mut content, *arc));
        if content.len() > limits::OID_OCTETS_MAX { Err(OidError) } else { Ok(Self(content.into())) }
    }

    /// The content bytes.
    pub fn content(&self) -> &[u8] {
        &self.0
    }

    /// Whether bytes are the content of an OBJECT IDENTIFIER (X.690 section 8.19): minimal numbers, the last of which
    /// is complete. Neither their count nor their size is bounded here.
    pub fn is_content(octets: &[u8]) -> bool {
        let mut begins = true;
        for octet in octets {
            if begins && *octet == 0x80 {
                return false;
            }
            begins = *octet < 0x80;
        }
        begins && !octets.is_empty()
    }
}

fn base_128(out: &mut Vec<u8>, number: u128) {
    let groups = (u128::BITS - number.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let bits = (number >> (7 * group)) as u8 & 0x7f;
        out.push(if group > 0 { bits | 0x80 } else { bits });
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number: u128 = 0;
        let mut first = true;
        for octet in &self.0 {
            number = number << 7 | u128::from(octet & 0x7f);
            if octet & 0x80 != 0 {
                continue;
            }
            if first {
                let root = (number / 40).min(2);
                write!(f, "{root}.{}", number - 40 * root)?;
                first = false;
            } else {
                write!(f, ".{number}")?;
            }
            number = 0;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

#[cfg(test)]
mod tests {
    use der::asn1::ObjectIdentifier;

    use super::*;

    #[test]
    fn an_identifier_is_encoded_as_others_do_and_written_back() {
        for text in ["1.2.840.113549.1.9.16.1.4", "0.4.0.2023.1.1", "2.39.1", "1.39.0", "0.0.5"] {
            let oid = Oid::parse(text).unwrap();
            assert_eq!(oid.content(), ObjectIdentifier::new_unwrap(text).as_bytes(), "{text}");
            assert_eq!(oid.to_string(), text);
            assert!(Oid::is_content(oid.content()));
        }
    }

    #[test]
    fn below_2_the_second_arc_may_be_large() {
        let oid = Oid::parse("2.999.1").unwrap();
        assert_eq!((oid.content(), oid.to_string().as_str()), (&[0x88, 0x37, 1][..], "2.999.1"));
    }

    #[test]
    fn an_arc_may_be_a_uuid() {
        let text = "2.25.340282366920938463463374607431768211455.1";
        let oid = Oid::parse(text).unwrap();
        assert_eq!((oid.to_string(), oid.content().len()), (text.to_owned(), 21));
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        for text in ["", "1", "3.1", "1.40", "0.40.1", "1.2.", ".1.2", "1..2", "1.02", "1.-2", "1.+2", "1.2 ", "1.2.x"]
        {
            assert_eq!(Oid::parse(text), Err(OidError), "{text}");
        }
        assert!(Oid::parse("2.340282366920938463463374607431768211455").is_err(), "more than 128 bits with the root");
        let long = format!("1.2{}", ".340282366920938463463374607431768211455".repeat(20));
        assert!(Oid::parse(&long).is_err());
        for octets in [&[][..], &[0x80], &[0x2a, 0x80, 0x01], &[0x2a, 0x86], &[0x80, 0x01]] {
            assert!(!Oid::is_content(octets), "{octets:02x?}");
        }
    }
}
