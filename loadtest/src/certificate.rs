//! X.509 certificates, as far as judging a signer needs them.
//!
//! Invariant: the bytes that were signed are kept as they came, never encoded again. It does not know trust: `trust`
//! does.

use crate::der::{AlgorithmIdentifier, Malformed, Read, Reader, only, tag};
use crate::hash::Hash;
use crate::limits::CERT_FILE_OCTETS_MAX;
use crate::oid;
use crate::problem::Problem;
use crate::signature::{PublicKey, Refused};
use crate::time::{UnixSeconds, certificate_time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Read as _;
use std::path::Path;

/// extKeyUsage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtendedKeyUsage {
    pub(crate) critical: bool,
    /// Content bytes of each KeyPurposeId.
    pub(crate) purposes: Vec<Vec<u8>>,
}

/// A parsed certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    /// Content bytes of serialNumber.
    pub(crate) serial: Vec<u8>,
    /// The issuer Name's whole encoding.
    pub(crate) issuer: Vec<u8>,
    /// The subject Name's whole encoding.
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: UnixSeconds,
    pub(crate) not_after: UnixSeconds,
    pub(crate) key: PublicKey,
    pub(crate) extended_key_usage: Option<ExtendedKeyUsage>,
    /// cA of basicConstraints; `None` where the extension is absent.
    pub(crate) is_ca: Option<bool>,
    /// First byte of keyUsage (digitalSignature is its top bit); `None` where the extension is absent.
    pub(crate) key_usage: Option<u8>,
    pub(crate) subject_key_identifier: Option<Vec<u8>>,
    tbs: std::ops::Range<usize>,
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// keyUsage digitalSignature (bit 0).
const DIGITAL_SIGNATURE: u8 = 0x80;
/// keyUsage nonRepudiation (bit 1).
const NON_REPUDIATION: u8 = 0x40;
/// keyUsage keyCertSign (bit 5).
const KEY_CERT_SIGN: u8 = 0x04;

impl Certificate {
    /// From DER without anything after it.
    pub(crate) fn from_der(der: &[u8]) -> Read<Self> {
        let outer = only(der, tag::SEQUENCE, "Certificate")?;
        let mut reader = Reader::new(outer.content);
        let tbs = reader.tlv(tag::SEQUENCE, "TBSCertificate")?;
        let signature_algorithm = reader.tlv(tag::SEQUENCE, "signatureAlgorithm")?.content;
        let signature = reader.bit_string("signatureValue")?.to_vec();
        reader.finish("Certificate")?;
        AlgorithmIdentifier::from_content(signature_algorithm, "signatureAlgorithm")?;

        let mut fields = Reader::new(tbs.content);
        fields.optional(tag::context(0), "version")?;
        let serial = fields.content(tag::INTEGER, "serialNumber")?.to_vec();
        let inner_algorithm = fields.content(tag::SEQUENCE, "signature")?;
        if inner_algorithm != signature_algorithm {
            return Err(Malformed("signature algorithms differ"));
        }
        let issuer = fields.tlv(tag::SEQUENCE, "issuer")?.whole.to_vec();
        let mut validity = fields.nested(tag::SEQUENCE, "validity")?;
        let not_before = certificate_time(validity.any("notBefore")?)?;
        let not_after = certificate_time(validity.any("notAfter")?)?;
        let subject = fields.tlv(tag::SEQUENCE, "subject")?.whole.to_vec();
        let key = PublicKey::read(fields.content(tag::SEQUENCE, "subjectPublicKeyInfo")?)?;
        fields.optional(tag::context_primitive(1), "issuerUniqueID")?;
        fields.optional(tag::context_primitive(2), "subjectUniqueID")?;
        // The header of TBSCertificate starts where the outer content does.
        let tbs_start = der.len() - outer.content.len();
        let mut certificate = Self {
            der: der.to_vec(),
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            key,
            extended_key_usage: None,
            is_ca: None,
            key_usage: None,
            subject_key_identifier: None,
            tbs: tbs_start..tbs_start + tbs.whole.len(),
            signature_algorithm: signature_algorithm.to_vec(),
            signature,
        };
        if let Some(extensions) = fields.optional(tag::context(3), "extensions")? {
            certificate.read_extensions(only(extensions.content, tag::SEQUENCE, "extensions")?.content)?;
        }
        fields.finish("TBSCertificate")?;
        Ok(certificate)
    }

    fn read_extensions(&mut self, content: &[u8]) -> Read<()> {
        let mut reader = Reader::new(content);
        while !reader.is_empty() {
            let extension = Extension::read(&mut reader)?;
            let value = extension.value;
            match extension.oid {
                oid::EXTENDED_KEY_USAGE => {
                    let mut list = Reader::new(only(value, tag::SEQUENCE, "extKeyUsage")?.content);
                    let mut purposes = Vec::new();
                    while !list.is_empty() {
                        purposes.push(list.content(tag::OID, "KeyPurposeId")?.to_vec());
                    }
                    self.extended_key_usage = Some(ExtendedKeyUsage { critical: extension.critical, purposes });
                }
                oid::BASIC_CONSTRAINTS => {
                    let mut fields = Reader::new(only(value, tag::SEQUENCE, "basicConstraints")?.content);
                    self.is_ca = Some(fields.optional(tag::BOOLEAN, "cA")?.is_some_and(|b| b.content == [0xff]));
                }
                oid::KEY_USAGE => {
                    let bits = only(value, tag::BIT_STRING, "keyUsage")?.content;
                    self.key_usage = Some(bits.get(1).copied().unwrap_or(0));
                }
                oid::SUBJECT_KEY_IDENTIFIER => {
                    let id = only(value, tag::OCTET_STRING, "subjectKeyIdentifier")?.content;
                    self.subject_key_identifier = Some(id.to_vec());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether this certificate was issued by that one: names chain and the signature verifies.
    pub(crate) fn is_issued_by(&self, issuer: &Certificate) -> Result<(), Refused> {
        if self.issuer != issuer.subject {
            return Err(Refused::Bad);
        }
        let algorithm = AlgorithmIdentifier::from_content(&self.signature_algorithm, "signatureAlgorithm")
            .map_err(|_| Refused::Unsupported)?;
        issuer.key.verify(&algorithm, None, &self.der[self.tbs.clone()], &self.signature)
    }

    pub(crate) fn is_valid_at(&self, now: UnixSeconds) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    pub(crate) fn has_purpose(&self, purpose: &[u8]) -> bool {
        self.extended_key_usage.as_ref().is_some_and(|e| e.purposes.iter().any(|p| p == purpose))
    }

    /// keyUsage, where present, allows signing data.
    pub(crate) fn may_sign(&self) -> bool {
        self.key_usage.is_none_or(|bits| bits & (DIGITAL_SIGNATURE | NON_REPUDIATION) != 0)
    }

    /// basicConstraints and keyUsage allow issuing certificates.
    pub(crate) fn may_issue(&self) -> bool {
        self.is_ca == Some(true) && self.key_usage.is_none_or(|bits| bits & KEY_CERT_SIGN != 0)
    }

    /// SHA-1 of the key bits: KeyHash of a ResponderID (RFC 6960 section 4.2.1).
    pub(crate) fn key_hash(&self) -> aws_lc_rs::digest::Digest {
        Hash::Sha1.digest(&self.key.bits)
    }
}

/// Extension, borrowed: shared by certificates and OCSP messages.
pub(crate) struct Extension<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    /// Content of extnValue.
    pub(crate) value: &'a [u8],
}

impl<'a> Extension<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Read<Self> {
        let mut fields = reader.nested(tag::SEQUENCE, "Extension")?;
        let oid = fields.content(tag::OID, "extnID")?;
        let critical = match fields.optional(tag::BOOLEAN, "critical")? {
            Some(tlv) => Reader::new(tlv.whole).boolean("critical")?,
            None => false,
        };
        let value = fields.content(tag::OCTET_STRING, "extnValue")?;
        fields.finish("Extension")?;
        Ok(Self { oid, critical, value })
    }
}

/// Every certificate of a PEM file (text around them allowed, as openssl writes it), or the one of a DER file.
pub(crate) fn from_file(flag: &str, path: &Path) -> Result<Vec<Certificate>, Problem> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Problem::file(flag, path, &e))?;
    file.take(CERT_FILE_OCTETS_MAX + 1).read_to_end(&mut bytes).map_err(|e| Problem::file(flag, path, &e))?;
    if bytes.len() as u64 > CERT_FILE_OCTETS_MAX {
        return Err(Problem::new(format!(
            "{flag} {}: over {CERT_FILE_OCTETS_MAX} bytes, which is no certificate; name a PEM or DER file",
            path.display()
        )));
    }
    from_pem_or_der(&bytes).map_err(|why| {
        Problem::new(format!("{flag} {}: {why}; a PEM or DER file with X.509 certificates is needed", path.display()))
    })
}

fn from_pem_or_der(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    if bytes.first() == Some(&tag::SEQUENCE) {
        return Certificate::from_der(bytes).map(|c| vec![c]).map_err(|e| format!("not a certificate (at {})", e.0));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "neither PEM nor DER".to_owned())?;
    let mut certificates = Vec::new();
    let mut body: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match (line, &mut body) {
            ("-----BEGIN CERTIFICATE-----" | "-----BEGIN TRUSTED CERTIFICATE-----", _) => body = Some(String::new()),
            (_, Some(base64)) if line.starts_with("-----END ") => {
                let number = certificates.len() + 1;
                let der = STANDARD.decode(&*base64).map_err(|e| format!("certificate {number}: {e}"))?;
                let certificate =
                    Certificate::from_der(&der).map_err(|e| format!("certificate {number} is broken at {}", e.0))?;
                certificates.push(certificate);
                body = None;
            }
            (_, Some(base64)) => base64.push_str(line),
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(certificates)
}
