//! A file that others may be writing, read up to the length that it had when it was opened.
//!
//! Purpose: to say at the end whether what was read is one state of the file ([`Ended`]). A process that appends
//! keeps a large file from ever being still for as long as a read takes, and must not keep its lines from counting.
//!
//! Invariant: [`Ended::Whole`] and [`Ended::Grown`] are only said of bytes that were in the file together at one
//! instant between the opening and the answer. There are two proofs of that:
//!
//! - The length and the times of the file are unchanged, and the last change was long enough before the opening that
//!   another one would show in the times.
//! - Otherwise the bytes are hashed a second time, after the end of the first scan. At the instant between two equal
//!   scans every byte had the value that was read: if it had another one then, it was changed away from it and back to
//!   it, within two scans and at the right moments of both. A writer that appends changes no byte; one that rewrites
//!   the file with another content makes the second scan differ. Left over is a writer that alternates between two
//!   contents in place. It would have to meet each scan in the same places; a file small enough for that is scanned
//!   several times ([`SCANS_MAX`]), unless a scan passes without any change of length and times.
//!
//! What an earlier read has proved and hashed needs one more scan for the same reason: that one is its second.
//!
//! It does not know what the bytes mean, except that lines end in a newline: an incomplete last line is never part of
//! what was taken.

use std::{
    fs::{File, Metadata},
    hash::Hasher as _,
    io::{self, BufRead, Read},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    time::{Duration, SystemTime},
};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::limits;

/// Bytes requested from the file at a time: about a thousand lines, so that system calls cost little.
const READ_OCTETS: usize = 128 << 10;

/// Bytes before the end of what was taken that are compared first when the file is read again: where they differ, it was
/// not appended to, and its other bytes need not be read to see that.
const LAST_OCTETS: usize = 4096;

/// How often a file is scanned at most to see whether the bytes stay the same,
const SCANS_MAX: u32 = 8;
/// as long as these scans read no more than this together: two milliseconds.
const SCANS_OCTETS_MAX: u64 = 4 << 20;

/// How a read of a file that others may write has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// What was read is the whole file, which nobody has changed meanwhile.
    Whole,
    /// What was read is the file as it was at one instant, as far as its last whole line; it has been written since.
    Grown,
    /// What was read may be a mixture of several contents.
    Torn,
}

/// A hash of a file's bytes with their number. It finds changes; it is no protection against somebody who may write
/// the file, and so needs no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Digest {
    pub(super) length: u64,
    pub(super) hash: [u8; 16],
}

/// The hash of bytes as they come. SipHash-1-3 with 128 bits and a fixed key: 1.9 GB/s on one core where SHA-256 with
/// its instructions has 1.5, and without them 0.5.
#[derive(Clone, Debug)]
pub(super) struct Digester {
    length: u64,
    hasher: SipHasher13,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self { length: 0, hasher: SipHasher13::new() }
    }

    pub(super) fn add(&mut self, octets: &[u8]) {
        self.length += octets.len() as u64;
        self.hasher.write(octets);
    }

    pub(super) fn digest(&self) -> Digest {
        Digest { length: self.length, hash: self.hasher.finish128().as_bytes() }
    }
}

/// The last [`LAST_OCTETS`] of bytes as they come.
#[derive(Default)]
struct Last(Vec<u8>);

impl Last {
    fn add(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(&octets[octets.len().saturating_sub(LAST_OCTETS)..]);
        self.0.drain(..self.0.len().saturating_sub(LAST_OCTETS));
    }

    fn digest(&self) -> Digest {
        let mut digester = Digester::new();
        digester.add(&self.0);
        digester.digest()
    }
}

/// What a file looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    /// Seconds and nanoseconds since 1970.
    pub(super) modified: (i64, i64),
    /// When it was last renamed, linked or written, by the clock of its file system.
    pub(super) changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether both are of one content, as far as stamps can tell. A rename alone changes `changed`.
    fn is_as_written(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }

    /// Whether the last change is long enough ago that another one would show in the times. Never for times in the
    /// future.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return false };
        let last = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
        last.and_then(|last| now.duration_since(last).ok()).is_some_and(|age| age > limits::SETTLED_AFTER)
    }
}

/// A stamp and whether it was settled when it was taken.
#[derive(Clone, Copy, Debug)]
struct Look {
    stamp: Stamp,
    settled: bool,
}

impl Look {
    fn at(file: &File) -> io::Result<Self> {
        // The time first: a change after it can only make the file look younger.
        let now = SystemTime::now();
        let stamp = Stamp::of(&file.metadata()?);
        Ok(Self { stamp, settled: stamp.is_settled(now) })
    }
}

/// What is known about bytes that were proved to be one state of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proved {
    /// Of the file up to its last whole line that was read.
    pub(super) digest: Digest,
    /// Of the last of these bytes.
    pub(super) last: Digest,
    /// What the file looked like while it had them.
    pub(super) stamp: Stamp,
    /// Whether the same stamp, seen again, means the same bytes.
    pub(super) settled: bool,
}

/// The beginning of an open file.
#[derive(Debug)]
pub struct Prefix {
    file: File,
    opened: Look,
    /// What lies before the bytes that are read, if an earlier read has read that.
    before: Option<Digest>,
    /// Where the next read begins, and where the last one ends.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// The part of the buffer that was not given out yet.
    unread: std::ops::Range<usize>,
    /// Of the bytes read so far without what lies before them, and of those up to the last newline.
    read: Digester,
    whole: Digester,
    /// The file was shorter than when it was opened.
    is_short: bool,
    /// Nobody changes what lies before.
    is_before_trusted: bool,
}

impl Prefix {
    /// Reads what `file` has, without the bytes of `before`.
    pub(super) fn new(file: File, before: Option<Digest>) -> io::Result<Self> {
        let opened = Look::at(&file)?;
        let at = before.map_or(0, |before| before.length);
        Ok(Self {
            opened,
            before,
            at,
            end: opened.stamp.length,
            buffer: vec![0; READ_OCTETS],
            unread: 0..0,
            read: Digester::new(),
            whole: Digester::new(),
            is_short: opened.stamp.length < at,
            is_before_trusted: false,
            file,
        })
    }

    /// What it looked like when it was opened.
    pub(super) fn stamp(&self) -> Stamp {
        self.opened.stamp
    }

    /// Only appending writes to this file: what lies before the bytes that are read is as it was.
    pub(super) fn trust_before(&mut self) {
        self.is_before_trusted = true;
    }

    /// The bytes that are to be read, before any is.
    pub(super) fn unread(&mut self) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        self.scan(self.at, self.end.saturating_sub(self.at), |part| octets.extend_from_slice(part))?;
        Ok(octets)
    }

    /// Of these bytes, those behind the first `line`, which is not the first one; before any is read.
    pub(super) fn behind(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        let wanted = [b"\n", line].concat();
        let (mut octets, mut is_found) = (Vec::new(), false);
        self.scan(self.at, self.end.saturating_sub(self.at), |part| {
            octets.extend_from_slice(part);
            if is_found {
                return;
            }
            let found = memchr::memmem::find(&octets, &wanted);
            is_found = found.is_some();
            octets.drain(..found.map_or(octets.len().saturating_sub(wanted.len() - 1), |at| at + wanted.len()));
        })?;
        Ok(if is_found { octets } else { Vec::new() })
    }

    /// The digest of the last of the first `length` bytes of the file; `None` if it has not so many.
    pub(super) fn last_of(&self, length: u64) -> io::Result<Option<Digest>> {
        let (mut digester, mut buffer) = (Digester::new(), [0; LAST_OCTETS]);
        let octets = length.min(LAST_OCTETS as u64);
        let scanned = scan(&self.file, &mut buffer, length - octets, octets, |octets| digester.add(octets))?;
        Ok(scanned.then(|| digester.digest()))
    }

    /// Says whether the whole lines that were read, with what lies before them, are one state of the file.
    pub(super) fn prove(&mut self) -> io::Result<(Ended, Option<Proved>)> {
        const TORN: (Ended, Option<Proved>) = (Ended::Torn, None);
        if self.is_short {
            return Ok(TORN);
        }
        // Before the look, which says whether the file still has what was read. A scan finds its own.
        let last = self.last_of(self.before.map_or(0, |before| before.length) + self.whole.digest().length)?;
        let now = Look::at(&self.file)?;
        if let Some((before, last)) = self.before.filter(|_| self.is_before_trusted).zip(last) {
            let read = self.whole.digest();
            let mut both = Digester::new();
            both.add(&before.hash);
            both.add(&read.hash);
            let digest = Digest { length: before.length + read.length, ..both.digest() };
            let is_same = self.opened.stamp == now.stamp;
            let proved = Proved { digest, last, stamp: now.stamp, settled: self.opened.settled && is_same };
            return Ok((if is_same { Ended::Whole } else { Ended::Grown }, Some(proved)));
        }
        if let Some(last) = last
            && self.opened.settled
            && self.opened.stamp == now.stamp
            && self.before.is_none()
        {
            let proved = Proved { digest: self.whole.digest(), last, stamp: now.stamp, settled: true };
            return Ok((Ended::Whole, Some(proved)));
        }
        let (mut before, mut scans, mut scanned) = (now, 0, 0);
        loop {
            if before.stamp.length < self.opened.stamp.length {
                return Ok(TORN);
            }
            let Some((digest, last)) = self.scan_again()? else { return Ok(TORN) };
            let after = Look::at(&self.file)?;
            scans += 1;
            scanned += digest.length;
            let steady = before.settled && before.stamp == after.stamp;
            if steady || scans == SCANS_MAX || scanned + digest.length > SCANS_OCTETS_MAX {
                let whole = self.opened.stamp.is_as_written(&after.stamp);
                let proved = Proved { digest, last, stamp: after.stamp, settled: steady };
                return Ok((if whole { Ended::Whole } else { Ended::Grown }, Some(proved)));
            }
            before = after;
        }
    }

    /// The digest of everything up to the last whole line that was read, and of its last bytes; `None` if it is no longer
    /// the same bytes.
    fn scan_again(&mut self) -> io::Result<Option<(Digest, Digest)>> {
        let (read, before) = (self.whole.digest(), self.before.unwrap_or(Digester::new().digest()));
        let (mut all, mut last) = (Digester::new(), Last::default());
        let mut add = |octets: &[u8]| {
            all.add(octets);
            last.add(octets);
        };
        if !self.scan(0, before.length, &mut add)? || all.digest() != before {
            return Ok(None);
        }
        let mut again = Digester::new();
        let scanned = self.scan(before.length, read.length, |octets| {
            all.add(octets);
            last.add(octets);
            again.add(octets);
        })?;
        Ok((scanned && again.digest() == read).then(|| (all.digest(), last.digest())))
    }

    /// Reads a part of the file, which has no unread bytes in the buffer any more; false if the file ends in it.
    fn scan(&mut self, from: u64, length: u64, each: impl FnMut(&[u8])) -> io::Result<bool> {
        self.unread = 0..0;
        scan(&self.file, &mut self.buffer, from, length, each)
    }
}

fn scan(file: &File, buffer: &mut [u8], from: u64, length: u64, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let (mut at, end) = (from, from + length);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                each(&buffer[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The digest of a file as it is now, up to the length that it has now.
pub(super) fn digest_of(file: &File) -> io::Result<Digest> {
    let length = file.metadata()?.len();
    let mut digester = Digester::new();
    scan(file, &mut vec![0; READ_OCTETS], 0, length, |octets| digester.add(octets))?;
    Ok(digester.digest())
}

impl Read for Prefix {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Prefix {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() && self.at < self.end {
            let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(self.buffer.len());
            // `read_until` asks again after an interruption.
            let read = self.file.read_at(&mut self.buffer[..wanted], self.at)?;
            if read == 0 {
                (self.is_short, self.end) = (true, self.at);
            }
            self.at += read as u64;
            self.unread = 0..read;
            let octets = &self.buffer[..read];
            let lines = memchr::memrchr(b'\n', octets).map_or(0, |newline| newline + 1);
            self.read.add(&octets[..lines]);
            if lines > 0 {
                self.whole = self.read.clone();
            }
            self.read.add(&octets[lines..]);
        }
        Ok(&self.buffer[self.unread.clone()])
    }

    fn consume(&mut self, amount: usize) {
        self.unread.start = self.unread.end.min(self.unread.start + amount);
    }
}

#[cfg(test)]
mod tests;
