//! The signers of an issuer: `signer = { … }`, or several as `[[issuer.signer]]`.

pub(super) mod key;

use std::sync::Arc;

use self::key::Wanted;
use super::{Section, noted};
use crate::{
    limits,
    ocsp::{CertificateInclusion, Credential, ResponseForm},
    pki::{Certificate, UnixTime, certificates},
    sign::KeyPurpose,
    signers::{OcspSigner, Signers},
};

/// For whom they sign, and how.
pub(super) struct Purpose<'a> {
    /// The tenant's and the issuer's name, for logs.
    pub(super) name: &'a str,
    /// `None` where it could not be read, which has been told.
    pub(super) issuer: Option<&'a Certificate>,
    /// Whether there are several signers for it.
    pub(super) others: bool,
    pub(super) form: ResponseForm,
    pub(super) now: UnixTime,
}

/// All signers of the issuer in `section`.
pub(super) fn read_signers(section: &mut Section<'_>, purpose: &Purpose<'_>) -> Option<Signers> {
    let Some(count) = section.count("signer") else {
        section.problem("signer", "is missing; add `signer = { key = \"ocsp.key\", certificate = \"ocsp.pem\" }`");
        return None;
    };
    if count > limits::CONFIGURED_SIGNERS_MAX {
        section.problem(
            "signer",
            format_args!(
                "names {count}; an issuer has at most {} signers, remove those no longer used",
                limits::CONFIGURED_SIGNERS_MAX
            ),
        );
    }
    if count == 0 {
        section.problem("signer", "is an empty list; name at least one signer");
    }
    let mut signers: Vec<Arc<OcspSigner>> = Vec::new();
    let sections = section.one_or_more("signer", |section| {
        // As metrics count them.
        let name = if count > 1 { format!("{} signer {}", purpose.name, signers.len()) } else { purpose.name.into() };
        let signer = read_signer(section, &Purpose { name: &name, others: count > 1, ..*purpose })?;
        if signers.iter().any(|other| other.is_same(&signer)) {
            section.problem(
                certificate_key(section),
                "is that of another signer of this issuer, with the same algorithm; remove one of the two",
            );
        }
        signers.push(Arc::new(signer));
        Some(section.later())
    });
    // One that could not be read has been told, and may be the one that is valid; a CA that has expired has been told.
    if signers.len() == count && purpose.issuer.is_some_and(|issuer| purpose.now < issuer.not_after()) {
        tell_validity(purpose, &sections, &signers);
    }
    Signers::new(signers)
}

/// While a certificate is renewed the old signer stands beside the new one, and one of them may be of no use now.
fn tell_validity(purpose: &Purpose<'_>, sections: &[Section<'_>], signers: &[Arc<OcspSigner>]) {
    let some_valid = signers.iter().any(|signer| signer.check_validity(purpose.now).is_ok());
    for (section, signer) in sections.iter().zip(signers) {
        match signer.check_validity(purpose.now) {
            Ok(()) => {}
            Err(_) if some_valid => section.warning(
                certificate_key(section),
                format_args!(
                    "is of a signer of {}, valid from {} to {}: a signing certificate is not valid now; the issuer's other signers sign. Remove it if it has expired, or check this machine's clock",
                    purpose.name,
                    signer.not_before(),
                    signer.not_after()
                ),
            ),
            Err(error) => section.problem(certificate_key(section), error),
        }
    }
}

/// What names a signer's certificate; without it the certificate is the CA's own.
fn certificate_key(section: &Section<'_>) -> &'static str {
    if section.has("certificate") { "certificate" } else { "key" }
}

fn read_signer(section: &mut Section<'_>, purpose: &Purpose<'_>) -> Option<OcspSigner> {
    let path = section.path("certificate");
    let given = section.has("certificate");
    let designated = section.boolean("designated").unwrap_or(false);
    if designated && !given {
        section.problem("designated", "needs the certificate that clients are configured to trust; add `certificate`");
    }
    let file = path.and_then(|path| noted(section, "certificate", certificates(&path)));
    let own = file.as_deref().and_then(<[_]>::split_first);
    let own = if given { own } else { purpose.issuer.map(|issuer| (issuer, &[][..])) };
    let wanted = Wanted::read(section, purpose.name, KeyPurpose::OcspSigning { others: purpose.others });
    let key = key::read(section, own.map(|(certificate, _)| certificate))?;
    let issuer = purpose.issuer?;
    let (certificate, chain) = own?;
    check_chain(section, purpose, chain);
    let pool = Arc::new(key.pool(section, certificate, &wanted)?);
    let credential = Credential { certificate, chain, designated };
    let octets = key.public_key_octets(certificate);
    let signer = OcspSigner::new(issuer, credential, octets, pool, purpose.form, purpose.now);
    let signer = noted(section, certificate_key(section), signer)?;
    for doubt in signer.doubts() {
        section.warning(certificate_key(section), doubt);
    }
    Some(signer.with_key_names(key.names()))
}

/// What goes along in every response has to stay small.
fn check_chain(section: &Section<'_>, purpose: &Purpose<'_>, chain: &[Certificate]) {
    let (count, allowed) = (chain.len(), limits::CHAIN_CERTIFICATES_MAX);
    if purpose.form.certificates == CertificateInclusion::Chain && count > allowed {
        section.problem(
            "certificate",
            format_args!(
                "has {count} certificates after the signer's, and every response would carry them all; leave at most {allowed} in the file, or set `certificates = \"signer\"`"
            ),
        );
    }
}

#[cfg(test)]
mod tests;
