//! Whose CRLs count for the certificates of a CA.
//!
//! Purpose: the CA itself, under its present key or another one, and CRL issuers that the CA has certified (RFC 5280
//! sections 5.1.1.3, 5.2.5 and 6.3.3 (f)). Invariant: a CRL counts only with the signature of one of them, whose
//! certificate allows to sign CRLs and is in force; a CRL issuer that is not the CA has a certificate by the CA. It does not
//! know what a CRL says.

use der::Decode as _;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::outline::Outline;
use crate::pki::{self, Certificate, UnixTime, Unlike, is_same_name};

/// The CA, and those whose CRLs count beside its own.
#[derive(Clone, Copy, Debug)]
pub struct CrlIssuers<'a> {
    ca: &'a Certificate,
    others: &'a [Certificate],
    now: UnixTime,
}

/// Why a CRL is not one of these issuers'.
pub(super) enum Stranger {
    /// It names somebody else as its issuer.
    Named(String),
    /// It names one of them, and is not proven to be theirs, or it is no CRL that can be taken.
    Unproven(String),
}

/// Most of what is wrong with a CRL shows behind its outline.
impl From<String> for Stranger {
    fn from(problem: String) -> Self {
        Self::Unproven(problem)
    }
}

impl<'a> CrlIssuers<'a> {
    /// The CA under its present key alone.
    pub fn ca(ca: &'a Certificate) -> Self {
        Self { ca, others: &[], now: UnixTime(0) }
    }

    /// Beside the CA these, each of which [`check_crl_issuer`] has taken, as far as their certificates are in force `now`.
    pub fn with(ca: &'a Certificate, others: &'a [Certificate], now: UnixTime) -> Self {
        Self { ca, others, now }
    }

    /// The CA's Name, DER.
    pub(super) fn ca_name(&self) -> &'a [u8] {
        self.ca.subject_der()
    }

    /// Whether that one has the CA's name.
    pub(super) fn is_ca_name(&self, signer: &Certificate) -> bool {
        is_same_name(signer.subject_der(), self.ca.subject_der())
    }

    /// Whether a key is the CA's present one.
    pub(super) fn is_own_key(&self, signer: &Certificate) -> bool {
        signer.spki_der() == self.ca.spki_der()
    }

    /// The one that has signed a CRL.
    pub(super) fn signer(&self, outline: &Outline<'_>) -> Result<&'a Certificate, Stranger> {
        let all = || std::iter::once(self.ca).chain(self.others);
        let mut named = all().filter(|one| is_same_name(outline.issuer, one.subject_der())).peekable();
        if named.peek().is_none() {
            let unlike = Unlike { names: outline.issuer, is: self.ca.subject_der() };
            return Err(Stranger::Named(unlike.to_string()));
        }
        let mut first = None;
        for one in named {
            match self.proves(one, outline) {
                Ok(()) => return Ok(one),
                Err(problem) => drop(first.get_or_insert(problem)),
            }
        }
        Err(Stranger::Unproven(first.unwrap_or_default()))
    }

    fn proves(&self, one: &Certificate, outline: &Outline<'_>) -> Result<(), String> {
        // RFC 5280 section 5.1.1.2: only the inner one is signed.
        if outline.algorithm != outline.inner_algorithm {
            return Err("names one signature algorithm inside and another outside of what is signed".to_owned());
        }
        let algorithm = AlgorithmIdentifierOwned::from_der(outline.algorithm)
            .map_err(|error| format!("is not a CRL in DER: signatureAlgorithm: {error}"))?;
        if !one.may_sign_crls() {
            return Err("cannot be checked: the issuer's keyUsage lacks cRLSign (RFC 5280, 6.3.3 (f))".to_owned());
        }
        pki::verify_signed(one.spki_der(), &algorithm, outline.tbs, outline.signature)
            .map_err(|error| error.to_string())?;
        let (from, until) = (one.not_before(), one.not_after());
        let in_force = std::ptr::eq(one, self.ca) || from <= self.now && self.now <= until;
        if in_force {
            return Ok(());
        }
        let (name, now) = (one.subject(), self.now);
        Err(format!(
            "is signed by `{name}`, whose certificate in `crl_issuer` is valid from {from} until {until}, and it is {now}; name its renewed certificate"
        ))
    }
}

/// Checks that the CRLs of `certificate` may count for those of `ca`. The error completes "the certificate …".
///
/// One with the CA's name is the CA under another key; whoever names it in the configuration vouches for that, since a
/// root that has changed its key need not have certified the other. Any other needs a certificate by the CA, under its
/// present key or one of those in `others`, with cRLSign in its keyUsage.
pub fn check_crl_issuer(certificate: &Certificate, ca: &Certificate, others: &[Certificate]) -> Result<(), String> {
    if !certificate.may_sign_crls() {
        return Err("has a keyUsage without cRLSign, so that its CRLs count nowhere (RFC 5280, 6.3.3 (f))".to_owned());
    }
    if is_same_name(certificate.subject_der(), ca.subject_der()) {
        let is_ca = certificate.is_ca() || certificate.is_version_1();
        return if is_ca { Ok(()) } else { Err("has the name of this CA, and is not a CA's".to_owned()) };
    }
    if !certificate.has_key_usage() {
        return Err("has no keyUsage, which has to allow cRLSign".to_owned());
    }
    let keys = others.iter().filter(|other| is_same_name(other.subject_der(), ca.subject_der()));
    let mut first = None;
    for key in std::iter::once(ca).chain(keys) {
        match certificate.verify_issued_by(key) {
            Ok(()) => return Ok(()),
            Err(problem) => drop(first.get_or_insert(problem)),
        }
    }
    let problem = first.map(|problem| problem.to_string()).unwrap_or_default();
    Err(format!("is of a CRL issuer that this CA has not certified: it {problem}"))
}
