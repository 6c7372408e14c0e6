//! An engine of which another may lead: sources are read by the one that leads, and by nobody else.
//!
//! Invariant: whoever begins to lead reads every source whole, because its records are what another has told. Sources that
//! are refused then, or hang, keep no other issuer from being led: that issuer goes on from what is known. A configuration
//! that was prepared before is not adopted: what it has read was for another role. An order to lead that comes when this
//! process stands by again is too late, and does nothing. It does not know who leads.

use super::{
    Engine, EngineError, Pass, Predecessor,
    follower::{self, Follower, Terms},
    reader::SourceReader,
};

impl Engine {
    /// Stands by from the start: no source is read until [`Self::lead`]. What changes from then on is owed to the feed.
    pub fn join(&mut self) -> Result<(), EngineError> {
        let departure = self.departure(self.configured(), false)?;
        self.leads = false;
        self.book.owe(true);
        self.book.stand_by();
        self.follow_ledgers();
        // What is fetched is there when it begins to lead.
        self.feed()?;
        self.followers.iter().for_each(|follower| follower.ledger.serve(&follower.issuer.name));
        self.depart(departure);
        Ok(())
    }

    /// Reads every source, and follows it from then on, if the ledgers take what is read
    /// ([`Ledgers::lead`](crate::ledger::Ledgers::lead)). Calls `each` after each issuer that was read.
    pub fn lead(&mut self, mut each: impl FnMut(&str, &str, &Pass)) -> Result<(), EngineError> {
        if self.leads || !self.book.leads() {
            return Ok(());
        }
        self.anew()?;
        self.leads = true;
        self.adopted += 1;
        let terms = Terms { from_book: true, goes_on: true, ..Terms::default() };
        follower::start(&mut self.followers, &self.notifier, terms, |follower, pass| {
            if let Some(pass) = pass {
                each(follower.issuer.tenant(), &follower.issuer.name, pass);
            }
        })
    }

    /// Reads no source any more.
    pub fn stand_by(&mut self) -> Result<(), EngineError> {
        self.leads = false;
        self.adopted += 1;
        self.anew()
    }

    /// Replaces every follower by one that has read nothing and is not started.
    fn anew(&mut self) -> Result<(), EngineError> {
        let configured = self.configured();
        let lineage = self.book.lock().lineage()?;
        let anew = |former: &Follower| {
            let id = &former.issuer.id;
            let predecessors = self.book.read(|book| {
                Predecessor::all(book, id, &lineage, &configured, |other| self.stood_beside(other, id, &lineage))
            })?;
            let verified = former.ledger.state().health.report().verified;
            let (issuer, ledger) = ((*former.issuer).clone(), former.ledger.clone());
            let reader = SourceReader::new(issuer, ledger, false, verified, predecessors, &self.state_dir);
            let mut follower = Follower::new(reader);
            follower.feed_as(former);
            Ok(follower)
        };
        let followers = self.followers.iter().map(anew).collect::<Result<_, EngineError>>()?;
        self.followers = followers;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
