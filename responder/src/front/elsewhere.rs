//! Time-stamps of an edge over HTTP: a right query goes to the replicas behind it, and their token to the client.
//!
//! Invariant: no token leaves that was not verified; where there is none the client gets `systemFailure`. It does not know how
//! a query is decided.

use std::{pin::pin, sync::Arc, time::Instant};

use bytes::Bytes;
use monoio::time::timeout;
use precompute::pki::UnixTime;
use tokio::sync::oneshot;

use super::{
    route::{self, ElsewhereRoute},
    time_stamps::{TIME_STAMP_REPLY, served},
};
use crate::{
    access::{self, About, Line},
    desk::Desk,
    limits,
    net::{
        http::status::Status,
        service::{Request as Framed, Responded},
    },
    site::Tenant,
    tsa::{
        counters::Outcome,
        elsewhere::{Elsewhere, Expected},
        failure::{Failure, Rejection},
    },
    upstream::{
        client::{Errand, Protocol, Reply},
        courier::Use,
        token::Stamp,
        told::Fault,
        verify::Objection,
    },
};

/// Writes the response.
pub(super) async fn respond(
    desk: &Desk,
    route: &ElsewhereRoute<'_>,
    request: &Framed<'_>,
    out: &mut Vec<u8>,
) -> Responded {
    let (before, begun) = (out.len(), Instant::now());
    let context = request.context(UnixTime::now());
    let mut by = route.target.authorities().first();
    let (outcome, status) = if let Some(refusal) = route.refusal {
        (Outcome::Refused, context.refuse(out, refusal))
    } else if route.is_chain {
        let (status, rest) = served(&route.target.chain).write(request, UnixTime::now(), out);
        if let Some(body) = rest {
            return Responded::Shared(body);
        }
        (Outcome::Chain, status)
    } else {
        let (authority, decided) = route.target.decide(request.body);
        by = authority;
        let asked = match decided {
            Err(failure) => Err(failure),
            Ok(_) if !out.is_empty() => return Responded::OutputFirst,
            Ok(expected) => ask(desk, route.tenant, &route.target.path, expected, request.body).await,
        };
        let context = request.context(UnixTime::now());
        let mut write =
            |body: &[u8]| context.uncacheable(out, TIME_STAMP_REPLY, body.len(), |out| out.extend_from_slice(body));
        match asked {
            Ok((Stamp::Granted, body)) => (Outcome::Granted, write(&body)),
            // Why is for the client to read.
            Ok((_, body)) => (Outcome::Rejected(Failure::BadRequest), write(&body)),
            Err(failure) => {
                let rejection = Rejection::from(failure);
                let status = context.uncacheable(out, TIME_STAMP_REPLY, rejection.length(), |out| rejection.write(out));
                (Outcome::Rejected(failure), status)
            }
        }
    };
    if let Some(authority) = by {
        count(desk, route, authority, request, (outcome, status), (out.len() - before, begun));
    }
    Responded::Kept
}

fn count(
    desk: &Desk,
    route: &ElsewhereRoute<'_>,
    authority: &Elsewhere,
    request: &Framed<'_>,
    (outcome, status): (Outcome, Status),
    (octets, begun): (usize, Instant),
) {
    authority.outcomes.count(desk.number, outcome);
    if desk.access.is_on() && desk.access.draws() {
        desk.tell(Line {
            client: request.client.address(),
            tenant: Arc::clone(&route.tenant.name),
            about: About::TimeStamp { tsa: authority.name.as_str().into(), outcome },
            method: route::place(request.head.method),
            path: access::path(request.head.path),
            status: Some(status.code()),
            octets,
            took: begun.elapsed(),
        });
    }
}

/// Has a replica make the token.
async fn ask(
    desk: &Desk,
    tenant: &Tenant,
    path: &str,
    expected: Expected,
    body: &[u8],
) -> Result<(Stamp, Bytes), Failure> {
    let edge = desk.misses.edge().ok_or(Failure::SystemFailure)?;
    let place = edge.courier.place(Use::OneClient).ok_or(Failure::SystemFailure)?;
    let (above, host) = tenant.asked_at();
    let path = format!("{above}{path}").into();
    let errand = Errand { protocol: Protocol::TimeStamp, path, host, body: Bytes::copy_from_slice(body) };
    let (sender, receiver) = oneshot::channel();
    let group = Arc::clone(&edge.group);
    edge.courier.run(place, async move {
        let judge = |reply: Reply| match expected.judge(&reply.body, UnixTime::now()) {
            Ok(Stamp::Away) => Err(Fault::Refused("systemFailure or timeNotAvailable")),
            Ok(stamp) => Ok((stamp, reply.body)),
            Err(wrong) => Err(Fault::Refuted(Objection::Token(wrong))),
        };
        let _ = sender.send(group.ask(&errand, judge).await);
    });
    match timeout(limits::MISS_DEADLINE, pin!(receiver)).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        _ => Err(Failure::SystemFailure),
    }
}
