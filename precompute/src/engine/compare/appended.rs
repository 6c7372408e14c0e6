//! Lines that were appended to a listing: a comparison of them alone.
//!
//! Purpose: a million lines that were taken already need not be compared again because one came after them; to hash
//! them takes a tenth of the time. Invariant: the result is what a comparison of the whole index would give, or none. That
//! needs records which have everything that the read of the mark has found, and no other source beside the index.
//! A removal, a contradiction in a line before, or a refusal is nothing that appended lines can bring or end.
//!
//! A mirror of a database is the exception: there a later line takes the place of an earlier one.
//!
//! It does not know whether a comparison of the whole index is due for another reason.

use super::{Comparison, Contradictions, Question};
use crate::source::{Ended, Form, Listed, Listing};

/// Why the whole index has to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unfit {
    /// The lines before have changed, and their last bytes have not. A program that writes over them may be on its way
    /// through the file.
    WrittenOver,
    /// Nothing was taken before, the file does not begin with that, a new line is about a certificate that is listed
    /// already, contradicts a push, or cannot be read.
    Other,
}

/// Compares the lines after [`Question::mark`]. There need not be any: the file may only have been touched.
///
/// The counts of listed and skipped certificates, and the warnings, are of the whole index. Contradictions are not
/// counted.
pub(super) fn compare(question: &Question<'_>) -> Result<Comparison, Unfit> {
    let mark = question.mark.ok_or(Unfit::Other)?;
    let file = question.issuer.sources.listing_alone().ok_or(Unfit::Other)?;
    let mut index = Listing::open_after(&file.path, file.form, mark).ok().flatten().ok_or(Unfit::Other)?;
    let mut comparison = Comparison { is_of_appended: true, ..Comparison::default() };
    while let Some(Ok(listed)) = index.next() {
        let Listed { serial, record } = listed;
        comparison.note_details(question, &listed, &index);
        let known = question.records.get(&serial);
        // Listed a second time, if it is not back after it was lost: the whole index shows which.
        if known.is_some_and(|known| known.origin.is_listed()) {
            if file.form != Form::Mirrored {
                return Err(Unfit::Other);
            }
            index.was_listed();
        }
        comparison.note(question, serial, known, record);
    }
    if index.ended() == Ended::Torn {
        return Err(Unfit::WrittenOver);
    }
    // They are counted for the whole index, and told.
    if comparison.contradictions != Contradictions::default() {
        return Err(Unfit::Other);
    }
    // Without a mark a line was refused.
    comparison.mark = Some(index.mark().ok_or(Unfit::Other)?);
    comparison.held_back = index.ends_in_half_a_line();
    comparison.listed = index.listed();
    comparison.passed_over = index.passed_over();
    comparison.warnings.extend(index.oddities().map(|oddities| format!("{}: {oddities}", file.path.display())));
    comparison.changes.sort_unstable_by_key(|change| change.serial);
    let is_twice = comparison.changes.windows(2).any(|pair| pair[0].serial == pair[1].serial);
    if is_twice { Err(Unfit::Other) } else { Ok(comparison) }
}
