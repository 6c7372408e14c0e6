//! The signers of an issuer, opened: each key with its certificate, and whether clients accept what they sign. It does
//! not know sources.

use std::sync::Arc;

use super::{
    Assembler, chain_of,
    key::{Wanted, certificate_key},
};
use crate::{
    config::{At, IssuerConfig, KeyConfig, SignerConfig},
    limits,
    ocsp::{CertificateInclusion, Credential, ResponseForm, SignerIdentity},
    pki::Certificate,
    sign::KeyPurpose,
    signers::{OcspSigner, Signers},
};

impl<'a> Assembler<'a> {
    /// All signers of an issuer that can be opened. `name`: the tenant's and the issuer's, for logs. `issuer`: `None`
    /// if its certificate could not be read, which has been noted.
    pub(super) fn signers(
        &self,
        name: &str,
        form: ResponseForm,
        config: &'a IssuerConfig,
        issuer: Option<&Certificate>,
    ) -> Option<Signers> {
        let others = config.signers.len() > 1;
        let mut signers: Vec<Arc<OcspSigner>> = Vec::new();
        for config in &config.signers {
            // Numbered as in metrics.
            let name = if others { format!("{name} signer {}", signers.len()) } else { name.into() };
            let wanted = Wanted { name: &name, purpose: KeyPurpose::OcspSigning { others } };
            let Some(signer) = self.signer(config, &wanted, form, issuer) else { continue };
            if signers.iter().any(|other| other.is_same(&signer)) {
                self.at(&config.place).problem(
                    certificate_key(config),
                    "is that of another signer of this issuer, with the same algorithm; remove one of the two",
                );
            }
            signers.push(Arc::new(signer));
        }
        // A signer that could not be read has been noted, and may be the valid one. An expired CA has been noted, too.
        let is_valid = issuer.is_some_and(|issuer| self.now < issuer.not_after());
        if signers.len() == config.signers.len() && is_valid {
            self.tell_validity(name, &config.signers, &signers);
        }
        Signers::new(signers)
    }

    /// While a certificate is renewed, the old signer is listed beside the new one, and one of them may be unusable
    /// now.
    fn tell_validity(&self, name: &str, configs: &'a [SignerConfig], signers: &[Arc<OcspSigner>]) {
        let some_valid = signers.iter().any(|signer| signer.check_validity(self.now).is_ok());
        for (config, signer) in configs.iter().zip(signers) {
            let (at, key) = (self.at(&config.place), certificate_key(config));
            match signer.check_validity(self.now) {
                Ok(()) => {}
                Err(_) if some_valid => at.warning(
                    key,
                    format_args!(
                        "is of a signer of {name}, valid from {} to {}: a signing certificate is not valid now; the issuer's other signers sign. Remove it if it has expired, or check this machine's clock",
                        signer.not_before(),
                        signer.not_after()
                    ),
                ),
                Err(error) => at.problem(key, error),
            }
        }
    }

    fn signer(
        &self,
        config: &SignerConfig,
        wanted: &Wanted<'_>,
        form: ResponseForm,
        issuer: Option<&Certificate>,
    ) -> Option<OcspSigner> {
        let at = self.at(&config.place);
        let file = chain_of(&at, config.certificate.as_deref());
        let own = file.as_deref().and_then(<[_]>::split_first);
        let own = if config.certificate.is_some() { own } else { issuer.map(|issuer| (issuer, &[][..])) };
        if config.key == KeyConfig::Elsewhere {
            return self.signer_elsewhere(config, own?, form, issuer?);
        }
        let key = self.key(config, own.map(|(certificate, _)| certificate))?;
        let issuer = issuer?;
        let (certificate, chain) = own?;
        check_chain(&at, form, chain);
        let pool = Arc::new(self.pool(config, &key, certificate, wanted)?);
        let credential = Credential { certificate, chain, designated: config.designated };
        let octets = key.public_key_octets(certificate);
        let signer = OcspSigner::new(issuer, credential, octets, pool, form, self.now);
        let signer = at.noted(certificate_key(config), signer)?;
        for doubt in signer.doubts() {
            at.warning(certificate_key(config), doubt);
        }
        Some(signer.with_key_names(key.names()))
    }
}

impl Assembler<'_> {
    /// A signer whose key is elsewhere, by its certificate and the chain after it.
    fn signer_elsewhere(
        &self,
        config: &SignerConfig,
        (certificate, chain): (&Certificate, &[Certificate]),
        form: ResponseForm,
        issuer: &Certificate,
    ) -> Option<OcspSigner> {
        let at = self.at(&config.place);
        check_chain(&at, form, chain);
        let algorithm = self.algorithm_elsewhere(config, certificate)?;
        let credential = Credential { certificate, chain, designated: config.designated };
        let identity = SignerIdentity::new(issuer, credential, algorithm, form, self.now);
        let identity = at.noted(certificate_key(config), identity)?;
        for doubt in identity.doubts() {
            at.warning(certificate_key(config), doubt);
        }
        Some(OcspSigner::without_key(identity))
    }
}

/// Certificates that every response carries have to be small.
fn check_chain(at: &At<'_>, form: ResponseForm, chain: &[Certificate]) {
    let (count, allowed) = (chain.len(), limits::CHAIN_CERTIFICATES_MAX);
    if form.certificates == CertificateInclusion::Chain && count > allowed {
        at.problem(
            "certificate",
            format_args!(
                "has {count} certificates after the signer's, and every response would carry them all; leave at most {allowed} in the file, or set `certificates = \"signer\"`"
            ),
        );
    }
}

#[cfg(test)]
mod tests;
