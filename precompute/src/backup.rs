//! A backup of the book: one file, made while the book is written, and taken back by merging.
//!
//! Purpose: what only the book knows (pushes, and revocations that a source has forgotten) outlives its disk. Invariants:
//!
//! - A file is one commit of the book, with all of its issuers. Each issuer's seal held when it was read, and hashes over
//!   the whole file show every flipped bit and every lost byte. A file that does not come to its end is refused.
//! - Taking a file back makes no record less strict than it is in the book that is there, nor than it is in the file.
//! - The book in place is the one from before, or the whole merged one, whenever the process is killed: the merge is made
//!   in a copy, which is renamed.
//!
//! What is in a file: of each issuer the records with who said them, the CRLs taken, when the sources were in order, and the
//! hashes of certificates that were pushed; and which issuer succeeded which. What is not, and why:
//!
//! - Answers: they are signed anew.
//! - The place in the feed and the outbox: they are of the book that was. A restored book has no place, so a writer
//!   compares all of it with the feed. Final revocations that the feed lacks are told, or become debts; of everything else
//!   the feed has the newer word, so a hold that was released since ends there.
//! - Debts, for the same reason: their records are in the file, and comparing makes debts of them again.
//! - What the sources looked like: they have to be read again.
//! - Answers to requests with an idempotency key: in a merged book they may be wrong. A repeated push has the outcome
//!   `unchanged`.
//! - The server's identity: a restored book may serve beside the server that it is from. The file names it for people.
//!
//! A hold in an old file that was released since is a hold again: nothing in the file says that it ended. Whoever said it
//! ends it: a source when it is read, the feed when it is compared, and a push by a push; holds of pushes that a restore
//! has placed are listed for that. A revocation that was pushed after the file was made, and that neither the book in
//! place nor a feed has, is lost.
//!
//! `rows` and `framing` are bytes, `writing` and `reading` the file, `taking` fills one from a book, `contents` is what a
//! file has, `merging` decides what becomes of records (`ledger::reconcile` has the rule), `restoring` does it, `told` are
//! the words. It does not know sources, the feed or the command line.

mod contents;
mod framing;
mod merging;
mod reading;
mod restoring;
mod rows;
mod taking;
#[cfg(test)]
mod tests;
mod told;
mod writing;

pub use self::{
    contents::{Contents, Counts, OfIssuer},
    framing::Head,
    merging::Changes,
    reading::{Reader, Refusal},
    restoring::{Restore, RestoreError, Restored},
    taking::{NotTaken, take},
};
