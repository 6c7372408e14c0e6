//! What the CRLs of an issuer say together.

use std::{collections::BTreeMap, path::Path};

use super::compare::Question;
use crate::{
    pki::{Serial, Status, UnixTime},
    source::{self, Crl, SourceError},
};

/// What the CRLs say, in order of serial.
#[derive(Default)]
pub(super) struct Revocations {
    entries: Vec<(Serial, Status)>,
    taken: Vec<bool>,
    /// Whether it would list every revoked certificate of the issuer.
    pub(super) whole: bool,
    /// The complete CRL's number, big-endian, padded.
    pub(super) number: Option<[u8; 20]>,
    /// When they go out of date, the earlier of the two.
    pub(super) next_update: Option<UnixTime>,
    /// Why a CRL was refused. The revocations of the other one are there all the same.
    pub(super) faults: Vec<SourceError>,
}

impl Revocations {
    pub(super) fn read(question: &Question<'_>) -> Self {
        let mut this = Self::default();
        let Some(path) = &question.sources.crl else { return this };
        let complete = this.accept(read_complete(path, question));
        if let Some(complete) = &complete {
            this.number = complete.header().number.map(|number| *number.padded());
            this.next_update = complete.header().next_update;
            this.whole = complete.header().coverage.is_complete();
            this.entries.extend(complete.entries().filter_map(revoked));
        }
        if let Some(path) = &question.sources.delta_crl
            && let Some(delta) = this.accept(Crl::read(path, question.issuer))
        {
            this.add_delta(path, &delta, complete.as_ref());
        }
        // Stable: of two entries of one serial the first stays.
        this.entries.sort_by_key(|(serial, _)| *serial);
        this.entries.dedup_by_key(|(serial, _)| *serial);
        this.taken = vec![false; this.entries.len()];
        this
    }

    fn accept(&mut self, read: Result<Crl, SourceError>) -> Option<Crl> {
        read.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// Changes the entries by those of a delta CRL. One that is older than the complete CRL says nothing new: its CA
    /// has published a complete CRL since, and the next delta will be to that (RFC 5280 section 5.2.4).
    fn add_delta(&mut self, path: &Path, delta: &Crl, complete: Option<&Crl>) {
        if complete.is_some_and(|complete| delta.is_delta() && delta.header().number < complete.header().number) {
            return;
        }
        if let Some(Err(problem)) = complete.map(|complete| delta.applies_to(complete)) {
            self.faults.push(SourceError::file(path, problem));
        }
        self.next_update = [self.next_update, delta.header().next_update].into_iter().flatten().min();
        let mut changes = BTreeMap::new();
        for entry in delta.entries() {
            // A serial that stands twice is revoked if either entry says so.
            let change = changes.entry(entry.serial).or_insert(None);
            *change = change.or(revoked(entry));
        }
        self.entries.retain(|(serial, _)| !changes.contains_key(serial));
        // Also where it does not go with the complete CRL: what the CA says to be revoked is.
        self.entries.extend(changes.into_values().flatten());
    }

    pub(super) fn take(&mut self, serial: &Serial) -> Option<Status> {
        let at = self.entries.binary_search_by_key(serial, |(serial, _)| *serial).ok()?;
        self.taken[at] = true;
        Some(self.entries[at].1)
    }

    /// As if nothing had been taken.
    pub(super) fn take_none(&mut self) {
        self.taken.fill(false);
    }

    /// What was not taken.
    pub(super) fn remaining(&self) -> impl Iterator<Item = (Serial, Status)> + '_ {
        self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(entry, _)| *entry)
    }
}

/// The complete CRL, unless it is no CRL of the issuer, a delta CRL, or an old one.
fn read_complete(path: &Path, question: &Question<'_>) -> Result<Crl, SourceError> {
    let complete = Crl::read(path, question.issuer)?;
    if complete.is_delta() {
        return Err(SourceError::file(path, "is a delta CRL; name it as `delta_crl` and a complete CRL as `crl`"));
    }
    refuse_older(path, &complete, question.crl_number)?;
    Ok(complete)
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
