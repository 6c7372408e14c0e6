//! Follows the sources of all issuers, for as long as the process lives.
//!
//! Purpose: the records show what a source says within a second of its file changing.
//!
//! Invariant: a source is taken as a whole or not at all. A refused source changes nothing, except for what the
//! issuer's other sources revoke. The refusal is logged, shown in [`Health`], and the source is tried again when its
//! file changes.
//!
//! It writes nothing itself, and does not know who reads the records.
//!
//! Each issuer has its own thread, so a source that hangs does not delay the others (`follower`).
//!
//! One pass over one issuer: `watch` sees a changed file → `compare` reads the sources and lists the differences →
//! `handover` gives them to the issuer's [`Ledger`](crate::ledger), which shows and keeps them.
//!
//! A restart begins with what the book holds, and reads the sources before the first answer. Starting is the same pass
//! with everything counted as changed, after the records are filled from the book.

mod change;
mod compare;
mod departed;
mod followed;
mod follower;
mod handover;
mod leadership;
mod let_go;
mod notifier;
mod operator_order;
mod predecessor;
mod progress;
mod reader;
mod revocations;
mod stop;
mod survey;
mod watch;
mod written;

pub use change::Prepared;
pub use departed::{Departed, Unsaid, beside, departed, forget};
use followed::{FollowedIssuer, followed};
use follower::{Follower, Terms};
use notifier::Notifier;
pub use predecessor::Forgotten;
use predecessor::Predecessor;
use reader::SourceReader;
pub use survey::{Survey, survey};

pub use crate::ledger::{
    Changed, Changes, FetchReport, Health, HealthReport, IssuerState, Listener, NotFollowed, Pass, States, Wake,
};

use std::{
    collections::HashSet,
    fmt,
    path::Path,
    sync::{Arc, mpsc},
    time::Instant,
};

use tracing::{error, info};

use crate::{
    assemble::Assembly,
    book::{Book, BookReader, Lineage},
    feeder::{self, Feeders},
    issuer_id::IssuerId,
    ledger::{Ledger, Ledgers, Saver, SharedBook},
    limits,
    pki::{Record, Serial, UnixTime},
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
    /// Issuers that are no longer configured, of which there is what no source says.
    Departed(Unsaid),
    /// The thread that follows an issuer's sources failed: the issuer, what happened.
    Thread(String, String),
    /// Another configuration was adopted after this one was prepared, or a writer of a feed began or ceased to lead.
    Overtaken,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Book(error) => error.fmt(f),
            Self::OutOfDate(issuer, files, end) => write!(
                f,
                "{issuer}: {files}: the CRL has been out of date since {end}: its CA, or what fetches it, has stopped; publish a new one; what a CRL alone says ends with it, or `crl_grace` later, and beside an index nothing new is signed after `stale_after`"
            ),
            Self::Forgotten(issuer, forgotten) => write!(f, "{issuer}: {forgotten}"),
            Self::Departed(unsaid) => unsaid.fmt(f),
            Self::Thread(issuer, problem) => write!(f, "{issuer}: the thread that reads its sources {problem}"),
            Self::Overtaken => f.write_str(
                "another configuration was taken meanwhile, or this writer began or ceased to lead, or something was pushed to a tenant under its former name; reload once more",
            ),
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

/// What the operator confirmed: each of these is refused otherwise.
#[derive(Clone, Copy, Default, Debug)]
pub struct Accepted {
    /// A list that lost more than half of its certificates.
    pub shrink: bool,
    /// A CRL that is older than the one before.
    pub older: bool,
    /// Carry over the revocations that the book has under another tenant's name.
    pub carry_over: bool,
    /// Forget them, and what was pushed of issuers that are no longer configured.
    pub forgotten: bool,
}

/// Follows all issuers, and has their ledgers.
#[derive(Debug)]
pub struct Engine {
    state_dir: std::path::PathBuf,
    book: Arc<SharedBook>,
    /// Their sources are no longer read when the saver ends.
    followers: Vec<Follower>,
    /// What is fetched for them.
    feeders: Feeders,
    notifier: Notifier,
    saver: Saver,
    ledgers: Ledgers,
    accept: Accepted,
    /// How often what was prepared before was overtaken: by another configuration, or because this one begins or ceases
    /// to read sources.
    adopted: u64,
    /// Whether sources are read; false where another leads.
    leads: bool,
}

impl Engine {
    /// Opens the book and fills the records of every issuer from it.
    pub fn open(config: &Assembly) -> Result<Self, StateError> {
        Self::open_for(&config.state_dir, followed(config)?)
    }

    fn open_for(state_dir: &Path, issuers: Vec<FollowedIssuer>) -> Result<Self, StateError> {
        let started = Instant::now();
        let mut book = Book::open(state_dir)?;
        let lineage = book.lineage()?;
        let saver = Saver::start().map_err(|error| {
            StateError::new(
                state_dir,
                format!("the thread that saves cannot be started: {error}"),
                "free memory or threads",
            )
        })?;
        let mut engine = Self {
            state_dir: state_dir.to_owned(),
            book: Arc::new(SharedBook::new(book)),
            followers: Vec::new(),
            feeders: Feeders::default(),
            notifier: Notifier::start(),
            saver,
            ledgers: Ledgers::default(),
            accept: Accepted::default(),
            adopted: 0,
            leads: true,
        };
        let configured = issuers.iter().map(|issuer| issuer.id.clone()).collect();
        let followers = issuers.into_iter().map(|issuer| engine.open_one(issuer, &lineage, &configured));
        engine.followers = followers.collect::<Result<_, _>>()?;
        let counts = engine.followers.iter().map(|follower| follower.ledger.state().records.counts());
        let records: u64 = counts.map(|counts| counts.good + counts.revoked).sum();
        info!(records, seconds = started.elapsed().as_secs_f32(), "the book is loaded");
        Ok(engine)
    }

    /// Opens the ledger of one issuer. `configured`: all issuers of its configuration.
    fn open_one(
        &self,
        issuer: FollowedIssuer,
        lineage: &Lineage,
        configured: &HashSet<IssuerId>,
    ) -> Result<Follower, StateError> {
        self.open_after(self.predecessors(&issuer.id, lineage, configured)?, issuer)
    }

    fn open_after(&self, predecessors: Vec<Predecessor>, issuer: FollowedIssuer) -> Result<Follower, StateError> {
        let opened = Ledger::open(&issuer.id, &issuer.name, &self.book, &self.saver)?;
        let ledger = opened.ledger;
        ledger.state().health.verified_before(opened.verified, issuer.sources.is_crl_alone(), UnixTime::now());
        if !opened.known {
            ledger.set_crl_marks(Predecessor::crl_marks(&predecessors));
        }
        let reader = SourceReader::new(issuer, ledger, false, opened.verified, predecessors, &self.state_dir)
            .with_stamps(opened.stamps.as_deref());
        Ok(Follower::new(reader))
    }

    /// What an issuer was before, as the book and the present followers know it.
    fn predecessors(
        &self,
        id: &IssuerId,
        lineage: &Lineage,
        configured: &HashSet<IssuerId>,
    ) -> Result<Vec<Predecessor>, StateError> {
        let stood_beside = |former: &IssuerId| self.stood_beside(former, id, lineage);
        let read = |book: &BookReader| Predecessor::all(book, id, lineage, configured, stood_beside);
        let mut predecessors = self.book.read(read)?;
        for running in &self.followers {
            let is_beside = stood_beside(&running.issuer.id);
            Predecessor::add_running(&mut predecessors, running, id, is_beside, configured);
        }
        Ok(predecessors)
    }

    /// Whether an issuer was there at the same time as another one. The book may not know yet of those that run.
    fn stood_beside(&self, former: &IssuerId, id: &IssuerId, lineage: &Lineage) -> bool {
        let is_running = |id: &IssuerId| self.followers.iter().any(|running| running.issuer.id == *id);
        former.ca() == id.ca() && (lineage.stood_beside(former, id) || is_running(former) && is_running(id))
    }

    /// What [`Engine::sync`] may accept.
    pub fn accept(&mut self, accept: Accepted) {
        self.accept = accept;
    }

    /// Whether what is saved has to be told to the feed, see [`Ledger::owe`].
    pub fn owe(&self, owes: bool) {
        self.followers.iter().for_each(|follower| follower.ledger.owe(owes));
    }

    /// The state of every issuer.
    pub fn states(&self) -> States {
        self.followers.iter().map(|follower| follower.ledger.state().clone()).collect()
    }

    /// The ledgers of all issuers, also after later reloads.
    pub fn ledgers(&self) -> Ledgers {
        self.ledgers.clone()
    }

    /// Reads every source now. If the sources of an issuer are refused, it continues from what the book knows; if the
    /// book does not know it, that is an error. Calls `each` after each issuer. The sources are followed from then on:
    /// faults go to the log and to [`Health`].
    pub fn read_all(&mut self, each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        self.start(Terms { from_book: true, ..Terms::default() }, each)
    }

    /// Like `read_all`, but any refusal is an error, and everything is on disk when it returns.
    pub fn sync(&mut self, each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        self.start(Terms { accept: self.accept, whole: true, ..Terms::default() }, each)?;
        Ok(self.save()?)
    }

    /// Saves everything now.
    pub fn save(&self) -> Result<(), StateError> {
        self.followers.iter().try_for_each(|follower| follower.ledger.save())
    }

    fn start(&mut self, terms: Terms, mut each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        let departure = self.departure(self.configured(), terms.accept.forgotten)?;
        self.follow_ledgers();
        self.feed()?;
        follower::start(&mut self.followers, &self.notifier, terms, |follower, pass| {
            follower.ledger.serve(&follower.issuer.name);
            if let Some(pass) = pass {
                each(follower.issuer.tenant(), &follower.issuer.name, pass);
            }
        })?;
        self.followers.iter().for_each(|follower| follower.ledger.serve(&follower.issuer.name));
        self.depart(departure);
        Ok(())
    }

    /// The issuers of the present configuration.
    fn configured(&self) -> HashSet<IssuerId> {
        self.followers.iter().map(|follower| follower.issuer.id.clone()).collect()
    }

    /// Has fetched what the sources of the present issuers are mirrors of. What was fetched for others before is removed.
    fn feed(&mut self) -> Result<(), EngineError> {
        let wanted: Vec<_> = self.followers.iter().flat_map(|follower| follower.issuer.fetched()).collect();
        Feeders::tidy(&self.state_dir.join(feeder::DIRECTORY), &wanted);
        for follower in &mut self.followers {
            follower.feed(&self.feeders).map_err(|error| follower.lost_feed(&error))?;
            follower.tell_of_feeds();
        }
        Ok(())
    }

    /// The present ledgers are saved from now on, and take pushes once they are served.
    fn follow_ledgers(&self) {
        let ledgers: Vec<Ledger> = self.followers.iter().map(|follower| follower.ledger.clone()).collect();
        self.saver.follow(&ledgers);
        self.ledgers.set(ledgers);
    }

    /// What the book holds of a serial for each issuer: (tenant, issuer, record).
    pub fn show(&mut self, serial: &Serial) -> Result<Vec<(String, String, Option<Record>)>, StateError> {
        let mut found = Vec::new();
        for Follower { issuer, .. } in &self.followers {
            let record = self.book.lock().get(&issuer.id, serial)?;
            found.push((issuer.tenant().to_owned(), issuer.name.clone(), record.map(|(record, _)| record)));
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
            if self.saver.is_lost() {
                error!("the thread that saves changes panicked");
                break;
            }
        }
    }
}

impl Drop for Engine {
    /// The followers take at most [`limits::FOLLOWERS_END_MAX`], the saver [`limits::SAVER_END_MAX`] and one commit.
    fn drop(&mut self) {
        follower::end(&self.followers);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
