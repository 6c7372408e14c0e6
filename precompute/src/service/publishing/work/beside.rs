//! What is told beside records: answers, and the condition of issuers' sources.
//!
//! Invariant: an answer is told after its record, and what could not be told is told once more. It does not know how an entry is
//! written.

use tracing::info;

use super::{
    super::{
        held::{Held, Turn},
        statuses::status_of,
    },
    Work,
};
use crate::{
    feed::{Body, Moment},
    ledger::Ledger,
    limits::feed as limits,
    pki::UnixTime,
};

impl Work {
    /// Answers and the status of issuers, as far as there is room.
    pub(super) fn feed_beside(&mut self, now: Moment) {
        if now.monotonic.saturating_sub(self.statuses_at) >= limits::HEARTBEAT_INTERVAL {
            self.statuses_at = now.monotonic;
            let all = self.ledgers.all();
            // A feed that begins has its first snapshot for that.
            let told = if self.ledgers.begins() { &[][..] } else { &all };
            let is_all_told = |ledger: &&Ledger| ledger.is_all_told().unwrap_or(false);
            let present = told.iter().filter_map(|ledger| Some((ledger, status_of(ledger)?)));
            for body in self.statuses.due(now.monotonic, present, is_all_told) {
                self.writer.tell(body);
            }
            let is_lacking =
                |ledger: &Ledger| self.statuses.has_told(ledger.id().into()) && !self.in_snapshot.contains(ledger.id());
            if told.iter().any(is_lacking) {
                self.writer.snapshot_lacks_an_issuer(now);
            }
            self.look_at_lost_snapshot(now);
        }
        if self.writer.untold_beside() > 0 {
            return;
        }
        if let Some(Body::Answers(told)) = self.answers_told.take() {
            self.shared.telling.answered(&told);
        }
        if self.held.is_none() {
            let answers = self.shared.outgoing.next(self.shared.telling.awaits_answers());
            self.held = answers.map(|answers| Held::new(answers, now.monotonic));
        }
        if let Some(mut held) = self.held.take() {
            let turn = held.turn(&self.ledgers, now.monotonic);
            if let Turn::ComesTooSoon(first) = turn {
                self.too_soon.note(first);
            }
            if turn == Turn::Waits {
                self.held = Some(held);
            } else {
                let answers = held.answers();
                self.answers_told = Some(answers.clone());
                self.writer.tell(answers);
            }
        }
        self.retell();
    }

    /// After answers found no room, all are told once more; after a new epoch began, those of the last moments; and
    /// those that were told before their records, when all records have been told.
    fn retell(&mut self) {
        if self.retelling.is_busy()
            || self.shared.outgoing.octets() > 0
            // Those of the store are among them.
            || !self.handle.presigner.has_restored()
        {
            return;
        }
        let since = if self.shared.outgoing.take_incomplete() {
            info!("more answers were signed than could be told at once; all are told once more");
            self.answers_lost_since = None;
            UnixTime(0)
        } else if let Some(since) = self.answers_lost_since.take().or_else(|| self.too_soon.take(&self.ledgers)) {
            since
        } else {
            return;
        };
        self.retelling.begin(since, self.handle.tenants.borrow().subjects(), &self.answers, &self.shared);
    }
}
