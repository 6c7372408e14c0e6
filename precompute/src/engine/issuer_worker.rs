//! One issuer, from its sources to its records and the book.
//!
//! Purpose: the passes over one issuer, and what is logged, saved and tried again after each. Invariant: a change shows
//! in the records before it is saved, and stays in `unsaved` until it is. It does not know the other issuers.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, TryLockError,
        atomic::{AtomicBool, Ordering::Acquire},
    },
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{
    Accepted, EngineError, Faults, FollowedIssuer, IssuerState, Pass, compare,
    former::FormerSources,
    operator_order::OperatorOrder,
    predecessor::Predecessor,
    saving::{Unsaved, lock},
    stop::Stop,
    telling::LoggedChanges,
    watch::Watch,
};
use crate::{
    book::{Book, Identity},
    issuer_id::IssuerId,
    limits,
    pki::UnixTime,
    records::{Change, Counts, RecordsWriter},
    source::CrlMarks,
    state_dir::StateError,
};

/// An issuer, as held by the thread that follows its sources.
#[derive(Debug)]
pub(super) struct IssuerWorker {
    pub(super) issuer: Arc<FollowedIssuer>,
    /// The book that has everything that is not in `unsaved`.
    pub(super) book: Identity,
    pub(super) state: IssuerState,
    records: RecordsWriter,
    pub(super) watch: Watch,
    pub(super) crl_marks: CrlMarks,
    shrink: OperatorOrder,
    older: OperatorOrder,
    pub(super) unsaved: Unsaved,
    pub(super) read_again_at: Option<Instant>,
    pub(super) save_again_at: Option<Instant>,
    /// How many reads in a row found their files changing.
    unsteady: u32,
    /// The time when the sources were in order, as the book has it.
    pub(super) verified_saved: Option<UnixTime>,
    /// When the book was last seen to be in place.
    book_looked_at: Instant,
    /// The predecessors of the issuer that the book knows and the configuration does not.
    pub(super) predecessors: Vec<Predecessor>,
    /// When the CRLs go out of date, and which of them were already logged.
    pub(super) crl_ends: Vec<(PathBuf, UnixTime)>,
    pub(super) out_of_date_told: Vec<(PathBuf, UnixTime)>,
    /// Whether its configuration is adopted; until then nothing is saved or logged.
    pub(super) adopted: Arc<AtomicBool>,
    /// Whether changes are logged; at a first start everything would be new.
    pub(super) tells: bool,
    /// Changes to be logged once that is allowed.
    pub(super) untold: Vec<LoggedChanges>,
    /// How long an index must be still before records that it does not list are removed.
    pub(super) removal_delay: Duration,
    /// The follower of this issuer's old sources.
    pub(super) former: Option<FormerSources>,
    /// Expires with this value.
    pub(super) alive: Arc<()>,
}

impl IssuerWorker {
    #[cfg(test)]
    pub(super) fn sources(&self) -> &crate::config::Sources {
        &self.issuer.sources
    }

    /// Opens it with the records from the book. `predecessors` finds the issuer's predecessors.
    pub(super) fn open(
        book: &mut Book,
        issuer: FollowedIssuer,
        predecessors: impl FnOnce(&mut Book, &IssuerId) -> Result<Vec<Predecessor>, StateError>,
    ) -> Result<Self, StateError> {
        let mut loaded = Vec::new();
        let held = book.load(&issuer.id, |serial, record, origin| {
            loaded.push(Change::new(serial, Some(record)).by(origin));
        })?;
        let predecessors = predecessors(book, &issuer.id)?;
        let (state, mut records) = IssuerState::new(issuer.id.clone());
        state.health.verified_before(held.verified, issuer.sources.is_crl_alone());
        records.reserve(loaded.len());
        records.apply(loaded);
        let tells = state.records.counts() != Counts::default();
        Ok(Self {
            book: held.book,
            state,
            records,
            watch: Watch::new(issuer.sources.paths()),
            crl_marks: Predecessor::crl_marks(&held, &predecessors),
            shrink: OperatorOrder::new(book.state_dir(), "shrink", &issuer.id),
            older: OperatorOrder::new(book.state_dir(), "older", &issuer.id),
            unsaved: Unsaved::default(),
            read_again_at: None,
            save_again_at: None,
            unsteady: 0,
            verified_saved: held.verified,
            book_looked_at: Instant::now(),
            predecessors,
            adopted: Arc::new(AtomicBool::new(true)),
            tells,
            untold: Vec::new(),
            crl_ends: Vec::new(),
            out_of_date_told: Vec::new(),
            removal_delay: limits::REMOVAL_DELAY,
            former: None,
            alive: Arc::default(),
            issuer: Arc::new(issuer),
        })
    }

    /// The pass of a start: it waits for a source that is being written, and fails on any other fault. `whole`: it also
    /// waits until an index is still.
    pub(super) fn first_pass(
        &mut self,
        book: &Mutex<Book>,
        accept: Accepted,
        whole: bool,
        stop: &Stop,
    ) -> Result<Pass, EngineError> {
        let begun = Instant::now();
        loop {
            self.watch.changed();
            match self.pass(accept) {
                Ok(pass)
                    if whole
                        && pass.held_back
                        && begun.elapsed() < limits::REMOVAL_WAIT_MAX
                        && !stop.pause(limits::SOURCE_POLL_INTERVAL) => {}
                Ok(mut pass) => {
                    self.follow_predecessors(accept, &mut pass)?;
                    self.tells = true;
                    self.state.health.read(UnixTime::now(), &pass);
                    self.state.health.looked(UnixTime::now());
                    self.verified_saved = self.state.health.unchanged(UnixTime::now());
                    self.unsaved.verified = self.verified_saved;
                    if self.adopted.load(Acquire) {
                        self.save(&mut lock(book))?;
                    } else {
                        self.save_again_at = Some(Instant::now());
                    }
                    self.warn_if_out_of_date();
                    return Ok(pass);
                }
                Err(faults) if self.may_be_a_moment(&faults) && !stop.pause(limits::SOURCE_POLL_INTERVAL) => {}
                Err(faults) => return Err(faults.into()),
            }
        }
    }

    /// Looks at the sources until it has to stop.
    pub(super) fn follow(&mut self, book: &Mutex<Book>, accept: Accepted, stop: &Stop) {
        while !stop.pause(limits::SOURCE_POLL_INTERVAL) {
            self.look(book, accept, stop);
        }
    }

    /// One look: a pass, if a file has changed or a refused one is to be tried again.
    pub(super) fn look(&mut self, book: &Mutex<Book>, accept: Accepted, stop: &Stop) {
        self.state.health.looked(UnixTime::now());
        // No short circuit: the watch must record what it has seen.
        let due = self.watch.changed() | self.take_over() | due(&mut self.read_again_at);
        if due {
            self.take(accept);
            self.state.health.looked(UnixTime::now());
        }
        self.note_verified();
        if !self.adopted.load(Acquire) {
            return;
        }
        self.warn_if_out_of_date();
        self.tell_untold();
        let look_at_book = self.book_looked_at.elapsed() >= limits::BOOK_LOOK_INTERVAL;
        if look_at_book || (due || due_now(self.save_again_at)) && !self.unsaved.is_empty() {
            self.save_again_at = None;
            self.book_looked_at = Instant::now();
            // Another issuer's batch may take seconds: this issuer's sources are looked at in the meantime.
            let saved = match book.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    self.save_again_at = Some(Instant::now());
                    return;
                }
                // The follower that replaced this one has written what its sources say; this is older.
                Ok(_) | Err(_) if stop.is_replaced() => return,
                Ok(mut book) => self.save(&mut book),
                Err(TryLockError::Poisoned(poisoned)) => self.save(&mut poisoned.into_inner()),
            };
            if saved.is_err() {
                self.save_again_at = Some(Instant::now() + limits::RETRY_INTERVAL);
            }
        }
    }

    /// Notes that the sources are in order, and saves that to the book from time to time.
    fn note_verified(&mut self) {
        if self.read_again_at.is_some() {
            return;
        }
        let verified = self.state.health.unchanged(UnixTime::now());
        let saved = self.verified_saved.unwrap_or(UnixTime(0));
        if let Some(verified) = verified.filter(|verified| verified.since(saved) > limits::VERIFIED_SAVE_INTERVAL) {
            self.unsaved.verified = Some(verified);
            self.verified_saved = Some(verified);
            self.save_again_at = Some(Instant::now());
        }
    }

    /// One pass. The outcome goes to the log and to health.
    pub(super) fn take(&mut self, accept: Accepted) {
        match self.pass(accept) {
            Ok(pass) => {
                self.unsteady = 0;
                let was_refused = self.state.health.report().fault.is_some();
                self.state.health.read(UnixTime::now(), &pass);
                self.tell_read(&pass, was_refused);
            }
            Err(error) if self.may_be_a_moment(&error) => self.read_again_at = Some(Instant::now()),
            Err(faults) => self.refused(&faults),
        }
    }

    /// Logs that sources are refused, and has them tried again.
    pub(super) fn refused(&mut self, faults: &Faults) {
        self.unsteady = 0;
        if self.state.health.refused(&faults.to_string()) {
            let (tenant, name) = (self.issuer.tenant(), &self.issuer.name);
            error!(tenant, issuer = name, "{faults}; the last good state stays in use");
        }
        // The cause need not show in the file: no free descriptors or memory, a missing mount.
        self.read_again_at = Some(Instant::now() + limits::RETRY_INTERVAL);
    }

    /// Whether the book knows the issuer.
    pub(super) fn is_known(&self) -> bool {
        let counts = self.state.records.counts();
        counts.good + counts.revoked > 0 || self.crl_marks.complete.is_some()
    }

    /// Whether a refusal may come from a read in the middle of a change. That is only a fault if it does not end.
    pub(super) fn may_be_a_moment(&mut self, faults: &Faults) -> bool {
        self.unsteady += 1;
        (faults.0.iter().any(|fault| fault.unsteady) || self.watch.changed_since())
            && self.unsteady <= limits::UNSTEADY_READS_MAX
    }

    /// Takes over what the old sources have revoked; true if there was anything.
    fn take_over(&mut self) -> bool {
        let Some(former) = &mut self.former else { return false };
        let last = former.ended();
        let changes = former.revoked(&self.state.records, last);
        let any = !changes.is_empty();
        if any {
            self.show(changes);
        }
        if last {
            self.former = None;
        }
        any
    }

    /// Shows changes in the records before they are on disk: a full disk must not delay a revocation. The source has
    /// it, and a restart reads it there.
    pub(super) fn show(&mut self, changes: Vec<Change>) {
        self.tell_statuses(&changes);
        self.records.reserve(changes.len());
        self.records.apply(changes.iter().copied());
        self.state.changes.tell(changes.len(), changes.iter().map(|change| change.serial));
        self.state.health.changed(changes.len() as u64);
        self.unsaved.add(changes);
    }

    /// Reads the sources, and shows the changes in the records. Everything shown is then in `unsaved`, also after an
    /// error: sources in order still count where they are stricter.
    pub(super) fn pass(&mut self, accept: Accepted) -> Result<Pass, Faults> {
        let started = Instant::now();
        self.take_over();
        let index = self.issuer.sources.index.as_deref();
        let still = index.is_none_or(|index| self.watch.still_for(index) >= self.removal_delay);
        let accept = Accepted {
            shrink: self.shrink.given() || accept.shrink,
            older: self.older.given() || accept.older,
            ..accept
        };
        let comparison = compare::compare(&compare::Question {
            records: &self.state.records,
            issuer: &self.issuer,
            crl_marks: self.crl_marks,
            now: UnixTime::now(),
            still,
            accept_shrink: accept.shrink,
            shrink_remedy: &self.shrink.remedy("shrink"),
            accept_older: accept.older,
            older_remedy: &self.older.remedy("older"),
        });
        let whole = comparison.faults.is_empty() && !comparison.held_back;
        if whole || comparison.shrunk {
            self.shrink.refused(comparison.shrunk);
        }
        if whole || comparison.older {
            self.older.refused(comparison.older);
        }
        if self.state.health.passed_over(comparison.passed_over) {
            let (tenant, name) = (self.issuer.tenant(), &self.issuer.name);
            let entries = comparison.passed_over;
            warn!(
                tenant,
                issuer = name,
                entries,
                "the sources list serial numbers that are 0, negative or over 20 bytes, which no certificate can have; they are skipped"
            );
        }
        for warning in self.state.health.warned(&comparison.warnings) {
            warn!(tenant = self.issuer.tenant(), issuer = self.issuer.name, "{warning}");
        }
        if comparison.held_back {
            self.read_again_at = Some(Instant::now() + self.removal_delay);
        }
        if whole {
            self.tell_contradictions(&comparison);
        }
        if comparison.crl_marks != self.crl_marks {
            self.crl_marks = comparison.crl_marks;
            self.unsaved.crl_marks = Some(self.crl_marks);
        }
        let crl_next_update = comparison.crl_next_update();
        if comparison.faults.is_empty() {
            self.crl_ends = comparison.crl_ends;
        }
        let changed = comparison.changes.len() as u64;
        self.show(comparison.changes);
        if !comparison.faults.is_empty() {
            if changed > 0 {
                let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
                info!(tenant, issuer, changed, "doubtful changes wait; revocations and new certificates were taken");
            }
            return Err(Faults(comparison.faults));
        }
        Ok(Pass {
            listed: comparison.listed,
            changed,
            held_back: comparison.held_back,
            counts: self.state.records.counts(),
            crl_next_update,
            took: started.elapsed(),
        })
    }
}

fn due_now(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at <= Instant::now())
}

/// Whether the time has come; if so, it is cleared.
fn due(at: &mut Option<Instant>) -> bool {
    let due = due_now(*at);
    if due {
        *at = None;
    }
    due
}
