//! A TOML file with the place of every key, and a reader that collects all problems.
//!
//! A [`Section`] is asked for the keys it may have; a key that was not asked for by the end is unknown. Every method
//! that reads a key returns `None` both for an absent key and for a wrong one (then the problem is noted).
//!
//! Invariant: no value that may be a secret gets into a message. It does not know what the keys mean.

mod error;
mod place;
mod syntax;
mod unknown;
mod values;

use std::{
    cell::RefCell,
    fmt, fs, io,
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

pub use self::{
    error::ConfigError,
    place::{At, Place, Problems},
    values::{in_words, quoted},
};
use self::{
    error::Problem,
    place::Named,
    unknown::{Known, Unknown},
    values::{Wanted, as_i64, as_share, examples_in_words, parse_duration, shown, strings},
};
use crate::{
    limits,
    ocsp::Share,
    output::{may_be_secret, nearest},
    pki::{UnixTime, hex, read_bounded, written},
    sign::pkcs11::Uri,
};

/// The text of a configuration file.
pub struct Document {
    path: PathBuf,
    text: String,
    is_checked: bool,
}

/// Without the text, which may be a key that was mistaken for a configuration.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({})", self.path.display())
    }
}

impl Document {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let fail = |text: String| ConfigError { path: path.to_owned(), problems: vec![Problem::new(None, text)] };
        // A pipe or a terminal is read as it comes.
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(fail("is a directory; name the file in it, such as ostia.toml".into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fail("does not exist; name the configuration file by `--config FILE`, by its place (`ostia-responder check FILE`) or by the variable OSTIA_CONFIG (`ostia-responder demo` makes one to begin with)".into()));
            }
            _ => {}
        }
        let octets = read_bounded(path, limits::CONFIG_FILE_OCTETS_MAX).map_err(|error| fail(error.problem))?;
        let text = syntax::text(octets, path).map_err(fail)?;
        // Paths in the file are relative to the file's directory, wherever the program was started.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, text, is_checked: false })
    }

    /// A document with this text, as if it were read from `path`.
    pub fn from_text(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), is_checked: false }
    }

    /// SHA-256 of the text, in hexadecimal.
    pub fn digest(&self) -> String {
        hex::text(digest(&SHA256, self.text.as_bytes()).as_ref())
    }

    /// What it says, if it is TOML.
    pub fn tables(&self) -> toml::Table {
        self.text.parse().unwrap_or_default()
    }

    /// The same document with more text behind it, whose paths are relative to the file's directory as well.
    #[must_use]
    pub fn followed_by(&self, text: &str) -> Self {
        let text = format!("{}\n\n{text}", self.text);
        Self { path: self.path.clone(), text, is_checked: self.is_checked }
    }

    /// How many lines it has.
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// An error that is about all of it.
    pub fn fault(&self, text: impl fmt::Display) -> ConfigError {
        ConfigError { path: self.path.clone(), problems: vec![Problem::new(None, text.to_string())] }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same document, but only checked: a fault that may pass by itself is a problem, too. Otherwise it is only
    /// logged, and the service runs without the affected part for now.
    #[must_use]
    pub fn to_be_checked(self) -> Self {
        Self { is_checked: true, ..self }
    }

    /// Reads the root section with `read`; an error reports every problem found.
    pub fn read<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, ConfigError> {
        self.reading(read).finish()
    }

    /// The same, for callers that look for more problems before any is reported.
    pub fn reading<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Reading<T> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        let notes = Notes {
            problems: Problems::new(&self.path, &self.text, self.is_checked),
            known: RefCell::default(),
            unknown: RefCell::default(),
        };
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = Some(notes.problems.line(span.start));
            // Further faults in the same line mostly have the same cause.
            if !notes.problems.some(|other| other.line == line) {
                let problem = syntax::problem(&self.text, &span, error.message());
                notes.problems.add(Problem::new(line, problem));
            }
            if syntax::confuses(&self.text, &span, error.message()) {
                break;
            }
        }
        // Reading a broken file would only add problems that do not exist.
        let value = if notes.problems.is_empty() {
            let mut section =
                Section { notes: &notes, name: String::new(), table: root.get_ref(), span: 0..0, asked: Vec::new() };
            read(&mut section)
        } else {
            None
        };
        let Notes { problems, known, unknown } = notes;
        let known = known.into_inner();
        for unknown in unknown.into_inner() {
            let (key, text) = unknown.problem(&known);
            problems.add(Problem { key: Some(key), ..Problem::new(unknown.line, text) });
        }
        Reading { value, problems }
    }
}

/// What was read from a file, whole or in part, with all problems found so far.
///
/// If there are problems, the value is only for callers that look for more: whatever is missing or wrong in it has been
/// noted, and is empty.
#[derive(Debug)]
pub struct Reading<T> {
    value: Option<T>,
    problems: Problems,
}

impl<T> Reading<T> {
    /// The value, as far as it could be read; `None` if the file is not TOML.
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The problems, to be added to.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// The same, with the result of a further look: `look` gets the value, and adds to the problems.
    pub fn with<U>(self, look: impl FnOnce(&T, &Problems) -> U) -> Reading<(T, U)> {
        let Self { value, problems } = self;
        let value = value.map(|value| {
            let more = look(&value, &problems);
            (value, more)
        });
        Reading { value, problems }
    }

    /// The value, if there are no problems; otherwise all problems.
    pub fn finish(self) -> Result<T, ConfigError> {
        match self.value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems.into_error()),
        }
    }
}

struct Notes {
    problems: Problems,
    /// The keys that each table of this file was asked for.
    known: RefCell<Known>,
    /// The keys that no code asked for.
    unknown: RefCell<Vec<Unknown>>,
}

/// A table of the file, while it is being read.
pub struct Section<'a> {
    notes: &'a Notes,
    /// Its name with those of the tables above it; empty for the root.
    name: String,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({})", self.name)
    }
}

impl<'a> Section<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Whether the file has the key. Messages about unknown keys list it as a known one, since it is only read if
    /// present.
    pub fn has(&self, key: &'static str) -> bool {
        let table = unknown::without_numbers(&self.name);
        self.notes.known.borrow_mut().entry(table).or_default().insert(key);
        self.table.contains_key(key)
    }

    /// How many tables the key holds: one, or those of an array. `None` if it is absent.
    pub fn count(&self, key: &str) -> Option<usize> {
        self.table.get(key).map(|value| value.get_ref().as_array().map_or(1, |array| array.len()))
    }

    /// Notes a problem of `key`, or of the section if the key is absent. `text` says what is wrong and what would be
    /// right.
    pub fn problem(&self, key: &str, text: impl fmt::Display) {
        self.notes.problems.note(self.named(key), text, false);
    }

    /// The same for a problem that may be gone at the next try ([`ConfigError::may_pass`]). Returns whether it counts,
    /// which is so if the document is only checked.
    pub fn problem_that_may_pass(&self, key: &str, text: impl fmt::Display) -> bool {
        self.notes.problems.note_that_may_pass(self.named(key), text)
    }

    /// Logs a doubt about `key` that does not prevent a start: a warning with file, line and key.
    pub fn warning(&self, key: &str, text: impl fmt::Display) {
        self.notes.problems.warn(self.named(key), text);
    }

    /// Its place in the file, for problems found later.
    pub fn place(&self) -> Place {
        let keys = self.table.iter().map(|(key, _)| (key.get_ref().as_ref().into(), key.span().start)).collect();
        Place { name: self.name.clone(), start: self.start(), keys }
    }

    fn start(&self) -> Option<usize> {
        (self.span.end > 0).then_some(self.span.start)
    }

    fn named<'n>(&'n self, key: &'n str) -> Named<'n> {
        let own = self.table.get_key_value(key).map(|(key, _)| key.span().start);
        Named { table: &self.name, key, offset: own.or_else(|| self.start()) }
    }

    /// A path as written, relative to the file's directory.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.notes.problems.resolve(path)
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: Wanted,
        in_words: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?.get_ref();
        if strings(value).is_some_and(|texts| texts.iter().any(|text| is_pasted(key, text))) {
            self.problem(
                key,
                "seems to be a key, a certificate or a PIN itself, and is not shown; write it into a file that only the service may read, and name that file",
            );
            return None;
        }
        let read = read(value);
        if read.is_none() {
            let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
            let hint = wanted.hint(&unknown::without_numbers(&name), value);
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            self.problem(key, format_args!("is {}; expected {in_words}{hint}", shown(value)));
        }
        read
    }

    /// A string.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, Wanted::Text, "a string", |value| Some(value.as_str()?.to_owned()))
    }

    /// An instant: a date and time of TOML, or a string or number as [`written::time`] reads it.
    pub fn instant(&mut self, key: &'static str) -> Option<UnixTime> {
        const WANTED: &str = "a time such as 2026-11-29T08:30:00Z, or seconds since 1970";
        let text = self.typed(key, Wanted::Other, WANTED, |value| match value {
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::Integer(_) => Some(as_i64(value)?.to_string()),
            _ => Some(value.as_str()?.to_owned()),
        })?;
        written::time(&text).map_err(|what| self.problem(key, format_args!("is {what}"))).ok()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, Wanted::Boolean, "true or false", |value| value.as_bool())
    }

    /// A whole number in `range`.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let wanted = if range.start() == range.end() {
            format!("{}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        let words = Wanted::Whole(range.clone());
        self.typed(key, words, &wanted, |value| as_i64(value).filter(|number| range.contains(number)))
    }

    /// A path; a relative one is relative to the file's directory.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.written_path(key).map(|(_, path)| path)
    }

    /// The same, and how it is written.
    pub fn written_path(&mut self, key: &'static str) -> Option<(String, PathBuf)> {
        let is_path = |text: &&str| !text.is_empty() && !text.contains("-----BEGIN");
        let path = self.typed(key, Wanted::Text, "a path", |value| Some(value.as_str().filter(is_path)?.to_owned()))?;
        let resolved = self.resolve(&path);
        Some((path, resolved))
    }

    /// A duration in `range`, written as a number with a unit: `us`, `ms`, `s`, `m`, `h` or `d`.
    pub fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (from, to) = (in_words(*range.start()), in_words(*range.end()));
        let wanted = format!("a duration from {from} to {to}, such as {}", examples_in_words(&range));
        self.typed(key, Wanted::Length(range.clone()), &wanted, |value| {
            parse_duration(value.as_str()?).filter(|duration| range.contains(duration))
        })
    }

    /// A part of a whole in `range`, written as a number such as 0.5.
    pub fn share(&mut self, key: &'static str, range: RangeInclusive<Share>) -> Option<Share> {
        let wanted = format!("a number from {} to {}, such as 0.5", range.start(), range.end());
        self.typed(key, Wanted::Share(range.clone()), &wanted, |value| {
            as_share(value).filter(|share| range.contains(share))
        })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let written = self.table.get(key).and_then(|value| value.get_ref().as_str());
        let meant = written.and_then(|text| nearest(text, choices.iter().map(|(word, _)| *word)));
        let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        let wanted = format!("one of {}{meant}", words.join(", "));
        self.typed(key, Wanted::Other, &wanted, |value| {
            let text = value.as_str()?;
            choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
        })
    }

    /// An address and port.
    pub fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        self.typed(key, Wanted::Other, ADDRESS, |value| value.as_str()?.parse().ok())
    }

    /// One or several addresses and ports.
    pub fn addresses(&mut self, key: &'static str) -> Option<Vec<SocketAddr>> {
        self.typed(key, Wanted::Other, &format!("a list of {ADDRESS}"), |value| {
            strings(value)?.iter().map(|text| text.parse().ok()).collect()
        })
    }

    /// A list of strings, or one string.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.texts(key, "a list of strings")
    }

    /// The same, called `in_words` where it is something else.
    pub fn texts(&mut self, key: &'static str, in_words: &str) -> Option<Vec<String>> {
        self.typed(key, Wanted::Text, in_words, strings)
    }

    /// A table below this one, read by `read`.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> Option<T>) -> Option<T> {
        let span = self.table.get_key_value(key).map_or(0..0, |(key, _)| key.span());
        let table = self.typed(key, Wanted::Table, "a table", |value| value.as_table())?;
        self.below(key.to_owned(), table, span, read)
    }

    /// The tables of an array (`[[key]]`), each read by `read`; tables with problems are left out.
    pub fn sections<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>) -> Option<T>) -> Vec<T> {
        match self.typed(key, Wanted::Tables, "an array of tables (`[[…]]`)", |value| value.as_array()) {
            Some(array) => self.tables(key, array, &mut read),
            None => Vec::new(),
        }
    }

    /// One table or an array of them, each read by `read`; tables with problems are left out.
    pub fn one_or_more<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>) -> Option<T>) -> Vec<T> {
        let wanted = "a table, or an array of tables";
        match self.typed(key, Wanted::Other, wanted, |value| (value.is_table() || value.is_array()).then_some(value)) {
            Some(DeValue::Array(array)) => self.tables(key, array, &mut read),
            Some(_) => self.section(key, read).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn tables<T>(
        &self,
        key: &str,
        array: &'a DeArray<'a>,
        read: &mut impl FnMut(&mut Section<'a>) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (number, element) in array.iter().enumerate() {
            let name = if array.len() > 1 { format!("{key}[{number}]") } else { key.to_owned() };
            match element.get_ref().as_table() {
                Some(table) => values.extend(self.below(name, table, element.span(), &mut *read)),
                None => self.problem(key, "is not an array of tables; write `[[…]]`"),
            }
        }
        values
    }

    fn below<T>(
        &self,
        key: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        read: impl FnOnce(&mut Section<'a>) -> Option<T>,
    ) -> Option<T> {
        let name = if self.name.is_empty() { key } else { format!("{}.{key}", self.name) };
        let mut section = Section { notes: self.notes, name, table, span, asked: Vec::new() };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Notes that other programs read these keys of the root.
    pub fn leave_to_others(&mut self, keys: &[&'static str]) {
        self.asked.extend_from_slice(keys);
    }

    /// Notes each key that no code asked for: a problem when everything is read.
    pub fn finish(&self) {
        let mut known = self.notes.known.borrow_mut();
        known.entry(unknown::without_numbers(&self.name)).or_default().extend(&self.asked);
        for (key, _) in self.table.iter() {
            let key: &str = key.get_ref();
            if !self.asked.contains(&key) {
                let line = self.named(key).offset.map(|offset| self.notes.problems.line(offset));
                let unknown = Unknown { table: self.name.clone(), key: key.to_owned(), line };
                self.notes.unknown.borrow_mut().push(unknown);
            }
        }
    }
}

/// Whether a value is the secret itself instead of its name. For a URI, its reader reports what is wrong.
fn is_pasted(key: &str, text: &str) -> bool {
    may_be_secret(text) && !(key == "key" && Uri::is_meant(text))
}

const ADDRESS: &str = "an address with a port, such as `127.0.0.1:8080` or `[::]:80`";

#[cfg(test)]
mod tests;
