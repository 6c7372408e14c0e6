//! Documents over HTTP: published CRLs and certificates (RFC 2585), and the chains of time-stamping authorities.
//!
//! Invariant: a small document is copied into the output, as an answer is; a large one is sent from the memory that all
//! responses share. It does not know which CRL is published.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use precompute::{ocsp::IssuerKey, pki::UnixTime, publication::Document};

use super::route::PublishedRoute;
use crate::{
    access::{self, About, Line},
    desk::Desk,
    limits,
    metrics::RequestResult,
    net::{
        http::{
            conditions::Validators,
            response::{Reason, Refusal, Representation},
            status::Status,
            status_written,
        },
        service::{Request, Responded},
    },
    site::{Issuer, PublishedTarget, is_suffix},
};

/// RFC 2585 section 4.2.
const CRL: &str = "application/pkix-crl";
/// RFC 2585 section 4.1.
const CERTIFICATE: &str = "application/pkix-cert";
/// RFC 5280 section 4.2.2.1.
const CERTS_ONLY: &str = "application/pkcs7-mime";

const NOT_THERE: Refusal =
    Refusal { reason: Reason::NotFound, explanation: "No CRL or certificate is published under this name.\n" };

const NOT_YET: &str = "The CRL has not been read yet.\n";

/// A document in the form in which it is served.
pub(super) struct Served<'d> {
    pub(super) document: &'d Document,
    pub(super) media_type: &'static str,
    /// How long caches may keep it at most.
    pub(super) max_age: Duration,
    /// Whether intermediaries may recode it.
    pub(super) may_be_transformed: bool,
    /// The keys by which caches can be told to purge it.
    pub(super) surrogate_keys: Option<[&'d [u8]; 2]>,
}

impl Served<'_> {
    /// Writes it, the part of it that was asked for, or the result of the client's conditions. What is too large to be
    /// copied is returned, and has to follow the output.
    pub(super) fn write(&self, request: &Request<'_>, now: UnixTime, out: &mut Vec<u8>) -> (Status, Option<Bytes>) {
        let document = self.document;
        let max_age = document.max_age(self.max_age, now);
        let representation = Representation {
            media_type: self.media_type,
            length: document.octets.len(),
            validators: Validators {
                etag: document.etag.as_bytes(),
                modified: document.date(now),
                dated: document.is_dated,
            },
            max_age,
            expires: Some(now.after(max_age)),
            may_be_transformed: self.may_be_transformed,
            surrogate_keys: self.surrogate_keys,
        };
        let (status, part) = request.context(now).in_parts(out, request.head, &representation);
        if part.len() > limits::COPIED_OCTETS_MAX {
            return (status, Some(document.octets.slice(part)));
        }
        out.extend_from_slice(&document.octets[part]);
        (status, None)
    }
}

/// Writes the response.
pub(super) fn respond(
    desk: &Desk,
    route: &PublishedRoute<'_, '_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Responded {
    let (before, now) = (out.len(), UnixTime::now());
    let begun = desk.access.draws().then(Instant::now);
    let (issuer, (result, rest)) = match route.target {
        PublishedTarget::Crl { issuer, suffix } => {
            let crls = issuer.state.publication.crls();
            let found = crls.iter().find(|crl| is_suffix(suffix, &crl.suffix));
            let written = match found {
                Some(crl) => write(issuer, &crl.document, CRL, request, now, out),
                None if crls.is_empty() => {
                    let body = |out: &mut Vec<u8>| out.extend_from_slice(NOT_YET.as_bytes());
                    request.context(now).unavailable(out, "text/plain; charset=utf-8", NOT_YET.len(), body);
                    (RequestResult::TryLater, None)
                }
                None => refuse(request, now, out),
            };
            (Some(issuer), written)
        }
        PublishedTarget::Certificate { issuer, document } => {
            (Some(issuer), write(issuer, document, CERTIFICATE, request, now, out))
        }
        PublishedTarget::Bundle { issuer, document } => {
            (Some(issuer), write(issuer, document, CERTS_ONLY, request, now, out))
        }
        PublishedTarget::Nothing => (None, refuse(request, now, out)),
    };
    let tenant = route.tenant;
    issuer.map_or(&tenant.requests, |issuer| &issuer.requests).count(desk.number, route.method, result);
    if let Some(begun) = begun {
        desk.tell(Line {
            client: request.client.address(),
            tenant: Arc::clone(&tenant.name),
            about: About::Certificates { issuer: issuer.map(Arc::clone), forwarded: None, serial: None, result },
            method: Some(route.method),
            path: access::path(request.head.path),
            status: status_written(&out[before..]),
            octets: out.len() - before + rest.as_ref().map_or(0, Bytes::len),
            took: begun.elapsed(),
        });
    }
    rest.map_or(Responded::Kept, Responded::Shared)
}

fn write(
    issuer: &Issuer,
    document: &Document,
    media_type: &'static str,
    request: &Request<'_>,
    now: UnixTime,
    out: &mut Vec<u8>,
) -> (RequestResult, Option<Bytes>) {
    let kind = if media_type == CRL { IssuerKey::CRLS } else { IssuerKey::CERTIFICATES }.as_bytes();
    let mut key = [0; IssuerKey::BYTES + IssuerKey::CRLS.len()];
    key[..IssuerKey::BYTES].copy_from_slice(issuer.cache_key().as_bytes());
    let key = &mut key[..IssuerKey::BYTES + kind.len()];
    key[IssuerKey::BYTES..].copy_from_slice(kind);
    let surrogate_keys = issuer.policy.surrogate_keys.then_some([issuer.cache_key().as_bytes(), &*key]);
    let max_age = issuer.policy.max_age;
    let served = Served { document, media_type, max_age, may_be_transformed: false, surrogate_keys };
    let (status, rest) = served.write(request, now, out);
    let result = match status {
        Status::Ok | Status::PartialContent => RequestResult::Published,
        Status::NotModified => RequestResult::NotModified,
        _ => RequestResult::Refused,
    };
    (result, rest)
}

fn refuse(request: &Request<'_>, now: UnixTime, out: &mut Vec<u8>) -> (RequestResult, Option<Bytes>) {
    request.context(now).refuse(out, &NOT_THERE);
    (RequestResult::Refused, None)
}
