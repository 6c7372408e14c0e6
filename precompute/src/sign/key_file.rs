//! Files with private keys, and descriptions of files without one.
//!
//! Invariant: no byte of a file gets into a message, since any file can be a damaged key. Descriptions come from lists
//! of known kinds. It does not know what signs with a key.

use std::path::Path;

use der::{
    Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_cert::spki::AlgorithmIdentifierRef;

use crate::{
    output::shell_word,
    pki::{FileError, Secret, pem, pkcs12_option},
};

/// The first private key of a PEM file. Only the owner may access the file (the group may read it).
pub fn read_private_key(path: &Path, limit: u64) -> Result<PrivateKeyDer<'static>, FileError> {
    let Secret { content, exposed } = Secret::read(path, "a private key", limit)?;
    let file = shell_word(&path.display().to_string());
    match (key_in(&content, &file), exposed) {
        // Its mode may be right.
        (Err(Other::Open(problem)), _) => Err(FileError::new(path, problem)),
        (_, Some(exposed)) => Err(exposed),
        (Err(Other::Secret(problem)), None) => Err(FileError::new(path, problem)),
        (Ok(key), None) => Ok(key),
    }
}

/// What a file without a usable key holds, for people.
enum Other {
    /// Something public.
    Open(String),
    /// A key that has to be converted, or something that may be a key.
    Secret(String),
}

fn key_in(content: &[u8], file: &str) -> Result<PrivateKeyDer<'static>, Other> {
    let sections = pem::sections(content).map_err(|damage| Other::Secret(damage.to_string()))?;
    for section in &sections {
        if let Some(key) = private_key(section).map_err(|damage| Other::Secret(damage.to_string()))? {
            return Ok(key);
        }
    }
    let other = if sections.is_empty() { of_no_pem(content, file) } else { other_in(&sections, file) };
    let unknown = || Other::Secret("holds no private key in PEM (PKCS#8 `PRIVATE KEY`, SEC1 `EC PRIVATE KEY`)".into());
    Err(other.unwrap_or_else(unknown))
}

fn private_key(section: &pem::Section) -> Result<Option<PrivateKeyDer<'static>>, pem::PemDamage> {
    let der = || section.content().map(<[u8]>::to_vec);
    Ok(match section.label {
        _ if section.encrypted => None,
        "PRIVATE KEY" => Some(PrivatePkcs8KeyDer::from(der()?).into()),
        "EC PRIVATE KEY" => Some(PrivateSec1KeyDer::from(der()?).into()),
        "RSA PRIVATE KEY" => Some(PrivatePkcs1KeyDer::from(der()?).into()),
        _ => None,
    })
}

/// What a PEM file without a readable private key holds.
fn other_in(sections: &[pem::Section], file: &str) -> Option<Other> {
    use Other::{Open, Secret};
    let first = |labels: &[&str]| sections.iter().find(|section| labels.contains(&section.label));
    let is = |labels: &[&str]| first(labels).is_some();
    if is(&["ENCRYPTED PRIVATE KEY"]) || sections.iter().any(|section| section.encrypted) {
        return Some(Secret(format!(
            "holds an encrypted private key; decrypt it into a file that only the service may read: openssl pkey -in {file} -out {file}.plain"
        )));
    }
    if let Some(key) = first(&["OPENSSH PRIVATE KEY"]) {
        return Some(Secret(of_openssh(key.content().unwrap_or_default(), file)));
    }
    Some(if is(&["PGP PRIVATE KEY BLOCK"]) {
        Secret("holds a private key of OpenPGP, which signs no responses; name a key in PEM (PKCS#8)".into())
    } else if is(&["DSA PRIVATE KEY"]) {
        Secret(of_kind("a DSA key"))
    } else if is(&["PUBLIC KEY", "RSA PUBLIC KEY"]) {
        Open("holds a public key, which signs nothing; name the file with its private key".into())
    } else if is(&["CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE"]) {
        Open(A_CERTIFICATE.into())
    } else if is(&["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"]) {
        Open("holds a request for a certificate (PKCS#10), not a private key; name the file with the key that it was made for".into())
    } else if is(&["X509 CRL"]) {
        Open("holds a CRL, not a private key; name the file with the key".into())
    } else if is(&["PKCS7", "CMS"]) {
        Open("holds certificates in PKCS#7, which has no private keys; name the file with the key".into())
    } else if is(&["EC PARAMETERS", "DH PARAMETERS", "DSA PARAMETERS"]) {
        Open(format!(
            "holds parameters alone and no key; make one with them: openssl genpkey -paramfile {file} -out {file}.key"
        ))
    } else {
        return None;
    })
}

const A_CERTIFICATE: &str = "holds a certificate, not a private key; the two may have been named in each other's place: name the file with the key that belongs to the certificate";

/// What a file is that is not PEM.
fn of_no_pem(content: &[u8], file: &str) -> Option<Other> {
    use Other::{Open, Secret};
    let begins = |with: &[u8]| content.starts_with(with);
    if content.iter().all(u8::is_ascii_whitespace) {
        return Some(Open("holds no private key in PEM, since it is empty; write the key into it (PKCS#8)".into()));
    }
    if begins(b"\xfe\xed\xfe\xed") {
        return Some(Secret(format!(
            "holds a Java key store, not PEM; convert it: keytool -importkeystore -srckeystore {file} -destkeystore {file}.p12 -deststoretype PKCS12 && openssl pkcs12 -in {file}.p12 -nocerts -noenc -out {file}.pem"
        )));
    }
    if begins(b"PuTTY-User-Key-File-") {
        return Some(Secret(format!(
            "holds a key of PuTTY, not PEM; convert it: puttygen {file} -O private-openssh -o {file}.pem && ssh-keygen -p -N '' -m PKCS8 -f {file}.pem"
        )));
    }
    if [&b"ssh-"[..], b"ecdsa-sha2-", b"---- BEGIN SSH2 PUBLIC KEY"].iter().any(|with| begins(with)) {
        return Some(Open(
            "holds a public key of OpenSSH, which signs nothing; name the file with its private key".into(),
        ));
    }
    let convert = |what: &str, command: &str| Secret(format!("holds {what}, not PEM; convert it: openssl {command}"));
    Some(match der_kind(content)? {
        DerKind::Key => convert("a private key in DER", &format!("pkey -inform DER -in {file} -out {file}.pem")),
        DerKind::Encrypted => {
            convert("an encrypted private key in DER", &format!("pkcs8 -inform DER -in {file} -out {file}.pem"))
        }
        DerKind::Pkcs12 => {
            let option = pkcs12_option(content);
            convert("a PKCS#12 store", &format!("pkcs12{option} -in {file} -nocerts -noenc -out {file}.pem"))
        }
        DerKind::PublicKey => {
            Open("holds a public key in DER, which signs nothing; name the file with its private key".into())
        }
        DerKind::Signed => Open(A_CERTIFICATE.replace("a certificate,", "a certificate, a request or a CRL in DER,")),
    })
}

/// What a DER file is, by its outer structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DerKind {
    Key,
    Encrypted,
    Pkcs12,
    PublicKey,
    /// A certificate, a request, a CRL.
    Signed,
}

fn der_kind(content: &[u8]) -> Option<DerKind> {
    let reader = SliceReader::new(content).ok()?;
    let header = reader.peek_header().ok().filter(|header| header.tag == Tag::Sequence)?;
    // Line ends may follow it.
    let length = usize::try_from((header.encoded_len().ok()? + header.length).ok()?).ok()?;
    let behind = content.get(length..)?;
    if !behind.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let parts = parts(content.get(..length)?)?;
    let tags: Vec<_> = parts.iter().map(|part| part.tag()).collect();
    let begins_with_oid = |part: &AnyRef<'_>| part.value().first() == Some(&0x06);
    Some(match tags[..] {
        [Tag::Integer, Tag::Sequence, Tag::OctetString, ..] => DerKind::Key,
        [Tag::Integer, Tag::Sequence, ..] if parts[0].value() == [3] => DerKind::Pkcs12,
        [Tag::Integer, Tag::Integer, Tag::Integer, Tag::Integer, ..] | [Tag::Integer, Tag::OctetString, ..] => {
            DerKind::Key
        }
        [Tag::Sequence, Tag::OctetString] if begins_with_oid(&parts[0]) => DerKind::Encrypted,
        [Tag::Sequence, Tag::BitString] if begins_with_oid(&parts[0]) => DerKind::PublicKey,
        [Tag::Sequence, Tag::Sequence, Tag::BitString] => DerKind::Signed,
        _ => return None,
    })
}

/// The elements of a SEQUENCE.
fn parts(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let whole = AnyRef::from_der(der).ok()?;
    let mut reader = SliceReader::new(whole.value()).ok()?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(parts)
}

/// OpenSSH always writes Ed25519 in its own format.
fn of_openssh(content: &[u8], file: &str) -> String {
    let is = |kind: &[u8]| content.windows(kind.len()).any(|window| window == kind);
    if is(b"ssh-ed25519") {
        return "holds an Ed25519 key in the format of OpenSSH, which it converts to no other; make a key for the purpose: ostia-precompute keys generate --algorithm ed25519".into();
    }
    format!(
        "holds a private key in the format of OpenSSH, not PKCS#8; convert a copy of it: cp -p {file} {file}.pem && ssh-keygen -p -N '' -m PKCS8 -f {file}.pem"
    )
}

fn of_kind(kind: &str) -> String {
    format!("holds {kind}; {}", KINDS)
}

const KINDS: &str = "responses are signed by ECDSA P-256, ECDSA P-384, RSA 2048–4096, Ed25519 or ML-DSA: make a key of one of these kinds";

/// The message about a private key that cannot sign here.
pub(super) fn of_unusable(key: &PrivateKeyDer<'_>) -> String {
    match kind_of(key) {
        Some(kind) => of_kind(&kind),
        None => format!(
            "holds a private key that is damaged, or of a kind that is not known here; copy it again from where it was made ({KINDS})"
        ),
    }
}

/// The name of a key's kind, if keys of that kind cannot sign here. `None` if its structure is damaged or its kind
/// unknown: then nothing is reported.
fn kind_of(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa_kind(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            // ECPrivateKey of RFC 5915 section 3: the parameters are tagged [0].
            let parts = parts(key.secret_sec1_der())?;
            let parameters = parts.iter().find(|part| u8::from(part.tag()) == 0xa0)?;
            curve_kind(parameters.value())
        }
        PrivateKeyDer::Pkcs8(key) => {
            let parts = parts(key.secret_pkcs8_der())?;
            let [_, algorithm, private, ..] = &parts[..] else { return None };
            let algorithm = AlgorithmIdentifierRef::from_der(&algorithm.to_der().ok()?)
                .ok()
                .map(|algorithm| (algorithm.oid, algorithm.parameters.and_then(|parameters| parameters.to_der().ok())));
            let (oid, parameters) = algorithm?;
            match oid {
                EC_PUBLIC_KEY => curve_kind(&parameters?),
                RSA | RSASSA_PSS => rsa_kind(private.decode_as::<OctetStringRef<'_>>().ok()?.as_bytes()),
                oid => {
                    let known = ALGORITHMS.iter().find(|(known, _)| *known == oid);
                    known.map(|(_, name)| format!("{} {name} key", article(name)))
                }
            }
        }
        _ => None,
    }
}

fn article(name: &str) -> &'static str {
    if name.starts_with(['E', 'H', 'M', 'S', 'X']) { "an" } else { "a" }
}

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const EC_PUBLIC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
const RSASSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");

/// Kinds of keys that people have and that cannot sign here.
const ALGORITHMS: [(ObjectIdentifier, &str); 14] = [
    (oid("1.3.101.113"), "Ed448"),
    (oid("1.3.101.110"), "X25519 (key agreement)"),
    (oid("1.3.101.111"), "X448 (key agreement)"),
    (oid("1.2.840.10040.4.1"), "DSA"),
    (oid("1.2.840.113549.1.3.1"), "Diffie-Hellman"),
    (oid("1.2.840.10046.2.1"), "Diffie-Hellman"),
    (oid("2.16.840.1.101.3.4.4.1"), "ML-KEM-512 (key agreement)"),
    (oid("2.16.840.1.101.3.4.4.2"), "ML-KEM-768 (key agreement)"),
    (oid("2.16.840.1.101.3.4.4.3"), "ML-KEM-1024 (key agreement)"),
    (oid("2.16.840.1.101.3.4.3.20"), "SLH-DSA"),
    (oid("2.16.840.1.101.3.4.3.24"), "SLH-DSA"),
    (oid("1.2.643.7.1.1.1.1"), "GOST R 34.10-2012"),
    (oid("1.2.643.7.1.1.1.2"), "GOST R 34.10-2012"),
    (oid("1.2.840.113549.1.9.16.3.17"), "HSS/LMS"),
];

const CURVES: [(ObjectIdentifier, &str); 8] = [
    (oid("1.3.132.0.35"), "P-521 (secp521r1)"),
    (oid("1.3.132.0.33"), "P-224 (secp224r1)"),
    (oid("1.2.840.10045.3.1.1"), "P-192 (prime192v1)"),
    (oid("1.3.132.0.10"), "secp256k1"),
    (oid("1.3.36.3.3.2.8.1.1.7"), "brainpoolP256r1"),
    (oid("1.3.36.3.3.2.8.1.1.11"), "brainpoolP384r1"),
    (oid("1.3.36.3.3.2.8.1.1.13"), "brainpoolP512r1"),
    (oid("1.2.156.10197.1.301"), "SM2"),
];

/// ECParameters of RFC 5480 section 2.1.1: a name, or all of the curve's numbers.
fn curve_kind(parameters: &[u8]) -> Option<String> {
    if parameters.first() == Some(&0x30) {
        return Some("an ECDSA key on a curve that is written out instead of named".into());
    }
    let oid = ObjectIdentifier::from_der(parameters).ok()?;
    let (_, name) = CURVES.iter().find(|(known, _)| *known == oid)?;
    Some(format!("an ECDSA key on the curve {name}"))
}

fn rsa_kind(der: &[u8]) -> Option<String> {
    let parts = parts(der)?;
    let [version, modulus, ..] = &parts[..] else { return None };
    let modulus = modulus.decode_as::<UintRef<'_>>().ok()?;
    let (bytes, first) = (modulus.as_bytes().len(), modulus.as_bytes().first()?);
    let bits = bytes * 8 - first.leading_zeros() as usize;
    match (version.value(), bits) {
        ([1], _) => Some("an RSA key with more than two primes".into()),
        (_, 2048..=4096) => None,
        (_, bits) => Some(format!("an RSA key of {bits} bits")),
    }
}
