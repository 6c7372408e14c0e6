//! Status of certificates over HTTP, RFC 6960 appendix A: from one framed request to one response in the output.
//!
//! Invariant: a hit waits for nothing and allocates nothing. It does not know how an answer is decided.

use std::{
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use monoio::time::timeout;
use precompute::{
    ocsp::{CertStatus, OcspError},
    pki::{Serial, UnixTime},
};

use super::{quota::Quota, reply::Reply, route::CertificatesRoute};
use crate::{
    access::{self, Line},
    desk::{CertificateBuffers, Desk},
    limits,
    metrics::RequestResult,
    net::{
        http::{Method, status_written},
        service::{Request, Responded},
    },
    ocsp::{
        budget::{Budget, Spender},
        exchange::{AfterSigning, Decision, Exchange, KeptAnswer, after_signing},
        get,
        miss::{Miss, Outcome},
        sign_request::SignRequest,
        store::Answer,
        transactions::{self, Named, Recorder, Transaction},
    },
    site::Issuer,
    upstream::{
        forwarded::{Asked, Forwarded},
        question::Question,
    },
};

/// What remains after everything that could be done at once.
enum Next {
    /// Nothing: the response is written, and counted as this result.
    Count(RequestResult),
    /// An answer has to be signed and then written.
    Sign { request: SignRequest, on_budget: bool },
    /// An upstream has to be asked.
    Forward(Question),
    /// The output has to be sent first.
    OutputFirst,
}

/// What is known about a request after its bytes are gone. Beside the issuer that is gathered only if it is told.
#[derive(Clone, Copy, Default)]
struct Known<'t> {
    issuer: Option<&'t Arc<Issuer>>,
    /// The same where another responder answers for it.
    forwarded: Option<&'t Arc<Forwarded>>,
    /// If it is about one certificate.
    serial: Option<Serial>,
    /// What a kept answer says, or that of another responder.
    status: Option<CertStatus>,
}

/// Writes the response.
pub(super) async fn respond(
    desk: &Desk,
    route: &CertificatesRoute<'_, '_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Responded {
    desk.turns.note_others();
    let (before, is_logged) = (out.len(), desk.access.draws());
    let is_told = is_logged || desk.transactions.is_some();
    let begun = is_told.then(Instant::now);
    let reply = Reply { request, policy: &route.tenant.policy };
    let (mut known, next) = at_once(desk, route, reply, is_told, out);
    let (Known { issuer, forwarded, serial, .. }, mut signing) = (known, None);
    let result = match next {
        Next::Count(result) => result,
        Next::Sign { request, on_budget } => {
            let begin = on_budget.then(Instant::now);
            let mut answer = None;
            let quota = Quota::of(route.tenant);
            let signed = sign(desk, reply, (&request, &quota), &mut answer, out).await;
            if let Some(begin) = begin {
                Budget::spend_from(&desk.budget, Spender::of(route.tenant), begin.elapsed());
            }
            signing = is_told.then_some((request, answer));
            signed.unwrap_or_else(|error| {
                let result = reply.error(error, out);
                if quota.is_used_up() { RequestResult::OverQuota } else { result }
            })
        }
        Next::Forward(question) => match forwarded {
            Some(issuer) => {
                let (result, status) = forward(issuer, reply, question, out).await;
                known.status = status;
                result
            }
            None => reply.error(OcspError::InternalError, out),
        },
        Next::OutputFirst => return Responded::OutputFirst,
    };
    let tenant = route.tenant;
    let requests = forwarded.map_or(&tenant.requests, |issuer| &issuer.requests);
    issuer.map_or(requests, |issuer| &issuer.requests).count(desk.number, route.method, result);
    if let Some(begun) = begun {
        let (client, took) = (request.client.address(), begun.elapsed());
        if let Some(recorder) = &desk.transactions {
            let told = Told { client, tenant: &tenant.name, result, took };
            told.record(recorder, &known, signing.as_ref());
        }
        if is_logged {
            let (issuer, forwarded) = (issuer.map(Arc::clone), forwarded.map(Arc::clone));
            let about = access::About::Certificates { issuer, forwarded, serial, result };
            let (tenant, method, octets) = (Arc::clone(&tenant.name), Some(route.method), out.len() - before);
            let (path, status) = (access::path(request.head.path), status_written(&out[before..]));
            desk.tell(Line { client, tenant, about, method, path, status, octets, took });
        }
    }
    if result == RequestResult::Signed { Responded::Signed } else { Responded::Kept }
}

/// Does everything that needs no waiting.
fn at_once<'t>(
    desk: &'t Desk,
    route: &CertificatesRoute<'t, '_>,
    reply: Reply<'_>,
    is_told: bool,
    out: &mut Vec<u8>,
) -> (Known<'t>, Next) {
    let unknown = Known::default();
    if let Some(refusal) = route.refusal {
        return (unknown, Next::Count(reply.refuse(refusal, out)));
    }
    let CertificateBuffers { symbols, der, packed, signature } = &mut *desk.certificate_buffers.borrow_mut();
    let der = if reply.request.head.method == Method::Post {
        reply.request.body
    } else if route.rest.iter().all(|&b| b == b'/') {
        return (unknown, Next::Count(reply.page(&route.tenant.page, out)));
    } else {
        match get::decode(route.rest, symbols, der) {
            Ok(()) => &der[..],
            Err(error) => return (unknown, Next::Count(reply.error(error.into(), out))),
        }
    };
    let now = UnixTime::now();
    let exchange = Exchange {
        tenant: route.tenant,
        now,
        store: desk.misses.store(),
        budget: &desk.budget,
        clock: Instant::now,
        may_wait: out.is_empty(),
    };
    let (about, decision) = exchange.decide(der, packed);
    let mut known = Known { issuer: about.issuer, forwarded: about.forwarded, ..unknown };
    if is_told {
        known.serial = about.serial();
        known.status = kept_status(&decision);
    }
    let next = match decision {
        Decision::Refuse(error) => Next::Count(reply.error(error, out)),
        Decision::Serve { inquiry, answer, is_due } => {
            let result = match answer {
                KeptAnswer::Compact(kept) => {
                    let packing = inquiry.signer.packing();
                    packing.unpack(packed, signature);
                    let tail = packed.get(packing.length()..).unwrap_or_default();
                    reply.assemble(&inquiry, &kept, (signature, tail), now, out)
                }
                KeptAnswer::Whole(answer) => {
                    reply.whole(Some((inquiry.issuer, inquiry.id)), &answer, RequestResult::Hit, now, out)
                }
            };
            if is_due {
                desk.misses.refresh(inquiry.sign_request());
            }
            Next::Count(result)
        }
        Decision::Sign(request) => Next::Sign { request, on_budget: false },
        Decision::SignOnce { request, on_budget } => Next::Sign { request, on_budget },
        Decision::Forward(asked) => match asked.kept(now) {
            Some(outcome) => {
                known.status = outcome.as_ref().ok().map(|answer| answer.status);
                Next::Count(reply.forwarded(outcome, RequestResult::Hit, now, out))
            }
            None if !out.is_empty() => Next::OutputFirst,
            None => Next::Forward(asked.question()),
        },
        Decision::OutputFirst => Next::OutputFirst,
    };
    (known, next)
}

/// What a kept answer says, if one is served.
fn kept_status(decision: &Decision<'_, '_>) -> Option<CertStatus> {
    match decision {
        Decision::Serve { answer: KeptAnswer::Compact(kept), .. } => Some(kept.statement.status),
        Decision::Serve { answer: KeptAnswer::Whole(answer), .. } => Some(answer.kept()?.statement.status),
        _ => None,
    }
}

/// A request that was answered, for the record of transactions.
struct Told<'t> {
    client: IpAddr,
    tenant: &'t Arc<str>,
    result: RequestResult,
    took: Duration,
}

impl Told<'_> {
    /// Records each certificate that was asked for. `signing`: what was to be signed, and the answer that was served.
    fn record(&self, recorder: &Recorder, known: &Known<'_>, signing: Option<&(SignRequest, Option<Arc<Answer>>)>) {
        let Some((request, answer)) = signing else {
            // A page for people is no transaction.
            if self.result != RequestResult::Page {
                let Known { issuer, forwarded, serial, status } = *known;
                let here = issuer.map(|issuer| Named::Here(Arc::clone(issuer)));
                let issuer = here.or_else(|| forwarded.map(|issuer| Named::Elsewhere(Arc::clone(issuer))));
                self.record_one(recorder, transactions::Asked { issuer, serial, status: serial.and(status) });
            }
            return;
        };
        for (place, (issuer, serial)) in request.asked().enumerate() {
            let statement = answer.as_ref().and_then(|answer| answer.statements.get(place));
            let issuer = Some(Named::Here(Arc::clone(issuer)));
            let status = statement.map(|statement| statement.status);
            self.record_one(recorder, transactions::Asked { issuer, serial, status });
        }
    }

    fn record_one(&self, recorder: &Recorder, asked: transactions::Asked) {
        let Self { client, tenant, result, took } = *self;
        let (unix_nanos, tenant) = (transactions::now(), Arc::clone(tenant));
        // What finds no room is counted by the record.
        recorder.record(Transaction { unix_nanos, client, tenant, asked, result: result.label(), took });
    }
}

/// Has an answer signed, and writes it. It says what the records say at the moment of writing. `served`: gets it.
async fn sign(
    desk: &Desk,
    reply: Reply<'_>,
    (request, quota): (&SignRequest, &Quota<'_>),
    served: &mut Option<Arc<Answer>>,
    out: &mut Vec<u8>,
) -> Result<RequestResult, OcspError> {
    for _ in 0..limits::SIGN_ATTEMPTS_MAX {
        let answer = signed(desk, request.clone(), quota).await?;
        let now = UnixTime::now();
        match after_signing(request, &answer, now) {
            AfterSigning::Serve => {
                let is_here = request.signer.signing().is_some() || desk.misses.edge().is_none();
                let counted = if is_here { RequestResult::Signed } else { RequestResult::Forwarded };
                let result = reply.whole(request.only(), &answer, counted, now, out);
                *served = Some(answer);
                return Ok(result);
            }
            AfterSigning::SignAgain => {}
            AfterSigning::Refuse(error) => return Err(error),
        }
    }
    Err(OcspError::TryLater)
}

/// Asks an upstream, and writes its answer.
async fn forward(
    issuer: &Arc<Forwarded>,
    reply: Reply<'_>,
    question: Question,
    out: &mut Vec<u8>,
) -> (RequestResult, Option<CertStatus>) {
    let outcome = match issuer.ask(question) {
        Asked::Ended(outcome) => outcome,
        Asked::Waiting(receiver) => match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(OcspError::TryLater),
        },
    };
    let status = outcome.as_ref().ok().map(|answer| answer.status);
    (reply.forwarded(outcome, RequestResult::Forwarded, UnixTime::now(), out), status)
}

/// Has an answer signed, here or elsewhere.
async fn signed(desk: &Desk, request: SignRequest, quota: &Quota<'_>) -> Outcome {
    match desk.misses.answer(request, || quota.allows()) {
        Miss::Ended(outcome) => outcome,
        Miss::Waiting(receiver) => match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
            Ok(Ok(outcome)) => outcome,
            // The signer is too slow, or gone.
            Ok(Err(_)) | Err(_) => Err(OcspError::TryLater),
        },
    }
}

const _: () = assert!(limits::SIGN_ATTEMPTS_MAX >= 2, "an answer that was signed leaves in the second round");
