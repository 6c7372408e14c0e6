//! What is logged about an issuer's sources, each fact once. It does not know why a status has changed.

use std::sync::atomic::Ordering::Acquire;

use tracing::{debug, info, warn};

use super::{
    Pass,
    compare::{Comparison, FINAL, strictness},
    issuer_worker::IssuerWorker,
};
use crate::{
    limits,
    pki::{Record, Serial, Status, UnixTime},
    records::{Change, Counts},
};

/// The certificates that a pass revoked, held or released.
#[derive(Debug, Default)]
pub(super) struct LoggedChanges {
    first: Vec<(Serial, Status)>,
    more: u64,
}

impl IssuerWorker {
    /// A file that was just written is read a second time, because another change might not show in its times. A second
    /// read that finds nothing new is not logged.
    pub(super) fn tell_read(&self, pass: &Pass, was_refused: bool) {
        let (tenant, name) = (self.issuer.tenant(), &self.issuer.name);
        let (Pass { listed, changed, .. }, milliseconds) = (*pass, pass.took.as_millis() as u64);
        let Counts { good, revoked } = pass.counts;
        if changed > 0 || was_refused {
            info!(tenant, issuer = name, listed, changed, good, revoked, milliseconds, "the source was read");
        } else {
            debug!(tenant, issuer = name, listed, milliseconds, "the source was read; nothing has changed");
        }
    }

    /// Logs the certificates that are revoked, held or released, the first of them by serial; or keeps the lines until
    /// logging is allowed. A first start logs none, because all of them are new to it.
    pub(super) fn tell_statuses(&mut self, changes: &[Change]) {
        if !self.tells {
            return;
        }
        let status = |record: Option<Record>| record.map_or(Status::Good, |record| record.status);
        let news = changes.iter().filter_map(|Change { serial, record, .. }| {
            let before = self.state.records.get(serial).map_or(Status::Good, |known| known.status);
            let now = status(*record);
            // A different time or reason for a final revocation is not news.
            let is_news = before != now && strictness(before) != FINAL;
            is_news.then_some((*serial, now))
        });
        let mut told = LoggedChanges::default();
        for (serial, now) in news {
            if told.first.len() < limits::CHANGES_LOGGED_MAX {
                told.first.push((serial, now));
            } else {
                told.more += 1;
            }
        }
        self.untold.push(told);
        if self.adopted.load(Acquire) {
            self.tell_untold();
        }
    }

    pub(super) fn tell_untold(&mut self) {
        let (tenant, name) = (self.issuer.tenant(), &self.issuer.name);
        for LoggedChanges { first, more } in self.untold.drain(..) {
            for (serial, now) in first {
                match strictness(now) {
                    FINAL => info!(tenant, issuer = name, %serial, status = %now, "revoked"),
                    0 => info!(tenant, issuer = name, %serial, "released from hold"),
                    _ => info!(tenant, issuer = name, %serial, status = %now, "put on hold"),
                }
            }
            if more > 0 {
                info!(tenant, issuer = name, more, "more certificates were revoked or released");
            }
        }
    }

    /// Logs once for each CRL that it is out of date, even if it is not read again.
    pub(super) fn warn_if_out_of_date(&mut self) {
        let now = UnixTime::now();
        let ended: Vec<_> = self.crl_ends.iter().filter(|(_, end)| *end <= now).cloned().collect();
        for (path, next_update) in ended.iter().filter(|ended| !self.out_of_date_told.contains(ended)) {
            let (tenant, issuer) = (self.issuer.tenant(), &self.issuer.name);
            warn!(tenant, issuer, crl = %path.display(), %next_update, "the CRL is out of date: its CA, or what fetches it, has stopped; answers follow it for `stale_after` longer");
        }
        self.out_of_date_told = ended;
    }

    pub(super) fn tell_contradictions(&self, comparison: &Comparison) {
        self.state.health.contradictions(comparison.contradictions);
        if let Some((serial, known, said)) = comparison.first_contradiction {
            warn!(
                tenant = self.issuer.tenant(),
                issuer = self.issuer.name,
                records = comparison.contradictions,
                example = %serial,
                "the source takes back revocations (the example was `{known}` and is now {}); they stay revoked: only a hold can be released",
                said.map_or("no longer listed".to_owned(), |status| format!("`{status}`"))
            );
        }
    }
}
