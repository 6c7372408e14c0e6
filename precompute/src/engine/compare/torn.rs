//! An index that is rewritten in place so often that no read finds one state of it.
//!
//! Purpose: a revocation in it is told all the same, after about two passes. Invariant: nothing is taken from a line that
//! may be half of one line and half of another. Such a line lies where the writer happened to be, and the whole lines of
//! the same certificate lie elsewhere before and after. What counts was therefore said in two passes, of which each has
//! read a small file several times, and nothing else was said of the certificate in either; it is about a certificate
//! that the records know, gives the end of validity that they have, and makes its status stricter. A certificate that
//! they do not know waits: its serial number may be put together from two, and be another certificate's one day.
//!
//! It does not know when the second pass is made.

use std::collections::{BTreeMap, BTreeSet};

use super::Question;
use crate::{
    config::ListingFile,
    ledger::reconcile::strictness,
    pki::{Record, Serial},
    records::Stated,
    source::{Listed, Listing},
};

/// How often one pass reads such a file at most,
const READS_MAX: u32 = 4;
/// as long as these reads have no more lines than this together: some milliseconds. A larger file may be torn at so
/// many places that two passes hardly find the same; that something else is said is only noticed in as many lines.
const LINES_MAX: u64 = 1 << 14;

/// What one pass has found in a torn index, until the next pass says the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::engine) struct Candidates(BTreeMap<Serial, Record>);

impl Candidates {
    /// Reads the index several times, if it is small.
    pub(super) fn read(question: &Question<'_>, file: &ListingFile) -> Self {
        let (mut statements, mut lines, mut reads) = (Statements::default(), 0, 0);
        loop {
            let read = statements.read(question, file);
            lines += read;
            reads += 1;
            if reads == READS_MAX || lines + read > LINES_MAX {
                break;
            }
        }
        let times = if reads == 1 { 1 } else { 2 };
        Self(statements.said_alone(times).collect())
    }

    /// Adds those of another file.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The revocations that the pass before has found too.
    pub(super) fn confirmed(&self, before: &Self) -> Vec<Stated> {
        let both = |(serial, record): &(&Serial, &Record)| before.0.get(serial) == Some(record);
        self.0.iter().filter(both).map(|(serial, record)| Stated::new(*serial, Some(*record))).collect()
    }
}

/// What several reads say.
#[derive(Default)]
struct Statements {
    /// What would make a status stricter, and in how many lines.
    stricter: BTreeMap<Serial, (Record, u32)>,
    /// The certificates of which something else was said.
    otherwise: BTreeSet<Serial>,
}

impl Statements {
    /// Adds what one read says, and returns how many certificates it lists.
    fn read(&mut self, question: &Question<'_>, file: &ListingFile) -> u64 {
        let Ok(mut index) = Listing::open(&file.path, file.form) else { return 0 };
        for (line, Listed { serial, record }) in (0..).zip(index.readable()) {
            let is_stricter = question.records.get(&serial).is_some_and(|known| {
                strictness(record.status) > strictness(known.status)
                    && record.not_after.is_some()
                    && known.not_after == record.not_after
            });
            if is_stricter {
                let (said, lines) = self.stricter.entry(serial).or_insert((record, 0));
                *lines += 1;
                if *said != record {
                    self.otherwise.insert(serial);
                }
            } else if line < LINES_MAX {
                self.otherwise.insert(serial);
            }
        }
        index.listed()
    }

    /// What was said so often, and nothing else.
    fn said_alone(self, times: u32) -> impl Iterator<Item = (Serial, Record)> {
        let Self { stricter, otherwise } = self;
        stricter.into_iter().filter_map(move |(serial, (record, lines))| {
            (lines >= times && !otherwise.contains(&serial)).then_some((serial, record))
        })
    }
}
