//! Signed answers, in a section for each issuer and form.
//!
//! Invariant: the entries are whole, and each is one that [`each_entry`] gives; a reader looks up the form by its
//! fingerprint, and leaves out what it does not serve. It does not know signers, and verifies no signature of an answer:
//! a trusted writer has made them.

use crate::{
    answers::{HEAD, each_entry},
    feed::{
        Issuer,
        wire::{Input, Read, Refusal, put_count},
    },
    limits::feed as limits,
    records::StateWord,
};

/// Answers of one form, as [`Stored`](crate::answers::Stored) writes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswerSection {
    /// Whose.
    pub issuer: Issuer,
    /// The fingerprint of their form.
    pub form: [u8; 32],
    /// The length of their signatures.
    pub packed_length: usize,
    /// The entries.
    pub entries: Vec<u8>,
}

impl AnswerSection {
    /// The same, borrowed.
    pub fn rows(&self) -> AnswerRows<'_> {
        AnswerRows { issuer: self.issuer, form: self.form, packed_length: self.packed_length, entries: &self.entries }
    }
}

/// Bytes of a section without its entries.
const SECTION: usize = 32 + 32 + 2 + 4;

pub(super) fn write(sections: &[AnswerSection], bytes: &mut Vec<u8>) {
    put_count(bytes, sections.len());
    sections.iter().for_each(|section| put_rows(bytes, &section.rows()));
}

pub(super) fn read(input: &mut Input<'_>) -> Read<Vec<AnswerSection>> {
    let count = input.count(limits::ENTRY_RECORDS_MAX, SECTION, "it has too many sections")?;
    let owned = |rows: AnswerRows<'_>| AnswerSection {
        issuer: rows.issuer,
        form: rows.form,
        packed_length: rows.packed_length,
        entries: rows.entries.to_vec(),
    };
    (0..count).map(|_| AnswerRows::read(input).map(owned)).collect()
}

/// The same as it lies in the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnswerRows<'a> {
    /// Whose.
    pub issuer: Issuer,
    /// The fingerprint of their form.
    pub form: [u8; 32],
    /// The length of their signatures.
    pub packed_length: usize,
    /// The entries.
    pub entries: &'a [u8],
}

pub(in crate::feed) fn put_rows(bytes: &mut Vec<u8>, rows: &AnswerRows<'_>) {
    bytes.extend_from_slice(&rows.issuer.0);
    bytes.extend_from_slice(&rows.form);
    bytes.extend_from_slice(&u16::try_from(rows.packed_length).unwrap_or(0).to_be_bytes());
    put_count(bytes, rows.entries.len() / (HEAD + rows.packed_length));
    bytes.extend_from_slice(rows.entries);
}

impl<'a> AnswerRows<'a> {
    pub(in crate::feed) fn read(input: &mut Input<'a>) -> Read<Self> {
        let (issuer, form) = (Issuer(input.array()?), input.array()?);
        let packed_length = usize::from(input.u16()?);
        if packed_length == 0 || packed_length > limits::PACKED_OCTETS_MAX || !packed_length.is_multiple_of(8) {
            return Err(Refusal::Absurd("its signatures have an impossible length"));
        }
        let octets = HEAD + packed_length;
        let count = input.count(limits::CHUNK_OCTETS / octets, octets, "it has too many answers")?;
        let entries = input.take(count * octets)?;
        let mut possible = 0;
        each_entry(entries, packed_length, |_, entry, _| {
            let is_listed = entry.state.status().is_some_and(|status| StateWord::saying(Some(status)) == entry.state);
            possible += usize::from(is_listed && entry.this_update <= entry.next_update);
        });
        if possible != count {
            return Err(Refusal::Absurd("an answer is impossible"));
        }
        Ok(Self { issuer, form, packed_length, entries })
    }
}
