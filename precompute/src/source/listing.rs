//! A file that lists certificates, read line by line.
//!
//! Purpose: one [`Listed`] for each certificate that a file lists, whatever its [`Form`]. Invariant: a line is taken only if
//! it is whole, and says which certificate it is about and whether that is valid. In a database the first line that does
//! not ends the reading, so one with a bad line never counts as a shorter one; only [`Listing::readable`] reads on: its
//! caller wants the revocations in the other lines. In a list that people write ([`Form::Issued`]) such a line is left out
//! and counted: its certificate is then not listed, and nobody calls it good. A serial number that is 0, negative or over
//! 20 bytes is skipped and counted: nobody can ask for it (RFC 5280 section 4.1.2.2). What is odd besides is counted
//! ([`Listing::oddities`]).
//!
//! It does not know whether a serial comes twice. `openssl ca` replaces the file by renaming a new one over it, so an
//! open [`Listing`] keeps reading the state it began with; another program may write the open file, and [`prefix`] says
//! whether what was read is one state of it. [`mark`] is where the next read may begin.

use std::{
    io::{self, BufRead, Read as _},
    iter::FusedIterator,
    path::{Path, PathBuf},
};

pub use self::{
    mark::Mark,
    prefix::{Digest, Ended, Prefix},
};
use self::{prefix::Proved, utf16::Utf16};
use super::{Oddities, SourceError, index, issued, mirrored};
use crate::{
    limits,
    pki::{Record, Serial, UnixTime, open_regular, written::Radix},
};

mod mark;
mod prefix;
mod utf16;

/// One certificate that the CA lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its serial number.
    pub serial: Serial,
    /// What the CA says about it.
    pub record: Record,
}

/// What a line says of its certificate beside its record.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Detail {
    /// The SHA-256 hash of the certificate.
    pub sha256: Option<[u8; 32]>,
    /// Since when its key is known or suspected to be compromised.
    pub invalid_since: Option<UnixTime>,
}

/// How a file lists certificates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As the database of `openssl ca`, which has all that the CA knows.
    Database,
    /// As a list of what was issued: text or CSV, with serial numbers in this radix unless its heading says another.
    Issued(Radix),
    /// As a feeder mirrors the database of a CA. Only this program writes such a file: it replaces it by renaming, and
    /// appends whole lines.
    Mirrored,
}

/// What one line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// It speaks of no certificate, and hides none.
    Comment,
    /// It speaks of something that no client can ask for.
    PassedOver,
    Listed(Listed),
}

/// What is odd about a line that is taken all the same: the first finding.
pub(super) type Odd = Option<String>;

/// What has to be known of the lines before.
#[derive(Clone, Debug)]
enum Lines {
    Database,
    Issued(issued::Lines),
    Mirrored(mirrored::Lines),
}

impl Lines {
    fn new(form: Form) -> Self {
        match form {
            Form::Database => Self::Database,
            Form::Issued(radix) => Self::Issued(issued::Lines::new(radix)),
            Form::Mirrored => Self::Mirrored(mirrored::Lines::default()),
        }
    }

    fn read(&mut self, line: &[u8], odd: &mut Odd) -> Result<Line, String> {
        match self {
            Self::Database => index::read(line, odd),
            Self::Issued(lines) => lines.read(line, odd),
            Self::Mirrored(lines) => lines.read(line, odd),
        }
    }
}

impl Listing {
    /// Whether its form says of each certificate if it is revoked, as far as its lines were read. A mirror says what is mirrored.
    pub fn has_statuses(&self) -> bool {
        match &self.lines {
            Lines::Database | Lines::Mirrored(_) => true,
            Lines::Issued(lines) => lines.has_statuses(),
        }
    }
}

/// An iterator over the certificates of a file. It ends after its first error.
#[derive(Debug)]
pub struct Listing<R = Prefix> {
    reader: R,
    form: Form,
    lines: Lines,
    /// Where the text is not UTF-8.
    utf16: Option<Utf16>,
    path: PathBuf,
    pub(super) line: Vec<u8>,
    /// Lines read so far: the number of the one in `line`.
    number: u64,
    ended: bool,
    /// Whether the last line has no line end.
    is_cut: bool,
    /// Whether that is because the file ends in it.
    is_half: bool,
    /// Whether every line was read, and whether one was refused.
    is_read: bool,
    is_refused: bool,
    listed: u64,
    passed_over: u64,
    oddities: Oddities,
    /// What [`Listing::ended`] has found.
    proved: Option<Proved>,
}

impl Listing {
    /// Opens the file, to be read up to the length that it has now; nothing is read yet.
    pub fn open(path: &Path, form: Form) -> Result<Self, SourceError> {
        let prefix = opened(path, None)?;
        let mut listing = Self::new(prefix, path, form);
        if form == Form::Mirrored {
            let changes = listing.reader.behind(mirrored::CHANGES.as_bytes());
            let changes = changes.map_err(|error| SourceError::file(path, unreadable(&error)))?;
            listing.lines = Lines::Mirrored(mirrored::Lines::new(&changes, false));
        }
        Ok(listing)
    }

    /// Opens the file to read what was appended since `mark`; `None` if its lines are another beginning. Whether all of
    /// it is as it was, [`Listing::ended`] says. Counts and line numbers go on from those of the mark.
    pub fn open_after(path: &Path, form: Form, mark: &Mark) -> Result<Option<Self>, SourceError> {
        let prefix = opened(path, Some(mark.digest()))?;
        if mark.form != form || !mark.may_precede(&prefix) {
            return Ok(None);
        }
        if form == Form::Mirrored {
            return Self::changes_after(prefix, path, mark);
        }
        // What the columns are, the first lines say.
        let mut first = Self::open(path, form)?;
        if form != Form::Database {
            let _ = first.next();
        }
        Ok(Some(Self {
            lines: first.lines,
            number: mark.lines,
            listed: mark.listed,
            passed_over: mark.passed_over,
            oddities: mark.oddities.clone(),
            ..Self::new(prefix, path, form)
        }))
    }

    /// The same of a mirror, whose lines before need no second look.
    fn changes_after(mut prefix: Prefix, path: &Path, mark: &Mark) -> Result<Option<Self>, SourceError> {
        if !mark.is_of(&prefix) {
            return Ok(None);
        }
        prefix.trust_before();
        let changes = prefix.unread().map_err(|error| SourceError::file(path, unreadable(&error)))?;
        Ok(Some(Self {
            lines: Lines::Mirrored(mirrored::Lines::new(&changes, true)),
            number: mark.lines,
            listed: mark.listed,
            passed_over: mark.passed_over,
            oddities: mark.oddities.clone(),
            ..Self::new(prefix, path, mark.form)
        }))
    }

    /// Counts the last one that was listed as one that the lines before have listed already.
    pub fn was_listed(&mut self) {
        self.listed -= 1;
    }

    /// Says whether the whole lines that were read, with those of the mark before them, are one state of the file. To
    /// be called when nothing more is to be read.
    pub fn ended(&mut self) -> Ended {
        // What cannot be read again proves nothing.
        let (ended, proved) = self.reader.prove().unwrap_or((Ended::Torn, None));
        self.proved = proved;
        ended
    }

    /// Whether the last change of the file was long enough before [`Listing::ended`] that another one would have shown.
    pub fn is_settled(&self) -> bool {
        self.proved.is_some_and(|proved| proved.settled)
    }

    /// A hash of all bytes of a file, whatever it has, up to the length that it has now.
    pub fn hash_of(path: &Path) -> Result<Digest, SourceError> {
        mark::hash_of(path).map_err(|error| SourceError::file(path, unreadable(&error)))
    }
}

fn opened(path: &Path, before: Option<Digest>) -> Result<Prefix, SourceError> {
    let prefix = open_regular(path).and_then(|file| Prefix::new(file, before));
    prefix.map_err(|error| {
        let remedy = match path.is_dir() {
            true => format!("; `issued` names a directory with a slash at its end: `{}/`", path.display()),
            false => String::new(),
        };
        SourceError::file(path, unreadable(&error) + &remedy)
    })
}

impl<R: BufRead> Listing<R> {
    /// How many certificates were listed so far.
    pub fn listed(&self) -> u64 {
        self.listed
    }

    /// How many lines were skipped so far because no certificate can have their serial number.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Whether the last line was still without its end when the file was opened. It is not among those that were read.
    pub fn ends_in_half_a_line(&self) -> bool {
        self.is_half
    }

    /// What was read so far differently from how the file writes it.
    pub fn oddities(&self) -> Option<&Oddities> {
        self.oddities.any()
    }

    /// Reads from `reader`; errors name `path`.
    pub fn new(reader: R, path: &Path, form: Form) -> Self {
        Self {
            reader,
            form,
            lines: Lines::new(form),
            utf16: None,
            path: path.to_owned(),
            line: Vec::with_capacity(1024),
            number: 0,
            ended: false,
            is_cut: false,
            is_half: false,
            is_read: false,
            is_refused: false,
            listed: 0,
            passed_over: 0,
            oddities: Oddities::default(),
            proved: None,
        }
    }

    /// Reads the next line into `self.line`, without its line end. `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool, SourceError> {
        self.line.clear();
        let limit = limits::INDEX_LINE_OCTETS_MAX;
        // One byte more than allowed, for the newline.
        let mut bounded = (&mut self.reader).take(limit as u64 + 1);
        let mut read = bounded.read_until(b'\n', &mut self.line);
        if self.number == 0 && matches!(self.lines, Lines::Issued(_)) {
            self.utf16 = Utf16::of_beginning(&self.line);
        }
        if let (Ok(1..), Some(utf16)) = (&read, self.utf16) {
            read = utf16.rest_of_line(&mut bounded, &mut self.line);
        }
        if read.map_err(|error| SourceError::file(&self.path, unreadable(&error)))? == 0 {
            self.is_read = true;
            return Ok(false);
        }
        self.number += 1;
        let octets = self.line.len();
        if let Some(utf16) = self.utf16 {
            utf16.decode(&mut self.line);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            self.is_cut = true;
            self.is_half = octets <= limit;
            self.is_read = self.is_half;
            return Err(self.refused(if octets > limit {
                format!("is longer than the {limit} bytes allowed")
            } else {
                "ends in the middle of a line: the file is half-written, expected a newline after the last line"
                    .to_owned()
            }));
        }
        // OpenSSL on Windows ends lines in CR LF.
        self.line.pop_if(|last| *last == b'\r');
        Ok(true)
    }

    fn read_listed(&mut self) -> Result<Option<Listed>, SourceError> {
        while self.read_line()? {
            match self.line_read()? {
                Line::Listed(listed) => return Ok(Some(listed)),
                Line::Comment | Line::PassedOver => {}
            }
        }
        Ok(None)
    }

    /// What the line in `self.line` says.
    fn line_read(&mut self) -> Result<Line, SourceError> {
        // Editors put a byte order mark at the beginning, and it stays there when files are joined.
        let line = self.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.line);
        let mut odd = None;
        let read = self.lines.read(line, &mut odd);
        if let (Ok(_), Some(odd)) = (&read, odd) {
            self.oddities.note("line", self.number, &odd);
        }
        match read {
            Ok(Line::Listed(_)) => self.listed += 1,
            Ok(Line::PassedOver) => self.passed_over += 1,
            Ok(Line::Comment) => {}
            Err(_) => self.is_refused = true,
        }
        read.map_err(|problem| self.refused(problem))
    }

    /// The certificate of the last line of a list, if only its end is missing. People write files without it, and whoever
    /// asks has seen that nobody is writing this one.
    pub fn half_line(&mut self) -> Option<Listed> {
        if !self.is_half || !matches!(self.lines, Lines::Issued(_)) {
            return None;
        }
        match self.line_read() {
            Ok(Line::Listed(listed)) => Some(listed),
            _ => None,
        }
    }

    /// What the line that was read last says beside its record. It is read once more for that, so whoever does not need it
    /// does not pay for it.
    pub fn detail(&self) -> Detail {
        let line = self.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.line);
        match &self.lines {
            Lines::Database => index::detail(line),
            Lines::Issued(lines) => lines.detail(line),
            Lines::Mirrored(_) => mirrored::detail(line),
        }
    }

    /// What looks unintended about the lines that were read.
    pub fn doubt(&self) -> Option<&'static str> {
        match &self.lines {
            Lines::Database | Lines::Mirrored(_) => None,
            Lines::Issued(lines) => lines.doubt(),
        }
    }

    /// The readable lines of a file that is refused, without the others.
    pub fn readable(&mut self) -> impl Iterator<Item = Listed> + '_ {
        std::iter::from_fn(move || {
            loop {
                let before = self.number;
                match self.read_listed() {
                    Ok(listed) => return listed,
                    // The file cannot be read any further, or it ends here.
                    Err(_) if self.number == before || self.is_cut => return None,
                    Err(_) => {}
                }
            }
        })
    }

    /// `problem`: about the last line that was read.
    fn refused(&self, problem: String) -> SourceError {
        SourceError::line(&self.path, self.number, problem)
    }
}

impl<R: BufRead> Iterator for Listing<R> {
    type Item = Result<Listed, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_listed();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl<R: BufRead> FusedIterator for Listing<R> {}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}
