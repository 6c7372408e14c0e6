//! The tenant names that an issuer had before, and what would be forgotten with them.
//!
//! Purpose: records belong to a tenant's name. If an issuer moves to another name (a bare issuer into a tenant, a
//! renamed tenant), revocations and pushes that only the book knows would silently be forgotten. Invariant: a first pass that would
//! forget one is refused before anything is shown or saved, unless the operator said what is meant. It does not know
//! sources.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use super::{
    Accepted, EngineError, FollowedIssuer, Pass, follower::Follower, handover::Findings, reader::SourceReader,
};
use crate::{
    book::{BookReader, Lineage},
    issuer_id::IssuerId,
    ledger::{
        Difference,
        reconcile::{FINAL, Known, strictness},
    },
    pki::{Record, Serial},
    records::{Change, SEGMENTS},
    source::CrlMarks,
    state_dir::StateError,
};

/// A tenant under which the book knows the issuer and the configuration does not.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) id: IssuerId,
    /// Its final revocations and what was pushed, in order of serial; of one that stood beside its successor, which had
    /// sources of its own, what was pushed.
    kept: Vec<Change>,
    /// The CRLs that it had taken.
    crl_marks: CrlMarks,
}

impl Predecessor {
    /// All predecessors of an issuer, as the book says. `stood_beside`: whether one was there at the same time.
    pub(super) fn all(
        book: &BookReader,
        id: &IssuerId,
        lineage: &Lineage,
        configured: &HashSet<IssuerId>,
        stood_beside: impl Fn(&IssuerId) -> bool,
    ) -> Result<Vec<Self>, StateError> {
        let mut found = Vec::new();
        for id in lineage.predecessors(id).into_iter().filter(|id| !configured.contains(id)) {
            let (is_beside, mut kept) = (stood_beside(&id), Vec::new());
            let held = book.load(&id, |serial, record, origin| {
                if origin.is_pushed() || !is_beside && strictness(record.status) == FINAL {
                    kept.push(Change::new(serial, Some(record)).by(origin));
                }
            })?;
            // Nothing of it is asked about.
            if !is_beside || !kept.is_empty() {
                found.push(Self { id, kept, crl_marks: held.crl_marks });
            }
        }
        Ok(found)
    }

    /// The serials of what it keeps.
    pub(super) fn serials(&self) -> impl Iterator<Item = Serial> {
        self.kept.iter().map(|change| change.serial)
    }

    /// The CRLs that no older one may follow, for an issuer that the book does not know.
    pub(super) fn crl_marks(predecessors: &[Self]) -> CrlMarks {
        match predecessors {
            [predecessor] => predecessor.crl_marks.clone(),
            _ => CrlMarks::default(),
        }
    }

    /// Adds what is in memory for issuers whose sources are followed: the book may lack it, or just have been lost.
    /// `is_beside`: whether they were there at the same time.
    pub(super) fn add_running(
        predecessors: &mut Vec<Self>,
        running: &Follower,
        id: &IssuerId,
        is_beside: bool,
        configured: &HashSet<IssuerId>,
    ) {
        let is_one =
            running.issuer.id.ca() == id.ca() && running.issuer.id != *id && !configured.contains(&running.issuer.id);
        if !is_one {
            return;
        }
        let mut kept = Vec::new();
        for segment in 0..SEGMENTS {
            running.ledger.state().records.each_in(segment, |serial, found| {
                if found.origin.is_pushed() || !is_beside && strictness(found.status) == FINAL {
                    let record = Record { status: found.status, not_after: found.not_after };
                    kept.push(Change::new(serial, Some(record)).by(found.origin));
                }
            });
        }
        let place = predecessors.iter().position(|predecessor| predecessor.id == running.issuer.id);
        if place.is_none() && is_beside && kept.is_empty() {
            return;
        }
        let place = place.unwrap_or_else(|| {
            predecessors.push(Self { id: running.issuer.id.clone(), kept: Vec::new(), crl_marks: CrlMarks::default() });
            predecessors.len() - 1
        });
        // The first of two counts, which is the one in memory.
        kept.append(&mut predecessors[place].kept);
        kept.sort_by_key(|change| change.serial);
        kept.dedup_by_key(|change| change.serial);
        predecessors[place].kept = kept;
    }

    /// What it keeps and its successor would not, as `is_kept` tells.
    fn forgotten(&self, is_kept: impl Fn(&Serial, Known) -> bool) -> Vec<Change> {
        let is_forgotten = |change: &Change| {
            change.record.is_some_and(|record| !is_kept(&change.serial, Known { record, origin: change.origin }))
        };
        self.kept.iter().copied().filter(is_forgotten).collect()
    }
}

/// Revocations that would be forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forgotten {
    /// The tenant names that they were known under.
    pub tenants: Vec<String>,
    /// How many revocations.
    pub count: usize,
    /// The serial of one of them.
    pub example: Serial,
    /// The former name that the configuration states, which is none of those.
    stated: Option<String>,
}

impl Forgotten {
    /// What `predecessors` keep and their successor would not, if anything; `is_kept`: whether it has no less of a serial
    /// than this.
    pub(super) fn of<'p>(
        predecessors: impl IntoIterator<Item = &'p Predecessor>,
        is_kept: impl Fn(&Serial, Known) -> bool,
    ) -> Option<Self> {
        let (mut tenants, mut serials) = (Vec::new(), BTreeSet::new());
        for predecessor in predecessors {
            let forgotten = predecessor.forgotten(&is_kept);
            if !forgotten.is_empty() {
                tenants.push(predecessor.id.tenant().to_owned());
            }
            serials.extend(forgotten.into_iter().map(|change| change.serial));
        }
        let example = *serials.first()?;
        // The book numbers issuers in the order in which they come.
        tenants.sort();
        Some(Self { tenants, count: serials.len(), example, stated: None })
    }

    /// Of this issuer.
    pub(super) fn under(self, issuer: &FollowedIssuer) -> Self {
        Self { stated: issuer.formerly.clone().filter(|stated| !self.tenants.contains(stated)), ..self }
    }

    /// Whether there is more than one possible predecessor.
    fn is_ambiguous(&self) -> bool {
        self.tenants.len() > 1
    }
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenants, count, example, stated } = self;
        let names = tenants.iter().map(|tenant| format!("`{tenant}`")).collect::<Vec<_>>().join(" and ");
        let what = if self.is_ambiguous() { "tenants" } else { "tenant" };
        write!(
            f,
            "the book has this issuer under the {what} {names}, which no longer has it in the configuration; {count} of its revocations and pushes, {example} among them, are in no source of the issuer now and would be \
             forgotten: give the tenant that has it its former name again"
        )?;
        if let Some(stated) = stated {
            write!(
                f,
                " (`formerly = \"{stated}\"`, which is written there, is no tenant that the book has this issuer under)"
            )?;
        }
        if self.is_ambiguous() {
            return f.write_str(
                "; or stop the service and run `ostia-precompute sync --accept-forgotten --config FILE` once to forget them; to keep them, rename one tenant at a time",
            );
        }
        let [tenant] = &tenants[..] else { return Ok(()) };
        write!(
            f,
            ", or write `formerly = \"{tenant}\"` under its new one, which keeps them; or stop the service and run `ostia-precompute sync --carry-over --config FILE` once to keep them, or the same with `--accept-forgotten` to forget them",
        )
    }
}

/// Those under a former name that the configuration states, which are taken along, and all others.
pub(super) fn split<'p>(
    predecessors: &'p [Predecessor],
    issuer: &FollowedIssuer,
) -> (Vec<&'p Predecessor>, Vec<&'p Predecessor>) {
    predecessors.iter().partition(|predecessor| issuer.was_of(predecessor.id.tenant()))
}

impl SourceReader {
    /// After the first pass: carries over what the predecessor knows, forgets it, or refuses.
    pub(super) fn follow_predecessors(&mut self, accept: Accepted, pass: &mut Pass) -> Result<(), EngineError> {
        let predecessors = std::mem::take(&mut self.predecessors);
        let handover = Arc::clone(&self.handover);
        let is_kept = |serial: &Serial, former| handover.keeps(serial, former);
        let (along, others) = split(&predecessors, &self.issuer);
        let mut carried: Vec<_> = along.iter().flat_map(|predecessor| predecessor.forgotten(is_kept)).collect();
        if let Some(forgotten) = Forgotten::of(others.iter().copied(), is_kept) {
            let taken_along = accept.carry_over && !forgotten.is_ambiguous();
            if !taken_along && !accept.forgotten {
                self.predecessors = predecessors;
                return Err(EngineError::Forgotten(self.issuer.to_string(), forgotten.under(&self.issuer)));
            }
            if taken_along {
                carried.extend(others.iter().flat_map(|predecessor| predecessor.forgotten(is_kept)));
                // One name of a tenant is stated, and another one was accepted.
                carried.sort_by_key(|change| change.serial);
                carried.dedup_by_key(|change| change.serial);
            }
        }
        pass.changed += carried.len() as u64;
        let succeeds = predecessors.into_iter().map(|predecessor| predecessor.id).collect();
        self.handover.give(Findings {
            difference: Difference { carried, succeeds, ..Difference::default() },
            ..Findings::default()
        });
        pass.counts = self.ledger.state().records.counts();
        Ok(())
    }
}
