//! Certificate revocation lists, complete and delta (RFC 5280 section 5).
//!
//! Purpose: a [`Crl`] is checked in full when it is read: issuer, signature, every extension, every entry. Afterwards
//! its entries can be walked any number of times, and no walk can fail. Invariant: an entry comes out exactly as the CA
//! signed it, or the CRL is refused; a critical extension that is not understood refuses it. It keeps the DER, and
//! nothing for each entry. It does not know the time (so not whether the CRL is current), or other CRLs:
//! [`Crl::applies_to`] says whether a delta fits a complete CRL.

use std::{fmt, ops::Range, path::Path};

use der::Decode as _;
use x509_cert::spki::AlgorithmIdentifierOwned;

use self::{entry::Rules, extension::CrlExtensions};
use super::{Oddities, REVOCATION_TIME_MAX, SourceError};
use crate::{
    limits,
    pki::{
        self, Certificate, Instant, UnixTime, Unlike,
        elements::{Elements, Named},
        is_same_name, pem,
        tag::{self, BIT_STRING, INTEGER, SEQUENCE},
    },
};

mod entry;
mod extension;
mod mark;
#[cfg(test)]
pub(crate) mod tests;

pub use entry::{Change, Entries, Entry};
pub use mark::{CrlMark, CrlMarks, CrlScope};

/// A CRL whose signature and entries were checked.
#[derive(Clone)]
pub struct Crl {
    der: Vec<u8>,
    header: CrlHeader,
    mark: CrlMark,
    /// Fingerprint of the issuer whose key verified the signature.
    issuer: [u8; 32],
    /// The value of issuingDistributionPoint in `der`.
    distribution_point: Option<Range<usize>>,
    /// The content of revokedCertificates in `der`.
    entries: Range<usize>,
    entry_count: usize,
    passed_over: usize,
    oddities: Oddities,
    rules: Rules,
}

/// What a CRL says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrlHeader {
    /// cRLNumber; CRLs of version 1 and many small CAs have none. A delta CRL always has one.
    pub number: Option<CrlNumber>,
    /// BaseCRLNumber of the deltaCRLIndicator: present exactly in a delta CRL.
    pub base: Option<CrlNumber>,
    /// thisUpdate.
    pub this_update: UnixTime,
    /// nextUpdate, not before thisUpdate.
    pub next_update: Option<UnixTime>,
    /// Which of the issuer's certificates it covers.
    pub coverage: Coverage,
}

/// Which certificates a CRL covers: fields of issuingDistributionPoint (RFC 5280 section 5.2.5). The absence of a
/// certificate from a CRL means something only if the CRL covers it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Coverage {
    /// End-entity certificates only.
    pub only_contains_user_certs: bool,
    /// CA certificates only.
    pub only_contains_ca_certs: bool,
    /// Only certificates that name its distribution point, which may be one of several shards.
    pub distribution_point: bool,
}

impl Coverage {
    /// All certificates of the issuer.
    pub fn is_complete(self) -> bool {
        self == Self::default()
    }
}

/// The fields that are set, in RFC 5280's words.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            (self.distribution_point, "distributionPoint"),
            (self.only_contains_user_certs, "onlyContainsUserCerts"),
            (self.only_contains_ca_certs, "onlyContainsCACerts"),
        ];
        f.write_str("issuingDistributionPoint")?;
        fields.iter().filter(|(set, _)| *set).try_for_each(|(_, field)| write!(f, " {field}"))
    }
}

/// A CRL number, 0 … 2^160−1 (RFC 5280 section 5.2.3: at most 20 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; CrlNumber::MAX_OCTETS]);

impl CrlNumber {
    /// From [`CrlNumber::padded`].
    pub const fn from_padded(padded: [u8; Self::MAX_OCTETS]) -> Self {
        Self(padded)
    }

    /// The most bytes of value that RFC 5280 allows.
    pub const MAX_OCTETS: usize = 20;

    /// From the content bytes of a DER INTEGER; `None` for a negative one and for one over 20 bytes of value.
    pub fn from_der_content(content: &[u8]) -> Option<Self> {
        let first = *content.first()?;
        if first & 0x80 != 0 {
            return None;
        }
        let start = content.iter().position(|&octet| octet != 0).unwrap_or(content.len());
        let value = &content[start..];
        let mut padded = [0; Self::MAX_OCTETS];
        padded[Self::MAX_OCTETS.checked_sub(value.len())?..].copy_from_slice(value);
        Some(Self(padded))
    }

    /// The 20 padded bytes, big-endian.
    pub const fn padded(&self) -> &[u8; Self::MAX_OCTETS] {
        &self.0
    }
}

/// `0x` and upper-case hexadecimal with an even number of digits, like openssl's crlnumber file.
impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.iter().position(|&octet| octet != 0).unwrap_or(Self::MAX_OCTETS - 1);
        f.write_str("0x")?;
        self.0[start..].iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlNumber({self})")
    }
}

impl Crl {
    /// Reads a file with one CRL, PEM (`X509 CRL`, with text around it) or DER, signed by `issuer`; at most
    /// [`limits::CRL_FILE_OCTETS_MAX`].
    pub fn read(path: &Path, issuer: &Certificate) -> Result<Self, SourceError> {
        let content = pki::read_opened(path, pki::open_regular(path), limits::CRL_FILE_OCTETS_MAX)?;
        Self::from_octets(content, issuer).map_err(|problem| SourceError::file(path, problem))
    }

    /// The same, from bytes in memory. The error is the problem alone.
    pub fn from_octets(content: Vec<u8>, issuer: &Certificate) -> Result<Self, String> {
        let der = if pem::is_der(&content) { content } else { from_pem(&content)? };
        Self::from_der(der, issuer)
    }

    fn from_der(der: Vec<u8>, issuer: &Certificate) -> Result<Self, String> {
        // In this order, bytes from a stranger cost no more than one look at the outline.
        let outline = Outline::find(&der).map_err(|problem| format!("is not a CRL in DER: {problem}"))?;
        if !is_same_name(outline.issuer, issuer.subject_der()) {
            return Err(Unlike { names: outline.issuer, is: issuer.subject_der() }.to_string());
        }
        outline.verify(issuer)?;

        let extensions = match outline.extensions {
            None => CrlExtensions::default(),
            Some(_) if !outline.version_2 => {
                return Err("is of version 1 and has extensions, which only version 2 can have".to_owned());
            }
            Some(content) => CrlExtensions::parse(content)?,
        };
        let header = outline.header(&extensions)?;
        let rules = Rules { extensions: outline.version_2, remove: header.base.is_some() };
        let mut oddities = outline.oddities();
        let (entry_count, passed_over) = Entries::validate(outline.entries, rules, &mut oddities)?;

        let at = |slice: &[u8]| {
            let start = (slice.as_ptr() as usize).saturating_sub(der.as_ptr() as usize);
            start..start + slice.len()
        };
        let (distribution_point, entries) = (extensions.distribution_point.map(at), at(outline.entries));
        let mark = CrlMark::of(outline.tbs, header.number, header.this_update);
        Ok(Self {
            header,
            mark,
            issuer: issuer.issuer_fingerprint(),
            distribution_point,
            entries,
            entry_count,
            passed_over,
            oddities,
            rules,
            der,
        })
    }

    /// What it says about itself.
    pub fn header(&self) -> &CrlHeader {
        &self.header
    }

    /// Its entries, in its order. A serial can come twice only if the CA lists it twice.
    pub fn entries(&self) -> Entries<'_> {
        let octets = self.der.get(self.entries.clone()).unwrap_or_default();
        Entries::validated(octets, self.rules, self.entry_count)
    }

    /// How many entries have a serial number that no certificate can have. They are not among [`Crl::entries`].
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// What was read differently from how the CRL writes it.
    pub fn oddities(&self) -> Option<&Oddities> {
        self.oddities.any()
    }

    /// A delta CRL: changes since a complete one, not the whole list.
    pub fn is_delta(&self) -> bool {
        self.header.base.is_some()
    }

    /// Whether this delta CRL can be combined with the complete CRL `base` (RFC 5280 sections 5.2.4 and 6.3.3 (c)). The
    /// error says why not.
    pub fn applies_to(&self, base: &Self) -> Result<(), String> {
        let (Some(from), Some(number)) = (self.header.base, self.header.number) else {
            return Err("is a complete CRL: expected a delta CRL".to_owned());
        };
        if base.is_delta() {
            return Err("applies to a complete CRL, and was given another delta CRL".to_owned());
        }
        if self.issuer != base.issuer {
            return Err("is by another issuer than the complete CRL".to_owned());
        }
        if self.distribution_point() != base.distribution_point() {
            return Err("has another issuingDistributionPoint than the complete CRL".to_owned());
        }
        let Some(complete) = base.header.number else {
            return Err("needs a complete CRL with a cRLNumber".to_owned());
        };
        if complete < from {
            return Err(format!("holds changes since CRL {from}, and the complete CRL is the older {complete}"));
        }
        // RFC 5280 section 5.2.3: a delta and a complete CRL issued together have the same number and content, so equal
        // numbers are accepted.
        if number < complete {
            return Err(format!("is CRL {number}, older than the complete CRL {complete}"));
        }
        Ok(())
    }

    /// The value of issuingDistributionPoint.
    fn distribution_point(&self) -> Option<&[u8]> {
        self.der.get(self.distribution_point.clone()?)
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({:?}, {} entries)", self.header, self.entry_count)
    }
}

/// The DER of the one CRL in a PEM file.
fn from_pem(content: &[u8]) -> Result<Vec<u8>, String> {
    let sections = pem::sections(content).map_err(|damage| damage.to_string())?;
    let mut crls = sections.iter().filter(|section| section.label == "X509 CRL");
    match (crls.next(), crls.next()) {
        (Some(crl), None) => Ok(crl.content().map_err(|damage| damage.to_string())?.to_vec()),
        (Some(_), Some(_)) => Err("holds more than one CRL: expected one to a file".to_owned()),
        (None, _) if pem::seems_private(content) => {
            Err("holds a private key, not a CRL; name the file of the CRL".to_owned())
        }
        (None, _) => {
            let told = pem::told(content, &sections);
            Err(format!("holds no CRL: expected PEM (`-----BEGIN X509 CRL-----`) or DER; {told}"))
        }
    }
}

/// CertificateList of RFC 5280 section 5.1, field by field, without interpretation.
struct Outline<'a> {
    tbs: &'a [u8],
    version_2: bool,
    inner_algorithm: &'a [u8],
    issuer: &'a [u8],
    this_update: Instant,
    next_update: Option<Instant>,
    /// Content of revokedCertificates. Absent if there are none (RFC 5280 section 5.1.2.6 says MUST; an empty list,
    /// which some CAs write, means the same).
    entries: &'a [u8],
    /// Content of crlExtensions' SEQUENCE.
    extensions: Option<&'a [u8]>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Outline<'a> {
    fn find(der: &'a [u8]) -> Result<Self, String> {
        let mut parts = Elements::only(der, SEQUENCE).named("CertificateList")?;
        let tbs = parts.any().named("tbsCertList")?.whole;
        let algorithm = parts.any().named("signatureAlgorithm")?.whole;
        let signature = match parts.expect(BIT_STRING).named("signatureValue")? {
            [0, signature @ ..] => signature,
            _ => return Err("signatureValue: expected a BIT STRING of whole bytes".to_owned()),
        };
        parts.finish().named("CertificateList")?;

        let mut fields = Elements::only(tbs, SEQUENCE).named("tbsCertList")?;
        let version_2 = match fields.optional(INTEGER).named("version")? {
            None => false,
            Some([1]) => true,
            Some(_) => return Err("version: expected none, or v2 (1)".to_owned()),
        };
        let inner_algorithm = fields.any().named("signature")?.whole;
        let issuer = fields.any().named("issuer")?.whole;
        let this_update = Instant::read(&mut fields, "thisUpdate")?;
        let next_update = match fields.peek() {
            Some(tag::UTC_TIME | tag::GENERALIZED_TIME) => Some(Instant::read(&mut fields, "nextUpdate")?),
            _ => None,
        };
        let entries = fields.optional(SEQUENCE).named("revokedCertificates")?.unwrap_or_default();
        let extensions = match fields.optional(0xa0).named("crlExtensions")? {
            None => None,
            Some(explicit) => Some(Elements::only(explicit, SEQUENCE).named("crlExtensions")?.rest()),
        };
        fields.finish().named("tbsCertList")?;
        Ok(Self {
            tbs,
            version_2,
            inner_algorithm,
            issuer,
            this_update,
            next_update,
            entries,
            extensions,
            algorithm,
            signature,
        })
    }

    fn verify(&self, issuer: &Certificate) -> Result<(), String> {
        // RFC 5280 section 5.1.1.2: only the inner one is signed.
        if self.algorithm != self.inner_algorithm {
            return Err("names one signature algorithm inside and another outside of what is signed".to_owned());
        }
        let algorithm = AlgorithmIdentifierOwned::from_der(self.algorithm)
            .map_err(|error| format!("is not a CRL in DER: signatureAlgorithm: {error}"))?;
        if !issuer.may_sign_crls() {
            return Err("cannot be checked: the issuer's keyUsage lacks cRLSign (RFC 5280, 6.3.3 (f))".to_owned());
        }
        pki::verify_signed(issuer.spki_der(), &algorithm, self.tbs, self.signature).map_err(|error| error.to_string())
    }

    fn oddities(&self) -> Oddities {
        let mut oddities = Oddities::default();
        let times = [("thisUpdate", Some(self.this_update)), ("nextUpdate", self.next_update)];
        for (field, _) in times.into_iter().filter(|(_, time)| *time == Some(Instant::Before1970)) {
            oddities.note_field(field, "is before 1970 (a UTCTime means 1950 to 2049): taken as over");
        }
        oddities
    }

    fn header(&self, extensions: &CrlExtensions<'_>) -> Result<CrlHeader, String> {
        let (number, base) = (extensions.number, extensions.base);
        match (base, number) {
            // RFC 5280 section 5.2.4 numbers them together with the complete CRLs of the same scope.
            (Some(_), None) => return Err("is a delta CRL without a cRLNumber (RFC 5280, 5.2.4)".to_owned()),
            (Some(base), Some(number)) if number < base => {
                return Err(format!("is delta CRL {number} and holds changes since a later CRL {base}"));
            }
            _ => {}
        }
        let this_update = self.this_update.clamped();
        // An end that cannot be represented is long past: the CRL ended when it began.
        let next_update = self.next_update.map(|next| match next {
            Instant::Held(next) => next,
            Instant::Before1970 => this_update,
        });
        if let Some(next_update) = next_update.filter(|next| *next < this_update) {
            return Err(format!("has the nextUpdate {next_update}, before its thisUpdate {this_update}"));
        }
        Ok(CrlHeader { number, base, this_update, next_update, coverage: extensions.coverage })
    }
}
