//! What answers, pre-signing and reports see of an issuer.
//!
//! Invariant: a state names its issuer, and is found only by that id. A lookup for an issuer that is not followed is an
//! error, never another issuer's state. It does not know how the sources are read.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{Changes, Health, Pass};
use crate::{
    issuer_id::IssuerId,
    limits,
    pki::UnixTime,
    publication::Publication,
    records::{Counts, Details, Records, RecordsWriter},
};

/// One issuer's records, and the condition of its sources.
#[derive(Clone, Debug)]
pub struct IssuerState {
    id: IssuerId,
    /// The records, kept up to date by the ledger.
    pub records: Arc<Records>,
    /// What answers say of certificates beside their status.
    pub details: Arc<Details>,
    /// The condition of the sources.
    pub health: Arc<Health>,
    /// What has changed, for signing ahead.
    pub changes: Arc<Changes>,
    /// Its CRLs, where they are published.
    pub publication: Arc<Publication>,
}

impl IssuerState {
    /// The state of an issuer that has no records and whose sources were not read yet, and the one writer of its records.
    pub fn new(id: IssuerId) -> (Self, RecordsWriter) {
        let (records, writer) = Records::new();
        let (health, changes, details, publication) = Default::default();
        (Self { id, records, details, health, changes, publication }, writer)
    }

    /// The state of an issuer whose sources were found in order `now` and list no certificate, and the one writer of its
    /// records.
    pub fn in_order(id: IssuerId, now: UnixTime) -> (Self, RecordsWriter) {
        let (state, writer) = Self::new(id);
        state.health.read(now, &Pass::default());
        (state, writer)
    }

    /// Forgets the hashes of certificates that have no record, once there are many.
    pub(crate) fn forget_hashes(&self) {
        let Counts { good, revoked } = self.records.counts();
        let most = (good + revoked) as usize + limits::HASHES_SPARE;
        if self.details.hashes() > most + most / 4 {
            self.details.keep_hashes(|serial| self.records.get(serial).is_some());
        }
    }

    /// The issuer whose state this is.
    pub fn id(&self) -> &IssuerId {
        &self.id
    }
}

/// The states of issuers, each under its id.
#[derive(Clone, Default, Debug)]
pub struct States(HashMap<IssuerId, IssuerState>);

impl States {
    /// The state of this issuer.
    pub fn get(&self, id: &IssuerId) -> Result<&IssuerState, NotFollowed> {
        self.0.get(id).ok_or_else(|| NotFollowed(id.clone()))
    }

    /// All of them, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &IssuerState> {
        self.0.values()
    }
}

impl FromIterator<IssuerState> for States {
    fn from_iter<T: IntoIterator<Item = IssuerState>>(states: T) -> Self {
        Self(states.into_iter().map(|state| (state.id.clone(), state)).collect())
    }
}

/// The engine does not follow the sources of this issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotFollowed(pub IssuerId);

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id) = self;
        write!(f, "no source is followed for the issuer {id} of the tenant `{}`: a defect of this program", id.tenant())
    }
}

impl std::error::Error for NotFollowed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pki::{Record, Serial, Status},
        records::Change,
    };

    #[test]
    fn a_state_is_found_by_its_issuer_alone_and_is_never_anothers() {
        let ids = [("a", 1), ("b", 1), ("a", 2), ("b", 2)].map(|(tenant, ca)| IssuerId::new(tenant, [ca; 32]));
        let serial = |place: usize| Serial::from_magnitude(&[place as u8 + 1]).unwrap();
        let state = |place: usize| {
            let (state, mut writer) = IssuerState::new(ids[place].clone());
            let record = Some(Record { status: Status::Good, not_after: None });
            writer.apply([Change::new(serial(place), record)]);
            state
        };
        // In another order than the ids, and without the second, which has the same CA as the first under another
        // tenant.
        let states: States = [3, 0, 2].into_iter().map(state).collect();
        for (place, id) in ids.iter().enumerate() {
            match states.get(id) {
                Ok(found) => {
                    assert_eq!(found.id(), id);
                    assert!(found.records.get(&serial(place)).is_some(), "its own records");
                    assert_eq!(found.records.counts().good, 1);
                }
                Err(missing) => {
                    assert_eq!((place, &missing), (1, &NotFollowed(id.clone())));
                    assert!(missing.to_string().contains("`b`"), "{missing}");
                }
            }
        }
        assert!(states.get(&ids[1]).is_err());
    }
}
