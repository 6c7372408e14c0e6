//! The text of the configuration in use.
//!
//! Purpose: what the configuration names may be opened anew without reading the file, which somebody may be editing.
//! Invariant: a text is in use once it was taken, not when it was read. It does not know what it says.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Document;
use crate::{journal::trail, limits};

/// What differs between two texts, without any value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// SHA-256 of the file that counts from now on, in hexadecimal.
    pub digest: String,
    /// Keys that were added, removed or changed, such as `tenant[0].issuer[1].index`; a few of them.
    pub keys: Vec<String>,
}

impl Change {
    /// Tells the journal, if it is one.
    pub fn tell(&self) {
        if !self.keys.is_empty() {
            trail::tell("configuration", |event| event.text("digest", &self.digest).list("keys", &self.keys));
        }
    }
}

/// The text in use, and the one that was read last. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct InUse(Arc<Mutex<Texts>>);

#[derive(Default, Debug)]
struct Texts {
    read: Option<Arc<Document>>,
    in_use: Option<Arc<Document>>,
}

impl InUse {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was read; the first is in use from then on.
    pub fn read(&self, document: Document) -> Arc<Document> {
        let document = Arc::new(document);
        let mut texts = self.texts();
        texts.in_use.get_or_insert_with(|| Arc::clone(&document));
        texts.read = Some(Arc::clone(&document));
        document
    }

    /// What was read last was taken. What changed by it, if that was read at all.
    pub fn taken(&self) -> Option<Change> {
        let mut texts = self.texts();
        let read = texts.read.take()?;
        let former = texts.in_use.replace(Arc::clone(&read));
        let mut keys = BTreeSet::new();
        if let Some(former) = former {
            differing(&former.tables(), &read.tables(), "", &mut keys);
        }
        Some(Change { digest: read.digest(), keys: keys.into_iter().take(limits::journal::KEYS_MAX).collect() })
    }

    /// SHA-256 of the text in use, in hexadecimal.
    pub fn digest(&self) -> Option<String> {
        self.get().map(|document| document.digest())
    }

    /// The text in use.
    pub fn get(&self) -> Option<Arc<Document>> {
        self.texts().in_use.clone()
    }
}

/// The paths of what differs, in order; so many of them.
pub fn differences(former: &toml::Table, now: &toml::Table, most: usize) -> Vec<String> {
    let mut keys = BTreeSet::new();
    differing(former, now, "", &mut keys);
    keys.into_iter().take(most).collect()
}

/// Adds the paths of what differs.
fn differing(former: &toml::Table, now: &toml::Table, above: &str, keys: &mut BTreeSet<String>) {
    for key in former.keys().chain(now.keys()) {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        compare(former.get(key), now.get(key), path, keys);
    }
}

fn compare(former: Option<&toml::Value>, now: Option<&toml::Value>, path: String, keys: &mut BTreeSet<String>) {
    use toml::Value::{Array, Table};
    match (former, now) {
        (former, now) if former == now => {}
        (Some(Table(former)), Some(Table(now))) => differing(former, now, &path, keys),
        (Some(Array(former)), Some(Array(now))) if former.iter().chain(now).any(toml::Value::is_table) => {
            for at in 0..former.len().max(now.len()) {
                compare(former.get(at), now.get(at), format!("{path}[{at}]"), keys);
            }
        }
        _ => {
            keys.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_change_names_keys_and_no_value() {
        let in_use = InUse::default();
        let read = |text: &str| {
            in_use.read(Document::from_text(Path::new("ostia.toml"), text));
            in_use.taken()
        };
        let first = "version = 1\nstate_dir = \"a\"\n[[tenant]]\nname = \"t\"\n[[tenant.issuer]]\ncrl = \"x\"\n";
        assert_eq!(read(first).unwrap().keys, [""; 0]);
        let second = "version = 1\n[http]\nworkers = 2\n[[tenant]]\nname = \"t\"\n[[tenant.issuer]]\ncrl = \"hunter2\"\n[[tenant]]\nname = \"u\"\n";
        let change = read(second).unwrap();
        assert_eq!(change.keys, ["http", "state_dir", "tenant[0].issuer[0].crl", "tenant[1]"]);
        // As sha256sum says.
        let digest =
            crate::pki::hex::text(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, second.as_bytes()).as_ref());
        assert_eq!((&change.digest, in_use.digest().as_ref()), (&digest, Some(&digest)));
        assert_eq!(in_use.taken(), None, "nothing was read since");
    }
}
