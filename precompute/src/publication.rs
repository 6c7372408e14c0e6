//! What is published of an issuer beside its answers: the CRLs that are followed, and the CA's certificates (RFC 2585).
//!
//! Purpose: one appliance serves what the cRLDistributionPoints and the authorityInfoAccess of certificates name.
//! Invariant: a CRL that is published is one that the engine has accepted, in DER as its CA signed it, and the newest of
//! its kind and scope; while a file is refused, what was accepted last stays. A serving thread reads it without a lock,
//! and shares the octets instead of copying them. It does not know URLs or HTTP.
//!
//! `names` says which CRL is served under which name.

mod document;
mod names;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

pub use self::{document::Document, names::fit};
use crate::{pki::UnixTime, source::CrlScope};

/// What the configuration publishes of an issuer.
#[derive(Clone, Debug)]
pub struct Published {
    /// The issuer's name, fit for a path: letters, digits, `-`, `_` and `.`; unique among those of its tenant.
    pub name: String,
    /// Whether its CRLs are served.
    pub crls: bool,
    /// The CA's certificates, if they are served.
    pub ca: Option<CaCertificates>,
}

/// The certificates of a CA.
#[derive(Clone, Debug)]
pub struct CaCertificates {
    /// The CA's own.
    pub certificate: Arc<Document>,
    /// All that its file has, as a certs-only CMS message.
    pub bundle: Arc<Document>,
}

/// A CRL that was accepted.
#[derive(Debug)]
pub struct AcceptedCrl {
    /// Which certificates it covers, and who has signed it.
    pub scope: CrlScope,
    /// Whether it is a delta.
    pub is_delta: bool,
    /// The place of the first CRL of this scope among those of the sources; 0 is the first CRL of the first file.
    pub place: usize,
    /// The URL that its issuingDistributionPoint names, if it does.
    pub url: Option<String>,
    /// thisUpdate.
    pub this_update: UnixTime,
    /// nextUpdate.
    pub next_update: Option<UnixTime>,
    /// The CRL.
    pub der: Box<[u8]>,
}

/// A CRL that is published.
#[derive(Clone, Debug)]
pub struct PublishedCrl {
    /// What its name has behind that of the issuer, before `.crl`: nothing, `+`, `~7`, `~7+`.
    pub suffix: String,
    scope: CrlScope,
    is_delta: bool,
    /// What is served.
    pub document: Arc<Document>,
}

/// The published CRLs of one issuer: one writer, any number of readers.
#[derive(Default, Debug)]
pub struct Publication(ArcSwap<Vec<PublishedCrl>>);

impl Publication {
    /// What is published now; nothing until the sources were read.
    #[inline]
    pub fn crls(&self) -> Guard<Arc<Vec<PublishedCrl>>> {
        self.0.load()
    }

    /// Publishes what was `accepted`. `is_whole`: whether no CRL was refused; otherwise those of before stay beside it that
    /// nothing has replaced.
    pub(crate) fn take(&self, accepted: Vec<AcceptedCrl>, is_whole: bool) {
        let before = self.0.load_full();
        self.0.store(Arc::new(next(&before, accepted, is_whole)));
    }
}

/// What is published after `before`.
fn next(before: &[PublishedCrl], accepted: Vec<AcceptedCrl>, is_whole: bool) -> Vec<PublishedCrl> {
    let suffixes = names::suffixes(before, &accepted, is_whole);
    let published = accepted.into_iter().zip(suffixes).map(|(crl, suffix)| {
        let former = before.iter().find(|former| (former.scope, former.is_delta) == (crl.scope, crl.is_delta));
        let document = former.map(|former| &former.document).filter(|document| document.octets[..] == crl.der[..]);
        let document = document.map(Arc::clone).unwrap_or_else(|| {
            let mut document = Document::new(crl.der).modified_at(crl.this_update);
            document.until = crl.next_update;
            // Of two within a second, the date does not say which one a client has.
            document.is_dated = former.is_none_or(|former| former.document.modified != Some(crl.this_update));
            Arc::new(document)
        });
        PublishedCrl { suffix, scope: crl.scope, is_delta: crl.is_delta, document }
    });
    let mut published: Vec<_> = published.collect();
    if !is_whole {
        let is_replaced = |former: &&PublishedCrl| {
            published
                .iter()
                .any(|crl| (crl.scope, crl.is_delta) == (former.scope, former.is_delta) || crl.suffix == former.suffix)
        };
        let kept: Vec<_> = before.iter().filter(|former| !is_replaced(former)).cloned().collect();
        published.extend(kept);
    }
    published
}

#[cfg(test)]
mod tests;
