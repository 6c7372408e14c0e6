//! What the records show, and the one who may change it.
//!
//! Purpose: applies what sources say and what pushes ordered, each against the record as it is at that moment.
//! Invariant: a change is in `unsaved` as soon as it shows. Everything here is in memory and short: whoever holds it
//! delays nobody. It does not know the book.

use tracing::info;

use super::{
    Releases,
    push::Order,
    reconcile::{FINAL, Known, by_push_once_decided, by_source, carried, contradicts, keeps_end, strictness},
    state::IssuerState,
    unsaved::Unsaved,
};
#[cfg(test)]
use crate::left_out::{Rule, is_left_out};
use crate::{
    journal::trail,
    limits,
    pki::{Record, Serial, Status, UnixTime},
    records::{Change, Counts, RecordsWriter, Stated},
    source::CrlMarks,
};

#[derive(Debug)]
pub(super) struct Shown {
    writer: RecordsWriter,
    pub(super) unsaved: Unsaved,
    /// The newest CRLs taken.
    pub(super) crl_marks: CrlMarks,
    /// Whether changes are logged; at a first start everything would be new.
    pub(super) tells: bool,
}

/// A part of what sources say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// That certificates are revoked or on hold.
    Revoked,
    Others,
}

impl Part {
    fn has(self, record: Option<Record>) -> bool {
        let is_revoked = record.is_some_and(|record| record.status != Status::Good);
        is_revoked == (self == Self::Revoked)
    }
}

/// Certificates that sources have revoked, held or released, for the log. Who pushes is told by whoever takes it.
#[derive(Debug, Default)]
pub(super) struct News {
    first: Vec<(Serial, Status)>,
    more: u64,
    /// What the journal keeps, if there is one.
    kept: Vec<(Serial, Status)>,
}

/// A push that the book has: the order, and what was decided from which record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordered {
    pub(super) serial: Serial,
    pub(super) order: Order,
    /// The record that the decision is from.
    pub(super) from: Option<Known>,
    pub(super) next: Known,
}

impl Shown {
    pub(super) fn new(writer: RecordsWriter, crl_marks: CrlMarks) -> Self {
        let tells = writer.records().counts() != Counts::default();
        Self { writer, unsaved: Unsaved::default(), crl_marks, tells }
    }

    /// Shows what sources say first of all, while there is nothing else: nobody is served yet, so nobody waits. Returns
    /// how many records there are now.
    pub(super) fn fill(&mut self, said: &[Stated]) -> usize {
        let listed: Vec<Serial> = said.iter().filter(|said| said.record().is_some()).map(|said| said.serial).collect();
        let count = listed.len();
        self.writer.reserve(count);
        let mut filling = self.writer.filling();
        for said in said {
            // As `reconcile::by_source` says of a certificate that is not known.
            filling.add(Change::from(*said));
        }
        drop(filling);
        self.mark(listed);
        count
    }

    /// Shows these records as they are.
    pub(super) fn show(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.writer.apply(changes);
    }

    /// Shows a part of what sources say of these certificates, and ends after [`limits::SHOWN_AT_LEAST`] if somebody
    /// waits. `releases`: of [`Difference`](super::Difference). Returns how many it has looked at, and those whose
    /// records have changed, in the same order.
    pub(super) fn by_source(
        &mut self,
        said: &[Stated],
        part: Part,
        releases: Releases,
        news: &mut News,
        is_wanted: impl Fn() -> bool,
    ) -> (usize, Vec<Serial>) {
        let mut changed = Vec::with_capacity(said.len());
        for (number, said) in said.iter().enumerate() {
            if number >= limits::SHOWN_AT_LEAST && is_wanted() {
                return (number, changed);
            }
            let (serial, record) = (&said.serial, said.record());
            if !part.has(record) {
                continue;
            }
            let mut before = None;
            let is_changed = self.writer.change(serial, |found| {
                let known = found.map(Known::from);
                before = known;
                if releases.keeps(record) && known.is_some_and(Known::is_held_by_source) {
                    return None;
                }
                let (next, _) = by_source(known, record);
                (next != known).then_some(next.map(|next| (next.record, next.origin)))
            });
            if is_changed {
                self.note_news(news, *serial, before);
                changed.push(*serial);
            }
        }
        (said.len(), changed)
    }

    /// Shows what follows from the records that the issuer had under its former tenant. Returns those that have changed,
    /// in the same order.
    pub(super) fn carry_over(&mut self, records: &[Change], news: &mut News) -> Vec<Serial> {
        let mut changed = Vec::with_capacity(records.len());
        for Change { serial, record, origin } in records {
            let Some(record) = record else { continue };
            let mut before = None;
            let is_changed = self.writer.change(serial, |found| {
                before = found.map(Known::from);
                let next = carried(Known { record: *record, origin: *origin }, before);
                (before != Some(next)).then_some(Some((next.record, next.origin)))
            });
            if is_changed {
                self.note_news(news, *serial, before);
                changed.push(*serial);
            }
        }
        changed
    }

    /// Shows what pushes ordered. Where a record is not what the decision was from, it is decided anew: sources are
    /// shown while a push is written. Returns the serials.
    pub(super) fn by_push(&mut self, ordered: &[Ordered], now: UnixTime) -> Vec<Serial> {
        for Ordered { serial, order, from, next } in ordered {
            self.writer.change(serial, |found| {
                let known = found.map(Known::from);
                #[cfg(test)]
                let from = if is_left_out(Rule::DecidedAnew) { &known } else { from };
                let next = if known == *from { Some(*next) } else { by_push_once_decided(known, order, now) };
                next.filter(|next| known != Some(*next)).map(|next| Some((next.record, next.origin)))
            });
        }
        // Where another word came in between, the book has less than what shows.
        let overtaken = |ordered: &&Ordered| {
            self.writer.records().get(&ordered.serial).map(Known::from) != Some(kept(ordered.next))
        };
        let mut again: Vec<Serial> = ordered.iter().filter(overtaken).map(|ordered| ordered.serial).collect();
        again.sort_unstable();
        self.unsaved.add(again, self.records_count());
        ordered.iter().map(|ordered| ordered.serial).collect()
    }

    /// Shows what others say, which the book has already; in order of serial. A final revocation that shows meanwhile
    /// stays, and is to be saved. Returns the serials of those that have changed.
    pub(super) fn by_feed(&mut self, changes: &[Change]) -> Vec<Serial> {
        let (mut changed, mut overtaken) = (Vec::with_capacity(changes.len()), Vec::new());
        for change in changes {
            let said = Known::of(change);
            let is_changed = self.writer.change(&change.serial, |found| {
                let known = found.map(Known::from);
                if contradicts(known, said) {
                    overtaken.push(change.serial);
                    return None;
                }
                (known != said.map(kept)).then_some(said.map(|said| (said.record, said.origin)))
            });
            if is_changed {
                changed.push(change.serial);
            }
        }
        self.mark(overtaken);
        changed
    }

    /// Marks records as not saved; in order of serial.
    pub(super) fn mark(&mut self, serials: Vec<Serial>) {
        self.unsaved.add(serials, self.records_count());
    }

    fn records_count(&self) -> u64 {
        let Counts { good, revoked } = self.writer.records().counts();
        good + revoked
    }

    fn note_news(&self, news: &mut News, serial: Serial, before: Option<Known>) {
        if !self.tells {
            return;
        }
        let before = before.map_or(Status::Good, |known| known.record.status);
        let now = self.writer.records().get(&serial).map_or(Status::Good, |found| found.status);
        // A different time or reason for a final revocation is not news.
        if before == now || strictness(before) == FINAL {
            return;
        }
        if trail::is_kept() && news.kept.len() < limits::journal::CHANGES_MAX {
            news.kept.push((serial, now));
        }
        if news.first.len() < limits::CHANGES_LOGGED_MAX {
            news.first.push((serial, now));
        } else {
            news.more += 1;
        }
    }
}

/// As the table keeps it: an end of validity after 2106 is none.
pub(super) fn kept(known: Known) -> Known {
    let not_after = known.record.not_after.filter(|end| keeps_end(*end));
    Known { record: Record { not_after, ..known.record }, ..known }
}

impl News {
    /// Logs them.
    pub(super) fn tell(self, state: &IssuerState, name: &str) {
        let tenant = state.id().tenant();
        self.keep(tenant, name);
        for (serial, now) in self.first {
            match strictness(now) {
                FINAL => info!(tenant, issuer = name, %serial, status = %now, by = "source", "revoked"),
                0 => info!(tenant, issuer = name, %serial, by = "source", "released from hold"),
                _ => info!(tenant, issuer = name, %serial, status = %now, by = "source", "put on hold"),
            }
        }
        if self.more > 0 {
            info!(tenant, issuer = name, more = self.more, by = "source", "more certificates were revoked or released");
        }
    }

    /// Tells the journal: a line for each kind of change, or several.
    fn keep(&self, tenant: &str, name: &str) {
        type Kind = fn(Status) -> bool;
        let kinds: [(&str, Kind); 3] = [
            ("revoked", |status| strictness(status) == FINAL),
            ("released", |status| strictness(status) == 0),
            ("held", |status| ![0, FINAL].contains(&strictness(status))),
        ];
        for (what, is_it) in kinds {
            let serials: Vec<Serial> = self.kept.iter().filter(|(_, now)| is_it(*now)).map(|(of, _)| *of).collect();
            for some in serials.chunks(limits::journal::SERIALS_MAX) {
                trail::tell(what, |event| {
                    event.text("tenant", tenant).text("issuer", name).text("by", "source").list("serials", some)
                });
            }
        }
        let untold = (self.first.len() as u64 + self.more).saturating_sub(self.kept.len() as u64);
        if untold > 0 && trail::is_kept() {
            let more = |event: trail::Event| event.text("tenant", tenant).text("issuer", name).number("more", untold);
            trail::tell("revoked", |event| more(event).text("by", "source"));
        }
    }

    /// The later ones at the end; the first of all are named.
    pub(super) fn add(&mut self, later: Self) {
        for one in later.first {
            if self.first.len() < limits::CHANGES_LOGGED_MAX {
                self.first.push(one);
            } else {
                self.more += 1;
            }
        }
        self.more += later.more;
        let room = limits::journal::CHANGES_MAX.saturating_sub(self.kept.len());
        self.kept.extend(later.kept.into_iter().take(room));
    }
}
