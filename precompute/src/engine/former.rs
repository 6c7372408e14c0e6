//! What was revoked by the sources that an issuer had until now.
//!
//! Purpose: a changed configuration gives an issuer other sources, which are read while the former ones are still followed
//! and answered by. Invariant: what they revoke for good until their thread has ended stays revoked, also where the new
//! sources do not know of it. It does not know files; who uses it looks again and again, until [`FormerSources::ended`] was true
//! before a look.

use std::sync::{Arc, Weak};

use super::{
    IssuerState,
    compare::{FINAL, strictness},
};
use crate::{
    pki::Record,
    records::{Change, Records, SEGMENTS},
};

/// The follower of the former sources.
#[derive(Debug)]
pub(super) struct FormerSources {
    state: IssuerState,
    /// Lives as long as its thread.
    alive: Weak<()>,
    /// Changes that it had made at the last look.
    seen: Option<u64>,
    /// Lives until the last look.
    _awaited: Arc<()>,
}

impl FormerSources {
    /// Of the one whose thread drops what `alive` points to when it ends. The second value is gone after the last look.
    pub(super) fn new(state: IssuerState, alive: Weak<()>) -> (Self, Weak<()>) {
        let awaited = Arc::new(());
        let gone = Arc::downgrade(&awaited);
        (Self { state, alive, seen: None, _awaited: awaited }, gone)
    }

    /// Whether it changes nothing any more.
    pub(super) fn ended(&self) -> bool {
        self.alive.strong_count() == 0
    }

    /// What it has revoked and `records` have not; none, without a look, where it has changed nothing since the last one.
    /// `last`: it has ended.
    pub(super) fn revoked(&mut self, records: &Records, last: bool) -> Vec<Change> {
        // Counted after it was shown: what is shown now and counted later is met at the next look.
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
                changes
                    .push(Change { serial, record: Some(Record { status: found.status, not_after: found.not_after }) });
            }
        });
    }
    changes.sort_unstable_by_key(|change| change.serial);
    changes
}
