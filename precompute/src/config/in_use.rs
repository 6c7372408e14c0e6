//! The text of the configuration in use.
//!
//! Purpose: what the configuration names may be opened anew without reading the file, which somebody may be editing.
//! Invariant: a text is in use once it was taken, not when it was read. It does not know what it says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Document;

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

    /// What was read last was taken.
    pub fn taken(&self) {
        let mut texts = self.texts();
        if texts.read.is_some() {
            texts.in_use = texts.read.take();
        }
    }

    /// The text in use.
    pub fn get(&self) -> Option<Arc<Document>> {
        self.texts().in_use.clone()
    }
}
