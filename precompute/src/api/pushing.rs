//! A push that counts once everybody who has to know of it does.
//!
//! Invariant: it is acknowledged after its ledger has it on disk and, where there is a feed, after the feed has it. It
//! does not know requests.

use std::sync::Arc;

use super::problem::Problem;
use crate::{
    ledger::{Ledger, Outcome, Push, Refusal},
    pki::{Serial, UnixTime},
    service::Telling,
};

/// Pushes to one issuer.
#[derive(Clone)]
pub(super) struct Pushing {
    ledger: Ledger,
    telling: Option<Arc<Telling>>,
}

impl Pushing {
    pub(super) fn new(ledger: Ledger, telling: Option<Arc<Telling>>) -> Self {
        Self { ledger, telling }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// As [`Ledger::push`]; blocks until it is told as well. What was refused is told to nobody.
    pub(super) fn push(
        &self,
        pushes: &[Push],
        key: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Result<Outcome, Refusal>>, Problem> {
        let Some(telling) = &self.telling else { return Ok(self.ledger.push(pushes, key, now)?) };
        let begun = telling.begin(&self.ledger, pushes.iter().map(|push| push.serial))?;
        let outcomes = self.ledger.push(pushes, key, now)?;
        let taken = pushes.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let serials: Vec<Serial> = taken.map(|(push, _)| push.serial).collect();
        if !serials.is_empty() {
            begun.wait(&serials)?;
        }
        Ok(outcomes)
    }
}
