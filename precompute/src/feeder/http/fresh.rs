//! How long an answer may be kept by caches (RFC 9111), and when to come again. Pure.
//!
//! Invariant: nothing that a server says makes a number overflow. The schedule bounds it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::pki::UnixTime;

/// How long, in seconds from now on; `None` if nothing is said. `cache`: the value of Cache-Control.
pub(super) fn fresh_for(cache: &str, age: Option<&str>, expires: Option<&str>, now: UnixTime) -> Option<u64> {
    let mut max_age = None;
    for directive in cache.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.trim().to_ascii_lowercase() {
            "no-cache" | "no-store" => return Some(0),
            "max-age" => max_age = max_age.or_else(|| value.trim().trim_matches('"').parse::<u64>().ok()),
            _ => {}
        }
    }
    let age = age.and_then(|age| age.trim().parse::<u64>().ok()).unwrap_or(0);
    max_age.map(|max_age| max_age.saturating_sub(age)).or_else(|| {
        // An invalid date, such as 0, means that it is over (RFC 9111 section 5.3).
        expires.map(|expires| date(expires).map_or(0, |expires| expires.since(now).as_secs()))
    })
}

/// The value of Retry-After: seconds, or a date.
pub(super) fn retry_after(value: &str, now: UnixTime) -> Option<Duration> {
    let seconds = value.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| date(value).map(|until| until.since(now)))
}

fn date(text: &str) -> Option<UnixTime> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    Some(UnixTime(time.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: UnixTime = UnixTime(784_111_777);

    #[test]
    fn how_long_an_answer_may_be_kept_is_read_as_caches_read_it() {
        let hour_later = Some("Sun, 06 Nov 1994 09:49:37 GMT");
        for (cache, age, expires, wanted) in [
            ("", None, None, None),
            ("max-age=600", None, None, Some(600)),
            ("public, Max-Age=\"600\" , must-revalidate", None, hour_later, Some(600)),
            ("max-age=600", Some("100"), None, Some(500)),
            ("max-age=600", Some("1000"), None, Some(0)),
            ("max-age=600, no-cache", None, None, Some(0)),
            ("no-store", None, hour_later, Some(0)),
            ("max-age=99999999999999999999", None, hour_later, Some(3600)),
            ("public", None, hour_later, Some(3600)),
            ("", None, Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0)),
            ("", None, Some("0"), Some(0)),
            ("s-maxage=5", None, None, None),
        ] {
            assert_eq!(fresh_for(cache, age, expires, NOW), wanted, "{cache} {age:?} {expires:?}");
        }
    }

    #[test]
    fn when_to_come_again_is_in_seconds_or_a_date() {
        let seconds = |value| retry_after(value, NOW).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
    }
}
