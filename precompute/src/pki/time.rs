//! Instants with a resolution of one second, and the ASN.1 and text forms they arrive in.
//!
//! Invariant: a value that was read from a text is between 1970 and 9999. It does not know what a time is for.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use der::DateTime;

use super::{
    Excerpt,
    elements::{Element, Elements, Named as _},
    tag::{GENERALIZED_TIME, UTC_TIME},
};

/// Seconds since 1970-01-01T00:00:00Z. Instants before it do not occur in this field and have no value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// 9999-12-31T23:59:59Z: RFC 5280 section 4.1.2.5's "no well-defined expiration".
    pub const MAX: Self = Self(253_402_300_799);

    /// The system clock, rounded down; only the outermost code of a program calls this.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// `self + duration`, at most [`UnixTime::MAX`].
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()).min(Self::MAX.0))
    }

    /// `self − duration`, at least 1970.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// `YYYYMMDDHHMMSSZ`, the only form of GeneralizedTime that RFC 5280 section 4.1.2.5.2 allows.
    pub fn generalized(self) -> [u8; 15] {
        let date = self.civil();
        let mut text = *b"00000000000000Z";
        let pairs = [date.year / 100, date.year % 100, date.month, date.day, date.hour, date.minute, date.second];
        for (place, pair) in pairs.into_iter().enumerate() {
            text[2 * place..2 * place + 2].copy_from_slice(&two_digits(pair));
        }
        text
    }

    /// IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`: how HTTP writes instants (RFC 9110 section 5.6.7).
    pub fn imf_fixdate(self) -> [u8; 29] {
        const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed"; // 1970-01-01 was a Thursday
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let date = self.civil();
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        let weekday = 3 * date.weekday_from_thursday as usize;
        text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
        text[5..7].copy_from_slice(&two_digits(date.day));
        let month = 3 * (date.month as usize - 1);
        text[8..11].copy_from_slice(&MONTHS[month..month + 3]);
        text[12..14].copy_from_slice(&two_digits(date.year / 100));
        text[14..16].copy_from_slice(&two_digits(date.year % 100));
        text[17..19].copy_from_slice(&two_digits(date.hour));
        text[20..22].copy_from_slice(&two_digits(date.minute));
        text[23..25].copy_from_slice(&two_digits(date.second));
        text
    }

    /// Proleptic Gregorian calendar, UTC. Years end with February here, so that the leap day is the last day. Five
    /// dates are written for each answer, so this uses the computation of Neri and Schneider (Euclidean affine
    /// functions and their application to calendar algorithms, 2022), which divides by multiplying.
    fn civil(self) -> Civil {
        let seconds = self.0.min(Self::MAX.0);
        let (days, second_of_day) = ((seconds / 86_400) as u32, (seconds % 86_400) as u32);
        let quarter_days = 4 * (days + 719_468) + 3; // from 0000-03-01
        let (century, of_century) = (quarter_days / 146_097, quarter_days % 146_097 / 4);
        let product = 2_939_745 * u64::from(4 * of_century + 3);
        let (year_of_century, of_year) = ((product >> 32) as u32, product as u32 / 2_939_745 / 4);
        let month_and_day = 2141 * of_year + 197_913;
        let (month, day) = (month_and_day >> 16, (month_and_day & 0xffff) / 2141);
        let next_year = month > 12;
        Civil {
            year: 100 * century + year_of_century + u32::from(next_year),
            month: if next_year { month - 12 } else { month },
            day: day + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            weekday_from_thursday: days % 7,
        }
    }

    /// From `YYMMDDHHMMSSZ` (UTCTime, years 1950–2049) or `YYYYMMDDHHMMSSZ` (GeneralizedTime).
    /// `None` for anything else, and for instants before 1970.
    pub fn from_asn1_text(text: &[u8]) -> Option<Self> {
        match Instant::from_asn1_text(text)? {
            Instant::Held(time) => Some(time),
            Instant::Before1970 => None,
        }
    }
}

/// An instant as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instant {
    /// A representable instant.
    Held(UnixTime),
    /// An earlier instant; 2055 written with two digits is 1955.
    Before1970,
}

impl Instant {
    /// From the two forms of [`UnixTime::from_asn1_text`]; `None` for anything else.
    pub fn from_asn1_text(text: &[u8]) -> Option<Self> {
        let (digits, zone) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let pair = |at: usize| 10 * u16::from(digits[at] - b'0') + u16::from(digits[at + 1] - b'0');
        let (year, rest) = match digits.len() {
            // RFC 5280 section 4.1.2.5.1: YY below 50 is 20YY.
            12 => (if pair(0) < 50 { 2000 } else { 1900 } + pair(0), 2),
            14 => (100 * pair(0) + pair(2), 4),
            _ => return None,
        };
        let field = |index: usize| pair(rest + 2 * index) as u8;
        // The calendar repeats after 400 years: an earlier date is looked up 400 years later.
        let early = year < 1970;
        let held = if early { year % 400 + 2000 } else { year };
        let date = DateTime::new(held, field(0), field(1), field(2), field(3), field(4)).ok()?;
        Some(if early { Self::Before1970 } else { Self::Held(UnixTime(date.unix_duration().as_secs())) })
    }

    /// Reads the next field, with this name: `Time` of RFC 5280 section 4.1, which is UTCTime or GeneralizedTime, in Z
    /// and whole seconds.
    pub(crate) fn read(fields: &mut Elements<'_>, name: &str) -> Result<Self, String> {
        let Element { tag, content, .. } = fields.any().named(name)?;
        // In `from_asn1_text` the length distinguishes the two forms; the tag must match it.
        let length = if tag == GENERALIZED_TIME { 15 } else { 13 };
        let time = matches!(tag, UTC_TIME | GENERALIZED_TIME)
            .then_some(content)
            .filter(|content| content.len() == length)
            .and_then(Self::from_asn1_text);
        time.ok_or_else(|| {
            format!(
                "{name}: expected UTCTime YYMMDDHHMMSSZ or GeneralizedTime YYYYMMDDHHMMSSZ, found `{}`",
                Excerpt(content)
            )
        })
    }

    /// The instant, or 1970, the earliest that can be represented.
    pub fn clamped(self) -> UnixTime {
        match self {
            Self::Held(time) => time,
            Self::Before1970 => UnixTime(0),
        }
    }
}

struct Civil {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    weekday_from_thursday: u32,
}

/// The two digits of a number below 100.
fn two_digits(number: u32) -> [u8; 2] {
    PAIRS[number as usize]
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }
}

impl From<UnixTime> for SystemTime {
    fn from(time: UnixTime) -> Self {
        UNIX_EPOCH + Duration::from_secs(time.0)
    }
}

impl From<x509_cert::time::Time> for UnixTime {
    fn from(time: x509_cert::time::Time) -> Self {
        Self(time.to_unix_duration().as_secs())
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let time = UnixTime::from_asn1_text(b"240229123456Z").unwrap();
        assert_eq!(&time.generalized(), b"20240229123456Z");
        assert_eq!(UnixTime::from_asn1_text(b"20240229123456Z"), Some(time));
        assert_eq!(time.to_string(), "2024-02-29T12:34:56Z");
        assert_eq!(&UnixTime::MAX.generalized(), b"99991231235959Z");
    }

    proptest! {
        #[test]
        fn every_instant_is_written_as_other_libraries_write_it(seconds in 0..=UnixTime::MAX.0) {
            let time = UnixTime(seconds);
            let date = DateTime::from_unix_duration(Duration::from_secs(seconds)).unwrap();
            let digits: String = date.to_string().chars().filter(char::is_ascii_digit).collect();
            prop_assert_eq!(time.generalized().to_vec(), format!("{digits}Z").into_bytes());
            prop_assert_eq!(UnixTime::from_asn1_text(&time.generalized()), Some(time));
            let imf = httpdate::fmt_http_date(time.into());
            prop_assert_eq!(time.imf_fixdate().to_vec(), imf.into_bytes());
        }
    }

    #[test]
    fn utc_time_pivots_at_fifty() {
        assert_eq!(&UnixTime::from_asn1_text(b"491231235959Z").unwrap().generalized()[..4], b"2049");
        assert_eq!(UnixTime::from_asn1_text(b"500101000000Z"), None, "1950 is before 1970");
        assert_eq!(&UnixTime::from_asn1_text(b"990101000000Z").unwrap().generalized()[..4], b"1999");
    }

    #[test]
    fn an_instant_before_1970_is_told_from_what_is_none() {
        for text in ["550101000000Z", "690131120000Z", "19550228235959Z", "00000229000000Z", "19691231235959Z"] {
            assert_eq!(Instant::from_asn1_text(text.as_bytes()), Some(Instant::Before1970), "{text}");
        }
        for text in ["550229000000Z", "19001301000000Z", "55010100000Z", "19000229000000Z"] {
            assert_eq!(Instant::from_asn1_text(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Instant::Before1970.clamped(), UnixTime(0));
        assert_eq!(Instant::from_asn1_text(b"19700101000000Z"), Some(Instant::Held(UnixTime(0))));
    }

    #[test]
    fn refuses_other_forms() {
        for text in
            ["", "Z", "240229123456", "20240229123456+0000", "20240229123456.5Z", "20230229000000Z", "2402291234Z"]
        {
            assert_eq!(UnixTime::from_asn1_text(text.as_bytes()), None, "{text}");
        }
    }
}
