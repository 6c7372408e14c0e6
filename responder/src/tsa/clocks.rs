//! One clock for each accuracy and precision: authorities with the same promise share one.
//!
//! Invariant: all clocks share one [`Monotone`], so no time goes back, and one [`History`], so a measurement from
//! before the clock was set counts for none of them, even after configuration changes. It does not know requests.

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
    /// Clocks with this source, and the notes in the state directory; nothing is watched before it is needed.
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

    /// The promise of a policy.
    pub fn promise(lease: Duration, policy: &TsaPolicy) -> Policy {
        let precision = Duration::from_nanos(policy.precision.told_early_max());
        Policy { accuracy: policy.accuracy.duration(), precision, lease }
    }

    /// Checks that a clock could keep the promise.
    pub fn check(&self, policy: &TsaPolicy) -> Result<(), String> {
        Self::promise(self.lease, policy).check()
    }

    /// The clock for a policy; it is watched from now on.
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

    /// Notes what is known of the clock's past, if the present note would tell the next start less.
    pub fn remember(&self) -> Result<(), FileError> {
        let history: History = *self.history.lock().unwrap_or_else(PoisonError::into_inner);
        self.remembered.note(&history)
    }

    /// The accuracies of authorities with ordered tokens.
    pub fn promised(&self) -> &Promised {
        &self.promised
    }

    /// Warns, once for all of these authorities together, that nothing checks their clock. Also warns of those with
    /// ordered tokens: only a source that knows UTC can show that the clock was set back while no process ran.
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

    /// Stops watching the clocks that none of these authorities uses. Dropping the result waits for their threads,
    /// which may be waiting for a silent source.
    #[must_use]
    pub fn retain(&self, used: &[Arc<Clock>]) -> Vec<Keeper> {
        let is_used = |(_, clock): &mut (Keeper, Arc<Clock>)| used.iter().any(|other| Arc::ptr_eq(other, clock));
        self.lock().extract_if(.., |watched| !is_used(watched)).map(|(keeper, _)| keeper).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Keeper, Arc<Clock>)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
