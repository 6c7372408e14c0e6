//! Snapshots as files: kept in a directory, given out over HTTP, and fetched from whoever has them.
//!
//! Purpose: to move the bytes of a snapshot from who made it to whoever needs it, with as many copies on the way as there
//! are replicas. Invariant: whatever leaves has the hash that the signed manifest says, and so it does not matter which
//! source, disk or cache it went through. It does not know what is in a chunk, which snapshot is the newest in the feed,
//! or who asks for one.
//!
//! - [`Directory`] keeps two whole snapshots and one that is half fetched. A writer fills a [`Draft`], chunk by chunk as
//!   [`SnapshotWriter`](super::snapshot::SnapshotWriter) makes them, and finishes it with the signed manifest.
//! - [`router`] answers for what a directory has whole: `GET /snapshot/<id>/manifest` and `GET /snapshot/<id>/<n>`. The
//!   connections are [`admin::listener`](crate::admin::listener)'s. What it reveals stands in `give`.
//! - [`Fetcher`] brings the snapshot that is asked for last, from the healthiest of its sources, into the directory or
//!   through memory. It is what the machines know as [`Snapshots`](super::store::Snapshots).
//!
//! [`Journal`] has what was told since a snapshot. `id` is what a snapshot is called, `fault` what can be wrong with files, `source` one question to one source,
//! `sources` which of them is asked next, and `window` the few chunks in memory.

mod directory;
mod fault;
mod fetch;
mod give;
mod id;
mod journal;
mod source;
mod sources;
mod window;

pub use self::{
    directory::{Directory, Draft, Kept},
    fault::{Cause, ShelfError},
    fetch::{Chunks, Fetcher, Report},
    give::router,
    id::{NoSnapshotId, SnapshotId},
    journal::{Journal, Journaled},
    source::{Answer, BaseUrl, SourceFault, UrlError, reach},
};

#[cfg(test)]
mod tests;
