//! From one framed request to one response in the output.
//!
//! A hit goes through without waiting for anything and without allocating. Every signed answer, fresh or
//! kept, is held against the records immediately before it is written. And nothing is written behind what it would keep waiting:
//! where an answer has to wait for its signature while others stand in the output, those leave first.

use std::{
    cell::Cell,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Instant, SystemTime},
};

use monoio::time::timeout;
use precompute::{
    config::{NoncePolicy, SignedRequests},
    ocsp::{
        CertId, CertStatus, Content, OcspError,
        profile::{Kept, Statement, single},
    },
    pki::{Serial, UnixTime},
    sign::OcspSigner,
};
use tracing::debug;

use super::{
    client::Client,
    head::{self, Context, Fields, Surrogate},
    http::{Head, Method, none_match_names},
    route::{Refusal, Route},
    stamp,
    worker::{Scratch, Worker},
};
use crate::{
    access::{self, Line},
    limits,
    metrics::{Requests, Result as Counted},
    ocsp::{
        answer::{Verdict, decide},
        get,
        miss::{Miss, Outcome},
        request::{PreferredAlgorithms, Request},
        signed,
        store::{Answer, Etag},
        wish::Wish,
    },
    site::{Issuer, Tenant},
};

/// Whether a request was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Responded {
    /// The response is in the output, from what there was.
    Kept,
    /// And it was signed for it.
    Signed,
    /// Nothing was written: what stands in the output has to leave first.
    OutputFirst,
}

/// Whether a request is refused whatever its body says; [`respond`] then wants none.
pub fn is_refused(worker: &Worker, head: &Head<'_>) -> bool {
    Route::of(&worker.site(), head).refusal().is_some()
}

/// Writes the response to one request.
pub async fn respond(
    worker: &Worker,
    client: &Client,
    head: &Head<'_>,
    body: &[u8],
    keep_alive: bool,
    out: &mut Vec<u8>,
) -> Responded {
    let context = || context(worker, head, keep_alive, UnixTime::now());
    let site = worker.site();
    let (tenant, rest, method, refusal) = match Route::of(&site, head) {
        Route::TimeStamps(tenant, under, refusal) => {
            let mut scratch = worker.stamp_scratch.take();
            let (context, may_wait) = (context(), out.is_empty());
            let exchange = stamp::Exchange { worker, client, tenant, under, head, refusal, context, may_wait };
            let responded = exchange.run(body, &mut scratch, out).await;
            worker.stamp_scratch.replace(scratch);
            return responded;
        }
        Route::Certificates { tenant, rest, method, refusal } => (tenant, rest, method, refusal),
        Route::Nobody(refusal) => {
            worker.counters.http_refused.fetch_add(1, Relaxed);
            head::refusal(out, refusal, &context());
            return Responded::Kept;
        }
    };
    worker.turns.note_others();
    let mut scratch = worker.scratch.take();
    let exchange = Exchange {
        worker,
        tenant,
        head,
        refusal,
        keep_alive,
        may_wait: out.is_empty(),
        requests: Cell::new(&tenant.requests),
        told: Cell::new(worker.access.draws().then_some((None, None))),
    };
    let before = out.len();
    let counted = exchange.run(rest, body, &mut scratch, out).await;
    worker.scratch.replace(scratch);
    match counted {
        Some(result) => {
            exchange.requests.get().count(worker.number, method, result);
            if let Some((issuer, serial)) = exchange.told.get() {
                let (client, tenant) = (client.address(), Arc::clone(&tenant.name));
                let issuer = issuer.map(Arc::clone);
                let about = access::About::Certificates { issuer, serial, result };
                let octets = out.len() - before;
                worker.tell(Line { client, tenant, about, method: Some(method), octets });
            }
            if result == Counted::Signed { Responded::Signed } else { Responded::Kept }
        }
        None => Responded::OutputFirst,
    }
}

fn context(worker: &Worker, head: &Head<'_>, keep_alive: bool, now: UnixTime) -> Context {
    let head_only = head.method == Method::Head;
    Context { date: worker.date(now), keep_alive, http_1_0: head.http_1_0, head_only }
}

/// What a request asks for.
enum Asked<'a, 'd> {
    /// An answer that can be kept, who signs it, and how the client would like it to be signed.
    One(&'a Arc<Issuer>, CertId<'d>, (u8, &'a Arc<OcspSigner>), PreferredAlgorithms<'d>),
    /// An answer for this client alone.
    Once(Wish),
}

fn surrogate<'s>(issuer: &'s Issuer, serial: Option<&'s Serial>) -> Option<Surrogate<'s>> {
    let serial = serial.filter(|_| issuer.policy.surrogate_keys)?;
    Some(Surrogate { issuer: issuer.surrogate(), serial })
}

/// An issuer of the tenant, and one certificate of it.
type About<'a> = (Option<&'a Arc<Issuer>>, Option<Serial>);

/// One request to one tenant. Its steps give `None` where the output has to leave first.
struct Exchange<'a> {
    worker: &'a Worker,
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
    async fn run(&self, rest: &[u8], body: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<Counted> {
        let Scratch { symbols, der, packed, signature } = scratch;
        if let Some(refusal) = self.refusal {
            head::refusal(out, refusal, &self.context(UnixTime::now()));
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
                    None => self.sign(|| Wish::one(issuer, signer, &id), out).await?,
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
            NoncePolicy::Echo => request.nonce_to_echo(),
            NoncePolicy::Require => Some(request.nonce_to_echo().ok_or(OcspError::MalformedRequest)?),
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
        Ok(Asked::Once(Wish::once(signer, ids.into_iter(), nonce)))
    }

    /// Notes whom the request is about.
    fn asked_for(&self, issuer: &'a Arc<Issuer>, id: Option<&CertId<'_>>) {
        self.requests.set(&issuer.requests);
        if self.told.get().is_some() {
            self.told.set(Some((Some(issuer), id.and_then(CertId::serial))));
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
        let serial = id.serial();
        let found = serial.as_ref().and_then(|serial| issuer.state.records.get(serial));
        let key = serial.as_ref().map(|serial| issuer.key(id.hash, place, serial));
        let packing = signer.packing();
        let compact = key.as_ref().and_then(|key| misses.store().compact(key, packing, packed));
        let (counted, refresh) = match (decide(&issuer.policy, found, compact.as_ref(), now), &compact) {
            (Verdict::Refuse(error), _) => return Some(Err(error)),
            (Verdict::Serve { refresh }, Some(kept)) => {
                packing.unpack(packed, signature);
                (self.assemble(issuer, id, signer, kept, signature, now, out), refresh)
            }
            _ => {
                let whole = misses.store().whole(key.as_ref()?)?;
                match decide(&issuer.policy, found, whole.kept().as_ref(), now) {
                    Verdict::Serve { refresh } => {
                        (self.write(Some((issuer, *id)), &whole, Counted::Hit, now, out), refresh)
                    }
                    _ => return None,
                }
            }
        };
        if refresh {
            misses.refresh(Wish::one(issuer, (place, signer), id));
        }
        Some(Ok(counted))
    }

    /// Has an answer signed that is kept then, and writes it. What is written says what the records say at that moment.
    async fn sign(&self, wish: impl Fn() -> Wish, out: &mut Vec<u8>) -> Option<Result<Counted, OcspError>> {
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
    async fn sign_once(&self, wish: &Wish, out: &mut Vec<u8>) -> Option<Result<Counted, OcspError>> {
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
    async fn signed(&self, wish: Wish) -> Option<Outcome> {
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

    fn context(&self, now: UnixTime) -> Context {
        context(self.worker, self.head, self.keep_alive, now)
    }

    /// Writes a kept answer anew from its values, around its signature.
    #[allow(clippy::too_many_arguments)]
    fn assemble(
        &self,
        issuer: &Issuer,
        id: &CertId<'_>,
        signer: &OcspSigner,
        kept: &Kept,
        signature: &[u8],
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> Counted {
        let Kept { statement, times } = kept;
        let template = signer.template();
        let single = single(*id, &issuer.policy, issuer.not_before, statement, times);
        let content = Content {
            produced_at: times.this_update,
            singles: &[single],
            extended_revoke: statement.extended_revoke,
            nonce: None,
        };
        let layout = template.lay_out(&content, signature.len());
        let etag = Etag::of(template, signature);
        let serial = id.serial();
        let good = statement.status == CertStatus::Good;
        let fields = Fields { times, etag: &etag, good, surrogate: surrogate(issuer, serial.as_ref()) };
        self.write_kept(&fields, Counted::Hit, layout.length(), now, out, |out| layout.write(out, signature))
    }

    /// Writes an answer that is there whole. One for a single certificate may be kept by caches, if what it says may.
    fn write(
        &self,
        only: Option<(&Arc<Issuer>, CertId<'_>)>,
        answer: &Answer,
        counted: Counted,
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> Counted {
        let Answer { statements, times, etag, body } = answer;
        if let Some((issuer, id)) = only
            && statements.iter().all(Statement::may_be_kept)
        {
            let serial = id.serial();
            let good = statements.iter().all(|statement| statement.status == CertStatus::Good);
            let fields = Fields { times, etag, good, surrogate: surrogate(issuer, serial.as_ref()) };
            return self.write_kept(&fields, counted, body.len(), now, out, |out| out.extend_from_slice(body));
        }
        head::unkept(out, "application/ocsp-response", body.len(), &self.context(now));
        if self.head.method != Method::Head {
            out.extend_from_slice(body);
        }
        counted
    }

    /// Writes an answer that caches may keep, or that the client's copy of it is good.
    fn write_kept(
        &self,
        fields: &Fields<'_>,
        counted: Counted,
        length: usize,
        now: UnixTime,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Counted {
        let context = self.context(now);
        // Caches take no POST; a condition on it means nothing (RFC 9110 section 13).
        if self.is_current(fields) {
            head::not_modified(out, fields, now, &context);
            return Counted::NotModified;
        }
        head::answer(out, fields, length, now, &context);
        if !context.head_only {
            body(out);
        }
        counted
    }

    /// Whether the client's copy is this answer.
    fn is_current(&self, fields: &Fields<'_>) -> bool {
        if self.head.method == Method::Post {
            return false;
        }
        if let Some(field) = self.head.if_none_match {
            // RFC 9110 section 13.1.3: then If-Modified-Since does not count.
            return none_match_names(field, fields.etag.text());
        }
        // A date names a second, in which a certificate can be good and revoked, and replicas differ; so it never
        // vouches for the copy of an answer other than *good*, and only for one of that very second: what is fresh
        // must not be said of a *good* that has been overtaken.
        let since = self.head.if_modified_since.and_then(|field| std::str::from_utf8(field).ok());
        let since = since.and_then(|field| httpdate::parse_http_date(field).ok());
        fields.good && since == Some(SystemTime::from(fields.times.this_update))
    }

    fn error(&self, error: OcspError, out: &mut Vec<u8>) -> Counted {
        let unavailable = error == OcspError::InternalError && self.tenant.policy.internal_error_503;
        head::ocsp_error(out, error, unavailable, &self.context(UnixTime::now()));
        error.into()
    }

    fn page(&self, out: &mut Vec<u8>) -> Counted {
        head::text(out, "200 OK", "", &self.tenant.page, &self.context(UnixTime::now()));
        Counted::Page
    }
}

const _: () = assert!(limits::SIGN_ATTEMPTS_MAX >= 2, "an answer that was signed leaves in the second round");
