//! TimeStampToken, RFC 3161 section 2.4.2, RFC 5652 section 5, RFC 5816.
//!
//! What all tokens of one authority share is encoded once, in a [`Template`]. A token is then two hashes (of TSTInfo,
//! and of the attributes inside of the signature), one signature and a copy. Invariant: everything is DER, and what
//! is signed are the attributes in their universal form (0x31). It does not know requests, clocks or keys.

use aws_lc_rs::digest;
use precompute::{
    pki::{
        UnixTime,
        encode::{element, header, put, set_of, wrapped},
    },
    sign::Algorithm,
    signers::TsaSigner,
    tsp::{TsaCertificates, TsaPolicy},
};

mod gen_time;

pub use gen_time::GenTime;

/// What all tokens of one authority share.
#[derive(Debug)]
pub struct Template {
    /// The hash function of content and attributes.
    digest: &'static digest::Algorithm,
    /// accuracy and ordering in TSTInfo: whole elements.
    accuracy: Vec<u8>,
    /// tsa and extensions.
    tail: Vec<u8>,
    /// version, digestAlgorithms.
    signed_data: Vec<u8>,
    /// [0] certificates.
    certificates: Vec<u8>,
    /// version, sid, digestAlgorithm.
    signer_info: Vec<u8>,
    /// The SET of signed attributes; zeros in place of the digest and the signing time.
    attributes: Vec<u8>,
    digest_at: usize,
    signing_time_at: Option<usize>,
    /// signatureAlgorithm.
    signature_algorithm: &'static [u8],
}

/// The values of a token.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    /// Content bytes.
    pub policy: &'a [u8],
    /// messageImprint, the whole element.
    pub imprint: &'a [u8],
    /// Content bytes of serialNumber.
    pub serial: &'a [u8],
    /// genTime.
    pub gen_time: &'a GenTime,
    /// Content bytes of the nonce.
    pub nonce: Option<&'a [u8]>,
}

/// OBJECT IDENTIFIER id-signedData, 1.2.840.113549.1.7.2
const ID_SIGNED_DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// OBJECT IDENTIFIER id-ct-TSTInfo, 1.2.840.113549.1.9.16.1.4
const ID_CT_TST_INFO: [u8; 13] = [0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// contentType, 1.2.840.113549.1.9.3
const CONTENT_TYPE: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// messageDigest, 1.2.840.113549.1.9.4
const MESSAGE_DIGEST: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// signingTime, 1.2.840.113549.1.9.5
const SIGNING_TIME: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x05];
/// CMSAlgorithmProtection, 1.2.840.113549.1.9.52
const ALGORITHM_PROTECTION: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x34];
/// id-aa-signingCertificate, 1.2.840.113549.1.9.16.2.12
const SIGNING_CERTIFICATE: [u8; 13] = [0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c];
/// id-aa-signingCertificateV2, 1.2.840.113549.1.9.16.2.47
const SIGNING_CERTIFICATE_V2: [u8; 13] = [0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];
/// extensions [1] with qcStatements (1.3.6.1.5.5.7.1.3), not critical: esi4-qtstStatement-1 (0.4.0.19422.1.1), EN 319 422.
const QC_STATEMENTS: [u8; 29] = [
    0xa1, 0x1b, 0x30, 0x19, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x03, 0x04, 0x0d, 0x30, 0x0b, 0x30,
    0x09, 0x06, 0x07, 0x04, 0x00, 0x81, 0x97, 0x5e, 0x01, 0x01,
];
/// PKIStatusInfo granted.
const GRANTED: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x00];

/// Bytes of a UTCTime's text.
const UTC_TIME: usize = 13;

/// The hash function for a signature algorithm, and its AlgorithmIdentifier without parameters (RFC 5754).
///
/// For Ed25519 it has to be SHA-512 (RFC 8419 section 3), and every ML-DSA may use it (RFC 9882 section 3.3).
fn digest_of(algorithm: Algorithm) -> (&'static digest::Algorithm, &'static [u8]) {
    const SHA256: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    const SHA384: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
    const SHA512: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
    match algorithm {
        Algorithm::EcdsaP256Sha256 | Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256 => (&digest::SHA256, SHA256),
        Algorithm::EcdsaP384Sha384 => (&digest::SHA384, SHA384),
        Algorithm::Ed25519 | Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => (&digest::SHA512, SHA512),
    }
}

fn attribute(oid: &[u8], value: &[u8]) -> Vec<u8> {
    wrapped(0x30, &[oid, &wrapped(0x31, &[value])])
}

impl Template {
    /// For the tokens that `signer` makes under `policy`.
    pub fn new(signer: &TsaSigner, policy: &TsaPolicy) -> Self {
        let certificate = signer.certificate();
        let (digest, digest_identifier) = digest_of(signer.algorithm());
        let mut accuracy = policy.accuracy.to_der();
        if policy.ordering {
            accuracy.extend_from_slice(&[0x01, 0x01, 0xff]);
        }
        let mut tail = policy.name(certificate).map(|name| wrapped(0xa0, &[&name])).unwrap_or_default();
        if policy.qc_statements {
            tail.extend_from_slice(&QC_STATEMENTS);
        }

        let count = if policy.certificates == TsaCertificates::Chain { usize::MAX } else { 1 };
        let certificates = signer.certificates().take(count).map(|certificate| certificate.der().to_vec());
        let issuer_and_serial = [certificate.issuer_der(), &wrapped(0x02, &[certificate.serial_content()])].concat();
        let signature_algorithm = signer.algorithm().identifier();

        let mut attributes = vec![
            attribute(&CONTENT_TYPE, &ID_CT_TST_INFO),
            attribute(&MESSAGE_DIGEST, &wrapped(0x04, &[&vec![0; digest.output_len()]])),
            signing_certificate(certificate.der(), policy.ess_cert_id_v1),
        ];
        if policy.signing_time {
            attributes.push(attribute(&SIGNING_TIME, &wrapped(0x17, &[&[0; UTC_TIME]])));
        }
        if policy.algorithm_protection {
            // signatureAlgorithm [1] IMPLICIT
            let mut signature = signature_algorithm.to_vec();
            signature[0] = 0xa1;
            attributes.push(attribute(&ALGORITHM_PROTECTION, &wrapped(0x30, &[digest_identifier, &signature])));
        }
        // The order depends on lengths and identifiers, which precede the bytes that change.
        let attributes = set_of(0x31, attributes);
        let behind = |oid: &[u8], length: usize| {
            let at = attributes.windows(oid.len()).position(|window| window == oid)?;
            // SET and value with a header of two bytes each.
            Some(at + oid.len() + 4).filter(|at| at + length <= attributes.len())
        };
        let digest_at = behind(&MESSAGE_DIGEST, digest.output_len()).unwrap_or_default();
        let signing_time_at = behind(&SIGNING_TIME, UTC_TIME).filter(|_| policy.signing_time);
        Self {
            digest,
            accuracy,
            tail,
            signed_data: [&[0x02, 0x01, 0x03][..], &wrapped(0x31, &[digest_identifier])].concat(),
            certificates: set_of(0xa0, certificates.collect()),
            signer_info: [&[0x02, 0x01, 0x01][..], &wrapped(0x30, &[&issuer_and_serial]), digest_identifier].concat(),
            attributes,
            digest_at,
            signing_time_at,
            signature_algorithm,
        }
    }

    /// Replaces `out` by a TSTInfo.
    pub fn tst_info(&self, out: &mut Vec<u8>, info: &Info<'_>) {
        let Info { policy, imprint, serial, gen_time, nonce } = *info;
        let gen_time = gen_time.text();
        let length = 3
            + element(policy.len())
            + imprint.len()
            + element(serial.len())
            + element(gen_time.len())
            + self.accuracy.len()
            + nonce.map_or(0, |nonce| element(nonce.len()))
            + self.tail.len();
        out.clear();
        header(out, 0x30, length);
        out.extend_from_slice(&[0x02, 0x01, 0x01]);
        put(out, 0x06, policy);
        out.extend_from_slice(imprint);
        put(out, 0x02, serial);
        put(out, 0x18, gen_time);
        out.extend_from_slice(&self.accuracy);
        if let Some(nonce) = nonce {
            put(out, 0x02, nonce);
        }
        out.extend_from_slice(&self.tail);
    }

    /// Replaces `out` by the signed attributes for a TSTInfo: the bytes to sign.
    pub fn attributes(&self, out: &mut Vec<u8>, tst_info: &[u8], now: UnixTime) {
        out.clear();
        out.extend_from_slice(&self.attributes);
        let hash = digest::digest(self.digest, tst_info);
        let hash = hash.as_ref();
        out[self.digest_at..self.digest_at + hash.len()].copy_from_slice(hash);
        if let Some(at) = self.signing_time_at {
            // Two digits of the year; from 2050 on tokens will need a GeneralizedTime here (RFC 5652 section 11.3).
            out[at..at + UTC_TIME].copy_from_slice(&now.generalized()[2..]);
        }
    }

    /// The layout of a response with these parts.
    pub fn lay_out<'a>(
        &'a self,
        tst_info: &'a [u8],
        attributes: &'a [u8],
        signature: &'a [u8],
        cert_req: bool,
    ) -> Layout<'a> {
        let certificates = if cert_req { &self.certificates[..] } else { &[] };
        let signer_info =
            self.signer_info.len() + attributes.len() + self.signature_algorithm.len() + element(signature.len());
        let content = element(tst_info.len());
        let encapsulated = ID_CT_TST_INFO.len() + element(content);
        let signed_data =
            self.signed_data.len() + element(encapsulated) + certificates.len() + element(element(signer_info));
        let token = ID_SIGNED_DATA.len() + element(element(signed_data));
        Layout {
            template: self,
            tst_info,
            attributes,
            signature,
            certificates,
            signer_info,
            encapsulated,
            signed_data,
            token,
        }
    }
}

/// The attribute that names the signer's certificate by its hash; the hash function of V2 is the default, SHA-256, and
/// omitted.
fn signing_certificate(certificate: &[u8], v1: bool) -> Vec<u8> {
    let (oid, algorithm) = if v1 {
        (&SIGNING_CERTIFICATE, &digest::SHA1_FOR_LEGACY_USE_ONLY)
    } else {
        (&SIGNING_CERTIFICATE_V2, &digest::SHA256)
    };
    let hash = wrapped(0x04, &[digest::digest(algorithm, certificate).as_ref()]);
    // SigningCertificate { certs SEQUENCE OF ESSCertID { certHash } }
    attribute(oid, &wrapped(0x30, &[&wrapped(0x30, &[&wrapped(0x30, &[&hash])])]))
}

/// A response whose lengths are known.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    template: &'a Template,
    tst_info: &'a [u8],
    attributes: &'a [u8],
    signature: &'a [u8],
    certificates: &'a [u8],
    /// Bytes of the content of: SignerInfo,
    signer_info: usize,
    /// EncapsulatedContentInfo,
    encapsulated: usize,
    /// SignedData,
    signed_data: usize,
    /// and ContentInfo.
    token: usize,
}

impl Layout<'_> {
    /// Bytes of the whole TimeStampResp.
    pub fn length(&self) -> usize {
        element(GRANTED.len() + element(self.token))
    }

    /// Appends the TimeStampResp.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { template, tst_info, attributes, signature, .. } = *self;
        out.reserve(self.length());
        header(out, 0x30, GRANTED.len() + element(self.token));
        out.extend_from_slice(&GRANTED);
        header(out, 0x30, self.token);
        out.extend_from_slice(&ID_SIGNED_DATA);
        header(out, 0xa0, element(self.signed_data));
        header(out, 0x30, self.signed_data);
        out.extend_from_slice(&template.signed_data);
        header(out, 0x30, self.encapsulated);
        out.extend_from_slice(&ID_CT_TST_INFO);
        header(out, 0xa0, element(tst_info.len()));
        put(out, 0x04, tst_info);
        out.extend_from_slice(self.certificates);
        header(out, 0x31, element(self.signer_info));
        header(out, 0x30, self.signer_info);
        out.extend_from_slice(&template.signer_info);
        // [0] IMPLICIT in the message, SET OF in the signed bytes.
        out.push(0xa0);
        out.extend_from_slice(&attributes[1..]);
        out.extend_from_slice(template.signature_algorithm);
        put(out, 0x04, signature);
    }
}

#[cfg(test)]
mod tests;
