//! An X.509 certificate with the bytes it arrived in.
//!
//! Hashes and signatures are over bytes, so the parts they need are kept as slices of the original and never encoded
//! again. It does not know whether a certificate is trusted.

use std::{fmt, ops::Range};

use aws_lc_rs::digest;
use der::{
    Decode as _, DecodeOwned, Encode as _,
    asn1::{BitString, ObjectIdentifier},
};
use x509_cert::{
    Version,
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName},
    name::Name,
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::Validity,
};

use super::{
    Instant, Serial, UnixTime, VerifyError,
    elements::{Elements, Named},
    is_same_name,
    name::{Unlike, shown},
    tag::SEQUENCE,
    verify_signed,
};

const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
/// id-kp-timeStamping
pub const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
/// id-ce-privateKeyUsagePeriod, 2.5.29.16, as the content bytes of the identifier.
const PRIVATE_KEY_USAGE_PERIOD: &[u8] = &[0x55, 0x1d, 0x10];
const OCSP_NOCHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");

/// A parsed certificate and its bytes.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    spki: Range<usize>,
    parsed: x509_cert::Certificate,
    validity_clamped: bool,
}

/// When a key may sign: the PrivateKeyUsagePeriod of its certificate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyPeriod {
    /// From when, if that is said.
    pub begins: Option<UnixTime>,
    /// Until when, if that is said.
    pub ends: Option<UnixTime>,
}

/// What the keyUsage of a time-stamping certificate allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeStampingKeyUsage {
    /// digitalSignature, or no restriction.
    Signs,
    /// nonRepudiation alone.
    VouchesAlone,
    /// It is not encoded correctly, but some clients read it all the same.
    Unreadable,
}

/// Bytes that are not a certificate: what is wrong, and in which field.
#[derive(Debug)]
pub struct CertificateError(String);

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not an X.509 certificate in DER: {}", self.0)
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Parses one certificate; trailing bytes are refused. Dates before 1970 are taken as 1970.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let outline = Outline::find(der).map_err(CertificateError)?;
        let clamped = outline.clamped(der);
        let parsed = x509_cert::Certificate::from_der(clamped.as_deref().unwrap_or(der));
        let parsed = parsed.map_err(|error| {
            let place = outline.fault(clamped.as_deref().unwrap_or(der)).unwrap_or("Certificate");
            CertificateError(format!("{} in {place}", error.kind()))
        })?;
        Ok(Self {
            der: der.to_vec(),
            tbs: outline.tbs,
            issuer: outline.issuer,
            subject: outline.subject,
            spki: outline.spki,
            parsed,
            validity_clamped: clamped.is_some(),
        })
    }

    /// The whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The signed part.
    pub(super) fn tbs(&self) -> &x509_cert::TbsCertificate {
        &self.parsed.tbs_certificate
    }

    /// The subject Name, DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    /// The issuer Name, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.der[self.spki.clone()]
    }

    /// The value of the subjectPublicKey BIT STRING, without tag, length and count of unused bits:
    /// what RFC 6960 section 4.1.1 hashes.
    pub fn public_key_octets(&self) -> &[u8] {
        self.parsed.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
    }

    /// The subject in RFC 4514 form, for people.
    pub fn subject(&self) -> String {
        shown(&self.parsed.tbs_certificate.subject)
    }

    /// The issuer in RFC 4514 form, for people.
    pub fn issuer(&self) -> String {
        shown(&self.parsed.tbs_certificate.issuer)
    }

    /// The serial number, if it is one that RFC 5280 allows.
    pub fn serial(&self) -> Option<Serial> {
        Serial::from_der_content(self.parsed.tbs_certificate.serial_number.as_bytes())
    }

    /// Start of validity.
    pub fn not_before(&self) -> UnixTime {
        self.parsed.tbs_certificate.validity.not_before.into()
    }

    /// End of validity.
    pub fn not_after(&self) -> UnixTime {
        self.parsed.tbs_certificate.validity.not_after.into()
    }

    /// Whether a date of its validity is before 1970, and was taken as 1970.
    pub fn is_validity_clamped(&self) -> bool {
        self.validity_clamped
    }

    /// Whether it is version 1, which has no extensions: nothing in it says whether it is a CA's.
    pub fn is_version_1(&self) -> bool {
        self.parsed.tbs_certificate.version == Version::V1
    }

    /// Whether it has a basicConstraints at all.
    pub fn has_basic_constraints(&self) -> bool {
        !matches!(self.parsed.tbs_certificate.get::<BasicConstraints>(), Ok(None))
    }

    /// RFC 5280 section 6.3.3 (f): a keyUsage, if present, must allow it.
    pub fn may_sign_crls(&self) -> bool {
        match self.parsed.tbs_certificate.get::<KeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, usage))) => usage.crl_sign(),
            Err(_) => false,
        }
    }

    /// Whether it has a readable keyUsage.
    pub fn has_key_usage(&self) -> bool {
        matches!(self.parsed.tbs_certificate.get::<KeyUsage>(), Ok(Some(_)))
    }

    /// The value of its extension with this extnID (content bytes of the identifier), DER.
    pub fn extension(&self, oid: &[u8]) -> Option<&[u8]> {
        let extensions = self.parsed.tbs_certificate.extensions.as_deref().unwrap_or_default();
        let extension = extensions.iter().find(|extension| extension.extn_id.as_bytes() == oid)?;
        Some(extension.extn_value.as_bytes())
    }

    /// Whether basicConstraints says that this is a CA.
    pub fn is_ca(&self) -> bool {
        matches!(self.parsed.tbs_certificate.get::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca)
    }

    /// Whether its key may sign data other than certificates and CRLs (RFC 5280 section 4.2.1.3): keyUsage allows it,
    /// or is absent.
    pub fn may_sign(&self) -> bool {
        match self.parsed.tbs_certificate.get::<KeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, usage))) => usage.digital_signature(),
            Err(_) => false,
        }
    }

    /// Whether it has the extended key usage id-kp-OCSPSigning.
    pub fn has_ocsp_signing(&self) -> bool {
        matches!(
            self.parsed.tbs_certificate.get::<ExtendedKeyUsage>(),
            Ok(Some((_, usages))) if usages.0.contains(&OCSP_SIGNING)
        )
    }

    /// Checks that it is for time-stamping only: extendedKeyUsage is critical and has only id-kp-timeStamping (RFC 3161
    /// section 2.3). The error says what it has instead.
    pub fn check_time_stamping_only(&self) -> Result<(), String> {
        let usages = self.parsed.tbs_certificate.get::<ExtendedKeyUsage>();
        match usages {
            Err(error) => Err(format!("has an extendedKeyUsage that is unreadable ({error})")),
            Ok(None) => Err("has no extendedKeyUsage".into()),
            Ok(Some((critical, usages))) => match &usages.0[..] {
                [TIME_STAMPING] if critical => Ok(()),
                [TIME_STAMPING] => Err("has an extendedKeyUsage timeStamping that is not critical".into()),
                _ => {
                    let listed: Vec<_> = usages.0.iter().map(ToString::to_string).collect();
                    Err(format!("has an extendedKeyUsage of {}", listed.join(", ")))
                }
            },
        }
    }

    /// Checks that its keyUsage, if any, is that of a time-stamping authority: digitalSignature or nonRepudiation, and
    /// nothing else, as openssl requires. The error says what it has instead.
    pub fn check_time_stamping_key_usage(&self) -> Result<TimeStampingKeyUsage, String> {
        let usage = match self.parsed.tbs_certificate.get::<KeyUsage>() {
            Ok(None) => return Ok(TimeStampingKeyUsage::Signs),
            Ok(Some((_, usage))) => usage,
            Err(_) => return Ok(TimeStampingKeyUsage::Unreadable),
        };
        let (signs, vouches) = (usage.digital_signature(), usage.non_repudiation());
        let others = [
            (usage.key_encipherment(), "keyEncipherment"),
            (usage.data_encipherment(), "dataEncipherment"),
            (usage.key_agreement(), "keyAgreement"),
            (usage.key_cert_sign(), "keyCertSign"),
            (usage.crl_sign(), "cRLSign"),
            (usage.encipher_only(), "encipherOnly"),
            (usage.decipher_only(), "decipherOnly"),
        ];
        let others: Vec<_> = others.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
        match (signs || vouches, &others[..]) {
            (false, _) => Err("has a keyUsage without digitalSignature and nonRepudiation".into()),
            (true, []) if signs => Ok(TimeStampingKeyUsage::Signs),
            (true, []) => Ok(TimeStampingKeyUsage::VouchesAlone),
            (true, others) => Err(format!("has a keyUsage with {}", others.join(", "))),
        }
    }

    /// When its key may sign, by its PrivateKeyUsagePeriod (RFC 3280 section 4.2.1.4; TSAs have it by ETSI EN 319 421
    /// section 7.6.2). `None` without the extension. The error says what is wrong with it.
    pub fn private_key_usage(&self) -> Result<Option<KeyPeriod>, String> {
        let Some(value) = self.extension(PRIVATE_KEY_USAGE_PERIOD) else { return Ok(None) };
        let fail = |what: &str| format!("has a PrivateKeyUsagePeriod that {what}");
        let mut fields = Elements::only(value, SEQUENCE).map_err(|error| fail(&format!("is unreadable ({error})")))?;
        let mut period = [None, None];
        // [0] IMPLICIT and [1] IMPLICIT GeneralizedTime.
        for (tag, time) in [0x80, 0x81].into_iter().zip(&mut period) {
            if fields.peek() == Some(tag) {
                let content = fields.any().map_err(|error| fail(&format!("is unreadable ({error})")))?.content;
                let read = Some(content).filter(|content| content.len() == 15).and_then(Instant::from_asn1_text);
                let read =
                    read.ok_or_else(|| fail("has a time that is no GeneralizedTime of the form YYYYMMDDHHMMSSZ"))?;
                *time = Some(read.clamped());
            }
        }
        fields.finish().map_err(|error| fail(&format!("is unreadable ({error})")))?;
        match period {
            [None, None] => Err(fail("says neither when the use of the key begins nor when it ends")),
            [Some(begin), Some(end)] if end <= begin => {
                Err(fail(&format!("ends at {end}, before it begins at {begin}")))
            }
            [begins, ends] => Ok(Some(KeyPeriod { begins, ends })),
        }
    }

    /// The names of its subjectAltName, each a whole GeneralName, DER.
    pub fn subject_alt_names(&self) -> Vec<Vec<u8>> {
        let names = self.parsed.tbs_certificate.get::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        names.iter().filter_map(|name| name.to_der().ok()).collect()
    }

    /// The serialNumber: the content bytes of the INTEGER, unchanged.
    pub fn serial_content(&self) -> &[u8] {
        self.parsed.tbs_certificate.serial_number.as_bytes()
    }

    /// Whether it has the extension id-pkix-ocsp-nocheck.
    pub fn has_ocsp_nocheck(&self) -> bool {
        let extensions = self.parsed.tbs_certificate.extensions.as_deref().unwrap_or_default();
        extensions.iter().any(|extension| extension.extn_id == OCSP_NOCHECK)
    }

    /// Checks that `issuer` is named as this certificate's issuer and that its key signed it. Does not check validity
    /// periods.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), VerifyError> {
        if !is_same_name(self.issuer_der(), issuer.subject_der()) {
            let unlike = Unlike { names: self.issuer_der(), is: issuer.subject_der() };
            return Err(VerifyError::Issuer(unlike.to_string()));
        }
        // What is outside of the signed part has to fit, too: X.509 clients refuse it otherwise.
        let (algorithm, signed) = (&self.parsed.signature_algorithm, &self.parsed.tbs_certificate.signature);
        let signature = self.parsed.signature.as_bytes().filter(|_| algorithm == signed);
        let signature = signature.ok_or(VerifyError::Signature)?;
        verify_signed(issuer.spki_der(), algorithm, &self.der[self.tbs.clone()], signature)
    }

    /// Whether both have the same name and key, such as a CA's old certificate and its renewed one.
    pub fn is_same_entity(&self, other: &Self) -> bool {
        is_same_name(self.subject_der(), other.subject_der()) && self.spki_der() == other.spki_der()
    }

    /// The SHA-256 hash of all of it.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.der()).as_ref());
        hash
    }

    /// Identifies the CA of this certificate wherever it is stored: SHA-256 over subject and key. A renewed CA
    /// certificate with the same name and key is the same issuer. It is over the unchanged bytes, since CertIDs hash
    /// those: one name written in two ways is two issuers here.
    pub fn issuer_fingerprint(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.subject_der());
        context.update(self.spki_der());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}

/// Compares the bytes, from which everything else was parsed.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject())
    }
}

/// Certificate of RFC 5280 section 4.1: the ranges of its fields.
struct Outline {
    tbs: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    spki: Range<usize>,
    /// The content of the validity dates before 1970.
    early: Vec<Range<usize>>,
    fields: Vec<Field>,
}

/// The range of a field, its name, and a check of its form.
type Field = (Range<usize>, &'static str, fn(&[u8]) -> bool);

impl Outline {
    fn find(der: &[u8]) -> Result<Self, String> {
        let at = |slice: &[u8]| {
            let start = (slice.as_ptr() as usize).saturating_sub(der.as_ptr() as usize);
            start..start + slice.len()
        };
        let mut parts = Elements::only(der, SEQUENCE).named("Certificate")?;
        let tbs = parts.any().named("tbsCertificate")?.whole;
        let mut fields = Elements::only(tbs, SEQUENCE).named("tbsCertificate")?;
        let mut found: Vec<Field> = Vec::new();
        let mut field = |fields: &mut Elements<'_>, name: &'static str, is_sound: fn(&[u8]) -> bool| {
            let whole = at(fields.any().named(name)?.whole);
            found.push((whole.clone(), name, is_sound));
            Ok::<_, String>(whole)
        };
        if fields.peek() == Some(0xa0) {
            field(&mut fields, "tbsCertificate.version", |_| true)?;
        }
        field(&mut fields, "tbsCertificate.serialNumber", is::<SerialNumber>)?;
        field(&mut fields, "tbsCertificate.signature", is::<AlgorithmIdentifierOwned>)?;
        let issuer = field(&mut fields, "tbsCertificate.issuer", is::<Name>)?;
        let mut ahead = fields;
        let mut validity = Elements::new(ahead.expect(SEQUENCE).named("validity")?);
        let mut early = Vec::new();
        for name in ["validity.notBefore", "validity.notAfter"] {
            let mut ahead = validity;
            let time = validity.any().named(name)?.content;
            // The parser reports what is not a date.
            if Instant::read(&mut ahead, name) == Ok(Instant::Before1970) {
                early.push(at(time));
            }
        }
        field(&mut fields, "tbsCertificate.validity", is::<Validity>)?;
        let subject = field(&mut fields, "tbsCertificate.subject", is::<Name>)?;
        let spki = field(&mut fields, "tbsCertificate.subjectPublicKeyInfo", is::<SubjectPublicKeyInfoOwned>)?;
        while !fields.is_finished() {
            field(&mut fields, "tbsCertificate.extensions", |_| false)?;
        }
        field(&mut parts, "signatureAlgorithm", is::<AlgorithmIdentifierOwned>)?;
        field(&mut parts, "signatureValue", is::<BitString>)?;
        parts.finish().named("Certificate")?;
        Ok(Self { tbs: at(tbs), issuer, subject, spki, early, fields: found })
    }

    /// The certificate with representable dates, if it has others.
    fn clamped(&self, der: &[u8]) -> Option<Vec<u8>> {
        const GENERALIZED_1970: &[u8; 15] = b"19700101000000Z";
        let mut clamped = (!self.early.is_empty()).then(|| der.to_vec())?;
        for date in &self.early {
            // A UTCTime is the same without the century.
            clamped[date.clone()].copy_from_slice(&GENERALIZED_1970[GENERALIZED_1970.len() - date.len()..]);
        }
        Some(clamped)
    }

    /// The first malformed field of a malformed certificate.
    fn fault(&self, der: &[u8]) -> Option<&'static str> {
        let fault = self.fields.iter().find(|(place, _, is_sound)| !is_sound(&der[place.clone()]))?;
        Some(fault.1)
    }
}

fn is<T: DecodeOwned>(der: &[u8]) -> bool {
    T::from_der(der).is_ok()
}

#[cfg(test)]
mod tests;
