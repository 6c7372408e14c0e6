//! What a tenant may have signed while clients wait. It does not know what is signed.

use std::{cell::Cell, time::Instant};

use tracing::warn;

use crate::site::Tenant;

/// The quota, for one request.
pub(super) struct Quota<'t> {
    tenant: &'t Tenant,
    is_used_up: Cell<bool>,
}

impl<'t> Quota<'t> {
    /// Of a tenant.
    pub(super) fn of(tenant: &'t Tenant) -> Self {
        Self { tenant, is_used_up: Cell::new(false) }
    }

    /// Whether one more answer may be signed.
    pub(super) fn allows(&self) -> bool {
        let tenant = &*self.tenant.name;
        let tell =
            || warn!(tenant, "the quota of signatures is used up; requests get `tryLater` where no answer is kept");
        let allows = self.tenant.signatures.as_ref().is_none_or(|bound| bound.take(Instant::now(), tell));
        self.is_used_up.set(!allows);
        allows
    }

    /// Whether it allowed nothing.
    pub(super) fn is_used_up(&self) -> bool {
        self.is_used_up.get()
    }
}
