//! The target of a request, and whether its header section alone refuses it.
//!
//! Invariant: what is refused here is refused whatever the body is, so a client that waits for `100 Continue` never
//! sends such a body. Pure; it does not know how a request is answered or counted.

use std::sync::Arc;

use crate::{
    limits,
    net::http::{
        Head, Method,
        response::{Reason, Refusal},
    },
    site::{PublishedTarget, Site, Tenant},
    tsa::{
        elsewhere::ElsewhereAt,
        routes::{Here, MadeAt, TsaTarget},
    },
};

/// The target of a request.
#[derive(Clone, Copy, Debug)]
pub enum Route<'s, 'b> {
    /// The time-stamping authorities of a tenant at one path.
    TimeStamps(TimeStampsRoute<'s>),
    /// The same of an edge.
    Elsewhere(ElsewhereRoute<'s>),
    /// A tenant's certificates.
    Certificates(CertificatesRoute<'s, 'b>),
    /// What a tenant publishes.
    Published(PublishedRoute<'s, 'b>),
    /// No target.
    Nobody(&'static Refusal),
}

/// A request to a tenant's time-stamping authorities.
#[derive(Clone, Copy, Debug)]
pub struct TimeStampsRoute<'s> {
    /// The tenant.
    pub tenant: &'s Tenant,
    /// The authorities.
    pub target: &'s Here,
    /// Whether their chain is requested.
    pub is_chain: bool,
    /// See [`Route::refusal`].
    pub refusal: Option<&'static Refusal>,
}

/// A request to authorities of an edge.
#[derive(Clone, Copy, Debug)]
pub struct ElsewhereRoute<'s> {
    /// The tenant.
    pub tenant: &'s Tenant,
    /// The authorities.
    pub target: &'s Arc<ElsewhereAt>,
    /// Whether their chain is requested.
    pub is_chain: bool,
    /// See [`Route::refusal`].
    pub refusal: Option<&'static Refusal>,
}

/// A request about a tenant's certificates.
#[derive(Clone, Copy, Debug)]
pub struct CertificatesRoute<'s, 'b> {
    /// The tenant.
    pub tenant: &'s Tenant,
    /// The path after the tenant's path.
    pub rest: &'b [u8],
    /// Its index in [`crate::metrics::METHODS`].
    pub method: usize,
    /// See [`Route::refusal`].
    pub refusal: Option<&'static Refusal>,
}

/// A request for a published CRL or certificate.
#[derive(Clone, Copy, Debug)]
pub struct PublishedRoute<'s, 'b> {
    /// The tenant.
    pub tenant: &'s Tenant,
    /// What is asked for.
    pub target: PublishedTarget<'s, 'b>,
    /// Its index in [`crate::metrics::METHODS`].
    pub method: usize,
}

/// RFC 6960 appendix A.1.
const OCSP_REQUEST: &str = "application/ocsp-request";

/// RFC 3161 section 3.4.
const TIME_STAMP_QUERY: &str = "application/timestamp-query";

const NOT_FOUND: Refusal = Refusal { reason: Reason::NotFound, explanation: "" };

/// As OCSP it would just be malformed, which would not help the client's operator.
const NO_AUTHORITY: Refusal =
    Refusal { reason: Reason::NotFound, explanation: "There is no time-stamping authority at this path.\n" };

const METHOD: Refusal = Refusal { reason: Reason::MethodNotAllowed { allow: "GET, HEAD, POST" }, explanation: "" };

const METHOD_OF_AUTHORITY: Refusal = Refusal {
    reason: Reason::MethodNotAllowed { allow: "POST" },
    explanation: "This is a time-stamping authority (RFC 3161): it answers POST with application/timestamp-query. GET returns its certificates, with /chain.pem after the path.\n",
};

const METHOD_OF_CHAIN: Refusal = Refusal {
    reason: Reason::MethodNotAllowed { allow: "GET, HEAD" },
    explanation: "This is the certificate chain of a time-stamping authority; it answers GET.\n",
};

const NO_QUERY: Refusal = Refusal {
    reason: Reason::UnsupportedMediaType { accept: TIME_STAMP_QUERY },
    explanation: "The body must have the type application/timestamp-query.\n",
};

const NO_OCSP_REQUEST: Refusal = Refusal {
    reason: Reason::UnsupportedMediaType { accept: OCSP_REQUEST },
    explanation: "The body of a POST must have the type application/ocsp-request.\n",
};

/// The maximum length of a body after this header section.
pub fn body_max(head: &Head<'_>) -> usize {
    if head.media_type.is(TIME_STAMP_QUERY) { limits::TSA_BODY_OCTETS_MAX } else { limits::BODY_OCTETS_MAX }
}

impl<'s, 'b> Route<'s, 'b> {
    /// Chooses by host, path, method and media type.
    pub fn of(site: &'s Site, head: &Head<'b>) -> Self {
        let routed = site.route(head.host, head.path);
        if let Some((tenant, rest)) = routed
            && matches!(head.method, Method::Get | Method::Head)
            && let (Some(target), Some(method)) = (tenant.published(rest), place(head.method))
        {
            return Self::Published(PublishedRoute { tenant, target, method });
        }
        if let Some((tenant, rest)) = routed
            && let Some(TsaTarget { made, is_chain, is_tenants }) = tenant.time_stamping(rest)
            && is_for_authority(tenant, (is_chain, is_tenants), head)
        {
            let refusal = refusal_of_authority(is_chain, head);
            return match made {
                MadeAt::Here(target) => Self::TimeStamps(TimeStampsRoute { tenant, target, is_chain, refusal }),
                MadeAt::Elsewhere(target) => Self::Elsewhere(ElsewhereRoute { tenant, target, is_chain, refusal }),
            };
        }
        if head.media_type.is(TIME_STAMP_QUERY) {
            return Self::Nobody(&NO_AUTHORITY);
        }
        let Some(method) = place(head.method) else { return Self::Nobody(&METHOD) };
        let Some((tenant, rest)) = routed else { return Self::Nobody(&NOT_FOUND) };
        let strict = head.method == Method::Post && tenant.policy.strict_content_type;
        let refusal = (strict && !head.media_type.is(OCSP_REQUEST)).then_some(&NO_OCSP_REQUEST);
        Self::Certificates(CertificatesRoute { tenant, rest, method, refusal })
    }

    /// Why it is refused, whatever its body is.
    pub fn refusal(&self) -> Option<&'static Refusal> {
        match self {
            Self::TimeStamps(TimeStampsRoute { refusal, .. })
            | Self::Elsewhere(ElsewhereRoute { refusal, .. })
            | Self::Certificates(CertificatesRoute { refusal, .. }) => *refusal,
            Self::Published(_) => None,
            Self::Nobody(refusal) => Some(refusal),
        }
    }
}

/// At its own path a tenant may both answer for certificates and time-stamp: whatever is not a time-stamp query goes to
/// the responder.
fn is_for_authority(tenant: &Tenant, (is_chain, is_tenants): (bool, bool), head: &Head<'_>) -> bool {
    let is_query = head.method == Method::Post && head.media_type.is(TIME_STAMP_QUERY);
    is_query || is_chain || !is_tenants || !tenant.has_issuers()
}

fn refusal_of_authority(is_chain: bool, head: &Head<'_>) -> Option<&'static Refusal> {
    match (is_chain, head.method) {
        (true, Method::Get | Method::Head) => None,
        (true, _) => Some(&METHOD_OF_CHAIN),
        (false, Method::Post) => (!head.media_type.is(TIME_STAMP_QUERY)).then_some(&NO_QUERY),
        (false, _) => Some(&METHOD_OF_AUTHORITY),
    }
}

/// The index of a method in [`crate::metrics::METHODS`].
pub fn place(method: Method) -> Option<usize> {
    match method {
        Method::Get => Some(0),
        Method::Head => Some(1),
        Method::Post => Some(2),
        Method::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http;

    #[test]
    fn a_time_stamp_request_may_be_larger_than_an_ocsp_request() {
        for (kind, length, taken) in [
            ("application/ocsp-request", limits::BODY_OCTETS_MAX, true),
            ("application/ocsp-request", limits::BODY_OCTETS_MAX + 1, false),
            ("Application/Timestamp-Query; x=y", limits::TSA_BODY_OCTETS_MAX, true),
            ("application/timestamp-query", limits::TSA_BODY_OCTETS_MAX + 1, false),
        ] {
            let text =
                format!("POST /tsa HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
            let head = http::head(text.as_bytes()).unwrap().unwrap();
            let read = http::body(b"", head.framing, body_max(&head));
            assert_eq!(read, if taken { Ok(None) } else { Err(http::Rejection::BodyTooLarge) }, "{kind} {length}");
        }
    }
}
