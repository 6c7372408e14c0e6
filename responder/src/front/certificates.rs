//! Status of certificates over HTTP, RFC 6960 appendix A: from one framed request to one response in the output.
//!
//! Invariant: a hit waits for nothing and allocates nothing. It does not know how an answer is decided.

use std::{pin::pin, sync::Arc, time::Instant};

use monoio::time::timeout;
use precompute::{
    ocsp::OcspError,
    pki::{Serial, UnixTime},
};

use super::{reply::Reply, route::CertificatesRoute};
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
        budget::Budget,
        exchange::{AfterSigning, Decision, Exchange, KeptAnswer, after_signing},
        get,
        miss::{Miss, Outcome},
        sign_request::SignRequest,
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

/// What is known about a request after its bytes are gone.
#[derive(Clone, Copy, Default)]
struct Known<'t> {
    issuer: Option<&'t Arc<Issuer>>,
    /// The same where another responder answers for it.
    forwarded: Option<&'t Arc<Forwarded>>,
    /// If it is about one certificate.
    serial: Option<Serial>,
}

/// Writes the response.
pub(super) async fn respond(
    desk: &Desk,
    route: &CertificatesRoute<'_, '_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Responded {
    desk.turns.note_others();
    let (before, is_told) = (out.len(), desk.access.draws());
    let begun = is_told.then(Instant::now);
    let reply = Reply { request, policy: &route.tenant.policy };
    let (Known { issuer, forwarded, serial }, next) = at_once(desk, route, reply, is_told, out);
    let result = match next {
        Next::Count(result) => result,
        Next::Sign { request, on_budget } => {
            let begin = on_budget.then(Instant::now);
            let signed = sign(desk, reply, &request, out).await;
            if let Some(begin) = begin {
                Budget::spend_from(&desk.budget, begin.elapsed());
            }
            signed.unwrap_or_else(|error| reply.error(error, out))
        }
        Next::Forward(question) => match forwarded {
            Some(issuer) => forward(issuer, reply, question, out).await,
            None => reply.error(OcspError::InternalError, out),
        },
        Next::OutputFirst => return Responded::OutputFirst,
    };
    let tenant = route.tenant;
    let requests = forwarded.map_or(&tenant.requests, |issuer| &issuer.requests);
    issuer.map_or(requests, |issuer| &issuer.requests).count(desk.number, route.method, result);
    if let Some(begun) = begun {
        let about = access::About::Certificates {
            issuer: issuer.map(Arc::clone),
            forwarded: forwarded.map(Arc::clone),
            serial,
            result,
        };
        let (client, tenant, method) = (request.client.address(), Arc::clone(&tenant.name), Some(route.method));
        let (path, status, took) = (access::path(request.head.path), status_written(&out[before..]), begun.elapsed());
        desk.tell(Line { client, tenant, about, method, path, status, octets: out.len() - before, took });
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
            Some(outcome) => Next::Count(reply.forwarded(outcome, RequestResult::Hit, now, out)),
            None if !out.is_empty() => Next::OutputFirst,
            None => Next::Forward(asked.question()),
        },
        Decision::OutputFirst => Next::OutputFirst,
    };
    let serial = if is_told { about.serial() } else { None };
    (Known { issuer: about.issuer, forwarded: about.forwarded, serial }, next)
}

/// Has an answer signed, and writes it. It says what the records say at the moment of writing.
async fn sign(
    desk: &Desk,
    reply: Reply<'_>,
    request: &SignRequest,
    out: &mut Vec<u8>,
) -> Result<RequestResult, OcspError> {
    for _ in 0..limits::SIGN_ATTEMPTS_MAX {
        let answer = signed(desk, request.clone()).await?;
        let now = UnixTime::now();
        match after_signing(request, &answer, now) {
            AfterSigning::Serve => {
                let is_here = request.signer.signing().is_some() || desk.misses.edge().is_none();
                let counted = if is_here { RequestResult::Signed } else { RequestResult::Forwarded };
                return Ok(reply.whole(request.only(), &answer, counted, now, out));
            }
            AfterSigning::SignAgain => {}
            AfterSigning::Refuse(error) => return Err(error),
        }
    }
    Err(OcspError::TryLater)
}

/// Asks an upstream, and writes its answer.
async fn forward(issuer: &Arc<Forwarded>, reply: Reply<'_>, question: Question, out: &mut Vec<u8>) -> RequestResult {
    let outcome = match issuer.ask(question) {
        Asked::Ended(outcome) => outcome,
        Asked::Waiting(receiver) => match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(OcspError::TryLater),
        },
    };
    reply.forwarded(outcome, RequestResult::Forwarded, UnixTime::now(), out)
}

/// Has an answer signed, here or elsewhere.
async fn signed(desk: &Desk, request: SignRequest) -> Outcome {
    match desk.misses.answer(request) {
        Miss::Ended(outcome) => outcome,
        Miss::Waiting(receiver) => match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
            Ok(Ok(outcome)) => outcome,
            // The signer is too slow, or gone.
            Ok(Err(_)) | Err(_) => Err(OcspError::TryLater),
        },
    }
}

const _: () = assert!(limits::SIGN_ATTEMPTS_MAX >= 2, "an answer that was signed leaves in the second round");
