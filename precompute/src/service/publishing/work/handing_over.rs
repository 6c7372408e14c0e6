//! Who else has what was told, and who leads next.
//!
//! Invariant: what standbys say of their disks is asked for at the pace of whoever waits for it, and each second besides; who was
//! named as a successor a moment ago is the one that is told of. It does not know how an entry is written.

use std::sync::Arc;

use tracing::{info, warn};

use super::{
    super::{Asked, telling::Kind},
    Work,
};
use crate::{
    feed::{Moment, store::Store as _, writer::Role},
    limits::feed as limits,
    log::remarks::News,
};

impl Work {
    /// Finds out who else has what was told, if pushes wait for that. On a new connection the next sign of life has to be
    /// written first.
    pub(super) fn confirm(&mut self) {
        if !self.leads || !self.stream.has_written() {
            return;
        }
        let telling = Arc::clone(&self.shared.telling);
        // A fault shows with the next step as well.
        if let Some((written, servers)) = telling.unconfirmed(Kind::RedisReplicas)
            && let Ok(reached) = self.stream.wait_for_followers(servers, limits::FOLLOWERS_WITHIN)
        {
            telling.reached(Kind::RedisReplicas, vec![written; reached as usize]);
        }
        if let Some((written, _)) = telling.unconfirmed(Kind::Standbys)
            && let Ok(behind) = self.writer.standbys(&mut self.stream, &self.book)
        {
            telling.reached(Kind::Standbys, behind.iter().map(|(behind, _)| written.saturating_sub(*behind)).collect());
        }
    }

    /// Looks who stands by, while this writer leads.
    pub(super) fn look_at_standbys(&mut self, now: Moment) {
        if !self.standbys.is_due(self.leads, now.monotonic) {
            return;
        }
        let there = if self.leads { self.writer.standbys(&mut self.stream, &self.book).ok() } else { None };
        self.standbys.note(there);
        let standbys = self.leads.then(|| self.standbys.count());
        let fault = self.stream.acknowledge_fault().map(ToString::to_string);
        match (self.standbys.news(fault.is_some(), now.monotonic), &fault) {
            (Some(News::Over(after)), _) => {
                info!(seconds = after.as_secs(), "what is on the disks of standbys can be said and read again");
            }
            (Some(_), Some(fault)) => warn!("what is on the disks of standbys cannot be said or read: {fault}"),
            _ => {}
        }
        self.shared.note(|report| (report.standbys, report.standbys_fault) = (standbys, fault));
    }

    /// Does what an operator asks.
    pub(super) fn look_at_operator(&mut self, now: Moment) {
        let operator = Arc::clone(&self.shared.operator);
        match (operator.pending(), self.writer.role()) {
            (Some(Asked::HandOver), Role::Leading) if !self.hands_over => {
                self.standbys.begin_anew();
                self.look_at_standbys(now);
                if self.standbys.first().is_some() {
                    self.hands_over = true;
                } else {
                    operator.done(Err(
                        "no other writer keeps up with this one, so nobody could lead: start one, and wait until `ostia_feed_standbys` counts it".into(),
                    ));
                }
            }
            (Some(Asked::HandOver), Role::Following) if !self.hands_over => {
                let leader =
                    self.shared.telling.leader().map_or_else(String::new, |leader| format!(", and {leader} does"));
                operator.done(Err(format!("this writer does not lead{leader}: ask the one that leads")));
            }
            (Some(Asked::Promote), Role::Following) => {
                if let Some(fault) = self.trouble.fault() {
                    operator.done(Err(format!("{fault}; without the feed nobody can lead")));
                } else if self.book.place().is_none() && matches!(self.stream.manifest(), Ok(Some(_))) {
                    operator.done(Err(
                        "this writer has no records of the feed yet, and would lose what only the feed knows: wait until `/readyz/ocsp` says that it stands by at a place".into(),
                    ));
                } else {
                    self.writer.promote();
                }
            }
            (Some(Asked::Promote), Role::Leading) => operator.done(Ok("this writer leads".into())),
            _ => {}
        }
    }

    /// The one that was named leads now, or this one could not say so in time.
    pub(super) fn handed_over(&mut self) {
        self.hands_over = false;
        let outcome = match (self.writer.role(), self.successor.take()) {
            (Role::Following, Some(successor)) => Ok(format!("this writer stands by, and {successor} takes over")),
            _ => Err("Redis did not take the resignation; `/readyz/ocsp` says who leads".into()),
        };
        if self.leads {
            self.writer.stay();
            self.shared.outgoing.open();
        }
        self.shared.operator.done(outcome);
    }

    /// The next entry is the last one. The standby that has most takes over.
    pub(super) fn resign(&mut self, now: Moment) {
        self.standbys.begin_anew();
        self.look_at_standbys(now);
        self.successor = self.standbys.first();
        self.writer.resign(self.successor);
    }
}
