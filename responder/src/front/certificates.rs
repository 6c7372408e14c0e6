//! Status of certificates over HTTP, RFC 6960 appendix A: from one framed request to one response in the output.
//!
//! A hit goes through without waiting for anything and without allocating. Every signed answer, fresh or
//! kept, is held against the records immediately before it is written.

mod reply;

use std::{cell::Cell, pin::pin, sync::Arc, time::Instant};

use monoio::time::timeout;
use precompute::{
    ocsp::{CertId, NoncePolicy, OcspError, SignedRequests},
    pki::{Serial, UnixTime},
    signers::OcspSigner,
};
use tracing::debug;

use super::{respond::Responded, route::Refusal};
use crate::{
    access::{self, Line},
    limits,
    metrics::{Requests, Result as Counted},
    net::{
        client::Client,
        http::{Head, Method, response},
        worker::{Scratch, Worker},
    },
    ocsp::{
        answer::{Verdict, decide},
        get,
        miss::{Miss, Outcome},
        request::{PreferredAlgorithms, Request},
        sign_request::SignRequest,
        signed,
    },
    site::{Issuer, Tenant},
};

/// What a request asks for.
enum Asked<'a, 'd> {
    /// An answer that can be kept, who signs it, and how the client would like it to be signed.
    One(&'a Arc<Issuer>, CertId<'d>, (u8, &'a Arc<OcspSigner>), PreferredAlgorithms<'d>),
    /// An answer for this client alone.
    Once(SignRequest),
}

/// An issuer of the tenant, and one certificate of it.
type About<'a> = (Option<&'a Arc<Issuer>>, Option<Serial>);

/// One request to one tenant. Its steps give `None` where the output has to leave first.
pub(crate) struct Exchange<'a> {
    worker: &'a Worker,
    client: &'a Client,
    tenant: &'a Tenant,
    head: &'a Head<'a>,
    /// What its header section is refused with.
    refusal: Option<&'static Refusal>,
    keep_alive: bool,
    may_wait: bool,
    /// Where it is counted: with the issuer once that is known.
    requests: Cell<&'a Requests>,
    /// What the access log is told, where it is: the issuer, and the certificate where it is one.
    told: Cell<Option<About<'a>>>,
}

impl<'a> Exchange<'a> {
    /// One that its header section refuses, or nothing yet.
    pub(crate) fn new(
        worker: &'a Worker,
        client: &'a Client,
        tenant: &'a Tenant,
        head: &'a Head<'a>,
        refusal: Option<&'static Refusal>,
        keep_alive: bool,
        may_wait: bool,
    ) -> Self {
        let requests = Cell::new(&*tenant.requests);
        let told = Cell::new(worker.access.draws().then_some((None, None)));
        Self { worker, client, tenant, head, refusal, keep_alive, may_wait, requests, told }
    }

    /// Writes the response. `rest` is what follows the tenant's path, `method` a place in [`crate::metrics::METHODS`].
    pub(crate) async fn run(
        &self,
        rest: &[u8],
        method: usize,
        body: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Responded {
        self.worker.turns.note_others();
        let before = out.len();
        let Some(result) = self.answer(rest, body, scratch, out).await else { return Responded::OutputFirst };
        self.requests.get().count(self.worker.number, method, result);
        if let Some((issuer, serial)) = self.told.get() {
            let (client, tenant) = (self.client.address(), Arc::clone(&self.tenant.name));
            let about = access::About::Certificates { issuer: issuer.map(Arc::clone), serial, result };
            self.worker.tell(Line { client, tenant, about, method: Some(method), octets: out.len() - before });
        }
        if result == Counted::Signed { Responded::Signed } else { Responded::Kept }
    }

    async fn answer(&self, rest: &[u8], body: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<Counted> {
        let Scratch { symbols, der, packed, signature } = scratch;
        if let Some(refusal) = self.refusal {
            response::refusal(out, refusal, &self.context(UnixTime::now()));
            return Some(Counted::Refused);
        }
        let der = if self.head.method == Method::Post {
            body
        } else if rest.iter().all(|&b| b == b'/') {
            return Some(self.page(out));
        } else {
            match get::decode(rest, symbols, der) {
                Ok(()) => &der[..],
                Err(error) => return Some(self.error(error.into(), out)),
            }
        };
        let now = UnixTime::now();
        let answered = match self.read(der, now) {
            Ok(Asked::One(issuer, id, mut signer, preferred)) => {
                let mut hit = |signer| self.hit(issuer, &id, signer, now, packed, signature, out);
                let mut answered = hit(signer);
                // What was signed by whoever is chosen is served also while its key is away.
                if answered.is_none()
                    && let Some(other) = issuer.stand_in(signer.0, now, preferred.iter())
                {
                    signer = other;
                    answered = hit(signer);
                }
                match answered {
                    Some(answered) => answered,
                    None => self.sign(|| SignRequest::one(issuer, signer, &id), out).await?,
                }
            }
            Ok(Asked::Once(wish)) => self.sign_once(&wish, out).await?,
            Err(error) => Err(error),
        };
        Some(answered.unwrap_or_else(|error| self.error(error, out)))
    }

    /// What is asked for, or why it is not answered.
    fn read<'d>(&self, der: &'d [u8], now: UnixTime) -> Result<Asked<'a, 'd>, OcspError> {
        let policy = &self.tenant.policy;
        let request = Request::decode(der)?;
        let nonce = match policy.nonce {
            NoncePolicy::Ignore => None,
            NoncePolicy::Echo => request.nonce_to_echo()?,
            NoncePolicy::Require => Some(request.nonce_to_echo()?.ok_or(OcspError::MalformedRequest)?),
        };
        if policy.signed_requests != SignedRequests::Ignore {
            self.check_signature(&request, now)?;
        }
        let issuer_of = |id: &CertId<'_>| self.tenant.issuer(id).ok_or(OcspError::Unauthorized);
        if let (Some(id), None) = (request.single(), nonce) {
            let issuer = issuer_of(id)?;
            self.asked_for(issuer, Some(id));
            let signer = issuer.choose(now, request.preferred.iter())?;
            return Ok(Asked::One(issuer, *id, signer, request.preferred));
        }
        if request.count() > usize::from(policy.cert_ids_max) {
            return Err(OcspError::MalformedRequest);
        }
        let ids = request.cert_ids().map(|id| Ok((issuer_of(&id)?, id))).collect::<Result<Vec<_>, OcspError>>()?;
        let first = ids.first().ok_or(OcspError::MalformedRequest)?.0;
        self.asked_for(first, request.single());
        // One signature speaks for all of them.
        let signer = if ids.iter().all(|(issuer, _)| issuer.is(first)) {
            let (place, signer) = first.choose(now, request.preferred.iter())?;
            Arc::clone(first.stand_in(place, now, request.preferred.iter()).map_or(signer, |(_, other)| other))
        } else {
            Issuer::choose_for_all(ids.iter().map(|(issuer, _)| &***issuer), now).ok_or(OcspError::Unauthorized)?
        };
        Ok(Asked::Once(SignRequest::once(signer, ids.into_iter(), nonce)))
    }

    /// Notes whom the request is about.
    fn asked_for(&self, issuer: &'a Arc<Issuer>, id: Option<&CertId<'_>>) {
        self.requests.set(&issuer.requests);
        if self.told.get().is_some() {
            self.told.set(Some((Some(issuer), id.and_then(|id| id.serial().ok()))));
        }
    }

    /// What needs no signature; `None` if one is needed.
    #[allow(clippy::too_many_arguments)]
    fn hit(
        &self,
        issuer: &Arc<Issuer>,
        id: &CertId<'_>,
        (place, signer): (u8, &Arc<OcspSigner>),
        now: UnixTime,
        packed: &mut Vec<u8>,
        signature: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<Result<Counted, OcspError>> {
        let misses = &self.worker.misses;
        let serial = match id.serial() {
            Ok(serial) => serial,
            Err(error) => return Some(Err(error)),
        };
        let found = issuer.state.records.get(&serial);
        let key = issuer.key(id.hash, place, &serial);
        let packing = signer.packing();
        let compact = misses.store().compact(&key, packing, packed);
        let (counted, refresh) =
            match (decide(&issuer.policy, found, compact.as_ref(), issuer.told_until(), now), &compact) {
                (Verdict::Refuse(error), _) => return Some(Err(error)),
                (Verdict::Serve { refresh }, Some(kept)) => {
                    packing.unpack(packed, signature);
                    (self.assemble(issuer, id, signer, kept, signature, now, out), refresh)
                }
                _ => {
                    let whole = misses.store().whole(&key)?;
                    match decide(&issuer.policy, found, whole.kept().as_ref(), issuer.told_until(), now) {
                        Verdict::Serve { refresh } => {
                            (self.write(Some((issuer, *id)), &whole, Counted::Hit, now, out), refresh)
                        }
                        _ => return None,
                    }
                }
            };
        if refresh {
            misses.refresh(SignRequest::one(issuer, (place, signer), id));
        }
        Some(Ok(counted))
    }

    /// Has an answer signed that is kept then, and writes it. What is written says what the records say at that moment.
    async fn sign(&self, wish: impl Fn() -> SignRequest, out: &mut Vec<u8>) -> Option<Result<Counted, OcspError>> {
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let wish = wish();
            let answer = match self.signed(wish.clone()).await? {
                Ok(answer) => answer,
                Err(error) => return Some(Err(error)),
            };
            let now = UnixTime::now();
            match wish.statements(now) {
                Ok(statements) if answer.says(&statements, now) => {
                    return Some(Ok(self.write(wish.only(), &answer, Counted::Signed, now, out)));
                }
                // It changed between its signature and this look.
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Err(OcspError::TryLater))
    }

    /// Has an answer signed for this client alone. Where this thread signs itself, that is bounded in time; elsewhere by
    /// a queue of its own.
    async fn sign_once(&self, wish: &SignRequest, out: &mut Vec<u8>) -> Option<Result<Counted, OcspError>> {
        if !wish.signer.signing().signs_here() {
            return self.sign(|| wish.clone(), out).await;
        }
        let begin = match self.may_spend() {
            Ok(begin) => begin,
            Err(error) => return Some(Err(error)),
        };
        let signed = self.sign(|| wish.clone(), out).await;
        self.spent(begin);
        signed
    }

    /// Has an answer signed; `None` where that would keep the output waiting.
    async fn signed(&self, wish: SignRequest) -> Option<Outcome> {
        if !wish.signer.signing().signs_here() && !self.may_wait {
            return None;
        }
        Some(match self.worker.misses.answer(wish) {
            Miss::Ended(outcome) => outcome,
            Miss::Waiting(receiver) => match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
                Ok(Ok(outcome)) => outcome,
                // The signer is too slow, or gone.
                Ok(Err(_)) | Err(_) => Err(OcspError::TryLater),
            },
        })
    }

    fn check_signature(&self, request: &Request<'_>, now: UnixTime) -> Result<(), OcspError> {
        let required = self.tenant.policy.signed_requests == SignedRequests::Require;
        match request.signature()? {
            None if required => Err(OcspError::SigRequired),
            None => Ok(()),
            Some(signature) => {
                let begin = self.may_spend()?;
                let verified = signed::verify(&signature, &self.tenant.request_anchors, now);
                self.spent(begin);
                verified.map_err(|refusal| {
                    debug!(tenant = &*self.tenant.name, %refusal, "a signed request is refused");
                    OcspError::Unauthorized
                })
            }
        }
    }

    /// When work begins that serves this client alone; `tryLater` where this thread has spent its time for such.
    fn may_spend(&self) -> Result<Instant, OcspError> {
        let (begin, mut budget) = (Instant::now(), self.worker.budget.get());
        let allowed = budget.allows(begin);
        self.worker.budget.set(budget);
        if allowed { Ok(begin) } else { Err(OcspError::TryLater) }
    }

    fn spent(&self, begin: Instant) {
        let mut budget = self.worker.budget.get();
        budget.spend(begin.elapsed());
        self.worker.budget.set(budget);
    }
}

const _: () = assert!(limits::SIGN_ATTEMPTS_MAX >= 2, "an answer that was signed leaves in the second round");
