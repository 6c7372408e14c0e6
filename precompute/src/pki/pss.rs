//! RSASSA-PSS-params, RFC 4055 section 3.1. It does not know keys.

use der::{
    Reader as _, SliceReader, Tag, TagNumber,
    asn1::{ContextSpecific, ObjectIdentifier},
};
use x509_cert::spki::AlgorithmIdentifierRef;

const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

/// Hash functions of RSASSA-PSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PssHash {
    /// The default in the parameters; never accepted.
    Sha1,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl PssHash {
    fn identified(algorithm: &AlgorithmIdentifierRef<'_>) -> der::Result<Self> {
        let hash = match algorithm.oid {
            oid if oid == ObjectIdentifier::new_unwrap("1.3.14.3.2.26") => Self::Sha1,
            oid if oid == ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1") => Self::Sha256,
            oid if oid == ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2") => Self::Sha384,
            oid if oid == ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3") => Self::Sha512,
            oid => return Err(der::ErrorKind::OidUnknown { oid }.into()),
        };
        // RFC 4055 section 2.1: NULL and absent are the same.
        match algorithm.parameters {
            Some(parameters) if !parameters.is_null() => Err(Tag::Null.value_error()),
            _ => Ok(hash),
        }
    }

    /// The length of a digest in bytes.
    pub const fn length(self) -> u32 {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// How a signature was made, or what a key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PssParameters {
    /// The hash of the message.
    pub hash: PssHash,
    /// The hash of the mask generation function MGF1.
    pub mgf1_hash: PssHash,
    /// In bytes; in a key's parameters the minimum.
    pub salt_length: u32,
}

impl PssParameters {
    /// Reads a whole RSASSA-PSS-params, without copying. An error for an unused mask generation function, hash function
    /// or trailer.
    pub fn from_der(octets: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(octets)?;
        let read = reader.sequence(|fields| {
            let hash = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(fields, TagNumber::N0)?;
            let mgf = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(fields, TagNumber::N1)?;
            let salt_length = ContextSpecific::<u32>::decode_explicit(fields, TagNumber::N2)?;
            let trailer = ContextSpecific::<u32>::decode_explicit(fields, TagNumber::N3)?;
            let hash = hash.map_or(Ok(PssHash::Sha1), |hash| PssHash::identified(&hash.value))?;
            let mgf1_hash = match mgf {
                None => PssHash::Sha1,
                Some(mgf) if mgf.value.oid != MGF1 => {
                    return Err(der::ErrorKind::OidUnknown { oid: mgf.value.oid }.into());
                }
                Some(mgf) => {
                    let parameters = mgf.value.parameters.ok_or_else(|| Tag::Sequence.value_error())?;
                    PssHash::identified(&parameters.decode_as()?)?
                }
            };
            if trailer.is_some_and(|trailer| trailer.value != 1) {
                return Err(Tag::Integer.value_error());
            }
            Ok(Self { hash, mgf1_hash, salt_length: salt_length.map_or(20, |length| length.value) })
        })?;
        reader.finish(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Algorithm;

    #[test]
    fn what_is_left_out_is_the_default() {
        let default = PssParameters { hash: PssHash::Sha1, mgf1_hash: PssHash::Sha1, salt_length: 20 };
        assert_eq!(PssParameters::from_der(&[0x30, 0]), Ok(default));
    }

    #[test]
    fn parameters_that_are_none_are_refused() {
        let parameters = &Algorithm::RsaPssSha256.identifier()[13..];
        let read = PssParameters::from_der(parameters).unwrap();
        assert_eq!(read, PssParameters { hash: PssHash::Sha256, mgf1_hash: PssHash::Sha256, salt_length: 32 });
        for end in 0..parameters.len() {
            assert!(PssParameters::from_der(&parameters[..end]).is_err(), "cut at {end}");
        }
        assert!(PssParameters::from_der(&[parameters, &[0]].concat()).is_err(), "something behind them");
        let with_trailer = |trailer| {
            let mut octets = [parameters, &[0xa3, 0x03, 0x02, 0x01, trailer]].concat();
            octets[1] += 5;
            PssParameters::from_der(&octets)
        };
        assert_eq!(with_trailer(1), Ok(read));
        assert!(with_trailer(2).is_err());
        // A change of byte 8 of id-mgf1 makes it another function; a change of byte 2 of SHA-256's arc, an unknown
        // hash.
        for at in [parameters.windows(2).position(|w| w == [0x01, 0x08]).unwrap() + 1, 16] {
            let mut changed = parameters.to_vec();
            changed[at] = 0x77;
            assert!(PssParameters::from_der(&changed).is_err(), "byte {at}");
        }
    }
}
