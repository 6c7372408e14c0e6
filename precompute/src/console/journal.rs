//! Which lines of the journal a principal may read, and those of them that are asked for.
//!
//! Invariant: a line that names a tenant is for who may audit this tenant, and every other line for who may audit the whole
//! service. Pure: it does not know files.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::pages::{Filter, JournalLine};
use crate::principals::{Action, Object, Principal};

/// A page of lines.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Selected {
    /// The newest first.
    pub(super) lines: Vec<JournalLine>,
    /// The number before which there are older ones.
    pub(super) older: Option<u64>,
}

/// Members that a reader does not need: they are in each line, or are for who verifies.
const PASSED_OVER: [&str; 8] = ["server", "seq", "at", "salt", "prev", "type", "signature", "format"];

/// Signatures of the journal over itself: one each second, so they are shown only where somebody asks for them.
const HEAD: &str = "head";

/// The newest `most` lines of a file that fit, with numbers below `before`.
pub(super) fn select(
    content: &[u8],
    principal: &Principal,
    filter: &Filter,
    before: Option<u64>,
    most: usize,
) -> Selected {
    let mut found: VecDeque<(u64, JournalLine)> = VecDeque::new();
    let mut more = false;
    for line in content.split(|octet| *octet == b'\n') {
        // Cheap, before the line is taken apart.
        if !filter.words().all(|word| memchr::memmem::find(line, word.as_bytes()).is_some()) {
            continue;
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(line) else { continue };
        let number = members.get("seq").and_then(Value::as_u64).unwrap_or_default();
        if before.is_some_and(|before| number >= before) || !may_read(principal, &members) || !filter.fits(&members) {
            continue;
        }
        if found.len() == most {
            more = found.pop_front().is_some();
        }
        found.push_back((number, shown(number, &members)));
    }
    let older = found.front().filter(|_| more).map(|(number, _)| *number);
    Selected { lines: found.into_iter().rev().map(|(_, line)| line).collect(), older }
}

fn may_read(principal: &Principal, members: &Map<String, Value>) -> bool {
    match members.get("tenant") {
        Some(Value::String(tenant)) => principal.may(Action::Audit, Object::Tenant(tenant)),
        _ => principal.may(Action::Audit, Object::Service),
    }
}

impl Filter {
    /// What each line that fits has in it somewhere.
    fn words(&self) -> impl Iterator<Item = &str> {
        // A serial number may be written in lower case, and a name may be escaped in JSON.
        [&self.what].into_iter().filter(|word| !word.is_empty() && word.bytes().all(is_plain)).map(String::as_str)
    }

    fn fits(&self, members: &Map<String, Value>) -> bool {
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        let what = text("type");
        let is_wanted = if self.what.is_empty() { what != HEAD } else { what == self.what };
        is_wanted
            && (self.tenant.is_empty() || text("tenant") == self.tenant)
            && (self.serial.is_empty() || has_serial(members, &self.serial))
    }
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'-'
}

fn has_serial(members: &Map<String, Value>, serial: &str) -> bool {
    let plain =
        |text: &str| text.trim_start_matches("0x").replace(':', "").trim_start_matches('0').to_ascii_uppercase();
    let wanted = plain(serial);
    let is_it = |value: &Value| value.as_str().is_some_and(|text| plain(text) == wanted);
    members.get("serial").is_some_and(is_it)
        || members.get("serials").and_then(Value::as_array).is_some_and(|serials| serials.iter().any(is_it))
}

fn shown(number: u64, members: &Map<String, Value>) -> JournalLine {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let texts: Vec<_> =
                values.iter().map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).collect();
            texts.join(", ")
        }
        other => other.to_string(),
    };
    let member = |name: &str| members.get(name).map(text).unwrap_or_default();
    let rest = members.iter().filter(|(name, _)| !PASSED_OVER.contains(&name.as_str()));
    // To the second: the rest is for who verifies.
    let time = member("at");
    let time = time.split_once('.').map_or(time.clone(), |(second, _)| format!("{second}Z"));
    JournalLine {
        number: number.to_string(),
        time,
        what: member("type"),
        members: rest.map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, rest: &str) -> String {
        format!(
            "{{\"server\":\"s\",\"seq\":{number},\"at\":\"2026-11-30T17:40:27.123456Z\",\"salt\":\"9f\",\"prev\":\"04\",{rest}}}\n"
        )
    }

    fn content() -> String {
        [
            line(1, r#""type":"file","journal":"service","format":1,"key":"00""#),
            line(2, r#""type":"start","command":"run","pid":7"#),
            line(3, r#""type":"push","tenant":"acme","serial":"0A1B","verb":"revoke""#),
            line(4, r#""type":"head","signature":"00""#),
            line(5, r#""type":"push","tenant":"other","serial":"0A1B""#),
            line(6, r#""type":"revoked","tenant":"acme","serials":["0C","0A1B"],"more":3"#),
            "{\"seq\":7,\"type\":\"pu".to_owned(),
        ]
        .concat()
    }

    fn principal(allow: &str) -> Principal {
        Principal { name: "ann".into(), allow: vec![allow.parse().unwrap()], deny: Vec::new() }
    }

    fn numbers(allow: &str, filter: &Filter, before: Option<u64>, most: usize) -> (Vec<String>, Option<u64>) {
        let Selected { lines, older } = select(content().as_bytes(), &principal(allow), filter, before, most);
        (lines.into_iter().map(|line| line.number).collect(), older)
    }

    #[test]
    fn a_tenants_auditor_reads_this_tenants_lines_and_no_other() {
        let all = Filter::default();
        assert_eq!(numbers("auditor:*", &all, None, 50).0, ["6", "5", "3", "2", "1"]);
        assert_eq!(numbers("auditor:acme", &all, None, 50).0, ["6", "3"]);
        assert_eq!(numbers("administrator:other", &all, None, 50).0, ["5"]);
        for allow in ["viewer:*", "operator:acme", "auditor:ac"] {
            assert!(numbers(allow, &all, None, 50).0.is_empty(), "{allow}");
        }
        // Not even whether there are older ones.
        assert_eq!(numbers("auditor:other", &all, None, 1), (vec!["5".into()], None));
    }

    #[test]
    fn lines_are_filtered_and_paged() {
        let filter = |what: &str, tenant: &str, serial: &str| Filter {
            what: what.into(),
            tenant: tenant.into(),
            serial: serial.into(),
        };
        for (filter, expected) in [
            (filter("push", "", ""), &["5", "3"][..]),
            (filter("head", "", ""), &["4"]),
            (filter("", "acme", ""), &["6", "3"]),
            (filter("", "", "a1b"), &["6", "5", "3"]),
            (filter("", "", "0x0A:1B"), &["6", "5", "3"]),
            (filter("", "acme", "0C"), &["6"]),
            (filter("pu", "", ""), &[]),
            (filter("", "", "1B"), &[]),
        ] {
            assert_eq!(numbers("auditor:*", &filter, None, 50).0, expected, "{filter:?}");
        }
        let all = Filter::default();
        assert_eq!(numbers("auditor:*", &all, None, 2), (vec!["6".into(), "5".into()], Some(5)));
        assert_eq!(numbers("auditor:*", &all, Some(5), 2), (vec!["3".into(), "2".into()], Some(2)));
        assert_eq!(numbers("auditor:*", &all, Some(2), 2), (vec!["1".into()], None));
    }

    #[test]
    fn a_line_is_shown_without_what_is_for_verifying_alone() {
        let Selected { lines, .. } = select(content().as_bytes(), &principal("auditor:*"), &Filter::default(), None, 1);
        let members = [("more", "3"), ("serials", "0C, 0A1B"), ("tenant", "acme")];
        assert_eq!(lines[0].members, members.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((lines[0].what.as_str(), lines[0].time.as_str()), ("revoked", "2026-11-30T17:40:27Z"));
    }
}
