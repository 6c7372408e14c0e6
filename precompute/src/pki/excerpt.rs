//! Foreign bytes, made printable and short for a message. It does not know what the bytes are.

use std::fmt;

/// Bytes as an error message shows them: letters of UTF-8 as they are, everything else escaped, and cut at 80 characters, since
/// they come from outside and may hold terminal control sequences.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS_MAX: usize = 80;
        let mut room = CHARACTERS_MAX;
        let mut write = |escaped: String| {
            let rest = room.checked_sub(escaped.chars().count());
            room = rest.unwrap_or_default();
            f.write_str(if rest.is_some() { &escaped } else { "…" }).map(|()| rest.is_some())
        };
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                let escaped = if letter.is_ascii() {
                    (letter as u8).escape_ascii().to_string()
                } else {
                    letter.escape_debug().to_string()
                };
                if !write(escaped)? {
                    return Ok(());
                }
            }
            for octet in chunk.invalid() {
                if !write(octet.escape_ascii().to_string())? {
                    return Ok(());
                }
            }
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
        assert_eq!(Excerpt("CN=Prüfstelle 東京".as_bytes()).to_string(), "CN=Prüfstelle 東京");
        assert_eq!(Excerpt("a\u{202e}b\u{9b}c\u{200b}".as_bytes()).to_string(), r"a\u{202e}b\u{9b}c\u{200b}");
        for octets in [&b"a"[..], &[0], &[0xc3], "ü".as_bytes(), "\u{202e}".as_bytes()] {
            let shown = Excerpt(&octets.repeat(4096)).to_string();
            assert!(shown.chars().count() <= 81 && shown.ends_with('…'), "{shown}");
        }
        assert_eq!(Excerpt(&[b'a'; 80]).to_string(), "a".repeat(80));
    }
}
