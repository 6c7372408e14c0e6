//! From sources through the book to the records in memory, for as long as the process lives.
//!
//! Purpose: whatever a source says is in the records within a second of its file changing.
//! Invariant: a source is taken as a whole or not at all; what was refused leaves everything
//! as it was, is told in the log and in [`Health`], and is tried again when the file changes.
//! It does not know who reads the records.
//!
//! One pass over one issuer is: [`watch`] sees a changed file → [`compare`] reads the sources and
//! lists the differences → the book writes them (the commit point) → the records show them.
//! Starting is the same pass with everything counted as changed, after the book has filled the records.

mod compare;
mod health;
mod watch;

use compare::Comparison;
pub use health::{Health, HealthReport};

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use tracing::{error, info, warn};

use crate::{
    book::{Batch, Book, BookError, IssuerNumber},
    config::{Config, Sources},
    limits,
    pki::{Certificate, Record, Serial, UnixTime},
    records::{Change, Counts, Records},
    source::SourceError,
};

/// Why records cannot be had.
#[derive(Debug)]
pub enum EngineError {
    /// A source was refused.
    Source(SourceError),
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

impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<BookError> for EngineError {
    fn from(error: BookError) -> Self {
        Self::Book(error)
    }
}

/// What others see of one issuer: its records, and how its sources fare.
#[derive(Clone, Debug)]
pub struct IssuerState {
    /// The records, kept up to date by the engine.
    pub records: Arc<Records>,
    /// The sources' condition.
    pub health: Arc<Health>,
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

#[derive(Debug)]
struct Watched {
    tenant: String,
    name: String,
    certificate: Certificate,
    sources: Sources,
    number: IssuerNumber,
    state: IssuerState,
    watch: watch::Watch,
    crl_number: Option<[u8; 20]>,
    /// Changes that the records show and the book could not write yet.
    unsaved: Vec<Change>,
    retry_at: Option<Instant>,
    /// Reads in a row that found their files changing.
    unsteady: u32,
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
            issuer.watch.changed();
            let pass = issuer.pass(&mut self.book, self.accept_shrink)?;
            issuer.state.health.read(UnixTime::now(), &pass);
            each(&issuer.tenant, &issuer.name, &pass);
        }
        Ok(())
    }

    /// Looks once at every source, and takes those whose files have changed. Never fails:
    /// faults go to the log and to [`Health`].
    pub fn poll(&mut self) {
        for issuer in &mut self.issuers {
            let retry = issuer.retry_at.is_some_and(|at| at <= Instant::now());
            // Both sides always run: the watch must learn what it has seen.
            if issuer.watch.changed() | retry {
                issuer.retry_at = None;
                issuer.take(&mut self.book, self.accept_shrink);
            }
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

    /// Polls until `stopped` says so.
    pub fn run(mut self, stopped: impl Fn() -> bool) {
        while !stopped() {
            self.poll();
            std::thread::sleep(limits::SOURCE_POLL_INTERVAL);
        }
    }
}

impl Watched {
    fn open(
        book: &mut Book,
        tenant: &str,
        name: &str,
        certificate: &Certificate,
        sources: &Sources,
    ) -> Result<Self, BookError> {
        let number = book.issuer(&fingerprint(tenant, certificate))?;
        let records = Records::default();
        let mut loaded = Vec::new();
        book.load(number, |serial, record| loaded.push(Change { serial, record: Some(record) }))?;
        records.reserve(loaded.len());
        records.apply(loaded);
        Ok(Self {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            certificate: certificate.clone(),
            sources: sources.clone(),
            number,
            state: IssuerState { records: Arc::new(records), health: Arc::default() },
            watch: watch::Watch::new(sources.paths()),
            crl_number: book.crl_number(number)?,
            unsaved: Vec::new(),
            retry_at: None,
            unsteady: 0,
        })
    }

    /// One pass, its outcome told in log and health.
    fn take(&mut self, book: &mut Book, accept_shrink: bool) {
        match self.pass(book, accept_shrink) {
            Ok(pass) => {
                self.unsteady = 0;
                self.state.health.read(UnixTime::now(), &pass);
                info!(
                    tenant = self.tenant,
                    issuer = self.name,
                    listed = pass.listed,
                    changed = pass.changed,
                    good = pass.counts.good,
                    revoked = pass.counts.revoked,
                    milliseconds = pass.took.as_millis() as u64,
                    "the source was read"
                );
            }
            // In the middle of being written or replaced: that is no fault unless it never ends.
            Err(EngineError::Source(_))
                if self.watch.changed_since_read() && self.unsteady < limits::UNSTEADY_READS_MAX =>
            {
                self.unsteady += 1;
                self.retry_at = Some(Instant::now());
            }
            Err(EngineError::Source(error)) => {
                self.unsteady = 0;
                if self.state.health.refused(&error.to_string()) {
                    error!(tenant = self.tenant, issuer = self.name, "{error}; the last good state stays in use");
                }
            }
            Err(EngineError::Book(error)) => {
                if self.state.health.refused(&error.to_string()) {
                    error!(
                        tenant = self.tenant,
                        issuer = self.name,
                        "{error}; answers show the change, it is not durable yet"
                    );
                }
                self.retry_at = Some(Instant::now() + limits::BOOK_RETRY_INTERVAL);
            }
        }
    }

    fn pass(&mut self, book: &mut Book, accept_shrink: bool) -> Result<Pass, EngineError> {
        let started = Instant::now();
        let comparison = compare::compare(&compare::Question {
            records: &self.state.records,
            sources: &self.sources,
            issuer: &self.certificate,
            crl_number: self.crl_number,
            accept_shrink,
        });
        // Before any verdict: what was read of a file in the middle of being written means nothing.
        if let Some(path) = self.watch.changed_path() {
            let problem = "changed while it was being read; it is read again";
            return Err(SourceError::file(&path, problem).into());
        }
        let comparison = comparison?;
        self.tell_contradictions(&comparison);
        let changed = comparison.changes.len() as u64;
        let crl_number = comparison.crl_number.filter(|number| self.crl_number != Some(*number));
        let mut changes = std::mem::take(&mut self.unsaved);
        changes.extend(comparison.changes);
        // Stable, so that of two changes of one serial the later one stays the later one.
        changes.sort_by_key(|change| change.serial);

        let saved = if changes.is_empty() && crl_number.is_none() {
            Ok(0)
        } else {
            book.commit(&Batch { issuer: self.number, changes: &changes, crl_number })
        };
        // A full disk must not keep a revocation from being told: the source has it, a restart reads it there.
        self.state.records.reserve(changes.len());
        self.state.records.apply(changes.iter().copied());
        if let Err(error) = saved {
            self.unsaved = changes;
            return Err(error.into());
        }
        self.crl_number = crl_number.or(self.crl_number);
        let counts = self.state.records.counts();
        Ok(Pass { listed: comparison.listed, changed, counts, took: started.elapsed() })
    }

    fn tell_contradictions(&self, comparison: &Comparison) {
        self.state.health.contradictions(comparison.contradictions);
        if let Some((serial, known, said)) = comparison.first_contradiction {
            warn!(
                tenant = self.tenant,
                issuer = self.name,
                records = comparison.contradictions,
                example = %serial,
                "the source takes back revocations (the example was «{known}» and is now {}); they stay revoked: only a hold can be released",
                said.map_or("no longer listed".to_owned(), |status| format!("«{status}»"))
            );
        }
    }
}

/// What the book knows an issuer's records by: the tenant counts, so that two tenants with the
/// same CA keep two sets.
fn fingerprint(tenant: &str, issuer: &Certificate) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(tenant.as_bytes());
    context.update(&[0]);
    context.update(&issuer.issuer_fingerprint());
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

#[cfg(test)]
mod tests;
