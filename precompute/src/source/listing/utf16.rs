//! Lines of UTF-16, as programs on Windows write text (`certutil -view csv > FILE` in PowerShell).
//!
//! Purpose: where such a line ends, and the same line in UTF-8. Invariant: a line ends at the character U+000A, not at a
//! byte of that value within another character. Pure but for reading. It does not know what a line says.

use std::io::{self, BufRead};

/// The order of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Utf16 {
    Little,
    Big,
}

impl Utf16 {
    /// By the byte order mark.
    pub(super) fn of_beginning(text: &[u8]) -> Option<Self> {
        match text {
            [0xff, 0xfe, ..] => Some(Self::Little),
            [0xfe, 0xff, ..] => Some(Self::Big),
            _ => None,
        }
    }

    /// `line` was read up to a byte of value 10, or to the end. Reads what is missing until the line ends, and returns its
    /// length.
    pub(super) fn rest_of_line(self, reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            if line.last() != Some(&b'\n') {
                return Ok(line.len());
            }
            let is_second_byte = line.len().is_multiple_of(2);
            if self == Self::Little && !is_second_byte {
                // Its other byte is still to come.
                let high = reader.fill_buf()?.first().copied();
                reader.consume(usize::from(high.is_some()));
                line.extend(high);
                if matches!(high, Some(0) | None) {
                    return Ok(line.len());
                }
            } else if self == Self::Big && is_second_byte && line[line.len() - 2] == 0 {
                return Ok(line.len());
            }
            if reader.read_until(b'\n', line)? == 0 {
                return Ok(line.len());
            }
        }
    }

    /// Makes the line UTF-8; what is no text becomes U+FFFD. A byte order mark stays, as one of UTF-8.
    pub(super) fn decode(self, line: &mut Vec<u8>) {
        let (pairs, rest) = line.as_chunks::<2>();
        let unit = |pair: &[u8; 2]| match self {
            Self::Little => u16::from_le_bytes(*pair),
            Self::Big => u16::from_be_bytes(*pair),
        };
        let text = char::decode_utf16(pairs.iter().map(unit));
        let mut text: String = text.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        if !rest.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        *line = text.into_bytes();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str, order: Utf16) -> Vec<u8> {
        let bytes = |unit: u16| match order {
            Utf16::Little => unit.to_le_bytes(),
            Utf16::Big => unit.to_be_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    proptest! {
        /// Also where characters have a byte of value 10 in either place (Ċ, Њ, letters of Gurmukhi).
        #[test]
        fn lines_are_those_of_the_text(text in "[a-c\nĊЊਊਅ😀]{0,60}", piece in 1..9_usize) {
            for order in [Utf16::Little, Utf16::Big] {
                let mut reader = BufReader::with_capacity(piece, Cursor::new(encoded(&text, order)));
                let mut read = Vec::new();
                loop {
                    let mut line = Vec::new();
                    reader.read_until(b'\n', &mut line).unwrap();
                    if line.is_empty() {
                        break;
                    }
                    order.rest_of_line(&mut reader, &mut line).unwrap();
                    order.decode(&mut line);
                    read.push(String::from_utf8(line).unwrap());
                }
                prop_assert_eq!(read, text.split_inclusive('\n').collect::<Vec<_>>());
            }
        }
    }
}
