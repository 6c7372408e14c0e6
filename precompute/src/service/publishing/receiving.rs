//! Answers that another writer tells, for the present tenants. It does not know who stands by.

use std::sync::Arc;

use crate::{
    answers::Answers,
    presign::{Received, SoFar},
    service::{Tenants, change::Handle},
};

/// Who takes the answers of the feed, for the present tenants.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    for_tenants: Option<(Arc<Tenants>, Received)>,
    so_far: Arc<SoFar>,
}

impl Receiving {
    /// For those that `handle` has now.
    pub(super) fn of(&mut self, handle: &Handle, answers: &Arc<Answers>) -> &Received {
        let tenants = Arc::clone(&handle.tenants.borrow());
        let former = self.for_tenants.take().filter(|(of, _)| Arc::ptr_eq(of, &tenants));
        let anew = || {
            let issuers = tenants.issuers().map(|(_, issuer)| issuer);
            (Arc::clone(&tenants), Received::new(answers, issuers, &self.so_far))
        };
        &self.for_tenants.insert(former.unwrap_or_else(anew)).1
    }
}
