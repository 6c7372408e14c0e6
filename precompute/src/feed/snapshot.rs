//! Everything at one position, in chunks.
//!
//! Purpose: records first, then answers, so that a reader is ready before the answers have come. Invariant: each chunk can
//! be read alone, in one walk, into a table that has room, since the manifest says for how many records. What is written
//! is bounded by a chunk in memory, whatever the number of records. It does not know where chunks are kept, or how they
//! travel.
//!
//! A chunk is `OSC1` and sections: a kind in one byte, a length in four, and that many bytes. Kind 1 has issuers with
//! their numbers of records, 2 a section of records, 3 one of answers, both as in entries, 128 hashes of certificates; a
//! reader passes over kinds from 128 up that it does not know. Zeros fill a chunk up to the length that all have but the last one, so chunk n begins at n times that.

use super::{
    Issuer,
    body::{AnswerRows, HASH_ROW, IssuerStatus, RECORD, Rows, put_hash, put_record, put_rows, put_section_head},
    sha256,
    wire::{Input, Read, Refusal, put_count},
};
use crate::{
    answers::HEAD,
    limits::feed as limits,
    pki::Serial,
    records::{CertificateHash, Change},
};

const MAGIC: [u8; 4] = *b"OSC1";
/// Bytes of a section before its content.
const SECTION: usize = 1 + 4;
/// Bytes of a section of records, or of hashes, before the first of them.
const OF_RECORDS: usize = SECTION + 32 + 2 + 4;
/// Bytes of a section of answers before the first of them.
const OF_ANSWERS: usize = SECTION + 32 + 32 + 2 + 4;
/// Bytes of an issuer with names of the greatest length.
const OF_ISSUER: usize = SECTION + 4 + limits::NAME_OCTETS_MAX + 256;

const ISSUERS: u8 = 1;
const RECORDS: u8 = 2;
const ANSWERS: u8 = 3;
/// The first kind that may be passed over.
const HASHES: u8 = 128;
/// Those behind the last one that is known.
const OTHER: u8 = HASHES + 1;

/// The shortest chunk in which everything fits that cannot be divided.
const CHUNK_OCTETS_MIN: usize = MAGIC.len() + OF_ISSUER;
const _: () = assert!(MAGIC.len() + OF_ANSWERS + HEAD + limits::PACKED_OCTETS_MAX < limits::CHUNK_OCTETS);

/// Cuts a snapshot into chunks. Issuers come first, then records and hashes, then answers.
#[derive(Debug)]
pub struct SnapshotWriter {
    chunk_octets: usize,
    chunk: Vec<u8>,
    /// Where the length of the section stands that is being written.
    section: Option<(usize, Kind)>,
    /// What has been finished.
    hashes: Vec<[u8; 32]>,
    octets: u64,
    records: u64,
    record_chunks: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Issuers,
    Records(Issuer),
    Hashes(Issuer),
}

/// What a manifest says of a snapshot that is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// How many records it has.
    pub records: u64,
    /// How long it is.
    pub octets: u64,
    /// How long each chunk is but the last one.
    pub chunk_octets: u32,
    /// After how many chunks all records have come.
    pub record_chunks: u32,
    /// SHA-256 of each chunk.
    pub hashes: Vec<[u8; 32]>,
}

impl Default for SnapshotWriter {
    fn default() -> Self {
        Self::with_chunks_of(limits::CHUNK_OCTETS)
    }
}

impl SnapshotWriter {
    /// `octets`: of a chunk; at least enough for one issuer.
    pub fn with_chunks_of(octets: usize) -> Self {
        Self {
            chunk_octets: octets.clamp(CHUNK_OCTETS_MIN, limits::CHUNK_OCTETS),
            chunk: MAGIC.to_vec(),
            section: None,
            hashes: Vec::new(),
            octets: 0,
            records: 0,
            record_chunks: None,
        }
    }

    /// Adds an issuer, and how many records of it follow. Here and below `done` is called with each chunk that is full.
    pub fn issuer<E>(
        &mut self,
        status: &IssuerStatus,
        records: u64,
        done: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.room(OF_ISSUER, done)?;
        self.begin(Kind::Issuers);
        status.write(&mut self.chunk);
        self.chunk.extend_from_slice(&records.to_be_bytes());
        self.count_one(0);
        Ok(())
    }

    /// Adds a record; those of one issuer come together.
    pub fn record<E>(
        &mut self,
        issuer: Issuer,
        change: &Change,
        done: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_open = self.section.is_some_and(|(_, kind)| kind == Kind::Records(issuer));
        self.room(if is_open { RECORD } else { OF_RECORDS + RECORD }, done)?;
        self.begin(Kind::Records(issuer));
        put_record(&mut self.chunk, change);
        self.count_one(32 + 2);
        self.records += 1;
        Ok(())
    }

    /// Adds the hash of a certificate; those of one issuer come together, behind its records.
    pub fn hash<E>(
        &mut self,
        issuer: Issuer,
        (serial, hash): (&Serial, &CertificateHash),
        done: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_open = self.section.is_some_and(|(_, kind)| kind == Kind::Hashes(issuer));
        self.room(if is_open { HASH_ROW } else { OF_RECORDS + HASH_ROW }, done)?;
        self.begin(Kind::Hashes(issuer));
        put_hash(&mut self.chunk, serial, hash);
        self.count_one(32 + 2);
        Ok(())
    }

    /// Adds answers; no record follows. Those that fit no chunk are left out.
    pub fn answers<E>(
        &mut self,
        rows: &AnswerRows<'_>,
        done: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end_of_records();
        self.close();
        let octets = HEAD + rows.packed_length;
        let mut left = rows.entries;
        while left.len() >= octets && MAGIC.len() + OF_ANSWERS + octets <= self.chunk_octets {
            self.room(OF_ANSWERS + octets, done)?;
            let fit = (self.chunk_octets - self.chunk.len() - OF_ANSWERS) / octets;
            let (now, later) = left.split_at(left.len().min(fit * octets) / octets * octets);
            left = later;
            self.chunk.push(ANSWERS);
            put_count(&mut self.chunk, OF_ANSWERS - SECTION + now.len());
            put_rows(&mut self.chunk, &AnswerRows { entries: now, ..*rows });
        }
        Ok(())
    }

    /// Ends it.
    pub fn finish<E>(mut self, done: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<Written, E> {
        self.end_of_records();
        self.close();
        self.emit(done)?;
        Ok(Written {
            records: self.records,
            octets: self.octets,
            chunk_octets: self.chunk_octets as u32,
            record_chunks: self.record_chunks.unwrap_or(0),
            hashes: self.hashes,
        })
    }

    fn end_of_records(&mut self) {
        // The chunk that is being written has the last of them.
        let chunks = self.hashes.len() as u32 + 1;
        self.record_chunks.get_or_insert(chunks);
    }

    /// Sees to it that so many bytes fit the chunk.
    fn room<E>(&mut self, octets: usize, done: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.chunk.len() + octets > self.chunk_octets {
            self.close();
            self.chunk.resize(self.chunk_octets, 0);
            self.emit(done)?;
        }
        Ok(())
    }

    fn emit<E>(&mut self, done: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.hashes.push(sha256(&self.chunk));
        self.octets += self.chunk.len() as u64;
        done(&self.chunk)?;
        self.chunk.truncate(MAGIC.len());
        Ok(())
    }

    fn begin(&mut self, kind: Kind) {
        if self.section.is_some_and(|(_, open)| open == kind) {
            return;
        }
        self.close();
        self.section = Some((self.chunk.len() + 1, kind));
        match kind {
            Kind::Issuers => {
                self.chunk.extend_from_slice(&[ISSUERS, 0, 0, 0, 0]);
                put_count(&mut self.chunk, 0);
            }
            Kind::Records(issuer) => {
                self.chunk.extend_from_slice(&[RECORDS, 0, 0, 0, 0]);
                put_section_head(&mut self.chunk, issuer, RECORD, 0);
            }
            Kind::Hashes(issuer) => {
                self.chunk.extend_from_slice(&[HASHES, 0, 0, 0, 0]);
                put_section_head(&mut self.chunk, issuer, HASH_ROW, 0);
            }
        }
    }

    /// One more in the section. `count`: where its count stands in its content.
    fn count_one(&mut self, count: usize) {
        let Some((length, _)) = self.section else { return };
        let place = length + 4 + count;
        if let Some(count) = self.chunk.get_mut(place..).and_then(<[u8]>::first_chunk_mut) {
            *count = (u32::from_be_bytes(*count) + 1).to_be_bytes();
        }
    }

    fn close(&mut self) {
        let Some((place, _)) = self.section.take() else { return };
        let length = (self.chunk.len() - place - 4) as u32;
        self.chunk[place..place + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// A part of a chunk.
#[derive(Debug)]
pub enum Part<'a> {
    /// Issuers, each with the number of its records.
    Issuers(Vec<(IssuerStatus, u64)>),
    /// Records of one issuer.
    Records(Issuer, RecordRows<'a>),
    /// Hashes of certificates of one issuer.
    Hashes(Issuer, Vec<(Serial, CertificateHash)>),
    /// Answers.
    Answers(AnswerRows<'a>),
}

/// Records as they lie in a chunk.
#[derive(Clone, Debug)]
pub struct RecordRows<'a>(Rows<'a>);

impl Iterator for RecordRows<'_> {
    type Item = Result<Change, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for RecordRows<'_> {}

/// Calls `each` with the parts of a chunk, one after the other.
pub fn each_part(chunk: &[u8], mut each: impl FnMut(Part<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let mut input = Input::new(chunk);
    if chunk.len() > limits::CHUNK_OCTETS || input.array()? != MAGIC {
        return Err(Refusal::Absurd("it is no chunk of a snapshot"));
    }
    while input.left() > 0 {
        let kind = input.u8()?;
        if kind == 0 {
            // Filled up.
            return if input.rest().iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Refusal::UnknownKind(0)) };
        }
        let length = input.count(limits::CHUNK_OCTETS, 1, "a section is too long")?;
        let mut content = Input::new(input.take(length)?);
        match kind {
            ISSUERS => each(Part::Issuers(issuers(&mut content)?))?,
            RECORDS => {
                let rows = Rows::read(&mut content, limits::CHUNK_OCTETS)?;
                each(Part::Records(rows.issuer, RecordRows(rows)))?;
            }
            ANSWERS => each(Part::Answers(AnswerRows::read(&mut content)?))?,
            HASHES => {
                let (issuer, hashes) = Rows::read_hashes(&mut content)?;
                each(Part::Hashes(issuer, hashes))?;
            }
            OTHER.. => continue,
            _ => return Err(Refusal::UnknownKind(kind)),
        }
        content.end()?;
    }
    Ok(())
}

fn issuers(input: &mut Input<'_>) -> Read<Vec<(IssuerStatus, u64)>> {
    let count = input.count(limits::CHUNK_OCTETS, 54 + 8, "it has too many issuers")?;
    (0..count).map(|_| Ok((IssuerStatus::read(input)?, input.u64()?))).collect()
}
