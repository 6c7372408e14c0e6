//! The snapshots that a writer makes.
//!
//! Invariant: one at a time, of everything that belongs into it, and none of an earlier epoch. It does not know what is in one,
//! or who fetches it.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tracing::error;

use super::{super::snapshots::NotMade, Work};
use crate::{
    feed::{Manifest, Moment},
    issuer_id::IssuerId,
    ledger::Ledger,
    limits::feed as limits,
    pki::UnixTime,
};

impl Work {
    /// Makes the snapshot that is wanted, once no other is being made and there is everything that belongs into it: the
    /// answers of the store, since nobody is told of those one by one; and of a feed that this writer begins what the sources
    /// say first of all.
    pub(super) fn look_at_snapshots(&mut self, now: Moment) {
        match self.snapshots.look() {
            Some(Err(_)) if self.wants_snapshot => self.begin_again(),
            // It was abandoned, and whole all the same. Another one is wanted.
            Some(Ok(_)) if self.wants_snapshot => {}
            Some(made) => self.snapshot_made(made, now),
            None => {}
        }
        let is_read = self.beginning.as_ref().is_none_or(|is_read| is_read.load(Relaxed));
        let may_begin = !self.snapshots.is_busy() && now.monotonic >= self.snapshots_rest;
        if !self.wants_snapshot || !may_begin || !is_read || !self.handle.presigner.has_restored() {
            return;
        }
        self.wants_snapshot = false;
        if self.beginning.take().is_none() {
            return self.make_snapshot(None, now);
        }
        // The records were filled without a word to whoever signs ahead.
        self.handle.presigner.begin_anew();
        let (telling, outgoing) = (Arc::clone(&self.shared.telling), Arc::clone(&self.shared.outgoing));
        let begins = move || {
            // Not if this writer stands by by now.
            if telling.begun() {
                outgoing.open();
            }
        };
        self.make_snapshot(Some(Box::new(begins)), now);
    }

    fn make_snapshot(&mut self, begins: Option<Box<dyn FnOnce() + Send>>, now: Moment) {
        let subjects = self.handle.tenants.borrow().subjects();
        let told_of = |ledger: &&Ledger| {
            begins.is_some() || self.statuses.has_told(ledger.id().into()) || ledger.is_all_told().unwrap_or(false)
        };
        let known: HashSet<IssuerId> =
            self.ledgers.all().iter().filter(told_of).map(|ledger| ledger.id().clone()).collect();
        self.in_snapshot.clone_from(&known);
        if let Err(error) = self.snapshots.make(&self.ledgers, known, subjects, &self.answers, begins) {
            self.snapshot_made(Err(format!("no thread can be started for it: {error}").into()), now);
        }
    }

    fn snapshot_made(&mut self, made: Result<Manifest, NotMade>, now: Moment) {
        match made {
            Ok(manifest) => {
                self.writer.snapshot_made(&manifest);
                self.shared.note(|report| {
                    report.snapshot_fault = None;
                    report.snapshot_made = Some(UnixTime::now());
                });
            }
            // It was abandoned.
            Err(_) if !self.leads => {}
            Err(problem) => {
                let is_too_long = problem == NotMade::TooLong;
                let fault = format!("no snapshot could be made for replicas: {problem}");
                error!("{fault}; it is tried again");
                self.writer.snapshot_failed(now);
                self.begin_again();
                self.shared.note(|report| report.snapshot_fault = Some(fault));
                if is_too_long {
                    self.snapshots_rest = now.monotonic + limits::SNAPSHOT_TOO_LONG_RETRY;
                }
            }
        }
    }

    /// Without its newest snapshot a writer fills nobody who comes.
    pub(super) fn look_at_lost_snapshot(&mut self, now: Moment) {
        if let Some(id) = self.snapshots.lost()
            && self.writer.snapshot_lost(now)
        {
            let fault = format!("the newest snapshot, {id}, was changed on disk and is not given out any more");
            error!("{fault}; another one is made; look after the disk");
            self.shared.note(|report| report.snapshot_fault = Some(fault));
        }
    }

    /// The feed has not begun with a snapshot that could not be made; the sources have been read.
    fn begin_again(&mut self) {
        if self.leads && self.ledgers.begins() {
            self.beginning = Some(Arc::new(AtomicBool::new(true)));
        }
    }
}
