//! From one framed request to one response in the output.
//!
//! A hit goes through without waiting for anything and without allocating. Every signed answer, fresh or
//! kept, is held against the records immediately before it is written: by [`decide`], or by
//! [`statements`] for several certificates. And nothing is written behind what it would keep waiting:
//! where an answer has to wait for its signature while others stand in the output, those leave first.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use monoio::time::timeout;
use precompute::{
    ocsp::{CertId, OcspError},
    pki::UnixTime,
};

use super::{
    head::{self, Context},
    http::{Head, Method, none_match_names},
    worker::{Scratch, Worker},
};
use crate::{
    limits,
    metrics::Result as Counted,
    ocsp::{
        answer::{Answer, Verdict, decide, statements},
        cache::Key,
        get,
        miss::{Miss, Outcome},
        request::Request,
    },
    site::{Issuer, Tenant},
};

/// Whether a request was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Responded {
    /// The response is in the output.
    Yes,
    /// Nothing was written: what stands in the output has to leave first.
    OutputFirst,
}

/// Writes the response to one request.
pub async fn respond(worker: &Worker, head: &Head<'_>, body: &[u8], keep_alive: bool, out: &mut Vec<u8>) -> Responded {
    let refuse = |out: &mut Vec<u8>, status, fields, body| {
        worker.counters.http_refused.fetch_add(1, Relaxed);
        head::text(out, status, fields, body, &context(worker, head, keep_alive, UnixTime::now()));
        Responded::Yes
    };
    let method = match head.method {
        Method::Get => 0,
        Method::Head => 1,
        Method::Post => 2,
        Method::Other => {
            return refuse(out, "405 Method Not Allowed", "Allow: GET, HEAD, POST\r\n", "405 Method Not Allowed\n");
        }
    };
    let Some((tenant, rest)) = worker.site.route(head.host, head.path) else {
        return refuse(out, "404 Not Found", "", "404 Not Found\n");
    };
    let mut scratch = worker.scratch.take();
    let exchange = Exchange { worker, tenant, head, keep_alive, may_wait: out.is_empty() };
    let counted = exchange.run(rest, body, &mut scratch, out).await;
    worker.scratch.replace(scratch);
    match counted {
        Some(counted) => {
            worker.counters.count(tenant.index, method, counted);
            Responded::Yes
        }
        None => Responded::OutputFirst,
    }
}

fn context(worker: &Worker, head: &Head<'_>, keep_alive: bool, now: UnixTime) -> Context {
    let head_only = head.method == Method::Head;
    Context { date: worker.date(now), keep_alive, http_1_0: head.http_1_0, head_only }
}

/// One request to one tenant. Its steps give `None` where the output has to leave first.
struct Exchange<'a> {
    worker: &'a Worker,
    tenant: &'a Tenant,
    head: &'a Head<'a>,
    keep_alive: bool,
    may_wait: bool,
}

impl Exchange<'_> {
    async fn run(&self, rest: &[u8], body: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<Counted> {
        let der = if self.head.method == Method::Post {
            body
        } else if rest.iter().all(|&b| b == b'/') {
            return Some(self.page(out));
        } else {
            match get::decode(rest, &mut scratch.symbols, &mut scratch.der) {
                Ok(()) => &scratch.der[..],
                Err(error) => return Some(self.error(error.into(), out)),
            }
        };
        let request = match Request::decode(der) {
            Ok(request) => request,
            Err(error) => return Some(self.error(error.into(), out)),
        };
        match request.single() {
            Some(id) => self.single(id, out).await,
            None => self.several(&request, out).await,
        }
    }

    async fn single(&self, id: &CertId<'_>, out: &mut Vec<u8>) -> Option<Counted> {
        let Some(issuer) = self.tenant.issuer(id) else { return Some(self.error(OcspError::Unauthorized, out)) };
        let serial = id.serial();
        let misses = &self.worker.misses;
        let mut kept =
            serial.and_then(|serial| misses.cache().get(&Key { issuer: issuer.index, hash: id.hash, serial }));
        let mut counted = Counted::Hit;
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let now = UnixTime::now();
            let found = serial.and_then(|serial| issuer.records.get(&serial));
            match decide(&issuer.policy, found, kept.as_ref(), now) {
                Verdict::Refuse(error) => return Some(self.error(error, out)),
                Verdict::Serve { answer, refresh } => {
                    if refresh {
                        misses.refresh(issuer, id);
                    }
                    return Some(self.answer(&answer, now, answer.may_be_kept(), counted, out));
                }
                Verdict::Sign(_) => match self.signed(issuer, || misses.answer(issuer, id)).await? {
                    Ok(answer) => kept = Some(answer),
                    Err(error) => return Some(self.error(error, out)),
                },
            }
            counted = Counted::Signed;
        }
        Some(self.error(OcspError::TryLater, out))
    }

    async fn several(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Option<Counted> {
        let ids: Vec<_> = request.cert_ids().collect();
        let mut issuers = ids.iter().map(|id| self.tenant.issuer(id));
        let issuer = match issuers.next() {
            Some(Some(issuer)) => issuer,
            _ => return Some(self.error(OcspError::Unauthorized, out)),
        };
        // One signature speaks for one issuer.
        if !issuers.all(|other| other.is_some_and(|other| other.index == issuer.index)) {
            return Some(self.error(OcspError::Unauthorized, out));
        }
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let answer = match self.signed(issuer, || self.worker.misses.answer_several(issuer, &ids)).await? {
                Ok(answer) => answer,
                Err(error) => return Some(self.error(error, out)),
            };
            let now = UnixTime::now();
            let found = ids.iter().map(|id| id.serial().and_then(|serial| issuer.records.get(&serial)));
            match statements(&issuer.policy, found, now) {
                Ok(statements) if answer.says(&statements, now) => {
                    return Some(self.answer(&answer, now, false, Counted::Signed, out));
                }
                Ok(_) => {}
                Err(error) => return Some(self.error(error, out)),
            }
        }
        Some(self.error(OcspError::TryLater, out))
    }

    /// Has an answer signed; `None` where that would keep the output waiting.
    fn signed<'s>(
        &'s self,
        issuer: &Arc<Issuer>,
        sign: impl FnOnce() -> Miss + 's,
    ) -> impl Future<Output = Option<Outcome>> + 's {
        let here = issuer.signer.signing().signs_here();
        async move {
            if !here && !self.may_wait {
                return None;
            }
            Some(match sign() {
                Miss::Ended(outcome) => outcome,
                Miss::Waiting(receiver) => match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
                    Ok(Ok(outcome)) => outcome,
                    // The signer is too slow, or gone.
                    Ok(Err(_)) | Err(_) => Err(OcspError::TryLater),
                },
            })
        }
    }

    fn context(&self, now: UnixTime) -> Context {
        context(self.worker, self.head, self.keep_alive, now)
    }

    fn answer(&self, answer: &Answer, now: UnixTime, cacheable: bool, counted: Counted, out: &mut Vec<u8>) -> Counted {
        let max_age = answer.times.max_age(now);
        if cacheable && self.is_current(answer) {
            head::not_modified(out, answer, max_age, &self.context(now));
            return Counted::NotModified;
        }
        // Caches take no POST; a condition on it means nothing (RFC 9110 section 13).
        head::answer(out, answer, max_age, cacheable, &self.context(now));
        counted
    }

    /// Whether the client's copy is this answer.
    fn is_current(&self, answer: &Answer) -> bool {
        if self.head.method == Method::Post {
            return false;
        }
        if let Some(field) = self.head.if_none_match {
            // RFC 9110 section 13.1.3: then If-Modified-Since does not count.
            return none_match_names(field, &answer.etag);
        }
        let since = self.head.if_modified_since.and_then(|field| std::str::from_utf8(field).ok());
        let since = since.and_then(|field| httpdate::parse_http_date(field).ok());
        since.is_some_and(|since| SystemTime::from(answer.times.this_update) <= since)
    }

    fn error(&self, error: OcspError, out: &mut Vec<u8>) -> Counted {
        head::ocsp_error(out, error, &self.context(UnixTime::now()));
        error.into()
    }

    fn page(&self, out: &mut Vec<u8>) -> Counted {
        const TEXT: &str = "This is an OCSP responder (RFC 6960). It answers POST with application/ocsp-request, and GET with the request in base64.\n";
        head::text(out, "200 OK", "", TEXT, &self.context(UnixTime::now()));
        Counted::Page
    }
}

const _: () = assert!(limits::SIGN_ATTEMPTS_MAX >= 2, "an answer that was signed leaves in the second round");
