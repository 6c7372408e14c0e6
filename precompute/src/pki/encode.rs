//! DER elements, X.690 section 8.1, written in place: the only writer for DER that is composed by hand.
//!
//! Invariant: lengths and INTEGERs are minimal. It does not know what an element means.

/// The length of an element, with its header, for this many bytes of content.
pub const fn element(length: usize) -> usize {
    let header = match length {
        0..0x80 => 2,
        0x80..0x100 => 3,
        0x100..0x1_0000 => 4,
        _ => 5,
    };
    header + length
}

/// Writes the tag and length of an element of less than 16 MiB.
#[inline]
pub fn header(out: &mut Vec<u8>, tag: u8, length: usize) {
    let [.., high, middle, low] = length.to_be_bytes();
    match length {
        0..0x80 => out.extend_from_slice(&[tag, low]),
        0x80..0x100 => out.extend_from_slice(&[tag, 0x81, low]),
        0x100..0x1_0000 => out.extend_from_slice(&[tag, 0x82, middle, low]),
        _ => out.extend_from_slice(&[tag, 0x83, high, middle, low]),
    }
}

/// Appends an element.
#[inline]
pub fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    header(out, tag, content.len());
    out.extend_from_slice(content);
}

/// An element whose content is these parts.
pub fn wrapped(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(element(length));
    header(&mut out, tag, length);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A SET OF, with its elements in the order of their encodings (X.690 section 11.6).
pub fn set_of(tag: u8, mut elements: Vec<Vec<u8>>) -> Vec<u8> {
    elements.sort_unstable();
    wrapped(tag, &elements.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A non-negative INTEGER, to be written in minimal form (X.690 section 8.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    magnitude: &'a [u8],
    /// Whether a leading zero byte keeps it from being negative.
    padded: bool,
}

impl<'a> Unsigned<'a> {
    /// From a big-endian magnitude; leading zeros are allowed.
    #[inline]
    pub fn of(octets: &'a [u8]) -> Self {
        let start = octets.iter().position(|&b| b != 0).unwrap_or(octets.len().saturating_sub(1));
        let magnitude = match &octets[start..] {
            [] => &[0],
            some => some,
        };
        Self { magnitude, padded: magnitude[0] & 0x80 != 0 }
    }

    /// Bytes of its content.
    #[inline]
    pub const fn length(&self) -> usize {
        self.magnitude.len() + self.padded as usize
    }

    /// Appends the element.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, tag: u8) {
        header(out, tag, self.length());
        if self.padded {
            out.push(0);
        }
        out.extend_from_slice(self.magnitude);
    }
}

#[cfg(test)]
mod tests {
    use der::{Encode as _, asn1::UintRef};
    use proptest::prelude::*;

    use super::{super::elements::Elements, super::tag, *};

    #[test]
    fn an_element_is_as_long_as_told_and_read_again() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let mut out = Vec::new();
            put(&mut out, tag::OCTET_STRING, &content);
            assert_eq!(out.len(), element(length));
            assert_eq!(out, wrapped(tag::OCTET_STRING, &[&content[..length / 2], &content[length / 2..]]));
            assert_eq!(Elements::only(&out, tag::OCTET_STRING).map(Elements::rest), Ok(&content[..]));
        }
    }

    #[test]
    fn a_set_stands_in_the_order_of_its_encodings() {
        assert_eq!(
            set_of(tag::SET, vec![vec![2, 1, 9], vec![2, 1, 3], vec![1, 1, 0]]),
            [0x31, 9, 1, 1, 0, 2, 1, 3, 2, 1, 9]
        );
    }

    proptest! {
        #[test]
        fn an_unsigned_integer_is_written_as_der_writes_it(octets in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut out = Vec::new();
            Unsigned::of(&octets).put(&mut out, tag::INTEGER);
            prop_assert_eq!(out, UintRef::new(&octets).unwrap().to_der().unwrap());
        }
    }
}
