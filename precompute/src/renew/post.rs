//! What the thread that renews a signer and others tell each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::{Renewing, begins, ends, is_late};
use crate::{limits::renew as limits, pki::UnixTime, sign::Signing};

/// How a signer's renewal fares.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its tenant.
    pub tenant: String,
    /// The issuer or the authority that it signs for.
    pub name: String,
    /// Whether it signs time-stamps.
    pub is_tsa: bool,
    /// When its renewal begins.
    pub begins: UnixTime,
    /// When its newest certificate ends.
    pub ends: UnixTime,
    /// What last failed, and has not worked since.
    pub fault: Option<String>,
    /// Failures since the start.
    pub failures: u64,
    /// Certificates that were taken since the start.
    pub renewed: u64,
}

impl Report {
    /// Whether it is to be renewed now.
    pub fn is_due(&self, now: UnixTime) -> bool {
        self.begins <= now
    }

    /// What is to be said of it once half of the time for the renewal is over.
    pub fn complaint(&self, now: UnixTime) -> Option<String> {
        let why = self.fault.as_deref().unwrap_or("it is waited for");
        is_late(self.begins, self.ends, now)
            .then(|| format!("the signer's certificate ends at {} and is not renewed yet: {why}", self.ends))
    }
}

/// What the thread of a signer and others tell each other.
#[derive(Debug)]
pub(super) struct Post {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    signer: Arc<Renewing>,
    /// The keys of this configuration and of earlier ones, as far as they are still there.
    keys: Vec<Weak<dyn Signing>>,
    /// A configuration was taken since the last look.
    is_changed: bool,
    /// One was refused since then.
    refused: Option<String>,
    stops: bool,
    fault: Option<String>,
    failures: u64,
    renewed: u64,
}

impl Post {
    pub(super) fn new(signer: Renewing) -> Self {
        let keys = signer.key.iter().cloned().collect();
        let state = State {
            signer: Arc::new(signer),
            keys,
            is_changed: false,
            refused: None,
            stops: false,
            fault: None,
            failures: 0,
            renewed: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, signer: Renewing) {
        let mut state = self.state();
        state.keys.retain(|key| key.strong_count() > 0);
        state.keys.extend(signer.key.iter().cloned());
        state.signer = Arc::new(signer);
        state.is_changed = true;
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn refused(&self, problem: &str) {
        self.state().refused = Some(problem.to_owned());
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state().stops = true;
        self.changed.notify_all();
    }

    pub(super) fn stops(&self) -> bool {
        self.state().stops
    }

    pub(super) fn report(&self) -> Report {
        let state = self.state();
        let Renewing { tenant, name, is_tsa, config, present, is_kept, .. } = &*state.signer;
        let leaf = present.first();
        Report {
            tenant: tenant.clone(),
            name: name.clone(),
            is_tsa: *is_tsa,
            begins: leaf.map_or(UnixTime(0), |leaf| begins(leaf, *is_kept, config.before)),
            ends: leaf.map_or(UnixTime(0), ends),
            fault: state.fault.clone(),
            failures: state.failures,
            renewed: state.renewed,
        }
    }

    /// A key that is at hand.
    pub(super) fn key(&self) -> Option<Arc<dyn Signing>> {
        // The newest may have been let go of, where nothing has changed for the pool of before.
        self.state().keys.iter().rev().find_map(Weak::upgrade)
    }

    pub(super) fn signer(&self) -> Arc<Renewing> {
        Arc::clone(&self.state().signer)
    }

    /// Another certificate was taken.
    pub(super) fn renewed(&self) {
        let mut state = self.state();
        state.fault = None;
        state.renewed += 1;
    }

    /// It is somebody else's turn.
    pub(super) fn waits(&self, what: &str) {
        self.state().fault = Some(what.to_owned());
    }

    /// Something failed.
    pub(super) fn failed(&self, problem: &str) {
        let mut state = self.state();
        state.failures += 1;
        state.fault = Some(problem.to_owned());
    }

    /// Waits for the next look; `None` if it is to stop.
    pub(super) fn wait(&self) -> Option<(Arc<Renewing>, Option<String>, bool)> {
        let idle = |state: &mut State| !state.stops && !state.is_changed && state.refused.is_none();
        let waited = self.changed.wait_timeout_while(self.state(), limits::LOOK, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let (refused, is_changed) = (state.refused.take(), std::mem::take(&mut state.is_changed));
        (!state.stops).then(|| (Arc::clone(&state.signer), refused, is_changed))
    }
}
