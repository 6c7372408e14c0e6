//! How a time-stamping authority answers, as values.
//!
//! It does not know where a policy is written, or who sends requests.

use super::{Accuracy, ImprintHash, Oid, Precision};
use crate::{
    limits,
    pki::{Certificate, encode::wrapped, tag},
};

/// How a time-stamping authority answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TsaPolicy {
    /// The policies that clients may request; the first is the default.
    pub policies: Vec<Oid>,
    /// Hash functions of imprints.
    pub hashes: Vec<ImprintHash>,
    /// How far genTime may be from UTC.
    pub accuracy: Accuracy,
    /// The fraction of a second in genTime.
    pub precision: Precision,
    /// Whether tokens can be ordered by genTime alone.
    pub ordering: bool,
    /// Which certificates are sent to clients that ask for them.
    pub certificates: TsaCertificates,
    /// The field tsa.
    pub tsa_name: TsaName,
    /// Whether the signed attributes have signingTime.
    pub signing_time: bool,
    /// Whether they have CMSAlgorithmProtection (RFC 6211).
    pub algorithm_protection: bool,
    /// signingCertificate (SHA-1) instead of signingCertificateV2, for clients that know nothing else.
    pub ess_cert_id_v1: bool,
    /// Whether tokens state that they are qualified (EN 319 422).
    pub qc_statements: bool,
    /// One token in this many is verified before it is sent, and the first.
    pub verify_one_in: u32,
}

/// Which certificates a token carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TsaCertificates {
    /// The signer's.
    #[default]
    Signer,
    /// The signer's, and those after it in its file.
    Chain,
}

/// The contents of the field tsa.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TsaName {
    /// The certificate's subject.
    #[default]
    Subject,
    /// The first name of its subjectAltName.
    SubjectAltName,
    /// The field is absent.
    None,
}

impl TsaPolicy {
    /// The policy of a file that sets only what is required.
    pub fn of(policies: Vec<Oid>) -> Self {
        Self {
            policies,
            hashes: ImprintHash::DEFAULT.to_vec(),
            accuracy: Accuracy::DEFAULT,
            precision: Precision::default(),
            ordering: false,
            certificates: TsaCertificates::default(),
            tsa_name: TsaName::default(),
            signing_time: false,
            algorithm_protection: false,
            ess_cert_id_v1: false,
            qc_statements: false,
            verify_one_in: limits::TSA_VERIFY_ONE_IN_DEFAULT,
        }
    }

    /// The field tsa of tokens by this certificate's key: a whole GeneralName, DER.
    pub fn name(&self, certificate: &Certificate) -> Option<Vec<u8>> {
        match self.tsa_name {
            TsaName::Subject => Some(directory_name(certificate)),
            TsaName::SubjectAltName => certificate.subject_alt_names().into_iter().next(),
            TsaName::None => None,
        }
    }

    /// The name that tokens give to their maker, a whole GeneralName, DER: the certificate's subject where they give none.
    pub fn signed_name(&self, certificate: &Certificate) -> Vec<u8> {
        self.name(certificate).unwrap_or_else(|| directory_name(certificate))
    }
}

/// The subject as GeneralName directoryName [4], which is explicit because Name is a CHOICE.
fn directory_name(certificate: &Certificate) -> Vec<u8> {
    wrapped(tag::DIRECTORY_NAME, &[certificate.subject_der()])
}
