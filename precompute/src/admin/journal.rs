//! Metrics of the journal.

use std::sync::Arc;

use super::{
    Part, Status,
    encode::{Labels, counters, gauge},
};

/// How the journal fares; nothing where none is kept.
pub fn journal(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| {
        let Some(state) = status.journal.get().map(|journal| journal.status()) else { return Ok(()) };
        for (name, help, value) in [
            ("journal_lines", "Lines written into the journal", state.written),
            ("journal_lost", "Events that are missing in the journal", state.lost),
            ("journal_failures", "How often the journal could not be written, opened or renamed", state.failures),
            ("journal_rotations", "Rotated files of the journal", state.rotations),
        ] {
            counters(encoder, name, help, vec![(Labels::new(), value)])?;
        }
        let help = "Whether the journal cannot be written now, or was tampered with before the start";
        gauge(encoder, "journal_faulty", help, u64::from(state.problem.is_some()))?;
        gauge(encoder, "journal_last_head_seconds", "When the journal was last signed, Unix time", state.head)
    })
}
