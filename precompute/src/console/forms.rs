//! What a browser sends: queries and forms.
//!
//! Invariant: a form is bounded in bytes and fields, and of a field that is there twice the first counts. It does not know
//! what fields mean.

use std::collections::HashMap;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest as _, Multipart, Request},
    http::{StatusCode, header::CONTENT_TYPE},
};

use super::view::Refused;
use crate::limits::console::{FORM_FIELDS_MAX, FORM_OCTETS_MAX};

/// Fields by name.
#[derive(Clone, Default, Debug)]
pub(super) struct Form(HashMap<String, Bytes>);

impl Form {
    /// That of a query.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self::of_pairs(query.unwrap_or_default().as_bytes())
    }

    fn of_pairs(octets: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(octets).take(FORM_FIELDS_MAX) {
            form.add(name.into_owned(), Bytes::from(value.into_owned()));
        }
        form
    }

    fn add(&mut self, name: String, value: Bytes) {
        self.0.entry(name).or_insert(value);
    }

    /// A field as text, without what stands around it; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> String {
        self.0.get(name).map(|value| String::from_utf8_lossy(value).trim().to_owned()).unwrap_or_default()
    }

    /// A field as it is, such as a file.
    pub(super) fn octets(&self, name: &str) -> &[u8] {
        self.0.get(name).map(Bytes::as_ref).unwrap_or_default()
    }

    /// Whether a box is ticked.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name) == "1"
    }

    /// The form in the body of a request.
    pub(super) async fn read(request: Request) -> Result<Self, Refused> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_multipart = kind.to_ascii_lowercase().starts_with("multipart/form-data");
        let (head, body) = request.into_parts();
        let octets = to_bytes(body, FORM_OCTETS_MAX).await.map_err(|_| {
            let detail = format!("the form is longer than {FORM_OCTETS_MAX} bytes; name a file with one certificate");
            Refused::of(StatusCode::PAYLOAD_TOO_LARGE, &detail)
        })?;
        if !is_multipart {
            return Ok(Self::of_pairs(&octets));
        }
        let malformed = || Refused::of(StatusCode::BAD_REQUEST, "the form is not as browsers send it");
        let request = Request::from_parts(head, Body::from(octets));
        let mut fields = Multipart::from_request(request, &()).await.map_err(|_| malformed())?;
        let mut form = Self::default();
        for _ in 0..FORM_FIELDS_MAX {
            let Some(field) = fields.next_field().await.map_err(|_| malformed())? else { return Ok(form) };
            let name = field.name().unwrap_or_default().to_owned();
            form.add(name, field.bytes().await.map_err(|_| malformed())?);
        }
        Err(malformed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, body: Vec<u8>) -> Result<Form, Refused> {
        let request = Request::builder().header(CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Form::read(request))
    }

    #[test]
    fn both_kinds_of_forms_are_read() {
        let form = read("application/x-www-form-urlencoded", b"a=1+2%3C&a=3&b=1&c=".to_vec()).unwrap();
        assert_eq!((form.text("a").as_str(), form.is_set("b"), form.text("c").as_str()), ("1 2<", true, ""));
        assert!(!form.is_set("a") && form.text("d").is_empty());
        let body = "--x\r\nContent-Disposition: form-data; name=\"what\"\r\n\r\n 0A \r\n--x\r\nContent-Disposition: form-data; \
                    name=\"file\"; filename=\"a.der\"\r\nContent-Type: application/octet-stream\r\n\r\n\u{1}\u{2}\r\n--x--\r\n";
        let form = read("multipart/form-data; boundary=x", body.as_bytes().to_vec()).unwrap();
        assert_eq!((form.text("what").as_str(), form.octets("file")), ("0A", &[1, 2][..]));
        for cut in 0..body.len() {
            // Whatever arrives, it is read or refused.
            let _ = read("multipart/form-data; boundary=x", body.as_bytes()[..cut].to_vec());
        }
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let long = vec![b'a'; FORM_OCTETS_MAX + 1];
        assert_eq!(read("application/x-www-form-urlencoded", long).unwrap_err().status, 413);
        let field = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
        let many = field.repeat(FORM_FIELDS_MAX + 1) + "--x--\r\n";
        assert_eq!(read("multipart/form-data; boundary=x", many.into_bytes()).unwrap_err().status, 400);
        assert_eq!(read("multipart/form-data", b"x".to_vec()).unwrap_err().status, 400);
        let many = read("application/x-www-form-urlencoded", "a=1&".repeat(99).into_bytes()).unwrap();
        assert_eq!(many.0.len(), 1);
    }
}
