//! What there is to say of the feed while it is written or followed: issuers that are lacking here, snapshots that a standby
//! lacks, and Redis that is away or may drop the feed.
//!
//! Invariant: nothing that lasts fills the log. It changes nothing of what is told.

use std::time::Duration;

use tracing::{info, warn};

use super::Work;
use crate::{
    feed::{Issuer, Moment, store::Store as _, writer::Role},
    limits::feed as limits,
    service::remarks::News,
};

impl Work {
    /// An issuer that the feed has spoken of, and that is configured only now, has to be compared as a whole; once another
    /// one leads: while this one does, nobody else speaks of it, and the feed has what its sources say.
    pub(super) fn look_at_strangers(&mut self, now: Moment) {
        if self.leads || now.monotonic.saturating_sub(self.strangers_at) < limits::HEARTBEAT_INTERVAL {
            return;
        }
        self.strangers_at = now.monotonic;
        let strangers = self.book.strangers().count() as u64;
        let named = self.book.strangers_named().take(limits::STRANGERS_NAMED_MAX).map(str::to_owned).collect();
        self.shared.note(|report| (report.strangers, report.strangers_named) = (strangers, named));
        let is_configured = |stranger: Issuer| self.ledgers.of(&stranger.0).is_some();
        if self.book.strangers().any(is_configured) {
            info!("an issuer of the feed is configured here now: everything is compared with a snapshot");
            if let Err(fault) = self.book.compare_anew() {
                self.events.fault(&fault, now.monotonic);
            }
        }
    }

    /// Tells that this standby cannot be filled.
    pub(super) fn look_at_lack(&mut self, now: Moment) {
        let is_standby = self.writer.role() == Role::Following;
        let condition = || self.writer.reader().condition(&self.book);
        let standby = is_standby.then(|| (condition(), self.book.place(), self.fetcher.report()));
        match self.lacking.look(standby, now.monotonic) {
            Some(News::Begins | News::Lasts(_)) => warn!("{}", self.lacking.what().unwrap_or_default()),
            Some(News::Over(after)) if is_standby => {
                info!(seconds = after.as_secs(), "this writer lacks nothing of the feed any more");
            }
            Some(News::Over(_)) | None => {}
        }
    }

    /// When a writer gave the last sign of life: what this one tells is one as well.
    pub(super) fn heard(&self) -> Option<Duration> {
        self.writer.reader().heard().max(self.told_at)
    }

    /// Tells that Redis is away, or back.
    pub(super) fn look_at_redis(&mut self, now: Moment) {
        let fault = self.stream.fault().map(ToString::to_string);
        match self.trouble.look(fault.as_deref(), self.heard(), now.monotonic) {
            Some(News::Begins | News::Lasts(_)) => warn!(
                "{}; pushes are not acknowledged until the feed takes them, and replicas answer with what they have",
                self.trouble.fault().unwrap_or_default()
            ),
            Some(News::Over(after)) => info!(seconds = after.as_secs(), "Redis takes and gives entries again"),
            None => {}
        }
        self.look_at_eviction();
    }

    /// Warns of a Redis that may drop the feed, once for each connection.
    fn look_at_eviction(&mut self) {
        let connection = self.stream.connected();
        if connection.is_none() || connection == self.asked_of_eviction {
            return;
        }
        self.asked_of_eviction = connection;
        // A fault shows with the next step as well.
        if let Ok(Some(policy)) = self.stream.eviction_policy()
            && let Some(doubt) = self.stream.server().doubt_of_eviction(&policy)
        {
            warn!("{doubt}");
        }
    }
}
