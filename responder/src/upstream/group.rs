//! Upstreams that stand for one another: an issuer's, or an edge's.
//!
//! Invariant: whatever they do, a request ends within [`limits::MISS_DEADLINE`](crate::limits::MISS_DEADLINE), with an answer
//! that has passed its judge or with the last fault. Which one is asked, [`super::choice`] decides.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    choice::{Attempt, Change, Choice},
    client::{Errand, Reply, Upstream},
    told::Fault,
};
use crate::limits::{self, upstream};

/// What is wanted of upstreams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Whose they are, for logs and metrics: `edge`, or `tenant/issuer`.
    pub of: String,
    /// Their URLs, in the order of preference.
    pub urls: Vec<String>,
    /// The CAs whose certificates count over TLS, PEM; `None` for those of the system.
    pub cas: Option<Vec<u8>>,
    /// How long a preferred one has to answer before it is gone back to.
    pub fail_back: Duration,
}

/// Upstreams that stand for one another.
#[derive(Debug)]
pub struct Group {
    wanted: Wanted,
    members: Vec<Upstream>,
    choice: Mutex<Choice>,
    began: Instant,
}

/// What an upstream is for now, for metrics and remarks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing<'g> {
    /// Its URL.
    pub name: &'g str,
    /// Whether it is the one that is asked.
    pub is_in_use: bool,
    /// Whether it has failed and is left alone.
    pub is_left: bool,
    /// Its last fault, if it has not answered since.
    pub fault: Option<String>,
}

impl Group {
    /// Nobody is connected to yet. An error completes "the upstream …".
    pub fn new(wanted: Wanted) -> Result<Arc<Self>, String> {
        let over_tls = wanted.urls.iter().any(|url| url.starts_with("https:"));
        let tls = over_tls.then(|| super::courier::connector(wanted.cas.as_deref())).transpose()?;
        let members = wanted.urls.iter().map(|url| Upstream::new(url, tls.clone())).collect::<Result<Vec<_>, _>>()?;
        let choice = Mutex::new(Choice::new(members.len(), wanted.fail_back));
        Ok(Arc::new(Self { wanted, members, choice, began: Instant::now() }))
    }

    /// What it was made from.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whose upstreams they are.
    pub fn of(&self) -> &str {
        &self.wanted.of
    }

    /// Each upstream.
    pub fn members(&self) -> &[Upstream] {
        &self.members
    }

    /// Asks until one has answered what `judge` accepts. `None`: all have failed, and are left alone for now.
    pub async fn ask<T>(
        &self,
        errand: &Errand,
        mut judge: impl FnMut(Reply) -> Result<T, Fault>,
    ) -> Result<T, Option<Fault>> {
        let end = Instant::now() + limits::MISS_DEADLINE;
        let (mut tried, mut last) = (0, None);
        for _ in 0..upstream::ATTEMPTS_MAX {
            let Some(attempt) = self.choice().next(tried, self.began.elapsed()) else { break };
            tried |= 1 << attempt.place;
            let within = attempt.within.min(end.saturating_duration_since(Instant::now()));
            let member = &self.members[attempt.place];
            let outcome = member.ask(errand, within).await.and_then(&mut judge);
            match outcome {
                Ok(answer) => {
                    member.told.answered();
                    self.ended(attempt, true);
                    return Ok(answer);
                }
                Err(fault) => {
                    member.told.fault(&fault, member.name(), self.of());
                    self.ended(attempt, !fault.is_failure());
                    let is_final = matches!(fault, Fault::Refused("unauthorized" | "malformedRequest"));
                    last = Some(fault);
                    if is_final {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn ended(&self, attempt: Attempt, was_answered: bool) {
        let changes = self.choice().ended(attempt, was_answered, self.began.elapsed());
        for change in changes {
            let of = self.of();
            match change {
                Change::Left(place) => {
                    let fault = self.members[place].told.last().unwrap_or_default();
                    warn!(
                        upstream = self.members[place].name(),
                        of,
                        fault,
                        "an upstream is left alone for now: it has failed several times in a row, and is tried again by itself"
                    );
                }
                Change::InUse(place) => {
                    info!(upstream = self.members[place].name(), of, "this upstream is asked from now on");
                }
            }
        }
    }

    /// Whether one of them at least is not left alone.
    pub fn is_answered(&self) -> bool {
        let choice = self.choice();
        (0..self.members.len()).any(|place| !choice.is_left(place))
    }

    /// Each upstream as it is now.
    pub fn standing(&self) -> Vec<Standing<'_>> {
        let choice = self.choice();
        let of = |(place, member): (usize, &'_ Upstream)| {
            (place == choice.in_use(), choice.is_left(place), member.told.last())
        };
        let found: Vec<_> = self.members.iter().enumerate().map(of).collect();
        let mut standing = Vec::new();
        for (member, (is_in_use, is_left, fault)) in self.members.iter().zip(found) {
            standing.push(Standing { name: member.name(), is_in_use, is_left, fault });
        }
        standing
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
