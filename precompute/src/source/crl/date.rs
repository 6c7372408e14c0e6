//! Dates as CAs write them in CRLs, also where RFC 5280 does not allow the form.
//!
//! Invariant: a date in the form of RFC 5280 is read as everywhere else. Another form of UTCTime and GeneralizedTime
//! (X.680 sections 46 and 47: without seconds, with fractions, with an offset) is read as it is meant and told as odd. It
//! does not know what a date is for.

use crate::pki::{
    Excerpt, Instant, UnixTime,
    elements::{Element, Elements, Named},
    tag::{GENERALIZED_TIME, UTC_TIME},
};

/// A date, and whether it has a form that RFC 5280 section 4.1.2.5 does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Date {
    pub(super) instant: Instant,
    pub(super) is_odd: bool,
}

impl Date {
    /// Reads the next field, with this name. `Err`: it is neither a UTCTime nor a GeneralizedTime. `Ok(Err)`: it is one
    /// whose text is no date; the problem in words.
    pub(super) fn read<'a>(fields: &mut Elements<'a>, name: &str) -> Result<Result<Self, NoDate<'a>>, String> {
        let Element { tag, content, .. } = fields.any().named(name)?;
        if !matches!(tag, UTC_TIME | GENERALIZED_TIME) {
            return Err(NoDate(content).in_words(name));
        }
        // The length tells the two usual forms apart; the tag must match it.
        let length = if tag == GENERALIZED_TIME { 15 } else { 13 };
        let usual = Some(content).filter(|content| content.len() == length).and_then(Instant::from_asn1_text);
        Ok(match usual {
            Some(instant) => Ok(Self { instant, is_odd: false }),
            None => odd(tag, content).map(|instant| Self { instant, is_odd: true }).ok_or(NoDate(content)),
        })
    }
}

/// A text that is no date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoDate<'a>(&'a [u8]);

impl NoDate<'_> {
    pub(super) fn in_words(self, name: &str) -> String {
        let found = Excerpt(self.0);
        format!("{name}: expected UTCTime YYMMDDHHMMSSZ or GeneralizedTime YYYYMMDDHHMMSSZ, found `{found}`")
    }
}

/// Reads the other forms. A time without a zone, which is local to the CA, is taken as UTC.
fn odd(tag: u8, text: &[u8]) -> Option<Instant> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (date, rest) = text.split_at(digits);
    // Some write the year of a UTCTime with four digits.
    let year = if tag == GENERALIZED_TIME || digits == 14 { 4 } else { 2 };
    let whole = date.len() - date.len().min(year);
    if !matches!((tag, whole), (_, 8 | 10) | (GENERALIZED_TIME, 6)) {
        return None;
    }
    let mut usual = if year == 4 { b"00000000000000Z".to_vec() } else { b"000000000000Z".to_vec() };
    usual[..digits].copy_from_slice(date);
    // A leap second is held as the second before.
    let seconds = usual.len() - 3;
    if &usual[seconds..seconds + 2] == b"60" {
        usual[seconds..seconds + 2].copy_from_slice(b"59");
    }
    let instant = Instant::from_asn1_text(&usual)?;
    let zone = match rest {
        [b'.' | b',', fraction @ ..] => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| digits > 0)?
        }
        zone => zone,
    };
    match (instant, offset(zone)?) {
        (Instant::Before1970, _) => Some(Instant::Before1970),
        (Instant::Held(local), offset) => {
            let seconds = i64::try_from(local.0).ok()?.checked_sub(offset)?;
            Some(
                u64::try_from(seconds)
                    .map_or(Instant::Before1970, |seconds| Instant::Held(UnixTime(seconds.min(UnixTime::MAX.0)))),
            )
        }
    }
}

/// The seconds by which a zone is ahead of UTC: `Z`, `+HHMM`, `-HHMM`, `+HH`, `-HH`, or none.
fn offset(zone: &[u8]) -> Option<i64> {
    let number = |digits: &[u8]| -> Option<i64> { std::str::from_utf8(digits).ok()?.parse::<u8>().ok().map(i64::from) };
    let (sign, digits) = match zone {
        [] | [b'Z'] => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let (hours, minutes) = (number(hours)?, if minutes.is_empty() { 0 } else { number(minutes)? });
    (hours < 24 && minutes < 60).then_some(sign * (3600 * hours + 60 * minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, text: &str) -> Option<(Instant, bool)> {
        let der = [&[tag, text.len() as u8], text.as_bytes()].concat();
        let date = Date::read(&mut Elements::new(&der), "date").unwrap().ok()?;
        Some((date.instant, date.is_odd))
    }

    #[test]
    fn other_forms_mean_what_x_680_says_and_are_odd() {
        let held = |text: &[u8]| Instant::from_asn1_text(text).unwrap();
        let noon = held(b"20250102120000Z");
        for (tag, text, instant, is_odd) in [
            (UTC_TIME, "250102120000Z", noon, false),
            (GENERALIZED_TIME, "20250102120000Z", noon, false),
            (UTC_TIME, "2501021200Z", noon, true),
            (UTC_TIME, "250102120000", noon, true),
            (UTC_TIME, "250102140000+0200", noon, true),
            (UTC_TIME, "2501020930-0230", noon, true),
            (UTC_TIME, "20250102120000Z", noon, true),
            (GENERALIZED_TIME, "2025010212Z", noon, true),
            (GENERALIZED_TIME, "202501021200Z", noon, true),
            (GENERALIZED_TIME, "20250102120000.999Z", noon, true),
            (GENERALIZED_TIME, "20250102120000,5", noon, true),
            (GENERALIZED_TIME, "20250102130000.5+01", noon, true),
            (UTC_TIME, "161231235960Z", held(b"20161231235959Z"), true),
            (GENERALIZED_TIME, "19700101003000+0100", Instant::Before1970, true),
            (GENERALIZED_TIME, "19690101003000+0100", Instant::Before1970, true),
            (GENERALIZED_TIME, "99991231235959-0100", Instant::Held(UnixTime::MAX), true),
        ] {
            assert_eq!(read(tag, text), Some((instant, is_odd)), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "Z",
            "2025",
            "20250102120000+",
            "20250102120000+1",
            "20250102120000+1x",
            "20250102120000+2400",
            "20250102120000.Z",
            "20251302120000.5Z",
            "20250102120000 Z",
            "20250102120000ZZ",
            "2025010212000Z",
        ] {
            assert_eq!(read(GENERALIZED_TIME, text), None, "{text}");
        }
        for text in ["25010212Z", "250230120000Z", "2501021260Z", "250102120000.5"] {
            assert_eq!(read(UTC_TIME, text).filter(|_| text != "250102120000.5"), None, "{text}");
        }
        assert!(Date::read(&mut Elements::new(b"\x16\x0d250102030405Z"), "date").is_err(), "no time at all");
    }
}
