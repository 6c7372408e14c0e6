//! What one file of a directory says. Pure.
//!
//! Purpose: a certificate says its serial number and its end; a file that holds no certificate lists the serial number that
//! it is named by, as Microsoft's online responder has it. Invariant: what begins like a certificate and is none, or not a
//! whole one, lists nobody, whatever its name; a certificate of another CA lists nobody here. It does not know other files.
//!
//! Signatures are not verified: the directory is the operator's, and is trusted as a database of `openssl ca` is. They are
//! asked only where a certificate has the CA's name and another authorityKeyIdentifier than the CA's key: CAs have the same
//! name under several keys, and write their identifiers in several ways.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, sync::Arc};

use aws_lc_rs::digest;

use crate::{
    pki::{
        Certificate, Instant, Serial, UnixTime,
        elements::{Elements, Named as _},
        is_same_name, pem,
        tag::{BIT_STRING, BOOLEAN, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, explicit, implicit},
        written::{self, Radix},
    },
    records::CertificateHash,
};

/// What is known of a certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Issued {
    pub(super) serial: Serial,
    pub(super) of: Known,
}

/// The same without its serial number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Known {
    /// [`UnixTime::MAX`] if nothing says it.
    pub(super) end: UnixTime,
    /// Its hash, where answers carry that and a file holds the certificate; shared by all that know it.
    pub(super) sha256: Option<Arc<CertificateHash>>,
}

impl Known {
    /// What a name says.
    pub(super) const BY_NAME: Self = Self { end: UnixTime::MAX, sha256: None };
}

/// What a file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It holds certificates: those of the issuer, and how many others.
    Certificates(Vec<Issued>, usize),
    /// It holds none, and its name is a serial number.
    Name(Serial),
    /// It cannot be read, or not yet: why, completing its name.
    Broken(String),
    /// It is something else: what, completing its name.
    Other(String),
}

/// Whose certificates are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    issuer: Certificate,
    /// Its subjectKeyIdentifier, if it has one.
    key: Option<Vec<u8>>,
    names: Radix,
    /// Whether the hashes of certificates are wanted.
    hashes: bool,
}

/// Content bytes of id-ce-subjectKeyIdentifier and id-ce-authorityKeyIdentifier.
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 14];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 35];

impl Wanted {
    /// `names`: how names are serial numbers; `hashes`: whether the hashes of certificates are wanted.
    pub(super) fn new(issuer: Certificate, names: Radix, hashes: bool) -> Self {
        let key = issuer.extension(SUBJECT_KEY).and_then(|value| Elements::only(value, OCTET_STRING).ok());
        let key = key.map(|key| key.rest().to_vec());
        Self { issuer, key, names, hashes }
    }

    /// What a file with this name and content says.
    pub(super) fn read(&self, name: &OsStr, content: &[u8]) -> Said {
        const LONG_FORM: std::ops::RangeInclusive<u8> = 0x80..=0xff;
        // A text may begin with `0`, which is the tag of a SEQUENCE.
        if let [SEQUENCE, length, ..] = content
            && LONG_FORM.contains(length)
        {
            return match self.certificate(content) {
                Ok(issued) => {
                    let others = usize::from(issued.is_none());
                    Said::Certificates(issued.into_iter().collect(), others)
                }
                Err(problem) => Said::Broken(format!("is no certificate in DER, or half of one: {problem}")),
            };
        }
        let sections = match pem::sections(content) {
            Ok(sections) => sections,
            Err(damage) => return Said::Broken(damage.to_string()),
        };
        if !sections.is_empty() {
            return self.of_pem(content, &sections);
        }
        if content.starts_with(b"-----") {
            return Said::Broken("begins like PEM, and ends before it is whole".to_owned());
        }
        match self.serial_of(name) {
            Some(serial) => Said::Name(serial),
            None => Said::Other("is neither a certificate nor named by a serial number".to_owned()),
        }
    }

    fn of_pem(&self, content: &[u8], sections: &[pem::Section]) -> Said {
        let (mut own, mut others, mut any) = (Vec::new(), 0, false);
        for section in sections.iter().filter(|section| section.label.ends_with("CERTIFICATE")) {
            any = true;
            let issued = section.content().map_err(|damage| damage.to_string()).and_then(|der| {
                // OpenSSL's trust settings may follow the certificate.
                let length = Elements::new(der).any().map_or(der.len(), |first| first.whole.len());
                self.certificate(&der[..length])
            });
            match issued {
                Ok(Some(issued)) => own.push(issued),
                Ok(None) => others += 1,
                Err(problem) => return Said::Broken(format!("holds something that is no certificate: {problem}")),
            }
        }
        if any {
            return Said::Certificates(own, others);
        }
        Said::Other(format!("holds no certificate: {}", pem::told(content, sections)))
    }

    /// The serial number that a name is, up to its first dot.
    fn serial_of(&self, name: &OsStr) -> Option<Serial> {
        let stem = name.as_bytes().split(|byte| *byte == b'.').next()?;
        let is_digit = |byte: &u8| match self.names {
            Radix::Hexadecimal => byte.is_ascii_hexdigit(),
            Radix::Decimal => byte.is_ascii_digit(),
        };
        let stem = str::from_utf8(stem).ok().filter(|stem| stem.bytes().all(|byte| is_digit(&byte)))?;
        written::serial(stem, self.names).ok()
    }

    /// What a certificate says if it is the issuer's; `None` if it is another's.
    fn certificate(&self, der: &[u8]) -> Result<Option<Issued>, String> {
        let mut parts = Elements::only(der, SEQUENCE).named("Certificate")?;
        let mut tbs = Elements::new(parts.expect(SEQUENCE).named("tbsCertificate")?);
        parts.expect(SEQUENCE).named("signatureAlgorithm")?;
        parts.expect(BIT_STRING).named("signatureValue")?;
        parts.finish().named("Certificate")?;
        tbs.optional(explicit(0)).named("version")?;
        let serial = tbs.expect(INTEGER).named("serialNumber")?;
        tbs.expect(SEQUENCE).named("signature")?;
        let issuer = tbs.whole().named("issuer")?;
        let mut validity = Elements::new(tbs.expect(SEQUENCE).named("validity")?);
        Instant::read(&mut validity, "notBefore")?;
        let end = Instant::read(&mut validity, "notAfter")?.clamped();
        tbs.expect(SEQUENCE).named("subject")?;
        tbs.expect(SEQUENCE).named("subjectPublicKeyInfo")?;
        for unique in [1, 2] {
            tbs.optional(implicit(unique)).named("uniqueID")?;
        }
        let extensions = tbs.optional(explicit(3)).named("extensions")?;
        tbs.finish().named("tbsCertificate")?;
        if !is_same_name(issuer, self.issuer.subject_der()) || !self.is_of_key(extensions, der) {
            return Ok(None);
        }
        let serial = Serial::from_der_content(serial);
        let serial = serial.ok_or("its serial number is 0, negative or over 20 bytes, which nobody can ask for")?;
        let sha256 = self.hashes.then(|| Arc::new(sha256(der)));
        Ok(Some(Issued { serial, of: Known { end, sha256 } }))
    }

    /// Whether it may be of the issuer's key, as far as it says.
    fn is_of_key(&self, extensions: Option<&[u8]>, der: &[u8]) -> bool {
        let (Some(own), Some(named)) = (&self.key, extensions.and_then(authority_key)) else { return true };
        own == named
            || Certificate::from_der(der).is_ok_and(|certificate| certificate.verify_issued_by(&self.issuer).is_ok())
    }
}

fn sha256(der: &[u8]) -> CertificateHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    hash
}

/// The keyIdentifier of authorityKeyIdentifier (RFC 5280 section 4.2.1.1); `None` if it cannot be read.
fn authority_key(extensions: &[u8]) -> Option<&[u8]> {
    let mut list = Elements::only(extensions, SEQUENCE).ok()?;
    while let Ok(extension) = list.expect(SEQUENCE) {
        let mut fields = Elements::new(extension);
        if fields.expect(OBJECT_IDENTIFIER).ok()? != AUTHORITY_KEY {
            continue;
        }
        fields.optional(BOOLEAN).ok()?;
        let value = Elements::only(fields.expect(OCTET_STRING).ok()?, SEQUENCE).ok()?;
        let mut value = value;
        return value.optional(implicit(0)).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::draft;

    fn wanted() -> Wanted {
        Wanted::new(draft::issuer(), Radix::Hexadecimal, false)
    }

    fn read(name: &str, content: &[u8]) -> Said {
        wanted().read(OsStr::new(name), content)
    }

    fn serial(hex: &str) -> Serial {
        Serial::from_hex(hex).unwrap()
    }

    fn pem(der: &[u8]) -> Vec<u8> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        format!(
            "Certificate:\n  Data: text\n-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            BASE64_STANDARD.encode(der)
        )
        .into_bytes()
    }

    #[test]
    fn a_certificate_counts_by_what_it_says_and_another_file_by_its_name() {
        let own = draft::issued("leaf", 1, ("CA", 7), &[draft::TODAY, draft::TOMORROW], &[]);
        let of = Known { end: own.not_after(), sha256: None };
        let issued = Issued { serial: own.serial().unwrap(), of };
        let other = draft::issued("leaf", 1, ("Other", 7), &[draft::TODAY, draft::TOMORROW], &[]);
        assert_eq!(read("anything", own.der()), Said::Certificates(vec![issued.clone()], 0));
        assert_eq!(read("0A.pem", &pem(own.der())), Said::Certificates(vec![issued.clone()], 0));
        assert_eq!(read("x", &[pem(own.der()), pem(other.der())].concat()), Said::Certificates(vec![issued], 1));
        assert_eq!(read("0A.crt", other.der()), Said::Certificates(Vec::new(), 1));
        for (name, content) in [("0a", ""), ("0A.cer", ""), ("0A.tar.gz", "0A1B\n"), ("000A", "issued today")] {
            assert_eq!(read(name, content.as_bytes()), Said::Name(serial("0A")), "{name}");
        }
        let decimal = Wanted::new(draft::issuer(), Radix::Decimal, false);
        assert_eq!(decimal.read(OsStr::new("10"), b""), Said::Name(serial("0A")));
        assert!(matches!(decimal.read(OsStr::new("0A"), b""), Said::Other(_)));
        for name in ["README", "x0A", "0A-1", "0x0A", "0a:1b", "-0A", "", "0", "00.pem", &"F".repeat(42), " 0A"] {
            assert!(matches!(read(name, b""), Said::Other(_)), "{name}");
        }
        assert!(matches!(wanted().read(OsStr::from_bytes(b"\xff0A"), b""), Said::Other(_)));
        assert!(matches!(wanted().read(OsStr::from_bytes(b"\xff"), own.der()), Said::Certificates(..)));
    }

    /// Whatever stands around a certificate in its file is not in its hash.
    #[test]
    fn the_hash_is_that_of_the_certificate_alone() {
        let own = draft::issued("leaf", 1, ("CA", 7), &[draft::TODAY, draft::TOMORROW], &[]);
        let wanted = Wanted::new(draft::issuer(), Radix::Hexadecimal, true);
        let trusted = [own.der(), &draft::sequence::<Vec<u8>>(&[])].concat();
        let text = String::from_utf8(pem(&trusted)).unwrap().replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        for content in [own.der(), &pem(own.der()), text.as_bytes()] {
            let Said::Certificates(read, 0) = wanted.read(OsStr::new("x"), content) else { panic!("a certificate") };
            assert_eq!(read[0].of.sha256.as_deref(), Some(&sha256(own.der())));
        }
    }

    #[test]
    fn half_of_a_certificate_lists_nobody_whatever_its_name() {
        let own = draft::issued("leaf", 1, ("CA", 7), &[draft::TODAY, draft::TOMORROW], &[]);
        for end in 2..own.der().len() {
            assert!(matches!(read("0A", &own.der()[..end]), Said::Broken(_)), "DER {end}");
        }
        let whole = pem(own.der());
        let begin = whole.windows(5).position(|five| five == b"-----").unwrap();
        // Without its end the last line may be missing as well.
        for end in begin + 28..whole.len() - 2 {
            assert!(matches!(read("0A", &whole[..end]), Said::Broken(_)), "PEM {end}");
        }
        assert!(matches!(read("0A", b"-----BEGIN CERT"), Said::Broken(_)));
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let Said::Other(told) = read("0A", key) else { panic!("a key is no certificate") };
        assert!(told.contains("PRIVATE KEY") && !told.contains("AAAA"), "{told}");
        let request = draft::sequence(&[draft::sequence(&[vec![2, 1, 0], vec![0x30; 200]])]);
        assert!(matches!(read("0A", &request), Said::Broken(_)));
    }

    /// A CA that has begun a new key under its name has certificates of both in one directory.
    #[test]
    fn certificates_of_another_key_under_the_same_name_are_told_by_their_key_identifier_or_signature() {
        let key_id = |id: u8| draft::extension(14, false, draft::element(0x04, [id; 4]));
        let authority = |id: u8| draft::extension(35, false, draft::sequence(&[draft::element(0x80, [id; 4])]));
        let issuer = draft::certificate("CA", 7, &[key_id(7)]);
        let wanted = Wanted::new(issuer, Radix::Hexadecimal, false);
        let of = |seed, extensions: &[Vec<u8>]| {
            let leaf = draft::issued("leaf", 1, ("CA", seed), &[draft::TODAY, draft::TOMORROW], extensions);
            matches!(wanted.read(OsStr::new("x"), leaf.der()), Said::Certificates(own, 0) if own.len() == 1)
        };
        assert!(of(7, &[authority(7)]));
        assert!(!of(8, &[authority(8)]), "another key");
        assert!(of(7, &[authority(9)]), "the same key, which is named otherwise");
        assert!(of(7, &[]), "it says nothing of its key");
    }
}
