//! The signers of an issuer, opened: each key with its certificate, and whether clients accept what they sign. It does
//! not know sources.

use std::sync::{Arc, Weak};

use super::{
    Assembler,
    key::{Wanted, certificate_key},
    renewed::Whose,
};
use crate::{
    config::{At, IssuerConfig, KeyConfig, SignerConfig},
    limits,
    ocsp::{CertificateInclusion, Credential, ResponseForm, SignerIdentity},
    pki::Certificate,
    renew::{Chain, Renewing, Signs},
    sign::{Algorithm, KeyPurpose, Signing},
    signers::{OcspSigner, Signers},
};

/// The signers of an issuer, and what renews some of them.
pub(super) struct Opened {
    pub(super) signers: Option<Signers>,
    pub(super) renewing: Vec<Renewing>,
    /// How many signers of the file could be opened.
    pub(super) count: usize,
}

/// An issuer of which the signers are opened.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) tenant: &'a str,
    /// Its name, for logs.
    pub(super) name: &'a str,
    pub(super) form: ResponseForm,
    /// `None` if its certificate could not be read, which has been noted.
    pub(super) certificate: Option<&'a Certificate>,
}

impl<'a> Assembler<'a> {
    /// All signers of an issuer that can be opened.
    pub(super) fn signers(&self, of: Of<'_>, config: &'a IssuerConfig) -> Opened {
        let name = format!("{}/{}", of.tenant, of.name);
        let others = config.signers.len() > 1;
        let mut opened = Opened { signers: None, renewing: Vec::new(), count: 0 };
        let mut signers: Vec<(&SignerConfig, Arc<OcspSigner>)> = Vec::new();
        for config in &config.signers {
            // Numbered as in metrics.
            let name = if others { format!("{name} signer {}", opened.count) } else { name.clone() };
            let wanted = Wanted { name: &name, purpose: KeyPurpose::OcspSigning { others } };
            let Some((own, renewing)) = self.signer(config, &wanted, of) else { continue };
            if own.iter().any(|signer| signers.iter().any(|(_, other)| other.is_same(signer))) {
                self.at(&config.place).problem(
                    certificate_key(config),
                    "is that of another signer of this issuer, with the same algorithm; remove one of the two",
                );
            }
            opened.count += 1;
            opened.renewing.extend(renewing);
            signers.extend(own.into_iter().map(|signer| (config, Arc::new(signer))));
        }
        // A signer that could not be read has been noted, and may be the valid one. An expired CA has been noted, too.
        let is_valid = of.certificate.is_some_and(|issuer| self.now < issuer.not_after());
        if opened.count == config.signers.len() && is_valid {
            self.tell_validity(&name, &signers);
        }
        opened.signers = Signers::new(signers.into_iter().map(|(_, signer)| signer).collect());
        opened
    }

    /// While a certificate is renewed, the old signer is listed beside the new one, and one of them may be unusable
    /// now.
    fn tell_validity(&self, name: &str, signers: &[(&'a SignerConfig, Arc<OcspSigner>)]) {
        let some_valid = signers.iter().any(|(_, signer)| signer.check_validity(self.now).is_ok());
        // By the clock of this machine, which a time daemon may not have set yet.
        let some_early = signers.iter().any(|(_, signer)| self.now < signer.not_before());
        for (config, signer) in signers {
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
                Err(error) if some_early => at.problem_for_now(key, error),
                Err(error) => at.problem(key, error),
            }
        }
    }

    /// One signer of the file: once for each of its certificates that stand beside each other while it is renewed.
    fn signer(
        &self,
        config: &'a SignerConfig,
        wanted: &Wanted<'_>,
        of: Of<'_>,
    ) -> Option<(Vec<OcspSigner>, Option<Renewing>)> {
        let at = self.at(&config.place);
        let file = self.chain_of_signer(config);
        let issuer = of.certificate;
        let own = if config.certificate.is_some() { file } else { issuer.map(|issuer| vec![issuer.clone()]) };
        let first = own.as_ref().and_then(|own| own.first());
        if config.key == KeyConfig::Elsewhere {
            let (own, issuer) = (own?, issuer?);
            let algorithm = self.algorithm_elsewhere(config, own.first()?)?;
            let (chains, renewing) = self.renewed(config, of, issuer, own, algorithm, None);
            let signer = |chain: &Chain| self.signer_elsewhere(config, chain.split_first()?, of.form, issuer);
            let signers = chains.iter().map(signer).collect::<Option<_>>()?;
            return Some((signers, renewing));
        }
        let key = self.key(config, first)?;
        let (own, issuer) = (own?, issuer?);
        let pool: Arc<dyn Signing> = Arc::new(self.pool(config, &key, own.first()?, wanted)?);
        let (chains, renewing) = self.renewed(config, of, issuer, own, pool.algorithm(), Some(Arc::downgrade(&pool)));
        let names = key.names();
        let signer = |chain: &Chain| {
            let (certificate, chain) = chain.split_first()?;
            check_chain(&at, of.form, chain);
            let credential = Credential { certificate, chain, designated: config.designated };
            // The key was compared with the file's certificate, and those that are kept are of the same key.
            let octets = certificate.public_key_octets();
            let signer = OcspSigner::new(issuer, credential, octets, Arc::clone(&pool), of.form, self.now);
            let signer = at.noted(certificate_key(config), signer)?;
            Some(signer.with_key_names(names.clone()))
        };
        let signers = chains.iter().map(signer).collect::<Option<Vec<_>>>()?;
        self.tell_doubts(config, signers.last().map(|signer| signer.doubts()));
        Some((signers, renewing))
    }

    /// The certificates that stand beside each other, the newest last; and what renews the signer, if anything does. `own`:
    /// those of the file.
    fn renewed(
        &self,
        config: &SignerConfig,
        of: Of<'_>,
        issuer: &Certificate,
        own: Chain,
        algorithm: Algorithm,
        key: Option<Weak<dyn Signing>>,
    ) -> (Vec<Chain>, Option<Renewing>) {
        let issuer = Box::new(issuer.clone());
        let signs = Signs::Answers { issuer, designated: config.designated, algorithm, form: of.form };
        let whose = Whose { tenant: of.tenant, name: of.name, is_tsa: false };
        self.standing(config, whose, own, signs, key)
    }

    /// Of the newest certificate alone: what others of the same signer have is over with them.
    fn tell_doubts(&self, config: &SignerConfig, doubts: Option<&[String]>) {
        let at = self.problems.at(&config.place);
        for doubt in doubts.unwrap_or_default() {
            at.warning(certificate_key(config), doubt);
        }
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
        let at = self.problems.at(&config.place);
        check_chain(&at, form, chain);
        let algorithm = self.algorithm_elsewhere(config, certificate)?;
        let credential = Credential { certificate, chain, designated: config.designated };
        let identity = SignerIdentity::new(issuer, credential, algorithm, form, self.now);
        let identity = at.noted(certificate_key(config), identity)?;
        self.tell_doubts(config, Some(identity.doubts()));
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
