//! The GET form of a request, RFC 6960 appendix A.1: base64 of the DER in the path, escaped.
//!
//! Clients, libraries and proxies each garble it in their own way. A garbled form that can only mean one request is
//! read as that request, so it gets the same answer as the clean form. It does not know what the DER contains.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::{memchr, memchr3};
use precompute::pki::{elements::announced, hex};

use super::request::DecodeError;

/// The last symbol's spare bits may have any value; padding has been removed before.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Decodes the target after the tenant's path (without query) into `der`, which is cleared first. `symbols` is a work
/// buffer.
pub fn decode(path: &[u8], symbols: &mut Vec<u8>, der: &mut Vec<u8>) -> Result<(), DecodeError> {
    symbols.clear();
    der.clear();
    unescape(path, symbols)?;
    // DER begins with 0x30, and base64 with `M`: slashes before it come from joining URLs.
    let start = symbols.iter().position(|&b| b != b'/').filter(|&start| symbols[start] != b'=');
    let start = start.ok_or(DecodeError::Malformed)?;
    let mut symbols = &symbols[start..];
    // Only stray slashes can follow padding.
    if let Some(end) = memchr(b'=', symbols) {
        if !symbols[end..].iter().all(|b| matches!(b, b'=' | b'/')) {
            return Err(DecodeError::Malformed);
        }
        symbols = &symbols[..end];
    }
    // Without padding, the length in the DER decides whether slashes at the end belong to it.
    if symbols.ends_with(b"/")
        && let Some(wanted) = symbols_of_der(symbols).filter(|&wanted| wanted < symbols.len())
        && symbols[wanted..].iter().all(|&b| b == b'/')
    {
        symbols = &symbols[..wanted];
    }
    BASE64.decode_vec(symbols, der).map_err(|_| DecodeError::Malformed)
}

/// Decodes `%XX` once, and maps the substitutes for `+` and the URL alphabet.
fn unescape(path: &[u8], symbols: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut rest = path;
    while let Some(at) = memchr(b'%', rest) {
        symbols.extend_from_slice(&rest[..at]);
        let Some(&[high, low]) = rest.get(at + 1..at + 3) else { return Err(DecodeError::Malformed) };
        symbols.push(hex::byte(high, low).ok_or(DecodeError::Malformed)?);
        rest = &rest[at + 3..];
    }
    symbols.extend_from_slice(rest);
    let mut odd = 0;
    while let Some(at) = memchr3(b' ', b'-', b'_', &symbols[odd..]) {
        odd += at;
        symbols[odd] = if symbols[odd] == b'_' { b'/' } else { b'+' };
    }
    Ok(())
}

/// The number of base64 symbols of the DER element that begins with these symbols.
fn symbols_of_der(symbols: &[u8]) -> Option<usize> {
    let mut head = [0; 6];
    let head_length = BASE64.decode_slice(symbols.get(..8)?, &mut head).ok()?;
    let length = announced(head.get(..head_length)?).ok()?;
    Some(length.checked_mul(8)?.div_ceil(6))
}

#[cfg(test)]
mod tests {
    use base64::prelude::*;
    use proptest::prelude::*;

    use super::*;

    fn decoded(path: &str) -> Result<Vec<u8>, DecodeError> {
        let (mut symbols, mut der) = (Vec::new(), vec![1, 2, 3]);
        decode(path.as_bytes(), &mut symbols, &mut der).map(|()| der)
    }

    /// An element whose base64 has `//` and `++`, ends in `/` if possible, and needs `padding` padding characters.
    fn element(padding: usize) -> Vec<u8> {
        let length = [57, 56, 55][padding];
        let mut der = vec![0x30, length as u8 - 2, 0];
        der.extend(std::iter::repeat_n([0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff], 9).flatten());
        der.truncate(length);
        der
    }

    #[test]
    fn every_odd_form_means_the_same_request() {
        for padding in 0..3 {
            let der = element(padding);
            let clean = BASE64_STANDARD.encode(&der);
            assert!(clean.contains("++") && clean.contains("//"), "{clean}");
            let bare = clean.trim_end_matches('=');
            let escaped = clean.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
            for form in [
                clean.clone(),
                escaped.clone(),
                escaped.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
                format!("/{clean}"),
                format!("//{clean}"),
                clean.replace('+', " "),
                clean.replace('+', "%20"),
                bare.to_owned(),
                format!("{clean}/"),
                format!("{bare}/"),
                format!("{bare}%2F"),
                BASE64_URL_SAFE.encode(&der),
                BASE64_URL_SAFE_NO_PAD.encode(&der),
            ] {
                assert_eq!(decoded(&form).as_ref(), Ok(&der), "{form}");
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_malformed() {
        let clean = BASE64_STANDARD.encode(element(1));
        for form in [
            "%ZZ".to_owned(),
            "%4".to_owned(),
            "%".to_owned(),
            String::new(),
            "/".to_owned(),
            // A request without bytes has no clean form.
            "=".to_owned(),
            "/==/".to_owned(),
            "MFE!".to_owned(),
            clean.replace('/', "%252F"),
            format!("{clean}M"),
            format!("{}=M", clean.trim_end_matches('=')),
            "M".to_owned(),
        ] {
            assert_eq!(decoded(&form), Err(DecodeError::Malformed), "{form}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&path, &mut Vec::new(), &mut Vec::new());
        }

        #[test]
        fn clean_forms_round_trip(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut der = vec![0x30, 0x82, (content.len() >> 8) as u8, content.len() as u8];
            der.extend(&content);
            prop_assert_eq!(decoded(&BASE64_STANDARD.encode(&der)), Ok(der));
        }
    }
}
