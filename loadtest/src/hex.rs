//! Serial numbers as text and as DER content bytes.
//!
//! Invariant: bytes that leave here are the minimal two's-complement content of a non-negative INTEGER. It does not
//! know where the text came from.

use crate::limits::SERIAL_OCTETS_MAX;

/// Why a text is no serial number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotASerial;

/// From hex, as `openssl x509 -serial`, index files and certificate viewers write it: any case, an optional `0x`,
/// colons between bytes, an odd count of digits.
pub(crate) fn serial_from_hex(text: &str, out: &mut Vec<u8>) -> Result<(), NotASerial> {
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let start = out.len();
    let digits = text.bytes().filter(|b| *b != b':').count();
    if digits == 0 || digits > 2 * SERIAL_OCTETS_MAX {
        return Err(NotASerial);
    }
    let mut half = digits % 2 == 1;
    let mut octet = 0u8;
    for byte in text.bytes().filter(|b| *b != b':') {
        let Some(value) = (byte as char).to_digit(16) else {
            out.truncate(start);
            return Err(NotASerial);
        };
        octet = octet << 4 | value as u8;
        if half {
            // Leading zero bytes are dropped while nothing has been written; the last byte always is.
            if octet != 0 || out.len() > start {
                out.push(octet);
            }
            octet = 0;
        }
        half = !half;
    }
    match out.get(start) {
        None => out.push(0),
        Some(first) if *first >= 0x80 => out.insert(start, 0),
        Some(_) => {}
    }
    if out.len() - start > SERIAL_OCTETS_MAX {
        out.truncate(start);
        return Err(NotASerial);
    }
    Ok(())
}

/// To upper-case hex of whole bytes, without the sign byte: as `openssl ca` names certificates.
pub(crate) fn serial_to_hex(content: &[u8]) -> String {
    let magnitude = match content {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    magnitude.iter().map(|b| format!("{b:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_common_spelling_as_minimal_content_octets() {
        for (text, octets) in [
            ("01", &[1u8][..]),
            ("1", &[1]),
            ("0x01", &[1]),
            ("00", &[0]),
            ("0", &[0]),
            ("000001", &[1]),
            ("80", &[0, 0x80]),
            ("0080", &[0, 0x80]),
            ("ab:CD:ef", &[0, 0xab, 0xcd, 0xef]),
            ("1234", &[0x12, 0x34]),
            ("123", &[0x01, 0x23]),
            ("10000", &[1, 0, 0]),
        ] {
            let mut out = vec![9];
            assert_eq!(serial_from_hex(text, &mut out), Ok(()), "{text}");
            assert_eq!(&out[1..], octets, "{text}");
        }
    }

    #[test]
    fn leaves_the_buffer_as_it_was_when_the_text_is_no_serial() {
        for text in
            ["", "xyz", "12g4", ":", "-1", &"1".repeat(2 * SERIAL_OCTETS_MAX + 1), &"f".repeat(2 * SERIAL_OCTETS_MAX)]
        {
            let mut out = vec![9];
            assert_eq!(serial_from_hex(text, &mut out), Err(NotASerial), "{text}");
            assert_eq!(out, [9]);
        }
    }

    #[test]
    fn writes_what_openssl_names_certificates_by() {
        assert_eq!(serial_to_hex(&[0, 0xab, 0x0d]), "AB0D");
        assert_eq!(serial_to_hex(&[0]), "00");
        assert_eq!(serial_to_hex(&[0x0a]), "0A");
    }
}
