//! A TOML file with the place of every key, and a reader that collects all problems.
//!
//! A [`Section`] is asked for the keys it may hold; what was not asked for when it ends is
//! an unknown key. Every asking method answers `None` both for a key that is absent and for one
//! that is wrong (then the problem is noted).

mod error;
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

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};
use tracing::warn;

pub use self::error::ConfigError;
use self::{
    error::Problem,
    unknown::{Known, Unknown},
    values::{Wanted, as_i64, examples_in_words, in_words, parse_duration, shown, strings},
};
use crate::{limits, output::may_be_secret, pki::read_bounded, sign::pkcs11::Uri};

/// The text of a configuration file.
pub struct Document {
    path: PathBuf,
    text: String,
    is_checked: bool,
}

/// Without the text, which may be a key that was taken for a configuration.
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
                return Err(fail("does not exist; name the configuration file by `--config FILE` (`ostia-responder demo` makes one to begin with)".into()));
            }
            _ => {}
        }
        let octets = read_bounded(path, limits::CONFIG_FILE_OCTETS_MAX).map_err(|error| fail(error.problem))?;
        let text = syntax::text(octets).map_err(fail)?;
        // Paths in the file are meant from the file's own place, wherever the program was started.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, text, is_checked: false })
    }

    /// A document with this text, as if it were read from `path`.
    pub fn from_text(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), is_checked: false }
    }

    /// The same for whoever only wants to know what is wrong: what may pass by itself is a problem, too. Else it is told
    /// by the log, and whoever serves does without it meanwhile.
    #[must_use]
    pub fn to_be_checked(self) -> Self {
        Self { is_checked: true, ..self }
    }

    /// Lets `read` take what it needs from the root section; an error tells every problem found.
    pub fn read<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, ConfigError> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        let notes = Notes {
            document: self,
            problems: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
        };
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = Some(self.line(&span));
            // What follows in the same line is mostly of the same cause.
            if notes.problems.borrow().iter().all(|other| other.line != line) {
                let problem = syntax::problem(&self.text, &span, error.message());
                notes.problems.borrow_mut().push(Problem::new(line, problem));
            }
            if syntax::confuses(&self.text, &span, error.message()) {
                break;
            }
        }
        // What is read of a broken file would only add problems that are none.
        let syntax_holds = notes.problems.borrow().is_empty();
        let value = if syntax_holds {
            let mut section =
                Section { notes: &notes, name: String::new(), table: root.get_ref(), span: 0..0, asked: Vec::new() };
            read(&mut section)
        } else {
            None
        };
        let (mut problems, known) = (notes.problems.into_inner(), notes.known.into_inner());
        let unknown = notes.unknown.into_inner();
        problems.extend(unknown.iter().map(|unknown| Problem::new(unknown.line, unknown.problem(&known))));
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems.sort_by_key(|problem| problem.line);
                if problems.is_empty() {
                    problems.push(Problem::new(None, "is incomplete".into()));
                }
                Err(ConfigError { path: self.path.clone(), problems })
            }
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        syntax::line_at(self.text.as_bytes(), span.start)
    }
}

struct Notes<'d> {
    document: &'d Document,
    problems: RefCell<Vec<Problem>>,
    /// Which keys the tables of this file were asked for.
    known: RefCell<Known>,
    /// What nobody asked for.
    unknown: RefCell<Vec<Unknown>>,
}

/// A table of the file, while it is being read.
pub struct Section<'a> {
    notes: &'a Notes<'a>,
    /// Its own name with the names above it; empty for the root.
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

    /// Whether the key stands in the file. Messages about unknown keys count it among the known ones, since it is read
    /// only where it stands.
    pub fn has(&self, key: &'static str) -> bool {
        let table = unknown::without_numbers(&self.name);
        self.notes.known.borrow_mut().entry(table).or_default().insert(key);
        self.table.contains_key(key)
    }

    /// How many tables the key holds: one, or those of an array. `None` where it does not stand in the file.
    pub fn count(&self, key: &str) -> Option<usize> {
        self.table.get(key).map(|value| value.get_ref().as_array().map_or(1, |array| array.len()))
    }

    /// A problem of `key`, or of the section where it is missing. `text` says what is wrong and
    /// what would be right.
    pub fn problem(&self, key: &str, text: impl fmt::Display) {
        self.note(key, text, false);
    }

    /// The same of one that may be gone at the next try ([`ConfigError::may_pass`]); whether it is one, because the
    /// document is only checked.
    pub fn problem_that_may_pass(&self, key: &str, text: impl fmt::Display) -> bool {
        if self.notes.document.is_checked {
            self.note(key, text, true);
        }
        self.notes.document.is_checked
    }

    /// Something doubtful of `key`, which keeps nobody from starting: a warning of the log, with file, line and key.
    pub fn warning(&self, key: &str, text: impl fmt::Display) {
        let (line, name) = self.place(key);
        let file = self.notes.document.path.display();
        let place = line.map_or_else(|| format!("{file}: {name}"), |line| format!("{file}:{line}: {name}"));
        warn!(place, "{text}");
    }

    fn note(&self, key: &str, text: impl fmt::Display, may_pass: bool) {
        let (line, name) = self.place(key);
        self.notes.problems.borrow_mut().push(Problem { line, text: format!("{name}: {text}"), may_pass });
    }

    /// The line of `key`, or of the section where it is missing, and its name with those above it.
    fn place(&self, key: &str) -> (Option<usize>, String) {
        let span = self.table.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span());
        let key = if may_be_secret(key) { "…" } else { key };
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        (Some(self.notes.document.line(&span)).filter(|_| span.end > 0), name)
    }

    /// A path as written, from the place of the file.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.notes.document.path.parent().unwrap_or(Path::new("")).join(path)
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

    /// A path; relative ones are meant from the place of the file.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let is_path = |text: &&str| !text.is_empty() && !text.contains("-----BEGIN");
        let path = self.typed(key, Wanted::Text, "a path", |value| Some(value.as_str().filter(is_path)?.to_owned()))?;
        Some(self.resolve(path))
    }

    /// A length of time in `range`, written as a number with a unit: `us`, `ms`, `s`, `m`, `h` or `d`.
    pub fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (from, to) = (in_words(*range.start()), in_words(*range.end()));
        let wanted = format!("a duration from {from} to {to}, such as {}", examples_in_words(&range));
        self.typed(key, Wanted::Length(range.clone()), &wanted, |value| {
            parse_duration(value.as_str()?).filter(|duration| range.contains(duration))
        })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let wanted = format!("one of {}", words.join(", "));
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
        self.typed(key, Wanted::Text, "a list of strings", strings)
    }

    /// A table below this one, read by `read`.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> Option<T>) -> Option<T> {
        let span = self.table.get_key_value(key).map_or(0..0, |(key, _)| key.span());
        let table = self.typed(key, Wanted::Table, "a table", |value| value.as_table())?;
        self.below(key.to_owned(), table, span, read)
    }

    /// The tables of an array (`[[key]]`), each read by `read`; those in which problems were found are left out.
    pub fn sections<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>) -> Option<T>) -> Vec<T> {
        match self.typed(key, Wanted::Tables, "an array of tables (`[[…]]`)", |value| value.as_array()) {
            Some(array) => self.tables(key, array, &mut read),
            None => Vec::new(),
        }
    }

    /// One table or an array of them, each read by `read`; those in which problems were found are left out.
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

    /// The same section for problems that show only later.
    pub fn later(&self) -> Self {
        let Self { notes, table, .. } = *self;
        Self { notes, name: self.name.clone(), table, span: self.span.clone(), asked: Vec::new() }
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

    /// Notes each key that nobody asked for, which is a problem when all is read.
    pub fn finish(&self) {
        let mut known = self.notes.known.borrow_mut();
        known.entry(unknown::without_numbers(&self.name)).or_default().extend(&self.asked);
        for (key, _) in self.table.iter() {
            let key: &str = key.get_ref();
            if !self.asked.contains(&key) {
                let (line, _) = self.place(key);
                let unknown = Unknown { table: self.name.clone(), key: key.to_owned(), line };
                self.notes.unknown.borrow_mut().push(unknown);
            }
        }
    }
}

/// Whether a value is the secret instead of naming it. Of a URI whoever reads it says what is wrong.
fn is_pasted(key: &str, text: &str) -> bool {
    may_be_secret(text) && !(key == "key" && Uri::is_meant(text))
}

const ADDRESS: &str = "an address with a port, such as `127.0.0.1:8080` or `[::]:80`";

#[cfg(test)]
mod tests;
