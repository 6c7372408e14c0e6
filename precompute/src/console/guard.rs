//! What stands before and around every page: where a form comes from, the cookie, and what a browser may do with a page.
//!
//! Purpose: pure decisions on headers. Invariants: what changes anything is sent by a page of this console, as the browser
//! itself says, and nothing that another site has a browser send counts; no page runs a script, loads a style or talks to an
//! address that is not this console's own, whatever name or text is shown in it. It does not know sessions.

use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Nothing but what the console itself serves; its script asks for the page again.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What every page says. With `no-referrer` browsers would send forms from `Origin: null`; and serial numbers go to no other
/// site in this way either.
pub(super) const HEADERS: [(HeaderName, HeaderValue); 8] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// Whether a form comes from a page of this console. Every browser of today says where a form comes from, by `Origin` at
/// least; who says nothing is refused.
pub(super) fn is_own_form(headers: &HeaderMap, is_tls: bool) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let scheme = if is_tls { "https://" } else { "http://" };
    let own = only(headers, &HOST).map(|host| format!("{scheme}{host}"));
    let is_own = |origin: &str| own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(origin));
    match (headers.contains_key(ORIGIN), only(headers, &ORIGIN)) {
        (true, origin) => origin.is_some_and(is_own) && site.is_none_or(|site| site == b"same-origin"),
        (false, _) => site == Some(b"same-origin"),
    }
}

/// A header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The name of the cookie. Over TLS browsers let nobody else set one that begins so (RFC 6265bis section 4.1.3.2); without
/// TLS they do not take it.
const fn cookie_name(is_tls: bool) -> &'static str {
    if is_tls { "__Host-ostia-console" } else { "ostia-console" }
}

/// The secret of the cookie that a request carries.
pub(super) fn secret_of(headers: &HeaderMap, is_tls: bool) -> Option<&str> {
    let named = |pair: &'_ str| -> bool { pair.split_once('=').is_some_and(|(name, _)| name == cookie_name(is_tls)) };
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = pairs.flat_map(|pairs| pairs.split(';')).map(str::trim).filter(|pair| named(pair));
    match (found.next(), found.next()) {
        (Some(pair), None) => pair.split_once('=').map(|(_, secret)| secret),
        _ => None,
    }
}

/// The cookie with a secret; without one, what makes a browser forget it.
pub(super) fn cookie(secret: Option<&str>, is_tls: bool) -> String {
    let (secure, age) = (if is_tls { "; Secure" } else { "" }, if secret.is_none() { "; Max-Age=0" } else { "" });
    let (name, secret) = (cookie_name(is_tls), secret.unwrap_or_default());
    format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_form_counts_only_if_the_browser_says_that_it_is_from_a_page_of_the_console() {
        const HERE: (&str, &str) = ("host", "localhost:9090");
        const OWN: (&str, &str) = ("origin", "http://localhost:9090");
        for (pairs, expected) in [
            (&[HERE, OWN][..], true),
            (&[HERE, OWN, ("sec-fetch-site", "same-origin")], true),
            (&[HERE, ("origin", "http://LOCALHOST:9090")], true),
            (&[HERE, ("sec-fetch-site", "same-origin")], true),
            (&[HERE], false),
            (&[HERE, ("sec-fetch-site", "none")], false),
            (&[HERE, ("sec-fetch-site", "same-site")], false),
            (&[HERE, ("sec-fetch-site", "cross-site")], false),
            (&[HERE, OWN, ("sec-fetch-site", "cross-site")], false),
            (&[HERE, OWN, OWN], false),
            (&[HERE, ("origin", "null")], false),
            (&[HERE, ("origin", "null"), ("sec-fetch-site", "same-origin")], false),
            (&[HERE, ("origin", "https://localhost:9090")], false),
            (&[HERE, ("origin", "http://localhost:9091")], false),
            (&[HERE, ("origin", "http://localhost")], false),
            (&[HERE, ("origin", "http://localhost:9090.evil.example")], false),
            (&[HERE, ("origin", "http://evil.example")], false),
            (&[OWN], false),
            (&[HERE, ("host", "evil.example"), OWN], false),
        ] {
            assert_eq!(is_own_form(&headers(pairs), false), expected, "{pairs:?}");
        }
        let over_tls = headers(&[HERE, ("origin", "https://localhost:9090")]);
        assert!(is_own_form(&over_tls, true) && !is_own_form(&headers(&[HERE, OWN]), true));
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_and_other_sites_and_read_back() {
        for (is_tls, expected) in [
            (true, "__Host-ostia-console=ab; Path=/; HttpOnly; SameSite=Strict; Secure"),
            (false, "ostia-console=ab; Path=/; HttpOnly; SameSite=Strict"),
        ] {
            assert_eq!(cookie(Some("ab"), is_tls), expected);
            assert!(cookie(None, is_tls).contains("=; ") && cookie(None, is_tls).ends_with("; Max-Age=0"));
            let sent = expected.split(';').next().unwrap();
            for sent in [sent.to_owned(), format!("other=1; {sent}"), format!("{sent};x=y")] {
                assert_eq!(secret_of(&headers(&[("cookie", &sent)]), is_tls), Some("ab"), "{sent}");
                assert_eq!(secret_of(&headers(&[("cookie", &sent)]), !is_tls), None, "{sent}");
            }
            // Two of them: one was set by somebody else.
            assert_eq!(secret_of(&headers(&[("cookie", sent), ("cookie", sent)]), is_tls), None);
            assert_eq!(secret_of(&headers(&[("cookie", &format!("{sent}; {sent}"))]), is_tls), None);
        }
        assert_eq!(secret_of(&headers(&[]), false), None);
    }

    #[test]
    fn the_policy_allows_nothing_inline_and_no_other_site() {
        assert!(POLICY.starts_with("default-src 'none';"));
        for word in ["unsafe", "http:", "https:", "data:", "*"] {
            assert!(!POLICY.contains(word), "{word}");
        }
    }
}
