//! Members of JSON objects, written without a copy of them.
//!
//! Invariant: what is written has no line feed in it, whatever is in a value. No I/O, no clock.

use std::{fmt, fmt::Write as _};

use crate::pki::UnixTime;

/// Nanoseconds since 1970 as RFC 3339, in UTC, without trailing zeros in the fraction; years from 10000 on show the
/// last representable time.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub u64);

impl Time {
    /// With six digits behind the point.
    pub(super) fn micros(self) -> String {
        let mut text = String::with_capacity(27);
        // Writing to a String never fails.
        let _ = self.seconds(&mut text);
        let _ = write!(text, ".{:06}Z", self.0 % 1_000_000_000 / 1000);
        text
    }

    fn seconds(self, into: &mut impl fmt::Write) -> fmt::Result {
        let given = UnixTime(self.0 / 1_000_000_000).generalized();
        let mut text = *b"0000-00-00T00:00:00";
        // Where each part of the one stands in the other.
        for (from, to, length) in [(0, 0, 4), (4, 5, 2), (6, 8, 2), (8, 11, 2), (10, 14, 2), (12, 17, 2)] {
            text[to..to + length].copy_from_slice(&given[from..from + length]);
        }
        into.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seconds(f)?;
        let fraction = self.0 % 1_000_000_000;
        if fraction != 0 {
            let (mut digits, mut rest) = (*b".000000000", fraction);
            for digit in digits[1..].iter_mut().rev() {
                *digit += (rest % 10) as u8;
                rest /= 10;
            }
            f.write_str(std::str::from_utf8(&digits).unwrap_or_default().trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// `null` if absent.
#[derive(Clone, Copy, Debug)]
pub struct Nullable<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A string of JSON (RFC 8259 section 7).
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let is_escaped = |character: char| matches!(character, '"' | '\\' | '\0'..='\x1F');
        let mut left = self.0;
        while let Some((plain, character, rest)) = parted(left, is_escaped) {
            f.write_str(plain)?;
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                _ => write!(f, "\\u{:04x}", u32::from(character))?,
            }
            left = rest;
        }
        f.write_str(left)?;
        f.write_char('"')
    }
}

/// What stands before the first such character, it, and what stands behind it.
fn parted(text: &str, is_it: impl Fn(char) -> bool) -> Option<(&str, char, &str)> {
    let (place, character) = text.char_indices().find(|(_, character)| is_it(*character))?;
    let (plain, rest) = text.split_at_checked(place)?;
    Some((plain, character, rest.get(character.len_utf8()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_where_json_wants_it_and_nowhere_else() {
        for (text, written) in [
            ("", r#""""#),
            ("plain äöü \u{7f}", "\"plain äöü \u{7f}\""),
            ("\"a\\\n\0", r#""\"a\\\u000a\u0000""#),
            ("ü\"ü", r#""ü\"ü""#),
        ] {
            assert_eq!(Text(text).to_string(), written);
            assert_eq!(serde_json::from_str::<String>(written).unwrap(), text);
        }
    }

    #[test]
    fn times_have_the_digits_that_they_need() {
        let second = 1_700_000_000_000_000_000;
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (second, "2023-11-14T22:13:20Z"),
            (second + 120_000_000, "2023-11-14T22:13:20.12Z"),
            (second + 1_000, "2023-11-14T22:13:20.000001Z"),
            (second + 999_999_999, "2023-11-14T22:13:20.999999999Z"),
        ] {
            assert_eq!(Time(nanos).to_string(), text);
        }
        assert_eq!(Time(second + 1_999).micros(), "2023-11-14T22:13:20.000001Z");
    }
}
