//! Sources that are no files here become files: each is mirrored, and the engine reads the mirror.
//!
//! Purpose: a CRL at a URL, and whatever else is kept elsewhere, is asked for on a schedule, checked, and put into
//! `fetched` in the state directory by a rename. Invariants:
//!
//! - A mirror is replaced by what was checked as a whole, or not at all; to that of a database or a directory whole lines are
//!   appended. What an origin said last stays, also over a restart.
//! - An origin that is slow, hangs or is broken delays nobody: each question has a thread of its own for as long as it
//!   takes, their number is bounded, and so is what one host may take of it. The end of a feeder waits for none of them.
//! - No secret of an origin (a password in a URL) gets into a log, an error, a metric or a file.
//!
//! It does not know issuers, records, or who reads a mirror. Whoever follows a source subscribes to it
//! ([`Feeders::subscribe`]) at any time, also because of what it has read in another one, and gets a [`Feed`]; the source
//! is fetched for as long as somebody has that.
//!
//! `origin` is what can be asked, and [`Spec`] names one: `http` and `crl` are a CRL at a URL, `delta` the one that it names, `sql` a database, `directory` a
//! directory of certificates. `schedule` says when (pure), `crew` does it, `mirror` keeps what came. `trial` asks once, for
//! `check` and the command line.

mod crew;
mod crl;
mod delta;
mod directory;
mod http;
mod mirror;
mod origin;
mod schedule;
mod sql;
mod stop;
mod trial;
mod url;

pub use self::{
    crew::{Feed, Feeders},
    directory::{DirectorySource, FilesOfIssuer},
    http::CrlAtUrl,
    mirror::{DIRECTORY, name as mirror_name},
    origin::{Problem, Spec},
    sql::{Query, RowsOfIssuer, Server, SqlSource, SqlUrl},
    trial::{Trial, fetch_once, look},
    url::{SourceUrl, UrlError},
};

#[cfg(test)]
pub(crate) mod tests;
