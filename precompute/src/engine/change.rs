//! Moves to a changed configuration, in two steps.
//!
//! Purpose: [`Engine::prepare`] reads the new sources while the old ones are still followed and used for answers;
//! [`Engine::adopt`] switches to what was prepared.
//!
//! Invariants: until it is adopted, a prepared configuration saves and logs nothing, and dropping it changes nothing. A
//! certificate that an issuer's old records show as *revoked* is revoked in its new records too.
//!
//! It does not know who decides between the two steps.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use super::{
    Engine, EngineError, FollowedIssuer, States,
    follower::{self, Follower, Terms},
    lock,
};
use crate::{assemble::Assembly, issuer_id::IssuerId, limits};

/// A configuration whose sources were read and that can be adopted.
#[derive(Debug)]
pub struct Prepared {
    /// All its issuers, in its order.
    issuers: Vec<FollowedIssuer>,
    /// The followers that are new. They end when they are dropped.
    fresh: Vec<Follower>,
    states: States,
    /// The value of [`Engine::adopted`] when it was prepared.
    beside: u64,
}

impl Prepared {
    /// The state that each of its issuers will have.
    pub fn states(&self) -> &States {
        &self.states
    }
}

impl Engine {
    /// Reads what is new in a configuration. Unchanged issuers keep their followers and records; new issuers are filled
    /// from the book and their sources. An error changes nothing. The state directory stays the one that was opened.
    pub fn prepare(&mut self, config: &Assembly) -> Result<Prepared, EngineError> {
        self.prepare_for(config.issuers().map(|(_, issuer)| FollowedIssuer::new(issuer)).collect())
    }

    pub(super) fn prepare_for(&mut self, issuers: Vec<FollowedIssuer>) -> Result<Prepared, EngineError> {
        let configured: HashSet<IssuerId> = issuers.iter().map(|issuer| issuer.id.clone()).collect();
        let lineage = lock(&self.book).lineage()?;
        let running: HashMap<_, _> = self.followers.iter().map(|follower| (&follower.issuer.id, follower)).collect();
        let (mut fresh, mut states) = (Vec::new(), Vec::new());
        for issuer in &issuers {
            let former = running.get(&issuer.id);
            if let Some(same) = former.filter(|former| *former.issuer == *issuer) {
                states.push(same.state.clone());
                continue;
            }
            let mut follower = self.open_one(issuer.clone(), &lineage, &configured)?;
            follower.wait_for_adoption();
            // The same issuer with other sources: the old ones still revoke while the new ones are read.
            if let Some(former) = former {
                follower.take_over(former);
            }
            states.push(follower.state.clone());
            fresh.push(follower);
        }
        let terms = Terms { patience: Some(limits::RELOAD_READ_MAX), ..Terms::default() };
        follower::start(&mut fresh, &self.book, terms, |_, _| ())?;
        Ok(Prepared { issuers, fresh, states: states.into_iter().collect(), beside: self.adopted })
    }

    /// Switches to what was prepared. When it returns, the new states hold every revocation of the old ones, including
    /// those that came in the meantime. The exception is a source that takes longer than [`limits::RELOAD_READ_MAX`] to
    /// read again. If another configuration was adopted since this one was prepared, that is an error and nothing
    /// changes.
    pub fn adopt(&mut self, prepared: Prepared) -> Result<(), EngineError> {
        let Prepared { issuers, fresh, beside, .. } = prepared;
        if beside != self.adopted {
            return Err(EngineError::Overtaken);
        }
        self.adopted += 1;
        fresh.iter().for_each(Follower::adopted);
        let by_id = |followers: Vec<Follower>| -> HashMap<IssuerId, Follower> {
            followers.into_iter().map(|follower| (follower.issuer.id.clone(), follower)).collect()
        };
        let (mut fresh, mut former) = (by_id(fresh), by_id(std::mem::take(&mut self.followers)));
        let ids = issuers.iter().map(|issuer| &issuer.id);
        self.followers = ids.filter_map(|id| fresh.remove(id).or_else(|| former.remove(id))).collect();
        // Followers that are no longer configured, or were replaced, stop here.
        drop(former);
        let begun = Instant::now();
        let wait = |follower: &Follower| begun.elapsed() < follower.patience();
        while self.followers.iter().any(wait) {
            std::thread::sleep(limits::TAKE_OVER_LOOK);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
