//! Metrics of the journal, and of the record of OCSP transactions.

use std::{fmt, sync::Arc};

use prometheus_client::encoding::DescriptorEncoder;

use super::{
    Part, Status,
    encode::{Labels, counters, gauge},
};
use crate::journal::JournalStatus;

/// How they fare; nothing of one that is not kept.
pub fn journal(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| {
        if let Some(journal) = status.journal.get() {
            let state = journal.status();
            encode(encoder, "journal", "the journal", &state)?;
            gauge(encoder, "journal_last_head_seconds", "When the journal was last signed, Unix time", state.head)?;
        }
        match status.transactions.get() {
            Some(record) => encode(encoder, "ocsp_record", "the record of OCSP transactions", &record.status()),
            None => Ok(()),
        }
    })
}

fn encode(encoder: &mut DescriptorEncoder<'_>, name: &str, title: &str, state: &JournalStatus) -> fmt::Result {
    for (what, help, value) in [
        ("lines", format!("Lines written into {title}"), state.written),
        ("lost", format!("Lines that are missing in {title}"), state.lost),
        ("failures", format!("How often {title} could not be written, opened or renamed"), state.failures),
        ("rotations", format!("Rotated files of {title}"), state.rotations),
    ] {
        counters(encoder, &format!("{name}_{what}"), &help, vec![(Labels::new(), value)])?;
    }
    let help = format!("Whether {title} cannot be written now, or was tampered with before the start");
    gauge(encoder, &format!("{name}_faulty"), &help, u64::from(state.problem.is_some()))
}
