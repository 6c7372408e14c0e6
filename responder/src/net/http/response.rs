//! Responses, RFC 9110 and 9111, written straight into the output.
//!
//! The caller gives neutral values (an entity tag, times, cache keys). This module chooses the status line and the
//! header fields for them, and returns the status that was written. It does not know what a body says.

use std::time::Duration;

use precompute::pki::UnixTime;

use super::{
    Head, Method, Rejection,
    conditions::{Precondition, Validators, evaluate},
    date::Date,
    status::Status,
};

/// What a response needs to know about its request and its connection.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The current time.
    pub date: Date,
    /// Whether the connection is kept after this response.
    pub keep_alive: bool,
    /// Whether HTTP/1.0 was spoken.
    pub http_1_0: bool,
    /// Whether the body is left out (HEAD).
    pub head_only: bool,
}

/// A response that caches may keep: its body's type and length, and the data for caches.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'a> {
    /// Content-Type.
    pub media_type: &'static str,
    /// Bytes of the body.
    pub length: usize,
    /// The values for comparing it.
    pub validators: Validators<'a>,
    /// How long it is fresh.
    pub max_age: Duration,
    /// The same as an instant, for caches of HTTP/1.0.
    pub expires: Option<UnixTime>,
    /// Whether intermediaries may recode it.
    pub may_be_transformed: bool,
    /// The keys by which caches can be told to purge it.
    pub surrogate_keys: Option<[&'a [u8]; 2]>,
}

/// A response that ends a request before its body matters.
#[derive(PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why it is refused.
    pub reason: Reason,
    /// Lines for people after the one with the status.
    pub explanation: &'static str,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing is served at this path.
    NotFound,
    /// The client has to say who it is.
    Unauthorized {
        /// Field value.
        challenge: &'static str,
    },
    /// The client may not have it.
    Forbidden,
    /// The path is served, with these methods only.
    MethodNotAllowed {
        /// Field value.
        allow: &'static str,
    },
    /// The body has to be of this type.
    UnsupportedMediaType {
        /// Field value.
        accept: &'static str,
    },
}

impl Context {
    /// For a request; `keep_alive`: whether both sides allow the connection to be kept.
    pub fn of(head: &Head<'_>, keep_alive: bool, date: Date) -> Self {
        Self { date, keep_alive, http_1_0: head.http_1_0, head_only: head.method == Method::Head }
    }

    /// Writes a response that caches may keep, or the result of the client's conditions. `body` appends the body.
    #[inline]
    pub fn cacheable(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        representation: &Representation<'_>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Status {
        if let Some(status) = self.precondition(out, head, representation) {
            return status;
        }
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        self.content(out, representation, representation.length);
        if !self.head_only {
            body(out);
        }
        Status::Ok
    }

    /// Writes the result of the client's conditions, if it is not the response itself.
    #[inline]
    pub(super) fn precondition(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        representation: &Representation<'_>,
    ) -> Option<Status> {
        match evaluate(head, &representation.validators) {
            Precondition::Met => None,
            Precondition::NotModified => {
                // RFC 9110 section 15.4.5 requires the fields of a 200, except those that describe a body.
                out.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
                representation.write_fields(out);
                self.finish(out);
                Some(Status::NotModified)
            }
            Precondition::Failed => Some(self.status_alone(out, Status::PreconditionFailed, &[], "")),
        }
    }

    /// Writes the fields of a response with `length` bytes of the representation, up to the empty line.
    #[inline]
    pub(super) fn content(&self, out: &mut Vec<u8>, representation: &Representation<'_>, length: usize) {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(representation.media_type.as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        decimal(out, length as u64);
        out.extend_from_slice(b"\r\n");
        representation.write_fields(out);
        self.finish(out);
    }

    /// Refuses a range of a representation that has only so many bytes (RFC 9110 section 15.5.17).
    pub(super) fn out_of_range(&self, out: &mut Vec<u8>, length: usize) -> Status {
        let range = format!("Content-Range: bytes */{length}\r\n");
        self.status_alone(out, Status::RangeNotSatisfiable, &[&range], "")
    }

    /// Writes a response that must not be kept: a body of this media type with `length` bytes, which `body` appends.
    pub fn uncacheable(
        &self,
        out: &mut Vec<u8>,
        media_type: &str,
        length: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Status {
        self.unkept(out, Status::Ok, media_type, length, body)
    }

    /// The same, with a status that tells balancers, which look at nothing else, that this server cannot answer now.
    pub fn unavailable(
        &self,
        out: &mut Vec<u8>,
        media_type: &str,
        length: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Status {
        self.unkept(out, Status::ServiceUnavailable, media_type, length, body)
    }

    /// Lines for people.
    pub fn text(&self, out: &mut Vec<u8>, text: &str) -> Status {
        self.plain(out, Status::Ok, &[], &[text])
    }

    /// Refuses a request because of its header section.
    pub fn refuse(&self, out: &mut Vec<u8>, refusal: &Refusal) -> Status {
        let (status, name, value) = match refusal.reason {
            Reason::Unauthorized { challenge } => (Status::Unauthorized, "WWW-Authenticate: ", challenge),
            Reason::Forbidden => (Status::Forbidden, "", ""),
            Reason::NotFound => (Status::NotFound, "", ""),
            Reason::MethodNotAllowed { allow } => (Status::MethodNotAllowed, "Allow: ", allow),
            Reason::UnsupportedMediaType { accept } => (Status::UnsupportedMediaType, "Accept: ", accept),
        };
        let field = [name, value, "\r\n"];
        let fields = if name.is_empty() { &[][..] } else { &field };
        self.status_alone(out, status, fields, refusal.explanation)
    }

    /// Refuses a request that cannot be framed.
    pub fn reject(&self, out: &mut Vec<u8>, rejection: Rejection) -> Status {
        self.status_alone(out, rejection.status(), &[], "")
    }

    /// The status as a line for people, with an explanation. `fields` are parts of whole header lines.
    fn status_alone(&self, out: &mut Vec<u8>, status: Status, fields: &[&str], explanation: &str) -> Status {
        self.plain(out, status, fields, &[status.line(), "\n", explanation])
    }

    fn plain(&self, out: &mut Vec<u8>, status: Status, fields: &[&str], body: &[&str]) -> Status {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.line().as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n");
        fields.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        out.extend_from_slice(b"Content-Length: ");
        decimal(out, body.iter().map(|part| part.len() as u64).sum());
        out.extend_from_slice(b"\r\n");
        self.finish(out);
        if !self.head_only {
            body.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        }
        status
    }

    fn unkept(
        &self,
        out: &mut Vec<u8>,
        status: Status,
        media_type: &str,
        length: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Status {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.line().as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(media_type.as_bytes());
        out.extend_from_slice(b"\r\nCache-Control: no-store\r\nContent-Length: ");
        decimal(out, length as u64);
        out.extend_from_slice(b"\r\n");
        self.finish(out);
        if !self.head_only {
            body(out);
        }
        status
    }

    /// Writes Date and, if it differs from the version's default, Connection; then the empty line.
    fn finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(&self.date);
        match (self.keep_alive, self.http_1_0) {
            (true, false) => out.extend_from_slice(b"\r\n\r\n"),
            (true, true) => out.extend_from_slice(b"\r\nConnection: keep-alive\r\n\r\n"),
            (false, _) => out.extend_from_slice(b"\r\nConnection: close\r\n\r\n"),
        }
    }
}

impl Representation<'_> {
    /// The fields that a 200 and a 304 share.
    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Cache-Control: max-age=");
        decimal(out, self.max_age.as_secs());
        out.extend_from_slice(match self.may_be_transformed {
            true => b", public, must-revalidate",
            false => b", public, no-transform, must-revalidate",
        });
        if let Some(expires) = self.expires {
            out.extend_from_slice(b"\r\nExpires: ");
            out.extend_from_slice(&expires.imf_fixdate());
        }
        let Validators { etag, modified, .. } = self.validators;
        if let Some(modified) = modified {
            out.extend_from_slice(b"\r\nLast-Modified: ");
            out.extend_from_slice(&modified.imf_fixdate());
        }
        out.extend_from_slice(b"\r\nETag: ");
        out.extend_from_slice(etag);
        if let Some([one, other]) = self.surrogate_keys {
            // The same keys in the two forms that CDNs read.
            for (field, between) in [(&b"\r\nSurrogate-Key: "[..], &b" "[..]), (b"\r\nCache-Tag: ", b",")] {
                [field, one, between, other].iter().for_each(|part| out.extend_from_slice(part));
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http;

    const CONTEXT: Context =
        Context { date: *b"Sun, 06 Nov 1994 08:49:37 GMT", keep_alive: true, http_1_0: false, head_only: false };

    #[test]
    fn decimals_are_written_whole() {
        for number in [0, 9, 10, 345_600, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    /// The status that is returned, and what was written.
    fn written(write: impl FnOnce(&mut Vec<u8>) -> Status) -> (u16, String) {
        let mut out = Vec::new();
        let status = write(&mut out);
        (status.code(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_status_given_back_is_the_one_written() {
        let rejections = [
            Rejection::BadRequest,
            Rejection::BodyTooLarge,
            Rejection::TargetTooLong,
            Rejection::ExpectationFailed,
            Rejection::HeadTooLarge,
            Rejection::VersionNotSupported,
        ];
        let reasons = [
            Reason::Unauthorized { challenge: "Basic realm=\"a\"" },
            Reason::Forbidden,
            Reason::NotFound,
            Reason::MethodNotAllowed { allow: "GET" },
            Reason::UnsupportedMediaType { accept: "a/b" },
        ];
        let mut all: Vec<_> = rejections.map(|rejection| written(|out| CONTEXT.reject(out, rejection))).to_vec();
        all.extend(
            reasons.map(|reason| written(|out| CONTEXT.refuse(out, &Refusal { reason, explanation: "Why.\n" }))),
        );
        all.push(written(|out| CONTEXT.text(out, "text")));
        all.push(written(|out| CONTEXT.uncacheable(out, "a/b", 1, |out| out.push(b'x'))));
        all.push(written(|out| CONTEXT.unavailable(out, "a/b", 1, |out| out.push(b'x'))));
        for fields in ["", "If-None-Match: \"a\"\r\n", "If-Match: \"b\"\r\n"] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let head = http::head(text.as_bytes()).unwrap().unwrap();
            all.push(written(|out| CONTEXT.cacheable(out, &head, &representation(), |out| out.push(b'x'))));
        }
        let codes: Vec<_> = all.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [400, 413, 414, 417, 431, 505, 401, 403, 404, 405, 415, 200, 200, 503, 200, 304, 412]);
        for (code, text) in all {
            assert!(text.starts_with(&format!("HTTP/1.1 {code} ")), "{text}");
        }
    }

    fn representation() -> Representation<'static> {
        Representation {
            media_type: "a/b",
            length: 1,
            validators: Validators { etag: b"\"a\"", modified: None, dated: false },
            max_age: Duration::from_secs(7),
            expires: None,
            may_be_transformed: true,
            surrogate_keys: Some([b"one", b"one-two"]),
        }
    }

    #[test]
    fn a_refusal_names_its_status_its_field_and_why() {
        let refusal = Refusal { reason: Reason::MethodNotAllowed { allow: "GET, HEAD" }, explanation: "Why.\n" };
        let context = Context { keep_alive: false, ..CONTEXT };
        assert_eq!(
            written(|out| context.refuse(out, &refusal)).1,
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\
             Allow: GET, HEAD\r\nContent-Length: 28\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n\
             405 Method Not Allowed\nWhy.\n"
        );
    }

    #[test]
    fn caches_are_told_how_long_and_by_which_names() {
        let head = http::head(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
        let context = Context::of(&head, true, CONTEXT.date);
        assert_eq!(
            written(|out| context.cacheable(out, &head, &representation(), |out| out.push(b'x'))).1,
            "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1\r\nCache-Control: max-age=7, public, \
             must-revalidate\r\nETag: \"a\"\r\nSurrogate-Key: one one-two\r\nCache-Tag: one,one-two\r\nDate: Sun, 06 Nov \
             1994 08:49:37 GMT\r\n\r\n"
        );
    }
}
