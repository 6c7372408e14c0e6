//! Signs answers for every listed certificate before anybody asks, in memory and on disk.
//!
//! Purpose: a client finds its answer signed, also after a restart. Invariant: a kept answer says what its record said
//! when the signature was made, by the same rules as an answer signed for a client; serving compares it with the record
//! again. So nothing here can cause a wrong answer: an answer can only be late. It does not know clients or sockets.
//!
//! - [`plan`]: what is due, in what order; pure.
//! - [`Subject`]: an issuer, its drafts and what happens to their signatures.
//! - [`rhythm`]: when which issuer is looked at again; pure.
//! - [`PresignRunner`]: one pass over all issuers, on the signers' pools or on threads of its own.
//! - [`store`]: answers on disk, read back at a start.
//! - [`Received`]: answers that others have signed, and which ones count.
//! - [`Presigner`]: pass after pass, as long as a responder runs.
//! - [`Progress`]: the progress.

mod kept;
mod pass;
pub mod plan;
mod presigner;
mod progress;
mod received;
pub mod rhythm;
pub mod store;
mod store_writer;
mod subject;

pub use pass::{End, Hears, Passed, PresignRunner};
pub use presigner::{Presigner, Settings};
pub use progress::{Progress, Report};
pub use received::{Received, SoFar};
pub use store_writer::{Recorder, StoreWriter};
pub use subject::{Draft, Form, Outcome, Subject};

/// Whether to stop; asked often.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

#[cfg(test)]
mod tests;
