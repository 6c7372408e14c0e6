//! The URL of a source, as a configuration or another server writes it.
//!
//! Invariant: user name and password are kept apart and get into no text: they are neither in what is shown, nor in
//! errors, nor in [`fmt::Debug`]. It does not know what is at the URL.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ureq::http::Uri;
use zeroize::Zeroizing;

use super::mirror;
use crate::{limits::fetch as limits, pki::hex};

/// An `http://` or `https://` URL.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl {
    /// Without user name and password.
    uri: Uri,
    /// `user:password`.
    login: Option<Zeroizing<String>>,
}

/// It is no such URL: why, and what would be right. It completes "`crl` …".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UrlError(pub(super) String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

impl FromStr for SourceUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let no = |why: &str| Err(UrlError(format!("is `{}`, which {why}", hidden(text))));
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let scheme = scheme.to_ascii_lowercase();
        match &*scheme {
            "http" | "https" => {}
            "ldap" | "ldaps" => {
                return no(
                    "is an LDAP URL, and no CRL is fetched over LDAP; have the CA publish it by HTTP as well (RFC 5280, 4.2.1.13, allows both), or have a program write it to a file and name that",
                );
            }
            _ => return no("does not begin with `http://` or `https://`; a file is named by its path"),
        }
        if text.len() > limits::URL_OCTETS_MAX {
            return no(&format!("is longer than {} bytes", limits::URL_OCTETS_MAX));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if path.contains('#') {
            return no("has a fragment (`#…`); write `%23` for a `#` in a path, or remove it");
        }
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        if !host.is_ascii() {
            return no("has a host name with other letters than those of ASCII; write it as DNS has it (`xn--…`)");
        }
        let host = host.to_ascii_lowercase();
        let (name, port) = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((&host, "80"));
        if name.is_empty() {
            return no("names no host");
        }
        let uri = format!("{scheme}://{host}{}", encoded(path)).parse::<Uri>().ok();
        let is_it = |uri: &Uri| uri.authority().is_some_and(|authority| authority.as_str() == host);
        let Some(uri) = uri.filter(is_it).filter(|_| port.parse::<u16>().is_ok_and(|port| port > 0)) else {
            return no("is no URL");
        };
        let login = login.map(|login| {
            let login = decoded(login);
            Zeroizing::new(if login.contains(':') { login } else { format!("{login}:") })
        });
        Ok(Self { uri, login })
    }
}

impl SourceUrl {
    /// Whether a text is meant as a URL, of whatever scheme, and not as a path.
    pub fn is_meant(text: &str) -> bool {
        let scheme = text.trim_start().split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        })
    }

    /// The path that a `file://` URL names; `None` for any other text.
    pub fn file_path(text: &str) -> Option<Result<String, UrlError>> {
        let rest = text.trim().get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("file://"))?;
        let rest = &text.trim()[rest.len()..];
        let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
        if !path.starts_with('/') {
            return Some(Err(UrlError(format!(
                "is `{}`, which names a file of another machine; write `file:///path`, or the path alone",
                hidden(text.trim())
            ))));
        }
        Some(Ok(decoded(path)))
    }

    /// Whether it takes TLS to ask there.
    pub(crate) fn is_over_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        self.uri.authority().map(ToString::to_string).unwrap_or_default()
    }

    /// What is asked; never shown, since it may have secrets behind a question mark.
    pub(crate) fn asked(&self) -> String {
        self.uri.to_string()
    }

    /// Scheme, host with its port, and path with its query, as a request names them; never shown.
    pub(crate) fn parts(&self) -> (&str, String, String) {
        let path = self.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        (self.uri.scheme_str().unwrap_or_default(), self.host(), path)
    }

    /// All of it, if it has no secret.
    pub fn without_secrets(&self) -> Option<String> {
        Some(self.asked()).filter(|asked| self.login.is_none() && *asked == self.to_string())
    }

    /// The value of `Authorization` (RFC 7617), if it has a user name.
    pub(super) fn authorization(&self) -> Option<Zeroizing<String>> {
        let login = self.login.as_ref()?;
        Some(Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(login.as_bytes()))))
    }

    /// The name of the file that mirrors it: of the host and the end of its path, for people, and of all of it and `of`,
    /// whose source it is. Another password is no other source.
    pub fn mirror_name(&self, of: &[u8]) -> String {
        let end = self.uri.path().rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
        let words = format!("{}-{end}", self.uri.host().unwrap_or_default());
        mirror::name(&words, &[self.uri.to_string().as_bytes(), b"\0", of])
    }

    /// The place that an answer of it names (RFC 3986 section 5). The login goes along only to the same host.
    pub(super) fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        let (scheme, host) = (self.uri.scheme_str().unwrap_or("http"), self.host());
        let text = if SourceUrl::is_meant(location) {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{host}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{host}{}{location}", self.uri.path())
        } else {
            let directory = self.uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{scheme}://{host}{directory}/{location}")
        };
        // A fragment is for browsers.
        let text = text.split('#').next().unwrap_or_default();
        let next: Self = text.parse()?;
        let is_same = next.uri.scheme() == self.uri.scheme() && next.host() == host;
        Ok(Self { login: self.login.clone().filter(|_| is_same), ..next })
    }
}

/// Without what may be secret.
impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, query) = (self.uri.scheme_str().unwrap_or_default(), self.uri.query());
        f.write_str(&shown(&format!("{scheme}://{}{}", self.host(), self.uri.path()), query))
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({self})")
    }
}

/// A text that is meant as a URL, without user, password, and values whose names say that they are secret.
fn hidden(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    // Whatever stands before an `@` may be a password with a slash in it.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    shown(&if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }, query)
}

/// So much of a URL as is of use to a reader, without the values of a query whose names say that they are secret.
fn shown(place: &str, query: Option<&str>) -> String {
    let mut shown = place.to_owned();
    for (number, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let lower = name.to_ascii_lowercase();
        let is_secret = SECRET.iter().any(|word| lower.contains(word)) || value.contains('@');
        shown.push_str(if is_secret { name } else { parameter });
        shown.push_str(if is_secret { "=…" } else { "" });
    }
    shown.chars().filter(|c| !c.is_control()).take(limits::URL_SHOWN_MAX).collect()
}

/// Words in the names of parameters with secrets.
const SECRET: [&str; 8] = ["token", "key", "sig", "secret", "pass", "pwd", "auth", "credential"];

/// Whatever cannot stand in a URL is written by its number. What is written so already stays.
fn encoded(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decoded(text: &str) -> String {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let number = (byte == b'%').then(|| hex::byte(*bytes.get(at + 1)?, *bytes.get(at + 2)?)).flatten();
        decoded.push(number.unwrap_or(byte));
        at += if number.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SourceUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_url_is_taken_as_people_and_certificates_write_it() {
        for (text, asked) in [
            ("http://a.example/ca.crl", "http://a.example/ca.crl"),
            (" HTTP://A.example:8080/Ca.crl ", "http://a.example:8080/Ca.crl"),
            ("http://a.example", "http://a.example/"),
            ("http://pki/CertEnroll/Issuing CA 1+.crl", "http://pki/CertEnroll/Issuing%20CA%201+.crl"),
            ("http://pki/Issuing%20CA.crl", "http://pki/Issuing%20CA.crl"),
            ("https://[::1]:8443/ä", "https://[::1]:8443/%C3%A4"),
            ("http://ca/certdist?cmd=crl&issuer=CN=My CA,O=x", "http://ca/certdist?cmd=crl&issuer=CN=My%20CA,O=x"),
            ("http://user:pa@ss@a/ca.crl", "http://a/ca.crl"),
        ] {
            assert_eq!(url(text).asked(), asked, "{text}");
        }
        for (text, why) in [
            ("ldap://dc/CN=CA?certificateRevocationList", "is an LDAP URL"),
            ("LDAPS://dc/CN=CA", "publish it by HTTP as well"),
            ("ftp://a/ca.crl", "does not begin with `http://`"),
            ("http:///ca.crl", "names no host"),
            ("http://", "names no host"),
            ("http://a b/ca.crl", "is no URL"),
            ("http://a:port/ca.crl", "is no URL"),
            ("http://ä.example/ca.crl", "`xn--…`"),
            ("http://a/ca.crl#1", "has a fragment"),
        ] {
            let problem = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(problem.contains(why), "{text}: {problem}");
        }
        assert!(format!("http://a/{}", "b".repeat(limits::URL_OCTETS_MAX)).parse::<SourceUrl>().is_err());
    }

    #[test]
    fn a_path_is_told_from_a_url_and_a_file_may_be_named_by_one() {
        for text in ["http://a", "ldap:///x", "x-y+z://a", "File:///a"] {
            assert!(SourceUrl::is_meant(text), "{text}");
        }
        for text in ["ca.crl", "/ca/http://a", "C:/ca", "://a", "dir/a://b"] {
            assert!(!SourceUrl::is_meant(text), "{text}");
        }
        assert_eq!(SourceUrl::file_path("http://a"), None);
        assert_eq!(SourceUrl::file_path("ca.crl"), None);
        assert_eq!(SourceUrl::file_path("ä"), None);
        for (text, path) in [("file:///ca/a%20b.crl", "/ca/a b.crl"), ("FILE://localhost/ca.crl", "/ca.crl")] {
            assert_eq!(SourceUrl::file_path(text), Some(Ok(path.to_owned())), "{text}");
        }
        for text in ["file://host/ca.crl", "file://ca.crl", "file://localhostess/a"] {
            assert!(SourceUrl::file_path(text).unwrap().is_err(), "{text}");
        }
    }

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for text in [
            "http://user:7391@a/ca.crl",
            "https://user:with/7391@a/ca.crl",
            "http://7391@a:1/ca.crl?cmd=crl",
            "http://a/ca.crl?x=1&sig=7391",
            "http://a/ca.crl?X-Amz-Credential=7391/x&apiKey=7391",
            "http://a/ca.crl?next=http://u:7391@b",
            "http://user:7391@a/ca.crl#1",
            "ldap://user:7391@dc/CN=CA",
            "file://user:7391@dc/CN=CA",
        ] {
            let shown = match text.parse::<SourceUrl>() {
                Ok(url) => format!("{url} {url:?} {}", url.mirror_name(b"ca")),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("7391"), "{text}: {shown}");
            let file = SourceUrl::file_path(text).map(|read| format!("{read:?}")).unwrap_or_default();
            assert!(!file.contains("7391"), "{file}");
        }
        assert_eq!(url("http://u:p@a/c?cmd=crl&token=x").to_string(), "http://a/c?cmd=crl&token=…");
        assert_eq!(url("http://a/ca@x.crl").to_string(), "http://a/ca@x.crl");
    }

    #[test]
    fn the_login_goes_to_the_same_host_alone() {
        let basic = |url: &SourceUrl| url.authorization().map(|value| value.to_string());
        let from = url("http://user:p%40ss@a/dir/ca.crl");
        assert_eq!(basic(&from).as_deref(), Some("Basic dXNlcjpwQHNz"));
        assert_eq!(basic(&url("http://user@a/")).as_deref(), Some("Basic dXNlcjo="));
        for (location, asked, with_login) in [
            ("/other.crl", "http://a/other.crl", true),
            ("other.crl", "http://a/dir/other.crl", true),
            ("?x=1", "http://a/dir/ca.crl?x=1", true),
            ("http://a/x", "http://a/x", true),
            ("//a/x#top", "http://a/x", true),
            ("http://a:81/x", "http://a:81/x", false),
            ("https://a/x", "https://a/x", false),
            ("http://b/x", "http://b/x", false),
            ("http://u:p@b/x", "http://b/x", false),
        ] {
            let next = from.join(location).unwrap();
            assert_eq!((&*next.asked(), basic(&next).is_some()), (asked, with_login), "{location}");
        }
        assert!(from.join("ldap://a/x").is_err());
    }

    #[test]
    fn a_mirror_is_named_after_its_url_and_whose_source_it_is() {
        let name = |text: &str, of: &[u8]| url(text).mirror_name(of);
        let first = name("http://a.example/x/ca.crl", b"one");
        assert!(first.starts_with("a.example-ca.crl-") && first.len() == "a.example-ca.crl-".len() + 16, "{first}");
        assert_eq!(first, name("http://u:p@a.example/x/ca.crl", b"one"), "another password is no other source");
        for other in [name("http://a.example/x/ca.crl", b"two"), name("http://a.example/y/ca.crl", b"one")] {
            assert_ne!(first, other);
        }
        let odd = name(&format!("http://[::1]/{}/..%2f", "a".repeat(300)), b"");
        assert!(odd.len() < 120 && !odd.contains(['/', '%', ':']), "{odd}");
    }
}
