//! Reads a file, frame by frame.
//!
//! Invariant: what is returned was written, in this order; the end is returned if and only if the file is whole and
//! nothing follows it. Serials of an issuer ascend, and each issuer is there once. Memory is bounded by a frame and the
//! list of issuers, whatever lengths the file names. It does not know what becomes of the records.

use std::{
    collections::HashSet,
    fmt,
    io::{self, ErrorKind, Read},
};

use super::{
    framing::{
        Check, END, FAILED, HASH, HASHES, HEAD, Head, ISSUER, ISSUER_END, MAGIC, OTHER, RECORDS, SUCCESSION, VERSION,
    },
    rows::{self, HASH_ROW, Input, ROW},
};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::{Serial, UnixTime},
    records::{CertificateHash, Change},
    source::CrlMarks,
};

/// Why a file is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is something else; what it seems to be.
    Foreign(&'static str),
    /// A later version of the program wrote it; the version of its layout.
    Later(u32),
    /// It ends too early, after so many bytes.
    CutShort(u64),
    /// It is not as it was written, in the frame that begins at this byte.
    Damaged(u64),
    /// Whoever wrote it could not go on, and why.
    Failed(String),
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ANOTHER: &str = "take another backup, or copy this one anew from where it was made";
        match self {
            Self::Foreign(seems) => {
                write!(f, "is no backup of a book: {seems}; name a file that `ostia-precompute snapshot` has written")
            }
            Self::Later(version) => write!(
                f,
                "is a backup of version {version}, and this program reads version {VERSION}; use the program version that wrote it, or a later one"
            ),
            Self::CutShort(octets) => write!(f, "ends after {octets} bytes, and is not whole; {ANOTHER}"),
            Self::Damaged(at) => write!(f, "is damaged behind byte {at}; {ANOTHER}"),
            Self::Failed(why) => write!(f, "is not whole, because it could not be made: {why}"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What comes next in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Records of this issuer follow.
    Issuer(IssuerId),
    /// In order of serial, behind those before.
    Records(Vec<Change>),
    /// That was the last record of the issuer.
    EndOfIssuer { crl_marks: CrlMarks, verified: Option<UnixTime> },
    /// Hashes of certificates that were pushed, of the issuer that has ended last.
    Hashes(Vec<(Serial, CertificateHash)>),
    /// The first of the two issuers has left its tenant's name to the second.
    Succession(IssuerId, IssuerId),
    /// All has come.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    check: Check,
    /// How many bytes were read.
    at: u64,
    head: Head,
    issuers: Vec<IssuerId>,
    known: HashSet<IssuerId>,
    /// Of the present issuer: the number of records so far, and the last serial.
    present: Option<(u64, Option<Serial>)>,
    /// The last serial of the hashes of the issuer before.
    hashed: Option<Serial>,
    records: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    pub fn open(mut input: R) -> Result<Self, Refusal> {
        let mut check = Check::new();
        let mut begin = [0; MAGIC.len() + 4];
        let came = fill(&mut input, &mut begin)?;
        if begin[..came.min(MAGIC.len())] != MAGIC[..came.min(MAGIC.len())] || came == 0 {
            return Err(Refusal::Foreign(seems(&begin[..came])));
        }
        if came < begin.len() {
            return Err(Refusal::CutShort(came as u64));
        }
        let version = u32::from_be_bytes(std::array::from_fn(|i| begin[MAGIC.len() + i]));
        if version > VERSION {
            return Err(Refusal::Later(version));
        }
        check.add(&begin);
        let head =
            Head { made: 0, server: None, host: String::new(), cluster: None, program: String::new(), records: 0 };
        let at = begin.len() as u64;
        let (issuers, known) = (Vec::new(), HashSet::new());
        let mut this = Self { input, check, at, head, issuers, known, present: None, hashed: None, records: 0 };
        match this.frame()? {
            (HEAD, content) if version == VERSION => {
                this.head = serde_json::from_slice(&content).map_err(|_| Refusal::Damaged(at))?;
                Ok(this)
            }
            _ => Err(Refusal::Damaged(at)),
        }
    }

    /// Where the file is from.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How many records have come.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// What comes next; nothing behind [`Part::End`].
    pub(super) fn next(&mut self) -> Result<Part, Refusal> {
        let begin = self.at;
        let part = loop {
            match self.frame()? {
                (HASHES, content) => break self.part(HASHES, &content),
                (OTHER.., _) => {}
                (FAILED, why) => return Err(Refusal::Failed(String::from_utf8_lossy(&why).into_owned())),
                (kind, content) => break self.part(kind, &content),
            }
        };
        let part = part.ok_or(Refusal::Damaged(begin))?;
        if part == Part::End && fill(&mut self.input, &mut [0])? > 0 {
            return Err(Refusal::Damaged(self.at));
        }
        Ok(part)
    }

    fn part(&mut self, kind: u8, content: &[u8]) -> Option<Part> {
        let mut input = Input(content);
        match (kind, self.present) {
            (ISSUER, None) => {
                let (ca, tenant) = (input.array()?, std::str::from_utf8(input.0).ok()?);
                let id = IssuerId::new(tenant, ca);
                if !self.known.insert(id.clone()) || self.issuers.len() >= limits::BACKUP_ISSUERS_MAX {
                    return None;
                }
                self.issuers.push(id.clone());
                (self.present, self.hashed) = (Some((0, None)), None);
                Some(Part::Issuer(id))
            }
            (RECORDS, Some((count, mut last))) => {
                let mut changes = Vec::with_capacity(content.len() / ROW);
                for row in content.chunks(ROW) {
                    let change = rows::read(row)?;
                    if last.replace(change.serial).is_some_and(|last| last >= change.serial) {
                        return None;
                    }
                    changes.push(change);
                }
                self.records += changes.len() as u64;
                self.present = Some((count + changes.len() as u64, last));
                Some(Part::Records(changes))
            }
            (ISSUER_END, Some((count, _))) => {
                self.present = None;
                let (counted, verified) = (input.number()?, input.number()?);
                let crl_marks = rows::read_marks(&mut input)?;
                let verified = Some(UnixTime(verified)).filter(|time| time.0 != 0);
                (counted == count && input.is_empty()).then_some(Part::EndOfIssuer { crl_marks, verified })
            }
            (HASHES, None) if !self.issuers.is_empty() => {
                let hashes: Vec<_> = content.chunks(HASH_ROW).map(rows::read_hash).collect::<Option<_>>()?;
                let ascends =
                    |(serial, _): &(Serial, _)| self.hashed.replace(*serial).is_none_or(|last| last < *serial);
                hashes.iter().all(ascends).then_some(Part::Hashes(hashes))
            }
            (SUCCESSION, None) => {
                let mut issuer = || self.issuers.get(u32::from_be_bytes(input.array()?) as usize).cloned();
                let (former, successor) = (issuer()?, issuer()?);
                input.is_empty().then_some(Part::Succession(former, successor))
            }
            (END, None) => (input.number()? == self.records && input.is_empty()).then_some(Part::End),
            _ => None,
        }
    }

    /// A frame whose hash is right: its kind and its content.
    fn frame(&mut self) -> Result<(u8, Vec<u8>), Refusal> {
        let begin = self.at;
        let mut head = [0; 5];
        self.read(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > limits::BACKUP_FRAME_OCTETS_MAX {
            return Err(Refusal::Damaged(begin));
        }
        let mut content = vec![0; length];
        self.read(&mut content)?;
        self.check.add(&head);
        self.check.add(&content);
        let (wanted, mut hash) = (self.check.hash(), [0; HASH]);
        self.read(&mut hash)?;
        self.check.add(&hash);
        if hash == wanted { Ok((head[0], content)) } else { Err(Refusal::Damaged(begin)) }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        let came = fill(&mut self.input, bytes)?;
        self.at += came as u64;
        if came < bytes.len() { Err(Refusal::CutShort(self.at)) } else { Ok(()) }
    }
}

/// Reads as many bytes as there are, up to the length of `bytes`.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Refusal> {
    let mut came = 0;
    while came < bytes.len() {
        match input.read(&mut bytes[came..]) {
            Ok(0) => break,
            Ok(more) => came += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(came)
}

pub(super) fn unreadable(error: &io::Error) -> Refusal {
    Refusal::Unreadable(error.to_string())
}

/// What a file seems to be that begins like this.
fn seems(begin: &[u8]) -> &'static str {
    match begin {
        [] => "it is empty",
        [b'r', b'e', b'd', b'b', ..] => {
            "it is the file of a book itself (`book.redb`), which is put into the state directory of a stopped service as it is"
        }
        [b'O', b'S', b'C', b'1', ..] => "it is a snapshot of a feed, which replicas read",
        [0x1f, 0x8b, ..] => "it is compressed with gzip, and has to be unpacked first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd, and has to be unpacked first",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is compressed with xz, and has to be unpacked first",
        _ => "it begins with other bytes",
    }
}
