//! Numbers and times as people read them. Pure.

use std::time::Duration;

use crate::pki::UnixTime;

/// A number in at most four digits, with a letter for thousands, millions and billions.
pub(super) fn short(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        size if size >= 999.5e6 => (value / 1e9, "G"),
        size if size >= 999.5e3 => (value / 1e6, "M"),
        size if size >= 10e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{letter}")
}

/// A number with its thousands apart.
pub(super) fn whole(value: u64) -> String {
    let digits = value.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

/// A span of time in its largest unit.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds if seconds < 2 * 86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// How long ago something was; `None` for never.
pub(super) fn ago(then: Option<UnixTime>, now: UnixTime) -> String {
    match then {
        None => "never".into(),
        Some(then) if now.since(then) < Duration::from_secs(2) => "now".into(),
        Some(then) => format!("{} ago", span(now.since(then))),
    }
}

/// The days until a time; negative ones are over.
pub(super) fn days_left(end: UnixTime, now: UnixTime) -> i64 {
    const DAY: i64 = 86_400;
    let of = |time: UnixTime| i64::try_from(time.0).unwrap_or(i64::MAX);
    (of(end) - of(now)).div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.126, "0.13"),
            (1.5, "1.5"),
            (12.34, "12.3"),
            (100.0, "100"),
            (9_999.0, "9999"),
            (12_340.0, "12.3k"),
            (999_900.0, "1M"),
            (78_200_000.0, "78.2M"),
            (2e9, "2G"),
        ] {
            assert_eq!(short(value), text);
        }
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(whole(value), text);
        }
    }

    #[test]
    fn spans_and_days_are_told() {
        let now = UnixTime(1_000_000);
        assert_eq!(ago(None, now), "never");
        assert_eq!(ago(Some(now), now), "now");
        assert_eq!(ago(Some(UnixTime(999_000)), now), "16 min ago");
        assert_eq!(ago(Some(UnixTime(1_000_500)), now), "now", "a clock that is a little ahead");
        for (seconds, text) in [(90, "90 s"), (300, "5 min"), (7200, "2 h"), (3 * 86_400, "3 days")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        for (end, days) in [(1_000_000 + 86_400 * 3, 3), (1_000_000, 0), (999_999, -1), (1_000_000 - 86_401, -2)] {
            assert_eq!(days_left(UnixTime(end), now), days);
        }
    }
}
