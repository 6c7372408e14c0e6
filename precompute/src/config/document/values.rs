//! What values of the file mean, and how messages show them. It does not know the keys' sections.

use std::{ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use crate::{ocsp::Share, output::may_be_secret};

pub(super) fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(array) => array.iter().map(|element| Some(element.get_ref().as_str()?.to_owned())).collect(),
        DeValue::String(text) => Some(vec![text.to_string()]),
        _ => None,
    }
}

pub(super) fn as_i64(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A part of a whole, to a thousandth.
pub(super) fn as_share(value: &DeValue<'_>) -> Option<Share> {
    let number = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) => number.as_str(),
        _ => return None,
    };
    share_of(number)
}

fn share_of(text: &str) -> Option<Share> {
    let number: f64 = text.parse().ok().filter(|number| (0.0..=1.0).contains(number))?;
    Some(Share::of_thousandths((number * 1000.0).round() as u16))
}

/// A value as a problem shows it. Text with several lines, with a key, or of unusual length is not shown.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    const TOLD_MAX: usize = 100;
    match value {
        DeValue::String(text) if text.contains("-----BEGIN") => "the text of a PEM file".into(),
        DeValue::String(text) if may_be_secret(text) => "a text that may be a secret, and is not shown".into(),
        DeValue::String(text) if text.chars().count() > TOLD_MAX || text.contains(['\n', '\r']) => {
            format!("a string of {} characters", text.chars().count())
        }
        DeValue::String(text) => {
            format!("`{}`", text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
        }
        DeValue::Integer(_) if as_i64(value).is_some() => as_i64(value).unwrap_or_default().to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        other => format!("{} {}", article(other.type_str()), other.type_str()),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// What a key expects.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Text,
    Boolean,
    Whole(RangeInclusive<i64>),
    Length(RangeInclusive<Duration>),
    Share(RangeInclusive<Share>),
    Table,
    Tables,
    Other,
}

impl Wanted {
    /// The correct form of `key`, with the names above it, if the written value suggests one.
    pub(super) fn hint(&self, key: &str, value: &DeValue<'_>) -> Option<String> {
        let last = key.rsplit('.').next().unwrap_or(key);
        let text = value.as_str().map(str::trim);
        Some(match (self, value, text) {
            (Self::Boolean, _, Some(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => format!("write it without quotes: `{last} = true`"),
                "false" | "no" | "off" | "0" => format!("write it without quotes: `{last} = false`"),
                _ => return None,
            },
            (Self::Boolean, DeValue::Integer(_), _) => match as_i64(value)? {
                1 => format!("write `{last} = true`"),
                0 => format!("write `{last} = false`"),
                _ => return None,
            },
            (Self::Whole(range), _, Some(text)) => {
                let number = text.parse().ok().or_else(|| size(text)).filter(|number| range.contains(number))?;
                format!("write it without quotes and unit: `{last} = {number}`")
            }
            (Self::Share(range), _, Some(text)) => {
                let parts = |text: &str, whole| Some(text.trim().parse::<f64>().ok()? / whole);
                let part = text.strip_suffix('%').map_or_else(|| parts(text, 1.0), |percent| parts(percent, 100.0))?;
                let share = share_of(&part.to_string()).filter(|share| range.contains(share))?;
                format!("write it without quotes: `{last} = {share}`")
            }
            (Self::Length(range), DeValue::Integer(_), _) => {
                format!("give it a unit, such as `{last} = \"{}\"`", examples(range).first()?)
            }
            (Self::Length(range), _, Some(text)) => {
                let meant = in_other_words(text).filter(|duration| range.contains(duration))?;
                format!("write `{last} = \"{}\"`", in_words(meant))
            }
            (Self::Text, DeValue::Integer(_) | DeValue::Boolean(_) | DeValue::Float(_), _) => {
                format!("write it in quotes: `{last} = \"…\"`")
            }
            (Self::Table, DeValue::Array(_), _) => format!("it is one table: write `[{key}]`"),
            (Self::Tables, DeValue::Table(_), _) => format!("there may be several: write `[[{key}]]`"),
            _ => return None,
        })
    }
}

const UNITS: [(&str, Duration); 6] = [
    ("d", Duration::from_secs(86_400)),
    ("h", Duration::from_secs(3600)),
    ("m", Duration::from_secs(60)),
    ("s", Duration::from_secs(1)),
    ("ms", Duration::from_millis(1)),
    ("us", Duration::from_micros(1)),
];

/// Other common names for units of time.
const OTHER_WORDS: [(&[&str], u64); 6] = [
    (&["d", "day", "days"], 86_400),
    (&["h", "hr", "hrs", "hour", "hours"], 3600),
    (&["m", "min", "mins", "minute", "minutes"], 60),
    (&["s", "sec", "secs", "second", "seconds"], 1),
    (&["w", "week", "weeks"], 7 * 86_400),
    (&["y", "yr", "year", "years"], 365 * 86_400),
];

const SIZES: [(&str, i64); 14] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
];

/// Whether it is the name of a unit of time or size, in any common spelling.
pub(super) fn is_unit(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let of_time =
        UNITS.iter().any(|(name, _)| *name == text) || OTHER_WORDS.iter().any(|(names, _)| names.contains(&&*text));
    of_time || !text.is_empty() && SIZES.iter().any(|(name, _)| *name == text)
}

/// The number before a unit, and the unit.
fn parted(text: &str) -> Option<(u64, String)> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

/// A size in bytes.
fn size(text: &str) -> Option<i64> {
    let (number, unit) = parted(text)?;
    let (_, octets) = SIZES.iter().find(|(name, _)| *name == unit)?;
    octets.checked_mul(i64::try_from(number).ok()?)
}

fn in_other_words(text: &str) -> Option<Duration> {
    let (number, unit) = parted(text)?;
    if let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) {
        return unit.checked_mul(number.try_into().ok()?);
    }
    let (_, seconds) = OTHER_WORDS.iter().find(|(names, _)| names.contains(&&*unit))?;
    Some(Duration::from_secs(seconds.checked_mul(number)?))
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    unit.checked_mul(number.parse().ok()?)
}

/// A duration as the file writes it, in the largest unit that fits.
pub fn in_words(duration: Duration) -> String {
    let fits = |unit: &Duration| duration >= *unit && duration.as_nanos().is_multiple_of(unit.as_nanos());
    let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(unit)).unwrap_or(("s", Duration::from_secs(1)));
    format!("{}{name}", duration.as_nanos() / unit.as_nanos())
}

/// A text as a basic string of TOML, with quotes.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted += &format!("\\u{:04X}", u32::from(letter)),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

/// Durations in `range` as examples of the format; at least one.
pub(super) fn examples(range: &RangeInclusive<Duration>) -> Vec<String> {
    const SOME: [Duration; 7] = [
        Duration::from_millis(250),
        Duration::from_secs(10),
        Duration::from_secs(90),
        Duration::from_secs(30 * 60),
        Duration::from_secs(12 * 3600),
        Duration::from_secs(4 * 86_400),
        Duration::from_secs(90 * 86_400),
    ];
    let within: Vec<_> = SOME.into_iter().filter(|some| range.contains(some)).map(in_words).collect();
    if within.is_empty() { vec![in_words(*range.start())] } else { within.into_iter().take(4).collect() }
}

/// The same as a list for people.
pub(super) fn examples_in_words(range: &RangeInclusive<Duration>) -> String {
    let examples: Vec<_> = examples(range).iter().map(|example| format!("`{example}`")).collect();
    match &examples[..] {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        all => all.concat(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_instead_is_understood_well_enough_to_say_how_it_is_written() {
        for (text, expected) in [
            ("4 days", Some("4d")),
            ("4 d", Some("4d")),
            ("12 Hours", Some("12h")),
            ("30min", Some("30m")),
            ("2w", Some("14d")),
            ("4 fortnights", None),
            ("days", None),
            ("99999999999999999 years", None),
        ] {
            assert_eq!(in_other_words(text).map(in_words).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("4GB", Some(4_000_000_000)),
            ("4 GiB", Some(4 << 30)),
            ("256m", Some(256 << 20)),
            ("1000", Some(1000)),
            ("4 boxes", None),
            ("9999999999 TB", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn examples_are_always_within_the_range_and_written_as_they_are_read(from in 0u64..10_000_000, more in 0u64..10_000_000) {
            let range = Duration::from_secs(from)..=Duration::from_secs(from + more);
            for example in examples(&range) {
                prop_assert!(example == "0s" || range.contains(&parse_duration(&example).unwrap()), "{}", example);
            }
        }
    }
}
