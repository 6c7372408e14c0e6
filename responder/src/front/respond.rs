//! From one framed request to one response in the output.
//!
//! It knows whom a request is for, and leaves the rest to them. Nothing is written behind what it would keep waiting: where a
//! response has to wait for its signature while others stand in the output, those leave first.

use std::sync::atomic::Ordering::Relaxed;

use precompute::pki::UnixTime;

use super::{certificates, route::Route, time_stamps};
use crate::net::{
    client::Client,
    http::{
        Head, Method,
        response::{self, Context},
    },
    worker::Worker,
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
            let exchange = time_stamps::Exchange { worker, client, tenant, under, head, refusal, context, may_wait };
            let responded = exchange.run(body, &mut scratch, out).await;
            worker.stamp_scratch.replace(scratch);
            return responded;
        }
        Route::Certificates { tenant, rest, method, refusal } => (tenant, rest, method, refusal),
        Route::Nobody(refusal) => {
            worker.counters.http_refused.fetch_add(1, Relaxed);
            response::refusal(out, refusal, &context());
            return Responded::Kept;
        }
    };
    let mut scratch = worker.scratch.take();
    let may_wait = out.is_empty();
    let exchange = certificates::Exchange::new(worker, client, tenant, head, refusal, keep_alive, may_wait);
    let responded = exchange.run(rest, method, body, &mut scratch, out).await;
    worker.scratch.replace(scratch);
    responded
}

/// What its response has to know.
pub(crate) fn context(worker: &Worker, head: &Head<'_>, keep_alive: bool, now: UnixTime) -> Context {
    let head_only = head.method == Method::Head;
    Context { date: worker.date(now), keep_alive, http_1_0: head.http_1_0, head_only }
}
