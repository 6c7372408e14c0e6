//! Follows sources, keeps the book and the records in memory, for as long as the process lives.
//!
//! Purpose: the records show what a source says within a second of its file changing.
//!
//! Invariant: a source is taken as a whole or not at all. A refused source changes nothing, except for what the
//! issuer's other sources revoke. The refusal is logged, shown in [`Health`], and the source is tried again when its
//! file changes.
//!
//! It does not know who reads the records.
//!
//! Each issuer has its own thread, so a source that hangs does not delay the others (`follower`).
//!
//! One pass over one issuer: `watch` sees a changed file → `compare` reads the sources and lists the differences → the
//! records show them → the book stores them, now or as soon as it can be written.
//!
//! A restart begins with what the book holds, and reads the sources before the first answer. Starting is the same pass
//! with everything counted as changed, after the records are filled from the book.

mod change;
mod changes;
mod compare;
mod follower;
mod former;
mod health;
mod issuer;
mod issuer_worker;
mod operator_order;
mod predecessor;
mod revocations;
mod saving;
mod stop;
mod survey;
mod telling;
mod watch;

pub use change::Prepared;
pub use changes::{Changed, Changes};
use follower::{Follower, Terms};
pub use health::{Health, HealthReport};
use issuer::FollowedIssuer;
pub use issuer::{IssuerState, NotFollowed, States};
use issuer_worker::IssuerWorker;
pub use predecessor::Forgotten;
use predecessor::Predecessor;
use saving::{SharedBook, lock};
pub use survey::{Survey, survey};

use std::{
    collections::HashSet,
    fmt,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use tracing::{error, info};

use crate::{
    assemble::Assembly,
    book::{Book, Lineage},
    issuer_id::IssuerId,
    limits,
    pki::{Record, Serial, UnixTime},
    records::Counts,
    source::SourceError,
    state_dir::StateError,
};

/// Why sources of one issuer were refused; never empty.
#[derive(Debug)]
pub struct Faults(pub Vec<SourceError>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if number > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// Why the records are not available.
#[derive(Debug)]
pub enum EngineError {
    /// Sources were refused.
    Source(Faults),
    /// The book failed.
    Book(StateError),
    /// A CRL is out of date: the issuer, the files, since when.
    OutOfDate(String, String, UnixTime),
    /// Revocations that only the book knows would be forgotten: the issuer, what would be forgotten.
    Forgotten(String, Forgotten),
    /// The thread that follows an issuer's sources failed: the issuer, what happened.
    Thread(String, String),
    /// Another configuration was adopted after this one was prepared.
    Overtaken,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Book(error) => error.fmt(f),
            Self::OutOfDate(issuer, files, end) => write!(
                f,
                "{issuer}: {files}: the CRL has been out of date since {end}: its CA, or what fetches it, has stopped; publish a new one; after `stale_after` nothing new is signed"
            ),
            Self::Forgotten(issuer, forgotten) => write!(f, "{issuer}: {forgotten}"),
            Self::Thread(issuer, problem) => write!(f, "{issuer}: the thread that reads its sources {problem}"),
            Self::Overtaken => f.write_str("another configuration was taken meanwhile; reload once more"),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<Faults> for EngineError {
    fn from(error: Faults) -> Self {
        Self::Source(error)
    }
}

impl From<StateError> for EngineError {
    fn from(error: StateError) -> Self {
        Self::Book(error)
    }
}

/// What one pass over an issuer's sources did.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pass {
    /// Certificates that the sources list.
    pub listed: u64,
    /// Changed records.
    pub changed: u64,
    /// Whether unlisted records stay until the index has not changed for a while.
    pub held_back: bool,
    /// Records after the pass.
    pub counts: Counts,
    /// When the CRL goes out of date.
    pub crl_next_update: Option<UnixTime>,
    /// How long reading, comparing, writing and applying took.
    pub took: Duration,
}

/// What the operator confirmed: each of these is refused otherwise.
#[derive(Clone, Copy, Default, Debug)]
pub struct Accepted {
    /// A list that lost more than half of its certificates.
    pub shrink: bool,
    /// A CRL that is older than the one before.
    pub older: bool,
    /// Carry over the revocations that the book has under another tenant's name.
    pub carry_over: bool,
    /// Forget them.
    pub forgotten: bool,
}

/// Keeps the records of all issuers.
#[derive(Debug)]
pub struct Engine {
    book: SharedBook,
    followers: Vec<Follower>,
    accept: Accepted,
    /// How many changed configurations were adopted.
    adopted: u64,
}

impl Engine {
    /// Opens the book and fills the records of every issuer from it.
    pub fn open(config: &Assembly) -> Result<Self, StateError> {
        Self::open_for(&config.state_dir, config.issuers().map(|(_, issuer)| FollowedIssuer::new(issuer)).collect())
    }

    fn open_for(state_dir: &Path, issuers: Vec<FollowedIssuer>) -> Result<Self, StateError> {
        let started = Instant::now();
        let mut book = Book::open(state_dir)?;
        let lineage = book.lineage()?;
        let book = Arc::new(Mutex::new(book));
        let mut engine = Self { book, followers: Vec::new(), accept: Accepted::default(), adopted: 0 };
        let configured = issuers.iter().map(|issuer| issuer.id.clone()).collect();
        let followers = issuers.into_iter().map(|issuer| engine.open_one(issuer, &lineage, &configured));
        engine.followers = followers.collect::<Result<_, _>>()?;
        let counts = engine.followers.iter().map(|follower| follower.state.records.counts());
        let records: u64 = counts.map(|counts| counts.good + counts.revoked).sum();
        info!(records, seconds = started.elapsed().as_secs_f32(), "the book is loaded");
        Ok(engine)
    }

    /// Fills the records of one issuer from the book. `configured`: all issuers of its configuration.
    fn open_one(
        &self,
        issuer: FollowedIssuer,
        lineage: &Lineage,
        configured: &HashSet<IssuerId>,
    ) -> Result<Follower, StateError> {
        let watched = IssuerWorker::open(&mut lock(&self.book), issuer, |book, id| {
            let mut predecessors = Predecessor::all(book, id, lineage, configured)?;
            let running = self.followers.iter();
            running.for_each(|running| Predecessor::add_running(&mut predecessors, running, id, configured));
            Ok(predecessors)
        });
        Ok(Follower::new(watched?))
    }

    /// What [`Engine::sync`] may accept.
    pub fn accept(&mut self, accept: Accepted) {
        self.accept = accept;
    }

    /// The state of every issuer.
    pub fn states(&self) -> States {
        self.followers.iter().map(|issuer| issuer.state.clone()).collect()
    }

    /// Reads every source now. If the sources of an issuer are refused, it continues from what the book knows; if the
    /// book does not know it, that is an error. Calls `each` after each issuer. The sources are followed from then on:
    /// faults go to the log and to [`Health`].
    pub fn read_all(&mut self, each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        self.start(Terms { from_book: true, ..Terms::default() }, each)
    }

    /// Like `read_all`, but any refusal is an error.
    pub fn sync(&mut self, each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        self.start(Terms { accept: self.accept, whole: true, ..Terms::default() }, each)
    }

    fn start(&mut self, terms: Terms, mut each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        follower::start(&mut self.followers, &self.book, terms, |issuer, pass| {
            each(issuer.tenant(), &issuer.name, pass);
        })
    }

    /// What the book holds of a serial for each issuer: (tenant, issuer, record).
    pub fn show(&mut self, serial: &Serial) -> Result<Vec<(String, String, Option<Record>)>, StateError> {
        let mut found = Vec::new();
        for Follower { issuer, .. } in &self.followers {
            let record = lock(&self.book).get(&issuer.id, serial)?.map(|(record, _)| record);
            found.push((issuer.tenant().to_owned(), issuer.name.clone(), record));
        }
        Ok(found)
    }

    /// Carries out orders until no more come, while the sources are followed. Also returns when a follower thread is
    /// lost.
    pub fn run<T: FnOnce(&mut Self)>(mut self, orders: &mpsc::Receiver<T>) {
        loop {
            match orders.recv_timeout(limits::SOURCE_POLL_INTERVAL) {
                Ok(order) => order(&mut self),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if let Some(lost) = self.followers.iter().find(|issuer| issuer.is_lost()) {
                let (tenant, name) = (lost.issuer.tenant(), &lost.issuer.name);
                error!(tenant, issuer = name, "the thread that follows its sources panicked");
                break;
            }
        }
    }
}

impl Drop for Engine {
    /// Takes at most [`limits::FOLLOWERS_END_MAX`].
    fn drop(&mut self) {
        follower::end(&self.followers);
    }
}

#[cfg(test)]
mod tests;
