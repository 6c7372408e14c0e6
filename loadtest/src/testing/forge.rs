//! An authority made of test keys, which signs whatever a test wants, true or not.

use crate::der::{tag, wrap};
use crate::hash::Hash;
use crate::oid;
use crate::time::{UnixNanos, UnixSeconds, readable};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use std::path::PathBuf;

pub(crate) fn now() -> UnixSeconds {
    UnixNanos::now().seconds()
}

/// A key with its certificate.
pub(crate) struct Identity {
    key: EcdsaKeyPair,
    pub(crate) name: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
}

/// What a certificate is to say.
#[derive(Clone)]
pub(crate) struct Profile<'a> {
    pub(crate) name: &'a str,
    pub(crate) serial: u8,
    pub(crate) is_ca: bool,
    pub(crate) purposes: &'a [&'a [u8]],
    pub(crate) purposes_critical: bool,
    pub(crate) not_after: UnixSeconds,
}

impl<'a> Profile<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        Self { name, serial: 7, is_ca: false, purposes: &[], purposes_critical: false, not_after: now() + 86_400 }
    }

    pub(crate) fn ca(name: &'a str) -> Self {
        Self { is_ca: true, serial: 1, ..Self::new(name) }
    }

    pub(crate) fn ocsp(name: &'a str) -> Self {
        Self { purposes: &[oid::KP_OCSP_SIGNING], ..Self::new(name) }
    }

    pub(crate) fn tsa(name: &'a str) -> Self {
        Self { purposes: &[oid::KP_TIME_STAMPING], purposes_critical: true, ..Self::new(name) }
    }
}

pub(crate) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    wrap(tag::SEQUENCE, parts)
}

pub(crate) fn generalized_time(at: UnixSeconds) -> Vec<u8> {
    let text: String = readable(at).chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    wrap(tag::GENERALIZED_TIME, &[text.as_bytes()])
}

fn ecdsa_sha256() -> Vec<u8> {
    seq(&[&wrap(tag::OID, &[oid::ECDSA_SHA256])])
}

fn bit_string(bits: &[u8]) -> Vec<u8> {
    wrap(tag::BIT_STRING, &[&[0], bits])
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { wrap(tag::BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    seq(&[&wrap(tag::OID, &[id]), &critical, &wrap(tag::OCTET_STRING, &[value])])
}

impl Identity {
    /// A self-signed authority.
    pub(crate) fn root(name: &str) -> Self {
        let mut identity = Self::unsigned(name);
        identity.certificate = identity.certify(&identity, &Profile::ca(name));
        identity
    }

    /// Certified by `issuer`.
    pub(crate) fn issued_by(issuer: &Identity, profile: &Profile<'_>) -> Self {
        let mut identity = Self::unsigned(profile.name);
        identity.certificate = issuer.certify(&identity, profile);
        identity
    }

    fn unsigned(name: &str) -> Self {
        // RDNSequence with one commonName as UTF8String.
        let attribute = seq(&[&wrap(tag::OID, &[&[0x55, 0x04, 0x03]]), &wrap(0x0c, &[name.as_bytes()])]);
        let name = seq(&[&wrap(tag::SET, &[&attribute])]);
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { key, name, certificate: Vec::new() }
    }

    pub(crate) fn key_bits(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    fn certify(&self, subject: &Identity, profile: &Profile<'_>) -> Vec<u8> {
        let mut extensions = Vec::new();
        if profile.is_ca {
            extensions.extend(extension(oid::BASIC_CONSTRAINTS, true, &seq(&[&wrap(tag::BOOLEAN, &[&[0xff]])])));
        }
        if !profile.purposes.is_empty() {
            let list: Vec<u8> = profile.purposes.iter().flat_map(|p| wrap(tag::OID, &[p])).collect();
            extensions.extend(extension(oid::EXTENDED_KEY_USAGE, profile.purposes_critical, &seq(&[&list])));
        }
        let extensions = match extensions.is_empty() {
            true => Vec::new(),
            false => wrap(tag::context(3), &[&seq(&[&extensions])]),
        };
        let algorithm = seq(&[&wrap(tag::OID, &[oid::EC_PUBLIC_KEY]), &wrap(tag::OID, &[oid::P256])]);
        let tbs = seq(&[
            &wrap(tag::context(0), &[&wrap(tag::INTEGER, &[&[2]])]),
            &wrap(tag::INTEGER, &[&[profile.serial]]),
            &ecdsa_sha256(),
            &self.name,
            &seq(&[&generalized_time(now() - 86_400), &generalized_time(profile.not_after)]),
            &subject.name,
            &seq(&[&algorithm, &bit_string(subject.key_bits())]),
            &extensions,
        ]);
        let signature = bit_string(&self.sign(&tbs));
        seq(&[&tbs, &ecdsa_sha256(), &signature])
    }

    /// The certificate in a file.
    pub(crate) fn pem(&self, directory: &std::path::Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        let base64 = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let lines: Vec<&str> = (0..base64.len()).step_by(64).map(|i| &base64[i..base64.len().min(i + 64)]).collect();
        let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// An OCSP answer in the making: true unless a field is changed.
#[derive(Clone)]
pub(crate) struct Answer<'a> {
    pub(crate) issuer: &'a Identity,
    pub(crate) signer: &'a Identity,
    pub(crate) hash: Hash,
    pub(crate) serial: Vec<u8>,
    /// The CertStatus's whole encoding.
    pub(crate) status: Vec<u8>,
    pub(crate) produced_at: UnixSeconds,
    pub(crate) this_update: UnixSeconds,
    pub(crate) next_update: Option<UnixSeconds>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) spoil_signature: bool,
}

pub(crate) fn good() -> Vec<u8> {
    vec![0x80, 0]
}

pub(crate) fn unknown() -> Vec<u8> {
    vec![0x82, 0]
}

pub(crate) fn revoked(at: UnixSeconds, reason: Option<u8>) -> Vec<u8> {
    let reason = reason.map_or(Vec::new(), |r| wrap(tag::context(0), &[&wrap(tag::ENUMERATED, &[&[r]])]));
    wrap(0xa1, &[&generalized_time(at), &reason])
}

impl<'a> Answer<'a> {
    /// `good`, signed by the issuer itself.
    pub(crate) fn new(issuer: &'a Identity, serial: &[u8]) -> Self {
        Self {
            issuer,
            signer: issuer,
            hash: Hash::Sha1,
            serial: serial.to_vec(),
            status: good(),
            produced_at: now(),
            this_update: now(),
            next_update: Some(now() + 3600),
            nonce: None,
            certificates: Vec::new(),
            spoil_signature: false,
        }
    }

    pub(crate) fn by(mut self, signer: &'a Identity) -> Self {
        self.signer = signer;
        self.certificates = vec![signer.certificate.clone()];
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let cert_id = seq(&[
            &self.hash.identifier(),
            &wrap(tag::OCTET_STRING, &[self.hash.digest(&self.issuer.name).as_ref()]),
            &wrap(tag::OCTET_STRING, &[self.hash.digest(self.issuer.key_bits()).as_ref()]),
            &wrap(tag::INTEGER, &[&self.serial]),
        ]);
        let next = self.next_update.map_or(Vec::new(), |at| wrap(tag::context(0), &[&generalized_time(at)]));
        let single = seq(&[&cert_id, &self.status, &generalized_time(self.this_update), &next]);
        let extensions = self.nonce.as_ref().map_or(Vec::new(), |nonce| {
            wrap(tag::context(1), &[&seq(&[&extension(oid::OCSP_NONCE, false, &wrap(tag::OCTET_STRING, &[nonce]))])])
        });
        let responder = wrap(tag::OCTET_STRING, &[Hash::Sha1.digest(self.signer.key_bits()).as_ref()]);
        let tbs = seq(&[
            &wrap(tag::context(2), &[&responder]),
            &generalized_time(self.produced_at),
            &seq(&[&single]),
            &extensions,
        ]);
        let mut signature = self.signer.sign(&tbs);
        if self.spoil_signature {
            // A well-formed signature of something else.
            signature = self.signer.sign(b"something else");
        }
        let certificates = match self.certificates.is_empty() {
            true => Vec::new(),
            false => wrap(tag::context(0), &[&seq(&[&self.certificates.concat()])]),
        };
        let basic = seq(&[&tbs, &ecdsa_sha256(), &bit_string(&signature), &certificates]);
        let bytes = seq(&[&wrap(tag::OID, &[oid::OCSP_BASIC]), &wrap(tag::OCTET_STRING, &[&basic])]);
        seq(&[&wrap(tag::ENUMERATED, &[&[0]]), &wrap(tag::context(0), &[&bytes])])
    }
}

/// An unsigned OCSP error.
pub(crate) fn ocsp_error(status: u8) -> Vec<u8> {
    seq(&[&wrap(tag::ENUMERATED, &[&[status]])])
}

/// A time-stamp token in the making: true unless a field is changed.
#[derive(Clone)]
pub(crate) struct Stamp<'a> {
    pub(crate) signer: &'a Identity,
    pub(crate) issuer_name: Vec<u8>,
    pub(crate) policy: Vec<u8>,
    pub(crate) hash: Hash,
    pub(crate) imprint: Vec<u8>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) serial: Vec<u8>,
    pub(crate) gen_time: UnixSeconds,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) spoil_signature: bool,
    pub(crate) spoil_message_digest: bool,
    pub(crate) spoil_content_type: bool,
    /// The certificate that the token binds itself to.
    pub(crate) bound_to: Option<Vec<u8>>,
}

impl<'a> Stamp<'a> {
    pub(crate) fn new(issuer: &Identity, signer: &'a Identity, imprint: &[u8], nonce: &[u8], serial: &[u8]) -> Self {
        Self {
            signer,
            issuer_name: issuer.name.clone(),
            policy: vec![0x2a, 0x03],
            hash: Hash::Sha256,
            imprint: imprint.to_vec(),
            nonce: Some(nonce.to_vec()),
            serial: serial.to_vec(),
            gen_time: now(),
            certificates: vec![signer.certificate.clone()],
            spoil_signature: false,
            spoil_message_digest: false,
            spoil_content_type: false,
            bound_to: Some(signer.certificate.clone()),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let info = seq(&[
            &wrap(tag::INTEGER, &[&[1]]),
            &wrap(tag::OID, &[&self.policy]),
            &seq(&[&self.hash.identifier(), &wrap(tag::OCTET_STRING, &[&self.imprint])]),
            &wrap(tag::INTEGER, &[&self.serial]),
            &generalized_time(self.gen_time),
            &seq(&[&wrap(tag::INTEGER, &[&[1]])]),
            &self.nonce.as_ref().map_or(Vec::new(), |n| wrap(tag::INTEGER, &[n])),
        ]);
        let attribute = |id: &[u8], value: &[u8]| seq(&[&wrap(tag::OID, &[id]), &wrap(tag::SET, &[value])]);
        let digest = Hash::Sha256.digest(if self.spoil_message_digest { b"other" } else { &info });
        let content_type = if self.spoil_content_type { oid::SIGNED_DATA } else { oid::CT_TST_INFO };
        let mut attributes = vec![
            attribute(oid::CONTENT_TYPE, &wrap(tag::OID, &[content_type])),
            attribute(oid::MESSAGE_DIGEST, &wrap(tag::OCTET_STRING, &[digest.as_ref()])),
        ];
        if let Some(certificate) = &self.bound_to {
            let id = seq(&[&wrap(tag::OCTET_STRING, &[Hash::Sha256.digest(certificate).as_ref()])]);
            attributes.push(attribute(oid::SIGNING_CERTIFICATE_V2, &seq(&[&seq(&[&id])])));
        }
        attributes.sort();
        let attributes = attributes.concat();
        let mut signature = self.signer.sign(&wrap(tag::SET, &[&attributes]));
        if self.spoil_signature {
            signature = self.signer.sign(b"something else");
        }
        let digest_algorithm = seq(&[&wrap(tag::OID, &[oid::SHA256])]);
        let signer_info = seq(&[
            &wrap(tag::INTEGER, &[&[1]]),
            &seq(&[&self.issuer_name, &wrap(tag::INTEGER, &[&[7]])]),
            &digest_algorithm,
            &wrap(tag::context(0), &[&attributes]),
            &ecdsa_sha256(),
            &wrap(tag::OCTET_STRING, &[&signature]),
        ]);
        let certificates = match self.certificates.is_empty() {
            true => Vec::new(),
            false => wrap(tag::context(0), &[&self.certificates.concat()]),
        };
        let content = wrap(tag::context(0), &[&wrap(tag::OCTET_STRING, &[&info])]);
        let signed_data = seq(&[
            &wrap(tag::INTEGER, &[&[3]]),
            &wrap(tag::SET, &[&digest_algorithm]),
            &seq(&[&wrap(tag::OID, &[oid::CT_TST_INFO]), &content]),
            &certificates,
            &wrap(tag::SET, &[&signer_info]),
        ]);
        let token = seq(&[&wrap(tag::OID, &[oid::SIGNED_DATA]), &wrap(tag::context(0), &[&signed_data])]);
        seq(&[&seq(&[&wrap(tag::INTEGER, &[&[0]])]), &token])
    }
}

/// A refusal: status rejection with one failInfo bit.
pub(crate) fn tsp_refusal(bit: usize) -> Vec<u8> {
    let mut octets = vec![0u8; bit / 8 + 2];
    octets[1 + bit / 8] = 0x80 >> (bit % 8);
    octets[0] = 7 - (bit % 8) as u8;
    seq(&[&seq(&[&wrap(tag::INTEGER, &[&[2]]), &wrap(tag::BIT_STRING, &[&octets])])])
}
