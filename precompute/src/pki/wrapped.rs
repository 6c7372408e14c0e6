//! Certificates and CRLs in wrappings that are not read here, and the command that takes them out.
//!
//! Pure. It looks at the first bytes alone, and does not know what is wrapped: a PKCS#12 or Java key store may hold keys as
//! well, of which nothing is told.

use std::path::Path;

use super::pem::Section;
use crate::output::shell_word;

/// id-signedData of RFC 5652, as an element.
const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
/// `version` 3 of a PFX (RFC 7292 section 4), and the SEQUENCE behind it.
const PFX: &[u8] = b"\x02\x01\x03\x30";
/// How Java key stores begin: JKS and JCEKS.
const KEY_STORES: [&[u8]; 2] = [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"];

/// What a file is if it is such a wrapping, with the command that converts it; `sections`: those of a PEM file.
pub(crate) fn wrapping(path: &Path, content: &[u8], sections: &[Section]) -> Option<String> {
    let file = shell_word(&path.display().to_string());
    let openssl = |what: &str, command: &str| {
        Some(format!("holds {what}, not PEM or DER; convert it: openssl {command} -in {file} -out {file}.pem"))
    };
    if sections.iter().any(|section| ["PKCS7", "CMS", "PKCS #7 SIGNED DATA"].contains(&section.label)) {
        return openssl("PKCS#7", "pkcs7 -print_certs");
    }
    if KEY_STORES.iter().any(|begin| content.starts_with(begin)) {
        return Some(format!(
            "holds a Java key store, not PEM or DER; convert it: keytool -list -rfc -keystore {file} > {file}.pem"
        ));
    }
    let within = inside_of_sequence(content)?;
    if within.starts_with(SIGNED_DATA) {
        openssl("PKCS#7 in DER", "pkcs7 -inform DER -print_certs")
    } else if within.starts_with(PFX) {
        openssl("a PKCS#12 store", &format!("pkcs12{} -nokeys", pkcs12_option(content)))
    } else {
        None
    }
}

/// What `openssl pkcs12` of OpenSSL 3 needs to read a store that is encrypted with RC4 or RC2, as older versions and Windows
/// write them (RFC 7292 appendix C).
pub(crate) fn pkcs12_option(content: &[u8]) -> &'static str {
    /// pkcs-12PbeIds, with the length of the identifiers below it.
    const PBE: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01";
    const RC4_OR_RC2: [u8; 4] = [1, 2, 5, 6];
    let mut schemes = memchr::memmem::find_iter(content, PBE).filter_map(|place| content.get(place + PBE.len()));
    if schemes.any(|scheme| RC4_OR_RC2.contains(scheme)) { " -legacy" } else { "" }
}

/// What a SEQUENCE begins with, whatever the form of its length: openssl and Windows write definite ones, Java and Mozilla
/// also indefinite ones.
fn inside_of_sequence(content: &[u8]) -> Option<&[u8]> {
    let behind = content.strip_prefix(b"\x30")?;
    let first = *behind.first()?;
    let more = if first > 0x80 { usize::from(first & 0x7f) } else { 0 };
    behind.get(1 + more..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_before_needs_an_option() {
        let store = |scheme: &[u8]| [b"\x30\x82\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01", scheme].concat();
        for (scheme, option) in [(&b"\x06"[..], " -legacy"), (b"\x01", " -legacy"), (b"\x03", ""), (b"", "")] {
            assert_eq!(pkcs12_option(&store(scheme)), option, "{scheme:?}");
        }
    }

    #[test]
    fn wrappings_are_known_by_how_they_begin() {
        let signed = |length: &[u8]| [b"\x30", length, SIGNED_DATA].concat();
        for (content, told) in [
            (signed(b"\x82\x01\x00"), Some("pkcs7 -inform DER -print_certs -in 'a b' -out 'a b'.pem")),
            (signed(b"\x80"), Some("pkcs7 -inform DER")),
            (signed(b"\x20"), Some("pkcs7 -inform DER")),
            (b"\x30\x82\x09\x00\x02\x01\x03\x30\x82".to_vec(), Some("pkcs12 -nokeys -in 'a b'")),
            (b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(), Some("keytool -list -rfc -keystore 'a b' > 'a b'.pem")),
            (b"\x30\x82\x09\x00\x30\x82".to_vec(), None),
            (b"\x30\xff".to_vec(), None),
            (b"\x30".to_vec(), None),
            (b"".to_vec(), None),
        ] {
            let found = wrapping(Path::new("a b"), &content, &[]);
            assert_eq!(found.is_some(), told.is_some(), "{content:?}");
            assert!(found.is_none_or(|found| found.contains(told.unwrap())), "{content:?}");
        }
    }
}
