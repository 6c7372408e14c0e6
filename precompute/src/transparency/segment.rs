//! A file of leaves and heads.
//!
//! Invariants: a file begins with a whole map and its head, so every later head can be rebuilt from that file alone; what
//! stands behind the last whole head counts for nothing. It does not know which file is the newest.
//!
//! A file has [`MAGIC`] and then frames: the bytes of the payload, u32, big-endian; the kind; and the payload:
//!
//! ```text
//! L ‖ key 32 ‖ content      the leaf from here on
//! H ‖ head ‖ signature      the head of all leaves before it
//! ```
//!
//! The name says which head it begins with, and its time: `<number, 20 digits>-<milliseconds since 1970>.map`. The head that
//! ends a file also begins the next one.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::{Content, Hash, SignedHead};
use crate::{limits::transparency as limits, pki::FileError};

/// How a file begins.
pub const MAGIC: &[u8; 22] = b"Ostia transparency 1\n\0";
/// How its name ends.
const SUFFIX: &str = ".map";
const LEAF: u8 = b'L';
const HEAD: u8 = b'H';
/// Bytes of a frame before its payload.
const FRAME: usize = 5;

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// What stands under a key from here on.
    Leaf {
        /// The key.
        key: Hash,
        /// The bytes of its content.
        content: Vec<u8>,
        /// Where the frame begins.
        place: u64,
    },
    /// The head of everything before it.
    Head(Box<SignedHead>),
}

/// Adds the frame of a leaf.
pub fn put_leaf(bytes: &mut Vec<u8>, key: &Hash, content: &[u8]) {
    put(bytes, LEAF, &[key, content]);
}

/// Adds the frame of a head.
pub fn put_head(bytes: &mut Vec<u8>, head: &SignedHead) {
    put(bytes, HEAD, &[&head.write()]);
}

fn put(bytes: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.push(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub struct Frames<R> {
    from: R,
    /// Where the next frame begins.
    at: u64,
}

impl<R: Read> Frames<R> {
    /// `None` if the file does not begin as one does.
    pub fn new(mut from: R) -> io::Result<Option<Self>> {
        let mut magic = [0; MAGIC.len()];
        Ok((fill(&mut from, &mut magic)? && magic == *MAGIC).then_some(Self { from, at: MAGIC.len() as u64 }))
    }

    /// Where the next frame begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next frame; `None` at the end, and where no whole frame follows.
    pub fn read(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; FRAME];
        if !fill(&mut self.from, &mut head)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > limits::FRAME_OCTETS_MAX {
            return Ok(None);
        }
        let mut payload = vec![0; length];
        if !fill(&mut self.from, &mut payload)? {
            return Ok(None);
        }
        let place = self.at;
        let frame = match (head[4], payload.split_first_chunk()) {
            (LEAF, Some((key, content))) => Some(Frame::Leaf { key: *key, content: content.to_vec(), place }),
            (HEAD, _) => SignedHead::read(&payload).ok().map(|head| Frame::Head(Box::new(head))),
            _ => None,
        };
        if frame.is_some() {
            self.at += (FRAME + length) as u64;
        }
        Ok(frame)
    }
}

/// False if it ends before.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The content of the leaf whose frame begins there.
pub fn content_at(file: &File, place: u64) -> io::Result<Content> {
    use std::os::unix::fs::FileExt as _;
    let wrong = || io::Error::other("a leaf is not where it was written: somebody else has changed the file");
    let mut head = [0; FRAME];
    file.read_exact_at(&mut head, place)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if head[4] != LEAF || !(32..=limits::FRAME_OCTETS_MAX).contains(&length) {
        return Err(wrong());
    }
    let mut content = vec![0; length - 32];
    file.read_exact_at(&mut content, place + FRAME as u64 + 32)?;
    Content::read(&content).map_err(|_| wrong())
}

/// A file of a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Segment {
    /// The number of the head that it begins with,
    pub number: u64,
    /// and its time, milliseconds since 1970.
    pub at: u64,
    /// The file.
    pub path: PathBuf,
}

impl Segment {
    /// That of a directory which begins with this head.
    pub fn of(directory: &Path, head: &SignedHead) -> Self {
        let (number, at) = (head.head.number, head.head.at);
        Self { number, at, path: directory.join(format!("{number:020}-{at}{SUFFIX}")) }
    }

    /// Those of a directory, in order; other files are passed over.
    pub fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
            let parts = name.and_then(|name| name.split_once('-'));
            if let Some((Ok(number), Ok(at))) = parts.map(|(number, at)| (number.parse(), at.parse())) {
                all.push(Self { number, at, path });
            }
        }
        all.sort();
        Ok(all)
    }

    /// Where a head like this one, the last that could be read, stands behind the bytes that could be: what is between them was
    /// changed. A crash leaves leaves there, and one unfinished head at the very end.
    pub fn head_behind(&self, whole: u64, last: &SignedHead) -> io::Result<Option<u64>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(whole))?;
        let mut behind = Vec::new();
        file.take(limits::BEHIND_OCTETS_MAX).read_to_end(&mut behind)?;
        let searched = &behind[..behind.len().saturating_sub(FRAME + last.write().len())];
        let id = last.head.server.bytes();
        Ok(searched.windows(id.len()).position(|bytes| bytes == id).map(|at| whole + at as u64))
    }

    /// Reads it.
    pub fn frames(&self) -> Result<Frames<BufReader<File>>, FileError> {
        let problem = |problem: &dyn std::fmt::Display| FileError::new(&self.path, format_args!("{problem}"));
        let file = File::open(&self.path).map_err(|error| problem(&format_args!("cannot be read: {error}")))?;
        let frames = Frames::new(BufReader::with_capacity(1 << 20, file)).map_err(|error| problem(&error))?;
        frames.ok_or_else(|| problem(&"is no file of heads: move it away"))
    }
}
