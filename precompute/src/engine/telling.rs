//! What the log is told of an issuer's sources, each thing once.

use tracing::{debug, info, warn};

use super::{
    Pass,
    compare::{Comparison, FINAL, strictness},
    subject::Subject,
    watched::Watched,
};
use crate::{
    limits,
    pki::{Status, UnixTime},
    records::{Change, Counts},
};

impl Watched {
    /// A file that has just been written is read once more, since another change would not show in its times: what is
    /// found unchanged is not worth a line.
    pub(super) fn tell_read(&self, pass: &Pass, was_refused: bool) {
        let Subject { tenant, name, .. } = &*self.subject;
        let (Pass { listed, changed, .. }, milliseconds) = (*pass, pass.took.as_millis() as u64);
        let Counts { good, revoked } = pass.counts;
        if changed > 0 || was_refused {
            info!(tenant, issuer = name, listed, changed, good, revoked, milliseconds, "the source was read");
        } else {
            debug!(tenant, issuer = name, listed, milliseconds, "the source was read; nothing has changed");
        }
    }

    /// Tells who is revoked, held or released, the first of them by serial; nobody at a first start, which learns of all.
    pub(super) fn tell_statuses(&self, changes: &[Change]) {
        if !self.is_known() {
            return;
        }
        let Subject { tenant, name, .. } = &*self.subject;
        let mut more = 0u64;
        let mut told = 0;
        for Change { serial, record } in changes {
            let before = self.state.records.get(serial).map_or(Status::Good, |known| known.status);
            let now = record.map_or(Status::Good, |record| record.status);
            if before == now {
                continue;
            }
            told += 1;
            if told > limits::CHANGES_LOGGED_MAX {
                more += 1;
            } else {
                match strictness(now) {
                    FINAL => info!(tenant, issuer = name, %serial, status = %now, "revoked"),
                    0 => info!(tenant, issuer = name, %serial, "released from hold"),
                    _ => info!(tenant, issuer = name, %serial, status = %now, "put on hold"),
                }
            }
        }
        if more > 0 {
            info!(tenant, issuer = name, more, "more certificates were revoked or released");
        }
    }

    /// Tells once of each CRL that it is out of date, also of one that goes out of date without being read again.
    pub(super) fn warn_if_out_of_date(&mut self) {
        let Some(next_update) = self.crl_next_update.filter(|time| *time <= UnixTime::now()) else { return };
        if self.out_of_date_told.replace(next_update) != Some(next_update) {
            let Subject { tenant, name, sources, .. } = &*self.subject;
            let files: Vec<_> = sources.crls().map(|path| path.display().to_string()).collect();
            warn!(tenant, issuer = name, crl = files.join(", "), %next_update, "the CRL is out of date: its CA, or what fetches it, has stopped; what it says is answered for `stale_after` longer");
        }
    }

    pub(super) fn tell_contradictions(&self, comparison: &Comparison) {
        self.state.health.contradictions(comparison.contradictions);
        if let Some((serial, known, said)) = comparison.first_contradiction {
            warn!(
                tenant = self.subject.tenant,
                issuer = self.subject.name,
                records = comparison.contradictions,
                example = %serial,
                "the source takes back revocations (the example was «{known}» and is now {}); they stay revoked: only a hold can be released",
                said.map_or("no longer listed".to_owned(), |status| format!("«{status}»"))
            );
        }
    }
}
