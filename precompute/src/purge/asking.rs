//! Sends a request to a cache: the rim.
//!
//! Invariants: every wait ends; no redirect is followed, since credentials would go along; a connection is used again. It does
//! not know when a request is sent.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use ureq::{
    Agent,
    http::{self, header},
};

use super::{
    Target,
    driver::{Answer, Refused, Request},
};
use crate::{
    feed::https,
    limits::purge as limits,
    ocsp::{About, CacheKey, IssuerKey},
    pki::{Serial, UnixTime, hex},
};

/// A client of one cache.
pub(super) struct Asking {
    target: Target,
    agent: Agent,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asking({})", self.target.name)
    }
}

impl Asking {
    pub(super) fn new(target: &Target) -> Self {
        let agent = target
            .https
            .client(target.url.is_over_tls())
            .allow_non_standard_methods(true)
            .user_agent(concat!("ostia/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits::CONNECT_WITHIN))
            .timeout_connect(Some(limits::CONNECT_WITHIN))
            .timeout_global(Some(limits::REQUEST_WITHIN))
            .build()
            .new_agent();
        Self { target: target.clone(), agent }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Ends a request that is under way; from now on there are no others.
    pub(super) fn end(&self) {
        self.agent.clone().shutdown();
    }

    /// Has these keys purged; returns once the cache has acknowledged it.
    pub(super) fn ask(&self, keys: &[CacheKey]) -> Result<(), Refused> {
        let Target { driver, url, .. } = &self.target;
        let now = UnixTime::now();
        let request = driver.request(url, keys, now, &nonce());
        let failed = |why: String| Refused { why, retry_after: None };
        let mut response = self.send(request).map_err(|error| failed(unreachable(&error)))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let body = response.body_mut().with_config().limit(limits::ANSWER_OCTETS_MAX).read_to_vec();
        // A good status counts; what could not be read is a remark.
        let body = match body {
            Ok(body) => body,
            Err(ureq::Error::BodyExceedsLimit(_)) => Vec::new(),
            Err(error) => return Err(failed(unreachable(&error))),
        };
        driver.judge(&Answer { status, retry_after: retry_after.as_deref(), body: &body }, now)
    }

    fn send(&self, request: Request) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let Request { method, headers, body } = request;
        let mut builder = http::Request::builder().method(method.as_bytes()).uri(self.target.url.asked());
        for (name, value) in &headers {
            builder = builder.header(name, value.as_str());
        }
        if body.is_empty() { self.agent.run(builder.body(())?) } else { self.agent.run(builder.body(&body[..])?) }
    }
}

/// It completes "the cache …".
fn unreachable(error: &ureq::Error) -> String {
    let text = error.to_string();
    format!("gives no answer: {text}{}", https::remedy(&text, "`url`", "`tls_ca`"))
}

/// Of this process and this request: 24 hexadecimal digits.
fn nonce() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 8];
    // Without random numbers the number of the request and the time still tell requests apart.
    let _ = aws_lc_rs::rand::fill(&mut random);
    format!("{}{:08x}", hex::text(&random), NEXT.fetch_add(1, Relaxed) as u32)
}

/// Tells a cache to forget what it cannot have, which is how its address, its rules and the credentials are tried. The error
/// completes "the cache …".
pub fn try_out(target: &Target) -> Result<(), String> {
    let about = Serial::from_magnitude(&[1]).map_or(About::Crls, About::Certificate);
    let nobodys = CacheKey { issuer: IssuerKey::NOBODYS, about };
    Asking::new(target).ask(&[nobodys]).map_err(|refused| refused.why)
}
