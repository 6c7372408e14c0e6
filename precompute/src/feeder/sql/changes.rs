//! What has changed since the newest row that was seen.
//!
//! Invariant: a row that was committed within the overlap of the newest one comes sooner or later, also if others have the
//! same instant; one that was given is not given again unless it says something else. It does not know where changes go.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{
    RowsOfIssuer, SqlFacts,
    link::{Fault, Link},
    query::{Query, Since},
    row::{self, Row, Unit},
};
use crate::{
    limits::fetch as limits,
    pki::{Serial, UnixTime},
    source::Listed,
};

/// The rows that were seen so far.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) facts: SqlFacts,
    /// Of those within the overlap: what each said, hashed, and when it had changed.
    seen: HashMap<Serial, (u64, i64)>,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Changes {
    /// As lines of a mirror.
    Lines(Vec<u8>),
    /// So many that all rows had better be read.
    TooMany,
}

impl Known {
    pub(super) fn new(facts: SqlFacts) -> Self {
        Self { facts, seen: HashMap::new() }
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

    /// After all rows, of which the reading began `now`: where there was none, changes are asked for from then on, if it
    /// is known how.
    pub(super) fn begin(&mut self, now: UnixTime, query: &Query) {
        if self.facts.newest.is_none() && *query == Query::Ejbca {
            self.facts.newest = Some((milliseconds(now), Unit::Milliseconds));
        }
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
    link: &mut Link,
    known: &mut Known,
    now: UnixTime,
) -> Result<Changes, Fault> {
    let Some((newest, unit)) = known.facts.newest else { return Ok(Changes::Lines(Vec::new())) };
    let since = Since::before(newest, milliseconds(now), of.source.overlap, unit);
    let query = of.source.query.rows(&of.issuer, Some(since));
    let (mut lines, mut count, mut line) = (Vec::new(), 0, Vec::new());
    let read = link.rows(&query, limits::CHANGES_WITHIN, |row| {
        count += 1;
        if count > limits::CHANGES_MAX {
            return;
        }
        let moment = known.note_change(row);
        let Some(listed) = row.listed(&of.source.query, &mut None) else { return };
        line.clear();
        row::write(&listed, &mut line);
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let hash = hasher.finish();
        let before = known.seen.insert(listed.serial, (hash, moment));
        if before.is_none_or(|(before, _)| before != hash) {
            lines.extend_from_slice(&line);
        }
    });
    read.await?;
    known.seen.retain(|_, (_, moment)| *moment >= since.milliseconds - 1000);
    Ok(if count > limits::CHANGES_MAX { Changes::TooMany } else { Changes::Lines(lines) })
}
