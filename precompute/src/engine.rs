//! From sources through the book to the records in memory, for as long as the process lives.
//!
//! Purpose: whatever a source says is in the records within a second of its file changing.
//! Invariant: a source is taken as a whole or not at all; what was refused leaves everything
//! as it was but for what the issuer's other sources revoke, is told in the log and in [`Health`], and is tried again
//! when the file changes.
//! It does not know who reads the records.
//!
//! One pass over one issuer is: [`watch`] sees a changed file → [`compare`] reads the sources and
//! lists the differences → the records show them → the book writes them, now or when it can again.
//! A restart finds what the book has, and reads the sources before anything is answered. Starting is the same pass with everything counted as changed, after the book has filled the records.

mod accept;
mod changes;
mod compare;
mod health;
mod revocations;
mod watch;
mod watched;

pub use changes::{Changed, Changes};
pub use health::{Health, HealthReport};
use watched::Watched;

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tracing::info;

use crate::{
    book::{Book, BookError},
    config::{Config, IssuerConfig},
    limits,
    pki::{Record, Serial, UnixTime},
    records::{Counts, Records},
    source::SourceError,
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
    Book(BookError),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Book(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<Faults> for EngineError {
    fn from(error: Faults) -> Self {
        Self::Source(error)
    }
}

impl From<BookError> for EngineError {
    fn from(error: BookError) -> Self {
        Self::Book(error)
    }
}

/// What others see of one issuer: its records, and how its sources fare.
#[derive(Clone, Debug, Default)]
pub struct IssuerState {
    /// The records, kept up to date by the engine.
    pub records: Arc<Records>,
    /// The sources' condition.
    pub health: Arc<Health>,
    /// What has changed, for whoever signs ahead.
    pub changes: Arc<Changes>,
}

/// What one pass over an issuer's sources did.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Certificates that the sources list.
    pub listed: u64,
    /// Records that were changed.
    pub changed: u64,
    /// Records after it.
    pub counts: Counts,
    /// When the CRL goes out of date.
    pub crl_next_update: Option<UnixTime>,
    /// How long reading, comparing, writing and applying took.
    pub took: Duration,
}

/// Keeps the records of all issuers.
#[derive(Debug)]
pub struct Engine {
    book: Book,
    issuers: Vec<Watched>,
    accept_shrink: bool,
}

impl Engine {
    /// Opens the book and fills the records of every issuer from it.
    pub fn open(config: &Config) -> Result<Self, BookError> {
        let started = Instant::now();
        let mut book = Book::open(&config.state_dir)?;
        let mut issuers = Vec::new();
        for (tenant, issuer) in config.issuers() {
            issuers.push(Watched::open(&mut book, &tenant.name, &issuer.name, &issuer.certificate, &issuer.sources)?);
        }
        let records: u64 = issuers.iter().map(|issuer| issuer.state.records.counts()).map(|c| c.good + c.revoked).sum();
        info!(records, seconds = started.elapsed().as_secs_f32(), "the book is loaded");
        Ok(Self { book, issuers, accept_shrink: false })
    }

    /// Takes sources also when they list less than half of what the book has.
    pub fn accept_shrink(&mut self) {
        self.accept_shrink = true;
    }

    /// The state of every issuer, in the order of [`Config::issuers`].
    pub fn states(&self) -> Vec<IssuerState> {
        self.issuers.iter().map(|issuer| issuer.state.clone()).collect()
    }

    /// Reads every source now; any refusal is an error. Calls `each` after each issuer.
    pub fn read_all(&mut self, mut each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        for issuer in &mut self.issuers {
            let pass = issuer.first_pass(&mut self.book, self.accept_shrink)?;
            each(&issuer.tenant, &issuer.name, &pass);
        }
        Ok(())
    }

    /// Looks once at every source, and takes those whose files have changed. Never fails:
    /// faults go to the log and to [`Health`].
    pub fn poll(&mut self) {
        for issuer in &mut self.issuers {
            issuer.look(&mut self.book, self.accept_shrink);
        }
    }

    /// What the book holds of a serial under each issuer: (tenant, issuer, record).
    pub fn show(&mut self, serial: &Serial) -> Result<Vec<(String, String, Option<Record>)>, BookError> {
        let mut found = Vec::new();
        for issuer in &self.issuers {
            let record = self.book.get(issuer.number, serial)?;
            found.push((issuer.tenant.clone(), issuer.name.clone(), record));
        }
        Ok(found)
    }

    /// Goes over to a changed configuration. Issuers that it leaves as they are go on as they are, records and all; new
    /// ones are filled from the book and their sources. After an error everything is as it was. The state directory
    /// stays the one that was opened.
    pub fn change(&mut self, config: &Config) -> Result<(), EngineError> {
        let mut fresh = Vec::new();
        for (tenant, issuer) in config.issuers() {
            if self.issuers.iter().any(|watched| watched.follows(&tenant.name, issuer)) {
                continue;
            }
            let IssuerConfig { name, certificate, sources, .. } = issuer;
            let mut watched = Watched::open(&mut self.book, &tenant.name, name, certificate, sources)?;
            watched.first_pass(&mut self.book, self.accept_shrink)?;
            fresh.push(watched);
        }
        let mut former = std::mem::take(&mut self.issuers);
        former.append(&mut fresh);
        for (tenant, issuer) in config.issuers() {
            let place = former.iter().position(|watched| watched.follows(&tenant.name, issuer));
            self.issuers.extend(place.map(|place| former.swap_remove(place)));
        }
        Ok(())
    }

    /// Polls until there are no more orders, which are done in between.
    pub fn run<T: FnOnce(&mut Self)>(mut self, orders: &mpsc::Receiver<T>) {
        loop {
            self.poll();
            match orders.recv_timeout(limits::SOURCE_POLL_INTERVAL) {
                Ok(order) => order(&mut self),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests;
