//! Time-stamps over HTTP, RFC 3161 section 3.4: from one framed request to one response in the output.
//!
//! Cheap keys sign on this thread, in its turns; the others on their pool. It does not know how a query is decided.

use std::{pin::pin, sync::Arc, time::Instant};

use bytes::Bytes;
use monoio::time::timeout;
use precompute::{
    pki::UnixTime,
    publication::Document,
    sign::{Job, Priority, SignError},
    usage::Begun,
};
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    documents::Served,
    route::{self, TimeStampsRoute},
};
use crate::{
    access::{self, About, Line},
    desk::{Desk, TokenBuffers},
    limits,
    net::{
        http::{
            response::{Context, Reason, Refusal},
            status::Status,
        },
        service::{Request as Framed, Responded},
    },
    site::Tenant,
    tsa::{
        authority::{Authority, Checked, Prepared},
        clients::{Asking, Client, Credential, Denied},
        counters::Outcome,
        exchange::{Decision, Exchange, Signed},
        failure::{Failure, Rejection},
        request::Request,
    },
};

pub(super) const TIME_STAMP_REPLY: &str = "application/timestamp-reply";

/// RFC 8555 section 9.1.
const CHAIN_OF_CERTIFICATES: &str = "application/pem-certificate-chain";

/// What was written, and by which authority.
struct Written<'t> {
    by: Option<&'t Arc<Authority>>,
    outcome: Outcome,
    status: Status,
}

/// Writes the response.
pub(super) async fn respond(
    desk: &Desk,
    route: &TimeStampsRoute<'_>,
    request: &Framed<'_>,
    out: &mut Vec<u8>,
) -> Responded {
    let (before, begun) = (out.len(), desk.access.is_on().then(Instant::now));
    let context = request.context(UnixTime::now());
    let by = route.target.authorities.first();
    let mut shared = None;
    let written = if let Some(refusal) = route.refusal {
        Written { by, outcome: Outcome::Refused, status: context.refuse(out, refusal) }
    } else if route.is_chain {
        let (status, rest) = served(&route.target.chain).write(request, UnixTime::now(), out);
        shared = rest;
        let is_refused = matches!(status, Status::PreconditionFailed | Status::RangeNotSatisfiable);
        Written { by, outcome: if is_refused { Outcome::Refused } else { Outcome::Chain }, status }
    } else {
        let exchange = Exchange { authorities: &route.target.authorities, may_wait: out.is_empty() };
        let (by, decision) = exchange.decide(request.body);
        if decision == Decision::OutputFirst {
            return Responded::OutputFirst;
        }
        match by.map(|by| (by, by.clients.admit(&asking(request)))) {
            Some((by, Err(denied))) => {
                Written { by: Some(by), outcome: Outcome::Denied, status: context.refuse(out, refusal_of(denied)) }
            }
            Some((by, Ok(client))) => {
                Asked { desk, tenant: route.tenant, by, client, context }.answer(decision, out).await
            }
            None => reject(context, by, Failure::SystemFailure.into(), out),
        }
    };
    let Written { by, outcome, status } = written;
    if let Some(authority) = by {
        authority.outcomes.count(desk.number, outcome);
        if let Some(begun) = begun.filter(|_| desk.access.draws()) {
            desk.tell(Line {
                client: request.client.address(),
                tenant: Arc::clone(&route.tenant.name),
                about: About::TimeStamp { tsa: authority.name.as_str().into(), outcome },
                method: route::place(request.head.method),
                path: access::path(request.head.path),
                status: Some(status.code()),
                octets: out.len() - before + shared.as_ref().map_or(0, Bytes::len),
                took: begun.elapsed(),
            });
        }
    }
    match shared {
        Some(body) => Responded::Shared(body),
        None if outcome == Outcome::Granted => Responded::Signed,
        None => Responded::Kept,
    }
}

/// Who asks.
fn asking<'r>(request: &Framed<'r>) -> Asking<'r> {
    let authorization = request.head.authorization;
    let authorization = match authorization.only() {
        Some(value) => Credential::Value(value),
        None if authorization.is_empty() => Credential::None,
        None => Credential::Ambiguous,
    };
    Asking { address: request.client.address(), authorization, shown: request.shown, now: UnixTime::now() }
}

const KEY_NEEDED: Refusal = Refusal {
    reason: Reason::Unauthorized {
        challenge: "Basic realm=\"time-stamping\", charset=\"UTF-8\", Bearer realm=\"time-stamping\"",
    },
    explanation: "This time-stamping authority answers clients that send their key: as a bearer token, or as the password of HTTP Basic. No key came, or one that is not known.\n",
};

const FORBIDDEN: Refusal = Refusal {
    reason: Reason::Forbidden,
    explanation: "This time-stamping authority answers certain clients, and you are none of them.\n",
};

fn refusal_of(denied: Denied) -> &'static Refusal {
    match denied {
        Denied::KeyNeeded => &KEY_NEEDED,
        Denied::Forbidden => &FORBIDDEN,
    }
}

/// Writes a rejection.
fn reject<'t>(
    context: Context,
    by: Option<&'t Arc<Authority>>,
    rejection: Rejection,
    out: &mut Vec<u8>,
) -> Written<'t> {
    let status = context.uncacheable(out, TIME_STAMP_REPLY, rejection.length(), |out| rejection.write(out));
    let outcome = if rejection.is_of_quota() { Outcome::OverQuota } else { Outcome::Rejected(rejection.failure) };
    Written { by, outcome, status }
}

/// A query of somebody who may ask.
struct Asked<'t, 'd> {
    desk: &'d Desk,
    tenant: &'t Tenant,
    by: &'t Arc<Authority>,
    client: &'t Arc<Client>,
    context: Context,
}

impl<'t> Asked<'t, '_> {
    /// Begins a token, if the quotas of the client and of the tenant allow one.
    fn begin(&self) -> Result<Begun, Rejection> {
        let (now, tenant) = (Instant::now(), &*self.tenant.name);
        let begun = self.client.begin(now)?;
        let tell = || warn!(tenant, "the quota of time-stamps is used up; requests are rejected");
        let has_one = self.tenant.time_stamps.as_ref().is_none_or(|bound| bound.take(now, tell));
        if has_one { Ok(begun) } else { Err(Rejection::QUOTA_OF_TENANT) }
    }

    async fn answer(self, decision: Decision<'_>, out: &mut Vec<u8>) -> Written<'t> {
        let Self { desk, by, client, context, .. } = self;
        let made = match decision {
            Decision::Grant { request, checked, signed } => match self.begin() {
                Ok(begun) => {
                    let granting = Granting { desk, authority: by, client, request, checked, context };
                    let made = match signed {
                        Signed::Here => granting.grant_here(out).await,
                        Signed::Elsewhere => granting.grant_elsewhere(out).await,
                    };
                    made.inspect(|_| begun.granted())
                }
                Err(rejection) => Err(rejection),
            },
            Decision::Reject(rejection) => Err(rejection),
            Decision::OutputFirst => Err(Failure::SystemFailure.into()),
        };
        match made {
            Ok(status) => Written { by: Some(by), outcome: Outcome::Granted, status },
            Err(rejection) => reject(context, Some(by), rejection, out),
        }
    }
}

/// The chain of certificates as it is served.
pub(super) fn served(chain: &Document) -> Served<'_> {
    Served {
        document: chain,
        media_type: CHAIN_OF_CERTIFICATES,
        max_age: limits::CHAIN_MAX_AGE,
        may_be_transformed: true,
        surrogate_keys: None,
    }
}

/// A token that an authority has to make.
struct Granting<'a> {
    desk: &'a Desk,
    authority: &'a Arc<Authority>,
    client: &'a Client,
    request: Request<'a>,
    checked: Checked,
    context: Context,
}

impl Granting<'_> {
    /// Makes the token on this thread, and writes it.
    async fn grant_here(&self, out: &mut Vec<u8>) -> Result<Status, Rejection> {
        // Before the clock is read, so that the time is that of the signature.
        let turn = self.desk.turns.turn().await;
        let TokenBuffers { tst_info, attributes } = &mut *self.desk.token_buffers.borrow_mut();
        let prepared = self.prepare(tst_info, attributes)?;
        let signed = self.authority.signer.signing().sign_here(attributes).unwrap_or(Err(SignError::Failed));
        drop(turn);
        self.write(&prepared, tst_info, attributes, signed, out)
    }

    /// Has the token's attributes signed on the signer's pool, and writes it.
    async fn grant_elsewhere(&self, out: &mut Vec<u8>) -> Result<Status, Rejection> {
        let mut buffers = self.desk.token_buffers.take();
        let TokenBuffers { tst_info, attributes } = &mut buffers;
        let granted = match self.prepare(tst_info, attributes) {
            Ok(prepared) => {
                let signed = self.signed_elsewhere(attributes).await;
                self.write(&prepared, tst_info, attributes, signed, out)
            }
            Err(rejection) => Err(rejection),
        };
        self.desk.token_buffers.replace(buffers);
        granted
    }

    fn prepare(&self, tst_info: &mut Vec<u8>, attributes: &mut Vec<u8>) -> Result<Prepared<'_>, Rejection> {
        let serial = || self.desk.serials.borrow_mut().next_serial().ok();
        self.authority.prepare(&self.request, self.checked, serial, tst_info, attributes)
    }

    async fn signed_elsewhere(&self, attributes: &mut Vec<u8>) -> Result<Vec<u8>, SignError> {
        let Authority { policy, signer, .. } = &**self.authority;
        // The token's time was read before.
        let patience = policy.accuracy.duration().clamp(limits::STAMP_DEADLINE_MIN, limits::MISS_DEADLINE);
        let (sender, receiver) = oneshot::channel();
        signer.signing().submit(Job {
            message: std::mem::take(attributes),
            priority: Priority::Live,
            deadline: Instant::now() + patience,
            done: Box::new(move |message, outcome| {
                let _ = sender.send((message, outcome));
            }),
        });
        match timeout(patience, pin!(receiver)).await {
            Ok(Ok((message, outcome))) => {
                *attributes = message;
                outcome
            }
            // The signer is too slow, or gone.
            Ok(Err(_)) | Err(_) => Err(SignError::Busy),
        }
    }

    /// Writes the token with its signature, if there is one, and records it.
    fn write(
        &self,
        prepared: &Prepared<'_>,
        tst_info: &[u8],
        attributes: &[u8],
        signed: Result<Vec<u8>, SignError>,
        out: &mut Vec<u8>,
    ) -> Result<Status, Rejection> {
        let signature = signed.map_err(|_| Failure::SystemFailure)?;
        self.authority.verify_some(self.desk.number, attributes, &signature)?;
        let layout = self.authority.lay_out(tst_info, attributes, &signature, prepared.cert_req);
        let status = self.context.uncacheable(out, TIME_STAMP_REPLY, layout.length(), |out| layout.write(out));
        if let Some(recorder) = &self.desk.recorder {
            recorder.record(prepared.recorded(self.client.name.as_ref()));
        }
        Ok(status)
    }
}
