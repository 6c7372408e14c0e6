//! What an issuer's old sources revoked.
//!
//! Purpose: a changed configuration gives an issuer other sources. They are read while the old ones are still followed
//! and used for answers. Invariant: everything that the old sources finally revoke before their thread ends stays
//! revoked, even if the new sources do not list it. It does not know files. Its caller looks again and again, until
//! [`FormerSources::ended`] was true before a look.

use std::sync::{Arc, Weak};

use super::{
    IssuerState,
    compare::{FINAL, strictness},
};
use crate::{
    pki::Record,
    records::{Change, Records, SEGMENTS},
};

/// The follower of the old sources.
#[derive(Debug)]
pub(super) struct FormerSources {
    state: IssuerState,
    /// Lives as long as its thread.
    alive: Weak<()>,
    /// How many changes it had made at the last look.
    seen: Option<u64>,
    /// Lives until the last look.
    _awaited: Arc<()>,
}

impl FormerSources {
    /// For the follower whose thread drops the target of `alive` when it ends. The second value expires after the last
    /// look.
    pub(super) fn new(state: IssuerState, alive: Weak<()>) -> (Self, Weak<()>) {
        let awaited = Arc::new(());
        let gone = Arc::downgrade(&awaited);
        (Self { state, alive, seen: None, _awaited: awaited }, gone)
    }

    /// Whether it makes no more changes.
    pub(super) fn ended(&self) -> bool {
        self.alive.strong_count() == 0
    }

    /// What it has revoked and `records` have not. Empty, without a comparison, if it has changed nothing since the
    /// last call. `last`: it has ended.
    pub(super) fn revoked(&mut self, records: &Records, last: bool) -> Vec<Change> {
        // It counts a change after it shows it: a change that is shown now and counted later is found at the next look.
        let changed = self.state.health.report().changed;
        if !last && self.seen == Some(changed) {
            return Vec::new();
        }
        self.seen = Some(changed);
        revoked_only_in(&self.state.records, records)
    }
}

/// What is finally revoked in `former` and not in `records`, in order of serial.
fn revoked_only_in(former: &Records, records: &Records) -> Vec<Change> {
    let mut changes = Vec::new();
    for segment in 0..SEGMENTS {
        former.each_in(segment, |serial, found| {
            let is_final = |status| strictness(status) == FINAL;
            if is_final(found.status) && !records.get(&serial).is_some_and(|known| is_final(known.status)) {
                changes.push(Change::new(serial, Some(Record { status: found.status, not_after: found.not_after })));
            }
        });
    }
    changes.sort_unstable_by_key(|change| change.serial);
    changes
}
