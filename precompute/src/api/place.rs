//! Places of lists and backups that are under way.
//!
//! Invariant: there are no more than there may be, of all and of one principal. It does not know what has one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Api,
    problem::{Kind, Problem},
};

/// How many places each principal has.
pub(super) type Held = Mutex<HashMap<String, usize>>;

/// A place, until it is dropped.
pub(super) struct Place {
    api: Arc<Api>,
    principal: String,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Takes one, of `most` that the principal may have.
    pub(super) fn take(api: &Arc<Api>, principal: &str, most: usize) -> Result<Self, Problem> {
        let mut held = api.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(principal).copied().unwrap_or_default();
        if own >= most {
            let too_many =
                format!("`{principal}` has {own} lists and backups under way, as many as it may; come again later");
            return Err(Problem::new(Kind::TooManyUploads, too_many));
        }
        let too_many = "as many lists and backups as may be at once are under way; come again later";
        let permit = Arc::clone(&api.uploads).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::new(Kind::TooManyUploads, too_many))?;
        held.insert(principal.to_owned(), own + 1);
        Ok(Self { api: Arc::clone(api), principal: principal.to_owned(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.api.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.principal) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.principal)),
        }
    }
}
