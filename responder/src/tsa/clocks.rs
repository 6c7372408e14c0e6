//! One clock for each accuracy and precision: authorities that promise the same share one.
//!
//! Invariant: all clocks share one [`Monotone`], so that no time goes back, and one [`History`], so that what was
//! measured before the clock was set counts for none of them, whatever the configuration does.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use precompute::{pki::FileError, tsp::TsaPolicy};
use tracing::warn;

use super::{
    clock::{self, Clock, ClockSource, History, Keeper, Monotone, Policy, SharedHistory, Transition},
    promised::Promised,
    remembered::Remembered,
};

/// Called with every transition.
pub type Audit = Arc<dyn Fn(&Transition) + Send + Sync>;

/// Every clock that is watched.
pub struct Clocks {
    source: ClockSource,
    lease: Duration,
    monotone: Arc<Monotone>,
    history: SharedHistory,
    remembered: Remembered,
    promised: Promised,
    audit: Audit,
    watched: Mutex<Vec<(Keeper, Arc<Clock>)>>,
}

impl std::fmt::Debug for Clocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clocks({})", self.source)
    }
}

impl Clocks {
    /// Of this source, with what is noted in the state directory; nothing is watched before somebody promises something.
    pub fn new(source: ClockSource, lease: Duration, state_dir: &Path, audit: Audit) -> Self {
        let promised = Promised::open(state_dir);
        let (remembered, history) = Remembered::open(state_dir, source);
        let history = Arc::new(Mutex::new(history));
        Self {
            source,
            lease,
            monotone: Arc::default(),
            history,
            remembered,
            promised,
            audit,
            watched: Mutex::default(),
        }
    }

    /// What a policy promises.
    pub fn promise(lease: Duration, policy: &TsaPolicy) -> Policy {
        let precision = Duration::from_nanos(policy.precision.told_early_max());
        Policy { accuracy: policy.accuracy.duration(), precision, lease }
    }

    /// What is wrong with a promise that no clock of these could keep.
    pub fn check(&self, policy: &TsaPolicy) -> Result<(), String> {
        Self::promise(self.lease, policy).check()
    }

    /// The clock for a policy; watched from now on.
    pub fn clock(&self, policy: &TsaPolicy) -> io::Result<Arc<Clock>> {
        let promise = Self::promise(self.lease, policy);
        let mut watched = self.lock();
        if let Some((_, clock)) = watched.iter().find(|(_, clock)| *clock.policy() == promise) {
            return Ok(Arc::clone(clock));
        }
        let audit = Arc::clone(&self.audit);
        let hook = Box::new(move |transition: &Transition| audit(transition));
        let (keeper, clocks) = clock::start(self.source, &[promise], &self.monotone, &self.history, hook)?;
        let clock = clocks.into_iter().next().ok_or_else(|| io::Error::other("no clock was started"))?;
        watched.push((keeper, Arc::clone(&clock)));
        Ok(clock)
    }

    /// Notes what is known of the clock's past, if a start would be told less by the note that there is.
    pub fn remember(&self) -> Result<(), FileError> {
        let history: History = *self.history.lock().unwrap_or_else(PoisonError::into_inner);
        self.remembered.note(&history)
    }

    /// The accuracies of authorities whose tokens are ordered.
    pub fn promised(&self) -> &Promised {
        &self.promised
    }

    /// Warns, once for all of these authorities together, where nobody checks their clock; and of those whose tokens are
    /// to be in order, since all that keeps a clock from being set back while nobody runs is that its source knows UTC.
    pub fn warn_if_unchecked(&self, authorities: &[String], ordered: &[String]) {
        if self.source != ClockSource::Unchecked {
            return;
        }
        if !authorities.is_empty() {
            let authorities = authorities.join(", ");
            warn!(
                authorities,
                "clock = \"unchecked\": their time-stamps show whatever this machine's clock shows, right or wrong; use \"kernel\" or \"chrony\" if anybody relies on them"
            );
        }
        if !ordered.is_empty() {
            let authorities = ordered.join(", ");
            warn!(
                authorities,
                "`ordering` with clock = \"unchecked\": their time-stamps are in order only if nobody sets this machine's clock back between two runs, which goes unnoticed; use \"kernel\" or \"chrony\""
            );
        }
    }

    /// Watches no more what none of these is. Who drops what comes back waits for its threads, which may be asking a
    /// source that is silent.
    #[must_use]
    pub fn retain(&self, used: &[Arc<Clock>]) -> Vec<Keeper> {
        let is_used = |(_, clock): &mut (Keeper, Arc<Clock>)| used.iter().any(|other| Arc::ptr_eq(other, clock));
        self.lock().extract_if(.., |watched| !is_used(watched)).map(|(keeper, _)| keeper).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Keeper, Arc<Clock>)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
