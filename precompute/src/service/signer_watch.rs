//! Watches the signers' certificates for faults that clients would object to. Operators are told until it is fixed. It
//! does not know requests.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::watch;
use tracing::warn;

use super::Tenants;
use crate::{issuer::ActiveIssuer, limits, pki::UnixTime};

/// Notes whether the issuer's own certificate is revoked now, and tells of it once. True if it was not noted before.
fn note_revoked_ca(tenant: &Arc<str>, issuer: &ActiveIssuer, told: &mut HashSet<(Arc<str>, String)>) -> bool {
    let (is_new, name) = (issuer.note_revoked_ca(), &issuer.name);
    issuer.state.health.ca_revoked(issuer.ca_revoked_since());
    if let Some(since) = issuer.ca_revoked_since()
        && told.insert((Arc::clone(tenant), name.clone()))
    {
        let tenant = &**tenant;
        warn!(tenant, issuer = name, %since, "the CA's own certificate is revoked, and all its certificates are answered as revoked since then (`ca_revoked = \"all\"`)");
    }
    is_new
}

/// Looks at intervals: notes which signers are revoked, for the choice among them, and logs what is new. `others_sign` is
/// called when the choice is another one.
pub(super) async fn watch(changing: watch::Receiver<Arc<Tenants>>, others_sign: impl Fn()) {
    let (mut told, mut revoked_cas) = (HashSet::new(), HashSet::new());
    loop {
        let (tenants, now) = (Arc::clone(&changing.borrow()), UnixTime::now());
        let (mut found, mut has_changed) = (HashSet::new(), false);
        for tenant in tenants.iter() {
            for issuer in &tenant.issuers {
                has_changed |= issuer.note_revoked_signers() | note_revoked_ca(&tenant.name, issuer, &mut revoked_cas);
                for fault in issuer.signer_faults(now) {
                    let fault = (Arc::clone(&tenant.name), issuer.name.clone(), fault);
                    if !told.contains(&fault) {
                        warn!(tenant = &*fault.0, issuer = fault.1, "{}", fault.2);
                    }
                    found.insert(fault);
                }
            }
        }
        told = found;
        if has_changed {
            others_sign();
        }
        // What was replaced is dropped with its sessions, which the next may be waiting for.
        drop(tenants);
        tokio::time::sleep(limits::SIGNER_LOOK).await;
    }
}
