//! The members of a JSON object, each of which has to be known and to be there once.
//!
//! Purpose: a request that says something which this program would not heed is refused, by the name of the member and
//! with the nearest known one. It does not know what the members mean.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::{Kind, Problem};
use crate::{
    output::nearest,
    pki::{
        Reason,
        written::{self, excerpt},
    },
};

/// An object, with its members in the order of the text.
#[derive(Debug)]
pub(crate) struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl Members {
    /// Reads an object, which is `whole` of something, for the message; `such_as`: an example. A member that is `null`
    /// counts as absent.
    pub(crate) fn read(json: &[u8], whole: &str, such_as: &str) -> Result<Self, Problem> {
        // Some programs begin a file with a byte order mark, which a reader may ignore (RFC 8259 section 8.1).
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let read: Result<Self, _> = serde_json::from_slice(json);
        let mut members = read.map_err(|error| {
            // The library's message may quote what it found.
            let place = format!("line {} column {}", error.line(), error.column());
            let what = match error.classify() {
                serde_json::error::Category::Eof => "ends early",
                serde_json::error::Category::Data => "is no JSON object",
                _ => "is no JSON",
            };
            Problem::new(
                Kind::BadRequest,
                format!("the {whole} {what} ({place}); expected an object such as {such_as}"),
            )
        })?;
        for (place, (name, _)) in members.0.iter().enumerate() {
            if members.0[..place].iter().any(|(other, _)| other == name) {
                return Err(Problem::new(Kind::BadRequest, format!("the member {} is there twice", excerpt(name))));
            }
        }
        members.0.retain(|(_, value)| !value.is_null());
        Ok(members)
    }

    /// All of them.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0.into_iter().collect()
    }

    /// Takes a member.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Takes a reason by its name, or by the number of its code as ACME and others send it.
    pub(super) fn reason(&mut self) -> Result<Option<Reason>, Problem> {
        let text = match self.take("reason") {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(Value::Number(code)) => code.to_string(),
            Some(other) => {
                let what = format_args!("is {}; expected a name such as \"keyCompromise\"", kind_of(&other));
                return Err(Problem::of_member("reason", what));
            }
        };
        let reason = written::reason(&text).map_err(|what| Problem::of_member("reason", format_args!("is {what}")))?;
        Ok(Some(reason))
    }

    /// Takes a string.
    pub(super) fn text(&mut self, name: &'static str, expected: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Problem::of_member(name, format_args!("is {}; expected {expected}", kind_of(&other)))),
        }
    }

    /// Refuses what was not taken. `known`: what may be there; `here` names the place, for the message.
    pub(super) fn finish(self, known: &[&'static str], here: &str) -> Result<(), Problem> {
        let Some((name, _)) = self.0.into_iter().next() else { return Ok(()) };
        let hint = match nearest(&name, known.iter().copied()) {
            Some(nearest) => format!("; did you mean `{nearest}`?"),
            None => ".".to_owned(),
        };
        let detail = format!("{} is no member of {here}{hint} Known here: {}", excerpt(&name), known.join(", "));
        Err(Problem::new(Kind::BadRequest, detail).with("member", name.chars().take(64).collect::<String>()))
    }
}

/// What a value is, for messages.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        for (json, words) in [
            ("", "the body ends early (line 1 column 0); expected an object"),
            ("{\"serial\":", "the body ends early"),
            ("[1]", "the body is no JSON object"),
            ("\"a\"", "the body is no JSON object"),
            ("serial=0A", "the body is no JSON (line 1 column 1)"),
            ("{\"a\":1,\"b\":2,\"a\":3}", "the member `a` is there twice"),
            ("{\"a\":1} x", "the body is no JSON"),
            (&"[".repeat(10_000), "the body is no JSON"),
        ] {
            let problem = Members::read(json.as_bytes(), "body", "{}").unwrap_err();
            assert!(problem.detail.contains(words), "{json}: {}", problem.detail);
        }
    }

    #[test]
    fn an_unknown_member_is_refused_with_the_nearest_known_one() {
        for (json, words) in [
            ("{\"serail\":1}", "`serail` is no member of revoke; did you mean `serial`? Known here: serial, reason"),
            ("{\"Reason\":1}", "did you mean `reason`?"),
            ("{\"colour\":1}", "`colour` is no member of revoke. Known here: serial, reason"),
        ] {
            let members = Members::read(json.as_bytes(), "body", "{}").unwrap();
            let problem = members.finish(&["serial", "reason"], "revoke").unwrap_err();
            assert!(problem.detail.contains(words), "{json}: {}", problem.detail);
        }
        let mut members = Members::read(b"\xef\xbb\xbf{\"serial\":\"0A\",\"reason\":null}", "body", "{}").unwrap();
        assert_eq!(members.text("serial", "a string").unwrap().as_deref(), Some("0A"));
        members.finish(&["serial"], "add").unwrap();
    }
}
