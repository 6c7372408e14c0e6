//! Lists of certificates in the forms that people and programs keep them in.
//!
//! Purpose: from a line of a list to a line of JSON for the API. Invariant: what a line says counts before what the
//! command line says of all. It does not know what becomes of the line.

use serde_json::{Map, Value, json};

use super::Said;
use crate::{
    api::{Members, Verb},
    pki::written::{self, Radix},
};

/// How a list is read.
pub(super) struct Form<'a> {
    pub(super) verb: Verb,
    /// Serial numbers are in decimal.
    pub(super) decimal: bool,
    /// What is said of every certificate.
    pub(super) said: &'a Said,
}

/// Why a line gives nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    /// The line is refused.
    Line(String),
    /// The list is: the lines that follow would be taken for something else.
    List(String),
}

impl From<String> for Unread {
    fn from(line: String) -> Self {
        Self::Line(line)
    }
}

/// Reads the lines of one list.
pub(super) struct Reader<'a> {
    form: &'a Form<'a>,
    /// What the columns of CSV are, once there was a heading.
    columns: Vec<Column>,
    begun: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Serial,
    Reason,
    Time,
    NotAfter,
}

impl Column {
    fn of_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
            "serial" | "serial_number" | "serialnumber" => Self::Serial,
            "reason" => Self::Reason,
            "time" | "revoked_at" | "revocation_time" => Self::Time,
            "not_after" | "notafter" => Self::NotAfter,
            _ => return None,
        })
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(form: &'a Form<'a>) -> Self {
        let columns = match form.verb {
            Verb::Add => vec![Column::Serial, Column::NotAfter],
            Verb::Revoke => vec![Column::Serial, Column::Reason, Column::Time],
            Verb::Release => vec![Column::Serial],
        };
        Self { form, columns, begun: false }
    }

    /// The line for the API; `None` for one that does not count.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Option<String>, Unread> {
        if !self.begun {
            is_list(line)?;
        }
        let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        // Some programs begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let mut object = if text.starts_with('{') {
            self.object(text)?
        } else {
            let fields: Vec<_> = fields(text);
            if first && fields.iter().any(|field| Column::of_name(field).is_some()) {
                self.columns = heading(&fields).map_err(Unread::List)?;
                return Ok(None);
            }
            self.record(&fields)?
        };
        for (key, value) in self.form.said {
            object.entry(key).or_insert_with(|| value.clone());
        }
        object.insert("do".into(), self.form.verb.name().into());
        Ok(Some(Value::Object(object).to_string()))
    }

    fn object(&self, text: &str) -> Result<Map<String, Value>, String> {
        let members =
            Members::read(text.as_bytes(), "line", r#"{"serial":"0A1B"}"#).map_err(|problem| problem.detail)?;
        let mut object = members.into_map();
        let verb = self.form.verb.name();
        match object.get("do") {
            Some(said) if said != verb => {
                return Err(format!("the line says `do`: {said}, and the command is {verb}; give each its own list"));
            }
            _ => {}
        }
        if let (true, Some(Value::String(serial))) = (self.form.decimal, object.get("serial")) {
            let serial = written::serial(serial, Radix::Decimal).map_err(|what| format!("`serial` is {what}"))?;
            object.insert("serial".into(), json!(serial.to_string()));
        }
        Ok(object)
    }

    fn record(&self, fields: &[&str]) -> Result<Map<String, Value>, String> {
        if fields.len() > self.columns.len() {
            return Err(format!("the line has {} fields; expected at most {}", fields.len(), self.columns.len()));
        }
        let mut object = Map::new();
        for (column, field) in self.columns.iter().zip(fields) {
            let (name, value) = match column {
                Column::Serial => {
                    let radix = if self.form.decimal { Radix::Decimal } else { Radix::Hexadecimal };
                    let serial =
                        written::serial(field, radix).map_err(|what| format!("the serial number is {what}"))?;
                    ("serial", json!(serial.to_string()))
                }
                _ if field.is_empty() => continue,
                Column::Reason => {
                    let reason = written::reason(field).map_err(|what| format!("the reason is {what}"))?;
                    ("reason", json!(reason.name()))
                }
                Column::Time => ("time", instant(field)?),
                Column::NotAfter => ("not_after", instant(field)?),
            };
            object.insert(name.into(), value);
        }
        Ok(object)
    }
}

fn instant(field: &str) -> Result<Value, String> {
    written::time(field).map(|time| json!(time.0)).map_err(|what| format!("the time is {what}"))
}

/// Fields of a line of `index.txt`, between tabs: more than a list has.
const INDEX_FIELDS: usize = 6;

/// Refuses what is no list by how it begins.
fn is_list(begin: &[u8]) -> Result<(), Unread> {
    let what = if begin.starts_with(b"\xff\xfe") || begin.starts_with(b"\xfe\xff") {
        "UTF-16; a list is UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`"
    } else if begin.contains(&0) {
        "no text; a list is UTF-8. A certificate is named with --certificate"
    } else if begin.starts_with(b"-----BEGIN ") {
        "PEM, which is no list; certificates are named with --certificate, one in each file"
    } else if begin.split(|octet| *octet == b'\t').count() == INDEX_FIELDS {
        "the index of an `openssl ca`, which the issuer may name as its `index`"
    } else {
        return Ok(());
    };
    Err(Unread::List(format!("the file is {what}")))
}

/// The columns that a heading names.
fn heading(fields: &[&str]) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for name in fields {
        let Some(column) = Column::of_name(name) else {
            return Err(format!(
                "the heading names a column {name:?}; known are serial, reason, time and not_after: leave the others out"
            ));
        };
        if columns.contains(&column) {
            return Err(format!("the heading names the column {name:?} twice"));
        }
        columns.push(column);
    }
    if !columns.contains(&Column::Serial) {
        return Err("the heading names no column `serial`".into());
    }
    Ok(columns)
}

/// The fields of a line of CSV: parted by commas, semicolons or tabs, with or without quotation marks.
fn fields<'t>(text: &'t str) -> Vec<&'t str> {
    let separator = [',', ';', '\t'].into_iter().find(|separator| text.contains(*separator)).unwrap_or(',');
    let plain = |field: &'t str| {
        let field = field.trim();
        field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field).trim()
    };
    text.split(separator).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(verb: Verb, decimal: bool, said: Value, list: &str) -> Vec<Result<Option<Value>, Unread>> {
        let said = said.as_object().unwrap().clone();
        let form = Form { verb, decimal, said: &said };
        let mut reader = Reader::new(&form);
        let value = |line: Option<String>| line.map(|line| serde_json::from_str(&line).unwrap());
        list.lines().map(|line| reader.read(line.as_bytes()).map(value)).collect()
    }

    #[test]
    fn a_list_is_read_in_every_form() {
        let revoke = |serial: &str| json!({ "do": "revoke", "serial": serial });
        let with = |mut line: Value, name: &str, value: Value| {
            line[name] = value;
            line
        };
        let list = "\u{feff}# a comment\n\n0A1B\n 0x0a:1b \nserial=0A1B\n0A,keycompromise\n0A;superseded;2026-11-29T08:30:00Z\n\"0A\"\t\"\"\t1795941000\n{\"serial\":\"0A1B\",\"reason\":\"superseded\"}\n{\"do\":\"revoke\",\"serial\":\"x\"}";
        let read = read_all(Verb::Revoke, false, json!({}), list);
        let expected = [
            None,
            None,
            Some(revoke("0A1B")),
            Some(revoke("0A1B")),
            Some(revoke("0A1B")),
            Some(with(revoke("0A"), "reason", json!("keyCompromise"))),
            Some(with(with(revoke("0A"), "reason", json!("superseded")), "time", json!(1_795_941_000))),
            Some(with(revoke("0A"), "time", json!(1_795_941_000))),
            Some(with(revoke("0A1B"), "reason", json!("superseded"))),
            // The service judges objects.
            Some(revoke("x")),
        ];
        for ((line, read), expected) in list.lines().zip(read).zip(expected) {
            assert_eq!(read, Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_a_line_says_counts_before_what_is_said_of_all() {
        let said = json!({ "reason": "superseded", "even_unlisted": true });
        let read =
            read_all(Verb::Revoke, true, said, "10\n10,keyCompromise\n{\"serial\":\"10\",\"even_unlisted\":false}");
        let line = |reason: &str, even: bool| {
            Ok(Some(json!({ "do": "revoke", "serial": "0A", "reason": reason, "even_unlisted": even })))
        };
        assert_eq!(read, [line("superseded", true), line("keyCompromise", true), line("superseded", false)]);
    }

    #[test]
    fn a_heading_names_the_columns() {
        let read = read_all(Verb::Add, false, json!({}), "not_after;Serial Number\n1795941000;0A\n;0B");
        let add = |serial: &str| json!({ "do": "add", "serial": serial });
        let mut first = add("0A");
        first["not_after"] = json!(1_795_941_000);
        assert_eq!(read, [Ok(None), Ok(Some(first)), Ok(Some(add("0B")))]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_was_expected() {
        for (verb, list, words) in [
            (Verb::Revoke, "xyz", "the serial number is `xyz`, which is no serial number"),
            (Verb::Revoke, "0A,stolen", "the reason is `stolen`; expected one of"),
            (Verb::Revoke, "0A,,yesterday", "the time is `yesterday`, which is no time"),
            (Verb::Revoke, "0A,,1,more", "the line has 4 fields; expected at most 3"),
            (Verb::Release, "0A,superseded", "the line has 2 fields; expected at most 1"),
            (Verb::Revoke, "{\"serial\":", "the line ends early"),
            (Verb::Revoke, "{\"serial\":\"0A\",\"serial\":\"0B\"}", "the member `serial` is there twice"),
            (
                Verb::Revoke,
                "{\"do\":\"add\",\"serial\":\"0A\"}",
                "the line says `do`: \"add\", and the command is revoke",
            ),
        ] {
            let Unread::Line(error) = read_all(verb, false, json!({}), list).remove(0).unwrap_err() else {
                panic!("{list}: the next lines are read");
            };
            assert!(error.contains(words), "{list}: {error}");
        }
    }

    #[test]
    fn what_would_be_taken_for_something_else_ends_the_list() {
        for (list, words) in [
            (&b"serial,colour"[..], "the heading names a column \"colour\""),
            // The first column would be taken for the serial number.
            (b"id,serial", "the heading names a column \"id\""),
            (b"reason,time", "the heading names no column `serial`"),
            (b"serial,serialNumber", "the heading names the column \"serialNumber\" twice"),
            (b"\xff\xfe0\0A\0\r\0", "iconv -f UTF-16 -t UTF-8"),
            (b"\xfe\xff\x000", "iconv -f UTF-16 -t UTF-8"),
            (b"0\x82\0\x01", "no text"),
            (b"-----BEGIN CERTIFICATE-----", "named with --certificate"),
            // `E` would be a serial number.
            (b"E\t271129095146Z\t\t0A1B\tunknown\t/CN=a", "the index of an `openssl ca`"),
        ] {
            let said = Said::new();
            let read = Reader::new(&Form { verb: Verb::Revoke, decimal: false, said: &said }).read(list);
            let Err(Unread::List(error)) = read else { panic!("{words}: {read:?}") };
            assert!(error.contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(lines in prop::collection::vec(any::<Vec<u8>>(), 0..4), text in "[{}\":,;\t0-9a-f]{0,40}") {
            let said = Said::new();
            let form = Form { verb: Verb::Revoke, decimal: false, said: &said };
            let mut reader = Reader::new(&form);
            for line in lines.iter().map(Vec::as_slice).chain([text.as_bytes()]) {
                if let Ok(Some(line)) = reader.read(line) {
                    prop_assert!(!line.contains('\n'));
                }
            }
        }
    }
}
