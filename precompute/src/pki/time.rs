//! Instants with a resolution of one second, and the ASN.1 and text forms they arrive in.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use der::DateTime;

/// Seconds since 1970-01-01T00:00:00Z. Instants before it do not occur in this field and have no value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// 9999-12-31T23:59:59Z: RFC 5280 section 4.1.2.5's "no well-defined expiration".
    pub const MAX: Self = Self(253_402_300_799);

    /// The system clock, rounded down; only the rim of a program calls this.
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
        let mut text = *b"00000000000000Z";
        if let Ok(date) = DateTime::from_unix_duration(Duration::from_secs(self.0.min(Self::MAX.0))) {
            let pairs = [
                (date.year() / 100) as u8,
                (date.year() % 100) as u8,
                date.month(),
                date.day(),
                date.hour(),
                date.minutes(),
                date.seconds(),
            ];
            for (place, pair) in pairs.into_iter().enumerate() {
                text[2 * place] = b'0' + pair / 10;
                text[2 * place + 1] = b'0' + pair % 10;
            }
        }
        text
    }

    /// From `YYMMDDHHMMSSZ` (UTCTime, years 1950–2049) or `YYYYMMDDHHMMSSZ` (GeneralizedTime).
    /// `None` for anything else, and for instants before 1970.
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
        let date = DateTime::new(year, field(0), field(1), field(2), field(3), field(4)).ok()?;
        Some(Self(date.unix_duration().as_secs()))
    }
}

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
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let time = UnixTime::from_asn1_text(b"240229123456Z").unwrap();
        assert_eq!(&time.generalized(), b"20240229123456Z");
        assert_eq!(UnixTime::from_asn1_text(b"20240229123456Z"), Some(time));
        assert_eq!(time.to_string(), "2024-02-29T12:34:56Z");
        assert_eq!(&UnixTime::MAX.generalized(), b"99991231235959Z");
    }

    #[test]
    fn utc_time_pivots_at_fifty() {
        assert_eq!(&UnixTime::from_asn1_text(b"491231235959Z").unwrap().generalized()[..4], b"2049");
        assert_eq!(UnixTime::from_asn1_text(b"500101000000Z"), None, "1950 is before 1970");
        assert_eq!(&UnixTime::from_asn1_text(b"990101000000Z").unwrap().generalized()[..4], b"1999");
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
