//! Files that are not TOML, or not text: finds what was meant, if possible.
//!
//! Pure. Such a file may contain a secret. Of its text, messages show only lower-case key names, and values that are
//! clearly a file name, a duration, a size, or true or false.

use std::{ops::Range, path::Path};

use crate::output::shell_word;

/// The text of a file's bytes; or why they are not text that can be read, with the remedy.
pub(super) fn text(octets: Vec<u8>, path: &Path) -> Result<String, String> {
    let file = shell_word(&path.display().to_string());
    let utf_16 = octets.starts_with(&[0xff, 0xfe])
        || octets.starts_with(&[0xfe, 0xff])
        || octets.len() > 1 && (octets[0] == 0) != (octets[1] == 0);
    if utf_16 {
        return Err(format!("is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 {file} > {file}.utf8"));
    }
    let text = String::from_utf8(octets).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        let octet = error.as_bytes()[place];
        let line = line_at(error.as_bytes(), place);
        format!("is not UTF-8 text: line {line} has the byte 0x{octet:02x}; save it as UTF-8, if it is Latin-1 by: iconv -f ISO-8859-1 -t UTF-8 {file} > {file}.utf8")
    })?;
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err("is empty; a minimal one has `version = 1` and an [[issuer]] with `certificate`, `index` or `crl`, and `signer` (README.md has one, and `ostia-responder demo` makes one)".into());
    }
    Ok(text)
}

/// The line, counted from 1, of a position in a text.
pub(super) fn line_at(text: &[u8], place: usize) -> usize {
    1 + text[..place.min(text.len())].iter().filter(|&&b| b == b'\n').count()
}

/// Whether everything that the TOML reader reports after this is only a consequence.
pub(super) fn confuses(text: &str, span: &Range<usize>, message: &str) -> bool {
    message.contains("array") || line_of(text, span).1.starts_with("-----BEGIN")
}

/// The text before the line of a position, and the line.
fn line_of<'t>(text: &'t str, span: &Range<usize>) -> (&'t str, &'t str) {
    let start = floor(text, span.start);
    let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[begin..].lines().next().unwrap_or_default().trim_start_matches('\u{feff}').trim();
    (&text[..begin], line)
}

/// What is wrong at the position where the TOML reader stopped, judged by its message and the line.
pub(super) fn problem(text: &str, span: &Range<usize>, message: &str) -> String {
    let (before, line) = line_of(text, span);
    match hint(line, before, message) {
        Some(hint) => format!("is not TOML: {message}; {hint}"),
        None => format!("is not TOML: {message}; see https://toml.io, or the example in README.md"),
    }
}

fn floor(text: &str, mut place: usize) -> usize {
    place = place.min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

fn hint(line: &str, before: &str, message: &str) -> Option<String> {
    if line.starts_with("-----BEGIN") || line.contains("-----BEGIN") {
        return Some(
            "the text of a PEM file stands here; name the file instead, such as `certificate = \"ca.pem\"`".into(),
        );
    }
    if let Some(control) = line.chars().find(|c| c.is_control() && *c != '\t') {
        return Some(format!(
            "the line has the control character 0x{:02x}; write it anew with an editor",
            u32::from(control)
        ));
    }
    if message.contains("array") {
        let opens = |text: &str| text.split_once('=').is_some_and(|(_, value)| value.trim_start().starts_with('['));
        let lines = before.lines().chain([line]).enumerate();
        let begin = lines.filter(|(_, text)| opens(text)).last().map_or(0, |(at, _)| at + 1);
        return Some(format!(
            "the list that begins in line {begin} lacks a comma between two of its values, or the bracket at its end: `[\"…\", \"…\"]`"
        ));
    }
    if message == "duplicate key" {
        return Some(twice(line, before));
    }
    let Some((key, value)) = line.split_once('=') else {
        return without_equals(line);
    };
    let key = name(key.trim()).unwrap_or("…");
    let value = value.trim();
    if value.is_empty() || value.starts_with('#') {
        return Some(format!("write a value after it, or remove the line: `{key} = …`"));
    }
    if value.contains(['“', '”', '„', '‘', '’', '«', '»']) {
        return Some(format!("typographic quotes do not work here; write straight ones: `{key} = \"…\"`"));
    }
    if value.contains('\\') && value.starts_with('"') {
        return Some(format!(
            "a backslash in double quotes means another character; write `{key} = '…'` with single quotes, or two backslashes"
        ));
    }
    if value.starts_with(['"', '\'']) {
        return Some(format!(
            "the quote that begins the text of `{key}` is not closed in this line, or something follows it"
        ));
    }
    if value.starts_with(['[', '{']) {
        return Some(format!(
            "the brackets after `{key}` are not closed, or a comma or a quote is missing: `{key} = [\"…\", \"…\"]`"
        ));
    }
    let value = value.split('#').next().unwrap_or_default().trim();
    if let Some(value) = value.strip_suffix(';') {
        let told = if is_harmless(value) { value } else { "…" };
        return Some(format!("a line does not end with a semicolon: `{key} = {told}`"));
    }
    let lower = value.to_ascii_lowercase();
    if lower == "true" || lower == "false" {
        return Some(format!("write `{key} = {lower}`"));
    }
    if matches!(lower.as_str(), "yes" | "no" | "on" | "off") {
        return Some(format!("write `{key} = true` or `{key} = false`"));
    }
    let told = if is_harmless(value) { value } else { "…" };
    Some(format!("text has to be in quotes: `{key} = \"{told}\"`"))
}

fn without_equals(line: &str) -> Option<String> {
    let (key, _) = line.split_once(':')?;
    let key = name(key.trim())?;
    Some(format!("a key and its value are separated by `=`, not by a colon: `{key} = …`"))
}

/// The earlier place of a key or a table.
fn twice(line: &str, before: &str) -> String {
    let lines = || before.lines().map(str::trim).enumerate();
    if let Some(header) = line.strip_prefix('[') {
        let is_header = |text: &str| text.strip_prefix('[').is_some_and(|other| names_same(header, other));
        let table = header.trim_matches(|c: char| "[] ".contains(c) || c == '#');
        let table = name(table.split(']').next().unwrap_or_default().trim()).unwrap_or("…");
        return match lines().find(|(_, text)| is_header(text)) {
            Some((first, text)) if text.starts_with("[[") != line.starts_with("[[") => {
                format!(
                    "the table `{table}` stands in line {} with other brackets; write [[{table}]] both times where there are several, else once",
                    first + 1
                )
            }
            Some((first, _)) => {
                format!("the table `{table}` stands in line {} already; put all its keys there", first + 1)
            }
            None => format!("the table `{table}` stands above already; put all its keys there"),
        };
    }
    let key = line.split_once('=').map(|(key, _)| key.trim()).unwrap_or_default();
    // Within the same table: after the last header.
    let table = lines().filter(|(_, text)| text.starts_with('[')).last().map_or(0, |(at, _)| at);
    let first =
        lines().skip(table).find(|(_, text)| text.split_once('=').is_some_and(|(other, _)| other.trim() == key));
    let key = name(key).unwrap_or("the key");
    match first {
        Some((first, _)) => format!("`{key}` stands in line {} already; remove one of the two", first + 1),
        None => format!("`{key}` stands above already; remove one of the two"),
    }
}

fn names_same(header: &str, other: &str) -> bool {
    let inner = |text: &str| text.trim_start_matches('[').split(']').next().unwrap_or_default().trim().to_owned();
    inner(header) == inner(other)
}

/// A key's name, if it looks like one of this project: no byte of a key or a PIN does.
fn name(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.');
    (plain && (1..=32).contains(&text.len())).then_some(text)
}

/// Whether a value is no secret: a file name by its ending, a duration, a size.
fn is_harmless(value: &str) -> bool {
    const ENDINGS: [&str; 10] = ["txt", "pem", "crl", "crt", "cer", "der", "key", "db", "jsonl", "log"];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let is_file = value.len() <= 100
        && value.bytes().all(plain)
        && value.rsplit_once('.').is_some_and(|(stem, ending)| !stem.is_empty() && ENDINGS.contains(&ending));
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let unit = value[digits..].trim();
    let is_measure = (1..=10).contains(&digits) && super::values::is_unit(unit);
    is_file || is_measure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_how_to_make_it_one() {
        for (octets, wanted) in [
            (&b"\xff\xfev\0e\0"[..], "UTF-16"),
            (b"\xfe\xff\0v\0e", "UTF-16"),
            (b"v\0e\0r\0", "UTF-16"),
            (b"version = 1\n# caf\xe9\n", "line 2 has the byte 0xe9; save it as UTF-8"),
            (b"", "is empty"),
            (b"\xef\xbb\xbf \r\n\t", "is empty"),
        ] {
            let problem = text(octets.to_vec(), Path::new("a")).unwrap_err();
            assert!(problem.contains(wanted), "{octets:?}: {problem}");
        }
        assert_eq!(text(b"\xef\xbb\xbfversion = 1\r\n".to_vec(), Path::new("a")).unwrap(), "\u{feff}version = 1\r\n");
    }

    #[test]
    fn nothing_of_a_line_is_told_that_may_be_a_secret() {
        for line in [
            "pin = hunter2",
            "pin = \"hunter2",
            "key = hunter2.hunter2",
            "hunter2 = hunter2",
            "pin = hunter2 # index.txt",
            "pin: hunter2",
            "pin = [hunter2",
            "pin = hunter2;",
            "pin = 47114711hunter2;",
            "pin = “hunter2”",
            "pin = \"a\\hunter2\"",
            "-----BEGIN hunter2",
            "hunter2==",
        ] {
            for message in ["string values must be quoted", "duplicate key", "key with no value"] {
                let problem = problem(line, &(0..1), message);
                assert!(!problem.contains("hunter2"), "{line}: {problem}");
            }
        }
    }
}
