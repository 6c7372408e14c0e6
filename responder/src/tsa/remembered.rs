//! What is known of the clock's past, kept across restarts.
//!
//! Purpose: a measurement from before the clock was set must not count, even after kill -9 and a start. The file says
//! which measurement was the latest, and the differences between wall clock and monotonic clock since before it; a
//! start compares. Invariant: what the file says about a measurement is true whenever it was written, so an old file
//! costs waiting and never causes trust. Without a file, or if it is about another source or measurement, no
//! measurement from before the start counts. After a reboot the monotonic clock restarts, so the difference is another.
//! It does not know policies.

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use precompute::pki::FileError;
use tracing::warn;

use super::{
    clock::{ClockSource, History},
    note,
};
use crate::limits;

/// In the state directory.
const FILE: &str = "clock";

/// For people who read the file.
const HEADING: &str = "# Where this machine's clock was when its source measured it last, in nanoseconds. Without this file no \
     time-stamp is made after a start until the source has measured again.\n";

/// The note.
#[derive(Debug)]
pub struct Remembered {
    path: PathBuf,
    source: ClockSource,
    noted: Mutex<Option<History>>,
}

impl Remembered {
    /// What another process left. If it cannot be read, nothing is known, and waiting does no harm.
    pub fn open(state_dir: &Path, source: ClockSource) -> (Self, History) {
        let path = state_dir.join(FILE);
        let noted = if Self::is_for(source) { read(&path, source) } else { None };
        (Self { path, source, noted: Mutex::new(noted) }, noted.unwrap_or_default())
    }

    /// Whether a source needs it: the kernel notices itself when the clock is set, and an unchecked clock has no
    /// source.
    fn is_for(source: ClockSource) -> bool {
        matches!(source, ClockSource::Chrony(_))
    }

    /// Notes it, if it says more than the present note.
    pub fn note(&self, history: &History) -> Result<(), FileError> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !Self::is_for(self.source) || !history.says_more_than(noted.as_ref()) {
            return Ok(());
        }
        let text = format!("{HEADING}source {}\n{}", self.source, history.to_text());
        note::replace(&self.path, &text).map_err(|error| refusal(&self.path, &error))?;
        *noted = Some(*history);
        Ok(())
    }
}

/// The error for operators.
fn refusal(path: &Path, error: &io::Error) -> FileError {
    FileError::new(
        path,
        format_args!(
            "the state of the clock cannot be written there: {error}; after a restart no time-stamp is issued until the clock's source has measured again. This needs a `state_dir` that this process may write, with room on its disk and no directory by the name of `{FILE}` or `{FILE}.new`"
        ),
    )
}

fn read(path: &Path, source: ClockSource) -> Option<History> {
    let text = match note::read(path, limits::CLOCK_NOTE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tell(path, &error.to_string());
            return None;
        }
    };
    let Some((of, history)) = parse(&text) else {
        tell(path, "it is damaged");
        return None;
    };
    // Another daemon may have measured before this one.
    (of == source).then_some(history)
}

fn tell(path: &Path, problem: &str) {
    warn!(path = %path.display(), "the saved state of the clock cannot be read: {problem}; no time-stamp is issued until the clock's source has measured again, and the file is written anew");
}

fn parse(text: &str) -> Option<(ClockSource, History)> {
    let (source, history) = text.strip_prefix(HEADING)?.strip_prefix("source ")?.split_once('\n')?;
    Some((ClockSource::from_str(source).ok()?, History::from_text(history)?))
}

#[cfg(test)]
mod tests;
