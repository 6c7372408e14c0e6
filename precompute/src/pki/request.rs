//! A certificate request (PKCS#10, RFC 2986) with the extensions that its purpose needs.
//!
//! Invariant: the signed bytes are the bytes that are sent. It does not know keys: the caller signs.

use std::fmt;

use der::{
    Decode as _, DecodePem as _, Encode as _, EncodePem as _, Tag, Tagged as _,
    asn1::{BitString, Null, ObjectIdentifier, OctetString, PrintableStringRef, Utf8StringRef},
    pem::LineEnding,
};
use x509_cert::{
    attr::Attribute,
    ext::{
        Extension,
        pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages},
    },
    name::Name,
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::Certificate;

const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const OCSP_NOCHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// What a certificate is for, and whom it names.
const ASKED_AGAIN: [ObjectIdentifier; 4] = [KEY_USAGE, EXTENDED_KEY_USAGE, OCSP_NOCHECK, SUBJECT_ALT_NAME];

/// What the certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Signing OCSP responses for the CA that issues it, RFC 6960 section 4.2.2.2.
    Ocsp,
    /// Time-stamping, RFC 3161 section 2.3.
    Tsa,
}

/// Why no request was made.
#[derive(Debug)]
pub enum RequestError {
    /// The subject cannot be understood.
    Subject(String),
    /// A value cannot be written as DER.
    Der(der::Error),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(problem) => {
                write!(f, "the subject {problem}; write it as CN=OCSP signer,O=Example,C=DE (RFC 4514)")
            }
            Self::Der(error) => write!(f, "the request cannot be written: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<der::Error> for RequestError {
    fn from(error: der::Error) -> Self {
        Self::Der(error)
    }
}

/// A request that has to be signed.
#[derive(Debug)]
pub struct Request(CertReqInfo);

impl Request {
    /// For the key with this AlgorithmIdentifier (DER) and these bytes in subjectPublicKey. `subject` has the form of
    /// RFC 4514, the most specific part first.
    pub fn new(
        subject: &str,
        purpose: Purpose,
        key_identifier: &[u8],
        public_key_octets: &[u8],
    ) -> Result<Self, RequestError> {
        let public_key = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned::from_der(key_identifier)?,
            subject_public_key: BitString::from_bytes(public_key_octets)?,
        };
        let extensions = Attribute::try_from(ExtensionReq(extensions(purpose)?))?;
        let mut attributes = x509_cert::attr::Attributes::new();
        attributes.insert(extensions)?;
        Ok(Self(CertReqInfo { version: Version::V1, subject: read_subject(subject)?, public_key, attributes }))
    }

    /// For the key and the subject of `certificate`, and what it is for: its keyUsage, extendedKeyUsage,
    /// id-pkix-ocsp-nocheck and subjectAltName are requested as they stand there. The rest, such as validity and policies,
    /// is the CA's to decide.
    pub fn again(certificate: &Certificate) -> Result<Self, RequestError> {
        let present = certificate.tbs();
        let is_asked = |extension: &&Extension| ASKED_AGAIN.contains(&extension.extn_id);
        let extensions: Vec<_> = present.extensions.iter().flatten().filter(is_asked).cloned().collect();
        let mut attributes = x509_cert::attr::Attributes::new();
        if !extensions.is_empty() {
            attributes.insert(Attribute::try_from(ExtensionReq(extensions))?)?;
        }
        let public_key = present.subject_public_key_info.clone();
        Ok(Self(CertReqInfo { version: Version::V1, subject: present.subject.clone(), public_key, attributes }))
    }

    /// Whether a request in PEM asks for the same, whatever its signature.
    pub fn is_in(&self, pem: &[u8]) -> bool {
        CertReq::from_pem(pem).is_ok_and(|request| request.info == self.0)
    }

    /// The bytes that the key has to sign.
    pub fn to_be_signed(&self) -> Result<Vec<u8>, RequestError> {
        Ok(self.0.to_der()?)
    }

    /// The whole request in PEM, signed with the algorithm of this AlgorithmIdentifier (DER).
    pub fn signed(self, algorithm_identifier: &[u8], signature: &[u8]) -> Result<String, RequestError> {
        let algorithm = AlgorithmIdentifierOwned::from_der(algorithm_identifier)?;
        let request = CertReq { info: self.0, algorithm, signature: BitString::from_bytes(signature)? };
        Ok(request.to_pem(LineEnding::LF)?)
    }
}

fn extensions(purpose: Purpose) -> Result<Vec<Extension>, RequestError> {
    let extension = |extn_id, critical, value: Vec<u8>| {
        Ok::<_, RequestError>(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
    };
    let usage = extension(KEY_USAGE, true, KeyUsage(KeyUsages::DigitalSignature.into()).to_der()?)?;
    let extended =
        |critical, purpose| extension(EXTENDED_KEY_USAGE, critical, ExtendedKeyUsage(vec![purpose]).to_der()?);
    Ok(match purpose {
        Purpose::Ocsp => {
            vec![usage, extended(false, OCSP_SIGNING)?, extension(OCSP_NOCHECK, false, Null.to_der()?)?]
        }
        // RFC 3161 section 2.3: critical, and the only one.
        Purpose::Tsa => vec![usage, extended(true, TIME_STAMPING)?],
    })
}

fn read_subject(text: &str) -> Result<Name, RequestError> {
    let fail = |problem: String| RequestError::Subject(problem);
    let name: Name = text.parse().map_err(|_| fail(format!("`{text}` cannot be read")))?;
    for attribute in name.0.iter().flat_map(|parts| parts.0.iter()) {
        let written = match attribute.value.tag() {
            Tag::PrintableString => PrintableStringRef::try_from(&attribute.value).is_ok(),
            Tag::Utf8String => Utf8StringRef::try_from(&attribute.value).is_ok(),
            _ => true,
        };
        if !written || attribute.value.value().is_empty() {
            return Err(fail(format!("`{text}` has a part that is empty, or has letters that may not stand there")));
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Algorithm;

    fn request(subject: &str, purpose: Purpose) -> Result<Request, RequestError> {
        Request::new(subject, purpose, Algorithm::Ed25519.key_identifier(), &[7; 32])
    }

    #[test]
    fn a_subject_is_written_most_specific_first_and_must_be_understood() {
        let subject = |text: &str| request(text, Purpose::Ocsp).map(|request| request.0.subject.to_string());
        assert_eq!(subject("CN=OCSP signer,O=Example,C=DE").unwrap(), "CN=OCSP signer,O=Example,C=DE");
        assert_eq!(subject("CN=Ünder").unwrap(), "CN=Ünder");
        for (text, problem) in [
            ("", "cannot be read"),
            ("OCSP", "cannot be read"),
            ("/CN=OCSP signer/O=Example", "cannot be read"),
            ("CN=", "has a part that is empty"),
            ("CN=OCSP,C=Dä", "may not stand there"),
        ] {
            let error = subject(text).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("CN=OCSP signer"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_stamping_key_is_for_nothing_else() {
        let Request(info) = request("CN=TSA", Purpose::Tsa).unwrap();
        let value = info.attributes.get(0).unwrap().values.get(0).unwrap();
        let extensions: Vec<Extension> = value.decode_as().unwrap();
        let [usage, extended] = &extensions[..] else { panic!("{extensions:?}") };
        assert_eq!((usage.extn_id, usage.critical), (KEY_USAGE, true));
        assert_eq!((extended.extn_id, extended.critical), (EXTENDED_KEY_USAGE, true));
        let usages = ExtendedKeyUsage::from_der(extended.extn_value.as_bytes()).unwrap();
        assert_eq!(usages.0, [TIME_STAMPING]);
    }
}
