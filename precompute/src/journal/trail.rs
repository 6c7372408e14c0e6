//! The journal of the service: what happens to it, told from wherever it happens.
//!
//! Purpose: administrative actions, changed configurations, revocations by sources, changes of leadership, of the clock, of
//! signers and of certificates. Invariant: like the log, it is one for the process, whoever tells does not know whether it is kept,
//! and nobody waits for it. No secret is told: values are names, serial numbers and outcomes. It does not know what happens.

use std::{
    convert::Infallible,
    fmt::{Display, Write as _},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{Identity, Journal, Kind, Notes, Options, members::Text, start};
use crate::pki::FileError;

/// What kind of journal it is.
pub const KIND: Kind = Kind { name: "service", title: "the journal" };

static NOTES: RwLock<Option<Notes>> = RwLock::new(None);
static IS_KEPT: AtomicBool = AtomicBool::new(false);

/// Whether anybody keeps what is told: for those who would have to gather it first.
pub fn is_kept() -> bool {
    IS_KEPT.load(Relaxed)
}

/// Tells an event. `what`: its type; `write` adds members.
pub fn tell(what: &str, write: impl FnOnce(Event) -> Event) {
    if !is_kept() {
        return;
    }
    let notes = NOTES.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(notes) = &*notes {
        notes.note(write(Event::new(what)).0);
    }
}

/// What is told.
#[derive(Clone, Debug)]
pub struct Event(String);

impl Event {
    fn new(what: &str) -> Self {
        Self(format!("\"type\":{}", Text(what)))
    }

    /// A text.
    #[must_use]
    pub fn text(mut self, name: &str, value: impl Display) -> Self {
        // Writing to a String never fails.
        let _ = write!(self.0, ",{}:{}", Text(name), Text(&value.to_string()));
        self
    }

    /// A text, if there is one.
    #[must_use]
    pub fn optional(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A number.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        let _ = write!(self.0, ",{}:{value}", Text(name));
        self
    }

    /// A list of texts.
    #[must_use]
    pub fn list(mut self, name: &str, values: impl IntoIterator<Item = impl Display>) -> Self {
        let values: Vec<_> = values.into_iter().map(|value| Text(&value.to_string()).to_string()).collect();
        let _ = write!(self.0, ",{}:[{}]", Text(name), values.join(","));
        self
    }
}

/// Keeps what is told until it is dropped; the start and the end of the process are told first and last.
#[derive(Debug)]
pub struct Trail {
    journal: Arc<Journal>,
    command: &'static str,
}

impl Trail {
    /// From now on; nothing is kept without `options`. `command`: of this process; `configuration`: SHA-256 of its file, in
    /// hexadecimal.
    pub fn begin(
        identity: &Identity,
        options: Option<Options>,
        command: &'static str,
        configuration: Option<String>,
    ) -> Result<Option<Self>, FileError> {
        let Some(options) = options else { return Ok(None) };
        let (journal, _) = start::<Infallible>(identity, KIND, options, 0)?;
        *NOTES.write().unwrap_or_else(PoisonError::into_inner) = Some(journal.notes());
        IS_KEPT.store(true, Relaxed);
        tell("start", |event| {
            let event = event.text("command", command).text("version", env!("CARGO_PKG_VERSION"));
            event.number("pid", std::process::id().into()).optional("configuration", configuration)
        });
        Ok(Some(Self { journal: Arc::new(journal), command }))
    }

    /// What keeps it.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        tell("stop", |event| event.text("command", self.command));
        IS_KEPT.store(false, Relaxed);
        *NOTES.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.journal.finish();
    }
}
