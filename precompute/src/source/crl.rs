//! Certificate revocation lists (RFC 5280 section 5): complete, delta, of a part of the certificates, indirect.
//!
//! Purpose: a [`Crl`] is checked in full when it is read: issuer, signature, every extension, every entry. Afterwards
//! its entries can be walked any number of times, and no walk can fail. Invariant: no entry comes out milder than the CA
//! signed it; a critical extension that is not understood refuses the CRL, and entries of other CAs say nothing. It keeps
//! the DER, and nothing for each entry. It does not know the time (so not whether the CRL is current), or other CRLs:
//! [`Crl::applies_to`] says whether a delta fits a complete CRL.

use std::{fmt, ops::Range};

use self::{
    entry::{Counts, Rules},
    extension::CrlExtensions,
    issuers::Stranger,
    outline::Outline,
};
use super::{Oddities, REVOCATION_TIME_MAX, SourceError};
use crate::pki::UnixTime;

mod coverage;
mod date;
mod distribution;
mod entry;
mod extension;
mod file;
mod issuers;
mod mark;
mod marks;
mod number;
mod outline;
#[cfg(test)]
pub(crate) mod tests;

pub use coverage::Coverage;
pub use entry::{Change, Entries, Entry};
pub use file::CrlFile;
pub use issuers::{CrlIssuers, check_crl_issuer};
pub use mark::{CrlMark, CrlScope};
pub use marks::{CrlMarks, ScopeMarks};
pub use number::CrlNumber;

/// A CRL whose signature and entries were checked.
#[derive(Clone)]
pub struct Crl {
    der: Vec<u8>,
    header: CrlHeader,
    mark: CrlMark,
    /// Fingerprint of the issuer whose key verified the signature.
    signer: [u8; 32],
    /// Whether that is the CA's present key.
    is_own_key: bool,
    /// The CA's Name, DER.
    ca: Box<[u8]>,
    /// Whether its issuer has the CA's name.
    of_ca: bool,
    /// Whether its entries may have extensions.
    is_version_2: bool,
    /// The value of issuingDistributionPoint in `der`.
    distribution_point: Option<Range<usize>>,
    /// The value of freshestCRL in `der`.
    freshest: Option<Range<usize>>,
    /// The content of revokedCertificates in `der`.
    entries: Range<usize>,
    counts: Counts,
    oddities: Oddities,
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

impl Crl {
    fn from_der(der: Vec<u8>, issuers: &CrlIssuers<'_>) -> Result<Self, Stranger> {
        // In this order, bytes from a stranger cost no more than one look at the outline.
        let outline = Outline::find(&der).map_err(|problem| format!("is not a CRL in DER: {problem}"))?;
        let signer = issuers.signer(&outline)?;
        let extensions = outline.extensions.map_or_else(|| Ok(CrlExtensions::default()), CrlExtensions::parse)?;
        let header = header(&outline, &extensions)?;
        let of_ca = issuers.is_ca_name(signer);
        if !of_ca && !header.coverage.indirect_crl {
            let name = signer.subject();
            return Err(Stranger::Unproven(format!(
                "is by the CRL issuer `{name}`, and not an indirect CRL, so that it is about that one's own certificates (RFC 5280, 5.2.5)"
            )));
        }
        let rules =
            Rules { extensions: outline.is_version_2, remove: header.base.is_some(), ca: issuers.ca_name(), of_ca };
        let mut oddities = outline.oddities;
        let mut entries = outline.entries;
        let mut counts = Entries::validate(entries, rules, &mut oddities)?;
        if header.coverage.only_contains_attribute_certs {
            oddities.note_field(
                "issuingDistributionPoint",
                "has onlyContainsAttributeCerts: it says nothing of certificates",
            );
            (entries, counts) = (&[], Counts::default());
        }

        let at = |slice: &[u8]| {
            let start = (slice.as_ptr() as usize).saturating_sub(der.as_ptr() as usize);
            start..start + slice.len()
        };
        Ok(Self {
            header,
            mark: CrlMark::of(outline.tbs, header.number, header.this_update),
            signer: signer.issuer_fingerprint(),
            is_own_key: issuers.is_own_key(signer),
            ca: issuers.ca_name().into(),
            of_ca,
            is_version_2: outline.is_version_2,
            distribution_point: extensions.distribution_point.map(at),
            freshest: extensions.freshest.map(at),
            entries: if entries.is_empty() { 0..0 } else { at(entries) },
            counts,
            oddities,
            der,
        })
    }

    /// What it says about itself.
    pub fn header(&self) -> &CrlHeader {
        &self.header
    }

    /// Its entries about certificates of the CA, in its order. A serial can come twice only if the CA lists it twice.
    pub fn entries(&self) -> Entries<'_> {
        let octets = self.der.get(self.entries.clone()).unwrap_or_default();
        let rules = Rules { extensions: self.is_version_2, remove: self.is_delta(), ca: &self.ca, of_ca: self.of_ca };
        Entries::validated(octets, rules, self.counts.taken)
    }

    /// How many entries have a serial number that no certificate can have. They are not among [`Crl::entries`].
    pub fn passed_over(&self) -> usize {
        self.counts.passed_over
    }

    /// How many entries are about certificates of other CAs. They are not among [`Crl::entries`].
    pub fn of_others(&self) -> usize {
        self.counts.of_others
    }

    /// What was read differently from how the CRL writes it.
    pub fn oddities(&self) -> Option<&Oddities> {
        self.oddities.any()
    }

    /// A delta CRL: changes since a complete one, not the whole list.
    pub fn is_delta(&self) -> bool {
        self.header.base.is_some()
    }

    /// The URLs of its deltas (freshestCRL, RFC 5280 section 5.2.6), in order.
    pub fn freshest(&self) -> impl Iterator<Item = &str> {
        let value = self.freshest.clone().and_then(|freshest| self.der.get(freshest));
        value.map(distribution::urls).unwrap_or_default().into_iter()
    }

    /// The first URL of its issuingDistributionPoint, if it has one.
    pub fn url(&self) -> Option<&str> {
        distribution::own_urls(self.distribution_point()?).into_iter().next()
    }

    /// The CRL as it was signed.
    pub fn into_der(self) -> Vec<u8> {
        self.der
    }

    /// Whether this delta CRL can be combined with what there is of the same scope: the complete CRL `base`, and deltas up
    /// to `number` on top of it (RFC 5280 sections 5.2.4 and 6.3.3 (c)). The error says why not.
    pub fn applies_to(&self, base: &Self, number: Option<CrlNumber>) -> Result<(), String> {
        let (Some(from), Some(own)) = (self.header.base, self.header.number) else {
            return Err("is a complete CRL: expected a delta CRL".to_owned());
        };
        if base.is_delta() {
            return Err("applies to a complete CRL, and was given another delta CRL".to_owned());
        }
        if self.signer != base.signer {
            return Err("is by another issuer than the complete CRL, or signed with another key".to_owned());
        }
        if self.scope() != base.scope() {
            return Err("has another issuingDistributionPoint than the complete CRL".to_owned());
        }
        let Some(complete) = number else {
            return Err("needs a complete CRL with a cRLNumber".to_owned());
        };
        if complete < from {
            return Err(format!("holds changes since CRL {from}, and the complete CRL is the older {complete}"));
        }
        // RFC 5280 section 5.2.3: a delta and a complete CRL issued together have the same number and content, so equal
        // numbers are accepted.
        if own < complete {
            return Err(format!("is CRL {own}, older than the complete CRL {complete}"));
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
        write!(f, "Crl({:?}, {} entries)", self.header, self.counts.taken)
    }
}

fn header(outline: &Outline<'_>, extensions: &CrlExtensions<'_>) -> Result<CrlHeader, String> {
    let (number, base) = (extensions.number, extensions.base);
    match (base, number) {
        // RFC 5280 section 5.2.4 numbers them together with the complete CRLs of the same scope.
        (Some(_), None) => return Err("is a delta CRL without a cRLNumber (RFC 5280, 5.2.4)".to_owned()),
        (Some(base), Some(number)) if number < base => {
            return Err(format!("is delta CRL {number} and holds changes since a later CRL {base}"));
        }
        _ => {}
    }
    let Outline { this_update, next_update, .. } = *outline;
    Ok(CrlHeader { number, base, this_update, next_update, coverage: extensions.coverage })
}
