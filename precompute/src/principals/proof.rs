//! How a principal proves who it is: by a token, or by a certificate over TLS.
//!
//! Invariant: a token is kept as its hash, is compared in constant time and gets into no message. Whether a certificate is
//! valid and of a CA that counts was found out before ([`crate::tls`]).

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use der::Decode as _;

use super::Malformed;
use crate::pki::{Certificate, hex};

/// The SHA-256 hash of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; digest::SHA256_OUTPUT_LEN]);

/// Not even the hash is shown.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl TokenHash {
    /// That of a token.
    pub fn of(token: &[u8]) -> Self {
        Self(sha256(token))
    }

    /// From 64 hexadecimal digits, as `sha256sum` prints them.
    pub fn from_hex(digits: &str) -> Option<Self> {
        hash_of_hex(digits).map(Self)
    }

    /// Whether both are of one token, found out in the same time for all.
    pub fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// 64 hexadecimal digits, for a configuration.
    pub fn to_hex(&self) -> String {
        hex::text(&self.0)
    }
}

fn sha256(octets: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    hash
}

fn hash_of_hex(digits: &str) -> Option<[u8; digest::SHA256_OUTPUT_LEN]> {
    hex::array(digits)
}

/// By what a client's certificate is recognised. A name stays when the certificate is renewed, and is worth as much as the
/// CAs that count; a hash is of one key, or of one certificate, whatever else these CAs issue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// `dns:`, a dNSName of its subjectAltName.
    Dns(String),
    /// `email:`, an rfc822Name there.
    Email(String),
    /// `uri:`, a uniformResourceIdentifier there, such as a SPIFFE ID.
    Uri(String),
    /// `subject:`, the whole subject in RFC 4514 form, as `openssl x509 -subject -nameopt RFC2253` prints it.
    Subject(String),
    /// `key-sha256:`, the hash of its SubjectPublicKeyInfo.
    Key([u8; digest::SHA256_OUTPUT_LEN]),
    /// `sha256:`, the hash of all of it, as `openssl x509 -fingerprint -sha256` prints it.
    Certificate([u8; digest::SHA256_OUTPUT_LEN]),
}

const DNS_NAME: u8 = 0x82;
const RFC822_NAME: u8 = 0x81;
const URI: u8 = 0x86;

impl Mark {
    /// Whether this certificate has it.
    pub fn is_of(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Dns(name) => has_name(certificate, DNS_NAME, |own| own.eq_ignore_ascii_case(name.as_bytes())),
            Self::Email(name) => has_name(certificate, RFC822_NAME, |own| own.eq_ignore_ascii_case(name.as_bytes())),
            Self::Uri(name) => has_name(certificate, URI, |own| own == name.as_bytes()),
            Self::Subject(subject) => certificate.subject() == *subject,
            Self::Key(hash) => sha256(certificate.spki_der()) == *hash,
            Self::Certificate(hash) => certificate.sha256() == *hash,
        }
    }
}

/// Whether a GeneralName with this tag is among its names.
fn has_name(certificate: &Certificate, tag: u8, is_it: impl Fn(&[u8]) -> bool) -> bool {
    certificate.subject_alt_names().iter().any(|name| {
        name.first() == Some(&tag) && der::asn1::AnyRef::from_der(name).is_ok_and(|name| is_it(name.value()))
    })
}

/// The DNS names of a certificate, such as that of a server, in lower case and without wildcards.
pub fn dns_names(certificate: &Certificate) -> Vec<String> {
    let names = certificate.subject_alt_names();
    let names = names.iter().filter(|name| name.first() == Some(&DNS_NAME));
    let text = |name: &Vec<u8>| {
        let name = der::asn1::AnyRef::from_der(name).ok()?;
        Some(std::str::from_utf8(name.value()).ok()?.to_ascii_lowercase())
    };
    names.filter_map(text).filter(|name| !name.contains('*')).collect()
}

/// As configurations have it.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Email(name) => write!(f, "email:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Subject(name) => write!(f, "subject:{name}"),
            Self::Key(hash) => write!(f, "key-sha256:{}", hex::text(hash)),
            Self::Certificate(hash) => write!(f, "sha256:{}", hex::text(hash)),
        }
    }
}

impl FromStr for Mark {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (kind, value) = text.split_once(':').filter(|(_, value)| !value.is_empty()).unwrap_or_default();
        let hash = || {
            let plain: String = value.chars().filter(|letter| *letter != ':').collect();
            hash_of_hex(&plain).ok_or_else(|| {
                Malformed(format!("is no SHA-256 hash behind `{kind}:`; expected 64 hexadecimal digits"))
            })
        };
        match kind {
            "dns" => Ok(Self::Dns(value.to_owned())),
            "email" => Ok(Self::Email(value.to_owned())),
            "uri" => Ok(Self::Uri(value.to_owned())),
            "subject" => Ok(Self::Subject(value.to_owned())),
            "key-sha256" => Ok(Self::Key(hash()?)),
            "sha256" => Ok(Self::Certificate(hash()?)),
            _ => Err(Malformed(
                "is no mark of a certificate; expected `dns:`, `email:`, `uri:` or `subject:` with the name in it, or `key-sha256:` or `sha256:` with the hash of its key or of all of it, such as `dns:deploy.example`".into(),
            )),
        }
    }
}

/// What is shown, one of the two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// A token with this hash.
    Token(TokenHash),
    /// A certificate with this mark.
    Certificate(Mark),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_is_written_is_read_again_and_anything_else_is_told() {
        let hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let colons: Vec<_> = hash.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
        let fingerprint = colons.join(":").to_ascii_uppercase();
        for (text, again) in [
            ("dns:deploy.example".to_owned(), None),
            ("email:ops@acme.example".into(), None),
            ("uri:spiffe://acme/deploy".into(), None),
            ("subject:CN=deploy,O=Acme".into(), None),
            (format!("key-sha256:{hash}"), None),
            (format!("sha256:{fingerprint}"), Some(format!("sha256:{hash}"))),
        ] {
            assert_eq!(text.parse::<Mark>().unwrap().to_string(), again.unwrap_or(text));
        }
        for (text, words) in [
            ("deploy.example", "is no mark of a certificate; expected `dns:`"),
            ("dns:", "is no mark"),
            ("cn:deploy", "is no mark"),
            ("sha256:0011", "is no SHA-256 hash behind `sha256:`"),
            (&format!("key-sha256:{hash}0"), "is no SHA-256 hash behind `key-sha256:`"),
        ] {
            let fault = text.parse::<Mark>().unwrap_err().to_string();
            assert!(fault.contains(words), "{text}: {fault}");
        }
    }

    #[test]
    fn the_hash_of_a_token_is_what_sha256sum_says_and_is_not_shown() {
        // printf %s abc | sha256sum
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = TokenHash::of(b"abc");
        assert_eq!(hash.to_hex(), digits);
        assert!(TokenHash::from_hex(&digits.to_ascii_uppercase()).unwrap().is(&hash));
        assert!(!TokenHash::of(b"abd").is(&hash));
        assert!(TokenHash::from_hex(&digits[1..]).is_none() && TokenHash::from_hex("x").is_none());
        assert!(!format!("{hash:?}").contains("ba78"));
    }
}
