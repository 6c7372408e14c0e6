//! Whether a token is the authority's: attributes, signature, certificate, chain.
//!
//! Invariant: a token is proven only if its signature covers its content (through messageDigest and the SET form of the
//! signed attributes), its signer's certificate is the one that the token binds itself to, is for time-stamping alone,
//! and chains to an anchor, all valid now. It does not know what the token says.

use crate::certificate::Certificate;
use crate::der::{AlgorithmIdentifier, Malformed, Read, Reader, only, tag};
use crate::hash::Hash;
use crate::limits::{CERTS_IN_RESPONSE_MAX, CHAIN_DEPTH_MAX, SIGNERS_REMEMBERED};
use crate::oid;
use crate::outcome::Kind;
use crate::signature::Refused;
use crate::time::UnixSeconds;
use crate::tsa::response::{SignerId, TimeStampResponse, Token};
use std::sync::Arc;

/// Checks tokens against anchors; remembers signers it has judged.
#[derive(Debug, Clone)]
pub(crate) struct TsaProver {
    anchors: Arc<Vec<Certificate>>,
    signers: Vec<Known>,
}

/// A signer's certificate, and when it and its chain are all valid.
#[derive(Debug, Clone)]
struct Known {
    certificate: Certificate,
    /// The other certificates that came along, on which the verdict rests.
    company: Vec<Vec<u8>>,
    trusted: Result<(UnixSeconds, UnixSeconds), Kind>,
}

/// The signed attributes that RFC 3161 demands.
struct Attributes<'a> {
    content_type: &'a [u8],
    message_digest: &'a [u8],
    /// Hash algorithm and hash of the first ESSCertID or ESSCertIDv2.
    certificate_hash: (Hash, &'a [u8]),
}

impl TsaProver {
    pub(crate) fn new(anchors: Arc<Vec<Certificate>>) -> Self {
        Self { anchors, signers: Vec::new() }
    }

    /// Proves the body of a response.
    pub(crate) fn prove(&mut self, body: &[u8], now: UnixSeconds) -> Result<(), Kind> {
        match TimeStampResponse::read(body) {
            Ok(TimeStampResponse::Granted(token)) => self.prove_token(&token, now),
            Ok(TimeStampResponse::Refused(kind)) => Err(kind),
            Err(_) => Err(Kind::Malformed),
        }
    }

    fn prove_token(&mut self, token: &Token<'_>, now: UnixSeconds) -> Result<(), Kind> {
        let known = self.signer(token)?;
        let (from, until) = known.trusted?;
        if !(from..=until).contains(&now) {
            return Err(Kind::UntrustedSigner);
        }
        let certificate = &known.certificate;
        let digest = Hash::identified(&token.signer.digest_algorithm).ok_or(Kind::UnsupportedAlgorithm)?;
        let attributes =
            Attributes::read(token.signer.signed_attributes.content).map_err(|_| Kind::SignedAttributes)?;
        let (hash, certificate_hash) = attributes.certificate_hash;
        if attributes.content_type != oid::CT_TST_INFO
            || attributes.message_digest != digest.digest(token.content).as_ref()
            || certificate_hash != hash.digest(&certificate.der).as_ref()
        {
            return Err(Kind::SignedAttributes);
        }
        // RFC 5652 section 5.4: signed is the SET OF form, not the [0] that the message carries.
        let mut signed = token.signer.signed_attributes.whole.to_vec();
        signed[0] = tag::SET;
        let signer = &token.signer;
        certificate.key.verify(&signer.signature_algorithm, Some(digest), &signed, signer.signature).map_err(
            |refused| match refused {
                Refused::Bad => Kind::BadSignature,
                Refused::Unsupported => Kind::UnsupportedAlgorithm,
            },
        )
    }

    /// The signer's certificate, judged: from the token, or from among the anchors if the token has none.
    fn signer(&mut self, token: &Token<'_>) -> Result<&Known, Kind> {
        let company: Vec<&[u8]> = token.certificates().take(CERTS_IN_RESPONSE_MAX).collect();
        let same = |k: &Known| is(token.signer.id, &k.certificate) && k.company.iter().eq(company.iter());
        if let Some(place) = self.signers.iter().position(same) {
            return Ok(&self.signers[place]);
        }
        let parsed: Vec<Certificate> = company.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let certificate = parsed
            .iter()
            .chain(self.anchors.iter())
            .find(|c| is(token.signer.id, c))
            .cloned()
            .ok_or(Kind::UntrustedSigner)?;
        let trusted = trust(&certificate, &parsed, &self.anchors);
        if self.signers.len() >= SIGNERS_REMEMBERED {
            self.signers.remove(0);
        }
        let company = company.into_iter().map(<[u8]>::to_vec).collect();
        self.signers.push(Known { certificate, company, trusted });
        // Just pushed.
        self.signers.last().ok_or(Kind::UntrustedSigner)
    }
}

fn is(id: SignerId<'_>, certificate: &Certificate) -> bool {
    match id {
        SignerId::IssuerAndSerial(issuer, serial) => certificate.issuer == issuer && certificate.serial == serial,
        SignerId::SubjectKeyIdentifier(key) => certificate.subject_key_identifier.as_deref() == Some(key),
    }
}

/// From when until when the signer is trusted: its purpose (RFC 3161 section 2.3: critical, and timeStamping alone),
/// and a chain to an anchor.
fn trust(
    signer: &Certificate,
    others: &[Certificate],
    anchors: &[Certificate],
) -> Result<(UnixSeconds, UnixSeconds), Kind> {
    let for_stamping = signer
        .extended_key_usage
        .as_ref()
        .is_some_and(|eku| eku.critical && eku.purposes.len() == 1 && eku.purposes[0] == oid::KP_TIME_STAMPING);
    if !for_stamping || !signer.may_sign() {
        return Err(Kind::UntrustedSigner);
    }
    let mut valid = (signer.not_before, signer.not_after);
    let mut current = signer;
    for _ in 0..CHAIN_DEPTH_MAX {
        if anchors.iter().any(|anchor| anchor.der == current.der) {
            return Ok(valid);
        }
        // Anchors first: a token may carry another certificate of the same name.
        let issued_by = |issuer: &&Certificate| issuer.may_issue() && current.is_issued_by(issuer).is_ok();
        let issuer = anchors.iter().chain(others).find(issued_by).ok_or(Kind::UntrustedSigner)?;
        valid = (valid.0.max(issuer.not_before), valid.1.min(issuer.not_after));
        current = issuer;
    }
    Err(Kind::UntrustedSigner)
}

impl<'a> Attributes<'a> {
    /// Each attribute once, with one value, in DER order.
    fn read(content: &'a [u8]) -> Read<Self> {
        let err = Malformed("signedAttrs");
        let (mut content_type, mut message_digest, mut v1, mut v2) = (None, None, None, None);
        let mut reader = Reader::new(content);
        let mut previous: &[u8] = &[];
        while !reader.is_empty() {
            let attribute = reader.tlv(tag::SEQUENCE, err.0)?;
            // X.690 section 11.6; equal ones would be the same attribute twice.
            if attribute.whole <= previous {
                return Err(err);
            }
            previous = attribute.whole;
            let mut fields = Reader::new(attribute.content);
            let id = fields.content(tag::OID, err.0)?;
            let values = fields.content(tag::SET, err.0)?;
            fields.finish(err.0)?;
            let place = match id {
                oid::CONTENT_TYPE => &mut content_type,
                oid::MESSAGE_DIGEST => &mut message_digest,
                oid::SIGNING_CERTIFICATE => &mut v1,
                oid::SIGNING_CERTIFICATE_V2 => &mut v2,
                _ => continue,
            };
            if place.replace(values).is_some() {
                return Err(err);
            }
        }
        let certificate_hash = match (v1, v2) {
            (_, Some(v2)) => (first_certificate_hash_v2(v2))?,
            (Some(v1), None) => (Hash::Sha1, first_certificate_hash(v1)?),
            (None, None) => return Err(err),
        };
        Ok(Self {
            content_type: only(content_type.ok_or(err)?, tag::OID, err.0)?.content,
            message_digest: only(message_digest.ok_or(err)?, tag::OCTET_STRING, err.0)?.content,
            certificate_hash,
        })
    }
}

/// The content of the first ESSCertID of SigningCertificate or SigningCertificateV2 (RFC 5035): the signer's.
fn first_cert_id(values: &[u8]) -> Read<Reader<'_>> {
    let mut signing_certificate = Reader::new(only(values, tag::SEQUENCE, "SigningCertificate")?.content);
    let mut certs = signing_certificate.nested(tag::SEQUENCE, "certs")?;
    certs.nested(tag::SEQUENCE, "ESSCertID")
}

fn first_certificate_hash(values: &[u8]) -> Read<&[u8]> {
    first_cert_id(values)?.content(tag::OCTET_STRING, "certHash")
}

fn first_certificate_hash_v2(values: &[u8]) -> Read<(Hash, &[u8])> {
    let mut fields = first_cert_id(values)?;
    let hash = match fields.optional(tag::SEQUENCE, "hashAlgorithm")? {
        Some(algorithm) => Hash::identified(&AlgorithmIdentifier::from_content(algorithm.content, "hashAlgorithm")?)
            .ok_or(Malformed("hashAlgorithm"))?,
        // DEFAULT sha256 (RFC 5816 section 2.2.1).
        None => Hash::Sha256,
    };
    Ok((hash, fields.content(tag::OCTET_STRING, "certHash")?))
}
