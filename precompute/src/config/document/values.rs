//! What values of the file mean, and how they are told.

use std::time::Duration;

use toml::de::DeValue;

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

pub(super) fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

const UNITS: [(&str, Duration); 6] = [
    ("d", Duration::from_secs(86_400)),
    ("h", Duration::from_secs(3600)),
    ("m", Duration::from_secs(60)),
    ("s", Duration::from_secs(1)),
    ("ms", Duration::from_millis(1)),
    ("us", Duration::from_micros(1)),
];

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    unit.checked_mul(number.parse().ok()?)
}

pub(super) fn in_words(duration: Duration) -> String {
    let fits = |unit: &Duration| duration >= *unit && duration.as_nanos().is_multiple_of(unit.as_nanos());
    let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(unit)).unwrap_or(("s", Duration::from_secs(1)));
    format!("{}{name}", duration.as_nanos() / unit.as_nanos())
}
