//! OCSPResponse, RFC 6960 section 4.2, from values to DER.
//!
//! What all responses of one signer share is encoded once, in a [`Template`]. What differs, the [`Content`], is small
//! and can be kept without its encoding. A response is laid out ([`Template::lay_out`]: every length, so that nothing
//! has to be moved) and then written straight to its destination.
//!
//! Invariant: the same code writes the signed part, so a response rebuilt from its values is, byte for byte, the one
//! that was signed. It does not know policies or keys.

use aws_lc_rs::digest;

use crate::{
    ocsp::{Carrying, CertId},
    pki::{
        Reason, UnixTime,
        encode::{element, header},
    },
};

/// OCSPResponseStatus of an unsigned answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum OcspError {
    /// The request does not conform to the syntax.
    MalformedRequest = 1,
    /// A fault of the responder.
    InternalError = 2,
    /// Ask again later.
    TryLater = 3,
    /// The request must be signed.
    SigRequired = 5,
    /// This responder does not answer for the certificate.
    Unauthorized = 6,
}

impl OcspError {
    /// RFC 6960's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformedRequest",
            Self::InternalError => "internalError",
            Self::TryLater => "tryLater",
            Self::SigRequired => "sigRequired",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// The whole response for an error: a status without responseBytes.
pub const fn error_response(error: OcspError) -> [u8; 5] {
    [0x30, 0x03, 0x0a, 0x01, error as u8]
}

/// CertStatus of a SingleResponse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertStatus {
    /// good `[0]`
    Good,
    /// revoked `[1]`; reason `unspecified` is left out
    Revoked {
        /// revocationTime
        time: UnixTime,
        /// revocationReason
        reason: Reason,
    },
    /// unknown `[2]`
    Unknown,
}

/// SingleResponse.
#[derive(Clone, Copy, Debug)]
pub struct Single<'a> {
    /// As in the request.
    pub cert_id: CertId<'a>,
    /// The answer.
    pub status: CertStatus,
    /// When the status was known to be right.
    pub this_update: UnixTime,
    /// When there will be newer information.
    pub next_update: UnixTime,
    /// id-pkix-ocsp-archive-cutoff, RFC 6960 section 4.4.4: certificates that expired since then are still known.
    pub archive_cutoff: Option<UnixTime>,
    /// What else it carries.
    pub carrying: Option<Carrying<'a>>,
}

/// What a response says.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// When it was signed.
    pub produced_at: UnixTime,
    /// At least one.
    pub singles: &'a [Single<'a>],
    /// Adds the extension by which a responder states that it answers `revoked` for certificates that were never issued
    /// (RFC 6960 section 4.4.8).
    pub extended_revoke: bool,
    /// The request's nonce, RFC 9654.
    pub nonce: Option<&'a [u8]>,
}

/// What all responses of one signer share, encoded.
#[derive(Clone, Debug)]
pub struct Template {
    responder_id: Vec<u8>,
    signature_algorithm: Vec<u8>,
    /// `[0] EXPLICIT SEQUENCE OF Certificate`, or nothing.
    certificates: Vec<u8>,
    fingerprint: [u8; 8],
}

/// How a response names its signer.
#[derive(Clone, Copy, Debug)]
pub enum ResponderId<'a> {
    /// By the SHA-1 hash of the key bits.
    ByKey(&'a [u8; 20]),
    /// By its subject Name, DER.
    ByName(&'a [u8]),
}

impl Template {
    /// `signature_algorithm` is a whole AlgorithmIdentifier; each of `certificates` is one whole
    /// Certificate. Without certificates the field is absent.
    pub fn new(responder_id: ResponderId<'_>, signature_algorithm: &[u8], certificates: &[&[u8]]) -> Self {
        let mut id = Vec::new();
        match responder_id {
            ResponderId::ByName(name) => {
                header(&mut id, 0xa1, name.len());
                id.extend_from_slice(name);
            }
            ResponderId::ByKey(hash) => {
                header(&mut id, 0xa2, element(hash.len()));
                header(&mut id, 0x04, hash.len());
                id.extend_from_slice(hash);
            }
        }
        let mut encoded = Vec::new();
        if !certificates.is_empty() {
            let length = certificates.iter().map(|certificate| certificate.len()).sum();
            header(&mut encoded, 0xa0, element(length));
            header(&mut encoded, 0x30, length);
            certificates.iter().for_each(|certificate| encoded.extend_from_slice(certificate));
        }
        let mut context = digest::Context::new(&digest::SHA256);
        [&id[..], signature_algorithm, &encoded].into_iter().for_each(|part| context.update(part));
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&context.finish().as_ref()[..8]);
        Self { responder_id: id, signature_algorithm: signature_algorithm.to_vec(), certificates: encoded, fingerprint }
    }

    /// Distinguishes templates: the start of a hash over everything they share.
    pub fn fingerprint(&self) -> &[u8; 8] {
        &self.fingerprint
    }

    /// What they carry: `[0] EXPLICIT SEQUENCE OF Certificate`, or nothing.
    pub fn certificates(&self) -> &[u8] {
        &self.certificates
    }

    /// ResponseData: what is signed.
    pub fn response_data(&self, content: &Content<'_>) -> Vec<u8> {
        let layout = self.lay_out(content, 0);
        let mut out = Vec::with_capacity(element(layout.data));
        layout.write_data(&mut out);
        out
    }

    /// The whole OCSPResponse, laid out for a signature of this many bytes.
    pub fn lay_out<'a>(&'a self, content: &'a Content<'a>, signature_length: usize) -> Layout<'a> {
        let singles = content.singles.iter().map(|single| element(single_length(single))).sum();
        let nonce = content.nonce.map_or(0, |nonce| element(nonce_length(nonce)));
        let extensions = nonce + if content.extended_revoke { EXTENDED_REVOKE.len() } else { 0 };
        let extensions_element = if extensions > 0 { element(element(extensions)) } else { 0 };
        let data = self.responder_id.len() + TIME_ELEMENT + element(singles) + extensions_element;
        let basic =
            element(data) + self.signature_algorithm.len() + element(1 + signature_length) + self.certificates.len();
        Layout { template: self, content, signature_length, singles, extensions, data, basic }
    }

    /// The whole OCSPResponse.
    pub fn response(&self, content: &Content<'_>, signature: &[u8]) -> Vec<u8> {
        let layout = self.lay_out(content, signature.len());
        let mut out = Vec::with_capacity(layout.length());
        layout.write(&mut out, signature);
        out
    }
}

/// A response whose lengths are known.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    template: &'a Template,
    content: &'a Content<'a>,
    signature_length: usize,
    /// Bytes of the content of: the list of SingleResponses,
    singles: usize,
    /// the list of responseExtensions,
    extensions: usize,
    /// ResponseData,
    data: usize,
    /// and BasicOCSPResponse.
    basic: usize,
}

impl Layout<'_> {
    /// Bytes of the whole OCSPResponse.
    pub fn length(&self) -> usize {
        element(STATUS_SUCCESSFUL.len() + element(element(self.response_bytes())))
    }

    fn response_bytes(&self) -> usize {
        ID_PKIX_OCSP_BASIC.len() + element(element(self.basic))
    }

    /// Appends the OCSPResponse around `signature`, which must have the length of the layout.
    pub fn write(&self, out: &mut Vec<u8>, signature: &[u8]) {
        debug_assert_eq!(signature.len(), self.signature_length);
        let bytes = self.response_bytes();
        out.reserve(self.length());
        header(out, 0x30, STATUS_SUCCESSFUL.len() + element(element(bytes)));
        out.extend_from_slice(&STATUS_SUCCESSFUL);
        header(out, 0xa0, element(bytes));
        header(out, 0x30, bytes);
        out.extend_from_slice(&ID_PKIX_OCSP_BASIC);
        header(out, 0x04, element(self.basic));
        header(out, 0x30, self.basic);
        self.write_data(out);
        out.extend_from_slice(&self.template.signature_algorithm);
        header(out, 0x03, 1 + signature.len());
        out.push(0); // no unused bits
        out.extend_from_slice(signature);
        out.extend_from_slice(&self.template.certificates);
    }

    fn write_data(&self, out: &mut Vec<u8>) {
        header(out, 0x30, self.data);
        out.extend_from_slice(&self.template.responder_id);
        generalized_time(out, self.content.produced_at);
        header(out, 0x30, self.singles);
        self.content.singles.iter().for_each(|single| single_response(out, single));
        if self.extensions > 0 {
            header(out, 0xa1, element(self.extensions));
            header(out, 0x30, self.extensions);
            if let Some(nonce) = self.content.nonce {
                header(out, 0x30, nonce_length(nonce));
                out.extend_from_slice(&ID_PKIX_OCSP_NONCE);
                header(out, 0x04, element(nonce.len()));
                header(out, 0x04, nonce.len());
                out.extend_from_slice(nonce);
            }
            if self.content.extended_revoke {
                out.extend_from_slice(&EXTENDED_REVOKE);
            }
        }
    }
}

/// OCSPResponseStatus successful
const STATUS_SUCCESSFUL: [u8; 3] = [0x0a, 0x01, 0x00];

/// OBJECT IDENTIFIER 1.3.6.1.5.5.7.48.1.1
const ID_PKIX_OCSP_BASIC: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// OBJECT IDENTIFIER 1.3.6.1.5.5.7.48.1.2
const ID_PKIX_OCSP_NONCE: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

/// The Extension id-pkix-ocsp-extended-revoke (1.3.6.1.5.5.7.48.1.9), not critical, value NULL.
const EXTENDED_REVOKE: [u8; 17] =
    [0x30, 0x0f, 0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x09, 0x04, 0x02, 0x05, 0x00];

/// The Extension id-pkix-ocsp-archive-cutoff (1.3.6.1.5.5.7.48.1.6), not critical, up to its GeneralizedTime.
const ARCHIVE_CUTOFF: [u8; 15] =
    [0x30, 0x1e, 0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x06, 0x04, 0x11];

/// Bytes of a GeneralizedTime with its header.
const TIME_ELEMENT: usize = 17;

/// NULL: the parameters of hash algorithms, whatever the request had.
const NULL: [u8; 2] = [0x05, 0x00];

fn single_length(single: &Single<'_>) -> usize {
    let status = match single.status {
        CertStatus::Good | CertStatus::Unknown => 0,
        CertStatus::Revoked { reason, .. } => revoked_length(reason),
    };
    let extensions = match extensions_length(single) {
        0 => 0,
        length => element(element(length)),
    };
    element(cert_id_length(&single.cert_id)) + element(status) + TIME_ELEMENT + element(TIME_ELEMENT) + extensions
}

/// Bytes of the list of singleExtensions.
fn extensions_length(single: &Single<'_>) -> usize {
    let cutoff = single.archive_cutoff.map_or(0, |_| ARCHIVE_CUTOFF.len() + TIME_ELEMENT);
    cutoff + single.carrying.map_or(0, |carrying| carrying.length())
}

fn revoked_length(reason: Reason) -> usize {
    // RFC 5280 section 5.3.1: absent rather than unspecified.
    TIME_ELEMENT + if reason == Reason::Unspecified { 0 } else { 5 }
}

fn single_response(out: &mut Vec<u8>, single: &Single<'_>) {
    header(out, 0x30, single_length(single));
    cert_id(out, &single.cert_id);
    match single.status {
        CertStatus::Good => out.extend_from_slice(&[0x80, 0x00]),
        CertStatus::Unknown => out.extend_from_slice(&[0x82, 0x00]),
        CertStatus::Revoked { time, reason } => {
            header(out, 0xa1, revoked_length(reason));
            generalized_time(out, time);
            if reason != Reason::Unspecified {
                out.extend_from_slice(&[0xa0, 0x03, 0x0a, 0x01, reason.code()]);
            }
        }
    }
    generalized_time(out, single.this_update);
    header(out, 0xa0, TIME_ELEMENT);
    generalized_time(out, single.next_update);
    let extensions = extensions_length(single);
    if extensions > 0 {
        header(out, 0xa1, element(extensions));
        header(out, 0x30, extensions);
    }
    if let Some(cutoff) = single.archive_cutoff {
        out.extend_from_slice(&ARCHIVE_CUTOFF);
        generalized_time(out, cutoff);
    }
    if let Some(carrying) = single.carrying {
        carrying.write(out);
    }
}

fn algorithm_length(id: &CertId<'_>) -> usize {
    element(id.hash.oid().len()) + NULL.len()
}

fn cert_id_length(id: &CertId<'_>) -> usize {
    element(algorithm_length(id))
        + element(id.issuer_name_hash.len())
        + element(id.issuer_key_hash.len())
        + element(id.serial.len())
}

fn cert_id(out: &mut Vec<u8>, id: &CertId<'_>) {
    header(out, 0x30, cert_id_length(id));
    header(out, 0x30, algorithm_length(id));
    for (tag, content) in
        [(0x06, id.hash.oid()), (0x05, &[]), (0x04, id.issuer_name_hash), (0x04, id.issuer_key_hash), (0x02, id.serial)]
    {
        header(out, tag, content.len());
        out.extend_from_slice(content);
    }
}

fn nonce_length(nonce: &[u8]) -> usize {
    ID_PKIX_OCSP_NONCE.len() + element(element(nonce.len()))
}

fn generalized_time(out: &mut Vec<u8>, time: UnixTime) {
    let mut octets = [0; TIME_ELEMENT];
    octets[..2].copy_from_slice(&[0x18, 15]);
    octets[2..].copy_from_slice(&time.generalized());
    out.extend_from_slice(&octets);
}

#[cfg(test)]
mod tests;
