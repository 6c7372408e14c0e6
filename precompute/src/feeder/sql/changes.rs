//! What has changed since the newest row that was seen.
//!
//! A row that is committed later than the newest one was seen is dated later as well, but for the overlap: so with the time
//! that passes changes are asked for from a later instant on, by a clock that nobody sets.
//!
//! Many rows may have the instant of the newest one, or nearly: a table that was filled or changed in one piece. They were
//! read with all others, and are not asked for again and again ([`SqlFacts::floor`]).
//!
//! Invariant: a row that was committed within the overlap of the newest one comes sooner or later, also if others have the
//! same instant; one that was given is not given again unless it says something else. It does not know where changes go.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use super::{
    Connected, RowsOfIssuer, SqlFacts,
    link::Fault,
    query::{Query, Since},
    row::{Row, Unit},
};
use crate::{
    limits::fetch as limits,
    pki::{Serial, UnixTime},
    source::{Listed, mirror_line},
};

/// The rows that were seen so far.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) facts: SqlFacts,
    /// When the newest row was seen first, at the latest.
    since: Instant,
    /// What is committed after the last question is dated later than this, but for the overlap; in milliseconds since 1970.
    reach: Option<i64>,
    /// Of those within the overlap: what each said, hashed, and when it had changed.
    seen: HashMap<Serial, (u64, i64)>,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Changes {
    /// As lines of a mirror, and how many rows had to be looked at for them.
    Lines(Vec<u8>, u64),
    /// So many that all rows had better be read.
    TooMany,
}

impl Known {
    pub(super) fn new(facts: SqlFacts) -> Self {
        Self { facts, since: Instant::now(), reach: None, seen: HashMap::new() }
    }

    /// Whether it has given what these notes have.
    pub(super) fn is_of(&self, noted: &SqlFacts) -> bool {
        (self.facts.whole, self.facts.appended) == (noted.whole, noted.appended)
    }

    /// Notes one of all rows; what it lists, if anything.
    pub(super) fn note(&mut self, row: &Row<'_>, query: &Query, odd: &mut Option<String>) -> Option<Listed> {
        self.facts.rows += 1;
        self.note_change(row);
        row.listed(query, odd)
    }

    fn note_change(&mut self, row: &Row<'_>) -> i64 {
        let Some((moment, unit)) = row.changed_at() else { return 0 };
        let newest = self.facts.newest.map_or(moment, |(newest, _)| newest.max(moment));
        self.facts.newest = Some((newest, unit));
        moment
    }

    /// After a question at `now`, which had been under way since `begun`. `before`: the newest row that was known then.
    fn asked(&mut self, before: i64, begun: Instant, now: UnixTime) {
        let Some((newest, _)) = self.facts.newest else { return };
        if newest > before {
            self.since = begun;
        }
        let passed = i64::try_from(begun.saturating_duration_since(self.since).as_millis()).unwrap_or(i64::MAX);
        self.reach = Some(newest.saturating_add(passed).min(milliseconds(now)));
    }

    /// After a reading of all rows that began `now`, where many have nearly the instant of the newest one: from now on only
    /// what is dated behind that is asked for, or from the beginning of the reading on, but for the overlap. So it counts
    /// whether the clocks of those who write are right or not. Whether that leads further.
    pub(super) fn begin_behind(&mut self, now: UnixTime, overlap: Duration) -> bool {
        let Some((newest, unit)) = self.facts.newest else { return false };
        let former = self.since(now, overlap, unit, newest);
        let by_clock = Since::before(milliseconds(now), milliseconds(now), overlap, unit).milliseconds;
        self.facts.floor = Some(newest.saturating_add(unit.step()).min(by_clock));
        self.since(now, overlap, unit, newest).milliseconds > former.milliseconds
    }

    /// From when on changes are asked for. `newest`: the newest row that is known.
    fn since(&self, now: UnixTime, overlap: Duration, unit: Unit, newest: i64) -> Since {
        let since = Since::before(self.reach.unwrap_or(newest), milliseconds(now), overlap, unit);
        Since { milliseconds: since.milliseconds.max(self.facts.floor.unwrap_or_default()), ..since }
    }

    /// After all rows, of which the reading began `now`: where there was none, changes are asked for from then on, if it
    /// is known how.
    pub(super) fn begin(&mut self, now: UnixTime, query: &Query) {
        let unit = match query {
            Query::Ejbca => Some(Unit::Milliseconds),
            Query::Xipki => Some(Unit::Seconds),
            Query::Own { .. } => None,
        };
        self.facts.newest = self.facts.newest.or(unit.map(|unit| (milliseconds(now), unit)));
        // A row that is dated later than the reading began says nothing of those that were committed meanwhile.
        if let Some((newest, _)) = &mut self.facts.newest {
            *newest = (*newest).min(milliseconds(now));
        }
    }
}

fn milliseconds(now: UnixTime) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// Asks what has changed.
pub(super) async fn ask(
    of: &RowsOfIssuer,
    link: &mut Connected,
    known: &mut Known,
    now: UnixTime,
) -> Result<Changes, Fault> {
    let Some((newest, unit)) = known.facts.newest else { return Ok(Changes::Lines(Vec::new(), 0)) };
    let begun = Instant::now();
    let since = known.since(now, of.source.overlap, unit, newest);
    let query = of.source.query.changes(&link.whose, since, limits::CHANGES_MAX + 1);
    let (mut lines, mut count, mut line) = (Vec::new(), 0, Vec::new());
    let read = link.link.rows(&query, limits::CHANGES_WITHIN, |row| {
        count += 1;
        if count > limits::CHANGES_MAX {
            return;
        }
        let moment = known.note_change(row);
        let Some(listed) = row.listed(&of.source.query, &mut None) else { return };
        line.clear();
        mirror_line(&listed, row.sha256(), &mut line);
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let hash = hasher.finish();
        let before = known.seen.insert(listed.serial, (hash, moment));
        if before.is_none_or(|(before, _)| before != hash) {
            lines.extend_from_slice(&line);
        }
    });
    read.await?;
    if count > limits::CHANGES_MAX {
        // Nothing of them is given, so nothing of them was seen.
        known.seen.clear();
        known.facts.newest = Some((newest, unit));
        return Ok(Changes::TooMany);
    }
    known.asked(newest, begun, now);
    known.seen.retain(|_, (_, moment)| *moment >= since.milliseconds - 1000);
    Ok(Changes::Lines(lines, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_of_one_instant_are_not_asked_for_again_and_what_is_dated_later_is_by_whatever_clock() {
        const NOW: u64 = 1_700_000_000;
        const HOUR: i64 = 3_600_000;
        let now = milliseconds(UnixTime(NOW));
        let overlap = limits::ROWS_OVERLAP;
        let by_clock = now - i64::try_from(overlap.as_millis()).unwrap();
        for (what, newest, unit, since, leads_on) in [
            ("an hour ago", now - HOUR, Unit::Milliseconds, now - HOUR + 1, true),
            ("an hour ago, in whole seconds", now - HOUR, Unit::Seconds, now - HOUR + 1000, true),
            ("an hour ago, as a date", now - HOUR, Unit::Timestamp, now - HOUR + 1000, true),
            ("half a minute ago", now - 30_000, Unit::Milliseconds, by_clock, true),
            ("now", now, Unit::Milliseconds, by_clock, false),
        ] {
            let facts = SqlFacts { whole: NOW, rows: 1, newest: Some((newest, unit)), appended: 0, floor: None };
            let mut known = Known::new(facts);
            assert_eq!(known.begin_behind(UnixTime(NOW), overlap), leads_on, "{what}");
            // A start from these notes goes on from there.
            let known = Known::new(known.facts);
            assert_eq!(known.since(UnixTime(NOW), overlap, unit, newest).milliseconds, since, "{what}");
            let later = known.since(UnixTime(NOW + 600), overlap, unit, now + 600_000).milliseconds;
            assert_eq!(later, by_clock + 600_000, "{what}: once there is a newer row, the overlap alone counts");
        }
    }
}
