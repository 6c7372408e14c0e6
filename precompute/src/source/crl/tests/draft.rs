//! CRLs built byte by byte and signed with an Ed25519 key, so that everything inside of the
//! signature can be wrong too.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::pki::{Certificate, Serial};

pub(crate) const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
pub(crate) const TODAY: &[u8] = b"\x17\x0d250102030405Z";
pub(crate) const TOMORROW: &[u8] = b"\x17\x0d250103030405Z";
pub(crate) const TRUE: &[u8] = &[1, 1, 0xff];
pub(crate) const FALSE: &[u8] = &[1, 1, 0];

pub(crate) fn element(tag: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = content.len().to_be_bytes();
    let mut octets = vec![tag];
    match content.len() {
        short @ 0..0x80 => octets.push(short as u8),
        0x80..0x100 => octets.extend([0x81, length[7]]),
        0x100..0x1_0000 => octets.extend([&[0x82], &length[6..]].concat()),
        _ => octets.extend([&[0x83], &length[5..]].concat()),
    }
    octets.extend(content);
    octets
}

pub(crate) fn sequence<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    element(0x30, parts.iter().flat_map(|part| part.as_ref().to_vec()).collect::<Vec<_>>())
}

pub(crate) fn name(common_name: &str) -> Vec<u8> {
    sequence(&[element(0x31, sequence(&[vec![6, 3, 0x55, 4, 3], element(0x0c, common_name)]))])
}

pub(crate) fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// `to_be_signed` with algorithm and signature after it.
pub(crate) fn signed(to_be_signed: &[u8], algorithm: &[u8], seed: u8) -> Vec<u8> {
    let signature = key(seed).sign(to_be_signed);
    sequence(&[to_be_signed, algorithm, &element(0x03, [&[0], signature.as_ref()].concat())])
}

pub(crate) fn certificate(common_name: &str, seed: u8, extensions: &[Vec<u8>]) -> Certificate {
    issued(common_name, seed, (common_name, seed), &[TODAY, TOMORROW], extensions)
}

/// A certificate by an issuer with this name and seed.
pub(crate) fn issued(
    common_name: &str,
    seed: u8,
    (issuer, issuer_seed): (&str, u8),
    validity: &[&[u8]],
    extensions: &[Vec<u8>],
) -> Certificate {
    let spki = sequence(&[ED25519.to_vec(), element(0x03, [&[0], key(seed).public_key().as_ref()].concat())]);
    let mut fields = vec![
        element(0xa0, [2, 1, 2]),
        vec![2, 1, 1],
        ED25519.to_vec(),
        name(issuer),
        sequence(validity),
        name(common_name),
        spki,
    ];
    if !extensions.is_empty() {
        fields.push(element(0xa3, sequence(extensions)));
    }
    Certificate::from_der(&signed(&sequence(&fields), ED25519, issuer_seed)).unwrap()
}

pub(crate) fn issuer() -> Certificate {
    certificate("CA", 7, &[])
}

pub(crate) fn extension(last: u8, critical: bool, value: impl AsRef<[u8]>) -> Vec<u8> {
    let critical = if critical { TRUE } else { &[] };
    sequence(&[&[6, 3, 0x55, 0x1d, last], critical, &element(4, value)])
}

/// keyUsage: one byte of its bits.
pub(crate) fn key_usage(bits: u8) -> Vec<u8> {
    extension(15, true, [3, 2, 1, bits])
}

/// cRLSign, and keyCertSign with it.
pub(crate) const CRL_SIGN: u8 = 0b0000_0010;
pub(crate) const CERT_AND_CRL_SIGN: u8 = 0b0000_0110;

/// basicConstraints of a CA.
pub(crate) fn ca_constraints() -> Vec<u8> {
    extension(19, true, sequence(&[TRUE]))
}

/// certificateIssuer.
pub(crate) fn entry_of(issuer: &str) -> Vec<u8> {
    extension(29, true, sequence(&[element(0xa4, name(issuer))]))
}

pub(crate) fn number(value: u8) -> Vec<u8> {
    extension(20, false, [2, 1, value])
}

pub(crate) fn delta(base: u8) -> Vec<u8> {
    extension(27, true, [2, 1, base])
}

pub(crate) fn reason(code: u8) -> Vec<u8> {
    extension(21, false, [0x0a, 1, code])
}

pub(crate) fn distribution_point(fields: &[u8]) -> Vec<u8> {
    extension(28, true, element(0x30, fields))
}

pub(crate) fn entry(serial: u8, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut fields = vec![vec![2, 1, serial], TODAY.to_vec()];
    if !extensions.is_empty() {
        fields.push(sequence(extensions));
    }
    sequence(&fields)
}

/// A CRL to be; by default one that is taken.
pub(crate) struct Draft {
    pub(crate) version: Vec<u8>,
    pub(crate) inner: Vec<u8>,
    pub(crate) outer: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) times: Vec<u8>,
    /// revokedCertificates, element and all.
    pub(crate) entries: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) seed: u8,
}

impl Draft {
    pub(crate) fn new() -> Self {
        Self {
            version: vec![2, 1, 1],
            inner: ED25519.to_vec(),
            outer: ED25519.to_vec(),
            issuer: name("CA"),
            times: [TODAY, TOMORROW].concat(),
            entries: Vec::new(),
            extensions: Vec::new(),
            seed: 7,
        }
    }

    pub(crate) fn entries(entries: &[Vec<u8>]) -> Self {
        Self { entries: sequence(entries), ..Self::new() }
    }

    pub(crate) fn extensions(extensions: &[Vec<u8>]) -> Self {
        Self { extensions: extensions.to_vec(), ..Self::new() }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let mut fields = vec![&self.version, &self.inner, &self.issuer, &self.times, &self.entries];
        let extensions = element(0xa0, sequence(&self.extensions));
        if !self.extensions.is_empty() {
            fields.push(&extensions);
        }
        signed(&sequence(&fields), &self.outer, self.seed)
    }

    pub(crate) fn read(&self) -> Result<Crl, String> {
        Crl::from_octets(self.der(), &issuer())
    }
}

pub(crate) fn pem(der: &[u8]) -> String {
    use der::pem::{LineEnding, encode_string};
    encode_string("X509 CRL", LineEnding::LF, der).unwrap()
}

#[track_caller]
pub(crate) fn refused(draft: &Draft, problem: &str) {
    let error = draft.read().expect_err(problem);
    assert!(error.contains(problem), "expected `{problem}`, found `{error}`");
}

pub(crate) fn serial(value: u8) -> Serial {
    Serial::from_magnitude(&[value]).unwrap()
}

pub(crate) fn today() -> UnixTime {
    UnixTime::from_asn1_text(b"250102030405Z").unwrap()
}

pub(crate) fn crl_number(value: u8) -> CrlNumber {
    CrlNumber::from_der_content(&[value]).unwrap()
}
