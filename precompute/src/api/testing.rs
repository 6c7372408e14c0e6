//! Ledgers in memory, for tests: they decide as real ones do, and can fail.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use super::issuers::{Directory, IssuerLedger};
use crate::{
    issuer_id::IssuerId,
    ledger::{
        HealthReport, Outcome, Push, PushError, Refusal,
        reconcile::{Known, by_push},
    },
    pki::{Reason, Record, Serial, Status, UnixTime},
    records::{Counts, Found, Origin, StateWord},
    state_dir::StateError,
};

#[derive(Default)]
struct Kept {
    records: HashMap<Serial, Known>,
    /// What was asked with a key, and what became of it.
    keys: HashMap<String, (Push, Result<Outcome, Refusal>)>,
}

/// One issuer.
pub(super) struct FakeLedger {
    id: IssuerId,
    name: String,
    kept: Mutex<Kept>,
    /// Calls of `push` until the disk is full.
    pub(super) room: AtomicUsize,
}

impl FakeLedger {
    /// A source has it on hold.
    pub(super) fn hold_by_source(&self, serial: &str) {
        let status = Status::Revoked { time: UnixTime(1), reason: Reason::CertificateHold };
        let known = Known { record: Record { status, not_after: None }, origin: Origin::SOURCE };
        self.kept.lock().unwrap().records.insert(Serial::from_hex(serial).unwrap(), known);
    }
}

impl IssuerLedger for FakeLedger {
    fn id(&self) -> &IssuerId {
        &self.id
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn push(
        &self,
        pushes: &[Push],
        key: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Result<Outcome, Refusal>>, PushError> {
        let mut kept = self.kept.lock().unwrap();
        if let Some((asked, outcome)) = key.and_then(|key| kept.keys.get(key)) {
            return if *asked == pushes[0] { Ok(vec![*outcome]) } else { Err(PushError::KeyReused) };
        }
        if self.room.fetch_update(SeqCst, SeqCst, |room| room.checked_sub(1)).is_err() {
            let full = StateError::new(Path::new("/state/book.redb"), "No space left on device", "make room");
            return Err(PushError::NotDurable(full));
        }
        let decide = |push: &Push| {
            let (known, outcome) = by_push(kept.records.get(&push.serial).copied(), &push.order, now)?;
            kept.records.insert(push.serial, known);
            Ok(outcome)
        };
        let outcomes: Vec<_> = pushes.iter().map(decide).collect();
        if let Some(key) = key {
            assert_eq!(pushes.len(), 1, "a key is for one push");
            kept.keys.insert(key.to_owned(), (pushes[0], outcomes[0]));
        }
        Ok(outcomes)
    }

    fn look_up(&self, serial: &Serial) -> Option<Found> {
        let Known { record: Record { status, not_after }, origin } = *self.kept.lock().unwrap().records.get(serial)?;
        Some(Found { state: StateWord::from_word(0), status, not_after, origin })
    }

    fn counts(&self) -> Counts {
        let kept = self.kept.lock().unwrap();
        let good = kept.records.values().filter(|known| known.record.status == Status::Good).count() as u64;
        Counts { good, revoked: kept.records.len() as u64 - good }
    }

    fn digest(&self) -> u128 {
        7
    }

    fn health(&self) -> HealthReport {
        HealthReport { fault: Some("index.txt:3: is odd".into()), ..HealthReport::default() }
    }
}

/// Some issuers.
#[derive(Clone)]
pub(super) struct FakeDirectory(pub(super) Vec<Arc<FakeLedger>>);

impl FakeDirectory {
    /// Of a tenant's name, a CA and an issuer's name each.
    pub(super) fn of(issuers: &[(&str, u8, &str)]) -> Self {
        let ledger = |(tenant, ca, name): &(&str, u8, &str)| FakeLedger {
            id: IssuerId::new(tenant, [*ca; 32]),
            name: (*name).to_owned(),
            kept: Mutex::default(),
            room: AtomicUsize::new(usize::MAX),
        };
        Self(issuers.iter().map(|issuer| Arc::new(ledger(issuer))).collect())
    }
}

impl Directory for FakeDirectory {
    fn issuers(&self) -> Vec<Arc<dyn IssuerLedger>> {
        self.0.iter().map(|ledger| Arc::clone(ledger) as Arc<dyn IssuerLedger>).collect()
    }
}
