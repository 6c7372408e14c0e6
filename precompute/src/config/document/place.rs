//! The place of a table in the file, kept with the values that were read from it; and the problems of the file.
//!
//! Purpose: a fault that is found later, such as a key that does not match its certificate, is reported as if it had
//! been found while the file was read: with line and key, among all other problems. It does not know what the keys
//! mean.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{ConfigError, error::Problem};
use crate::output::may_be_secret;

/// The place of a table in the file, and of each of its keys. All places are equal: a value does not change when it
/// moves.
#[derive(Clone, Default)]
pub struct Place {
    /// Its name with those of the tables above it; empty for the root.
    pub(super) name: String,
    /// Offset in the text; `None` for the root.
    pub(super) start: Option<usize>,
    /// Offsets of its keys.
    pub(super) keys: BTreeMap<Box<str>, usize>,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.name)
    }
}

impl Place {
    /// Whether the file has the key.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }
}

/// All problems of a file, collected until every check has run.
pub struct Problems {
    path: PathBuf,
    /// Offsets of the line starts.
    lines: Vec<usize>,
    is_checked: bool,
    list: RefCell<Vec<Problem>>,
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Problems({}, {})", self.path.display(), self.list.borrow().len())
    }
}

impl Problems {
    pub(super) fn new(path: &Path, text: &str, is_checked: bool) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { path: path.to_owned(), lines, is_checked, list: RefCell::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path as written, relative to the file's directory.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// For problems of a table.
    pub fn at<'p>(&'p self, place: &'p Place) -> At<'p> {
        At { problems: self, place }
    }

    /// The line of an offset, from 1 on.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset).max(1)
    }

    pub(super) fn add(&self, problem: Problem) {
        self.list.borrow_mut().push(problem);
    }

    pub(super) fn some(&self, is_it: impl Fn(&Problem) -> bool) -> bool {
        self.list.borrow().iter().any(is_it)
    }

    /// Notes a problem of a key, at its offset, in its table.
    pub(super) fn note(&self, key: Named<'_>, text: impl fmt::Display, may_pass: bool) {
        let line = key.offset.map(|offset| self.line(offset));
        self.add(Problem { line, key: Some(key.name()), text: text.to_string(), may_pass });
    }

    pub(super) fn note_that_may_pass(&self, key: Named<'_>, text: impl fmt::Display) -> bool {
        if self.is_checked {
            self.note(key, text, true);
        }
        self.is_checked
    }

    pub(super) fn note_where_checked(&self, key: Named<'_>, text: impl fmt::Display) {
        if self.is_checked { self.note(key, text, false) } else { self.warn(key, text) }
    }

    pub(super) fn warn(&self, key: Named<'_>, text: impl fmt::Display) {
        let (file, name) = (self.path.display(), key.name());
        let line = key.offset.map(|offset| self.line(offset));
        let place = line.map_or_else(|| format!("{file}: {name}"), |line| format!("{file}:{line}: {name}"));
        warn!(place, "{text}");
    }

    /// All of them, in the order of the file.
    pub(super) fn into_error(self) -> ConfigError {
        let mut problems = self.list.into_inner();
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() {
            problems.push(Problem::new(None, "is incomplete".into()));
        }
        ConfigError { path: self.path, problems }
    }
}

/// A key of a table, and its offset; the offset of the table if the key is absent.
#[derive(Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) table: &'n str,
    pub(super) key: &'n str,
    pub(super) offset: Option<usize>,
}

impl Named<'_> {
    /// The key with the names above it.
    fn name(&self) -> String {
        let key = if may_be_secret(self.key) { "…" } else { self.key };
        if self.table.is_empty() { key.to_owned() } else { format!("{}.{key}", self.table) }
    }
}

/// A table of the file, for problems that are found later.
#[derive(Clone, Copy, Debug)]
pub struct At<'p> {
    problems: &'p Problems,
    place: &'p Place,
}

impl<'p> At<'p> {
    fn named<'n>(&'n self, key: &'n str) -> Named<'n> {
        Named { table: &self.place.name, key, offset: self.place.keys.get(key).copied().or(self.place.start) }
    }

    /// Whether the file has the key.
    pub fn has(&self, key: &str) -> bool {
        self.place.has(key)
    }

    /// The line of `key`, or of the table if the key is absent; `None` for the root.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.named(key).offset.map(|offset| self.problems.line(offset))
    }

    /// Notes a problem of `key`, or of the table if the key is absent. `text` says what is wrong and what would be
    /// right.
    pub fn problem(&self, key: &str, text: impl fmt::Display) {
        self.problems.note(self.named(key), text, false);
    }

    /// The same for a problem that may be gone at the next try ([`ConfigError::may_pass`]). Returns whether it counts,
    /// which is so if the document is only checked.
    pub fn problem_that_may_pass(&self, key: &str, text: impl fmt::Display) -> bool {
        self.problems.note_that_may_pass(self.named(key), text)
    }

    /// Notes a problem that is over at a later time, or with the right time: it counts at a start as well, which is worth another
    /// try ([`ConfigError::may_pass`]).
    pub fn problem_for_now(&self, key: &str, text: impl fmt::Display) {
        self.problems.note(self.named(key), text, true);
    }

    /// Notes a problem of `key` that a start only warns of: an installation that has it goes on serving. If the document
    /// is only checked, it counts.
    pub fn problem_where_checked(&self, key: &str, text: impl fmt::Display) {
        self.problems.note_where_checked(self.named(key), text);
    }

    /// Logs a doubt about `key` that does not prevent a start: a warning with file, line and key.
    pub fn warning(&self, key: &str, text: impl fmt::Display) {
        self.problems.warn(self.named(key), text);
    }

    /// The value; an error becomes a problem of `key`.
    pub fn noted<T>(&self, key: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|error| self.problem(key, error)).ok()
    }
}
