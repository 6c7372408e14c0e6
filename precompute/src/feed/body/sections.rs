//! Records, in a section for each issuer.
//!
//! Invariant: a record that is taken is one that a table can hold: a serial in the range of RFC 5280, and a state that
//! [`StateWord::saying`] writes in the same way. It does not know what may become of which record.
//!
//! A section is the issuer's fingerprint, the bytes of a record in two, and the records behind their count. A record is
//! the serial in 20 bytes, [`StateWord::said`] in 8 (that of a removed record too), the end of validity in 4 as tables
//! and their digests keep it (0 if unknown, all ones if after 2106), and the origin in one. A section that tells hashes of
//! certificates has 32 bytes more in each record: SHA-256, or zeros where none is told. Programs that do not know hashes
//! pass over these bytes, as this one passes over what later versions add behind them. No hash is part of a digest.

use crate::{
    feed::{
        Issuer,
        wire::{Input, Read, Refusal, put_count},
    },
    limits::feed as limits,
    pki::{Record, Serial, UnixTime},
    records::{CertificateHash, Change, NO_HASH, Origin, StateWord},
};

/// What records of one issuer say now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Whose.
    pub issuer: Issuer,
    /// What they say.
    pub changes: Vec<Change>,
    /// The hash of the certificate of each of them, or zeros; empty if none is told.
    pub hashes: Vec<CertificateHash>,
}

impl Section {
    /// One without hashes.
    pub const fn new(issuer: Issuer, changes: Vec<Change>) -> Self {
        Self { issuer, changes, hashes: Vec::new() }
    }

    /// The hashes that it tells.
    pub fn told_hashes(&self) -> impl Iterator<Item = (Serial, CertificateHash)> + '_ {
        let all = self.changes.iter().map(|change| change.serial).zip(self.hashes.iter().copied());
        all.filter(|(_, hash)| *hash != NO_HASH)
    }
}

/// Bytes of a record without a hash.
pub(in crate::feed) const RECORD: usize = Serial::MAX_OCTETS + 8 + 4 + 1;
/// The same with one.
const HASHED: usize = RECORD + NO_HASH.len();
/// Bytes of a section without its records.
const HEAD: usize = 32 + 2 + 4;

pub(super) fn write(sections: &[Section], bytes: &mut Vec<u8>) {
    put_count(bytes, sections.len());
    for Section { issuer, changes, hashes } in sections {
        if hashes.is_empty() {
            put_section_head(bytes, *issuer, RECORD, changes.len());
            changes.iter().for_each(|change| put_record(bytes, change));
            continue;
        }
        put_section_head(bytes, *issuer, HASHED, changes.len());
        for (number, change) in changes.iter().enumerate() {
            put_record(bytes, change);
            bytes.extend_from_slice(hashes.get(number).unwrap_or(&NO_HASH));
        }
    }
}

/// `most`: of the records of all sections together.
pub(super) fn read(input: &mut Input<'_>, most: usize) -> Read<Vec<Section>> {
    let count = input.count(most, HEAD, "it has too many sections")?;
    let mut sections = Vec::with_capacity(count);
    let mut left = most;
    for _ in 0..count {
        let rows = Rows::read(input, left)?;
        left -= rows.len();
        let (issuer, hashes) = (rows.issuer, rows.hashes());
        sections.push(Section { issuer, hashes, changes: rows.collect::<Read<_>>()? });
    }
    Ok(sections)
}

/// `width`: bytes of each of its rows.
pub(in crate::feed) fn put_section_head(bytes: &mut Vec<u8>, issuer: Issuer, width: usize, count: usize) {
    bytes.extend_from_slice(&issuer.0);
    bytes.extend_from_slice(&(width as u16).to_be_bytes());
    put_count(bytes, count);
}

pub(in crate::feed) fn put_record(bytes: &mut Vec<u8>, change: &Change) {
    let Change { serial, record, origin } = change;
    let end = record.and_then(|record| record.not_after).map_or(0, |end| u32::try_from(end.0).unwrap_or(u32::MAX));
    bytes.extend_from_slice(serial.padded());
    bytes.extend_from_slice(&StateWord::saying(record.map(|record| record.status)).word().to_be_bytes());
    bytes.extend_from_slice(&end.to_be_bytes());
    bytes.push(origin.bits());
}

/// The records of a section, one after the other, as they lie in the bytes.
#[derive(Clone, Debug)]
pub(in crate::feed) struct Rows<'a> {
    pub(in crate::feed) issuer: Issuer,
    width: usize,
    rows: &'a [u8],
}

impl<'a> Rows<'a> {
    /// A section with at most `most` records.
    pub(in crate::feed) fn read(input: &mut Input<'a>, most: usize) -> Read<Self> {
        Self::of(input, RECORD, most)
    }

    /// A section of a snapshot with nothing but hashes: each row is a serial, and the hash of its certificate.
    pub(in crate::feed) fn read_hashes(input: &mut Input<'a>) -> Read<(Issuer, Vec<(Serial, CertificateHash)>)> {
        let rows = Self::of(input, HASH_ROW, limits::CHUNK_OCTETS)?;
        let read = |row| {
            let mut input = Input::new(row);
            Ok((serial(&mut input)?, input.array()?))
        };
        Ok((rows.issuer, rows.rows.chunks(rows.width).map(read).collect::<Read<_>>()?))
    }

    /// `least`: bytes of a row in the first version that wrote it.
    fn of(input: &mut Input<'a>, least: usize, most: usize) -> Read<Self> {
        let issuer = Issuer(input.array()?);
        let width = usize::from(input.u16()?);
        if !(least..=limits::RECORD_OCTETS_MAX).contains(&width) {
            return Err(Refusal::Absurd("its records have an impossible length"));
        }
        let count = input.count(most, width, "it has too many records")?;
        Ok(Self { issuer, width, rows: input.take(count * width)? })
    }

    /// The hash of the certificate of each record, or zeros; empty if the section has none.
    fn hashes(&self) -> Vec<CertificateHash> {
        let hash = |row: &[u8]| row.get(RECORD..)?.first_chunk().copied();
        self.rows.chunks_exact(self.width).map_while(hash).collect()
    }
}

/// Bytes of a row of a section of hashes.
pub(in crate::feed) const HASH_ROW: usize = Serial::MAX_OCTETS + NO_HASH.len();

pub(in crate::feed) fn put_hash(bytes: &mut Vec<u8>, serial: &Serial, hash: &CertificateHash) {
    bytes.extend_from_slice(serial.padded());
    bytes.extend_from_slice(hash);
}

impl Iterator for Rows<'_> {
    type Item = Read<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        let (row, rest) = self.rows.split_at_checked(self.width).filter(|(row, _)| !row.is_empty())?;
        self.rows = rest;
        Some(record(row))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rows.len() / self.width;
        (count, Some(count))
    }
}

impl ExactSizeIterator for Rows<'_> {}

fn record(row: &[u8]) -> Read<Change> {
    let mut input = Input::new(row);
    let serial = serial(&mut input)?;
    let word = StateWord::from_word(input.u64()?);
    let status = word.status();
    if word != StateWord::saying(status) {
        return Err(Refusal::Absurd("a record has an impossible state"));
    }
    let not_after = Some(input.u32()?).filter(|end| *end != 0).map(|end| UnixTime(end.into()));
    let origin = input.u8()?;
    if origin != Origin::from_bits(origin).bits() || status.is_none() && (origin != 0 || not_after.is_some()) {
        return Err(Refusal::Absurd("a record has an impossible origin"));
    }
    let record = status.map(|status| Record { status, not_after });
    Ok(Change::new(serial, record).by(Origin::from_bits(origin)))
}

fn serial(input: &mut Input<'_>) -> Read<Serial> {
    let padded = input.array::<{ Serial::MAX_OCTETS }>()?;
    Serial::from_magnitude(&padded).ok_or(Refusal::Absurd("a serial number is 0"))
}
