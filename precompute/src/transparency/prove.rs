//! Makes proofs from the files of a directory, whether somebody appends to them or not.
//!
//! Purpose: rebuilds the map at the last head that is not after a time, and at the next one, in one pass. Invariant: nothing is
//! proven that the heads do not vouch for. It writes nothing.

use std::{collections::HashMap, fmt, path::Path};

use super::{
    Hash, Map, Proof, SignedHead, key,
    map::Leaf,
    proof::{Found, Side},
    segment::{Frame, Segment},
    sha256,
};
use crate::pki::{FileError, Serial, UnixTime};

/// Why there is no proof.
#[derive(Debug)]
pub enum Refused {
    /// A file cannot be read.
    File(FileError),
    /// There are no heads.
    NoHeads,
    /// The earliest head is of this time, milliseconds since 1970.
    TooEarly(u64),
    /// The newest head is of this time.
    TooLate(u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NoHeads => f.write_str(
                "there are no heads in it: is it the `transparency.directory` of a replica that was started?",
            ),
            Self::TooEarly(first) => {
                write!(f, "nothing is kept of that time: the earliest head is of {}", Millis(*first))
            }
            Self::TooLate(last) => write!(f, "no head is after that time yet: the newest one is of {}", Millis(*last)),
        }
    }
}

impl std::error::Error for Refused {}

impl From<FileError> for Refused {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// A time with its milliseconds, as RFC 3339 writes it.
#[derive(Clone, Copy, Debug)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = UnixTime(self.0 / 1000).to_string();
        write!(f, "{}.{:03}Z", seconds.trim_end_matches('Z'), self.0 % 1000)
    }
}

/// What is proven of one key while a file is read.
struct Asked {
    issuer: [u8; 32],
    key: Hash,
    content: Option<Vec<u8>>,
    before: Option<Side>,
}

/// Proofs for a serial number of each of these issuers, in their order. `at`: milliseconds since 1970.
pub fn prove(directory: &Path, issuers: &[[u8; 32]], serial: &Serial, at: u64) -> Result<Vec<Proof>, Refused> {
    let unread = |path: &Path, error: std::io::Error| FileError::new(path, format_args!("cannot be read: {error}"));
    let all = Segment::all(directory).map_err(|error| unread(directory, error))?;
    let first = all.first().ok_or(Refused::NoHeads)?.at;
    let segment = all.iter().rev().find(|segment| segment.at <= at).ok_or(Refused::TooEarly(first))?;
    let mut asked: Vec<Asked> = issuers
        .iter()
        .map(|issuer| Asked { issuer: *issuer, key: key(issuer, serial), content: None, before: None })
        .collect();
    let (mut map, mut batch) = (Map::default(), Batch::default());
    let mut before: Option<Box<SignedHead>> = None;
    let mut frames = segment.frames()?;
    while let Some(frame) = frames.read().map_err(|error| unread(&segment.path, error))? {
        let head = match frame {
            Frame::Leaf { key, content, .. } => {
                batch.leaves.push(Leaf { key, content: sha256(&[&content]), place: 0 });
                if asked.iter().any(|asked| asked.key == key) {
                    batch.contents.insert(key, content);
                }
                continue;
            }
            Frame::Head(head) => head,
        };
        if head.head.at <= at {
            batch.apply(&mut map, &mut asked);
            before = Some(head);
            continue;
        }
        let Some(before) = &before else { break };
        for asked in &mut asked {
            asked.before = Some(side(&mut map, before, asked, segment)?);
        }
        batch.apply(&mut map, &mut asked);
        let proof = |asked: &Asked| {
            let after = side(&mut map, &head, asked, segment)?;
            let before = asked.before.clone().ok_or(Refused::NoHeads)?;
            Ok(Proof::new(asked.issuer, serial, at, before, Some(after)))
        };
        return asked.iter().map(proof).collect();
    }
    let last = before.ok_or(Refused::NoHeads)?;
    if last.head.at != at {
        let damaged = segment.head_behind(frames.at(), &last).map_err(|error| unread(&segment.path, error))?;
        let follows = all.iter().any(|other| other.number > segment.number);
        if damaged.is_some() || follows {
            let problem = format_args!(
                "was changed by the disk or somebody: nothing can be read from byte {} on, and there are heads behind it; take a copy from a backup",
                frames.at()
            );
            return Err(FileError::new(&segment.path, problem).into());
        }
        return Err(Refused::TooLate(last.head.at));
    }
    let proof = |asked: &Asked| Ok(Proof::new(asked.issuer, serial, at, side(&mut map, &last, asked, segment)?, None));
    asked.iter().map(proof).collect()
}

/// The newest head of a directory, if it has one.
pub fn newest(directory: &Path) -> Result<Option<SignedHead>, Refused> {
    let all =
        Segment::all(directory).map_err(|error| FileError::new(directory, format_args!("cannot be read: {error}")))?;
    let Some(segment) = all.last() else { return Ok(None) };
    let (mut frames, mut newest) = (segment.frames()?, None);
    let unread = |error: std::io::Error| FileError::new(&segment.path, format_args!("cannot be read: {error}"));
    while let Some(frame) = frames.read().map_err(unread)? {
        if let Frame::Head(head) = frame {
            newest = Some(*head);
        }
    }
    Ok(newest)
}

/// What stands between two heads.
#[derive(Default)]
struct Batch {
    leaves: Vec<Leaf>,
    contents: HashMap<Hash, Vec<u8>>,
}

impl Batch {
    fn apply(&mut self, map: &mut Map, asked: &mut [Asked]) {
        self.leaves.drain(..).for_each(|leaf| map.set(leaf));
        for asked in asked {
            asked.content = self.contents.remove(&asked.key).or_else(|| asked.content.take());
        }
    }
}

fn side(map: &mut Map, head: &SignedHead, asked: &Asked, segment: &Segment) -> Result<Side, Refused> {
    let (path, leaf) = map.walk(&asked.key);
    if map.root() != head.head.root {
        let problem =
            format_args!("does not have what its head {} was signed for: somebody changed it", head.head.number);
        return Err(FileError::new(&segment.path, problem).into());
    }
    let found = match (leaf, &asked.content) {
        (None, _) => Found::Nothing,
        (Some(leaf), Some(content)) if leaf.key == asked.key => Found::Content(content.clone()),
        (Some(leaf), _) => Found::Other { key: leaf.key, content: leaf.content },
    };
    Ok(Side::new(head, &path, found))
}
