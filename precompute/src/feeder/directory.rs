//! A directory of certificates, or of files that are named by serial numbers.
//!
//! Purpose: the list of what a CA has issued, where it keeps a file for each. Each file counts by what it is (`file`), and one
//! that is odd, half written or not permitted spoils no other. Invariants: a directory that cannot be read, or in which
//! nothing can be read any more (a mount that is missing looks empty), changes nothing; the first list is given when all files
//! were looked at; nothing is ever written there. It does not know what the list is for.
//!
//! A look at all files reads those whose size, times or inode have changed. In between, events tell which files to look at,
//! and the directory's own times whether there is something that events have not told. Symbolic links are followed;
//! subdirectories, and names that begin with a dot, are passed over (network file systems and Kubernetes keep things of their
//! own under such names).
//!
//! `file` is what one file says (pure), `catalogue` what all of them list (pure), `events` which have changed, `told` what is
//! said of the odd ones.

mod catalogue;
mod events;
mod file;
#[cfg(test)]
mod tests;
mod told;

use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use tracing::debug;

use self::{
    catalogue::{Catalogue, Seen, Stamp},
    events::{Changed, Events},
    file::{Issued, Known, Said, Wanted},
    told::Told,
};
use super::{
    mirror::Draft,
    origin::{Answer, Facts, Origin, Problem, Question, of_file},
};
use crate::{
    limits::{self, directory as bounds, fetch},
    pki::{Certificate, Record, Status, UnixTime, open_regular, read_opened, written::Radix},
    source::{Form, Listed, Listing, MIRROR_BEGINNING, MIRROR_CHANGES, mirror_line},
};

/// Which directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectorySource {
    /// Where it is.
    pub path: PathBuf,
    /// How names of files are serial numbers.
    pub names: Radix,
    /// The file that mirrors it.
    pub mirror: PathBuf,
}

/// The certificates of an issuer in a directory.
#[derive(Clone, PartialEq, Debug)]
pub struct FilesOfIssuer {
    /// Where they are.
    pub source: DirectorySource,
    /// Whose certificates count.
    pub issuer: Certificate,
    /// Whether their hashes are wanted.
    pub hashes: bool,
}

/// Which list the mirror has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct DirectoryFacts {
    /// When it was last given as a whole, in seconds since 1970; later than the one before.
    whole: u64,
    /// Bytes appended to the mirror since.
    appended: u64,
}

/// A [`FilesOfIssuer`] as it is being looked at.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    mirror: PathBuf,
    wanted: Wanted,
    began: Instant,
    catalogue: Catalogue,
    events: Option<Events>,
    /// What the directory looked like at the last look.
    directory: Option<Directory>,
    /// The last look at all files: when it ended, and how long it took.
    whole: Option<(Duration, Duration)>,
    /// When the next one is due.
    whole_at: Duration,
    subdirectories: u64,
    facts: Option<DirectoryFacts>,
    told: Told,
}

/// A directory from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Directory {
    identity: (u64, u64),
    stamp: Stamp,
    /// Whether another change would show in the stamp.
    is_settled: bool,
}

impl Files {
    pub(super) fn new(of: FilesOfIssuer) -> Self {
        Self {
            wanted: Wanted::new(of.issuer, of.source.names, of.hashes),
            path: of.source.path,
            mirror: of.source.mirror,
            began: Instant::now(),
            catalogue: Catalogue::default(),
            events: None,
            directory: None,
            whole: None,
            whole_at: Duration::ZERO,
            subdirectories: 0,
            facts: None,
            told: Told::default(),
        }
    }
}

impl Origin for Files {
    fn ask(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        self.recall(question);
        self.look(question)?;
        if self.catalogue.has_given() && !self.catalogue.has_readable() {
            return Err(self.nothing_left());
        }
        self.catalogue.settle(self.began.elapsed());
        self.told.tell(&self.path, &self.catalogue, self.subdirectories);
        self.answer(question, draft)
    }
}

impl Files {
    /// Takes what the mirror has as given. What was given and not kept is given again.
    fn recall(&mut self, question: &Question<'_>) {
        let noted = question.last.and_then(|last| last.facts.directory.clone());
        if noted.is_some() && noted == self.facts {
            return;
        }
        self.catalogue.forget_given();
        if noted.is_some()
            && let Ok(mut listing) = Listing::open(&self.mirror, Form::Mirrored)
        {
            while let Some(Ok(Listed { serial, record })) = listing.next() {
                let (end, sha256) = (record.not_after.unwrap_or(UnixTime::MAX), listing.detail().sha256.map(Arc::new));
                self.catalogue.recall(Issued { serial, of: Known { end, sha256 } });
            }
        }
        self.facts = noted;
    }

    /// Looks at the files that may have changed.
    fn look(&mut self, question: &Question<'_>) -> Result<(), Problem> {
        let directory = Directory::of(&self.path).map_err(|error| self.unreadable(&error))?;
        let (before, now) = (self.directory, self.began.elapsed());
        let is_other = before.is_none_or(|before| before.identity != directory.identity);
        if is_other {
            // Events of what happens after the look at all that follows.
            self.events = Events::of(&self.path)
                .inspect_err(|error| debug!("{}: is looked at without events: {error}", self.path.display()))
                .ok();
        }
        let changed = self.events.as_mut().map(Events::take);
        let shows = before.is_none_or(|before| !before.is_settled || before.stamp != directory.stamp);
        self.plan(now, is_other, shows, changed.as_ref());
        if now >= self.whole_at {
            self.look_at_all(question)?;
            let ended = self.began.elapsed();
            self.whole = Some((ended, ended - now));
            self.whole_at = ended + bounds::WHOLE_EVERY.max((ended - now) * bounds::WHOLE_SHARE);
        } else {
            let names = changed.unwrap_or_default().names.into_iter().filter(is_of_interest);
            let names: std::collections::HashSet<_> = names.chain(self.catalogue.due(now)).collect();
            names.into_iter().for_each(|name| _ = self.look_at(name));
        }
        self.directory = Some(directory);
        Ok(())
    }

    /// Decides when all files are looked at. `shows`: whether the directory's own times have changed, or may have.
    fn plan(&mut self, now: Duration, is_other: bool, shows: bool, changed: Option<&Changed>) {
        let (ended, took) = self.whole.unwrap_or_default();
        let told = changed.is_some_and(|changed| !changed.names.is_empty());
        let due = if is_other || self.whole.is_none() || changed.is_some_and(|changed| changed.is_lost) {
            now
        } else if !shows {
            return;
        } else if told {
            (now + bounds::WHOLE_SOON).max(ended + took * bounds::WHOLE_SHARE)
        } else {
            ended + took * bounds::WHOLE_SHARE_WITHOUT_EVENTS
        };
        self.whole_at = self.whole_at.min(due);
    }

    fn look_at_all(&mut self, question: &Question<'_>) -> Result<(), Problem> {
        let begun = Instant::now();
        let names = self.names().map_err(|error| self.unreadable(&error))?;
        let (count, path) = (names.len(), self.path.display().to_string());
        if count > bounds::FILES_MAX {
            return Err(Problem::new(format!(
                "{path}: has {count} files, more than the {} that a directory may have; part them, and name each part in the list",
                bounds::FILES_MAX
            )));
        }
        self.subdirectories = 0;
        self.catalogue.begin_round();
        for (number, name) in names.into_iter().enumerate() {
            if number.is_multiple_of(bounds::PROGRESS_FILES) {
                question.fetching.progress(number as u64, Some(count as u64));
                if question.stop.is_stopped() {
                    return Err(Problem::new(format!("{path}: nobody wants it any more")));
                }
                if begun.elapsed() > question.within {
                    return Err(Problem::new(format!(
                        "{path}: of its {count} files {number} could be looked at within {:?}, and the next look goes on from there; its file system is slow, or hangs",
                        question.within
                    )));
                }
            }
            self.subdirectories += u64::from(self.look_at(name));
        }
        let now = self.began.elapsed();
        // One that was renamed meanwhile may have been passed over.
        self.catalogue.missed().into_iter().for_each(|name| self.catalogue.note(name, Seen::Gone, now));
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let names = fs::read_dir(&self.path)?.map(|entry| entry.map(|entry| entry.file_name()));
        names.filter(|name| name.as_ref().map_or(true, is_of_interest)).collect()
    }

    /// Looks at one; whether it is a directory.
    fn look_at(&mut self, name: OsString) -> bool {
        let (path, now) = (self.path.join(&name), self.began.elapsed());
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                self.catalogue.note(name, Seen::Gone, now);
                return true;
            }
            Ok(metadata) if self.catalogue.is_as_known(&name, &Stamp::from(&metadata), now) => return false,
            metadata => metadata,
        };
        let seen = match metadata {
            Ok(metadata) => self.read(&name, &path, &metadata),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Seen::Hidden(format!("cannot be looked at: {error}"))
            }
            Err(_) if fs::symlink_metadata(&path).is_ok() => Seen::Hidden("is a link that leads nowhere".to_owned()),
            Err(_) => Seen::Gone,
        };
        self.catalogue.note(name, seen, now);
        false
    }

    fn read(&self, name: &OsString, path: &Path, metadata: &Metadata) -> Seen {
        if !metadata.is_file() {
            let said = Said::Other("is no regular file".to_owned());
            return Seen::Here(Stamp::from(metadata), None, said);
        }
        let opened = open_regular(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, opened) = match opened {
            // What it looked like before it was read.
            Ok((opened, file)) => (opened, Ok(file)),
            Err(error) => (metadata.clone(), Err(error)),
        };
        let content = read_opened(path, opened, limits::CERTIFICATE_FILE_OCTETS_MAX);
        let said = match content {
            Ok(content) => self.wanted.read(name, &content),
            Err(error) => Said::Broken(error.problem),
        };
        Seen::Here(Stamp::from(&metadata), age(&metadata), said)
    }

    fn answer(&mut self, question: &Question<'_>, draft: &mut Draft) -> Result<Answer, Problem> {
        let (news, now) = (self.catalogue.news(), self.began.elapsed());
        let may_drop = now > bounds::START_PATIENCE || !self.catalogue.is_waiting();
        let facts = self.facts.clone().filter(|facts| facts.appended <= fetch::CHANGES_OCTETS_MAX);
        if let Some(facts) = facts.filter(|_| !(news.lost && may_drop)) {
            if news.fresh.is_empty() {
                return Ok(Answer::Same(None));
            }
            let lines = lines(&news.fresh);
            self.catalogue.gave_fresh();
            let appended = facts.appended + lines.len() as u64;
            return Ok(Answer::More(lines, Box::new(self.facts(DirectoryFacts { appended, ..facts }))));
        }
        let all = self.catalogue.give_all();
        let content = [MIRROR_BEGINNING.as_bytes(), &lines(&all), MIRROR_CHANGES.as_bytes()].concat();
        draft.write_all(&content).map_err(|error| of_file(draft.path(), "cannot be written", &error))?;
        let whole = self.facts.as_ref().map_or(0, |facts| facts.whole + 1).max(question.now.0);
        Ok(Answer::New(Box::new(self.facts(DirectoryFacts { whole, appended: 0 }))))
    }

    fn facts(&mut self, facts: DirectoryFacts) -> Facts {
        self.facts = Some(facts.clone());
        let remarks = told::remarks(&self.catalogue, self.subdirectories);
        Facts { directory: Some(facts), remarks, ..Facts::default() }
    }

    fn unreadable(&self, error: &io::Error) -> Problem {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "is what it is on mounted? Otherwise make it, or name another",
            io::ErrorKind::NotADirectory => "a list in a file is named without a slash at its end",
            io::ErrorKind::PermissionDenied => {
                "permit this program to list it and to read the files in it (a group, or `setfacl`)"
            }
            _ => "is its file system whole, and mounted?",
        };
        Problem::new(format!("{}: cannot be read: {error}; {remedy}", self.path.display()))
    }

    /// Nothing can be read where there was something: no word of who was removed.
    fn nothing_left(&self) -> Problem {
        let path = self.path.display();
        let first = self.catalogue.example(catalogue::Kind::Broken);
        Problem::new(match first {
            Some((name, problem)) => format!(
                "{path}: none of its files can be read any more, such as `{}`, which {problem}; permit this program to read them",
                name.to_string_lossy().escape_debug()
            ),
            None => format!(
                "{path}: has no file any more, and had some; is what it is on mounted? If all were removed on purpose, remove the file that mirrors it in `state_dir/{}` and reload",
                super::DIRECTORY
            ),
        })
    }
}

impl Directory {
    /// Opened, since network file systems ask their server then.
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = File::open(path)?.metadata()?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            identity: (metadata.dev(), metadata.ino()),
            stamp: Stamp::from(&metadata),
            is_settled: age(&metadata).is_none_or(|age| age > limits::SETTLED_AFTER),
        })
    }
}

/// How long ago it changed; `None` for a time in the future.
fn age(metadata: &Metadata) -> Option<Duration> {
    let of = |seconds: i64, nanoseconds: i64| {
        SystemTime::UNIX_EPOCH + Duration::new(seconds.max(0) as u64, u32::try_from(nanoseconds).unwrap_or(0))
    };
    let last = of(metadata.mtime(), metadata.mtime_nsec()).max(of(metadata.ctime(), metadata.ctime_nsec()));
    SystemTime::now().duration_since(last).ok()
}

fn is_of_interest(name: &OsString) -> bool {
    !name.as_bytes().starts_with(b".")
}

/// As lines of a mirror.
fn lines(issued: &[Issued]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(64 * issued.len());
    for Issued { serial, of: Known { end, sha256 } } in issued {
        let record = Record { status: Status::Good, not_after: Some(*end) };
        mirror_line(&Listed { serial: *serial, record }, sha256.as_deref().copied(), &mut lines);
    }
    lines
}
