//! What must never be seen in records. `world::witness` knows what must never be seen in the stream.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Disk, Key};
use crate::{
    feed::{Chain, rule::is_final, store::Store as _},
    pki::{Reason, Status},
    records::Change,
};

pub(super) type Checked<T = ()> = Result<T, String>;

/// What a replica has shown since it was started.
#[derive(Default, Debug)]
pub(super) struct Shown {
    finals: BTreeSet<Key>,
    holds: BTreeSet<Key>,
}

pub(super) fn is_hold(change: &Change) -> bool {
    let hold = |status| matches!(status, Status::Revoked { reason: Reason::CertificateHold, .. });
    change.record.is_some_and(|record| hold(record.status))
}

impl Shown {
    /// `may_release`: whether a hold may have ended by now.
    pub(super) fn look(&mut self, name: &str, disk: &Disk, may_release: bool) -> Checked {
        let of = |test: fn(&Change) -> bool| {
            let found = disk.records().iter().filter(move |(_, change)| test(change)).map(|(key, _)| *key);
            found.collect::<BTreeSet<_>>()
        };
        let (finals, holds) = (of(is_final), of(is_hold));
        if let Some((_, serial)) = self.finals.difference(&finals).next() {
            return Err(format!("{name} un-revoked {serial} at {:?}", disk.place()));
        }
        let ended = self.holds.iter().find(|key| !holds.contains(key) && !finals.contains(key));
        if let Some((_, serial)) = ended.filter(|_| !may_release) {
            return Err(format!("{name} ended the hold of {serial}, which nobody released, at {:?}", disk.place()));
        }
        (self.finals, self.holds) = (finals, holds);
        Ok(())
    }
}

/// What records amount to after each entry, whoever has them.
#[derive(Default, Debug)]
pub(super) struct States(BTreeMap<Chain, u128>);

impl States {
    pub(super) fn look(&mut self, name: &str, disk: &Disk) -> Checked {
        let (Some(place), Some(digest)) = (disk.place(), disk.told_digest()) else { return Ok(()) };
        let known = *self.0.entry(place.chain).or_insert(digest);
        if known != digest {
            return Err(format!("{name} has other records than another one had at {place}"));
        }
        Ok(())
    }
}

/// A difference between two disks, for people.
pub(super) fn difference(one: &Disk, other: &Disk) -> Option<String> {
    let keys: BTreeSet<_> = one.records().keys().chain(other.records().keys()).collect();
    let differs = keys.into_iter().find(|key| one.get(**key) != other.get(**key))?;
    Some(format!("{}: {:?}, and {:?}", differs.1, one.get(*differs).record, other.get(*differs).record))
}
