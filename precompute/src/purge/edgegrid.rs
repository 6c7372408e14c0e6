//! Akamai's signature of requests: EdgeGrid, EG1-HMAC-SHA256, and the file with what it takes.
//!
//! Source: Akamai's "Authenticate with EdgeGrid" and its client for Python, whose published test cases are those of the test
//! here. Pure: time and nonce are parameters. No header is signed, as the purge API wants none.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::pki::UnixTime;

/// What Akamai gives an API client, in a file called `.edgerc`. Nothing of it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeGrid {
    client_token: Zeroizing<String>,
    client_secret: Zeroizing<String>,
    access_token: Zeroizing<String>,
}

impl fmt::Debug for EdgeGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeGrid")
    }
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'r> {
    pub(super) method: &'r str,
    pub(super) scheme: &'r str,
    pub(super) host: &'r str,
    /// With the query.
    pub(super) path: &'r str,
    pub(super) body: &'r [u8],
}

impl EdgeGrid {
    /// Reads the lines `client_token = …`, `client_secret = …` and `access_token = …` of an `.edgerc`, of its first section.
    /// The error completes "…edgerc".
    pub fn read(text: &str) -> Result<Self, String> {
        let mut found: [Option<&str>; 3] = [None; 3];
        let names = ["client_token", "client_secret", "access_token"];
        let mut sections = 0;
        for line in text.lines().map(str::trim) {
            sections += usize::from(line.starts_with('['));
            // A secret of Base64 may end with an equals sign.
            let Some((name, value)) = line.split_once('=').filter(|_| sections <= 1) else { continue };
            if let Some(place) = names.iter().position(|known| *known == name.trim()) {
                found[place] = Some(value.trim()).filter(|value| !value.is_empty());
            }
        }
        let value = |place: usize| {
            let value = found[place].ok_or_else(|| {
                format!("has no line `{} = …` in its first section; it has to be the `.edgerc` that Akamai's Control Center gives an API client", names[place])
            })?;
            let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
            is_plain
                .then(|| Zeroizing::new(value.to_owned()))
                .ok_or_else(|| format!("has something else than letters, digits and signs behind `{}`", names[place]))
        };
        Ok(Self { client_token: value(0)?, client_secret: value(1)?, access_token: value(2)? })
    }

    /// What must not be shown.
    pub(super) fn secrets(&self) -> [&str; 3] {
        [&self.client_token, &self.client_secret, &self.access_token]
    }

    /// The value of `Authorization` for a request. `nonce`: never the same twice.
    pub(super) fn authorization(&self, signed: &Signed<'_>, now: UnixTime, nonce: &str) -> Zeroizing<String> {
        let timestamp = timestamp(now);
        let begin = format!(
            "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={timestamp};nonce={nonce};",
            *self.client_token, *self.access_token
        );
        let Signed { method, scheme, host, path, body } = signed;
        let is_hashed = *method == "POST" && !body.is_empty();
        let hash =
            if is_hashed { BASE64_STANDARD.encode(digest::digest(&digest::SHA256, body)) } else { String::new() };
        let data = format!("{method}\t{scheme}\t{host}\t{path}\t\t{hash}\t{begin}");
        let key = mac(self.client_secret.as_bytes(), timestamp.as_bytes());
        let signature = mac(key.as_bytes(), data.as_bytes());
        Zeroizing::new(format!("{begin}signature={}", *signature))
    }
}

fn mac(key: &[u8], data: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)))
}

/// As in `20140321T19:34:21+0000`.
fn timestamp(now: UnixTime) -> String {
    let digits = now.generalized();
    let part = |from: usize, to: usize| String::from_utf8_lossy(&digits[from..to]).into_owned();
    format!("{}T{}:{}:{}+0000", part(0, 8), part(8, 10), part(10, 12), part(12, 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net";
    const EDGERC: &str = "; of the vendor\n[default]\nclient_secret = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=\n\
        host = akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net\n\
        access_token=akab-access-token-xxx-xxxxxxxxxxxxxxxx\nclient_token = akab-client-token-xxx-xxxxxxxxxxxxxxxx\n\
        [other]\nclient_secret = another\n";

    /// The cases that Akamai publishes with its clients (`testcases.json`), but for those with signed headers.
    #[test]
    fn requests_are_signed_as_in_the_vendors_test_cases() {
        let credentials = EdgeGrid::read(EDGERC).unwrap();
        let when = UnixTime(1_395_430_461);
        assert_eq!(timestamp(when), "20140321T19:34:21+0000");
        let limit = "d".repeat(2048);
        for (method, path, body, signature) in [
            ("GET", "/", "", "tL+y4hxyHxgWVD30X3pWnGKHcPzmrIF+LThiAOhMxYU="),
            ("GET", "/testapi/v1/t1?p1=1&p2=2", "", "hKDH1UlnQySSHjvIcZpDMbQHihTQ0XyVAKZaApabdeA="),
            (
                "POST",
                "/testapi/v1/t3",
                "datadatadatadatadatadatadatadata",
                "hXm4iCxtpN22m4cbZb4lVLW5rhX8Ca82vCFqXzSTPe4=",
            ),
            ("POST", "/testapi/v1/t3", &limit, "6Q6PiTipLae6n4GsSIDTCJ54bEbHUBp+4MUXrbQCBoY="),
            ("POST", "/testapi/v1/t6", "", "1gEDxeQGD5GovIkJJGcBaKnZ+VaPtrc4qBUHixjsPCQ="),
            (
                "PUT",
                "/testapi/v1/t6",
                "PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP",
                "GNBWEYSEWOLtu+7dD52da2C39aX/Jchpon3K/AmBqBU=",
            ),
        ] {
            let signed = Signed { method, scheme: "https", host: HOST, path, body: body.as_bytes() };
            let header = credentials.authorization(&signed, when, "nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            let wanted = format!(
                "EG1-HMAC-SHA256 client_token=akab-client-token-xxx-xxxxxxxxxxxxxxxx;access_token=akab-access-token-xxx-xxxxxxxxxxxxxxxx;timestamp=20140321T19:34:21+0000;nonce=nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx;signature={signature}"
            );
            assert_eq!(*header, wanted, "{method} {path}");
        }
    }

    #[test]
    fn a_file_that_lacks_something_is_refused_without_what_it_has() {
        for (text, problem) in [
            ("", "has no line `client_token = …`"),
            ("[default]\nclient_token = a7391\nclient_secret = b7391\n", "has no line `access_token = …`"),
            ("client_token = 7391\nclient_secret =\naccess_token = 7391\n", "has no line `client_secret = …`"),
            ("client_token = 73;91\nclient_secret = a\naccess_token = b\n", "behind `client_token`"),
        ] {
            let refused = EdgeGrid::read(text).unwrap_err();
            assert!(refused.contains(problem) && !refused.contains("91"), "{refused}");
        }
        assert_eq!(format!("{:?}", EdgeGrid::read(EDGERC).unwrap()), "EdgeGrid");
    }
}
