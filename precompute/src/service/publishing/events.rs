//! What a standby reads of the feed beside records, and what the log hears of it.
//!
//! Invariant: the condition of an issuer's sources is the one that the writer at work has found, so whoever takes over
//! knows what it knew, and its answers are those that were told; the log is filled by nobody who fills the stream. It does
//! not know records.

use std::time::Duration;

use tracing::{error, info, warn};

use super::telling::Telling;
use crate::{
    feed::{Body, Refusal, ledgers::LedgerBook, reader::Event, store::Fault},
    pki::UnixTime,
    presign::Received,
    service::remarks::Repeated,
};

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Events {
    refused: Repeated,
    heads_refused: Repeated,
    faults: Repeated,
    digests: Repeated,
}

impl Events {
    /// Takes up what was read `now`; returns how many entries were passed over.
    pub(super) fn take(
        &mut self,
        event: Event,
        book: &mut LedgerBook,
        received: &Received,
        telling: &Telling,
        now: Duration,
    ) -> u64 {
        match event {
            Event::Linked(opened) | Event::Told(opened) => match &opened.entry.body {
                Body::Begin(_) => {
                    info!(position = %opened.entry.position, writer = %opened.entry.author, "another writer leads");
                }
                Body::Answers(sections) => {
                    let now = UnixTime::now();
                    sections.iter().for_each(|section| received.take(&section.rows(), now, |_| true));
                }
                Body::IssuerStatus(all) => all.iter().for_each(|status| book.note_status(status)),
                _ => {}
            },
            Event::Reconciled(place) => {
                info!(%place, "the book was compared with a snapshot, and follows the feed from there")
            }
            Event::Lost(place, position) => warn!(
                %place, %position,
                "an entry of the feed does not follow what is known here: everything is compared with a snapshot"
            ),
            Event::Refused(position, refusal) => {
                self.refused(&position.to_string(), refusal, now);
                return 1;
            }
            Event::HeadRefused(refusal) => {
                if let Some(before) = self.heads_refused.news(now) {
                    error!(
                        before,
                        "the manifest of the newest snapshot is refused: {refusal}; compare `feed.trusted` with the writers' public keys"
                    );
                }
            }
            Event::DigestDiffers(issuer, place) => {
                if let Some(before) = self.digests.news(now) {
                    error!(
                        %issuer, %place, before,
                        "the records are not those of the writer that leads: everything is compared with a snapshot"
                    );
                }
            }
            Event::Fault(fault) => self.fault(&fault, now),
        }
        0
    }

    fn refused(&mut self, position: &str, refusal: Refusal, now: Duration) {
        if let Some(before) = self.refused.news(now) {
            error!(
                position,
                before,
                "an entry of the feed was passed over: {refusal}; if it is of a writer of this cluster, compare `feed.trusted` with its public key, else somebody else writes to this stream"
            );
        }
    }

    /// The book cannot be written.
    pub(super) fn fault(&mut self, fault: &Fault, now: Duration) {
        if let Some(before) = self.faults.news(now) {
            error!(before, "{}", fault.0);
        }
    }
}
