//! Who may use the API: whoever has the token, from a program on this machine.
//!
//! Purpose: admits or refuses a request by its header section alone. Invariant: without the token nothing is told of what
//! there is; tokens are compared in constant time. A page in a browser has no access
//! even if the browser could be led here by a host name (DNS rebinding) or a form (CSRF). It does not know verbs.

use std::net::IpAddr;

use axum::http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN},
};

use super::problem::{Kind, Problem};
use crate::assemble::ApiToken;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Admits a request, or says why not. `token`: the one that is wanted; `None` where the API is off.
pub(super) fn admit(headers: &HeaderMap, token: Option<&ApiToken>) -> Result<(), Problem> {
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
        let token = ApiToken::of(TOKEN.as_bytes());
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
    }

    proptest! {
        #[test]
        fn no_header_but_the_right_one_is_admitted(value in "[ -~]{0,60}") {
            let token = ApiToken::of(TOKEN.as_bytes());
            prop_assert!(admit(&headers(&[("host", "localhost"), ("authorization", &value)]), Some(&token)).is_err());
            let host = headers(&[("host", &value), ("authorization", &format!("Bearer {TOKEN}"))]);
            if admit(&host, Some(&token)).is_ok() {
                prop_assert!(is_loopback(&value));
            }
        }
    }
}
