//! Misses of an edge: it has no key, and a replica behind it signs.
//!
//! Purpose: asks the upstreams for what is missing here, and takes their answer if it may leave. Invariant: an answer is taken
//! only if it is verified and says of every certificate exactly what the record here says at that moment; so an edge that
//! knows a revocation never says *good* because a replica does not know it yet. It does not know who waits.

use std::sync::Arc;

use bytes::Bytes;
use precompute::{
    ocsp::{CertStatus, OcspError, Policy, profile::Statement, profile::Times},
    pki::{Certificate, Status, UnixTime},
};
use tokio::sync::watch;

use super::{
    sign_request::SignRequest,
    store::{Answer, Etag},
};
use crate::{
    limits::upstream as limits,
    site::{Issuer, Site},
    upstream::{
        client::{Errand, Protocol, Reply},
        courier::Courier,
        group::Group,
        question::{Asked, Question},
        told::{Fault, word},
        verify::{Objection, Rules, Verified, verify},
    },
};

/// How misses reach the replicas behind an edge.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The replicas.
    pub group: Arc<Group>,
    /// Where they are asked.
    pub courier: Courier,
    /// The tenants, whose paths are asked at.
    pub sites: watch::Receiver<Arc<Site>>,
}

/// An answer that may leave.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) answer: Answer,
    /// The signature, where the answer is what this replica would have made of it.
    pub(super) signature: Option<Vec<u8>>,
}

impl Edge {
    /// Asks for the answer to `request`. An error: there is none that may leave.
    pub(super) async fn ask(&self, request: &SignRequest) -> Result<Taken, OcspError> {
        let ids: Vec<_> = request.requested().collect();
        let question = Question {
            ids: ids.iter().map(|(_, id)| Asked::from(id)).collect(),
            nonce: request.nonce().map(Into::into),
        };
        let (first, _) = ids.first().ok_or(OcspError::MalformedRequest)?;
        let (path, host) = self.place_of(first).ok_or(OcspError::TryLater)?;
        let errand = Errand { protocol: Protocol::Ocsp, path, host, body: Bytes::from(question.der()) };
        let judge = |reply: Reply| taken(request, &question, &reply.body, UnixTime::now());
        self.group.ask(&errand, judge).await.map_err(|_| OcspError::TryLater)
    }

    /// The path and host of an issuer's tenant.
    fn place_of(&self, issuer: &Issuer) -> Option<(Arc<str>, Option<Arc<str>>)> {
        let site = self.sites.borrow();
        let tenant = site.tenants().iter().find(|tenant| &*tenant.name == issuer.id().tenant())?;
        Some(tenant.asked_at())
    }
}

/// What an upstream has sent, if it may leave as the answer to `request`.
fn taken(request: &SignRequest, question: &Question, body: &[u8], now: UnixTime) -> Result<Taken, Fault> {
    let mut issuers: Vec<&Arc<Issuer>> = Vec::new();
    let mut certificates: Vec<&Certificate> = Vec::new();
    for (issuer, _) in request.requested() {
        if !issuers.iter().any(|other| other.is(issuer)) {
            issuers.push(issuer);
            certificates.push(&issuer.certificate);
        }
    }
    let signer = Some(request.signer.certificate_der());
    let carried = request.signer.template().certificates();
    let rules = Rules { question, issuers: &certificates, signer, carried, may_lack_nonce: false };
    let statements = request.statements(now).map_err(Fault::of_error)?;
    let mut verified = match verify(body, &rules, now).map_err(Fault::Refuted)? {
        Ok(verified) => verified,
        // What is listed here is not known there yet; another one may know it.
        Err(OcspError::Unauthorized) => {
            let known = statements.first().map_or("unknown", |statement| word(&statement.status));
            return Err(Fault::Outdated { says: "unauthorized", known });
        }
        Err(error) => return Err(Fault::of_error(error)),
    };
    not_revoked(&verified, &issuers)?;
    if let Some((says, known)) = contradiction(&verified.statuses, &statements) {
        return Err(Fault::Outdated { says, known });
    }
    let next_update = verified.next_update.ok_or(Fault::Refuted(Objection::Unreadable("it has no nextUpdate")))?;
    let body = Bytes::from(std::mem::take(&mut verified.body));
    let times_until = |end| times(&issuers[0].policy, verified.signed_at, end, now);
    if next_update <= verified.verifiable_until
        && let Some(same) = rebuilt(request, &statements, times_until(next_update), &verified, &body, now)
    {
        return Ok(Taken { answer: same, signature: Some(verified.signature) });
    }
    let etag = Etag::of(request.signer.template(), &verified.signature);
    let times = times_until(next_update.min(verified.verifiable_until));
    let answer = Answer { statements, times, etag, body, tail: Vec::new() };
    Ok(Taken { answer, signature: None })
}

/// The same answer made from its values, which take less room than its bytes, if that is the same.
fn rebuilt(
    request: &SignRequest,
    statements: &[Statement],
    times: Times,
    verified: &Verified,
    body: &[u8],
    now: UnixTime,
) -> Option<Answer> {
    let is_for_everybody = request.key.is_some() && verified.is_by_signer;
    let carried = is_for_everybody.then(|| request.carried(statements).ok()).flatten()?;
    let unsigned = request.unsigned(statements.into(), times, carried);
    request.complete(&unsigned, &verified.signature, now).filter(|answer| *answer.body == *body)
}

/// A delegate whose own certificate is revoked here answers for nobody.
fn not_revoked(verified: &Verified, issuers: &[&Arc<Issuer>]) -> Result<(), Fault> {
    let Some(delegate) = verified.delegate.as_ref().filter(|_| !verified.is_by_signer) else { return Ok(()) };
    let is_revoked = |issuer: &&Arc<Issuer>| {
        let found = delegate.serial().and_then(|serial| issuer.find(&serial).ok().flatten());
        found.is_some_and(|found| matches!(found.status, Status::Revoked { .. }))
    };
    if !issuers.iter().any(is_revoked) {
        return Ok(());
    }
    Err(Fault::Refuted(Objection::revoked(delegate)))
}

/// What an answer says of a certificate, and what is known of it here, where that is something else.
fn contradiction(says: &[CertStatus], statements: &[Statement]) -> Option<(&'static str, &'static str)> {
    let mut all = says.iter().zip(statements).filter(|(says, known)| **says != known.status);
    all.next().map(|(says, known)| (word(says), word(&known.status)))
}

/// It is replaced when its signer would replace it; where that is over, in a moment.
fn times(policy: &Policy, signed_at: UnixTime, next_update: UnixTime, now: UnixTime) -> Times {
    let refresh_at = signed_at.after(policy.refresh_after(next_update.since(signed_at)));
    Times { signed_at, next_update, refresh_at: refresh_at.max(now.after(limits::REFUSAL_KEPT)).min(next_update) }
}
