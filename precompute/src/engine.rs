//! From sources through the book to the records in memory, for as long as the process lives.
//!
//! Purpose: whatever a source says is in the records within a second of its file changing.
//! Invariant: a source is taken as a whole or not at all; what was refused leaves everything
//! as it was, is told in the log and in [`Health`], and is tried again when the file changes.
//! It does not know who reads the records.
//!
//! One pass over one issuer is: [`watch`] sees a changed file → [`compare`] reads the sources and
//! lists the differences → the records show them → the book writes them, now or when it can again.
//! A restart finds what the book has, and reads the sources before anything is answered. Starting is the same pass with everything counted as changed, after the book has filled the records.

mod changes;
mod compare;
mod health;
mod watch;

pub use changes::{Changed, Changes};
use compare::Comparison;
pub use health::{Health, HealthReport};

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use tracing::{error, info, warn};

use crate::{
    book::{Batch, Book, BookError, IssuerNumber},
    config::{Config, IssuerConfig, Sources},
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
    unsaved: Unsaved,
    read_again_at: Option<Instant>,
    save_again_at: Option<Instant>,
    /// Reads in a row that found their files changing.
    unsteady: u32,
}

/// What the records show and the book could not write yet.
#[derive(Debug, Default)]
struct Unsaved {
    changes: Vec<Change>,
    crl_number: Option<[u8; 20]>,
}

impl Unsaved {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.crl_number.is_none()
    }
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

impl Watched {
    /// Whether it is this issuer, from these sources.
    fn follows(&self, tenant: &str, issuer: &IssuerConfig) -> bool {
        self.tenant == tenant
            && self.name == issuer.name
            && self.certificate.der() == issuer.certificate.der()
            && self.sources == issuer.sources
    }

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
            state: IssuerState { records: Arc::new(records), ..IssuerState::default() },
            watch: watch::Watch::new(sources.paths()),
            crl_number: book.crl_number(number)?,
            unsaved: Unsaved::default(),
            read_again_at: None,
            save_again_at: None,
            unsteady: 0,
        })
    }

    /// The pass of a start: it waits for a source that is being written, and fails on any other fault.
    fn first_pass(&mut self, book: &mut Book, accept_shrink: bool) -> Result<Pass, EngineError> {
        loop {
            self.watch.changed();
            match self.pass(accept_shrink) {
                Ok(pass) => {
                    self.save(book)?;
                    self.state.health.read(UnixTime::now(), &pass);
                    self.warn_if_out_of_date(pass.crl_next_update);
                    return Ok(pass);
                }
                Err(error) if self.may_be_a_moment(&error) => std::thread::sleep(limits::SOURCE_POLL_INTERVAL),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One look: a pass if a file has changed or a refused one is to be tried again.
    fn look(&mut self, book: &mut Book, accept_shrink: bool) {
        self.state.health.looked(UnixTime::now());
        // Both sides always run: the watch must learn what it has seen.
        let due = self.watch.changed() | due(&mut self.read_again_at);
        if due {
            self.take(accept_shrink);
        }
        if (due || due_now(self.save_again_at)) && !self.unsaved.is_empty() {
            self.save_again_at = None;
            if self.save(book).is_err() {
                self.save_again_at = Some(Instant::now() + limits::RETRY_INTERVAL);
            }
        }
    }

    /// One pass, its outcome told in log and health.
    fn take(&mut self, accept_shrink: bool) {
        match self.pass(accept_shrink) {
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
                self.warn_if_out_of_date(pass.crl_next_update);
            }
            Err(error) if self.may_be_a_moment(&error) => self.read_again_at = Some(Instant::now()),
            Err(error) => {
                self.unsteady = 0;
                if self.state.health.refused(&error.to_string()) {
                    error!(tenant = self.tenant, issuer = self.name, "{error}; the last good state stays in use");
                }
                // What stood in the way need not show in the file: descriptors or memory that ran out, a mount.
                self.read_again_at = Some(Instant::now() + limits::RETRY_INTERVAL);
            }
        }
    }

    /// Whether a refusal may come from reading in the middle of a change, which is no fault unless it never ends.
    fn may_be_a_moment(&mut self, error: &SourceError) -> bool {
        self.unsteady += 1;
        (error.unsteady || self.watch.changed_since()) && self.unsteady <= limits::UNSTEADY_READS_MAX
    }

    /// Reads the sources, and shows in the records what has changed. What is shown is in `unsaved` then.
    fn pass(&mut self, accept_shrink: bool) -> Result<Pass, SourceError> {
        let started = Instant::now();
        let comparison = compare::compare(&compare::Question {
            records: &self.state.records,
            sources: &self.sources,
            issuer: &self.certificate,
            crl_number: self.crl_number,
            accept_shrink,
        })?;
        self.tell_contradictions(&comparison);
        // Shown before it is on disk: a full disk must not keep a revocation from being told. The source has
        // it, and a restart reads it there.
        self.state.records.reserve(comparison.changes.len());
        self.state.records.apply(comparison.changes.iter().copied());
        self.state.changes.tell(comparison.changes.len(), comparison.changes.iter().map(|change| change.serial));
        if comparison.crl_number != self.crl_number {
            self.crl_number = comparison.crl_number.or(self.crl_number);
            self.unsaved.crl_number = self.crl_number;
        }
        let changed = comparison.changes.len() as u64;
        if self.unsaved.changes.is_empty() {
            self.unsaved.changes = comparison.changes;
        } else {
            self.unsaved.changes.extend(comparison.changes);
            // Stable, so that of two changes of one serial the later one stays the later one.
            self.unsaved.changes.sort_by_key(|change| change.serial);
        }
        Ok(Pass {
            listed: comparison.listed,
            changed,
            counts: self.state.records.counts(),
            crl_next_update: comparison.crl_next_update,
            took: started.elapsed(),
        })
    }

    /// Writes to the book what it does not have yet.
    fn save(&mut self, book: &mut Book) -> Result<(), BookError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let Unsaved { changes, crl_number } = &self.unsaved;
        let saved = book.commit(&Batch { issuer: self.number, changes, crl_number: *crl_number });
        match &saved {
            Ok(_) => self.unsaved = Unsaved::default(),
            Err(error) if self.state.health.saved(Some(error.to_string())) => {
                error!(
                    tenant = self.tenant,
                    issuer = self.name,
                    "{error}; changes are answered, they are not durable yet"
                );
            }
            Err(_) => {}
        }
        if saved.is_ok() {
            self.state.health.saved(None);
        }
        saved.map(|_| ())
    }

    fn warn_if_out_of_date(&self, next_update: Option<UnixTime>) {
        if let Some(next_update) = next_update.filter(|time| *time <= UnixTime::now()) {
            warn!(tenant = self.tenant, issuer = self.name, %next_update, "the CRL is out of date: its CA, or what fetches it, has stopped; what it says is still answered");
        }
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

fn due_now(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at <= Instant::now())
}

/// Whether the time has come; then it is taken away.
fn due(at: &mut Option<Instant>) -> bool {
    let due = due_now(*at);
    if due {
        *at = None;
    }
    due
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
