//! What the log hears of a feed in which something is wrong, whoever reads it.
//!
//! Invariant: each kind is told when it happens first, and hourly with how many more there were, so the log is filled by
//! nobody who fills the stream. It does not know what becomes of it.

use std::time::Duration;

use tracing::{error, warn};

use crate::{feed::reader::Event, log::remarks::Repeated};

/// What was told so far.
#[derive(Default, Debug)]
pub(super) struct Alarms {
    refused: Repeated,
    later: Repeated,
    heads: Repeated,
    digests: Repeated,
    faults: Repeated,
}

impl Alarms {
    /// Tells of what was read `now`, if something is wrong with it; but for a fault of the store, of which each reader knows
    /// what becomes of it.
    pub(super) fn hear(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Refused(position, refusal) if refusal.is_of_later_version() => {
                if let Some(more) = self.later.news(now) {
                    error!(
                        entry = %position, more,
                        "an entry of the feed is passed over: {refusal}; this is no attack: what is known stays, and nobody here takes over from that writer"
                    );
                }
            }
            Event::Refused(position, refusal) => {
                if let Some(more) = self.refused.news(now) {
                    error!(
                        entry = %position, more,
                        "an entry of the feed is passed over: {refusal}; if it is of a writer of this cluster, compare `feed.trusted` and `feed.cluster` with its configuration, else somebody else writes into Redis"
                    );
                }
            }
            Event::HeadRefused(refusal) => {
                if let Some(more) = self.heads.news(now) {
                    let hint = if refusal.is_of_later_version() {
                        "what is known stays"
                    } else {
                        "compare `feed.trusted` and `feed.cluster` with the configuration of the writer that leads"
                    };
                    error!(more, "the manifest of the newest snapshot is refused: {refusal}; {hint}");
                }
            }
            Event::DigestDiffers(issuer, place) => {
                if let Some(more) = self.digests.news(now) {
                    error!(
                        %issuer, %place, more,
                        "the records of an issuer are not what the writer that leads has at the same place: everything is compared with a snapshot; who has read a stream without the snapshot that it goes on from sees this once; if it comes again, memory or the program is faulty"
                    );
                }
            }
            Event::Linked(_) | Event::Told(_) | Event::Reconciled(_) | Event::Lost(..) | Event::Fault(_) => {}
        }
    }

    /// What was read cannot be taken up: whether that is told now, with how many more there were.
    pub(super) fn fault(&mut self, now: Duration) -> Option<u64> {
        self.faults.news(now)
    }

    /// Tells of those that came in the last hour and that nobody was told of.
    pub(super) fn rest(&mut self, now: Duration) {
        for (repeated, what) in [
            (&mut self.refused, "entries of the feed were passed over"),
            (&mut self.later, "entries of a later version of the feed were passed over"),
            (&mut self.heads, "times the manifest of the newest snapshot was refused"),
            (&mut self.digests, "times the records of an issuer were not the writer's"),
            (&mut self.faults, "times what was read could not be taken up"),
        ] {
            if let Some(count) = repeated.rest(now) {
                warn!(count, "{what} since this was told last");
            }
        }
    }
}
