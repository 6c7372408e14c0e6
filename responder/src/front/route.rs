//! Whom a request is for, and whether its header section alone refuses it.
//!
//! Invariant: what is refused here is refused whatever the body says, so that nobody who waits for `100 Continue` is told
//! to send one. Pure; it does not know who answers, nor what is counted.

use crate::{
    net::http::{Head, MediaType, Method},
    site::{Site, Tenant},
    tsa::routes::TsaTarget,
};

/// Whom a request is for.
#[derive(Clone, Copy, Debug)]
pub enum Route<'s, 'b> {
    /// The time-stamping authorities of a tenant at one path.
    TimeStamps(&'s Tenant, TsaTarget<'s>, Option<&'static Refusal>),
    /// A tenant's certificates.
    Certificates {
        /// Whose.
        tenant: &'s Tenant,
        /// What follows its path.
        rest: &'b [u8],
        /// A place in [`crate::metrics::METHODS`].
        method: usize,
        /// See [`Route::refusal`].
        refusal: Option<&'static Refusal>,
    },
    /// Nobody.
    Nobody(&'static Refusal),
}

/// A response that ends a request before its body matters.
#[derive(PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Status code and reason phrase.
    pub status: &'static str,
    /// Whole header lines.
    pub fields: &'static str,
    /// For people.
    pub text: &'static str,
}

const NOT_FOUND: Refusal = Refusal { status: "404 Not Found", fields: "", text: "404 Not Found\n" };

/// As OCSP it would be malformed, and the client's people none the wiser.
const NO_AUTHORITY: Refusal = Refusal {
    status: "404 Not Found",
    fields: "",
    text: "404 Not Found\nNo time-stamping authority is asked at this path.\n",
};

const METHOD: Refusal = Refusal {
    status: "405 Method Not Allowed",
    fields: "Allow: GET, HEAD, POST\r\n",
    text: "405 Method Not Allowed\n",
};

const METHOD_OF_AUTHORITY: Refusal = Refusal {
    status: "405 Method Not Allowed",
    fields: "Allow: POST\r\n",
    text: "405 Method Not Allowed\nThis is a time-stamping authority (RFC 3161): it answers POST with application/timestamp-query. Its certificates are had by GET, with /chain.pem behind the path.\n",
};

const METHOD_OF_CHAIN: Refusal = Refusal {
    status: "405 Method Not Allowed",
    fields: "Allow: GET, HEAD\r\n",
    text: "405 Method Not Allowed\nThis is the chain of certificates of a time-stamping authority, for GET.\n",
};

const NO_QUERY: Refusal = Refusal {
    status: "415 Unsupported Media Type",
    fields: "Accept: application/timestamp-query\r\n",
    text: "415 Unsupported Media Type\nThe body is to be of type application/timestamp-query.\n",
};

const NO_OCSP_REQUEST: Refusal = Refusal {
    status: "415 Unsupported Media Type",
    fields: "Accept: application/ocsp-request\r\n",
    text: "415 Unsupported Media Type\nThe body of a POST is to be of type application/ocsp-request.\n",
};

impl<'s, 'b> Route<'s, 'b> {
    /// By host, path, method and media type.
    pub fn of(site: &'s Site, head: &Head<'b>) -> Self {
        let routed = site.route(head.host, head.path);
        if let Some((tenant, rest)) = routed
            && let Some(under) = tenant.time_stamping(rest)
            && is_for_authority(tenant, &under, head)
        {
            return Self::TimeStamps(tenant, under, refusal_of_authority(&under, head));
        }
        if head.media_type == MediaType::TimeStampQuery {
            return Self::Nobody(&NO_AUTHORITY);
        }
        let Some(method) = place(head.method) else { return Self::Nobody(&METHOD) };
        let Some((tenant, rest)) = routed else { return Self::Nobody(&NOT_FOUND) };
        let strict = head.method == Method::Post && tenant.policy.strict_content_type;
        let refusal = (strict && head.media_type != MediaType::OcspRequest).then_some(&NO_OCSP_REQUEST);
        Self::Certificates { tenant, rest, method, refusal }
    }

    /// What it is refused with, whatever its body.
    pub fn refusal(&self) -> Option<&'static Refusal> {
        match self {
            Self::TimeStamps(_, _, refusal) | Self::Certificates { refusal, .. } => *refusal,
            Self::Nobody(refusal) => Some(refusal),
        }
    }
}

/// At its own path a tenant may answer for certificates and time-stamp: what is no query is then the responder's.
fn is_for_authority(tenant: &Tenant, under: &TsaTarget<'_>, head: &Head<'_>) -> bool {
    let is_query = head.method == Method::Post && head.media_type == MediaType::TimeStampQuery;
    is_query || under.is_chain || !under.is_tenants || tenant.issuers().is_empty()
}

fn refusal_of_authority(under: &TsaTarget<'_>, head: &Head<'_>) -> Option<&'static Refusal> {
    match (under.is_chain, head.method) {
        (true, Method::Get | Method::Head) => None,
        (true, _) => Some(&METHOD_OF_CHAIN),
        (false, Method::Post) => (head.media_type != MediaType::TimeStampQuery).then_some(&NO_QUERY),
        (false, _) => Some(&METHOD_OF_AUTHORITY),
    }
}

/// Where a method stands in [`crate::metrics::METHODS`].
pub fn place(method: Method) -> Option<usize> {
    match method {
        Method::Get => Some(0),
        Method::Head => Some(1),
        Method::Post => Some(2),
        Method::Other => None,
    }
}
