//! What a file has.
//!
//! Invariant: it speaks of files that are whole, since it is known when all of one was read. It does not know a book.

use std::io::Read;

use super::{
    framing::Head,
    reading::{Part, Reader, Refusal},
};
use crate::{
    issuer_id::IssuerId,
    ledger::reconcile::{FINAL, HOLD, strictness},
    records::Change,
};

/// How many records there are of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Good ones.
    pub good: u64,
    /// On hold.
    pub held: u64,
    /// Revoked for good.
    pub revoked: u64,
    /// Those of all three of which a push has said something.
    pub pushed: u64,
}

impl Counts {
    pub(super) fn add(&mut self, change: &Change) {
        let Some(record) = change.record else { return };
        match strictness(record.status) {
            FINAL => self.revoked += 1,
            HOLD => self.held += 1,
            _ => self.good += 1,
        }
        self.pushed += u64::from(change.origin.is_pushed());
    }
}

/// What a file has of an issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfIssuer {
    /// Whose.
    pub id: IssuerId,
    /// How many.
    pub counts: Counts,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Where it is from.
    pub head: Head,
    /// In the order of the file.
    pub issuers: Vec<OfIssuer>,
    /// How many records.
    pub records: u64,
}

impl Contents {
    /// Reads a file to its end; `progress` hears how many records have come.
    pub fn read(input: impl Read, progress: &mut dyn FnMut(u64)) -> Result<Self, Refusal> {
        let mut reader = Reader::open(input)?;
        let mut issuers: Vec<OfIssuer> = Vec::new();
        loop {
            match reader.next()? {
                Part::Issuer(id) => issuers.push(OfIssuer { id, counts: Counts::default() }),
                Part::Records(changes) => {
                    if let Some(of) = issuers.last_mut() {
                        changes.iter().for_each(|change| of.counts.add(change));
                    }
                    progress(reader.records());
                }
                Part::EndOfIssuer { .. } | Part::Hashes(_) | Part::Succession(..) => {}
                Part::End => break,
            }
        }
        Ok(Self { head: reader.head().clone(), issuers, records: reader.records() })
    }
}
