//! Whether a read gets on, so that whoever waits for it can tell a long list from a source that hangs.
//!
//! Invariant: while files are read it changes with every line, and with nothing else; what comes after that, in memory and
//! in the book, is never taken for a source that hangs. It does not know what is read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How far one reader is.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

/// In place of a number of lines.
const NOTHING_LEFT: u64 = u64::MAX;

impl Progress {
    /// Files are read from now on, by the only thread that does.
    pub(super) fn begin(&self) {
        self.0.store(0, Relaxed);
    }

    /// A line was read.
    pub(super) fn step(&self) {
        self.0.store(self.0.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// No file is read any more.
    pub(super) fn end(&self) {
        self.0.store(NOTHING_LEFT, Relaxed);
    }

    /// Lines read so far; `None` while no file is being read.
    pub(super) fn lines(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|lines| *lines != NOTHING_LEFT)
    }
}
