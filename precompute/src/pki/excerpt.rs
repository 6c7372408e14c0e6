//! Foreign bytes, made printable and short for a message. It does not know what the bytes are.

use std::fmt;

/// `octets` as an error message shows them: escaped to printable ASCII and cut at 80 characters, since they come from
/// outside and may hold terminal control sequences.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS_MAX: usize = 80;
        let mut room = CHARACTERS_MAX;
        for octet in self.0 {
            let escaped = octet.escape_ascii();
            match room.checked_sub(escaped.len()) {
                Some(rest) => room = rest,
                None => return f.write_str("…"),
            }
            write!(f, "{escaped}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(Excerpt(b"CN=a\tb").to_string(), r"CN=a\tb");
        assert_eq!(Excerpt(b"\x1b[2J\xff").to_string(), r"\x1b[2J\xff");
        for octet in [b'a', 0, 0xc3] {
            let shown = Excerpt(&[octet; 4096]).to_string();
            assert!(shown.chars().count() <= 81 && shown.ends_with('…'), "{shown}");
        }
        assert_eq!(Excerpt(&[b'a'; 80]).to_string(), "a".repeat(80));
    }
}
