//! Unknown keys: finds what was meant by them, if possible.
//!
//! Pure. The known keys are those that the sections of this file were asked for, so they are not listed a second time.
//! No value is looked at: it may be a secret.

use std::collections::{BTreeMap, BTreeSet};

use crate::output::{NAME_TOLD_MAX, nearest};

/// The keys that each table may have, by the table's name without numbers; the root's name is empty.
pub(super) type Known = BTreeMap<String, BTreeSet<&'static str>>;

/// A key that no code asked for.
#[derive(Debug)]
pub(super) struct Unknown {
    /// The name of its table, with numbers.
    pub(super) table: String,
    pub(super) key: String,
    pub(super) line: Option<usize>,
}

impl Unknown {
    /// Its name with those of the tables above it, and the message about it.
    pub(super) fn problem(&self, known: &Known) -> (String, String) {
        let key = if self.key.chars().count() <= NAME_TOLD_MAX {
            self.key.escape_debug().to_string()
        } else {
            format!("a key of {} characters", self.key.chars().count())
        };
        let name = if self.table.is_empty() { key } else { format!("{}.{key}", self.table) };
        let table = without_numbers(&self.table);
        let here = known.get(&table);
        let listed: Vec<_> = here.into_iter().flatten().copied().collect();
        let text = format!("is not a known key{}; known keys here: {}", self.hint(&table, known), listed.join(", "));
        (name, text)
    }

    fn hint(&self, table: &str, known: &Known) -> String {
        let homes: Vec<_> = known.iter().filter(|(_, keys)| keys.contains(&*self.key)).map(|(home, _)| home).collect();
        if !homes.is_empty() {
            return format!(" here; it belongs {}", belongs(&homes, known));
        }
        let here = known.get(table).into_iter().flatten().copied();
        if let Some(nearest) = nearest(&self.key, here) {
            return format!("; did you mean `{nearest}`?");
        }
        match nearest(&self.key, known.values().flatten().copied()) {
            Some(nearest) => {
                let homes: Vec<_> =
                    known.iter().filter(|(_, keys)| keys.contains(nearest)).map(|(home, _)| home).collect();
                format!("; did you mean `{nearest}`? It belongs {}", belongs(&homes, known))
            }
            None => String::new(),
        }
    }
}

fn belongs(homes: &[&String], known: &Known) -> String {
    // One table of each kind is enough: the root includes the tables below it.
    let place = |home: &str| match home {
        "" => "to the top of the file, before the first [table]: move it up".to_owned(),
        home if is_array(home, known) => {
            format!("under [[{home}]], before the next line that begins with a bracket: move it there")
        }
        home => format!("under [{home}]: move it there"),
    };
    let places: Vec<_> = homes.iter().map(|home| place(home)).collect();
    places.join(", or ")
}

/// Tables that may be an array. A signer is mostly one table.
fn is_array(table: &str, known: &Known) -> bool {
    let last = table.rsplit('.').next().unwrap_or(table);
    matches!(last, "tenant" | "issuer" | "tsa") && known.contains_key(table)
}

/// Removes numbers: `a[1].b` is one of the tables `a.b`.
pub(super) fn without_numbers(table: &str) -> String {
    let mut name = String::with_capacity(table.len());
    let mut within = false;
    for letter in table.chars() {
        match letter {
            '[' => within = true,
            ']' => within = false,
            _ if !within => name.push(letter),
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(table: &str, key: &str) -> String {
        let known = [
            ("", &["version", "state_dir", "validity", "http", "issuer"][..]),
            ("http", &["listen", "workers"]),
            ("issuer", &["certificate", "index", "crl"]),
            ("issuer.signer", &["certificate", "key"]),
        ];
        let known = known.map(|(table, keys)| (table.to_owned(), keys.iter().copied().collect()));
        let unknown = Unknown { table: table.into(), key: key.into(), line: None };
        let (name, text) = unknown.problem(&known.into_iter().collect());
        format!("{name}: {text}")
    }

    #[test]
    fn an_unknown_key_is_told_with_what_was_meant() {
        for (table, key, wanted) in [
            ("", "validty", "validty: is not a known key; did you mean `validity`?; known keys here: http, "),
            ("", "stateDir", "did you mean `state_dir`?"),
            ("", "state-dir", "did you mean `state_dir`?"),
            ("issuer", "indexx", "issuer.indexx: is not a known key; did you mean `index`?"),
            ("issuer[1]", "idnex", "did you mean `index`?"),
            (
                "http",
                "validity",
                "http.validity: is not a known key here; it belongs to the top of the file, before the first [table]: move it up",
            ),
            ("issuer[1]", "state_dir", "it belongs to the top of the file"),
            ("http", "validty", "did you mean `validity`? It belongs to the top of the file"),
            ("issuer", "listen", "it belongs under [http]: move it there"),
            ("", "key", "it belongs under [issuer.signer]: move it there"),
            (
                "",
                "certificate",
                "it belongs under [[issuer]], before the next line that begins with a bracket: move it there, or under [issuer.signer]",
            ),
            ("", "pin", "pin: is not a known key; known keys here"),
            ("", "zz", "zz: is not a known key; known keys here"),
        ] {
            let said = said(table, key);
            assert!(said.contains(wanted), "{table}.{key}: {said}");
        }
        let secret = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        assert!(!said("", secret).contains(&secret[..20]), "{}", said("", secret));
    }
}
