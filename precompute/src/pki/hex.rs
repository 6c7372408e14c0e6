//! Hexadecimal digits: written in lower case, read in either case.
//!
//! Purpose: one writer and one reader for the whole project. Invariant: what is written here is read here as the same
//! bytes. Only [`text`] allocates, since entity tags and surrogate keys are written for every answer. It does not know
//! serial numbers, which [`super::Serial`] shows in upper case as `openssl ca` does.

use std::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The two digits of a byte.
#[inline]
pub const fn digits(byte: u8) -> [u8; 2] {
    PAIRS[byte as usize]
}

/// The digits of every byte: one look-up for both.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};

/// Writes the digits of `bytes` to the front of `out`, as long as there is room for both digits of a byte, and returns
/// what it wrote.
#[inline]
pub fn write<'o>(bytes: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let written = 2 * bytes.len().min(out.len() / 2);
    for (place, byte) in out.chunks_exact_mut(2).zip(bytes) {
        place.copy_from_slice(&digits(*byte));
    }
    &out[..written]
}

/// The digits of `bytes`.
pub fn text(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

/// Shows bytes as their digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In pieces: a call for each digit costs more than the digits.
        let mut piece = [0; 64];
        self.0.chunks(piece.len() / 2).try_for_each(|bytes| {
            let written = write(bytes, &mut piece);
            // Digits are ASCII.
            f.write_str(std::str::from_utf8(written).unwrap_or_default())
        })
    }
}

/// The value of a digit of either case; `None` for every other byte.
#[inline]
pub const fn value(digit: u8) -> Option<u8> {
    match VALUES[digit as usize] {
        value @ 0..16 => Some(value),
        _ => None,
    }
}

/// The byte that two digits of either case stand for.
#[inline]
pub const fn byte(high: u8, low: u8) -> Option<u8> {
    match (value(high), value(low)) {
        (Some(high), Some(low)) => Some(high << 4 | low),
        _ => None,
    }
}

/// The bytes that a text of exactly so many digits, of either case, stands for.
pub fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (place, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *place = byte(pair[0], pair[1])?;
    }
    Some(bytes)
}

/// The value of every digit; 0xff for every other byte.
const VALUES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        table[DIGITS[value] as usize] = value as u8;
        table[DIGITS[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_written_as_the_standard_library_does_and_read_again() {
        for expected in 0..=u8::MAX {
            let [high, low] = digits(expected);
            assert_eq!(text(&[expected]), format!("{expected:02x}"));
            assert_eq!(text(&[expected]).as_bytes(), [high, low]);
            assert_eq!(byte(high, low), Some(expected));
            assert_eq!(byte(high.to_ascii_uppercase(), low.to_ascii_uppercase()), Some(expected));
        }
    }

    #[test]
    fn digits_are_those_of_the_standard_library_and_no_others() {
        for digit in 0..=u8::MAX {
            assert_eq!(value(digit).map(u32::from), char::from(digit).to_digit(16), "{digit}");
        }
        assert_eq!((byte(b'g', b'0'), byte(b'0', b'/')), (None, None));
    }

    #[test]
    fn an_array_is_read_from_as_many_digits_and_from_no_other_text() {
        assert_eq!(array("0aFF"), Some([0x0a, 0xff]));
        for text in ["0aF", "0aFF0", "0a-F", ""] {
            assert_eq!(array::<2>(text), None, "{text}");
        }
    }

    #[test]
    fn a_slice_is_filled_as_far_as_whole_bytes_fit() {
        let mut out = [b'.'; 5];
        assert_eq!(write(&[0x0a], &mut out), b"0a");
        assert_eq!(write(&[0x12, 0x34, 0x56], &mut out), b"1234");
        assert_eq!(&out, b"1234.");
        assert_eq!(write(&[], &mut out), b"");
    }
}
