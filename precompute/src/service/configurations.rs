//! Versions of the configuration that is everybody's: published by the writer that leads, kept by all, taken by replicas.
//!
//! Purpose: tenants, issuers, authorities, policies and certificates are told once ([`Published`]), numbered, signed and put
//! beside the feed; each server keeps the last of them on its disk. A replica whose file says `configuration = "published"` has
//! no tenants of its own, and takes those of the newest version: as a whole, like a reload, or not at all.
//!
//! Invariants:
//!
//! - A version that is refused changes nothing: the former one is served on, also after a restart, and the reason is told. It is
//!   tried again when the replica's own file is read again, or when there is a newer one.
//! - Numbers only go up, whatever is in Redis: a rolled-back configuration is a new version with the content of an old one.
//! - A replica that has taken a version starts with it from its own disk, without a writer or Redis.
//! - Losing the writer costs nothing but that nobody can publish. A writer that takes over goes on where the numbers are: it has
//!   kept what was published, and looks at what is in Redis and at what servers say that they use.
//!
//! `kept` is the directory, `following` the thread that looks for another version, `publishing` what a writer does, and
//! `taking` how a replica's file and a version become one configuration.

mod following;
mod kept;
mod publishing;
mod taking;

pub use self::{
    kept::{Kept, KeptVersions},
    publishing::{Announcer, By, Candidate, Tried},
    taking::Taken,
};
