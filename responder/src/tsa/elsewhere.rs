//! Authorities of an edge, whose tokens the replicas behind it make.
//!
//! Purpose: decides a query as far as that takes no key: what has to be refused is refused here, and what may be passed on is,
//! with what its token has to be. Invariant: one path has at least one authority, and what is passed on is a right query for
//! one of them. It asks nobody, and does not know HTTP.

use std::sync::Arc;

use precompute::{
    assemble::AssembledTsaElsewhere,
    pki::{Certificate, UnixTime},
    publication::Document,
    tsp::TsaPolicy,
};

use super::{counters::Outcomes, failure::Failure, request::Request};
use crate::upstream::token::{Stamp, TokenRules, Wrong, verify_token};

/// An authority whose tokens are made elsewhere.
#[derive(Debug)]
pub struct Elsewhere {
    /// For logs and metrics.
    pub name: String,
    policy: TsaPolicy,
    /// Its own, and those above it.
    certificates: Vec<Certificate>,
    /// What requests to it came to.
    pub outcomes: Outcomes,
}

/// Those at one path.
#[derive(Debug)]
pub struct ElsewhereAt {
    /// Below the tenant's; empty if it is that path.
    pub path: String,
    /// Their certificates in PEM.
    pub chain: Document,
    authorities: Vec<Arc<Elsewhere>>,
}

/// What a token for a query has to be; it can be sent to another thread.
#[derive(Clone, Debug)]
pub struct Expected {
    authority: Arc<Elsewhere>,
    imprint: Box<[u8]>,
    nonce: Option<Box<[u8]>>,
    /// `None` for any of the authority's.
    policy: Option<Box<[u8]>>,
    wants_certificate: bool,
}

impl ElsewhereAt {
    /// All paths, from authorities in the order of the file.
    pub fn all(configured: &[AssembledTsaElsewhere], workers: usize) -> Vec<Arc<Self>> {
        let mut paths: Vec<(&str, Vec<&AssembledTsaElsewhere>)> = Vec::new();
        for tsa in configured {
            match paths.iter_mut().find(|(path, _)| *path == tsa.path) {
                Some((_, there)) => there.push(tsa),
                None => paths.push((&tsa.path, vec![tsa])),
            }
        }
        paths.into_iter().map(|(path, there)| Arc::new(Self::new(path, &there, workers))).collect()
    }

    fn new(path: &str, there: &[&AssembledTsaElsewhere], workers: usize) -> Self {
        let own = there.iter().filter_map(|tsa| tsa.certificates.first());
        let behind = there.iter().flat_map(|tsa| tsa.certificates.iter().skip(1));
        let chain = Document::new(super::routes::pem(own.chain(behind)));
        let authorities = there.iter().filter_map(|tsa| {
            let (name, policy, certificates) = (tsa.name.clone(), tsa.policy.clone(), tsa.certificates.clone());
            let is_named = !certificates.is_empty();
            is_named.then(|| Arc::new(Elsewhere { name, policy, certificates, outcomes: Outcomes::new(workers) }))
        });
        Self { path: path.to_owned(), chain, authorities: authorities.collect() }
    }

    /// In the order of the file.
    pub fn authorities(&self) -> &[Arc<Elsewhere>] {
        &self.authorities
    }

    /// Whose the query is: the authority that serves the requested policy, else the first; and what its token has to be, or
    /// why there is none.
    pub fn decide(&self, der: &[u8]) -> (Option<&Arc<Elsewhere>>, Result<Expected, Failure>) {
        let mut by = self.authorities.first();
        let decision = self.decision(der, &mut by);
        (by, decision)
    }

    fn decision<'s>(&'s self, der: &[u8], by: &mut Option<&'s Arc<Elsewhere>>) -> Result<Expected, Failure> {
        let request = Request::decode(der)?;
        request.check_version()?;
        let serves = |authority: &&Arc<Elsewhere>| {
            request.policy.is_some_and(|policy| authority.policy.policies.iter().any(|own| own.content() == policy))
        };
        let serving = self.authorities.iter().find(serves);
        *by = serving.or(*by);
        let authority = by.ok_or(Failure::SystemFailure)?;
        request.check(&authority.policy, request.policy.is_none() || serving.is_some())?;
        Ok(Expected {
            authority: Arc::clone(authority),
            imprint: request.imprint.into(),
            nonce: request.nonce.map(Into::into),
            policy: request.policy.map(Into::into),
            wants_certificate: request.cert_req,
        })
    }
}

impl Expected {
    /// What an upstream has sent, if it may leave.
    pub fn judge(&self, der: &[u8], now: UnixTime) -> Result<Stamp, Wrong> {
        let Elsewhere { policy, certificates, .. } = &*self.authority;
        let signer = certificates.first().ok_or("there is no certificate of its signer here")?;
        let all: Vec<&[u8]> = match &self.policy {
            Some(asked) => vec![asked],
            None => policy.policies.iter().map(|own| own.content()).collect(),
        };
        let rules = TokenRules {
            imprint: &self.imprint,
            nonce: self.nonce.as_deref(),
            policies: &all,
            signer,
            certificates,
            wants_certificate: self.wants_certificate,
        };
        verify_token(der, &rules, now)
    }
}
