//! Range requests, RFC 9110 section 14: a part of a response that the client wants.
//!
//! One range in bytes is understood. A server may answer any other Range with the whole (sections 14.2 and 15.3.7), and
//! so does this one: several ranges, other units, what cannot be read, and a range of a response that has changed since
//! (If-Range). It does not know what a response contains.

use std::{ops::Range, time::SystemTime};

use super::{
    Head, Method,
    conditions::Validators,
    response::{Context, Representation, decimal},
    status::Status,
};

/// The part of a response that is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<usize>),
    /// There are no such bytes (416).
    None,
}

/// The part of a response of `length` bytes that a request asks for.
pub fn select(head: &Head<'_>, validators: &Validators<'_>, length: usize) -> Selection {
    // Section 14.2: Range means something for GET alone.
    if head.range.is_empty() || head.method != Method::Get || !is_unchanged(head, validators) {
        return Selection::Whole;
    }
    head.range.only().and_then(|range| selected(range, length)).unwrap_or(Selection::Whole)
}

/// Whether the client has a part of this very response already, or asks for a part of any (section 13.1.5).
fn is_unchanged(head: &Head<'_>, validators: &Validators<'_>) -> bool {
    let Validators { etag, modified, dated } = *validators;
    if head.if_range.is_empty() {
        return true;
    }
    let Some(value) = head.if_range.only() else { return false };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        // A strong comparison: a weak tag matches nothing.
        return value == etag;
    }
    let date = std::str::from_utf8(value).ok().and_then(|text| httpdate::parse_http_date(text).ok());
    dated && date.is_some() && date == modified.map(SystemTime::from)
}

/// A single byte range; `None` if it is anything else.
fn selected(range: &[u8], length: usize) -> Option<Selection> {
    let (unit, range) = range.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let range = range.trim_ascii();
    let dash = range.iter().position(|&b| b == b'-')?;
    let (first, last) = (&range[..dash], &range[dash + 1..]);
    let part = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        // The last so many bytes.
        (true, false) => length - number(last)?.min(length)..length,
        (false, true) => number(first)?..length,
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some(if part.start < length { Selection::Part(part) } else { Selection::None })
}

/// Digits. What has too many of them for the type is behind every end.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX))
}

impl Context {
    /// Writes the header section of a response that caches may keep and that may be asked for in parts, or the result of
    /// the client's conditions. Returns the status, and which bytes of the body have to follow.
    pub fn in_parts(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        representation: &Representation<'_>,
    ) -> (Status, Range<usize>) {
        if let Some(status) = self.precondition(out, head, representation) {
            return (status, 0..0);
        }
        let length = representation.length;
        let (status, part) = match select(head, &representation.validators, length) {
            Selection::Whole => (Status::Ok, 0..length),
            Selection::Part(part) => (Status::PartialContent, part),
            Selection::None => return (self.out_of_range(out, length), 0..0),
        };
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.line().as_bytes());
        out.extend_from_slice(b"\r\nAccept-Ranges: bytes\r\n");
        if status == Status::PartialContent {
            out.extend_from_slice(b"Content-Range: bytes ");
            decimal(out, part.start as u64);
            out.push(b'-');
            decimal(out, part.end as u64 - 1);
            out.push(b'/');
            decimal(out, length as u64);
            out.extend_from_slice(b"\r\n");
        }
        self.content(out, representation, part.len());
        (status, if self.head_only { 0..0 } else { part })
    }
}

#[cfg(test)]
mod tests {
    use precompute::pki::UnixTime;

    use super::*;
    use crate::net::http;

    const MODIFIED: u64 = 784_111_777;
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn selection(method: &str, fields: &str, dated: bool) -> Selection {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let head = http::head(text.as_bytes()).unwrap().unwrap();
        select(&head, &Validators { etag: b"\"a\"", modified: Some(UnixTime(MODIFIED)), dated }, 1000)
    }

    #[test]
    fn one_range_is_a_part_and_anything_else_is_the_whole() {
        let part = Selection::Part;
        for (range, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=0-", part(0..1000)),
            ("bytes=10-19", part(10..20)),
            ("Bytes= 10-19", part(10..20)),
            ("bytes=999-", part(999..1000)),
            ("bytes=990-99999", part(990..1000)),
            ("bytes=990-99999999999999999999999", part(990..1000)),
            ("bytes=0-18446744073709551615", part(0..1000)),
            ("bytes=-1", part(999..1000)),
            ("bytes=-1000", part(0..1000)),
            ("bytes=-5000", part(0..1000)),
            ("bytes=-0", Selection::None),
            ("bytes=1000-", Selection::None),
            ("bytes=1000-1001", Selection::None),
            ("bytes=99999999999999999999999-", Selection::None),
            ("bytes=20-10", Selection::Whole),
            ("bytes=0--1", Selection::Whole),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=0-1\r\nRange: bytes=5-6", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("bytes", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("lines=0-1", Selection::Whole),
        ] {
            assert_eq!(selection("GET", &format!("Range: {range}\r\n"), true), expected, "{range}");
            assert_eq!(selection("HEAD", &format!("Range: {range}\r\n"), true), Selection::Whole, "{range}");
        }
    }

    #[test]
    fn a_part_of_what_has_changed_is_the_whole() {
        for (if_range, dated, is_part) in [
            ("\"a\"", true, true),
            ("\"b\"", true, false),
            ("W/\"a\"", true, false),
            (DATE, true, true),
            (DATE, false, false),
            ("Sun, 06 Nov 1994 08:49:38 GMT", true, false),
            ("yesterday", true, false),
            ("\"a\"\r\nIf-Range: \"a\"", true, false),
        ] {
            let expected = if is_part { Selection::Part(5..10) } else { Selection::Whole };
            assert_eq!(selection("GET", &format!("Range: bytes=5-9\r\nIf-Range: {if_range}\r\n"), dated), expected);
        }
    }
}
