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

mod accept;
mod changes;
mod compare;
mod follower;
mod former;
mod health;
mod issuer;
mod predecessor;
mod revocations;
mod saving;
mod shared_book;
mod stop;
mod survey;
mod telling;
mod unsaved;
mod watch;
mod watched;

pub use changes::{Changed, Changes};
use follower::{Follower, Terms};
pub use health::{Health, HealthReport};
use issuer::FollowedIssuer;
pub use issuer::{IssuerState, NotFollowed, States};
pub use predecessor::Forgotten;
use predecessor::Predecessor;
use shared_book::{SharedBook, lock};
pub use survey::{Survey, survey};
use watched::Watched;

use std::{
    fmt,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use tracing::{error, info};

use crate::{
    assemble::Assembly,
    book::Book,
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
    issuers: Vec<Follower>,
    accept: Accepted,
}

impl Engine {
    /// Opens the book and fills the records of every issuer from it.
    pub fn open(config: &Assembly) -> Result<Self, StateError> {
        let started = Instant::now();
        let mut book = Book::open(&config.state_dir)?;
        let mut issuers = Vec::new();
        for (_, issuer) in config.issuers() {
            issuers.push(open(&mut book, config, FollowedIssuer::new(issuer), &[])?);
        }
        let records: u64 = issuers.iter().map(|issuer| issuer.state.records.counts()).map(|c| c.good + c.revoked).sum();
        info!(records, seconds = started.elapsed().as_secs_f32(), "the book is loaded");
        Ok(Self { book: Arc::new(Mutex::new(book)), issuers, accept: Accepted::default() })
    }

    /// What [`Engine::sync`] may let pass.
    pub fn accept(&mut self, accept: Accepted) {
        self.accept = accept;
    }

    /// The state of every issuer.
    pub fn states(&self) -> States {
        self.issuers.iter().map(|issuer| issuer.state.clone()).collect()
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
        follower::start(&mut self.issuers, &self.book, terms, |issuer, pass| {
            each(issuer.tenant(), &issuer.name, pass);
        })
    }

    /// What the book holds of a serial under each issuer: (tenant, issuer, record).
    pub fn show(&mut self, serial: &Serial) -> Result<Vec<(String, String, Option<Record>)>, StateError> {
        let mut found = Vec::new();
        for Follower { issuer, .. } in &self.issuers {
            let record = lock(&self.book).get(&issuer.id, serial)?;
            found.push((issuer.tenant().to_owned(), issuer.name.clone(), record));
        }
        Ok(found)
    }

    /// Goes over to a changed configuration. Issuers that it leaves as they are go on as they are, records and all; new
    /// ones are filled from the book and their sources. `agree` gets the states that there would be, while the former ones are still followed; false where it does not want them. Then, and after
    /// an error, everything is as it was. When it returns, the new states hold every revocation that the former ones did, also
    /// those that came meanwhile; but for sources that take longer than [`limits::RELOAD_READ_MAX`] to read once more. The state directory stays the one that was opened.
    pub fn change(&mut self, config: &Assembly, agree: impl FnOnce(States) -> bool) -> Result<bool, EngineError> {
        let wanted: Vec<_> = config.issuers().map(|(_, issuer)| FollowedIssuer::new(issuer)).collect();
        let mut fresh = Vec::new();
        for issuer in &wanted {
            if !self.issuers.iter().any(|follower| *follower.issuer == *issuer) {
                let mut follower = open(&mut lock(&self.book), config, issuer.clone(), &self.issuers)?;
                follower.wait_for_agreement();
                // Of another configuration, with other sources: those go on revoking while these are read.
                if let Some(former) = self.issuers.iter().find(|former| former.issuer.id == issuer.id) {
                    follower.take_over(former);
                }
                fresh.push(follower);
            }
        }
        let terms = Terms { patience: Some(limits::RELOAD_READ_MAX), ..Terms::default() };
        follower::start(&mut fresh, &self.book, terms, |_, _| ())?;
        let all = || self.issuers.iter().chain(&fresh);
        let follower = |issuer: &FollowedIssuer| all().find(|follower| *follower.issuer == *issuer);
        let states = wanted.iter().filter_map(follower).map(|follower| follower.state.clone()).collect();
        if !agree(states) {
            return Ok(false);
        }
        fresh.iter().for_each(Follower::agree);
        let mut former = std::mem::take(&mut self.issuers);
        former.append(&mut fresh);
        for issuer in &wanted {
            let place = former.iter().position(|follower| *follower.issuer == *issuer);
            self.issuers.extend(place.map(|place| former.swap_remove(place)));
        }
        drop(former);
        let begun = Instant::now();
        while self.issuers.iter().any(|follower| begun.elapsed() < follower.patience()) {
            std::thread::sleep(limits::TAKE_OVER_LOOK);
        }
        Ok(true)
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
            if let Some(lost) = self.issuers.iter().find(|issuer| issuer.is_lost()) {
                let (tenant, name) = (lost.issuer.tenant(), &lost.issuer.name);
                error!(tenant, issuer = name, "the thread that follows its sources panicked");
                break;
            }
        }
    }
}

/// Fills the records of one issuer from the book; `running` are those whose sources are followed.
fn open(
    book: &mut Book,
    config: &Assembly,
    issuer: FollowedIssuer,
    running: &[Follower],
) -> Result<Follower, StateError> {
    let watched = Watched::open(book, issuer, |book, id| {
        let mut predecessors = Predecessor::all(book, id, config)?;
        running.iter().for_each(|running| Predecessor::add_running(&mut predecessors, running, id, config));
        Ok(predecessors)
    });
    Ok(Follower::new(watched?))
}

impl Drop for Engine {
    /// Within [`limits::FOLLOWERS_END_MAX`].
    fn drop(&mut self) {
        follower::end(&self.issuers);
    }
}

#[cfg(test)]
mod tests;
