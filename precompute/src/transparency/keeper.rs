//! Keeps the map: gathers statements, and appends them with a head to the newest file.
//!
//! Invariants: a head is on disk, with everything that it vouches for, before anybody hears of it, and counts one more than
//! the one before. What fails is tried again with the next head, and what was stated until then is in that. A start cuts off
//! what stands behind the last whole head. It does not know where statements come from; time is a parameter.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    Answer, Content, Hash, Head, Map, Said, SignedHead, Statement,
    content::in_force,
    map::Leaf,
    segment::{Frame, MAGIC, Segment, content_at, put_head, put_leaf},
    sha256,
};
use crate::{journal::HeadKey, limits::transparency as limits, pki::FileError, state_dir::ServerId};

/// Whose map it is.
#[derive(Clone, Debug)]
pub struct Whose {
    /// The cluster's name.
    pub cluster: String,
    /// The server.
    pub server: ServerId,
    /// What signs heads.
    pub key: HeadKey,
}

/// Statements about one key since the last head.
#[derive(Debug)]
struct Open {
    /// What was in force at the last head.
    base: Vec<Statement>,
    new: Vec<Statement>,
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    directory: PathBuf,
    whose: Whose,
    map: Map,
    segment: Segment,
    file: File,
    /// Bytes up to the last head,
    whole: u64,
    /// and of the beginning.
    beginning: u64,
    last: SignedHead,
    open: HashMap<Hash, Open>,
    statements: usize,
    gap: Option<u64>,
    is_compared: bool,
}

/// What became of a statement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Noted {
    /// It is in the next head, or was in force already.
    Taken,
    /// The same, and the next head is to be made now.
    Full,
    /// There was no room for it.
    Lost,
}

const REMEDY: &str = "make room, or see to the directory and its owner; it is tried again with the next head";

impl Keeper {
    /// Goes on in the newest file of a directory; begins a map where there is none. `now`: milliseconds since 1970.
    pub fn open(directory: &Path, whose: Whose, now: u64) -> Result<Self, FileError> {
        let problem = |error: io::Error| FileError::new(directory, format_args!("cannot be used: {error}; {REMEDY}"));
        fs::create_dir_all(directory).map_err(problem)?;
        let newest = Segment::all(directory).map_err(problem)?.pop();
        match newest {
            Some(segment) => Self::go_on(directory, whose, segment),
            None => Self::begin(directory, whose, now).map_err(problem),
        }
    }

    fn begin(directory: &Path, whose: Whose, now: u64) -> io::Result<Self> {
        let mut map = Map::default();
        let first = Head {
            cluster: whose.cluster.clone(),
            server: whose.server,
            number: 1,
            at: now,
            leaves: 0,
            root: map.root(),
            previous: [0; 32],
            gap: Some(now),
        };
        let last = first.sign(&whose.key);
        let (segment, file, whole) = write_segment(directory, &last, &mut map, None)?;
        Ok(Self::new(directory, whose, map, (segment, file), (whole, whole), last))
    }

    /// Whatever was stated since the last head, or before a first one, may be missing until everything was compared. `whole`:
    /// bytes up to the last head; `beginning`: of what the file begins with.
    fn new(
        directory: &Path,
        whose: Whose,
        map: Map,
        (segment, file): (Segment, File),
        (whole, beginning): (u64, u64),
        last: SignedHead,
    ) -> Self {
        let gap = Some(last.head.gap.unwrap_or(last.head.at + 1));
        let (open, directory) = (HashMap::new(), directory.to_owned());
        let (statements, is_compared) = (0, false);
        Self { directory, whose, map, segment, file, whole, beginning, last, open, statements, gap, is_compared }
    }

    fn go_on(directory: &Path, whose: Whose, segment: Segment) -> Result<Self, FileError> {
        let problem = |what: &dyn fmt::Display| FileError::new(&segment.path, format_args!("{what}"));
        let mut frames = segment.frames()?;
        let (mut map, mut last, mut beginning, mut whole) = (Map::default(), None, 0, 0);
        let mut batch = Vec::new();
        let unread = |error: io::Error| FileError::new(&segment.path, format_args!("cannot be read: {error}"));
        while let Some(frame) = frames.read().map_err(unread)? {
            match frame {
                Frame::Leaf { key, content, place } => batch.push(Leaf { key, content: sha256(&[&content]), place }),
                Frame::Head(head) => {
                    batch.drain(..).for_each(|leaf| map.set(leaf));
                    whole = frames.at();
                    beginning = if last.is_none() { whole } else { beginning };
                    last = Some(*head);
                }
            }
        }
        let last = last.ok_or_else(|| problem(&"has no head: move it away, and a map is begun anew"))?;
        if (&last.head.cluster, last.head.server) != (&whose.cluster, whose.server) {
            let of = format_args!(
                "is of the server {} of the cluster `{}`: give each server a directory of its own",
                last.head.server, last.head.cluster
            );
            return Err(problem(&of));
        }
        if !last.is_by(&whose.key.public()) {
            return Err(problem(
                &"was signed by another key: take `journal.key` back, or move the directory away, and a map is begun anew",
            ));
        }
        if map.root() != last.head.root {
            return Err(problem(
                &"does not have what its last head was signed for: the disk or somebody changed it; move it away, and a map is begun anew",
            ));
        }
        if let Some(at) = segment.head_behind(whole, &last).map_err(unread)? {
            return Err(problem(&format_args!(
                "was changed by the disk or somebody: a head begins near byte {at}, and nothing can be read from byte {whole} on; move it away, and a map is begun anew"
            )));
        }
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().read(true).write(true).open(&segment.path)?;
            file.set_len(whole)?;
            file.sync_data()?;
            Ok(file)
        };
        let file = open().map_err(|error| problem(&format_args!("cannot be written: {error}; {REMEDY}")))?;
        Ok(Self::new(directory, whose, map, (segment, file), (whole, beginning), last))
    }

    /// The newest head.
    pub fn last(&self) -> &SignedHead {
        &self.last
    }

    /// How many statements wait for the next head.
    pub fn waiting(&self) -> usize {
        self.statements
    }

    /// Statements since then, milliseconds since 1970, may be missing.
    pub fn lost(&mut self, since: u64) {
        self.gap = Some(self.gap.map_or(since, |gap| gap.min(since)));
        self.is_compared = false;
    }

    /// Since when statements may be missing.
    pub fn gap(&self) -> Option<u64> {
        self.gap
    }

    /// Everything is compared from now on.
    pub fn compare(&mut self) {
        self.map.begin_round();
        self.is_compared = false;
    }

    /// Once everything that is listed was noted, milliseconds since 1970: what is listed here, in one of the map's 65,536 buckets,
    /// and was not seen is not listed any more.
    pub fn unlisted(&mut self, bucket: u16, now: u64) -> Result<Noted, FileError> {
        let mut worst = Noted::Taken;
        for key in self.map.unseen(bucket) {
            // What is not listed already is no news.
            worst = worst.max(self.note(key, Statement { at: now, said: Said::Record(None) })?);
        }
        Ok(worst)
    }

    /// Everything was compared: the next head is the last one with a gap.
    pub fn compared(&mut self) {
        self.is_compared = true;
    }

    /// Notes a statement; what is in force already is no news.
    pub fn note(&mut self, key: Hash, statement: Statement) -> Result<Noted, FileError> {
        self.map.see(&key);
        if !self.open.contains_key(&key) {
            let base = match self.map.get(&key) {
                Some(leaf) => in_force(&self.content(&leaf)?.0, self.last.head.at),
                None => Vec::new(),
            };
            if is_known(&base, &[], &statement) {
                return Ok(Noted::Taken);
            }
            if self.statements < limits::HELD_MAX {
                self.open.insert(key, Open { base, new: Vec::new() });
            }
        }
        let Some(open) = self.open.get_mut(&key) else { return Ok(Noted::Lost) };
        if is_known(&open.base, &open.new, &statement) {
            return Ok(Noted::Taken);
        }
        if open.new.len() >= limits::KEY_STATEMENTS_MAX || self.statements >= limits::HELD_MAX {
            return Ok(Noted::Lost);
        }
        open.new.push(statement);
        self.statements += 1;
        let is_full = open.new.len() >= limits::KEY_STATEMENTS_MAX || self.statements >= limits::STATEMENTS_MAX;
        Ok(if is_full { Noted::Full } else { Noted::Taken })
    }

    /// Makes a head of everything that was noted, milliseconds since 1970. After an error all of it waits for the next one.
    pub fn head(&mut self, now: u64) -> Result<&SignedHead, FileError> {
        let problem = |error: io::Error| {
            FileError::new(&self.segment.path, format_args!("no head can be written: {error}; {REMEDY}"))
        };
        if !self.is_in_place() {
            return Err(FileError::new(
                &self.segment.path,
                "was moved away or replaced while it was written to; a new file is begun",
            ));
        }
        let (mut bytes, mut leaves) = (Vec::new(), Vec::new());
        let mut keys: Vec<&Hash> = self.open.keys().collect();
        keys.sort_unstable();
        for key in keys {
            let Open { base, new } = &self.open[key];
            if new.is_empty() {
                continue;
            }
            let content = Content([&base[..], new].concat()).write();
            leaves.push(Leaf { key: *key, content: sha256(&[&content]), place: self.whole + bytes.len() as u64 });
            put_leaf(&mut bytes, key, &content);
        }
        // Before the head, so that none is on disk without what it vouches for.
        append(&self.file, self.whole, self.whole, &bytes).map_err(problem)?;
        leaves.into_iter().for_each(|leaf| self.map.set(leaf));
        let head = Head {
            cluster: self.whose.cluster.clone(),
            server: self.whose.server,
            number: self.last.head.number + 1,
            at: now.max(self.last.head.at + 1),
            leaves: self.map.len(),
            root: self.map.root(),
            previous: self.last.hash(),
            gap: self.gap,
        };
        let (head, behind) = (head.sign(&self.whose.key), self.whole + bytes.len() as u64);
        bytes.clear();
        put_head(&mut bytes, &head);
        append(&self.file, behind, behind, &bytes).map_err(problem)?;
        self.whole = behind + bytes.len() as u64;
        self.last = head;
        self.open.clear();
        self.statements = 0;
        if self.is_compared {
            self.gap = None;
        }
        Ok(&self.last)
    }

    /// Begins another file where this one has grown enough, and removes those whose last head is before `keep_from`,
    /// milliseconds since 1970.
    pub fn tidy(&mut self, keep_from: u64) -> Result<(), FileError> {
        let of = |path: &Path, error: io::Error| FileError::new(path, format_args!("{error}; {REMEDY}"));
        if self.open.is_empty() && self.whole - self.beginning > self.beginning.max(limits::GROWN_OCTETS) {
            let written = write_segment(&self.directory, &self.last, &mut self.map, Some(&self.file));
            let (segment, file, whole) = written.map_err(|error| of(&self.directory, error))?;
            (self.segment, self.file, self.whole, self.beginning) = (segment, file, whole, whole);
        }
        let all = Segment::all(&self.directory).map_err(|error| of(&self.directory, error))?;
        // The last head of each is the first one of the next.
        for two in all.windows(2).filter(|two| two[1].at < keep_from) {
            fs::remove_file(&two[0].path).map_err(|error| of(&two[0].path, error))?;
        }
        Ok(())
    }

    /// Whether the file that is written to is the one of that name.
    pub fn is_in_place(&self) -> bool {
        let there = fs::metadata(&self.segment.path).and_then(|there| Ok((there, self.file.metadata()?)));
        there.is_ok_and(|(there, own)| (there.dev(), there.ino()) == (own.dev(), own.ino()))
    }

    fn content(&self, leaf: &Leaf) -> Result<Content, FileError> {
        let unread = |error| FileError::new(&self.segment.path, format_args!("cannot be read: {error}"));
        content_at(&self.file, leaf.place).map_err(unread)
    }
}

/// Whether this is in force already, behind these statements.
fn is_known(base: &[Statement], new: &[Statement], statement: &Statement) -> bool {
    let mut before = new.iter().rev().chain(base.iter().rev()).map(|before| before.said);
    match statement.said {
        Said::Record(record) => {
            let last = before.find_map(|said| if let Said::Record(last) = said { Some(last) } else { None });
            last.flatten() == record && (last.is_some() || record.is_none())
        }
        Said::Answer(Answer { hash, form, .. }) => {
            let last = before.find(|said| match said {
                Said::Record(_) => true,
                Said::Answer(last) => (last.hash, last.form) == (hash, form),
            });
            last == Some(statement.said)
        }
    }
}

/// Writes behind what is whole; whatever stood there goes.
fn append(file: &File, whole: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
    file.set_len(whole)?;
    file.write_all_at(bytes, at)?;
    file.sync_data()
}

/// Writes a file that begins with this map and its head. `from`: where the contents are now.
fn write_segment(
    directory: &Path,
    head: &SignedHead,
    map: &mut Map,
    from: Option<&File>,
) -> io::Result<(Segment, File, u64)> {
    let segment = Segment::of(directory, head);
    let unfinished = segment.path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(&unfinished)?;
    let (mut bytes, mut at, mut places) = (MAGIC.to_vec(), 0, Vec::new());
    for leaf in map.each() {
        let Some(from) = from else { break };
        places.push((leaf.key, at + bytes.len() as u64));
        put_leaf(&mut bytes, &leaf.key, &content_at(from, leaf.place)?.write());
        if bytes.len() >= BUFFER {
            file.write_all(&bytes)?;
            at += bytes.len() as u64;
            bytes.clear();
        }
    }
    put_head(&mut bytes, head);
    file.write_all(&bytes)?;
    at += bytes.len() as u64;
    file.sync_all()?;
    fs::rename(&unfinished, &segment.path)?;
    File::open(directory)?.sync_all()?;
    places.into_iter().for_each(|(key, place)| map.moved(&key, place));
    Ok((segment, file, at))
}

/// Bytes of a file that is begun which are written at once.
const BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests;
