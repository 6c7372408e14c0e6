//! Who may use the API: whoever has the token, from a program on this machine.
//!
//! Purpose: admits or refuses a request by its header section alone. Invariant: without the token nothing is told of what
//! there is; the token stays in memory only as a hash, and is compared in constant time. A page in a browser has no access
//! even if the browser could be led here by a host name (DNS rebinding) or a form (CSRF). It does not know verbs.

use std::{fmt, net::IpAddr, path::Path};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use axum::http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN},
};

use super::problem::{Kind, Problem};
use crate::{
    limits,
    pki::{FileError, read_secret},
};

/// The hash of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; digest::SHA256_OUTPUT_LEN]);

/// Not even the hash is shown.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the file of a token.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Ok(Self::of(read_token(path)?.as_bytes()))
    }

    fn of(token: &[u8]) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(hash)
    }

    fn is(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(given).0).is_ok()
    }
}

/// Reads the token itself, for who sends it: one line of token68 (RFC 9110 section 11.2).
pub(crate) fn read_token(path: &Path) -> Result<zeroize::Zeroizing<String>, FileError> {
    let fail = |problem: String| FileError::new(path, problem);
    let content = read_secret(path, "the token of the API", limits::TOKEN_FILE_OCTETS_MAX)?;
    let token = content.trim_ascii_end();
    if token.len() < limits::TOKEN_OCTETS_MIN {
        return Err(fail(format!(
            "holds a token of {} characters; expected at least {}: make one with `openssl rand -hex 32`",
            token.len(),
            limits::TOKEN_OCTETS_MIN
        )));
    }
    let body = token.iter().rposition(|octet| *octet != b'=').map_or(&[][..], |last| &token[..=last]);
    let is_token68 = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~+/".contains(octet);
    match std::str::from_utf8(token) {
        Ok(text) if !body.is_empty() && body.iter().all(is_token68) => Ok(zeroize::Zeroizing::new(text.to_owned())),
        _ => Err(fail(
            "holds something else than one token: expected one line of letters, digits and -._~+/ with `=` at its end alone, such as `openssl rand -hex 32` prints".into(),
        )),
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Admits a request, or says why not. `token`: the one that is wanted; `None` where the API is off.
pub(super) fn admit(headers: &HeaderMap, token: Option<&Token>) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().filter(|host| is_loopback(host)),
        _ => None,
    };
    if host.is_none() {
        let detail =
            "the Host of the request is not a loopback address or `localhost`, under which alone the API is reached";
        return Err(Problem::new(Kind::MisdirectedRequest, detail));
    }
    if headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        let detail =
            "the request comes from a browser (it has an Origin or Sec-Fetch-Site); use `ostia-precompute` or curl";
        return Err(Problem::new(Kind::FromBrowser, detail));
    }
    let Some(token) = token else {
        let detail = "the API is off: name a file with a token as `token_file` under [admin], and reload";
        return Err(Problem::new(Kind::NotFound, detail));
    };
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        let detail =
            "send one header `Authorization: Bearer TOKEN` with the token of the file that `admin.token_file` names";
        return Err(Problem::new(Kind::Unauthorized, detail));
    };
    let parted = given.as_bytes().split_at_checked(BEARER.len());
    match parted {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(BEARER) && token.is(rest.trim_ascii()) => Ok(()),
        _ => {
            let detail = "the token is not the one of the file that `admin.token_file` names; a changed file counts after a reload";
            Err(Problem::new(Kind::Unauthorized, detail))
        }
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Whether a Host is this machine, by an address or the one name that no DNS server answers for (RFC 6761 section 6.3).
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_a_program_on_this_machine_that_has_the_token_is_admitted() {
        let right = format!("Bearer {TOKEN}");
        let right: &str = &right;
        let wrong = right.replace("0123", "1123");
        let token = Token::of(TOKEN.as_bytes());
        for (pairs, expected) in [
            (&[("host", "127.0.0.1:9090"), ("authorization", right)][..], None),
            (&[("host", "[::1]:9090"), ("authorization", right)], None),
            (&[("host", "LOCALHOST"), ("authorization", &right.replace("Bearer", "bearer"))], None),
            (&[("host", "127.1.2.3"), ("authorization", right)], None),
            (&[("host", "rebound.example:9090"), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", "localhost.example"), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", "10.0.0.1"), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", ""), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", "[::1"), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", "[::1]evil"), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", "[::1]"), ("host", "evil"), ("authorization", right)], Some(Kind::MisdirectedRequest)),
            (&[("host", "localhost"), ("origin", "null"), ("authorization", right)], Some(Kind::FromBrowser)),
            (&[("host", "localhost"), ("sec-fetch-site", "none"), ("authorization", right)], Some(Kind::FromBrowser)),
            (&[("host", "localhost")], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", &wrong)], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", "Bearer")], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", "Bearer ")], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", TOKEN)], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", &right[..20])], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", &format!("{right}0"))], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", &right.replace("Bearer", "Basic "))], Some(Kind::Unauthorized)),
            (&[("host", "localhost"), ("authorization", right), ("authorization", right)], Some(Kind::Unauthorized)),
        ] {
            let refused = admit(&headers(pairs), Some(&token)).err();
            assert_eq!(refused.as_ref().map(|problem| problem.kind), expected, "{pairs:?}");
            assert!(refused.is_none_or(|problem| !problem.detail.contains(TOKEN)));
        }
        let off = admit(&headers(&[("host", "localhost"), ("authorization", right)]), None).unwrap_err();
        assert_eq!(off.kind, Kind::NotFound);
        assert!(off.detail.contains("`token_file` under [admin]"));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_token_is_one_line_of_a_file_of_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let padded = format!("{TOKEN}-._~+/==");
        let long = "a".repeat(limits::TOKEN_FILE_OCTETS_MAX as usize + 1);
        for (mode, content, expected) in [
            (0o600, format!("{TOKEN}\n"), Ok(TOKEN)),
            (0o400, format!("{TOKEN}\r\n"), Ok(TOKEN)),
            (0o440, padded.clone(), Ok(&*padded)),
            (
                0o600,
                TOKEN[1..].to_owned(),
                Err("holds a token of 31 characters; expected at least 32: make one with `openssl rand"),
            ),
            (0o600, String::new(), Err("holds a token of 0 characters")),
            (0o600, format!("{TOKEN}\n{TOKEN}\n"), Err("holds something else than one token")),
            (0o600, format!("{TOKEN} {TOKEN}"), Err("holds something else than one token")),
            (0o600, format!("={TOKEN}"), Err("holds something else than one token")),
            (0o600, "=".repeat(32), Err("holds something else than one token")),
            (0o600, format!("{TOKEN}\u{e9}"), Err("holds something else than one token")),
            (0o600, long, Err("is larger than the")),
            (0o644, TOKEN.to_owned(), Err("has mode 0644, which lets others use it; run: chmod 600")),
            (0o620, TOKEN.to_owned(), Err("has mode 0620, which lets others use it; run: chmod 600")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, &content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (read_token(&path), expected) {
                (Ok(token), Ok(expected)) => {
                    assert_eq!(&*token, expected);
                    assert!(Token::load(&path).unwrap().is(expected.as_bytes()));
                }
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected) && !error.contains(&TOKEN[1..]), "{error}");
                }
                (read, expected) => panic!("{mode:o} {content:?}: {:?}, {expected:?}", read.map(|_| ())),
            }
        }
    }

    proptest! {
        #[test]
        fn no_header_but_the_right_one_is_admitted(value in "[ -~]{0,60}") {
            let token = Token::of(TOKEN.as_bytes());
            prop_assert!(admit(&headers(&[("host", "localhost"), ("authorization", &value)]), Some(&token)).is_err());
            let host = headers(&[("host", &value), ("authorization", &format!("Bearer {TOKEN}"))]);
            if admit(&host, Some(&token)).is_ok() {
                prop_assert!(is_loopback(&value));
            }
        }
    }
}
