//! What a standby reads of the feed beside records, and what the log hears of it.
//!
//! Invariant: the condition of an issuer's sources is the one that the writer at work has found, so whoever takes over
//! knows what it knew, and its answers are those that were told; the log is filled by nobody who fills the stream. It does
//! not know records.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::journal::trail;
use crate::{
    feed::{Body, ledgers::LedgerBook, reader::Event, store::Fault},
    log::remarks::Repeated,
    pki::UnixTime,
    presign::Received,
    service::{alarms::Alarms, noted::Noted},
};

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Events {
    alarms: Alarms,
    lost: Repeated,
}

impl Events {
    /// Takes up what was read `now`, with what the snapshot says that the book was compared with; returns how many entries were passed over.
    pub(super) fn take(
        &mut self,
        event: Event,
        book: &mut LedgerBook,
        noted: &mut Noted,
        received: &Received,
        now: Duration,
    ) -> u64 {
        self.alarms.hear(&event, now);
        match event {
            Event::Linked(opened) | Event::Told(opened) => match &opened.entry.body {
                Body::Begin(_) => {
                    trail::tell("leadership", |event| {
                        let event = event.text("state", "another leads").text("position", opened.entry.position);
                        event.text("writer", opened.entry.author)
                    });
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
                info!(%place, "the book was compared with a snapshot, and follows the feed from there");
                // The writer tells again what it has found only if it is another by then.
                std::mem::take(noted).issuers.iter().for_each(|status| book.note_status(status));
            }
            // It comes again every second until there is a snapshot that the stream leads on from.
            Event::Lost(place, position) => {
                if let Some(before) = self.lost.news(now) {
                    warn!(
                        %place, %position, before,
                        "an entry of the feed does not follow what is known here: everything is compared with a snapshot"
                    );
                }
            }
            Event::Refused(_, refusal) => return u64::from(!refusal.is_of_later_version()),
            Event::HeadRefused(_) | Event::DigestDiffers(..) => {}
            Event::Fault(fault) => self.fault(&fault, now),
        }
        0
    }

    /// The book cannot be written.
    pub(super) fn fault(&mut self, Fault(fault): &Fault, now: Duration) {
        if let Some(more) = self.alarms.fault(now) {
            error!(more, "{fault}");
        }
    }

    /// Tells of what nobody was told of, now and then.
    pub(super) fn rest(&mut self, now: Duration) {
        self.alarms.rest(now);
    }
}
