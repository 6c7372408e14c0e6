//! How far a command is with records, on a terminal.
//!
//! Invariant: nothing is shown elsewhere, so the output of a job by night has no control characters. It does not know what
//! is counted.

use std::io::{IsTerminal as _, stderr};

use indicatif::{HumanCount, ProgressBar};

/// Ends when it is dropped.
pub(super) struct Bar {
    done: &'static str,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// `done`: what has become of the records.
    pub(super) fn new(done: &'static str) -> Self {
        Self { done, bar: stderr().is_terminal().then(ProgressBar::new_spinner) }
    }

    /// So many records, of how many if that is known.
    pub(super) fn show(&mut self, records: u64, of: Option<u64>) {
        if let Some(bar) = &self.bar {
            let of = of.map_or(String::new(), |of| format!(" of {}", HumanCount(of)));
            bar.set_message(format!("{}{of} records {}", HumanCount(records), self.done));
            bar.tick();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
