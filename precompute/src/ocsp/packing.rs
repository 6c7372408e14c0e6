//! Signatures without their DER.
//!
//! An Ecdsa-Sig-Value (RFC 3279 section 2.2.3) is two INTEGERs of varying length; without their encoding they are two
//! runs of bytes of the curve's length. Other signatures have one length and no structure. A packed signature fills
//! words of eight bytes; only ML-DSA signatures (2420, 3309 and 4627 bytes) need padding for that.
//!
//! Invariant: unpacking gives back the same bytes. It does not know keys.

use der::{Decode as _, asn1::UintRef};

use crate::pki::{
    Algorithm,
    elements::{Elements, magnitude},
    encode::{Unsigned, element, header},
    tag,
};

/// How the signatures of one key are packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// r and s, with this many bytes each.
    Ecdsa(usize),
    /// Unchanged, with this many bytes.
    Plain(usize),
}

impl Packing {
    /// For the key with this public half, as in subjectPublicKey. `None` for an unreadable RSA key.
    pub fn of(algorithm: Algorithm, public_key: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::EcdsaP256Sha256 => Self::Ecdsa(32),
            Algorithm::EcdsaP384Sha384 => Self::Ecdsa(48),
            // RFC 8032 section 5.1.6.
            Algorithm::Ed25519 => Self::Plain(64),
            // FIPS 204 section 4, table 2.
            Algorithm::MlDsa44 => Self::Plain(2420),
            Algorithm::MlDsa65 => Self::Plain(3309),
            Algorithm::MlDsa87 => Self::Plain(4627),
            // RFC 8017 sections 8.1.1 and 8.2.1: as long as the modulus, which comes first in RSAPublicKey.
            Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256 => {
                let numbers = Vec::<UintRef<'_>>::from_der(public_key).ok()?;
                Self::Plain(numbers.first()?.as_bytes().len())
            }
        })
    }

    /// Bytes of a packed signature.
    pub const fn length(self) -> usize {
        match self {
            Self::Ecdsa(octets) => 2 * octets,
            Self::Plain(octets) => octets.next_multiple_of(8),
        }
    }

    /// `None` if it is not such a signature in DER.
    pub fn pack(self, signature: &[u8]) -> Option<Vec<u8>> {
        let mut packed = vec![0; self.length()];
        match self {
            Self::Plain(octets) if octets == signature.len() => packed[..octets].copy_from_slice(signature),
            Self::Plain(_) => return None,
            Self::Ecdsa(octets) => {
                let mut integers = Elements::only(signature, tag::SEQUENCE).ok()?;
                for place in packed.chunks_exact_mut(octets) {
                    let magnitude = magnitude(integers.expect(tag::INTEGER).ok()?).ok()?;
                    let start = octets.checked_sub(magnitude.len())?;
                    place[start..].copy_from_slice(magnitude);
                }
                integers.finish().ok()?;
            }
        }
        Some(packed)
    }

    /// Writes the signature to `signature`, which is cleared first. What stands behind a packed signature is not looked at.
    #[inline]
    pub fn unpack(self, packed: &[u8], signature: &mut Vec<u8>) {
        signature.clear();
        let octets = match self {
            Self::Plain(octets) => return signature.extend_from_slice(&packed[..octets.min(packed.len())]),
            Self::Ecdsa(octets) => octets,
        };
        let packed = &packed[..packed.len().min(2 * octets)];
        let (r, s) = packed.split_at(octets.min(packed.len()));
        let (r, s) = (Unsigned::of(r), Unsigned::of(s));
        header(signature, tag::SEQUENCE, element(r.length()) + element(s.length()));
        r.put(signature, tag::INTEGER);
        s.put(signature, tag::INTEGER);
    }
}

#[cfg(test)]
mod tests {
    use der::{Encode as _, Sequence};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Sequence)]
    struct EcdsaSigValue<'a> {
        r: UintRef<'a>,
        s: UintRef<'a>,
    }

    proptest! {
        #[test]
        fn an_ecdsa_signature_comes_back_octet_for_octet(
            octets in proptest::sample::select(&[32usize, 48][..]),
            r in vec(any::<u8>(), 1..=48),
            s in vec(any::<u8>(), 1..=48),
        ) {
            let shorten = |mut integer: Vec<u8>| { integer.truncate(octets); *integer.last_mut().unwrap() |= 1; integer };
            let (r, s) = (shorten(r), shorten(s));
            let der = EcdsaSigValue { r: UintRef::new(&r).unwrap(), s: UintRef::new(&s).unwrap() }.to_der().unwrap();
            let packing = Packing::Ecdsa(octets);
            let packed = packing.pack(&der).unwrap();
            prop_assert_eq!(packed.len(), packing.length());
            let mut back = vec![1, 2, 3];
            packing.unpack(&packed, &mut back);
            prop_assert_eq!(back, der);
        }

        #[test]
        fn nothing_that_is_packed_comes_back_changed(octets in vec(any::<u8>(), 0..80)) {
            for packing in [Packing::Ecdsa(32), Packing::Plain(64), Packing::Plain(61)] {
                if let Some(packed) = packing.pack(&octets) {
                    let mut back = Vec::new();
                    packing.unpack(&packed, &mut back);
                    prop_assert_eq!(&back, &octets);
                }
            }
        }
    }

    #[test]
    fn how_a_signature_is_packed_is_told_by_the_algorithm_and_the_key() {
        // RSAPublicKey with a modulus of 2048 bits, and one of 2049, whose first byte is 1.
        let rsa =
            |modulus: &[u8]| [UintRef::new(modulus).unwrap(), UintRef::new(&[1, 0, 1]).unwrap()].to_der().unwrap();
        for algorithm in [Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256] {
            assert_eq!(Packing::of(algorithm, &rsa(&[0xff; 256])), Some(Packing::Plain(256)));
            assert_eq!(Packing::of(algorithm, &rsa(&[&[1][..], &[0; 256]].concat())), Some(Packing::Plain(257)));
            assert_eq!(Packing::of(algorithm, &[4; 65]), None);
        }
        assert_eq!(Packing::of(Algorithm::EcdsaP256Sha256, &[]), Some(Packing::Ecdsa(32)));
        assert_eq!(Packing::of(Algorithm::EcdsaP384Sha384, &[]), Some(Packing::Ecdsa(48)));
        assert_eq!(Packing::of(Algorithm::Ed25519, &[]), Some(Packing::Plain(64)));
    }

    #[test]
    fn what_is_no_signature_in_der_is_not_packed() {
        let good = [0x30, 0x06, 0x02, 0x01, 0x05, 0x02, 0x01, 0x07];
        assert!(Packing::Ecdsa(32).pack(&good).is_some());
        for (why, der) in [
            ("empty", &[][..]),
            ("trailing bytes", &[0x30, 0x06, 0x02, 0x01, 0x05, 0x02, 0x01, 0x07, 0x00]),
            ("trailing bytes inside", &[0x30, 0x07, 0x02, 0x01, 0x05, 0x02, 0x01, 0x07, 0x00]),
            ("one integer", &[0x30, 0x03, 0x02, 0x01, 0x05]),
            ("negative", &[0x30, 0x06, 0x02, 0x01, 0x85, 0x02, 0x01, 0x07]),
            ("not minimal", &[0x30, 0x07, 0x02, 0x02, 0x00, 0x05, 0x02, 0x01, 0x07]),
            ("zero", &[0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x07]),
            ("empty integer", &[0x30, 0x05, 0x02, 0x00, 0x02, 0x01, 0x07]),
            ("long form of the length", &[0x30, 0x81, 0x06, 0x02, 0x01, 0x05, 0x02, 0x01, 0x07]),
        ] {
            assert_eq!(Packing::Ecdsa(32).pack(der), None, "{why}");
        }
        let long = [&[0x30, 0x26, 0x02, 0x21][..], &[1; 33], &[0x02, 0x01, 0x07]].concat();
        assert_eq!(Packing::Ecdsa(32).pack(&long), None, "an integer longer than the curve's");
        assert_eq!(Packing::Plain(64).pack(&[0; 63]), None);
        for end in 0..good.len() {
            assert_eq!(Packing::Ecdsa(32).pack(&good[..end]), None, "cut after {end}");
        }
    }
}
