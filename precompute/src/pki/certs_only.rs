//! Certificates alone in a CMS message, which nobody has signed: the degenerate case of SignedData (RFC 5652 section 5.1,
//! RFC 5272 section 4.1). It does not know whose certificates they are.

use super::{
    Certificate,
    encode::{set_of, wrapped},
    tag::{SEQUENCE, SET, explicit},
};

/// OBJECT IDENTIFIER id-signedData, 1.2.840.113549.1.7.2
const ID_SIGNED_DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// OBJECT IDENTIFIER id-data, 1.2.840.113549.1.7.1
const ID_DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// INTEGER 1: nothing in it is newer than PKCS #7.
const VERSION: [u8; 3] = [0x02, 0x01, 0x01];

/// A message with each of these certificates once, in DER, which orders them by their encodings.
pub fn certs_only(certificates: &[Certificate]) -> Vec<u8> {
    let mut ders: Vec<_> = certificates.iter().map(|certificate| certificate.der().to_vec()).collect();
    ders.sort_unstable();
    ders.dedup();
    let nothing = set_of(SET, Vec::new());
    let content = wrapped(SEQUENCE, &[&ID_DATA]);
    let signed_data = wrapped(SEQUENCE, &[&VERSION, &nothing, &content, &set_of(explicit(0), ders), &nothing]);
    wrapped(SEQUENCE, &[&ID_SIGNED_DATA, &wrapped(explicit(0), &[&signed_data])])
}

#[cfg(test)]
mod tests {
    use super::{super::elements::Elements, *};
    use crate::source::draft::certificate;

    #[test]
    fn each_certificate_is_there_once_in_order_and_nothing_is_signed() {
        let (one, two) = (certificate("CA", 7, &[]), certificate("Root", 3, &[]));
        let message = certs_only(&[one.clone(), two.clone(), one.clone()]);
        let mut info = Elements::only(&message, SEQUENCE).unwrap();
        assert_eq!(info.any().unwrap().whole, ID_SIGNED_DATA);
        let mut data = Elements::only(info.expect(explicit(0)).unwrap(), SEQUENCE).unwrap();
        assert_eq!((data.any().unwrap().whole, data.expect(SET).unwrap()), (&VERSION[..], &[][..]));
        assert_eq!(data.expect(SEQUENCE).unwrap(), ID_DATA);
        let certificates = data.expect(explicit(0)).unwrap();
        let mut expected = [one.der(), two.der()];
        expected.sort_unstable();
        assert_eq!(certificates, expected.concat());
        assert!(data.expect(SET).unwrap().is_empty());
        assert!(data.finish().is_ok() && info.finish().is_ok());
    }
}
