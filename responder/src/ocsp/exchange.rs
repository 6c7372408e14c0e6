//! Every decision about what is answered to a request for the status of certificates.
//!
//! Purpose: decides a request from its DER, the records, and the present kept answers: whether its nonce counts,
//! whether its signature has to be valid, who signs, what is served from kept answers, what has to be signed, and for
//! whom. Invariant: everything that [`Exchange::decide`] serves passed [`answer::decide`](super::answer::decide), and
//! everything signed passes [`after_signing`] before it is written. It does no I/O and waits for nothing. Time is a
//! parameter: `now`, and `clock` to measure work for one client. Only where an issuer has several signers it asks their
//! pools, which takes a short lock, whether a key is away. It does not know HTTP, or how signatures are made.

use std::{cell::Cell, sync::Arc, time::Instant};

use precompute::{
    ocsp::{
        CertId, CertStatus, NoncePolicy, OcspError, SignedRequests,
        profile::{Kept, Statement},
    },
    pki::{Serial, UnixTime},
    sign::Algorithm,
    signers::OcspSigner,
};
use tracing::debug;

use super::{
    answer::{CertificateVerdict, decide},
    budget::{Budget, Spender},
    request::Request,
    sign_request::SignRequest,
    signed,
    store::{Answer, Store},
};
use crate::{
    site::{Issuer, Tenant},
    upstream::{
        forwarded::{self, Forwarded},
        question::{Asked, Question},
    },
};

/// The inputs of a decision about a request to a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'t> {
    /// The tenant.
    pub tenant: &'t Tenant,
    /// The present time.
    pub now: UnixTime,
    /// The kept answers.
    pub store: &'t Store,
    /// The thread's time for answers that only one client can use.
    pub budget: &'t Cell<Budget>,
    /// The clock that measures that time.
    pub clock: fn() -> Instant,
    /// Whether the client may have to wait: true if the output contains no responses that would wait, too.
    pub may_wait: bool,
}

/// The decision about a request.
#[derive(Debug)]
pub enum Decision<'t, 'd> {
    /// Answer with the unsigned error.
    Refuse(OcspError),
    /// Serve a kept answer.
    Serve {
        /// The certificate that it is about.
        inquiry: Inquiry<'t, 'd>,
        /// The answer.
        answer: KeptAnswer,
        /// Whether its replacement is due: [`Inquiry::sign_request`].
        is_due: bool,
    },
    /// Have an answer signed, and keep it.
    Sign(SignRequest),
    /// Have an answer signed for this client alone.
    SignOnce {
        /// What to sign.
        request: SignRequest,
        /// Whether the thread signs it itself, within its budget.
        on_budget: bool,
    },
    /// Another responder answers for the issuer.
    Forward(Forward<'t, 'd>),
    /// An answer has to be signed, which takes too long for the responses in the output: they are sent first, and then
    /// the request is decided again.
    OutputFirst,
}

/// A request for certificates of an issuer that another responder answers for.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'t, 'd> {
    /// The issuer.
    pub issuer: &'t Arc<Forwarded>,
    request: Request<'d>,
    nonce: Option<&'d [u8]>,
}

/// A requested certificate, and its signer.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'t, 'd> {
    /// Its issuer.
    pub issuer: &'t Arc<Issuer>,
    /// Its CertID.
    pub id: CertId<'d>,
    /// Its serial number.
    pub serial: Serial,
    /// The signer's place among the issuer's signers.
    pub place: u8,
    /// The signer.
    pub signer: &'t Arc<OcspSigner>,
}

/// A kept answer.
#[derive(Debug)]
pub enum KeptAnswer {
    /// Its values. The answer is rebuilt from them and its signature, which is packed in its buffer.
    Compact(Kept),
    /// The whole response.
    Whole(Arc<Answer>),
}

/// The subject of a request, as far as it is known: for counters and logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'t, 'd> {
    /// The issuer of the first certificate.
    pub issuer: Option<&'t Arc<Issuer>>,
    /// The same where another responder answers for it.
    pub forwarded: Option<&'t Arc<Forwarded>>,
    /// The certificate, if it is one.
    pub id: Option<CertId<'d>>,
}

impl About<'_, '_> {
    /// The certificate's serial number, if certificates can have it.
    pub fn serial(&self) -> Option<Serial> {
        self.id.and_then(|id| id.serial().ok())
    }
}

impl<'t> Exchange<'t> {
    /// Decides the request with this DER. `packed`: a buffer for a kept signature.
    pub fn decide<'d>(&self, der: &'d [u8], packed: &mut Vec<u8>) -> (About<'t, 'd>, Decision<'t, 'd>) {
        let mut about = About::default();
        let decision = self.decision(der, packed, &mut about);
        (about, decision.unwrap_or_else(Decision::Refuse))
    }

    fn decision<'d>(
        &self,
        der: &'d [u8],
        packed: &mut Vec<u8>,
        about: &mut About<'t, 'd>,
    ) -> Result<Decision<'t, 'd>, OcspError> {
        let request = Request::decode(der)?;
        let nonce = self.nonce(&request)?;
        self.check_signature(&request)?;
        if let Some(issuer) = self.forwarded(&request)? {
            *about = About { forwarded: Some(issuer), id: request.single().copied(), ..About::default() };
            return Ok(Decision::Forward(Forward { issuer, request, nonce }));
        }
        let (Some(id), None) = (request.single(), nonce) else {
            return self.for_one_client(&request, nonce, about);
        };
        let issuer = self.issuer(id)?;
        *about = About { issuer: Some(issuer), id: Some(*id), forwarded: None };
        self.for_everybody(issuer, *id, request.preferred.iter(), packed)
    }

    /// The nonce for the answer, RFC 9654.
    fn nonce<'d>(&self, request: &Request<'d>) -> Result<Option<&'d [u8]>, OcspError> {
        match self.tenant.policy.nonce {
            NoncePolicy::Ignore => Ok(None),
            NoncePolicy::Echo => Ok(request.nonce_to_echo()?),
            NoncePolicy::Require => Ok(Some(request.nonce_to_echo()?.ok_or(OcspError::MalformedRequest)?)),
        }
    }

    /// Checks that the request is signed as the tenant requires.
    fn check_signature(&self, request: &Request<'_>) -> Result<(), OcspError> {
        let policy = self.tenant.policy.signed_requests;
        if policy == SignedRequests::Ignore {
            return Ok(());
        }
        match request.signature()? {
            None if policy == SignedRequests::Require => Err(OcspError::SigRequired),
            None => Ok(()),
            Some(signature) => {
                let begin = self.may_spend()?;
                let verified = signed::verify(&signature, &self.tenant.request_anchors, self.now);
                let took = (self.clock)().saturating_duration_since(begin);
                Budget::spend_from(self.budget, Spender::of(self.tenant), took);
                verified.map_err(|refusal| {
                    debug!(tenant = &*self.tenant.name, %refusal, "a signed request is refused");
                    OcspError::Unauthorized
                })
            }
        }
    }

    /// The issuer that another responder answers for, if the request is about certificates of that alone.
    fn forwarded(&self, request: &Request<'_>) -> Result<Option<&'t Arc<Forwarded>>, OcspError> {
        if self.tenant.forwarded().is_empty() {
            return Ok(None);
        }
        let mut issuers = request.cert_ids().map(|id| self.tenant.forwarded_by(&id));
        let Some(first) = issuers.next().flatten() else { return Ok(None) };
        if request.count() > usize::from(self.tenant.policy.cert_ids_max) {
            return Err(OcspError::MalformedRequest);
        }
        // Serial numbers of no certificate get what they get everywhere.
        request.cert_ids().try_for_each(|id| id.serial().map(drop))?;
        // Nobody signs one answer for both.
        let all = issuers.all(|issuer| issuer.is_some_and(|issuer| Arc::ptr_eq(issuer, first)));
        if all { Ok(Some(first)) } else { Err(OcspError::Unauthorized) }
    }

    fn issuer(&self, id: &CertId<'_>) -> Result<&'t Arc<Issuer>, OcspError> {
        self.tenant.issuer(id).ok_or(OcspError::Unauthorized)
    }

    /// An answer for one certificate that anybody can use: a kept one, or a new one that will be kept.
    fn for_everybody<'d>(
        &self,
        issuer: &'t Arc<Issuer>,
        id: CertId<'d>,
        preferred: impl Iterator<Item = Algorithm> + Clone,
        packed: &mut Vec<u8>,
    ) -> Result<Decision<'t, 'd>, OcspError> {
        let (place, signer) = issuer.choose(self.now, preferred.clone())?;
        let mut inquiry = Inquiry { issuer, id, serial: id.serial()?, place, signer };
        if let Some(served) = self.kept(inquiry, packed)? {
            return Ok(served);
        }
        // Kept answers of the chosen signer are served even while its key is away.
        if let Some((place, signer)) = issuer.stand_in(place, self.now, preferred) {
            inquiry = Inquiry { place, signer, ..inquiry };
            if let Some(served) = self.kept(inquiry, packed)? {
                return Ok(served);
            }
        }
        if !inquiry.signer.signs_here() && !self.may_wait {
            return Ok(Decision::OutputFirst);
        }
        Ok(Decision::Sign(inquiry.sign_request()))
    }

    /// The kept answer, if it may be served.
    #[inline]
    fn kept<'d>(&self, inquiry: Inquiry<'t, 'd>, packed: &mut Vec<u8>) -> Result<Option<Decision<'t, 'd>>, OcspError> {
        let Inquiry { issuer, id, serial, place, signer } = inquiry;
        let found = issuer.find(&serial)?;
        let key = issuer.key(id.hash, place, &serial);
        let verdict = |kept: Option<&Kept>| decide(&issuer.policy, found, kept, issuer.told_until(), self.now);
        let compact = self.store.compact(&key, issuer.packed_length(signer), packed);
        let (answer, is_due) = match (verdict(compact.as_ref()), compact) {
            (CertificateVerdict::Refuse(error), _) => return Err(error),
            (CertificateVerdict::Serve { refresh }, Some(kept)) => (KeptAnswer::Compact(kept), refresh),
            _ => {
                let Some(whole) = self.store.whole(&key) else { return Ok(None) };
                match verdict(whole.kept().as_ref()) {
                    CertificateVerdict::Serve { refresh } => (KeptAnswer::Whole(whole), refresh),
                    _ => return Ok(None),
                }
            }
        };
        Ok(Some(Decision::Serve { inquiry, answer, is_due }))
    }

    /// An answer that only this client can use: with its nonce, or for several certificates.
    fn for_one_client<'d>(
        &self,
        request: &Request<'d>,
        nonce: Option<&[u8]>,
        about: &mut About<'t, 'd>,
    ) -> Result<Decision<'t, 'd>, OcspError> {
        if request.count() > usize::from(self.tenant.policy.cert_ids_max) {
            return Err(OcspError::MalformedRequest);
        }
        let ids = request.cert_ids().map(|id| Ok((self.issuer(&id)?, id)));
        let ids = ids.collect::<Result<Vec<_>, OcspError>>()?;
        let first = ids.first().ok_or(OcspError::MalformedRequest)?.0;
        *about = About { issuer: Some(first), id: request.single().copied(), forwarded: None };
        // One signature covers all of them.
        let signer = if ids.iter().all(|(issuer, _)| issuer.is(first)) {
            let (place, signer) = first.choose(self.now, request.preferred.iter())?;
            let stand_in = first.stand_in(place, self.now, request.preferred.iter());
            Arc::clone(stand_in.map_or(signer, |(_, other)| other))
        } else {
            let issuers = ids.iter().map(|(issuer, _)| &***issuer);
            Issuer::choose_for_all(issuers, self.now).ok_or(OcspError::Unauthorized)?
        };
        // On this thread, time is the bound; elsewhere a separate queue is.
        let on_budget = signer.signs_here();
        if on_budget {
            self.may_spend()?;
        } else if !self.may_wait {
            return Ok(Decision::OutputFirst);
        }
        Ok(Decision::SignOnce { request: SignRequest::once(signer, ids.into_iter(), nonce), on_budget })
    }

    /// The time when work for this client alone begins; `tryLater` if the thread has spent its budget.
    fn may_spend(&self) -> Result<Instant, OcspError> {
        let begin = (self.clock)();
        if Budget::allowed_by(self.budget, Spender::of(self.tenant), begin) {
            Ok(begin)
        } else {
            Err(OcspError::TryLater)
        }
    }
}

impl Forward<'_, '_> {
    /// The answer that is kept, or the refusal.
    pub fn kept(&self, now: UnixTime) -> Option<forwarded::Outcome> {
        let id = self.request.single().filter(|_| self.nonce.is_none())?;
        self.issuer.kept(id.hash, id.serial().ok()?, now)
    }

    /// What to ask upstreams.
    pub fn question(&self) -> Question {
        Question {
            ids: self.request.cert_ids().map(|id| Asked::from(&id)).collect(),
            nonce: self.nonce.map(Into::into),
        }
    }
}

impl Inquiry<'_, '_> {
    /// The request for a signature of its answer.
    pub fn sign_request(&self) -> SignRequest {
        SignRequest::one(self.issuer, (self.place, self.signer), &self.id)
    }
}

/// The decision about an answer that was signed for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterSigning {
    /// It is given.
    Serve,
    /// Its statement has changed since: sign again.
    SignAgain,
    /// After a change, nothing may be signed about it any more.
    Refuse(OcspError),
}

/// Checks a signed answer against the records as of `now`, immediately before it is written.
pub fn after_signing(request: &SignRequest, answer: &Answer, now: UnixTime) -> AfterSigning {
    match request.statements(now) {
        Ok(statements) if answer.says(&statements, now) => AfterSigning::Serve,
        Ok(_) => AfterSigning::SignAgain,
        Err(error) => AfterSigning::Refuse(error),
    }
}

/// Whether a date can confirm a copy of an answer. It names a second, within which a certificate can be good and then
/// revoked, and replicas differ. So a date only confirms *good*, if at all. It also confirms nothing while a signer is
/// revoked and another one replaces it: both may have signed in that second.
pub fn dated(issuer: &Issuer, statement: &Statement) -> bool {
    statement.status == CertStatus::Good && !issuer.signers.some_revoked()
}

#[cfg(test)]
mod tests;
