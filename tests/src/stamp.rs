//! Time-stamps: queries written by hand, and what comes back read byte by byte (RFC 3161), beside `openssl ts`.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use crate::{
    Ended,
    der::{element, elements, holding, oid, only},
    http::{self, Reply},
    run,
};

mod token;

pub use token::{Info, Token};

/// The media type of queries.
pub const QUERY: &str = "application/timestamp-query";

/// Hash functions of imprints, by their names in openssl.
pub const HASHES: [(&str, &str, usize); 8] = [
    ("sha256", "2.16.840.1.101.3.4.2.1", 32),
    ("sha384", "2.16.840.1.101.3.4.2.2", 48),
    ("sha512", "2.16.840.1.101.3.4.2.3", 64),
    ("sha3-256", "2.16.840.1.101.3.4.2.8", 32),
    ("sha3-384", "2.16.840.1.101.3.4.2.9", 48),
    ("sha3-512", "2.16.840.1.101.3.4.2.10", 64),
    ("sha1", "1.3.14.3.2.26", 20),
    ("md5", "1.2.840.113549.2.5", 16),
];

/// A TimeStampReq. The digest is of nothing: nobody but clients can tell.
#[derive(Clone, Debug)]
pub struct Query {
    version: u8,
    hash: &'static str,
    digest: Vec<u8>,
    parameters: Option<Vec<u8>>,
    policy: Option<String>,
    nonce: Option<Vec<u8>>,
    cert_req: Option<bool>,
    extensions: Vec<u8>,
}

impl Query {
    /// About a digest in SHA-256 that begins with `number`, and that asks for certificates.
    pub fn new(number: u32) -> Self {
        let digest = [&number.to_be_bytes()[..], &[0x5a; 28]].concat();
        Self {
            version: 1,
            hash: "sha256",
            digest,
            parameters: None,
            policy: None,
            nonce: None,
            cert_req: Some(true),
            extensions: Vec::new(),
        }
    }

    /// With a digest of another hash function of [`HASHES`].
    #[must_use]
    pub fn hash(mut self, name: &'static str) -> Self {
        let (name, _, length) = HASHES.into_iter().find(|hash| hash.0 == name).unwrap();
        self.hash = name;
        self.digest.resize(length, 0x5a);
        self
    }

    /// With a digest of this length, whatever the hash function's is.
    #[must_use]
    pub fn digest_length(mut self, length: usize) -> Self {
        self.digest.resize(length, 0x5a);
        self
    }

    /// With parameters of the hash function, a whole element.
    #[must_use]
    pub fn parameters(mut self, parameters: &[u8]) -> Self {
        self.parameters = Some(parameters.to_vec());
        self
    }

    /// With a version.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// With a policy, dotted.
    #[must_use]
    pub fn policy(mut self, policy: &str) -> Self {
        self.policy = Some(policy.to_owned());
        self
    }

    /// With a nonce, the content bytes of its INTEGER.
    #[must_use]
    pub fn nonce(mut self, content: &[u8]) -> Self {
        self.nonce = Some(content.to_vec());
        self
    }

    /// With certReq of this value, or without the field.
    #[must_use]
    pub fn cert_req(mut self, value: Option<bool>) -> Self {
        self.cert_req = value;
        self
    }

    /// With an extension of this identifier.
    #[must_use]
    pub fn extension(mut self, identifier: &str) -> Self {
        let extension = holding(0x30, &[&oid(identifier), &element(0x04, &[0x05, 0x00])]);
        self.extensions.extend(extension);
        self
    }

    /// messageImprint.
    pub fn imprint(&self) -> Vec<u8> {
        let (_, identifier, _) = HASHES.into_iter().find(|hash| hash.0 == self.hash).unwrap();
        let parameters = self.parameters.as_deref().unwrap_or_default();
        let algorithm = holding(0x30, &[&oid(identifier), parameters]);
        holding(0x30, &[&algorithm, &element(0x04, &self.digest)])
    }

    /// In DER.
    pub fn der(&self) -> Vec<u8> {
        let mut fields = [element(0x02, &[self.version]), self.imprint()].concat();
        fields.extend(self.policy.iter().flat_map(|policy| oid(policy)));
        fields.extend(self.nonce.iter().flat_map(|nonce| element(0x02, nonce)));
        fields.extend(self.cert_req.iter().flat_map(|value| element(0x01, &[if *value { 0xff } else { 0 }])));
        if !self.extensions.is_empty() {
            fields.extend(element(0xa0, &self.extensions));
        }
        element(0x30, &fields)
    }

    /// As an HTTP request; `headers` are further lines.
    pub fn request(&self, target: &str, headers: &str) -> Vec<u8> {
        request(target, headers, &self.der())
    }

    /// Posts it.
    #[track_caller]
    pub fn at(&self, address: SocketAddr, target: &str) -> Stamped {
        let reply = http::exchange(address, &self.request(target, ""));
        Stamped::read(&reply.unwrap_or_else(|error| panic!("POST {target}: {error}")))
    }
}

/// A POST of a query in these bytes.
pub fn request(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("Content-Type: {QUERY}\r\nContent-Length: {}\r\n{headers}", body.len());
    [http::request("POST", target, &headers), body.to_vec()].concat()
}

/// A TimeStampResp.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// All of it.
    pub der: Vec<u8>,
    /// PKIStatus.
    pub status: u8,
    /// statusString, joined.
    pub text: Option<String>,
    /// The bits that are set in failInfo.
    pub failures: Vec<usize>,
    /// The token.
    pub token: Option<Token>,
}

impl Stamped {
    /// Reads what an HTTP response carries, and sees to it that the response is one of RFC 3161.
    #[track_caller]
    pub fn read(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{} {:?}", reply.text(), reply.headers);
        assert_eq!(reply.expect("content-type"), "application/timestamp-reply");
        Self::decode(&reply.body)
    }

    /// Reads a TimeStampResp.
    #[track_caller]
    pub fn decode(der: &[u8]) -> Self {
        let response = elements(only(0x30, der).content);
        let info = elements(response[0].content);
        assert!(info[0].tag == 2 && info[0].content.len() == 1, "{info:02x?}");
        let mut stamped =
            Self { der: der.to_vec(), status: info[0].content[0], text: None, failures: Vec::new(), token: None };
        for field in &info[1..] {
            match field.tag {
                0x30 => {
                    let texts = elements(field.content);
                    assert!(texts.iter().all(|text| text.tag == 0x0c), "no UTF8String: {texts:02x?}");
                    let texts = texts.iter().map(|text| std::str::from_utf8(text.content).unwrap());
                    stamped.text = Some(texts.collect::<Vec<_>>().join("\n"));
                }
                0x03 => {
                    let bits =
                        field.content[1..].iter().flat_map(|octet| (0..8).map(move |bit| octet << bit & 0x80 != 0));
                    stamped.failures = bits.enumerate().filter(|(_, set)| *set).map(|(bit, _)| bit).collect();
                }
                tag => panic!("in PKIStatusInfo: {tag:02x}"),
            }
        }
        stamped.token = response.get(1).map(Token::read);
        assert!(response.len() <= 2);
        stamped
    }

    /// Its token, which must be there.
    #[track_caller]
    pub fn granted(&self) -> &Token {
        assert_eq!((self.status, &self.failures[..]), (0, &[][..]), "{:?}", self.text);
        self.token.as_ref().expect("a token")
    }

    /// That it is a rejection, and well-formed: one bit and a text.
    #[track_caller]
    pub fn expect_rejection(&self, failure: &str) {
        assert_eq!((self.status, &self.failures[..]), (2, &[failure_bit(failure)][..]), "{failure}: {:?}", self.text);
        assert!(self.text.as_ref().is_some_and(|text| text.len() > 10), "{:?}", self.text);
        assert_eq!(self.token, None);
    }

    /// What `openssl ts -verify` makes of it, with the root in `ca` and the certificates in `untrusted` beside it.
    pub fn openssl_verifies(&self, query: &[u8], ca: &Path, untrusted: Option<&Path>) -> Ended {
        let scratch = tempfile::tempdir().unwrap();
        let (asked, answered) = (scratch.path().join("query"), scratch.path().join("response"));
        fs::write(&asked, query).unwrap();
        fs::write(&answered, &self.der).unwrap();
        let mut verify = Command::new("openssl");
        verify.args(["ts", "-verify", "-queryfile"]).arg(asked).arg("-in").arg(answered).arg("-CAfile").arg(ca);
        if let Some(untrusted) = untrusted {
            verify.arg("-untrusted").arg(untrusted);
        }
        run(&mut verify)
    }

    /// That `openssl ts -verify` accepts it.
    #[track_caller]
    pub fn expect_verified(&self, query: &[u8], ca: &Path, untrusted: Option<&Path>) {
        let ended = self.openssl_verifies(query, ca, untrusted);
        assert!(ended.status.success() && ended.text.contains("Verification: OK"), "{:?}: {}", self.text, ended.text);
    }
}

/// The number of a bit of PKIFailureInfo.
#[track_caller]
fn failure_bit(name: &str) -> usize {
    match name {
        "badAlg" => 0,
        "badRequest" => 2,
        "badDataFormat" => 5,
        "timeNotAvailable" => 14,
        "unacceptedPolicy" => 15,
        "unacceptedExtension" => 16,
        "addInfoNotAvailable" => 17,
        "systemFailure" => 25,
        _ => panic!("{name} is none of RFC 3161"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_openssl_writes() {
        let scratch = tempfile::tempdir().unwrap();
        let digest = [&7u32.to_be_bytes()[..], &[0x5a; 28]].concat();
        let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        let arguments =
            ["ts", "-query", "-digest", &hex, "-sha256", "-no_nonce", "-cert", "-tspolicy", "1.3.6.1.4.1.99999.1"];
        crate::openssl(scratch.path(), [&arguments[..], &["-out", "query"]].concat());
        let query = Query::new(7).parameters(&[5, 0]).policy("1.3.6.1.4.1.99999.1");
        assert_eq!(query.der(), fs::read(scratch.path().join("query")).unwrap());
    }
}
