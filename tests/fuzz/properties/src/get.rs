//! The GET form of a request: base64 in a path.
//!
//! - What a path means is the same once more when it is written cleanly.
//! - Escaping, the URL alphabet and further slashes before it change nothing.
//! - Clean base64 of one DER element means what the `base64` crate says.

use base64::prelude::*;
use responder::ocsp::{get, request::DecodeError};

/// Reads the input as what stands behind the tenant's path.
pub fn get(path: &[u8]) -> bool {
    let decoded = decode(path);
    let as_written = |form: &[u8], form_is: &str| {
        assert_eq!(decode(form), decoded, "{form_is}: {}", path.escape_ascii());
    };
    as_written(&[b"/", path].concat(), "a slash before it");
    let with = |from: u8, to: &[u8]| path.split(|&octet| octet == from).collect::<Vec<_>>().join(to);
    as_written(&with(b'+', b"-"), "URL alphabet");
    as_written(&with(b'/', b"_"), "URL alphabet");
    as_written(&with(b'+', b" "), "a plus as a space");
    as_written(&with(b'+', b"%2b"), "lower-case escapes");
    as_written(&with(b'/', b"%2F"), "escaped slashes");
    if !path.contains(&b'%') {
        let escaped: String = path.iter().map(|octet| format!("%{octet:02X}")).collect();
        as_written(escaped.as_bytes(), "everything escaped");
    }
    if let Ok(der) = &decoded {
        assert!(der.len() <= path.len() * 3 / 4, "base64 has no denser form");
        let clean = BASE64_STANDARD.encode(der);
        assert_eq!(decode(clean.as_bytes()).as_ref(), Ok(der), "{clean}, from {}", path.escape_ascii());
    }
    if let Some(der) = BASE64_STANDARD.decode(path).ok().filter(|der| is_one_element(der)) {
        assert_eq!(decoded, Ok(der));
    }
    decoded.is_ok()
}

/// With what a connection's buffers may hold from the request before.
fn decode(path: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (mut symbols, mut der) = (b"MA==".to_vec(), vec![0x30, 0]);
    get::decode(path, &mut symbols, &mut der).map(|()| der)
}

/// A SEQUENCE and nothing behind it: what every OCSPRequest is.
fn is_one_element(der: &[u8]) -> bool {
    der.first() == Some(&0x30) && der::asn1::AnyRef::try_from(der).is_ok()
}
