//! What came in place of a CRL, by how it begins. Pure.
//!
//! Invariant: what is shown of it is short, and printable on one line.

use crate::{limits::fetch as limits, pki::pem};

/// What it begins like, for a message; `None` for what looks like DER or PEM, of which others say more.
pub(super) fn told(begin: &[u8]) -> Option<String> {
    let text = begin.trim_ascii_start();
    let lower = text.iter().take(64).map(u8::to_ascii_lowercase).collect::<Vec<_>>();
    let like = match &*lower {
        _ if pem::is_der(begin) || text.starts_with(b"-----BEGIN") => return None,
        [0x1f, 0x8b, ..] => "it begins like something packed by gzip",
        [b'p', b'k', 3, 4, ..] => "it begins like a ZIP archive",
        [b'%', b'p', b'd', b'f', ..] => "it begins like a PDF",
        lower if lower.starts_with(b"<?xml") => "it begins like XML",
        lower if lower.starts_with(b"<") => "it begins like HTML, such as a page for signing in or about an error",
        [b'{' | b'[', ..] => "it begins like JSON",
        // 0x30 0x82 or 0x83 in base64.
        lower if lower.starts_with(b"mii") => "it begins like base64 without the lines of PEM around it",
        _ => "it begins unlike a CRL",
    };
    let shown = String::from_utf8_lossy(&text[..text.len().min(limits::BEGIN_SHOWN_MAX)]);
    Some(format!("{like} (`{}`)", shown.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_place_of_a_crl_is_told_by_its_beginning() {
        for (begin, wanted) in [
            (&b"\r\n <!DOCTYPE html><html lang=de>"[..], "like HTML"),
            (b"<html>", "like HTML"),
            (b"<?xml version='1.0'?>", "like XML"),
            (b"{\"error\":\"no\"}", "like JSON (`{\\\"error\\\":\\\"no\\\"}`)"),
            (b"\x1f\x8b\x08\0", "by gzip"),
            (b"PK\x03\x04", "a ZIP archive"),
            (b"%PDF-1.7", "a PDF"),
            (b"MIIBvDCBpQ", "base64 without"),
            (b"not found", "unlike a CRL (`not found`)"),
            (b"\0\x1b[31m", "unlike a CRL (`\\0\\u{1b}[31m`)"),
        ] {
            let told = told(begin).unwrap();
            assert!(told.contains(wanted), "{told}");
        }
        assert_eq!(told(b"-----BEGIN X509 CRL-----"), None);
        assert_eq!(told(&[0x30, 0x82, 0x01]), None);
        assert!(told(&[b'a'; 500]).unwrap().len() < 120);
    }
}
