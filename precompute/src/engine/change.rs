//! Moves to a changed configuration, in two steps.
//!
//! Purpose: [`Engine::prepare`] reads the new sources while the old ones are still followed and used for answers;
//! [`Engine::adopt`] switches to what was prepared.
//!
//! An issuer that stays keeps its ledger and its records; only who reads its sources changes. Invariants: until it is
//! adopted, a prepared configuration shows nothing of an issuer that is served, saves and logs nothing, and dropping it
//! changes nothing. Nobody waits for a source that hangs, and until the switch the former sources are followed.
//!
//! It does not know who decides between the two steps.

use std::collections::{HashMap, HashSet};

use super::{
    Engine, EngineError, FollowedIssuer, Forgotten, Predecessor, SourceReader, States,
    departed::Departure,
    followed,
    follower::{self, Follower, Terms},
};
use crate::{assemble::Assembly, issuer_id::IssuerId, ledger::Ledger, limits, pki::Serial};

/// A configuration whose sources were read and that can be adopted.
#[derive(Debug)]
pub struct Prepared {
    /// All its issuers, in its order.
    issuers: Vec<FollowedIssuer>,
    /// The followers that are new. They end when they are dropped.
    fresh: Vec<Follower>,
    states: States,
    departure: Departure,
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
        self.prepare_for(followed(config)?)
    }

    pub(super) fn prepare_for(&mut self, issuers: Vec<FollowedIssuer>) -> Result<Prepared, EngineError> {
        let configured: HashSet<IssuerId> = issuers.iter().map(|issuer| issuer.id.clone()).collect();
        let departure = self.departure(configured.clone(), false)?;
        let lineage = self.book.lock().lineage()?;
        let running: HashMap<_, _> = self.followers.iter().map(|follower| (&follower.issuer.id, follower)).collect();
        let (mut fresh, mut states) = (Vec::new(), Vec::new());
        for issuer in &issuers {
            let former = running.get(&issuer.id).copied();
            let predecessors = self.predecessors(&issuer.id, &lineage, &configured)?;
            // Who had the same CA beside it and leaves is asked about as any predecessor is.
            let is_same = |former: &&Follower| *former.issuer == *issuer && predecessors.is_empty();
            if let Some(same) = former.filter(is_same) {
                // Whoever reloads wants what there is now.
                same.fetch_now();
                states.push(same.ledger.state().clone());
                continue;
            }
            let is_back = || self.saver.leaving(&issuer.id);
            let mut follower = if let Some(ledger) = former.map(|former| former.ledger.clone()) {
                self.follow_on(issuer, ledger, predecessors)
            } else if let Some(ledger) = is_back() {
                self.follow_on(issuer, ledger, predecessors)
            } else {
                self.open_after(predecessors, issuer.clone())?
            };
            follower.feed(&self.feeders).map_err(|error| follower.lost_feed(&error))?;
            states.push(follower.ledger.state().clone());
            fresh.push(follower);
        }
        let terms = Terms { patience: Some(limits::RELOAD_READ_MAX), ..Terms::default() };
        // Of a standby they are read once it leads.
        if self.leads {
            follower::start(&mut fresh, &self.notifier, terms, |_, _| ())?;
        }
        Ok(Prepared { issuers, fresh, states: states.into_iter().collect(), departure, beside: self.adopted })
    }

    /// Another reader for a ledger that has one, or had one.
    fn follow_on(&self, issuer: &FollowedIssuer, ledger: Ledger, predecessors: Vec<Predecessor>) -> Follower {
        let verified = ledger.state().health.report().verified_saved;
        Follower::new(SourceReader::new(issuer.clone(), ledger, true, verified, predecessors, &self.state_dir))
    }

    /// Takes no more pushes for the issuers that are no longer configured. It is an error, and changes nothing, if one of
    /// them was pushed since something that its successor would forget.
    fn take_leave(&self, issuers: &[FollowedIssuer], fresh: &[Follower]) -> Result<(), EngineError> {
        let configured: HashSet<IssuerId> = issuers.iter().map(|issuer| issuer.id.clone()).collect();
        let leaving = || self.followers.iter().filter(|follower| !configured.contains(&follower.issuer.id));
        leaving().for_each(|gone| gone.ledger.leave());
        leaving().for_each(|gone| gone.ledger.wait_for_pushes());
        let stay = || leaving().for_each(|stays| stays.ledger.serve(&stays.issuer.name));
        self.unsaid_of(leaving(), &configured).inspect_err(|_| stay())?;
        let lineage = self.book.lock().lineage().inspect_err(|_| stay())?;
        let come: HashSet<&IssuerId> = fresh.iter().map(|follower| &follower.issuer.id).collect();
        let is_same = |id: &IssuerId| configured.contains(id) && !come.contains(id);
        for follower in fresh.iter().chain(self.followers.iter().filter(|follower| is_same(&follower.issuer.id))) {
            let mut predecessors = Vec::new();
            leaving().for_each(|gone| {
                let id = &follower.issuer.id;
                let is_beside = self.stood_beside(&gone.issuer.id, id, &lineage);
                Predecessor::add_running(&mut predecessors, gone, id, is_beside, &configured);
            });
            let is_kept = |serial: &Serial, former| follower.handover.keeps(serial, former);
            if let Some(forgotten) = Forgotten::of(&predecessors, is_kept) {
                stay();
                if forgotten.tenants.iter().all(|tenant| follower.issuer.was_of(tenant)) {
                    return Err(EngineError::Overtaken);
                }
                return Err(EngineError::Forgotten(follower.issuer.to_string(), forgotten.under(&follower.issuer)));
            }
        }
        Ok(())
    }

    /// Switches to what was prepared. When it returns, the records show what the new sources said when they were read, but
    /// for holds that they release, which end with the next read. It is an error, and nothing changes, if another configuration was
    /// adopted since this one was prepared, or something was pushed that would be forgotten.
    pub fn adopt(&mut self, prepared: Prepared) -> Result<(), EngineError> {
        let Prepared { issuers, fresh, departure, beside, .. } = prepared;
        if beside != self.adopted {
            return Err(EngineError::Overtaken);
        }
        self.take_leave(&issuers, &fresh)?;
        self.adopted += 1;
        let by_id = |followers: Vec<Follower>| -> HashMap<IssuerId, Follower> {
            followers.into_iter().map(|follower| (follower.issuer.id.clone(), follower)).collect()
        };
        let (mut fresh, mut former) = (by_id(fresh), by_id(std::mem::take(&mut self.followers)));
        let mut followers = Vec::new();
        for id in issuers.iter().map(|issuer| &issuer.id) {
            let Some(follower) = fresh.remove(id) else {
                followers.extend(former.remove(id));
                continue;
            };
            // From here on only the new reader changes anything.
            drop(former.remove(id));
            follower.handover.open();
            follower.tell_of_feeds();
            follower.ledger.serve(&follower.issuer.name);
            followers.push(follower);
        }
        // Followers that are no longer configured stop here. What they have shown is saved.
        drop(former);
        self.followers = followers;
        self.follow_ledgers();
        self.depart(departure);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
