//! The file that mirrors a source, and the notes beside it.
//!
//! Purpose: what an origin said last is on disk, and the notes beside it (`NAME.json`) say what it was, so that a restart
//! goes on from there and asks conditionally. Invariants: a mirror is replaced as a whole, after its content has reached
//! the disk; notes count only for the content whose digest they name, so neither can be taken for the other's. It does
//! not know what the content means.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::{
    origin::{Facts, Problem, Validators, of_file},
    schedule::Known,
};
use crate::{
    limits,
    limits::fetch,
    pki::{UnixTime, hex},
    state_dir,
};

/// The directory of the mirrors in the state directory.
pub const DIRECTORY: &str = "fetched";

/// The ends of the names of drafts.
const DRAFT: &str = ".new";
/// The end of the name of notes.
const NOTES: &str = ".json";

/// One mirror.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    path: PathBuf,
}

/// What a mirror has, as its notes say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Last {
    /// Where it is from, without secrets; for people.
    origin: String,
    /// When it came.
    taken: u64,
    /// When the origin last said that it holds.
    pub(super) confirmed: u64,
    pub(super) octets: u64,
    pub(super) sha256: [u8; 32],
    /// When the last ones were issued, the present one last.
    pub(super) issues: Vec<u64>,
    pub(super) facts: Facts,
    /// When it was last written into the notes that it holds.
    #[serde(default)]
    noted: u64,
}

impl Last {
    /// What the schedule needs of it.
    pub(super) fn known(&self) -> Known<'_> {
        let Facts { next_update, validators, .. } = &self.facts;
        Known { issues: &self.issues, next_update: *next_update, fresh_for: validators.fresh_for }
    }

    /// Whether the notes are so old that they are to be written now, of an origin that is asked all the time.
    pub(super) fn is_to_be_noted(&mut self) -> bool {
        let is_old = self.confirmed.abs_diff(self.noted) >= fetch::NOTED_EVERY.as_secs();
        if is_old {
            self.noted = self.confirmed;
        }
        is_old
    }

    /// After the origin said that it holds.
    pub(super) fn confirm(&mut self, now: UnixTime, validators: Option<Validators>) {
        self.confirmed = now.0;
        if let Some(validators) = validators {
            self.facts.validators = validators;
        }
    }
}

impl Mirror {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn notes(&self) -> PathBuf {
        state_dir::behind(&self.path, NOTES)
    }

    /// Whether there is one.
    pub(super) fn is_here(&self) -> bool {
        self.path.is_file()
    }

    /// What its notes say, if they are of this content; `None` if it is missing, damaged, or another's. That is looked at
    /// once for a content that stays: `known` is what the last look gave.
    pub(super) fn last(&self, known: Option<Last>) -> Option<Last> {
        let octets = fs::metadata(&self.path).ok()?.len();
        if let Some(known) = known {
            return Some(known).filter(|known| known.octets == octets && self.notes().is_file());
        }
        let last = self.noted()?;
        // What is appended to again and again is not hashed each time: its reader sees what is damaged.
        if last.facts.is_appended_to() {
            return Some(last).filter(|last| last.octets == octets);
        }
        (last.octets == octets && octets <= limits::CRL_FILE_OCTETS_MAX && last.sha256 == digest_of(&self.path).ok()?)
            .then_some(last)
    }

    /// When its origin was last heard, as its notes say; they are not compared with its content.
    pub(super) fn confirmed(&self) -> Option<UnixTime> {
        self.noted().filter(|_| self.is_here()).map(|last| UnixTime(last.confirmed))
    }

    /// What is known of what is here; it is not compared with its content.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.noted().filter(|_| self.is_here()).map(|last| last.facts)
    }

    /// Removes it: there is nothing any more that it mirrors.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(self.notes());
    }

    fn noted(&self) -> Option<Last> {
        let file = File::open(self.notes()).ok()?;
        let mut text = Vec::new();
        file.take(fetch::NOTES_OCTETS_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// A draft of what comes next.
    pub(super) fn draft(&self) -> Result<Draft, Problem> {
        if let Some(directory) = self.path.parent() {
            create(directory)?;
        }
        Ok(Draft::at(&self.path))
    }

    /// Puts a draft in its place. What is known of the last one goes on in the notes.
    pub(super) fn replace(
        &self,
        draft: Draft,
        facts: Facts,
        origin: &str,
        now: UnixTime,
        before: Option<&Last>,
    ) -> Result<Last, Problem> {
        let fail = |what: &'static str| move |error: io::Error| of_file(&self.path, what, &error);
        let (octets, sha256) =
            draft.finish(&self.path).map_err(fail("what was fetched cannot be put into its place"))?;
        let mut issues = before.map(|before| before.issues.clone()).unwrap_or_default();
        issues.extend(facts.this_update.filter(|issued| issues.last() != Some(issued)));
        let issues = issues.split_off(issues.len().saturating_sub(fetch::ISSUES_KEPT));
        let (taken, confirmed, origin) = (now.0, now.0, origin.to_owned());
        let last = Last { origin, taken, confirmed, octets, sha256, issues, facts, noted: now.0 };
        self.note(&last)?;
        Ok(last)
    }

    /// Appends whole lines.
    pub(super) fn extend(&self, last: &mut Last, lines: &[u8], facts: Facts, now: UnixTime) -> Result<(), Problem> {
        append(&self.path, lines)
            .map_err(|error| of_file(&self.path, "what was fetched cannot be appended", &error))?;
        last.octets += lines.len() as u64;
        (last.confirmed, last.noted, last.facts) = (now.0, now.0, facts);
        self.note(last)
    }

    /// Writes the notes. Without them a restart asks for everything again, so they need not reach the disk at once.
    pub(super) fn note(&self, last: &Last) -> Result<(), Problem> {
        let notes = self.notes();
        let write = || -> io::Result<()> {
            let mut draft = Draft::at(&notes);
            draft.write_all(&serde_json::to_vec_pretty(last).map_err(io::Error::other)?)?;
            draft.rename(&notes)
        };
        write().map_err(|error| of_file(&notes, "the notes on what was fetched cannot be written", &error))
    }
}

/// Appends whole lines to a mirror in one piece, and to the disk.
pub(super) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(lines)?;
    file.sync_data()
}

/// Removes drafts that a start which was killed has left, and mirrors that nobody has use for any more. The state directory
/// is this process's.
pub(super) fn tidy(directory: &Path, wanted: &[&Path]) {
    let is_wanted =
        |path: &Path| wanted.iter().any(|wanted| *wanted == path || state_dir::behind(wanted, NOTES) == path);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !is_wanted(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The name of a mirror: words for people, and a digest of what tells it from others.
pub fn name(words: &str, parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let digest = hex::text(&finished(context)[..8]);
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let words: String = words.chars().map(fits).take(fetch::MIRROR_WORDS_MAX).collect();
    format!("{}-{digest}", words.trim_start_matches(['.', '-']))
}

fn create(directory: &Path) -> Result<(), Problem> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| of_file(directory, "cannot be made", &error))
}

fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut context, mut part) =
        (File::open(path)?, digest::Context::new(&digest::SHA256), vec![0; 1 << 16]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(finished(context)),
            count => context.update(&part[..count]),
        }
    }
}

fn finished(context: digest::Context) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    sha256
}

/// A file that is being written, and is removed unless it is put into a place.
pub(super) struct Draft {
    /// Made when something is written.
    file: Option<File>,
    path: PathBuf,
    octets: u64,
    context: digest::Context,
    is_placed: bool,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({}, {} bytes)", self.path.display(), self.octets)
    }
}

impl Draft {
    /// Beside `path`.
    fn at(path: &Path) -> Self {
        // A question that nobody waits for any more may still be writing one.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = state_dir::behind(path, &format!(".{}{DRAFT}", NEXT.fetch_add(1, Relaxed)));
        Self { file: None, path, octets: 0, context: digest::Context::new(&digest::SHA256), is_placed: false }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let _ = fs::remove_file(&self.path);
            self.file = Some(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("no file"))
    }

    /// Makes it empty.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        (self.octets, self.context) = (0, digest::Context::new(&digest::SHA256));
        match self.file.take() {
            Some(_) => fs::remove_file(&self.path),
            None => Ok(()),
        }
    }

    /// A draft that is put nowhere, in a directory for such files.
    pub(super) fn temporary(name: &str) -> Self {
        Self::at(&std::env::temp_dir().join(format!("ostia-{}-{name}", std::process::id())))
    }

    /// Where it is until then.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of what was written so far.
    pub(super) fn sha256(&self) -> [u8; 32] {
        finished(self.context.clone())
    }

    fn finish(mut self, path: &Path) -> io::Result<(u64, [u8; 32])> {
        self.file()?.sync_all()?;
        let (octets, sha256) = (self.octets, self.sha256());
        self.rename(path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok((octets, sha256))
    }

    fn rename(mut self, path: &Path) -> io::Result<()> {
        self.file()?;
        fs::rename(&self.path, path)?;
        self.is_placed = true;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file()?.write(bytes)?;
        self.context.update(&bytes[..count]);
        self.octets += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_placed && self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(issued: u64) -> Facts {
        Facts { this_update: Some(issued), ..Facts::default() }
    }

    #[test]
    fn a_mirror_is_found_again_with_its_notes_and_neither_without_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIRECTORY).join("ca.crl");
        let mirror = Mirror::new(&path);
        assert!(!mirror.is_here() && mirror.last(None).is_none());
        let mut before = None;
        for issued in 1..=fetch::ISSUES_KEPT as u64 + 2 {
            let mut draft = mirror.draft().unwrap();
            draft.write_all(format!("content {issued:02}").as_bytes()).unwrap();
            let now = UnixTime(1000 + issued);
            before = Some(mirror.replace(draft, facts(issued), "http://a/ca.crl", now, before.as_ref()).unwrap());
        }
        assert_eq!(fs::read(&path).unwrap(), b"content 10");
        let last = mirror.last(None).expect("a restart finds it");
        assert_eq!(Some(&last), before.as_ref());
        assert_eq!((last.issues.len(), last.issues.last(), last.confirmed), (fetch::ISSUES_KEPT, Some(&10), 1010));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "no draft is left");

        let mut confirmed = last.clone();
        confirmed.confirm(UnixTime(2000), Some(Validators { etag: Some("\"2\"".into()), ..Validators::default() }));
        mirror.note(&confirmed).unwrap();
        assert_eq!(mirror.last(None), Some(confirmed.clone()));

        fs::write(&path, "CONTENT 10").unwrap();
        assert_eq!(mirror.last(None), None, "of the same length, and another");
        fs::write(&path, "content 10").unwrap();
        assert_eq!(mirror.last(Some(confirmed.clone())), Some(confirmed.clone()));
        fs::write(&path, "content 1").unwrap();
        assert_eq!(mirror.last(Some(confirmed.clone())), None);
        fs::remove_file(&path).unwrap();
        assert_eq!((mirror.last(None), mirror.last(Some(confirmed))), (None, None));
    }

    #[test]
    fn who_removes_the_notes_has_what_was_known_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(&dir.path().join("ca.crl"));
        let last = mirror.replace(mirror.draft().unwrap(), facts(1), "a", UnixTime(1), None).unwrap();
        fs::write(mirror.notes(), "{").unwrap();
        assert_eq!(mirror.last(None), None, "damaged");
        fs::remove_file(mirror.notes()).unwrap();
        assert_eq!(mirror.last(Some(last)), None);
        assert!(mirror.is_here());
    }

    #[test]
    fn drafts_and_mirrors_without_use_are_removed_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        drop(Mirror::new(&at("a")).draft().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a draft that is dropped is gone");
        for name in ["a", "a.json", "a.7.new", "b", "b.json", "a.json.3.new"] {
            fs::write(at(name), "").unwrap();
        }
        tidy(dir.path(), &[&at("a")]);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a", "a.json"]);
        tidy(&at("missing"), &[]);
    }

    #[test]
    fn what_cannot_be_written_is_told_with_file_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let problem = Mirror::new(&dir.path().join("file/ca.crl")).draft().unwrap_err();
        assert!(
            problem.text.contains("file: cannot be made") && problem.text.contains("give `state_dir`"),
            "{problem}"
        );
    }
}
