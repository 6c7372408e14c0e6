//! Time-stamps over HTTP, RFC 3161 section 3.4: from one framed request to one response in the output.
//!
//! Cheap keys sign on this thread, the others on their pool; then nothing stands in the output that the wait would keep.

use std::{pin::pin, sync::Arc, time::Instant};

use monoio::time::timeout;
use precompute::sign::{Job, Priority, SignError};
use tokio::sync::oneshot;

use super::{
    respond::Responded,
    route::{self, Refusal},
};
use crate::{
    access::{About, Line},
    limits,
    net::{
        client::Client,
        http::{
            Head,
            conditions::{Validators, Verdict, evaluate},
            response::{self, Context},
        },
        worker::Worker,
    },
    site::Tenant,
    tsa::{
        authority::Authority,
        counters::Outcome,
        failure::{Failure, Rejection},
        request::Request,
        routes::TsaTarget,
    },
};

const TIME_STAMP_REPLY: &str = "application/timestamp-reply";

/// Room to make a token in.
#[derive(Debug, Default)]
pub struct Scratch {
    tst_info: Vec<u8>,
    attributes: Vec<u8>,
}

/// One request to a tenant's authorities at one path; there is at least one.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) client: &'a Client,
    pub(crate) tenant: &'a Tenant,
    pub(crate) under: TsaTarget<'a>,
    pub(crate) head: &'a Head<'a>,
    /// What its header section is refused with.
    pub(crate) refusal: Option<&'static Refusal>,
    pub(crate) context: Context,
    /// Whether nothing stands in the output.
    pub(crate) may_wait: bool,
}

impl<'a> Exchange<'a> {
    /// Writes the response.
    pub(crate) async fn run(&self, body: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Responded {
        let (before, begun) = (out.len(), self.worker.access.is_on().then(Instant::now));
        let first = self.under.authorities.first();
        let (by, outcome) = if let Some(refusal) = self.refusal {
            response::refusal(out, refusal, &self.context);
            (first, Outcome::Refused)
        } else if self.under.is_chain {
            let chain = self.under.chain;
            let validators = Validators { etag: chain.etag.as_bytes(), modified: None, dated: false };
            let verdict = evaluate(self.head, &validators);
            response::chain(out, chain, verdict, &self.context);
            (first, if verdict == Verdict::Failed { Outcome::Refused } else { Outcome::Chain })
        } else {
            match self.stamp(body, scratch, out).await {
                Some(answered) => answered,
                None => return Responded::OutputFirst,
            }
        };
        if let Some(authority) = by {
            authority.outcomes.count(self.worker.number, outcome);
            if let Some(begun) = begun.filter(|_| self.worker.access.draws()) {
                self.tell(authority, outcome, begun, &out[before..]);
            }
        }
        if outcome == Outcome::Granted { Responded::Signed } else { Responded::Kept }
    }

    /// Has the log told of it.
    fn tell(&self, authority: &Arc<Authority>, outcome: Outcome, begun: Instant, written: &[u8]) {
        let about = About::TimeStamp {
            tsa: Arc::clone(authority),
            outcome,
            status: response::status_of(written),
            took: begun.elapsed(),
        };
        let (client, tenant) = (self.client.address(), Arc::clone(&self.tenant.name));
        self.worker.tell(Line { client, tenant, about, method: route::place(self.head.method), octets: written.len() });
    }

    /// Answers a query: by whom, and with what; `None` where the output has to leave first.
    async fn stamp(
        &self,
        body: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Option<(Option<&'a Arc<Authority>>, Outcome)> {
        let mut by = self.under.authorities.first();
        let granted = match self.read(body, &mut by) {
            Ok(request) => self.grant(by?, &request, scratch, out).await?,
            Err(failure) => Err(failure.into()),
        };
        let outcome = match granted {
            Ok(()) => Outcome::Granted,
            Err(rejection) => {
                response::unkept(out, TIME_STAMP_REPLY, rejection.length(), &self.context);
                rejection.write(out);
                Outcome::Rejected(rejection.failure)
            }
        };
        Some((by, outcome))
    }

    /// Decodes a request, and finds whom it is for: who serves the policy asked for, else the first.
    fn read<'r>(&self, body: &'r [u8], by: &mut Option<&'a Arc<Authority>>) -> Result<Request<'r>, Failure> {
        let request = Request::decode(body)?;
        request.check_version()?;
        if let Some(policy) = request.policy
            && let Some(serving) = self.under.authorities.iter().find(|authority| authority.serves(policy))
        {
            *by = Some(serving);
        }
        Ok(request)
    }

    /// Has a token made, and writes it.
    async fn grant(
        &self,
        authority: &Authority,
        request: &Request<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Option<Result<(), Rejection>> {
        let signing = authority.signer.signing();
        let here = signing.signs_here();
        if !here && !self.may_wait {
            return None;
        }
        // Who is refused waits for nobody's signature.
        let checked = match authority.check(request) {
            Ok(checked) => checked,
            Err(failure) => return Some(Err(failure.into())),
        };
        // Before the time is looked at, which then is that of the signature.
        let turn = if here { Some(self.worker.turns.turn().await) } else { None };
        let Scratch { tst_info, attributes } = scratch;
        let serials = &self.worker.serials;
        let serial = || serials.borrow_mut().next_serial().ok();
        let prepared = match authority.prepare(request, checked, serial, tst_info, attributes) {
            Ok(prepared) => prepared,
            Err(rejection) => return Some(Err(rejection)),
        };
        let signed = if here {
            signing.sign_here(attributes).unwrap_or(Err(SignError::Failed))
        } else {
            self.signed_elsewhere(authority, attributes).await
        };
        drop(turn);
        let Ok(signature) = signed else { return Some(Err(Failure::SystemFailure.into())) };
        if let Err(failure) = authority.verify_some(self.worker.number, attributes, &signature) {
            return Some(Err(failure.into()));
        }
        let layout = authority.lay_out(tst_info, attributes, &signature, prepared.cert_req);
        response::unkept(out, TIME_STAMP_REPLY, layout.length(), &self.context);
        layout.write(out);
        if let Some(recorder) = &self.worker.recorder {
            recorder.record(prepared.recorded());
        }
        Some(Ok(()))
    }

    /// Has the attributes signed on the signer's pool.
    async fn signed_elsewhere(&self, authority: &Authority, attributes: &mut Vec<u8>) -> Result<Vec<u8>, SignError> {
        // The time that it tells was looked at before.
        let patience = authority.policy.accuracy.duration().clamp(limits::STAMP_DEADLINE_MIN, limits::MISS_DEADLINE);
        let (sender, receiver) = oneshot::channel();
        authority.signer.signing().submit(Job {
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
}
