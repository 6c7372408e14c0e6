//! The form of the record's lines.
//!
//! Invariant: every line is one JSON object and ends with its only line feed, whatever is in it. No I/O, no clock. It
//! does not know files.

use std::{fmt, fmt::Write as _};

use precompute::pki::{UnixTime, hex::Hex};

use super::{Token, Transition};

/// Appends the line of a token.
pub(super) fn push_token(lines: &mut String, token: &Token) {
    let Token { serial, unix_nanos, imprint, origin, clock } = token;
    let (offset, uncertainty) = (Nullable(clock.map(|clock| clock.0)), Nullable(clock.map(|clock| clock.1)));
    push(
        lines,
        format_args!(
            r#"{{"type":"token","time":"{}","serial":"{}","imprint":"{}:{}","tenant":{},"policy":{},"key":{},"offset_ns":{offset},"uncertainty_ns":{uncertainty}}}"#,
            Time(*unix_nanos),
            Hex(serial),
            imprint.algorithm,
            Hex(imprint.hash()),
            Text(&origin.tenant),
            Text(&origin.policy),
            Text(&origin.key),
        ),
    );
}

/// The line of a change of trust in the clock.
pub(super) fn of_transition(transition: &Transition) -> String {
    let Transition { unix_nanos, source, accuracy, from, to, discipline, problem } = transition;
    let time = Time(u64::try_from(*unix_nanos).unwrap_or(0));
    let (source, problem) = (source.to_string(), Nullable(problem.as_deref().map(Text)));
    let (from, to) = (Text(Transition::label(*from)), Text(Transition::label(*to)));
    let offset = Nullable(discipline.map(|said| said.offset));
    let uncertainty = Nullable(discipline.map(|said| said.uncertainty));
    let (source, accuracy) = (Text(&source), accuracy.as_millis());
    let mut line = String::new();
    push(
        &mut line,
        format_args!(
            r#"{{"type":"clock","time":"{time}","source":{source},"accuracy_ms":{accuracy},"from":{from},"to":{to},"offset_ns":{offset},"uncertainty_ns":{uncertainty},"problem":{problem}}}"#
        ),
    );
    line
}

/// Appends a line about missing lines.
pub(super) fn push_lost(lines: &mut String, unix_nanos: u64, count: u64) {
    push(lines, format_args!(r#"{{"type":"lost","time":"{}","count":{count}}}"#, Time(unix_nanos)));
}

fn push(lines: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = lines.write_fmt(line);
    lines.push('\n');
}

/// Nanoseconds since 1970 as RFC 3339, in UTC, without trailing zeros in the fraction; years from 10000 on show the
/// last representable time.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, fraction) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let text = UnixTime(seconds).generalized();
        let text = std::str::from_utf8(&text).unwrap_or_default();
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
        write!(f, "{year}-{month}-{day}T{}:{}:{}", part(8, 10), part(10, 12), part(12, 14))?;
        if fraction != 0 {
            let digits = format!("{fraction:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// `null` if absent.
struct Nullable<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A string of JSON (RFC 8259 section 7).
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\0'..='\x1F' => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use precompute::pki::hex;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{
        super::{Imprint, Origin},
        *,
    };
    use crate::tsa::clock::{ClockSource, Discipline, Leap, NotTrusted};

    proptest! {
        #[test]
        fn every_line_is_read_by_another_parser(
            (serial, unix_nanos) in (any::<[u8; 20]>(), any::<u64>()),
            hash in proptest::collection::vec(any::<u8>(), 0..=64),
            (tenant, policy, key) in (any::<String>(), any::<String>(), any::<String>()),
            clock: Option<(i64, u64)>,
        ) {
            let origin = Arc::new(Origin { tenant, policy, key });
            let imprint = Imprint::new("sha3-512", &hash);
            let mut lines = String::new();
            let token = Token { serial, unix_nanos, imprint, origin: Arc::clone(&origin), clock };
            push_token(&mut lines, &token);
            push_lost(&mut lines, unix_nanos, 7);
            let lines: Vec<_> = lines.split_inclusive('\n').collect();
            prop_assert_eq!(lines.len(), 2);
            let mut read: Value = serde_json::from_str(lines[0]).unwrap();
            let time = read["time"].take();
            prop_assert_eq!(read, json!({
                "type": "token", "time": null, "serial": hex::text(&serial), "imprint": format!("sha3-512:{}", hex::text(&hash)),
                "tenant": origin.tenant, "policy": origin.policy, "key": origin.key,
                "offset_ns": clock.map(|clock| clock.0), "uncertainty_ns": clock.map(|clock| clock.1),
            }));
            prop_assert!(time.as_str().is_some_and(|text| text.ends_with('Z') && !text.ends_with("0Z") || unix_nanos % 1_000_000_000 == 0));
        }
    }

    #[test]
    fn times_have_the_digits_that_they_need() {
        let second = 1_700_000_000_000_000_000;
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (second, "2023-11-14T22:13:20Z"),
            (second + 120_000_000, "2023-11-14T22:13:20.12Z"),
            (second + 1_000, "2023-11-14T22:13:20.000001Z"),
            (second + 999_999_999, "2023-11-14T22:13:20.999999999Z"),
        ] {
            assert_eq!(Time(nanos).to_string(), text);
        }
    }

    #[test]
    fn a_change_of_trust_says_what_was_known() {
        let transition = Transition {
            unix_nanos: 1_700_000_000_500_000_000,
            source: ClockSource::CHRONY,
            accuracy: Duration::from_secs(1),
            from: Ok(()),
            to: Err(NotTrusted::Silent),
            discipline: None,
            problem: Some("\"no\"\nanswer".into()),
        };
        let line = of_transition(&transition);
        assert_eq!(line.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "type": "clock", "time": "2023-11-14T22:13:20.5Z", "source": "chrony", "accuracy_ms": 1000,
            "from": "trusted", "to": "silent", "offset_ns": null, "uncertainty_ns": null, "problem": "\"no\"\nanswer",
        });
        assert_eq!(read, expected);
        let discipline =
            Discipline { synchronised: true, offset: -5, uncertainty: 6, leap: Leap::None, measurement: None };
        let back =
            Transition { discipline: Some(discipline), problem: None, from: transition.to, to: Ok(()), ..transition };
        let read: Value = serde_json::from_str(&of_transition(&back)).unwrap();
        assert_eq!(
            (&read["from"], &read["offset_ns"], &read["uncertainty_ns"]),
            (&json!("silent"), &json!(-5), &json!(6))
        );
    }
}
