//! What was told since a snapshot, beside it in the directory.
//!
//! Purpose: a replica that starts while Redis or every source of snapshots is away knows what it knew: a snapshot, and every change that it has applied
//! since. Without the changes it would take back what it has shown. Invariant: what is read back is everything that was
//! applied here after the snapshot, in order, or nothing: a file that misses anything, or may, is not used. It does not
//! know what may become of a record.
//!
//! Nothing is flushed, since following does not wait for a disk: the file outlives the process, but not for sure the
//! machine. So it has the machine's boot in its head, and counts in that boot only.
//!
//! The file: `OSJ1`, the boot in 36 bytes, the position of the snapshot; then rows: a length in four bytes, the place
//! after the entry (position and chain), the sections as a `begin` states them again, eight bytes of SHA-256 over place
//! and sections.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{
    super::{
        Body, Chain, Issuer, Later, LaterHashes, Position, Verdict,
        body::{BEGIN, Begin, Section},
        by_feed, sha256,
        store::Place,
    },
    directory::Directory,
};
use crate::{
    limits::{feed, shelf as limits},
    pki::Serial,
    records::Change,
};

const NAME: &str = "changes";
const MAGIC: &[u8; 4] = b"OSJ1";
const BOOT: usize = 36;
const HEAD: usize = MAGIC.len() + BOOT + 16;
const PLACE: usize = 16 + 32;
const SUM: usize = 8;

/// What one entry said, and the place after it.
type Row = (Place, Vec<Section>);

/// The changes since a snapshot, as they are written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// `None` while it is not to be used.
    file: Option<File>,
    octets: u64,
}

/// The changes since a snapshot, as they were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Journaled {
    /// The place after the last of them; `None` if there are none.
    pub place: Option<Place>,
    /// In order, each with where it was told, or later.
    pub sections: Vec<(Position, Section)>,
}

impl Journaled {
    /// What they say in the end of each record: what was revoked for good stays so.
    pub fn told(&self) -> Later {
        let mut told = Later::new();
        for (_, issuer, change) in self.changes() {
            let present = told.entry((issuer, change.serial)).or_insert(*change);
            if let Verdict::Becomes(next) = by_feed(present, change) {
                *present = next;
            }
        }
        told
    }

    /// The hashes of certificates that they tell.
    pub fn hashes(&self) -> LaterHashes {
        let told = |section: &Section| {
            section.told_hashes().map(|(serial, hash)| ((section.issuer, serial), hash)).collect::<Vec<_>>()
        };
        self.sections.iter().flat_map(|(_, section)| told(section)).collect()
    }

    /// Where each of those records was changed last, or later.
    pub fn changed(&self) -> HashMap<(Issuer, Serial), Position> {
        self.changes().map(|(at, issuer, change)| ((issuer, change.serial), at)).collect()
    }

    fn changes(&self) -> impl Iterator<Item = (Position, Issuer, &Change)> {
        self.sections
            .iter()
            .flat_map(|(at, section)| section.changes.iter().map(|change| (*at, section.issuer, change)))
    }
}

impl Journal {
    /// That of a directory, which is not used before [`Journal::begin`].
    pub fn of(directory: &Directory) -> Self {
        Self { path: directory.path().join(NAME), file: None, octets: 0 }
    }

    /// Begins anew after a comparison with the snapshot of this position, after which `since` was told up to `place`.
    pub fn begin(&mut self, snapshot: Position, place: Place, since: &[Section]) {
        let begun = head(snapshot).and_then(|head| self.replace(head, place, since));
        begun.unwrap_or_else(|error| self.give_up(&error));
    }

    /// The records become something else than this has, and it is begun anew after that.
    pub fn end(&mut self) {
        self.file = None;
        remove(&self.path);
    }

    /// An entry is applied now. It is written before it shows, so that nothing is missing here that was shown.
    pub fn append(&mut self, place: Place, sections: &[Section]) {
        let Some(file) = &mut self.file else { return };
        if sections.is_empty() {
            return;
        }
        let row = row(place, sections);
        self.octets += row.len() as u64;
        if let Err(error) = within(self.octets).and_then(|()| file.write_all(&row)) {
            self.give_up(&error);
        }
    }

    /// A newer snapshot is whole: what was told before it is no longer needed, except for what is shown otherwise at this
    /// `place`.
    pub fn begin_at(&mut self, snapshot: Position, place: Place, shown: &[Section]) {
        if self.file.is_none() {
            return;
        }
        let rewritten = fs::read(&self.path).and_then(|bytes| {
            let (_, rows) = rows(&bytes).ok_or_else(|| io::Error::other("it is not as it was written"))?;
            let mut kept = head(snapshot)?;
            rows.iter().filter(|(place, _)| place.position > snapshot).for_each(|(place, sections)| {
                kept.extend_from_slice(&row(*place, sections));
            });
            self.replace(kept, place, shown)
        });
        rewritten.unwrap_or_else(|error| self.give_up(&error));
    }

    /// Puts these bytes, and rows of what is said up to `place`, in place of what is there: a process that ends meanwhile
    /// leaves the one or the other.
    fn replace(&mut self, mut bytes: Vec<u8>, place: Place, said: &[Section]) -> io::Result<()> {
        for section in said {
            // In rows that can be read.
            let mut hashes = section.hashes.chunks(feed::BEGIN_RECORDS_MAX);
            for changes in section.changes.chunks(feed::BEGIN_RECORDS_MAX) {
                let hashes = hashes.next().unwrap_or_default().to_vec();
                bytes.extend(row(place, &[Section { issuer: section.issuer, changes: changes.to_vec(), hashes }]));
            }
        }
        self.octets = bytes.len() as u64;
        within(self.octets)?;
        let new = self.path.with_extension("new");
        let written = || -> io::Result<File> {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            fs::rename(&new, &self.path)?;
            Ok(file)
        };
        self.file = Some(written().inspect_err(|_| remove(&new))?);
        Ok(())
    }

    /// What was told after the snapshot of this position. `None` if that is not known for sure.
    pub fn read(&self, snapshot: Position) -> Option<Journaled> {
        let mut bytes = Vec::new();
        let file = File::open(&self.path).ok()?;
        file.take(limits::JOURNAL_OCTETS_MAX).read_to_end(&mut bytes).ok()?;
        let (begun_at, rows) = rows(&bytes)?;
        if begun_at > snapshot || bytes.get(MAGIC.len()..MAGIC.len() + BOOT)? != boot().ok()? {
            return None;
        }
        // At the same position stands what was shown otherwise than the snapshot says.
        let later: Vec<_> = rows.into_iter().filter(|(place, _)| place.position >= snapshot).collect();
        let place = later.last().map(|(place, _)| *place);
        let told = |(place, sections): Row| sections.into_iter().map(move |section| (place.position, section));
        Some(Journaled { place, sections: later.into_iter().flat_map(told).collect() })
    }

    fn give_up(&mut self, error: &io::Error) {
        self.file = None;
        warn!(
            file = %self.path.display(),
            "a restart while Redis is away will find no records here: {error}; it is tried again with the next snapshot"
        );
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(file = %path.display(), %error, "cannot be removed: remove it");
        }
        _ => {}
    }
}

/// Which boot of the machine it is.
fn boot() -> io::Result<[u8; BOOT]> {
    let text = fs::read("/proc/sys/kernel/random/boot_id")?;
    text.first_chunk().copied().ok_or_else(|| io::Error::other("the boot of this machine is not known"))
}

/// What stands before the rows.
fn head(snapshot: Position) -> io::Result<Vec<u8>> {
    Ok([&MAGIC[..], &boot()?, &position(snapshot)].concat())
}

fn within(octets: u64) -> io::Result<()> {
    let fits = octets <= limits::JOURNAL_OCTETS_MAX;
    if fits { Ok(()) } else { Err(io::Error::other("more was told since the snapshot than is kept")) }
}

fn position(Position { epoch, sequence }: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&epoch.to_be_bytes());
    bytes[8..].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

fn row(place: Place, sections: &[Section]) -> Vec<u8> {
    let mut content = [&position(place.position)[..], &place.chain.0].concat();
    Body::Begin(Begin { again: sections.to_vec(), ..Begin::default() }).write(&mut content);
    let sum = sha256(&content);
    [&(content.len() as u32).to_be_bytes()[..], &content, &sum[..SUM]].concat()
}

/// The position of the snapshot, and the rows; `None` unless all of it is as it was written.
fn rows(bytes: &[u8]) -> Option<(Position, Vec<Row>)> {
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    let position = |bytes: &[u8]| Some(Position { epoch: number(bytes)?, sequence: number(bytes.get(8..)?)? });
    let (head, mut left) = bytes.split_at_checked(HEAD)?;
    let begun_at = head.strip_prefix(MAGIC).and_then(|head| position(head.get(BOOT..)?))?;
    let mut rows = Vec::new();
    while let Some((length, rest)) = left.split_first_chunk() {
        let (content, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (sum, rest) = rest.split_at_checked(SUM)?;
        let (place, body) = content.split_at_checked(PLACE)?;
        let Ok(Body::Begin(begin)) = Body::read(BEGIN, body) else { return None };
        if sha256(content)[..SUM] != *sum {
            return None;
        }
        let chain = Chain(*place.last_chunk()?);
        rows.push((Place { position: position(place)?, chain }, begin.again));
        left = rest;
    }
    left.is_empty().then_some((begun_at, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feed::{Cluster, Trusted},
        pki::{Reason, Record, Status, UnixTime},
    };
    use std::sync::Arc;

    const GOOD: Status = Status::Good;
    const LOST: Status = Status::Revoked { time: UnixTime(6), reason: Reason::KeyCompromise };

    fn at(sequence: u64) -> Place {
        Place { position: Position { epoch: 5, sequence }, chain: Chain([sequence as u8; 32]) }
    }

    fn said(number: u8, status: Status) -> Section {
        let record = Some(Record { status, not_after: None });
        let change = Change::new(Serial::from_magnitude(&[number]).unwrap(), record);
        Section::new(Issuer([1; 32]), vec![change])
    }

    fn journal(dir: &Path) -> Journal {
        let cluster = Cluster::new("journal").unwrap();
        Journal::of(&Directory::open(dir, cluster, Arc::new(Trusted::default())).unwrap())
    }

    /// It was begun in place, row by row: a process that was killed meanwhile left a file that could be read and lacked what
    /// had been shown.
    #[test]
    fn whoever_reads_while_it_is_begun_anew_finds_all_or_nothing() {
        const ROWS: u8 = 200;
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        let other = Journal { path: journal.path.clone(), file: None, octets: 0 };
        let since: Vec<_> = (1..=ROWS).map(|number| said(number, LOST)).collect();
        let ends = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..300 {
                    journal.begin(at(3).position, at(5), &since);
                    if turn % 2 == 0 {
                        journal.begin_at(at(3).position, at(5), &[]);
                    } else {
                        journal.end();
                    }
                }
                ends.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                let read = other.read(at(3).position).map(|journaled| journaled.sections.len());
                assert!(read.is_none_or(|rows| rows == usize::from(ROWS)), "{read:?}");
            }
        });
    }

    #[test]
    fn hashes_are_read_back_and_the_later_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        let hashed = |number, hash: u8| Section { hashes: vec![[hash; 32]], ..said(number, GOOD) };
        journal.begin(at(3).position, at(5), &[hashed(1, 1), hashed(2, 2), said(3, GOOD)]);
        journal.append(at(6), &[hashed(2, 3)]);
        let hashes = journal.read(at(3).position).unwrap().hashes();
        let hash = |number| hashes.get(&(Issuer([1; 32]), Serial::from_magnitude(&[number]).unwrap())).copied();
        assert_eq!([1, 2, 3].map(hash), [Some([1; 32]), Some([3; 32]), None]);
    }

    #[test]
    fn what_was_told_after_a_snapshot_is_read_back_and_less_than_all_of_it_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        assert_eq!(journal.read(at(3).position), None, "there is none");
        journal.append(at(3), &[said(9, LOST)]);
        assert_eq!(journal.read(at(3).position), None, "it was not begun");
        journal.begin(at(3).position, at(5), &[said(1, LOST)]);
        journal.append(at(6), &[said(2, LOST)]);
        journal.append(at(7), &[]);
        journal.append(at(8), &[said(1, GOOD), said(3, GOOD)]);
        let whole = journal.read(at(3).position).unwrap();
        assert_eq!((whole.place, whole.sections.len()), (Some(at(8)), 4));
        let told = whole.told();
        let status = |number| {
            let key = (Issuer([1; 32]), Serial::from_magnitude(&[number]).unwrap());
            told[&key].record.unwrap().status
        };
        assert_eq!([1, 2, 3].map(status), [LOST, LOST, GOOD], "what was revoked for good stays so");
        let changed = whole.changed();
        let position = |number| changed[&(Issuer([1; 32]), Serial::from_magnitude(&[number]).unwrap())];
        assert_eq!([1, 2, 3].map(position), [8, 6, 8].map(|sequence| at(sequence).position));
        assert_eq!(journal.read(at(2).position), None, "of an older snapshot not all is known");
        let newer = journal.read(at(7).position).unwrap();
        assert_eq!((newer.place, newer.sections.len()), (Some(at(8)), 2));
        // It goes on behind a newer snapshot.
        let path = dir.path().join(NAME);
        journal.begin_at(at(7).position, at(8), &[said(4, LOST)]);
        assert_eq!(journal.read(at(3).position), None);
        journal.append(at(9), &[said(5, GOOD)]);
        let newer = journal.read(at(7).position).unwrap();
        assert_eq!((newer.place, newer.sections.len()), (Some(at(9)), 4));
        // Cut or changed anywhere, it is nothing, unless whole rows are missing.
        let bytes = fs::read(&path).unwrap();
        let reads = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            journal.read(at(7).position)
        };
        let readable = (0..bytes.len()).filter(|length| reads(&bytes[..*length]).is_some()).count();
        assert_eq!(readable, 3, "before each of three rows");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x80;
            let read = reads(&changed);
            // An older position in its head makes it of an older snapshot.
            assert!(read.is_none() || (MAGIC.len() + BOOT..HEAD).contains(&place), "byte {place}");
        }
    }
}
