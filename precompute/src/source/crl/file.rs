//! Files with CRLs: one in DER, or any number in PEM.
//!
//! Invariant: a file is taken whole or refused. One exception: what another CA has issued in a bundle of several says
//! nothing of this one, and is told. It does not know which of several CRLs counts.

use std::path::Path;

use super::{Crl, CrlIssuers, SourceError, issuers::Stranger};
use crate::{
    limits,
    pki::{self, Certificate, pem},
};

/// What a file holds.
#[derive(Debug)]
pub struct CrlFile {
    /// At least one, in the order of the file.
    pub crls: Vec<Crl>,
    /// The CRLs of other CAs between them, in words.
    pub foreign: Vec<String>,
}

impl CrlFile {
    /// Reads a file, PEM (`X509 CRL`, with text around) or DER, of at most [`limits::CRL_FILE_OCTETS_MAX`] bytes and
    /// [`limits::CRLS_IN_FILE_MAX`] CRLs.
    pub fn read(path: &Path, issuers: &CrlIssuers<'_>) -> Result<Self, SourceError> {
        let content = pki::read_opened(path, pki::open_regular(path), limits::CRL_FILE_OCTETS_MAX)?;
        if let Some(wrapping) = wrapping_of(path, &content) {
            return Err(SourceError::file(path, wrapping));
        }
        Self::from_octets(content, issuers).map_err(|problem| SourceError::file(path, problem))
    }

    /// The same, from bytes in memory. The error is the problem alone.
    pub fn from_octets(content: Vec<u8>, issuers: &CrlIssuers<'_>) -> Result<Self, String> {
        let ders = if pem::is_der(&content) { vec![content] } else { from_pem(&content)? };
        let count = ders.len();
        if count > limits::CRLS_IN_FILE_MAX {
            return Err(format!("holds {count} CRLs, more than the {} allowed", limits::CRLS_IN_FILE_MAX));
        }
        let mut file = Self { crls: Vec::new(), foreign: Vec::new() };
        for (place, der) in (1..).zip(ders) {
            let told = |problem| if count == 1 { problem } else { format!("CRL {place} of {count}: {problem}") };
            match Crl::from_der(der, issuers) {
                Ok(crl) => file.crls.push(crl),
                Err(Stranger::Named(problem)) => file.foreign.push(told(problem)),
                Err(Stranger::Unproven(problem)) => return Err(told(problem)),
            }
        }
        match file.foreign.first().filter(|_| file.crls.is_empty()) {
            Some(problem) => Err(problem.clone()),
            None => Ok(file),
        }
    }
}

impl Crl {
    /// Reads a file with one CRL, signed by `ca`.
    pub fn read(path: &Path, ca: &Certificate) -> Result<Self, SourceError> {
        let CrlFile { crls, foreign } = CrlFile::read(path, &CrlIssuers::ca(ca))?;
        only(crls, &foreign).map_err(|problem| SourceError::file(path, problem))
    }

    /// The same, from bytes in memory. The error is the problem alone.
    pub fn from_octets(content: Vec<u8>, ca: &Certificate) -> Result<Self, String> {
        let CrlFile { crls, foreign } = CrlFile::from_octets(content, &CrlIssuers::ca(ca))?;
        only(crls, &foreign)
    }
}

fn only(mut crls: Vec<Crl>, foreign: &[String]) -> Result<Crl, String> {
    let count = crls.len() + foreign.len();
    crls.pop().filter(|_| count == 1).ok_or_else(|| format!("holds {count} CRLs: expected one"))
}

/// What CRLs may be wrapped in, as they come out of Windows, with the command that takes them out.
fn wrapping_of(path: &Path, content: &[u8]) -> Option<String> {
    // A PEM file with a CRL is none, and may be long.
    let is_pem_of_crl = memchr::memmem::find(content, b"X509 CRL").is_some();
    let sections = if is_pem_of_crl { Vec::new() } else { pem::sections(content).unwrap_or_default() };
    pki::wrapping(path, content, &sections)
}

/// The DER of the CRLs in a PEM file; never empty.
fn from_pem(content: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let sections = pem::sections(content).map_err(|damage| damage.to_string())?;
    let crls = sections.iter().filter(|section| section.label == "X509 CRL");
    let ders: Result<Vec<_>, _> = crls.map(|crl| crl.content().map(<[u8]>::to_vec)).collect();
    let ders = ders.map_err(|damage| damage.to_string())?;
    if !ders.is_empty() {
        return Ok(ders);
    }
    if pem::seems_private(content) {
        return Err("holds a private key, not a CRL; name the file of the CRL".to_owned());
    }
    if sections.iter().any(|section| section.label.ends_with("CERTIFICATE")) {
        return Err("holds a certificate, not a CRL; the two may have been named in each other's place".to_owned());
    }
    let told = pem::told(content, &sections);
    Err(format!("holds no CRL: expected PEM (`-----BEGIN X509 CRL-----`) or DER; {told}"))
}
