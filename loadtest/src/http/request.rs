//! Requests as bytes.
//!
//! Invariant: the fields that do not change are written once; a request is copies and, for GET, one base64. It does not
//! know what the bodies mean.

use crate::http::url::Url;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes requests for one target.
#[derive(Debug, Clone)]
pub(crate) struct RequestWriter {
    get_start: Vec<u8>,
    get_end: Vec<u8>,
    post_start: Vec<u8>,
}

impl RequestWriter {
    /// `content_type` is that of POST bodies; `extra` are whole field lines that the user added.
    pub(crate) fn new(url: &Url, content_type: &str, accept: &str, close: bool, extra: &[String]) -> Self {
        let mut fields = String::new();
        // A Host given by the user replaces ours: that is how one aims at a server behind a CDN's name.
        if !extra.iter().any(|f| f.to_ascii_lowercase().starts_with("host:")) {
            fields.push_str(&format!("Host: {}\r\n", url.authority));
        }
        fields.push_str(&format!("Accept: {accept}\r\n"));
        if close {
            fields.push_str("Connection: close\r\n");
        }
        for field in extra {
            fields.push_str(field);
            fields.push_str("\r\n");
        }
        // RFC 6960 appendix A.1: {url}/{url-encoding of base-64 of the DER}.
        let get_start = format!("GET {}/", url.path.trim_end_matches('/'));
        let post_start =
            format!("POST {} HTTP/1.1\r\n{fields}Content-Type: {content_type}\r\nContent-Length: ", url.path);
        let get_end = format!(" HTTP/1.1\r\n{fields}\r\n");
        Self { get_start: get_start.into(), get_end: get_end.into(), post_start: post_start.into() }
    }

    /// Appends a GET with `body` in its path.
    pub(crate) fn get(&self, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.get_start);
        // Request bodies for GET are under 400 bytes; what is longer takes the slower way.
        let mut buffer = [0u8; 1024];
        match STANDARD.encode_slice(body, &mut buffer) {
            Ok(n) => escape(&buffer[..n], out),
            Err(_) => escape(STANDARD.encode(body).as_bytes(), out),
        }
        out.extend_from_slice(&self.get_end);
    }

    /// Appends the head of a POST whose body has `length` bytes; the caller appends the body.
    pub(crate) fn post_head(&self, length: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.post_start);
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = length;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

fn escape(base64: &[u8], out: &mut Vec<u8>) {
    for byte in base64 {
        match byte {
            b'+' => out.extend_from_slice(b"%2B"),
            b'/' => out.extend_from_slice(b"%2F"),
            b'=' => out.extend_from_slice(b"%3D"),
            other => out.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(url: &str, close: bool, extra: &[String]) -> RequestWriter {
        RequestWriter::new(&Url::parse(url).unwrap(), "application/x", "application/y", close, extra)
    }

    #[test]
    fn escapes_the_three_characters_that_base64_and_paths_dispute() {
        let mut out = Vec::new();
        writer("http://h:8/p/", false, &[]).get(&[0xfb, 0xff, 0xfe, 0xff], &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "GET /p/%2B%2F%2F%2B%2Fw%3D%3D HTTP/1.1\r\nHost: h:8\r\nAccept: application/y\r\n\r\n");
    }

    #[test]
    fn writes_a_post_with_its_exact_length() {
        for length in [0, 9, 10, 99, 12345] {
            let mut out = Vec::new();
            writer("http://h/p", true, &["X-A: b".to_owned()]).post_head(length, &mut out);
            let text = String::from_utf8(out).unwrap();
            let expected = format!(
                "POST /p HTTP/1.1\r\nHost: h\r\nAccept: application/y\r\nConnection: close\r\nX-A: b\r\n\
                 Content-Type: application/x\r\nContent-Length: {length}\r\n\r\n"
            );
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn lets_the_user_replace_the_host_field() {
        let mut out = Vec::new();
        writer("http://127.0.0.1/", false, &["host: ocsp.example".to_owned()]).get(b"x", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.to_ascii_lowercase().matches("host:").count(), 1, "{text}");
    }
}
