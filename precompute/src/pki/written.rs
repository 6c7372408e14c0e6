//! Serial numbers, times and reasons as people and programs write them.
//!
//! Purpose: one reader for lists, the API and the command line. Liberal in the form, and never in the value: what could mean two
//! things is refused. Each error is what follows "is" in a sentence: it shows the text, and says what was expected. It
//! does not know where the text stood.

use std::fmt::Write as _;

use der::DateTime;
use num_bigint::BigUint;

use super::{Reason, Serial, UnixTime};
use crate::output::may_be_secret;

/// Letters of a text that a message shows: a serial number of 20 bytes with colons has 59.
const SHOWN_MAX: usize = 64;

/// A text for a message: on one line, not too long, and not if it may be a secret.
pub fn excerpt(text: &str) -> String {
    if may_be_secret(text) {
        return "a text that may be a secret, and is not shown".into();
    }
    let mut shown = String::from("`");
    for letter in text.chars().take(SHOWN_MAX) {
        let _ = write!(shown, "{}", letter.escape_debug());
    }
    shown + if text.chars().nth(SHOWN_MAX).is_some() { "…`" } else { "`" }
}

/// How a serial number is written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Radix {
    /// In hexadecimal, as `openssl x509 -serial` prints it.
    #[default]
    Hexadecimal,
    /// In decimal, as `openssl x509 -text` prints short ones, and databases keep them.
    Decimal,
}

/// A serial number. In hexadecimal, `serial=` or `0x` may precede it, and colons may part the bytes.
pub fn serial(text: &str, radix: Radix) -> Result<Serial, String> {
    let given = text.trim();
    let wrong = |what: &str| Err(format!("{}, which {what}", excerpt(given)));
    if given.starts_with('-') {
        return wrong("is negative: no certificate that clients can ask for has such a serial number");
    }
    if radix == Radix::Decimal {
        if given.is_empty() || !given.bytes().all(|digit| digit.is_ascii_digit()) {
            return wrong("is no number in decimal");
        }
        // 2^160 has 49 digits.
        let number = (given.trim_start_matches('0').len() < 50).then(|| BigUint::parse_bytes(given.as_bytes(), 10));
        return match number.flatten().and_then(|number| Serial::from_magnitude(&number.to_bytes_be())) {
            Some(serial) => Ok(serial),
            None => wrong(OUT_OF_RANGE),
        };
    }
    let digits = given.strip_prefix("serial=").unwrap_or(given);
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits);
    let digits = if digits.contains(':') {
        // An odd digit alone would move all that follow.
        if !digits.split(':').all(|byte| byte.len() == 2) {
            return wrong("has colons that do not part it into bytes of two digits");
        }
        digits.replace(':', "")
    } else {
        digits.to_owned()
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return wrong("is no serial number: expected 1 to 40 hexadecimal digits, such as 0A1B, 0x0a1b or 0a:1b");
    }
    match Serial::from_hex(&digits) {
        Some(serial) => Ok(serial),
        None => wrong(OUT_OF_RANGE),
    }
}

const OUT_OF_RANGE: &str =
    "is no serial number of a certificate: those are from 1 to 20 bytes (RFC 5280 section 4.1.2.2)";

/// An instant: RFC 3339, seconds since 1970, or as `index.txt` has it.
pub fn time(text: &str) -> Result<UnixTime, String> {
    let given = text.trim();
    let seconds = || given.parse().ok().map(UnixTime).filter(|time| *time <= UnixTime::MAX);
    let read = match given.as_bytes() {
        digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => seconds(),
        [digits @ .., b'Z'] if digits.iter().all(u8::is_ascii_digit) => UnixTime::from_asn1_text(given.as_bytes()),
        octets => rfc3339(octets),
    };
    read.ok_or_else(|| {
        format!(
            "{}, which is no time between 1970 and 9999: expected RFC 3339 such as 2026-11-29T08:30:00Z, or seconds since 1970",
            excerpt(given)
        )
    })
}

/// `YYYY-MM-DDTHH:MM:SS`, a fraction that is dropped, and `Z` or an offset.
fn rfc3339(text: &[u8]) -> Option<UnixTime> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0')))
    };
    let is = |at: usize, signs: &[u8]| text.get(at).is_some_and(|sign| signs.contains(sign));
    let parted = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let [month, day, hour, minute, second] =
        [number(5..7)?, number(8..10)?, number(11..13)?, number(14..16)?, number(17..19)?].map(|number| number as u8);
    // A leap second counts as the one before it.
    let date = DateTime::new(number(0..4)?, month, day, hour, minute, second.min(if second == 60 { 59 } else { 255 }));
    let date = date.ok().filter(|_| parted)?;
    let mut zone = 19;
    if is(zone, b".") {
        let digits = text[zone + 1..].iter().take_while(|digit| digit.is_ascii_digit()).count();
        zone += 1 + digits;
        if digits == 0 {
            return None;
        }
    }
    let seconds = i64::try_from(date.unix_duration().as_secs()).ok()?;
    let offset = match text.get(zone..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (number(zone + 1..zone + 3)?, number(zone + 4..zone + 6)?);
            let offset = 3600 * i64::from(hours) + 60 * i64::from(minutes);
            if hours > 23 || minutes > 59 {
                return None;
            }
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return None,
    };
    u64::try_from(seconds - offset).ok().map(UnixTime).filter(|time| *time <= UnixTime::MAX)
}

/// A reason by the name that RFC 5280 section 5.3.1 gives it, in any case; `-` and `_` do not count. Or by its code there,
/// as ACME (RFC 8555 section 7.6) and the interfaces of CAs have it.
pub fn reason(text: &str) -> Result<Reason, String> {
    let plain = |text: &str| text.trim().replace(['-', '_'], "").to_ascii_lowercase();
    let wanted = plain(text);
    let is = |reason: &Reason| plain(reason.name()) == wanted || reason.code().to_string() == wanted;
    if let Some(reason) = Reason::ALL.into_iter().find(is) {
        return Ok(reason);
    }
    if wanted == "removefromcrl" || wanted == "8" {
        return Err("`removeFromCRL`, which is no state of a certificate: end a hold with release".into());
    }
    let names: Vec<_> = Reason::ALL.map(Reason::name).into();
    Err(format!("{}; expected one of {}, or its code", excerpt(text), names.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_serial_number_is_taken_in_every_usual_form() {
        let wanted = Serial::from_hex("0A1B").unwrap();
        for text in ["0A1B", "a1b", "0x0a1b", "0X0A1B", "0a:1b", "00:0A:1B", "serial=0A1B", " 0A1B\n"] {
            assert_eq!(serial(text, Radix::Hexadecimal), Ok(wanted), "{text}");
        }
        assert_eq!(serial("2587", Radix::Decimal), Ok(wanted));
        assert_eq!(serial("0002587", Radix::Decimal), Ok(wanted));
        let largest = "1461501637330902918203684832716283019655932542975";
        assert_eq!(serial(largest, Radix::Decimal), Ok(Serial::from_hex(&"F".repeat(40)).unwrap()));
    }

    #[test]
    fn what_is_no_serial_number_is_refused_with_what_would_be_one() {
        let long = "F".repeat(41);
        for (text, radix, words) in [
            ("", Radix::Hexadecimal, "``, which is no serial number"),
            ("0x", Radix::Hexadecimal, "is no serial number: expected 1 to 40"),
            ("00", Radix::Hexadecimal, "from 1 to 20 bytes"),
            ("-0A", Radix::Hexadecimal, "is negative"),
            ("12 34", Radix::Hexadecimal, "`12 34`, which is no serial number"),
            ("a:1b", Radix::Hexadecimal, "has colons that do not part it"),
            ("0a1:b0", Radix::Hexadecimal, "has colons that do not part it"),
            ("0a:1b:", Radix::Hexadecimal, "has colons that do not part it"),
            (&long, Radix::Hexadecimal, "from 1 to 20 bytes"),
            ("0A", Radix::Decimal, "is no number in decimal"),
            ("0", Radix::Decimal, "from 1 to 20 bytes"),
            ("1461501637330902918203684832716283019655932542976", Radix::Decimal, "from 1 to 20 bytes"),
            ("-----BEGIN CERTIFICATE-----", Radix::Hexadecimal, "is not shown"),
        ] {
            let error = serial(text, radix).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = serial(&"9".repeat(10_000), Radix::Decimal).unwrap_err();
        assert!(error.len() < 300, "{error}");
    }

    #[test]
    fn a_time_is_taken_in_every_usual_form() {
        for text in [
            "2026-11-29T08:30:00Z",
            "2026-11-29t08:30:00z",
            "2026-11-29 08:30:00.999Z",
            "2026-11-29T09:30:00+01:00",
            "2026-11-28T22:30:00-10:00",
            "1795941000",
            "20261129083000Z",
            "261129083000Z",
        ] {
            assert_eq!(time(text), Ok(UnixTime(1_795_941_000)), "{text}");
        }
        assert_eq!(time("2016-12-31T23:59:60Z").unwrap().to_string(), "2016-12-31T23:59:59Z");
        assert_eq!(time("0"), Ok(UnixTime(0)));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be_one() {
        for text in [
            "",
            "now",
            "2026-11-29",
            "2026-11-29T08:30:00",
            "2026-11-29T08:30Z",
            "2026-13-29T08:30:00Z",
            "2026-02-29T08:30:00Z",
            "2026-11-29T08:30:61Z",
            "2026-11-29T08:30:00.Z",
            "2026-11-29T08:30:00+0100",
            "2026-11-29T08:30:00+24:00",
            "2026-11-29T08:30:00Z ago",
            "1970-01-01T00:30:00+01:00",
            "1969-12-31T00:30:00Z",
            "-5",
            "1.5",
            "253402300800",
            "99999999999999999999",
            "29/11/2026",
        ] {
            let error = time(text).unwrap_err();
            assert!(error.contains("expected RFC 3339 such as 2026-11-29T08:30:00Z, or seconds"), "{text}: {error}");
        }
    }

    #[test]
    fn a_reason_is_taken_in_any_case() {
        for reason in Reason::ALL {
            let name = reason.name();
            for text in [name.to_owned(), name.to_uppercase(), name.to_lowercase()] {
                assert_eq!(super::reason(&text), Ok(reason), "{text}");
            }
        }
        assert_eq!(reason("key-compromise"), Ok(Reason::KeyCompromise));
        for (code, expected) in
            [("0", Reason::Unspecified), ("1", Reason::KeyCompromise), ("6", Reason::CertificateHold)]
        {
            assert_eq!(reason(code), Ok(expected));
        }
        for nothing in ["7", "11", "01", "1.0", "8", ""] {
            assert!(reason(nothing).is_err(), "{nothing}");
        }
        assert_eq!(reason("CERTIFICATE_HOLD"), Ok(Reason::CertificateHold));
        assert!(reason("stolen").unwrap_err().contains("`stolen`; expected one of unspecified, keyCompromise, "));
        assert!(reason("removeFromCRL").unwrap_err().contains("end a hold with release"));
    }

    proptest! {
        #[test]
        fn every_serial_number_reads_back_in_every_form(octets in prop::collection::vec(any::<u8>(), 1..=20)) {
            let Some(wanted) = Serial::from_magnitude(&octets) else { return Ok(()) };
            let hex = wanted.to_string();
            let pairs: Vec<_> = hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect();
            for text in [hex.clone(), hex.to_lowercase(), format!("0x{hex}"), pairs.join(":")] {
                prop_assert_eq!(serial(&text, Radix::Hexadecimal), Ok(wanted));
            }
            let decimal = BigUint::from_bytes_be(&octets).to_string();
            prop_assert_eq!(serial(&decimal, Radix::Decimal), Ok(wanted));
        }

        #[test]
        fn every_time_reads_back_in_every_form(seconds in 0..=UnixTime::MAX.0, offset in 0u64..1440) {
            let wanted = UnixTime(seconds);
            prop_assert_eq!(time(&wanted.to_string()), Ok(wanted));
            prop_assert_eq!(time(&seconds.to_string()), Ok(wanted));
            let local = UnixTime(seconds + 60 * offset);
            if local <= UnixTime::MAX {
                let text = local.to_string().replace('Z', &format!("+{:02}:{:02}", offset / 60, offset % 60));
                prop_assert_eq!(time(&text), Ok(wanted), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,80}", near in "[0-9a-fA-FxX:TtZz+. -]{0,40}") {
            for text in [&text, &near] {
                for radix in [Radix::Hexadecimal, Radix::Decimal] {
                    if let Err(error) = serial(text, radix) {
                        prop_assert!(!error.contains('\n'));
                    }
                }
                let _ = time(text);
                let _ = reason(text);
            }
        }
    }
}
