//! Lines of the journal as the page shows them, and what came of verifying it, in words.
//!
//! Pure: it does not know files, nor which lines somebody may read. The API does.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::pages::JournalLine;

/// `GET /v1/audit`.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct Lines {
    /// The newest first.
    lines: Vec<Map<String, Value>>,
    /// The number before which there may be older ones.
    pub(super) before: Option<u64>,
    /// What came of verifying the whole journal, where that was asked for.
    pub(super) verified: Option<Verified>,
}

/// What was found by verifying. Who may not audit the whole service is told no more than the first two.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct Verified {
    pub(super) in_order: bool,
    last_head: Option<String>,
    #[serde(default)]
    lines: Option<u64>,
    #[serde(default)]
    heads: Option<u64>,
    #[serde(default)]
    behind_head: Option<u64>,
    #[serde(default)]
    faults: Vec<String>,
}

/// Members that a reader does not need: they are in each line, or are for who verifies.
const PASSED_OVER: [&str; 8] = ["server", "seq", "at", "salt", "prev", "type", "signature", "format"];

impl Lines {
    /// As the page has them.
    pub(super) fn shown(&self) -> Vec<JournalLine> {
        self.lines.iter().map(shown).collect()
    }
}

impl Verified {
    /// For people.
    pub(super) fn words(&self) -> String {
        if !self.in_order {
            let first = self.faults.first().map(|first| format!(" The first fault: {first}."));
            return format!("It was changed after it was written.{}", first.unwrap_or_default());
        }
        let last = self.last_head.as_deref().unwrap_or("none");
        let (Some(lines), Some(heads), Some(behind)) = (self.lines, self.heads, self.behind_head) else {
            return format!("The whole journal is as it was written. It was last signed at {last}.");
        };
        format!(
            "{lines} lines fit each other and the key of this server: {heads} signatures, the last of {last}; {behind} lines behind it are not vouched for yet."
        )
    }
}

fn shown(members: &Map<String, Value>) -> JournalLine {
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
        number: member("seq"),
        time,
        what: member("type"),
        members: rest.map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_what_is_for_verifying_alone() {
        let answer = r#"{"lines":[{"server":"s","seq":6,"at":"2026-11-30T17:40:27.123456Z","salt":"9f","prev":"04",
            "type":"revoked","tenant":"acme","serials":["0C","0A1B"],"more":3}],"before":6,"verified":null}"#;
        let lines: Lines = serde_json::from_str(answer).unwrap();
        let shown = lines.shown();
        let members = [("more", "3"), ("serials", "0C, 0A1B"), ("tenant", "acme")];
        assert_eq!(shown[0].members, members.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let JournalLine { number, what, time, .. } = &shown[0];
        assert_eq!([number, what, time], ["6", "revoked", "2026-11-30T17:40:27Z"]);
        assert!(lines.before == Some(6) && lines.verified.is_none());
    }

    #[test]
    fn what_was_verified_is_told_with_as_much_as_the_reader_may_know() {
        let words = |text: &str| serde_json::from_str::<Verified>(text).unwrap().words();
        let all = words(r#"{"in_order":true,"last_head":"T","lines":9,"heads":2,"behind_head":1,"faults":[]}"#);
        assert!(all.starts_with("9 lines fit") && all.contains("2 signatures, the last of T; 1 lines behind"), "{all}");
        let own = words(r#"{"in_order":true,"last_head":null}"#);
        assert!(own.ends_with("last signed at none."), "{own}");
        let changed = words(r#"{"in_order":false,"last_head":"T","lines":9,"faults":["journal:3: changed"]}"#);
        assert!(changed.ends_with("The first fault: journal:3: changed."), "{changed}");
        assert_eq!(words(r#"{"in_order":false,"last_head":"T"}"#), "It was changed after it was written.");
    }
}
