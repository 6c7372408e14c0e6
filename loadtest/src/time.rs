//! Calendar time as certificates, OCSP and TSP write it.
//!
//! Invariant: a time is a count from 1970 in UTC; parsing accepts only the forms that RFC 5280 and RFC 3161 prescribe.
//! It reads no clock except in [`UnixNanos::now`], which only the rim calls.

use crate::der::{Malformed, Read, Tlv, tag};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z.
pub(crate) type UnixSeconds = i64;

/// Nanoseconds since 1970-01-01T00:00:00Z; 64 bits reach to the year 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnixNanos(pub(crate) i64);

impl UnixNanos {
    /// The machine's clock.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    pub(crate) fn seconds(self) -> UnixSeconds {
        self.0.div_euclid(1_000_000_000)
    }
}

/// GeneralizedTime as RFC 5280 section 4.1.2.5.2 and RFC 6960 have it: seconds, no fraction, Z.
pub(crate) fn generalized(content: &[u8]) -> Read<UnixSeconds> {
    match content {
        [digits @ .., b'Z'] if digits.len() == 14 => {
            let year = i64::from(number(&digits[..4])?);
            rest(year, &digits[4..])
        }
        _ => Err(Malformed("GeneralizedTime")),
    }
}

/// GeneralizedTime as RFC 3161 section 2.4.2 has genTime: an optional fraction without trailing zeros. Nanoseconds;
/// what is finer is cut off.
pub(crate) fn generalized_with_fraction(content: &[u8]) -> Read<UnixNanos> {
    let err = Malformed("genTime");
    let Some((b'Z', digits)) = content.split_last() else { return Err(err) };
    if digits.len() < 14 {
        return Err(err);
    }
    let (whole, fraction) = digits.split_at(14);
    let year = i64::from(number(&whole[..4])?);
    let seconds = rest(year, &whole[4..])?;
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] if digits.last().is_some_and(|d| *d != b'0') && digits.iter().all(u8::is_ascii_digit) => {
            (0..9).fold(0, |n, i| n * 10 + digits.get(i).map_or(0, |d| i64::from(d - b'0')))
        }
        _ => return Err(err),
    };
    seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos)).map(UnixNanos).ok_or(err)
}

/// Time as certificates have it: UTCTime until 2049, GeneralizedTime after.
pub(crate) fn certificate_time(tlv: Tlv<'_>) -> Read<UnixSeconds> {
    match (tlv.tag, tlv.content) {
        (tag::GENERALIZED_TIME, content) => generalized(content),
        (tag::UTC_TIME, content) => utc(content),
        _ => Err(Malformed("Time")),
    }
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049: UTCTime, and the times in an `openssl ca` index.
pub(crate) fn utc(content: &[u8]) -> Read<UnixSeconds> {
    match content {
        [digits @ .., b'Z'] if digits.len() == 12 => {
            let yy = i64::from(number(&digits[..2])?);
            rest(if yy >= 50 { 1900 + yy } else { 2000 + yy }, &digits[2..])
        }
        _ => Err(Malformed("UTCTime")),
    }
}

/// `YYYY-MM-DD HH:MM:SSZ`, for messages.
pub(crate) fn readable(seconds: UnixSeconds) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn rest(year: i64, mdhms: &[u8]) -> Read<UnixSeconds> {
    let mut parts = [0u32; 5];
    for (part, digits) in parts.iter_mut().zip(mdhms.chunks(2)) {
        *part = number(digits)?;
    }
    let [month, day, hour, minute, second] = parts;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return Err(Malformed("month")),
    };
    if !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return Err(Malformed("time of day"));
    }
    let (hour, minute, second) = (i64::from(hour), i64::from(minute), i64::from(second));
    Ok(days_from_civil(year, i64::from(month), i64::from(day)) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Read<u32> {
    digits.iter().try_fold(0u32, |n, d| {
        if d.is_ascii_digit() { Ok(n * 10 + u32::from(d - b'0')) } else { Err(Malformed("digits of a time")) }
    })
}

// Howard Hinnant's calendar arithmetic: eras of 400 years, the year beginning in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_known_instants() {
        assert_eq!(generalized(b"19700101000000Z"), Ok(0));
        assert_eq!(generalized(b"20000229123456Z"), Ok(951_827_696));
        assert_eq!(utc(b"491231235959Z"), Ok(2_524_607_999));
        assert_eq!(utc(b"500101000000Z"), Ok(-631_152_000));
        assert_eq!(readable(951_827_696), "2000-02-29 12:34:56Z");
    }

    #[test]
    fn counts_days_as_it_writes_them_over_centuries() {
        for days in (-200_000..200_000).step_by(17) {
            let (y, m, d) = civil_from_days(days);
            assert_eq!(days_from_civil(y, m, d), days);
        }
    }

    #[test]
    fn refuses_forms_that_der_and_the_rfcs_forbid() {
        for text in [
            "20250230000000Z",
            "20251301000000Z",
            "20250101240000Z",
            "20250101000060Z",
            "20250101000000",
            "202501010000Z",
            "20250101000000+0100",
            "2025010100000aZ",
            "",
        ] {
            assert!(generalized(text.as_bytes()).is_err(), "{text}");
        }
        assert!(generalized(b"20250101000000.5Z").is_err(), "OCSP times have no fraction");
    }

    #[test]
    fn reads_fractions_of_gen_time_and_refuses_padded_ones() {
        assert_eq!(generalized_with_fraction(b"19700101000001.25Z"), Ok(UnixNanos(1_250_000_000)));
        assert_eq!(generalized_with_fraction(b"19700101000001Z"), Ok(UnixNanos(1_000_000_000)));
        assert_eq!(generalized_with_fraction(b"19700101000000.0000000019Z"), Ok(UnixNanos(1)));
        for text in ["19700101000001.Z", "19700101000001.50Z", "19700101000001.x5Z", "19700101000001,5Z", "Z", ""] {
            assert!(generalized_with_fraction(text.as_bytes()).is_err(), "{text}");
        }
    }
}
