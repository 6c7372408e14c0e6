//! From sources through the book to the records in memory, for as long as the process lives.
//!
//! Purpose: whatever a source says is in the records within a second of its file changing.
//! Invariant: a source is taken as a whole or not at all; what was refused leaves everything
//! as it was but for what the issuer's other sources revoke, is told in the log and in [`Health`], and is tried again
//! when the file changes.
//! It does not know who reads the records.
//!
//! Each issuer has a thread of its own, so that a source that hangs holds up nobody else (`follower`).
//!
//! One pass over one issuer is: `watch` sees a changed file → `compare` reads the sources and
//! lists the differences → the records show them → the book writes them, now or when it can again.
//! A restart finds what the book has, and reads the sources before anything is answered. Starting is the same pass with everything counted as changed, after the book has filled the records.

mod change;
mod changes;
mod compare;
mod follower;
mod former;
mod health;
mod issuer;
mod operator_order;
mod predecessor;
mod revocations;
mod saving;
mod stop;
mod survey;
mod telling;
mod watch;
mod watched;

pub use change::Prepared;
pub use changes::{Changed, Changes};
use follower::{Follower, Terms};
pub use health::{Health, HealthReport};
use issuer::FollowedIssuer;
pub use issuer::{IssuerState, NotFollowed, States};
pub use predecessor::Forgotten;
use predecessor::Predecessor;
use saving::{SharedBook, lock};
pub use survey::{Survey, survey};
use watched::Watched;

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

/// Why sources of one issuer were refused; at least one of them was.
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

/// Why records cannot be had.
#[derive(Debug)]
pub enum EngineError {
    /// Sources were refused.
    Source(Faults),
    /// The book failed.
    Book(StateError),
    /// A CRL is out of date: of which issuer, which files, since when.
    OutOfDate(String, String, UnixTime),
    /// Revocations that only the book knows would be forgotten: of which issuer.
    Forgotten(String, Forgotten),
    /// The thread that follows the sources of an issuer: whose, and what it did.
    Thread(String, String),
    /// Another configuration was adopted since this one was prepared.
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
    /// Records that were changed.
    pub changed: u64,
    /// Whether records that are no longer listed stay until the index has not changed for a while.
    pub held_back: bool,
    /// Records after it.
    pub counts: Counts,
    /// When the CRL goes out of date.
    pub crl_next_update: Option<UnixTime>,
    /// How long reading, comparing, writing and applying took.
    pub took: Duration,
}

/// What is refused otherwise, and was said to be meant.
#[derive(Clone, Copy, Default, Debug)]
pub struct Accepted {
    /// A list that lost more than half of its certificates.
    pub shrink: bool,
    /// A CRL that is older than the one before.
    pub older: bool,
    /// Revocations that the book has under another tenant's name are taken along.
    pub carry_over: bool,
    /// They are forgotten.
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

    /// Fills the records of one issuer from the book. `configured` are all issuers of its configuration.
    fn open_one(
        &self,
        issuer: FollowedIssuer,
        lineage: &Lineage,
        configured: &HashSet<IssuerId>,
    ) -> Result<Follower, StateError> {
        let watched = Watched::open(&mut lock(&self.book), issuer, |book, id| {
            let mut predecessors = Predecessor::all(book, id, lineage, configured)?;
            let running = self.followers.iter();
            running.for_each(|running| Predecessor::add_running(&mut predecessors, running, id, configured));
            Ok(predecessors)
        });
        Ok(Follower::new(watched?))
    }

    /// What [`Engine::sync`] may let pass.
    pub fn accept(&mut self, accept: Accepted) {
        self.accept = accept;
    }

    /// The state of every issuer.
    pub fn states(&self) -> States {
        self.followers.iter().map(|issuer| issuer.state.clone()).collect()
    }

    /// Reads every source now. An issuer that the book knows goes on from there if its sources are refused; of any
    /// other that is an error. Calls `each` after each issuer, whose sources are followed from then on: faults go to the
    /// log and to [`Health`].
    pub fn read_all(&mut self, each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        self.start(Terms { from_book: true, ..Terms::default() }, each)
    }

    /// The same, and any refusal is an error.
    pub fn sync(&mut self, each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        self.start(Terms { accept: self.accept, whole: true, ..Terms::default() }, each)
    }

    fn start(&mut self, terms: Terms, mut each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        follower::start(&mut self.followers, &self.book, terms, |issuer, pass| {
            each(issuer.tenant(), &issuer.name, pass);
        })
    }

    /// What the book holds of a serial under each issuer: (tenant, issuer, record).
    pub fn show(&mut self, serial: &Serial) -> Result<Vec<(String, String, Option<Record>)>, StateError> {
        let mut found = Vec::new();
        for Follower { issuer, .. } in &self.followers {
            let record = lock(&self.book).get(&issuer.id, serial)?;
            found.push((issuer.tenant().to_owned(), issuer.name.clone(), record));
        }
        Ok(found)
    }

    /// Does orders until there are no more, while the sources are followed. Returns also when a thread that follows
    /// one is lost.
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
    /// Within [`limits::FOLLOWERS_END_MAX`].
    fn drop(&mut self) {
        follower::end(&self.followers);
    }
}

#[cfg(test)]
mod tests;
