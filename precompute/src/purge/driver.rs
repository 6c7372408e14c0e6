//! What is said to each kind of cache, and what its answer means: pure.
//!
//! Sources: `systemd/varnish.vcl` for Varnish; Fastly's API reference ("Purging": `POST /service/{service_id}/purge`,
//! `{"surrogate_keys":[…]}`, at most 256 keys, `Fastly-Soft-Purge`); Cloudflare's ("Purge Cached Content": `POST
//! /zones/{zone_id}/purge_cache`, `{"tags":[…]}`, at most 100); Akamai's "Fast Purge API v3" (`POST
//! /ccu/v3/invalidate/tag/{network}` and `/ccu/v3/delete/…`, `{"objects":[…]}`, at most 50,000 bytes). It does not know
//! when something is said, or how it gets there.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use super::edgegrid::{EdgeGrid, Signed};
use crate::{feeder::SourceUrl, limits::purge as limits, ocsp::CacheKey, pki::UnixTime};

/// A kind of cache, with what lets this server in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Driver {
    /// One BAN for all keys of a request.
    VarnishBan,
    /// The same by `vmod_xkey`, which knows the objects of a key.
    VarnishXkey {
        /// They go on being given out while they are fetched anew, within the grace of the VCL.
        is_soft: bool,
    },
    /// Fastly.
    Fastly {
        /// An API token with the scope `purge_select`.
        token: Token,
        /// Objects become stale, and do not go.
        is_soft: bool,
    },
    /// Cloudflare.
    Cloudflare {
        /// An API token with "Cache Purge".
        token: Token,
    },
    /// Akamai.
    Akamai(EdgeGrid),
    /// Any other, by its own words.
    Template(Template),
}

/// A secret of one line. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A request as the operator writes it. `{keys}` stands for the keys with spaces between them, `{keys_by_comma}` with commas,
/// `{keys_as_json}` for a list in JSON, and `{credentials}` in a header for the secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    /// Such as `POST`.
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: String,
    /// What stands for `{credentials}`.
    pub credentials: Option<Token>,
}

/// A request, but for its URL.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// Names and values.
    pub(super) headers: Vec<(String, Zeroizing<String>)>,
    pub(super) body: Vec<u8>,
}

/// A cache's answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// Why it does not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// It completes "the cache …".
    pub(super) why: String,
    pub(super) retry_after: Option<Duration>,
}

impl Driver {
    /// The request that purges these keys. `nonce`: never the same twice.
    pub(super) fn request(&self, url: &SourceUrl, keys: &[CacheKey], now: UnixTime, nonce: &str) -> Request {
        let spaced = joined(keys, " ");
        match self {
            Self::VarnishBan => of("BAN", vec![("Surrogate-Key", spaced)], String::new()),
            Self::VarnishXkey { is_soft } => {
                let name = if *is_soft { "xkey-softpurge" } else { "xkey-purge" };
                of("PURGE", vec![(name, spaced)], String::new())
            }
            Self::Fastly { token, is_soft } => {
                let mut headers = vec![("Fastly-Key", token.0.to_string()), ("Accept", JSON.to_owned())];
                headers.push(of_json());
                headers.extend(is_soft.then(|| ("Fastly-Soft-Purge", "1".to_owned())));
                // In the body and not in `Surrogate-Key`: 256 keys are more than many proxies take of a header.
                of("POST", headers, format!("{{\"surrogate_keys\":{}}}", listed(keys)))
            }
            Self::Cloudflare { token } => {
                let authorization = format!("Bearer {}", *token.0);
                of("POST", vec![("Authorization", authorization), of_json()], format!("{{\"tags\":{}}}", listed(keys)))
            }
            Self::Akamai(credentials) => {
                let body = format!("{{\"objects\":{}}}", listed(keys));
                let (scheme, host, path) = url.parts();
                let signed = Signed { method: "POST", scheme, host: &host, path: &path, body: body.as_bytes() };
                let authorization = credentials.authorization(&signed, now, nonce).to_string();
                of("POST", vec![("Authorization", authorization), of_json()], body)
            }
            Self::Template(template) => template.request(keys, &spaced),
        }
    }

    /// What an answer means.
    pub(super) fn judge(&self, answer: &Answer<'_>, now: UnixTime) -> Result<(), Refused> {
        let Answer { status, retry_after, body } = *answer;
        if (200..300).contains(&status) && !self.says_no(body) {
            return Ok(());
        }
        let hint = match (self, status) {
            (_, 300..=399) => {
                ": it leads elsewhere, which is not followed, since the credentials would go along; write that place as `url`"
            }
            (Self::VarnishBan | Self::VarnishXkey { .. }, 401 | 403) => ": its acl `purgers` has to name this server",
            (Self::VarnishBan, 400 | 404 | 405 | 501) => {
                ": its VCL has to take BAN with several keys, as systemd/varnish.vcl does"
            }
            (Self::VarnishXkey { .. }, 400 | 404 | 405 | 501) => {
                ": its VCL has to take PURGE with `xkey-purge`, as systemd/varnish-xkey.vcl does"
            }
            (_, 401 | 403) => {
                ": it does not accept `credentials_file`; make new credentials, or give them the right to purge"
            }
            (_, 404) => ": nothing is at `url`; look whether its identifier is right",
            (_, 429) => ": too many requests; `per_minute` sets fewer",
            _ => "",
        };
        let said = self.without_secrets(shown(body));
        let said = if said.is_empty() { said } else { format!("; it said: {said}") };
        Err(Refused {
            why: format!("answered {status}{hint}{said}"),
            retry_after: retry_after.and_then(|text| after(text, now)),
        })
    }

    /// What was said, should it quote what was sent.
    fn without_secrets(&self, said: String) -> String {
        let secrets: Vec<&str> = match self {
            Self::VarnishBan | Self::VarnishXkey { .. } => Vec::new(),
            Self::Fastly { token, .. } | Self::Cloudflare { token } => vec![&token.0],
            Self::Akamai(credentials) => credentials.secrets().into(),
            Self::Template(template) => template.credentials.iter().map(|token| token.0.as_str()).collect(),
        };
        secrets.iter().fold(said, |said, secret| said.replace(secret, "…"))
    }

    /// Whether an answer with a good status says that nothing was done.
    fn says_no(&self, body: &[u8]) -> bool {
        let of_cloudflare = || serde_json::from_slice::<serde_json::Value>(body).ok();
        matches!(self, Self::Cloudflare { .. })
            && of_cloudflare().is_none_or(|answer| answer["success"] != serde_json::Value::Bool(true))
    }
}

const JSON: &str = "application/json";

/// The header of a body in JSON.
fn of_json() -> (&'static str, String) {
    ("Content-Type", JSON.to_owned())
}

fn of(method: &str, headers: Vec<(&str, String)>, body: String) -> Request {
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), Zeroizing::new(value))).collect();
    Request { method: method.to_owned(), headers, body: body.into_bytes() }
}

impl Template {
    fn request(&self, keys: &[CacheKey], spaced: &str) -> Request {
        let with_keys = |text: &str| {
            let text = text.replace("{keys}", spaced).replace("{keys_by_comma}", &joined(keys, ","));
            text.replace("{keys_as_json}", &listed(keys))
        };
        let secret = self.credentials.as_ref().map_or("", |token| token.0.as_str());
        let header = |(name, value): &(String, String)| {
            (name.clone(), Zeroizing::new(with_keys(value).replace("{credentials}", secret)))
        };
        Request {
            method: self.method.clone(),
            headers: self.headers.iter().map(header).collect(),
            body: with_keys(&self.body).into_bytes(),
        }
    }
}

fn joined(keys: &[CacheKey], by: &str) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

/// A list in JSON: keys have nothing that is to be escaped.
fn listed(keys: &[CacheKey]) -> String {
    format!("[\"{}\"]", joined(keys, "\",\""))
}

/// The beginning of an answer, for people.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * limits::ANSWER_SHOWN_MAX)]);
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(limits::ANSWER_SHOWN_MAX).collect()
}

/// How long Retry-After asks to wait (RFC 9110 section 10.2.3): seconds, or a date.
fn after(text: &str, now: UnixTime) -> Option<Duration> {
    let text = text.trim();
    text.parse().ok().map(Duration::from_secs).or_else(|| {
        let until = UnixTime::from(httpdate::parse_http_date(text).ok()?);
        Some(until.since(now))
    })
}

#[cfg(test)]
mod tests;
