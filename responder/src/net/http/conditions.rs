//! Conditional requests, RFC 9110 section 13: the effect of a client's conditions on a response that the client may
//! have already.
//!
//! Pure. They only apply to GET and HEAD; a POST is answered whatever they say. It does not know what a response
//! contains.

use std::time::SystemTime;

use precompute::pki::UnixTime;

use super::{Head, List, Method};

/// The result of a request's conditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// The response is sent.
    Met,
    /// The client's copy is the response (304).
    NotModified,
    /// The response does not meet the client's condition (412).
    Failed,
}

/// What a response is compared by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its strong entity tag, quotes included.
    pub etag: &'a [u8],
    /// Its Last-Modified, if it has one.
    pub modified: Option<UnixTime>,
    /// Whether a copy with exactly the same date is the same response.
    pub dated: bool,
}

/// Evaluates the conditions in their order (RFC 9110 section 13.2.2).
#[inline]
pub fn evaluate(head: &Head<'_>, validators: &Validators<'_>) -> Precondition {
    let conditions = &head.conditions;
    if head.method == Method::Post || conditions.are_none() {
        return Precondition::Met;
    }
    let Validators { etag, modified, dated } = *validators;
    // Invalid or repeated dates are ignored (sections 13.1.3 and 13.1.4).
    let date = |list: &List<'_>| {
        let text = std::str::from_utf8(list.only()?).ok()?;
        httpdate::parse_http_date(text).ok()
    };
    let modified = modified.map(SystemTime::from);
    let mut wanted = conditions.if_match.members().peekable();
    if wanted.peek().is_some() {
        // Section 13.1.1: a strong comparison, so a weak tag matches nothing.
        if !wanted.any(|tag| tag == b"*" || tag == etag) {
            return Precondition::Failed;
        }
    } else if let (Some(modified), Some(since)) = (modified, date(&conditions.if_unmodified_since))
        && modified > since
    {
        return Precondition::Failed;
    }
    let is_current = if conditions.if_none_match.is_empty() {
        // Only for a copy of exactly that second: a *good* that is out of date must not be confirmed as fresh.
        dated && modified.is_some() && date(&conditions.if_modified_since) == modified
    } else {
        // Section 13.1.3: If-Modified-Since is then ignored.
        conditions.if_none_match.members().any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
    };
    if is_current { Precondition::NotModified } else { Precondition::Met }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::http;

    const MODIFIED: u64 = 1_800_000_000;

    /// The verdict for a request with these fields.
    fn verdict_of(method: &str, fields: &str, modified: Option<UnixTime>) -> Precondition {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let head = http::head(text.as_bytes()).unwrap().unwrap();
        evaluate(&head, &Validators { etag: b"\"a\"", modified, dated: true })
    }

    fn verdict(fields: &str) -> Precondition {
        verdict_of("GET", fields, Some(UnixTime(MODIFIED)))
    }

    fn date(offset: i64) -> String {
        httpdate::fmt_http_date(UnixTime(MODIFIED.saturating_add_signed(offset)).into())
    }

    #[test]
    fn if_none_match_compares_weakly_and_is_one_list() {
        for (field, names) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("\"b\", ,\"c\" ,\t\"a\",", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("\"b\"\r\nIf-None-Match: \"a\"", true),
            ("\"a\"\r\nX: y\r\nif-none-match:\"b\"", true),
            ("\"b\"\r\nIf-None-Match-Not: \"a\"\r\nIf-None-Match: \"c\"", false),
            ("\"b\"\r\nIf-None-Match:\r\nIF-NONE-MATCH: W/\"a\"", true),
        ] {
            let expected = if names { Precondition::NotModified } else { Precondition::Met };
            assert_eq!(verdict(&format!("If-None-Match: {field}\r\n")), expected, "{field}");
        }
    }

    #[test]
    fn if_match_compares_strongly_and_fails_where_nothing_is_named() {
        for (field, expected) in [
            ("\"a\"", Precondition::Met),
            ("*", Precondition::Met),
            ("\"b\"\r\nIf-Match: \"a\"", Precondition::Met),
            ("W/\"a\"", Precondition::Failed),
            ("\"b\"", Precondition::Failed),
            ("\"b\"\r\nIf-Match: \"c\"", Precondition::Failed),
            // If-Unmodified-Since is then ignored.
            ("\"a\"\r\nIf-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT", Precondition::Met),
            ("\"a\"\r\nIf-None-Match: \"a\"", Precondition::NotModified),
            ("\"b\"\r\nIf-None-Match: \"a\"", Precondition::Failed),
            // No tag is named.
            (",", Precondition::Met),
            ("", Precondition::Met),
        ] {
            assert_eq!(verdict(&format!("If-Match: {field}\r\n")), expected, "{field}");
        }
    }

    #[test]
    fn dates_that_are_none_or_several_are_ignored() {
        for (fields, expected) in [
            (format!("If-Modified-Since: {}\r\n", date(0)), Precondition::NotModified),
            (format!("If-Modified-Since: {}\r\n", date(-1)), Precondition::Met),
            (format!("If-Modified-Since: {}\r\n", date(1)), Precondition::Met),
            (format!("If-Modified-Since: {0}\r\nIf-Modified-Since: {0}\r\n", date(0)), Precondition::Met),
            (format!("If-Modified-Since: {0}, {0}\r\n", date(0)), Precondition::Met),
            (format!("If-Unmodified-Since: {}\r\n", date(0)), Precondition::Met),
            (format!("If-Unmodified-Since: {}\r\n", date(1)), Precondition::Met),
            (format!("If-Unmodified-Since: {}\r\n", date(-1)), Precondition::Failed),
            (format!("If-Unmodified-Since: {0}\r\nIf-Unmodified-Since: {0}\r\n", date(-1)), Precondition::Met),
            ("If-Unmodified-Since: yesterday\r\n".to_owned(), Precondition::Met),
            (format!("If-Unmodified-Since: {0}\r\nIf-Modified-Since: {0}\r\n", date(0)), Precondition::NotModified),
        ] {
            assert_eq!(verdict(&fields), expected, "{fields}");
        }
    }

    #[test]
    fn what_has_no_date_is_compared_by_its_tag_alone() {
        for fields in [
            "If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
            "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
        ] {
            assert_eq!(verdict_of("GET", fields, None), Precondition::Met, "{fields}");
        }
        assert_eq!(verdict_of("HEAD", "If-Match: \"b\"\r\n", None), Precondition::Failed);
        assert_eq!(verdict_of("HEAD", "If-None-Match: \"a\"\r\n", None), Precondition::NotModified);
    }

    #[test]
    fn conditions_on_a_post_mean_nothing() {
        for fields in ["If-Match: \"b\"\r\n", "If-None-Match: \"a\"\r\n", "If-None-Match: *\r\n"] {
            assert_eq!(verdict_of("POST", fields, Some(UnixTime(MODIFIED))), Precondition::Met, "{fields}");
        }
    }
}
