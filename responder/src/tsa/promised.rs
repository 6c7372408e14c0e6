//! The accuracies of authorities whose tokens are ordered by genTime, kept across restarts.
//!
//! Purpose: a token may be ahead of UTC by the accuracy it was made under, and a later token, made by a clock that is
//! behind, must not be earlier. So after a start no token is made for as long as both accuracies together; the old one
//! is in the state directory. Invariant: the stored accuracy of a name is at least that of any token that may still be
//! ahead of UTC; a name without an entry may have had the largest accuracy that can be configured. So the entry is
//! raised, on disk, before the first token, and lowered only when all older tokens are past. Time is a parameter. It
//! does not know clocks.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use precompute::pki::{FileError, hex};
use tracing::warn;

use super::note;
use crate::limits;

/// In the state directory.
const FILE: &str = "ordering";

/// For people who read the file.
const HEADING: &str = "# What time-stamping authorities with `ordering = true` promised last: microseconds of accuracy, and the SHA-256 of \
     their name. Without a line an authority waits for a minute longer after a start.\n";

/// The notes about every name.
#[derive(Debug)]
pub struct Promised {
    path: PathBuf,
    noted: Mutex<BTreeMap<Name, Note>>,
}

/// The name of an authority: SHA-256 of the GeneralName in its tokens, in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name(String);

/// The note about one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Note {
    /// The value in the file.
    accuracy: Duration,
    /// What is promised now, and since when; `None` if another process promised it.
    now: Option<(Duration, Instant)>,
}

impl Name {
    /// From a whole GeneralName, DER.
    pub fn of(general_name: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, general_name);
        Self(hex::text(digest.as_ref()))
    }
}

impl Promised {
    /// What another process left. If it cannot be read, nothing is known, and the longer wait does no harm.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let noted = match note::read(&path, limits::PROMISES_OCTETS_MAX) {
            Ok(text) => parse(&text).ok_or_else(|| "it is damaged".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error.to_string()),
        };
        let noted = noted.unwrap_or_else(|problem| {
            warn!(path = %path.display(), "the former accuracies cannot be read: {problem}; time-stamping authorities with `ordering` wait for a minute longer, and the file is written anew");
            BTreeMap::new()
        });
        Self { path, noted: Mutex::new(noted) }
    }

    /// Why it could not be noted in the directory, if it could not; the check leaves no trace.
    pub fn check(state_dir: &Path) -> Result<(), FileError> {
        let path = state_dir.join(FILE);
        // Anything else with these names is removed.
        match note::in_the_way(&path) {
            Some(place) => Err(refusal(&place, &io::ErrorKind::IsADirectory.into())),
            None => Ok(()),
        }
    }

    /// How far a token of this name may be ahead of UTC.
    pub fn former(&self, name: &Name) -> Duration {
        self.lock().get(name).map_or(*limits::CLOCK_ACCURACY_RANGE.end(), |note| note.accuracy)
    }

    /// From now on exactly these are promised; on disk when it returns.
    pub fn promise(&self, promises: &[(Name, Duration)], at: Instant) -> Result<(), FileError> {
        let mut noted = self.lock();
        let raised = promises.iter().map(|(name, accuracy)| {
            let former = noted.get(name);
            // If nothing is known, nothing smaller is noted before that time has passed.
            let before = former.map_or(*limits::CLOCK_ACCURACY_RANGE.end(), |note| note.accuracy);
            let since = former.and_then(|note| note.now).filter(|(same, _)| same == accuracy).map_or(at, |now| now.1);
            (name.clone(), Note { accuracy: before.max(*accuracy), now: Some((*accuracy, since)) })
        });
        let raised = raised.collect();
        self.replace(&mut noted, raised)
    }

    /// Lowers entries whose time has passed: for tokens made under the noted accuracy, and those that were being made
    /// when less was promised.
    pub fn settle(&self, at: Instant) -> Result<(), FileError> {
        let mut noted = self.lock();
        let mut settled = noted.clone();
        for note in settled.values_mut() {
            if let Some((accuracy, since)) = note.now
                && at.saturating_duration_since(since) > note.accuracy + accuracy + limits::MISS_DEADLINE
            {
                note.accuracy = accuracy;
            }
        }
        self.replace(&mut noted, settled)
    }

    fn replace(&self, noted: &mut BTreeMap<Name, Note>, by: BTreeMap<Name, Note>) -> Result<(), FileError> {
        let (before, after) = (text(noted), text(&by));
        if before != after {
            note::replace(&self.path, &after).map_err(|error| refusal(&self.path, &error))?;
        }
        *noted = by;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Note>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error for operators.
fn refusal(path: &Path, error: &io::Error) -> FileError {
    FileError::new(
        path,
        format_args!(
            "the accuracies of time-stamping authorities with `ordering` cannot be written there: {error}; this needs a `state_dir` that this process may write, with room on its disk and no directory by the name of `{FILE}` or `{FILE}.new`"
        ),
    )
}

fn text(noted: &BTreeMap<Name, Note>) -> String {
    let line = |(name, note): (&Name, &Note)| format!("{} {}\n", note.accuracy.as_micros(), name.0);
    std::iter::once(HEADING.to_owned()).chain(noted.iter().map(line)).collect()
}

/// `None` if it was not written by this program: a missing line is safe, a line that says too little is not.
fn parse(text: &str) -> Option<BTreeMap<Name, Note>> {
    let mut noted = BTreeMap::new();
    for line in text.strip_suffix('\n')?.split('\n').filter(|line| !line.starts_with('#')) {
        let (accuracy, name) = line.split_once(' ')?;
        let accuracy = Duration::from_micros(accuracy.parse().ok()?);
        let is_name = name.len() == 64 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_name || !limits::CLOCK_ACCURACY_RANGE.contains(&accuracy) {
            return None;
        }
        noted.insert(Name(name.to_owned()), Note { accuracy, now: None });
    }
    Some(noted)
}

#[cfg(test)]
mod tests;
