//! From one framed request to one response in the output.
//!
//! A hit goes through without waiting for anything and without allocating. Every signed answer, fresh or
//! kept, is held against the records immediately before it is written: by [`decide`], or by
//! [`statements`] for several certificates. And nothing is written behind what it would keep waiting:
//! where an answer has to wait for its signature while others stand in the output, those leave first.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use monoio::time::timeout;
use precompute::{
    ocsp::{CertId, Content, OcspError, Single},
    pki::UnixTime,
};

use super::{
    head::{self, Context, Fields, Surrogate},
    http::{Head, Method, none_match_names},
    worker::{Scratch, Worker},
};
use crate::{
    limits,
    metrics::{Requests, Result as Counted},
    ocsp::{
        answer::{Kept, Statement, Verdict, decide, statements},
        get,
        miss::{Miss, Outcome},
        request::Request,
        store::{Answer, Etag},
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
    let site = worker.site();
    let Some((tenant, rest)) = site.route(head.host, head.path) else {
        return refuse(out, "404 Not Found", "", "404 Not Found\n");
    };
    let mut scratch = worker.scratch.take();
    let exchange =
        Exchange { worker, tenant, head, keep_alive, may_wait: out.is_empty(), requests: Cell::new(&tenant.requests) };
    let counted = exchange.run(rest, body, &mut scratch, out).await;
    worker.scratch.replace(scratch);
    match counted {
        Some(counted) => {
            exchange.requests.get().count(worker.number, method, counted);
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
    /// Where it is counted: with the issuer once that is known.
    requests: Cell<&'a Requests>,
}

impl Exchange<'_> {
    async fn run(&self, rest: &[u8], body: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<Counted> {
        let Scratch { symbols, der, packed, signature } = scratch;
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
        let request = match Request::decode(der) {
            Ok(request) => request,
            Err(error) => return Some(self.error(error.into(), out)),
        };
        let Some(id) = request.single() else { return self.several(&request, out).await };
        let Some(issuer) = self.tenant.issuer(id) else { return Some(self.error(OcspError::Unauthorized, out)) };
        self.requests.set(&issuer.requests);
        match self.hit(issuer, id, packed, signature, out) {
            Some(counted) => Some(counted),
            None => self.miss(issuer, id, out).await,
        }
    }

    /// What needs no signature; `None` if one is needed.
    fn hit(
        &self,
        issuer: &Arc<Issuer>,
        id: &CertId<'_>,
        packed: &mut Vec<u8>,
        signature: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<Counted> {
        let now = UnixTime::now();
        let misses = &self.worker.misses;
        let serial = id.serial();
        let found = serial.as_ref().and_then(|serial| issuer.state.records.get(serial));
        let key = serial.as_ref().map(|serial| issuer.key(id.hash, serial));
        let packing = issuer.signer.packing();
        let compact = key.as_ref().and_then(|key| misses.store().compact(key, packing, packed));
        let (counted, refresh) = match (decide(&issuer.policy, found, compact.as_ref(), now), &compact) {
            (Verdict::Refuse(error), _) => return Some(self.error(error, out)),
            (Verdict::Serve { refresh }, Some(kept)) => {
                packing.unpack(packed, signature);
                (self.assemble(issuer, id, kept, signature, now, out), refresh)
            }
            _ => {
                let whole = misses.store().whole(key.as_ref()?)?;
                match decide(&issuer.policy, found, whole.kept().as_ref(), now) {
                    Verdict::Serve { refresh } => {
                        (self.write(issuer, Some(id), &whole, Counted::Hit, now, out), refresh)
                    }
                    _ => return None,
                }
            }
        };
        if refresh {
            misses.refresh(issuer, id);
        }
        Some(counted)
    }

    async fn miss(&self, issuer: &Arc<Issuer>, id: &CertId<'_>, out: &mut Vec<u8>) -> Option<Counted> {
        let serial = id.serial();
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let answer = match self.signed(issuer, || self.worker.misses.answer(issuer, id)).await? {
                Ok(answer) => answer,
                Err(error) => return Some(self.error(error, out)),
            };
            let now = UnixTime::now();
            let found = serial.as_ref().and_then(|serial| issuer.state.records.get(serial));
            match decide(&issuer.policy, found, answer.kept().as_ref(), now) {
                Verdict::Refuse(error) => return Some(self.error(error, out)),
                Verdict::Serve { .. } => {
                    return Some(self.write(issuer, Some(id), &answer, Counted::Signed, now, out));
                }
                // It changed between its signature and this look.
                Verdict::Sign(_) => {}
            }
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
        self.requests.set(&issuer.requests);
        // One signature speaks for one issuer.
        if !issuers.all(|other| other.is_some_and(|other| other.is(issuer))) {
            return Some(self.error(OcspError::Unauthorized, out));
        }
        for _ in 0..limits::SIGN_ATTEMPTS_MAX {
            let answer = match self.signed(issuer, || self.worker.misses.answer_several(issuer, &ids)).await? {
                Ok(answer) => answer,
                Err(error) => return Some(self.error(error, out)),
            };
            let now = UnixTime::now();
            let found = ids.iter().map(|id| id.serial().and_then(|serial| issuer.state.records.get(&serial)));
            match statements(&issuer.policy, found, now) {
                Ok(statements) if answer.says(&statements, now) => {
                    return Some(self.write(issuer, None, &answer, Counted::Signed, now, out));
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

    /// Writes a kept answer anew from its values, around its signature.
    fn assemble(
        &self,
        issuer: &Issuer,
        id: &CertId<'_>,
        kept: &Kept,
        signature: &[u8],
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> Counted {
        let Kept { statement, times } = kept;
        let template = issuer.signer.template();
        let single = Single {
            cert_id: *id,
            status: statement.status,
            this_update: times.this_update,
            next_update: times.next_update,
            archive_cutoff: None,
        };
        let content = Content {
            produced_at: times.this_update,
            singles: &[single],
            extended_revoke: statement.extended_revoke,
            nonce: None,
        };
        let layout = template.lay_out(&content, signature.len());
        let etag = Etag::of(template, signature);
        let serial = id.serial();
        let surrogate = serial.as_ref().map(|serial| Surrogate { issuer: issuer.surrogate(), serial });
        let fields = Fields { times, etag: &etag, surrogate };
        self.write_kept(&fields, Counted::Hit, layout.length(), now, out, |out| layout.write(out, signature))
    }

    /// Writes an answer that is there whole. One for a single certificate may be kept by caches, if what it says may.
    fn write(
        &self,
        issuer: &Issuer,
        id: Option<&CertId<'_>>,
        answer: &Answer,
        counted: Counted,
        now: UnixTime,
        out: &mut Vec<u8>,
    ) -> Counted {
        let Answer { statements, times, etag, body } = answer;
        if id.is_some() && statements.iter().all(Statement::may_be_kept) {
            let serial = id.and_then(CertId::serial);
            let surrogate = serial.as_ref().map(|serial| Surrogate { issuer: issuer.surrogate(), serial });
            let fields = Fields { times, etag, surrogate };
            return self.write_kept(&fields, counted, body.len(), now, out, |out| out.extend_from_slice(body));
        }
        head::unkept_answer(out, body.len(), &self.context(now));
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
        let since = self.head.if_modified_since.and_then(|field| std::str::from_utf8(field).ok());
        let since = since.and_then(|field| httpdate::parse_http_date(field).ok());
        since.is_some_and(|since| SystemTime::from(fields.times.this_update) <= since)
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
