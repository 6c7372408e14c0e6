//! What has changed since the last look, issuer by issuer.
//!
//! Invariant: every change since an issuer was first seen here is heard, by serial or as a whole; so is that it has left, and
//! that its published CRLs are others. It does not know what is done about it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::Bell;
use crate::{
    issuer::ActiveIssuer,
    issuer_id::IssuerId,
    ledger::{Changed, Listener},
    limits::purge as limits,
    ocsp::IssuerKey,
    pki::{Serial, Status, UnixTime},
    purge::Old,
    records::Records,
    service::Tenants,
};

/// Listens to all issuers.
#[derive(Debug)]
pub(super) struct Hearing {
    bell: Arc<Bell>,
    /// Whether changed records count.
    hears_records: bool,
    heard: HashMap<IssuerId, Heard>,
}

#[derive(Debug)]
struct Heard {
    tenant: String,
    key: IssuerKey,
    listener: Listener,
    /// Whose changes those are. The issuer itself is not kept: its signers end with the last who has it.
    records: Arc<Records>,
    looks: Looks,
    /// The entity tags of its published CRLs.
    crls: Vec<String>,
}

/// What all answers of an issuer depend on beside records.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Looks {
    /// Another one after a change of the policy or of the signers' keys.
    number: u32,
    signers: Vec<[u8; 8]>,
    /// Which of them are revoked.
    revoked: u64,
    ca_revoked: Option<UnixTime>,
}

/// What has changed of an issuer.
#[derive(Debug)]
pub(super) struct News {
    pub(super) issuer: IssuerId,
    /// Whose it is; `None` if it has left the configuration.
    pub(super) tenant: Option<String>,
    pub(super) key: IssuerKey,
    pub(super) old: Old,
    pub(super) since: Instant,
}

impl Hearing {
    pub(super) fn new(bell: Arc<Bell>, hears_records: bool) -> Self {
        Self { bell, hears_records, heard: HashMap::new() }
    }

    /// Listens no longer.
    pub(super) fn forget(&mut self) {
        self.heard.clear();
    }

    /// All issuers, each with its tenant.
    pub(super) fn issuers(&self) -> Vec<(&str, IssuerKey)> {
        self.heard.values().map(|heard| (&*heard.tenant, heard.key)).collect()
    }

    /// Follows these tenants, and says what has changed since the last call. Of an issuer that is new, or has left, that is all;
    /// not so at the first call.
    pub(super) fn hear(&mut self, tenants: &Tenants) -> Vec<News> {
        let is_first = self.heard.is_empty();
        let mut former = std::mem::take(&mut self.heard);
        let mut news = Vec::new();
        for (tenant, issuer) in tenants.issuers() {
            let (id, looks) = (issuer.id(), Looks::of(issuer));
            let same = former.remove(id).filter(|heard| Arc::ptr_eq(&heard.records, &issuer.state.records));
            let (mut heard, is_new) = match same {
                Some(heard) => (heard, false),
                None => (self.listen(tenant, issuer, looks.clone()), !is_first),
            };
            let changed = heard.listener.take();
            let is_other = is_new || heard.looks != looks;
            heard.looks = looks;
            let mut tell = |old| {
                let (issuer, tenant, key) = (id.clone(), Some(tenant.to_owned()), heard.key);
                news.push(News { issuer, tenant, key, old, since: Instant::now() });
            };
            // Where nothing was published, no cache has anything.
            let crls = crls_of(issuer);
            if !heard.crls.is_empty() && heard.crls != crls {
                tell(Old::Crls);
            }
            let old = match changed {
                _ if is_other => Some(Old::All),
                _ if !self.hears_records => None,
                Changed::Nothing => None,
                Changed::These(serials) if serials.len() <= limits::SERIALS_TOLD_MAX => {
                    let is_good = |serial: &Serial| {
                        issuer.state.records.get(serial).is_some_and(|found| found.status == Status::Good)
                    };
                    let (others, pressing) = serials.into_iter().partition(is_good);
                    Some(Old::These { pressing, others })
                }
                Changed::These(_) | Changed::Many => Some(Old::All),
            };
            old.into_iter().for_each(tell);
            heard.crls = crls;
            self.heard.insert(id.clone(), heard);
        }
        // Nothing of it is answered here any more, and caches go on giving out what they have.
        let left =
            |(issuer, Heard { key, .. })| News { issuer, tenant: None, key, old: Old::All, since: Instant::now() };
        news.extend(former.into_iter().map(left));
        news
    }

    fn listen(&self, tenant: &str, issuer: &Arc<ActiveIssuer>, looks: Looks) -> Heard {
        let bell = Arc::clone(&self.bell);
        let listener = issuer.state.changes.subscribe(Arc::new(move || bell.ring()));
        let key = IssuerKey::of(&issuer.hashes);
        let (tenant, records, crls) = (tenant.to_owned(), Arc::clone(&issuer.state.records), crls_of(issuer));
        Heard { tenant, key, listener, records, looks, crls }
    }
}

fn crls_of(issuer: &ActiveIssuer) -> Vec<String> {
    issuer.state.publication.crls().iter().map(|crl| crl.document.etag.clone()).collect()
}

impl Looks {
    fn of(issuer: &ActiveIssuer) -> Self {
        Self {
            number: issuer.number(),
            signers: issuer.signers.all().iter().map(|signer| *signer.template().fingerprint()).collect(),
            revoked: issuer.signers.revoked_places(),
            ca_revoked: issuer.ca_revoked_since(),
        }
    }
}
