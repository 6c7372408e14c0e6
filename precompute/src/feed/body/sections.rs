//! Records, in a section for each issuer.
//!
//! Invariant: a record that is taken is one that a table can hold: a serial in the range of RFC 5280, and a state that
//! [`StateWord::saying`] writes in the same way. It does not know what may become of which record.
//!
//! A section is the issuer's fingerprint, the bytes of a record in two, and the records behind their count. A record is
//! the serial in 20 bytes, [`StateWord::said`] in 8 (that of a removed record too), the end of validity in 4 as tables
//! and their digests keep it (0 if unknown, all ones if after 2106), and the origin in one. Later versions add behind
//! that; this one passes over it, which is the room for optional fields.

use crate::{
    feed::{
        Issuer,
        wire::{Input, Read, Refusal, put_count},
    },
    limits::feed as limits,
    pki::{Record, Serial, UnixTime},
    records::{Change, Origin, StateWord},
};

/// What records of one issuer say now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Whose.
    pub issuer: Issuer,
    /// What they say.
    pub changes: Vec<Change>,
}

/// Bytes of a record, as this version writes it.
pub(in crate::feed) const RECORD: usize = Serial::MAX_OCTETS + 8 + 4 + 1;
/// Bytes of a section without its records.
const HEAD: usize = 32 + 2 + 4;

pub(super) fn write(sections: &[Section], bytes: &mut Vec<u8>) {
    put_count(bytes, sections.len());
    for Section { issuer, changes } in sections {
        put_section_head(bytes, *issuer, changes.len());
        changes.iter().for_each(|change| put_record(bytes, change));
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
        let issuer = rows.issuer;
        sections.push(Section { issuer, changes: rows.collect::<Read<_>>()? });
    }
    Ok(sections)
}

pub(in crate::feed) fn put_section_head(bytes: &mut Vec<u8>, issuer: Issuer, count: usize) {
    bytes.extend_from_slice(&issuer.0);
    bytes.extend_from_slice(&(RECORD as u16).to_be_bytes());
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
        let issuer = Issuer(input.array()?);
        let width = usize::from(input.u16()?);
        if !(RECORD..=limits::RECORD_OCTETS_MAX).contains(&width) {
            return Err(Refusal::Absurd("its records have an impossible length"));
        }
        let count = input.count(most, width, "it has too many records")?;
        Ok(Self { issuer, width, rows: input.take(count * width)? })
    }
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
    let serial = input.array::<{ Serial::MAX_OCTETS }>()?;
    let serial = Serial::from_magnitude(&serial).ok_or(Refusal::Absurd("a serial number is 0"))?;
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
