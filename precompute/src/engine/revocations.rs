//! What the CRLs of an issuer say together.

use std::{collections::BTreeMap, path::Path};

use super::compare::{Comparison, Question};
use crate::{
    pki::{Serial, Status},
    source::{self, Crl, SourceError},
};

/// What the CRLs say, in order of serial.
#[derive(Default)]
pub(super) struct Revocations {
    entries: Vec<(Serial, Status)>,
    taken: Vec<bool>,
    /// Whether it would list every revoked certificate of the issuer.
    pub(super) whole: bool,
}

impl Revocations {
    pub(super) fn read(question: &Question<'_>, comparison: &mut Comparison) -> Result<Self, SourceError> {
        let Some(path) = &question.sources.crl else { return Ok(Self::default()) };
        let complete = Crl::read(path, question.issuer)?;
        if complete.is_delta() {
            return Err(SourceError::file(path, "is a delta CRL; name it as `delta_crl` and a complete CRL as `crl`"));
        }
        refuse_older(path, &complete, question.crl_number)?;
        comparison.crl_number = complete.header().number.map(|number| *number.padded());
        comparison.crl_next_update = complete.header().next_update;
        let mut entries: Vec<_> = complete.entries().filter_map(revoked).collect();
        if let Some(delta) = read_delta(question, &complete)? {
            let ends = [comparison.crl_next_update, delta.header().next_update];
            comparison.crl_next_update = ends.into_iter().flatten().min();
            let mut changes = BTreeMap::new();
            for entry in delta.entries() {
                // A serial that stands twice is revoked if either entry says so.
                let change = changes.entry(entry.serial).or_insert(None);
                *change = change.or(revoked(entry));
            }
            entries.retain(|(serial, _)| !changes.contains_key(serial));
            entries.extend(changes.into_values().flatten());
        }
        // Stable: of two entries of one serial the first stays.
        entries.sort_by_key(|(serial, _)| *serial);
        entries.dedup_by_key(|(serial, _)| *serial);
        let taken = vec![false; entries.len()];
        Ok(Self { entries, taken, whole: complete.header().coverage.is_complete() })
    }

    pub(super) fn take(&mut self, serial: &Serial) -> Option<Status> {
        let at = self.entries.binary_search_by_key(serial, |(serial, _)| *serial).ok()?;
        self.taken[at] = true;
        Some(self.entries[at].1)
    }

    /// What was not taken.
    pub(super) fn remaining(&self) -> impl Iterator<Item = (Serial, Status)> + '_ {
        self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(entry, _)| *entry)
    }
}

/// The delta CRL that changes `complete`, if there is one. One that is older says nothing new: its CA has
/// published a complete CRL since, and the next delta will be to that (RFC 5280 section 5.2.4).
fn read_delta(question: &Question<'_>, complete: &Crl) -> Result<Option<Crl>, SourceError> {
    let Some(path) = &question.sources.delta_crl else { return Ok(None) };
    let delta = Crl::read(path, question.issuer)?;
    if delta.is_delta() && delta.header().number < complete.header().number {
        return Ok(None);
    }
    delta.applies_to(complete).map_err(|problem| SourceError::file(path, problem))?;
    Ok(Some(delta))
}

fn revoked(entry: source::Entry) -> Option<(Serial, Status)> {
    match entry.change {
        source::Change::Revoked { time, reason } => Some((entry.serial, Status::Revoked { time, reason })),
        source::Change::Remove => None,
    }
}

/// CRL numbers only rise (RFC 5280 section 5.2.3): a lower one is an old file put back.
fn refuse_older(path: &Path, crl: &Crl, taken: Option<[u8; 20]>) -> Result<(), SourceError> {
    match (crl.header().number, taken) {
        (Some(number), Some(taken)) if *number.padded() < taken => {
            let problem =
                "is older than the CRL taken before (its cRLNumber is lower); put the newest CRL in its place";
            Err(SourceError::file(path, problem))
        }
        _ => Ok(()),
    }
}
