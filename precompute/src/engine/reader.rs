//! Reads the sources of one issuer, again and again.
//!
//! Purpose: the passes over one issuer, and what is logged and tried again after each. Invariant: it writes nothing. What
//! it finds goes to the ledger as a whole, by its [`Handover`], and it may hang in a read as long as it likes. It does
//! not know the book, or the other issuers.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tracing::{debug, info, warn};

use super::{
    Accepted, EngineError, Faults, FollowedIssuer, Pass, compare,
    follower::Terms,
    handover::{Findings, Handover, Outcome, Remarks},
    notifier::Watching,
    operator_order::OperatorOrder,
    predecessor::Predecessor,
    progress::Progress,
    stop::{Stop, Waited},
    watch::{Pace, Rereads, Watch},
};
use crate::{
    config::ListingFile,
    ledger::{Difference, Ledger, Releases},
    limits,
    ocsp::Carries,
    pki::UnixTime,
    records::{Counts, Revocations},
    source::{CrlMarks, Form, Mark},
};

/// An issuer, as held by the thread that reads its sources.
#[derive(Debug)]
pub(super) struct SourceReader {
    pub(super) issuer: Arc<FollowedIssuer>,
    pub(super) ledger: Ledger,
    pub(super) handover: Arc<Handover>,
    pub(super) progress: Arc<Progress>,
    pub(super) watch: Watch,
    pace: Pace,
    pub(super) rereads: Rereads,
    /// The mark that the book has, or will have, if it has everything that was found up to there.
    saved: Option<Mark>,
    pub(super) crl_marks: CrlMarks,
    /// How far the last pass has taken the index, if the records have what it found; and whether something in it waits
    /// until it is still.
    pub(super) mark: Option<Mark>,
    waits: bool,
    /// What the last pass has found in an index that was torn.
    candidates: compare::Candidates,
    shrink: OperatorOrder,
    older: OperatorOrder,
    pub(super) read_again_at: Option<Instant>,
    /// How many reads in a row found their files changing.
    unsteady: u32,
    /// The time when the sources were in order, as the book has it or will have it.
    verified_saved: Option<UnixTime>,
    /// The predecessors of the issuer that the book knows and the configuration does not.
    pub(super) predecessors: Vec<Predecessor>,
    /// When the CRLs go out of date, and which of them were already logged.
    crl_ends: Vec<(PathBuf, UnixTime)>,
    out_of_date_told: Vec<(PathBuf, UnixTime)>,
    /// How long an index must be still before records that it does not list are removed.
    pub(super) removal_delay: Duration,
    /// Whether what it found before its adoption was compared with records that others could change.
    was_held: bool,
}

impl SourceReader {
    /// `held`: another reader speaks for this issuer until this one is adopted. `verified`: as the book says.
    pub(super) fn new(
        issuer: FollowedIssuer,
        ledger: Ledger,
        held: bool,
        verified: Option<UnixTime>,
        predecessors: Vec<Predecessor>,
        state_dir: &std::path::Path,
    ) -> Self {
        let issuer = Arc::new(issuer);
        ledger.state().details.want_hashes(issuer.carries.cert_hash);
        Self {
            handover: Handover::new(Arc::clone(&issuer), ledger.clone(), held),
            progress: Arc::default(),
            watch: Watch::new(issuer.sources.paths()),
            pace: Pace::default(),
            rereads: Rereads::new(issuer.sources.paths_of_others(), Instant::now()),
            saved: None,
            crl_marks: ledger.crl_marks(),
            mark: None,
            waits: false,
            candidates: compare::Candidates::default(),
            ledger,
            shrink: OperatorOrder::new(state_dir, "shrink", &issuer.id),
            older: OperatorOrder::new(state_dir, "older", &issuer.id),
            read_again_at: None,
            unsteady: 0,
            verified_saved: verified,
            predecessors,
            crl_ends: Vec::new(),
            out_of_date_told: Vec::new(),
            removal_delay: limits::REMOVAL_DELAY,
            was_held: held,
            issuer,
        }
    }

    /// `stamps`: what the sources looked like when everything that they said had been saved.
    pub(super) fn with_stamps(mut self, stamps: Option<&[u8]>) -> Self {
        self.saved = stamps.and_then(Mark::from_bytes);
        self
    }

    /// Whether anything is known of the issuer without its sources.
    pub(super) fn is_known(&self) -> bool {
        self.ledger.state().records.counts() != Counts::default() || self.crl_marks.has_complete()
    }

    /// The pass of a start: it waits for a source that is being written, and fails on any other fault.
    pub(super) fn first_pass(&mut self, terms: Terms, stop: &Stop) -> Result<Pass, EngineError> {
        let Terms { accept, whole, .. } = terms;
        let begun = Instant::now();
        if terms.from_book
            && let Some(pass) = self.pass_without_reading()
        {
            return Ok(pass);
        }
        if self.saved.take().is_some() {
            // They may be of another index, which is then not what the book has.
            self.ledger.forget_stamps();
        }
        loop {
            self.watch.changed();
            match self.timed_pass(accept) {
                Ok(pass)
                    if whole
                        && pass.held_back
                        && begun.elapsed() < limits::REMOVAL_WAIT_MAX
                        && !stop.pause(limits::SOURCE_POLL_INTERVAL) => {}
                Ok(mut pass) => {
                    self.follow_predecessors(accept, &mut pass)?;
                    self.taken(&pass);
                    self.warn_if_out_of_date();
                    return Ok(pass);
                }
                Err(faults) if self.may_be_a_moment(&faults) && !stop.pause(limits::SOURCE_POLL_INTERVAL) => {}
                Err(faults) => return Err(faults.into()),
            }
        }
    }

    /// The pass over an index that looks as it did when the book had everything that it says: there is nothing to read.
    /// It is read soon, in case something changed without showing it.
    fn pass_without_reading(&mut self) -> Option<Pass> {
        // What answers carry beside the status, the book does not have.
        if self.issuer.carries != Carries::NONE {
            return None;
        }
        let listing = self.issuer.sources.listing_alone()?;
        let still_matches = |mark: &Mark| mark.still_matches(&listing.path, listing.form);
        let is_own = listing.form == Form::Mirrored;
        let saved = self.saved.clone().filter(|saved| still_matches(saved) && self.predecessors.is_empty())?;
        let counts = self.ledger.state().records.counts();
        let pass = Pass { listed: saved.listed(), counts, ..Pass::default() };
        self.watch.changed();
        // Between the two looks it may have changed.
        if !still_matches(&saved) {
            return None;
        }
        // Nothing changes in a mirror without showing it, and what comes behind is read alone.
        self.mark = is_own.then_some(saved);
        self.taken(&pass);
        self.read_again_at = Some(Instant::now() + limits::READ_AFTER_START);
        Some(pass)
    }

    /// After a first pass.
    fn taken(&mut self, pass: &Pass) {
        self.ledger.tells();
        self.handover.end(Outcome::Taken(*pass));
        self.note_verified(Duration::ZERO);
        self.looked();
    }

    /// Looks at the sources until it has to stop: when somebody says that they may have changed, and at intervals.
    pub(super) fn follow(&mut self, accept: Accepted, stop: &Stop, watching: &mut Watching) {
        loop {
            let wait = self.wait(watching);
            if stop.pause(self.pace.rest(Instant::now())) || stop.wait(wait) == Waited::Stopped {
                return;
            }
            watching.renew_where_due(Instant::now());
            self.look(accept);
        }
    }

    /// How long to wait for an event until the next look. What others write may change without one.
    pub(super) fn wait(&self, watching: &Watching) -> Duration {
        let are_told = self.issuer.sources.are_mirrors() && watching.is_complete() && !self.watch.misses_any();
        let most = match (self.was_held, are_told) {
            // Nothing tells of the adoption.
            (true, _) => limits::SOURCE_POLL_INTERVAL,
            (false, true) => limits::TOLD_POLL_INTERVAL,
            (false, false) => Pace::interval(watching.among()),
        };
        let wait = Pace::wait(self.watch.settles_in(SystemTime::now()), most);
        let again_in = self.read_again_at.map(|at| at.saturating_duration_since(Instant::now()));
        again_in.map_or(wait, |again_in| again_in.min(wait))
    }

    /// One look: a pass, if a file has changed or a refused one is to be tried again.
    pub(super) fn look(&mut self, accept: Accepted) {
        self.looked();
        self.look_whether_adopted();
        // No short circuit: the watch must record what it has seen.
        if self.watch.changed() | due(&mut self.read_again_at) || self.differs_although_it_looks_the_same() {
            self.take(accept);
            self.looked();
        }
        self.note_verified(limits::VERIFIED_SAVE_INTERVAL);
        if self.handover.health().is_some() {
            self.warn_if_out_of_date();
        }
    }

    /// After it was adopted, everything is read again: what was not listed may have come from the former sources after
    /// it was read.
    pub(super) fn look_whether_adopted(&mut self) {
        if self.was_held && self.handover.health().is_some() {
            (self.was_held, self.mark) = (false, None);
            self.read_again_at = Some(Instant::now());
        }
    }

    /// Now and then, whether a file has another content although neither its size nor its times have changed.
    fn differs_although_it_looks_the_same(&mut self) -> bool {
        let begun = Instant::now();
        if !self.rereads.is_due(begun) {
            return false;
        }
        let differs = self.rereads.differ();
        self.rereads.done(Instant::now(), begun.elapsed());
        if differs {
            self.mark = None;
        }
        differs
    }

    /// A pass that the pace counts.
    fn timed_pass(&mut self, accept: Accepted) -> Result<Pass, Faults> {
        let begun = Instant::now();
        let outcome = self.pass(accept);
        let ended = Instant::now();
        self.pace.passed(begun, ended);
        if outcome.is_ok() {
            self.rereads.done(ended, ended - begun);
            if let Some(listing) = self.issuer.sources.listing_alone() {
                self.rereads.taken(&listing.path, self.mark.as_ref().map(Mark::digest));
            }
        }
        outcome
    }

    fn looked(&self) {
        self.handover.count_contradictions_with_pushes();
        if let Some(health) = self.handover.health() {
            health.looked(UnixTime::now());
        }
    }

    /// Notes that the sources are in order, and has that saved if what the book has is older than this.
    fn note_verified(&mut self, interval: Duration) {
        if self.read_again_at.is_some() {
            return;
        }
        let Some(health) = self.handover.health() else { return };
        let now = UnixTime::now();
        if self.issuer.sources.is_pushes_alone() {
            health.in_order(now);
        }
        // An issuer of which nothing was ever known must not be in the book, from which a restart would know it.
        if !health.is_known() {
            return;
        }
        let saved = self.verified_saved.unwrap_or(UnixTime(0));
        let is_news = |verified: &UnixTime| verified.since(saved) > interval || *verified < saved;
        if let Some(verified) = health.unchanged(now).filter(is_news) {
            self.verified_saved = Some(verified);
            health.verified_saved(Some(verified));
            self.ledger.note_verified(verified);
        }
        self.note_stamps();
    }

    /// Has the book note what the index looks like, once it has everything that the index says, and nothing else.
    fn note_stamps(&mut self) {
        // A start that does not read could not say what the sources take back.
        if self.handover.health().is_some_and(|health| health.report().contradictions > 0) {
            return;
        }
        let Some(listing) = self.issuer.sources.listing_alone() else { return };
        let is_settled = |mark: &&Mark| mark.still_matches(&listing.path, listing.form);
        let news = self.mark.as_ref().filter(|mark| !self.waits && self.saved.as_ref() != Some(*mark));
        if let Some(mark) = news.filter(is_settled) {
            self.ledger.note_stamps(mark.to_bytes());
            self.saved = Some(mark.clone());
        }
    }

    /// One pass. The outcome goes to the log and to health.
    pub(super) fn take(&mut self, accept: Accepted) {
        match self.timed_pass(accept) {
            Ok(pass) => {
                self.unsteady = 0;
                let was_refused = self.handover.health().is_some_and(|health| health.report().fault.is_some());
                self.handover.end(Outcome::Taken(pass));
                self.tell_read(&pass, was_refused);
            }
            Err(error) if self.may_be_a_moment(&error) => self.read_again_at = Some(Instant::now()),
            Err(faults) => self.refused(&faults),
        }
    }

    /// Logs that sources are refused, and has them tried again.
    pub(super) fn refused(&mut self, faults: &Faults) {
        self.unsteady = 0;
        if self.handover.end(Outcome::Refused(faults.to_string())) {
            self.handover.tell_refusal(faults);
        }
        // The cause need not show in the file: no free descriptors or memory, a missing mount.
        self.read_again_at = Some(Instant::now() + limits::RETRY_INTERVAL);
    }

    /// Whether a refusal may come from a read in the middle of a change. That is only a fault if it does not end.
    pub(super) fn may_be_a_moment(&mut self, faults: &Faults) -> bool {
        self.unsteady += 1;
        (faults.0.iter().any(|fault| fault.unsteady) || self.watch.changed_since())
            && self.unsteady <= limits::UNSTEADY_READS_MAX
    }

    /// Reads the sources, and hands over the differences. They are handed over also after an error: sources in order
    /// still count where they are stricter.
    pub(super) fn pass(&mut self, accept: Accepted) -> Result<Pass, Faults> {
        let started = Instant::now();
        if self.issuer.sources.is_pushes_alone() {
            let counts = self.ledger.state().records.counts();
            return Ok(Pass { counts, ..Pass::default() });
        }
        let comparison = self.compare(accept);
        self.hand_over(comparison, started)
    }

    /// Reads the sources. Nothing has come of it yet, and it may take as long as it likes.
    pub(super) fn compare(&mut self, accept: Accepted) -> compare::Comparison {
        // A mirror is replaced as a whole: what it does not list was removed.
        let is_still = |listing: &ListingFile| {
            listing.form == Form::Mirrored || self.watch.still_for(&listing.path) >= self.removal_delay
        };
        let still = self.issuer.sources.listings.iter().all(is_still);
        let accept = Accepted {
            shrink: self.shrink.given() || accept.shrink,
            older: self.older.given() || accept.older,
            ..accept
        };
        compare::compare(&compare::Question {
            records: &self.ledger.state().records,
            details: &self.ledger.state().details,
            issuer: &self.issuer,
            crl_marks: &self.crl_marks,
            // Removals need the whole index.
            mark: self.mark.as_ref().filter(|_| !(still && self.waits)),
            candidates: &self.candidates,
            now: UnixTime::now(),
            still,
            accept_shrink: accept.shrink,
            shrink_remedy: &self.shrink.remedy("shrink"),
            accept_older: accept.older,
            older_remedy: &self.older.remedy("older"),
            progress: &self.progress,
        })
    }

    /// Hands over what a read that began at `started` has found.
    pub(super) fn hand_over(&mut self, mut comparison: compare::Comparison, started: Instant) -> Result<Pass, Faults> {
        // What was found before the adoption does not show yet, or was compared with what others have changed since.
        self.mark = comparison.mark.take().filter(|_| !self.was_held);
        self.waits = comparison.held_back || comparison.is_of_appended && self.waits;
        self.candidates = std::mem::take(&mut comparison.candidates);
        let whole = comparison.faults.is_empty() && !comparison.held_back && !comparison.is_of_appended;
        if whole || comparison.shrunk {
            self.shrink.refused(comparison.shrunk);
        }
        if whole || comparison.older {
            self.older.refused(comparison.older);
        }
        if comparison.held_back {
            self.read_again_at = Some(Instant::now() + self.removal_delay);
        }
        self.crl_marks = comparison.crl_marks.clone();
        let crl_next_update = comparison.crl_next_update();
        if comparison.faults.is_empty() {
            self.crl_ends = comparison.crl_ends;
        }
        self.note_details(std::mem::take(&mut comparison.details), whole);
        let changed = comparison.changes.len() as u64;
        self.handover.give(Findings {
            difference: Difference {
                said: comparison.changes,
                releases: match self.issuer.releases_by_leaving_out() {
                    _ if self.was_held => Releases::None,
                    true => Releases::LeftOut,
                    false => Releases::Said,
                },
                crl_marks: Some(comparison.crl_marks.clone()),
                ..Difference::default()
            },
            remarks: Some(Remarks {
                passed_over: comparison.passed_over,
                warnings: comparison.warnings,
                contradictions: whole.then_some(comparison.contradictions),
            }),
            published: self.issuer.publishes_crls.then_some(comparison.accepted),
        });
        if !comparison.faults.is_empty() {
            if changed > 0 {
                let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
                info!(tenant, issuer, changed, "doubtful changes wait; revocations and new certificates were taken");
            }
            return Err(Faults(comparison.faults.into_iter().map(|fault| self.issuer.with_origin(fault)).collect()));
        }
        Ok(Pass {
            listed: comparison.listed,
            changed,
            held_back: self.waits,
            counts: self.ledger.state().records.counts(),
            crl_next_update,
            took: started.elapsed(),
        })
    }

    /// Notes what answers carry of revocations, before these show. `whole`: whether it is all that there is to know.
    fn note_details(&self, revocations: Revocations, whole: bool) {
        let state = self.ledger.state();
        if !whole {
            return state.details.add_revocations(revocations);
        }
        state.details.replace_revocations(revocations);
        state.forget_hashes();
    }

    /// A file that was just written is read a second time, because another change might not show in its times. A second
    /// read that finds nothing new is not logged.
    fn tell_read(&self, pass: &Pass, was_refused: bool) {
        let (tenant, name) = (self.issuer.tenant(), &self.issuer.name);
        let (Pass { listed, changed, .. }, milliseconds) = (*pass, pass.took.as_millis() as u64);
        let Counts { good, revoked } = pass.counts;
        if changed > 0 || was_refused {
            info!(tenant, issuer = name, listed, changed, good, revoked, milliseconds, "the source was read");
        } else {
            debug!(tenant, issuer = name, listed, milliseconds, "the source was read; nothing has changed");
        }
    }

    /// Logs once for each CRL that it is out of date, even if it is not read again.
    fn warn_if_out_of_date(&mut self) {
        let now = UnixTime::now();
        let ended: Vec<_> = self.crl_ends.iter().filter(|(_, end)| *end <= now).cloned().collect();
        for (path, next_update) in ended.iter().filter(|ended| !self.out_of_date_told.contains(ended)) {
            let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
            warn!(tenant, issuer, crl = %path.display(), %next_update, "the CRL is out of date: its CA, or what fetches it, has stopped; what a CRL alone says ends with it, or `crl_grace` later, and beside an index answers are signed for `stale_after` longer");
        }
        self.out_of_date_told = ended;
    }
}

/// Whether the time has come; if so, it is cleared.
fn due(at: &mut Option<Instant>) -> bool {
    let due = at.is_some_and(|at| at <= Instant::now());
    if due {
        *at = None;
    }
    due
}
