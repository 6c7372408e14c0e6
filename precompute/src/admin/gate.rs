//! Who asks: stands before every path of the admin listener.
//!
//! Purpose: each request is of a principal, or of a stranger, who is told why; whoever answers finds one or the other among the
//! request's extensions ([`Caller`], [`Stranger`]). Invariants: a token or a certificate counts only where nobody can listen,
//! over TLS or on a loopback address, whatever the configuration says; who is reached by a name that is not its own knows
//! nobody, so that no page can lead a browser here by a name of its own (DNS rebinding); where principals come from other
//! machines, metrics and the remarks of health are for those who may look at the service. It does not know the API.

mod paces;

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_LENGTH, HOST, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use rustls::ServerConfig;
use tokio::{net::TcpListener, task::JoinSet};

use self::paces::{Counted, Paces};
use super::listener::{self, Bounds, Link, Stay};
use crate::{
    assemble::AssembledAdmin,
    config::OF_TOKEN_FILE,
    limits,
    principals::{Action, Object, Principal},
    tls,
};

/// Knows the principals, and lets the listener speak TLS. A reload changes both.
#[derive(Debug)]
pub struct Gate {
    admin: ArcSwap<AssembledAdmin>,
    paces: Paces,
}

/// How long somebody should wait who has asked too often. The request has it as an extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooOften(pub Duration);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// With what is allowed.
    pub principal: Arc<Principal>,
    /// What has proved it.
    pub by: By,
}

/// What has proved who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// A token in the request.
    Token,
    /// The certificate of the client's TLS.
    Certificate,
}

/// Why somebody is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stranger {
    /// The Host of the request is none of the names of this service.
    Misdirected,
    /// No principal is configured.
    NobodyIsKnown,
    /// Others could listen to the connection.
    Overheard,
    /// Neither a token nor a certificate was shown.
    NothingShown,
    /// There is not one header `Authorization: Bearer TOKEN`.
    Malformed,
    /// No principal has this token.
    UnknownToken,
    /// No principal has this certificate.
    UnknownCertificate,
}

/// How a token is asked for (RFC 9110 section 11.6.1, RFC 6750 section 3).
pub const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"ostia\"");

const BEARER: &[u8] = b"Bearer ";
/// What only principals who may view the service see, if principals come from other machines.
const METRICS: [&str; 2] = ["/metrics", "/transparency/head"];
const METRICS_REFUSED: &str = "metrics are for principals who may view the service: send `Authorization: Bearer TOKEN` or a client certificate, or set `open_metrics = true` under [admin]\n";

impl Gate {
    /// For these principals.
    pub fn new(admin: AssembledAdmin) -> Arc<Self> {
        Arc::new(Self { admin: ArcSwap::from_pointee(admin), paces: Paces::new() })
    }

    /// Goes over to others. Requests under way keep the former ones.
    pub fn change(&self, admin: AssembledAdmin) {
        self.paces.retain(|counted| rate_of(&admin, counted));
        let shown = |admin: &AssembledAdmin| admin.tls.as_ref().map(|tls| Arc::clone(&tls.certificates));
        let (before, now) = (self.admin.swap(Arc::new(admin)), self.settings());
        if let Some(certificates) = shown(&now) {
            certificates.tell_unless(shown(&before).and_then(|before| before.certificate()).as_ref());
        }
    }

    /// What counts now.
    pub fn settings(&self) -> Arc<AssembledAdmin> {
        self.admin.load_full()
    }

    /// Counts a request of a principal; the error is how long it should wait. Where the request itself has proved who asks,
    /// it was counted before.
    pub fn count_request(&self, principal: &Principal) -> Result<(), Duration> {
        let counted = Counted::Requests(principal.name.clone());
        let rate = rate_of(&self.settings(), &counted);
        self.paces.take(&[(counted, rate)], 1, false)
    }

    /// Counts pushes of a principal for a tenant; the error is how long it should wait, or has to if it `owes` them.
    pub fn count_pushes(&self, principal: &str, tenant: &str, count: usize, owes: bool) -> Result<(), Duration> {
        let settings = self.settings();
        let counted = [Counted::Pushes(principal.to_owned()), Counted::OfTenant(tenant.to_owned())];
        let wanted = counted.map(|counted| {
            let rate = rate_of(&settings, &counted);
            (counted, rate)
        });
        self.paces.take(&wanted, count, owes)
    }

    /// How many pushes a second are taken of a principal for a tenant; `None`: as many as come.
    pub fn pushes_per_second(&self, principal: &str, tenant: &str) -> Option<u32> {
        let settings = self.settings();
        let counted = [Counted::Pushes(principal.to_owned()), Counted::OfTenant(tenant.to_owned())];
        counted.iter().filter_map(|counted| rate_of(&settings, counted)).min()
    }

    /// How the next connection is accepted; `None` without TLS.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.admin.load().tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Answers there with `router`, behind it, for as long as the tasks run.
    pub fn serve(self: &Arc<Self>, listener: TcpListener, router: Router, tasks: &mut JoinSet<()>) {
        let (router, gate) = (self.guard(router), Arc::clone(self));
        tasks.spawn(listener::serve_over(listener, router, Bounds::ADMIN, move || gate.tls()));
        tasks.spawn(Arc::clone(self).follow());
    }

    /// Takes a renewed certificate from its files, as long as it is polled.
    async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(limits::TLS_LOOK).await;
            if let Some(tls) = &self.settings().tls {
                tls::look(&tls.certificates).await;
            }
        }
    }

    /// Stands before these paths.
    pub fn guard(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(self), pass))
    }
}

fn rate_of(admin: &AssembledAdmin, counted: &Counted) -> Option<u32> {
    match counted {
        Counted::Requests(name) => admin.rates.get(name)?.requests,
        Counted::Pushes(name) => admin.rates.get(name)?.pushes,
        Counted::OfTenant(name) => admin.tenant_pushes.get(name).copied(),
    }
}

async fn pass(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let admin = gate.settings();
    let link = request.extensions().get::<Link>().cloned().unwrap_or_default();
    let asks = admit(request.headers(), &link, &admin);
    let may_look = asks.as_ref().is_ok_and(|caller| caller.principal.may(Action::View, Object::Service));
    let shows_all = may_look || is_open(&link, &admin);
    let path = request.uri().path();
    if METRICS.contains(&path) && !shows_all {
        return match asks {
            Ok(_) => (StatusCode::FORBIDDEN, METRICS_REFUSED).into_response(),
            Err(_) => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, CHALLENGE)], METRICS_REFUSED).into_response(),
        };
    }
    let is_health = path == "/readyz" || path.starts_with("/readyz/");
    request.extensions_mut().insert(Arc::clone(&gate));
    match asks {
        Ok(caller) => {
            request.extensions().get::<Stay>().into_iter().for_each(Stay::recognise);
            if !is_health && let Err(wait) = gate.count_request(&caller.principal) {
                request.extensions_mut().insert(TooOften(wait));
            }
            request.extensions_mut().insert(caller);
        }
        Err(stranger) => drop(request.extensions_mut().insert(stranger)),
    }
    let response = next.run(request).await;
    if is_health && !shows_all { first_line(response).await } else { response }
}

/// Whether metrics and remarks, which name tenants and issuers, are for everybody who can reach the listener in this way. Where
/// principals have roles somebody has said who may see what, and whoever has an account on the machine is not among them.
fn is_open(link: &Link, admin: &AssembledAdmin) -> bool {
    let is_near = link.is_loopback() || !link.is_tls;
    let has_roles = || admin.known.iter().any(|entry| entry.principal.name != OF_TOKEN_FILE);
    admin.open_metrics.unwrap_or_else(|| admin.known.is_empty() || is_near && !has_roles())
}

/// Without the remarks, which name tenants and issuers.
async fn first_line(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    // It is in memory already.
    let told = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let end = told.iter().position(|octet| *octet == b'\n').map_or(told.len(), |at| at + 1);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(told.slice(..end)))
}

/// Whose request it is, by its header section and its connection.
pub fn admit(headers: &HeaderMap, link: &Link, admin: &AssembledAdmin) -> Result<Caller, Stranger> {
    if !is_for_us(headers, link, admin) {
        return Err(Stranger::Misdirected);
    }
    if admin.known.is_empty() {
        return Err(Stranger::NobodyIsKnown);
    }
    if !link.is_tls && !link.is_loopback() {
        return Err(Stranger::Overheard);
    }
    let mut given = headers.get_all(AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (None, _) => {
            let certificate = link.certificate.as_ref().ok_or(Stranger::NothingShown)?;
            let principal = admin.known.of_certificate(certificate).ok_or(Stranger::UnknownCertificate)?;
            Ok(Caller { principal, by: By::Certificate })
        }
        (Some(given), None) => {
            let token = token(given).ok_or(Stranger::Malformed)?;
            let principal = admin.known.of_token(token).ok_or(Stranger::UnknownToken)?;
            Ok(Caller { principal, by: By::Token })
        }
        (Some(_), Some(_)) => Err(Stranger::Malformed),
    }
}

/// The token of the header; the scheme is in either case (RFC 9110 section 11.1).
fn token(header: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = header.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| rest.trim_ascii())
}

/// Whether the one Host names this service: by a loopback address or `localhost`, by the address that the connection came
/// to, which no DNS server gives away, or by a name of the configuration.
fn is_for_us(headers: &HeaderMap, link: &Link, admin: &AssembledAdmin) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(name) = host.to_str().ok().and_then(name_of) else { return false };
    let is_own = |address: IpAddr| {
        let address = address.to_canonical();
        address.is_loopback()
            || link.is_tls && link.local == Some(address)
            || admin.hosts.iter().any(|host| host.parse() == Ok(address))
    };
    match name.parse() {
        Ok(address) => is_own(address),
        Err(_) => {
            // The one name that no DNS server answers for (RFC 6761 section 6.3).
            name.eq_ignore_ascii_case("localhost")
                || admin.hosts.iter().any(|host| host.eq_ignore_ascii_case(name.trim_end_matches('.')))
        }
    }
}

/// A Host without its port, and an address without its brackets.
fn name_of(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (port.is_empty() || port.starts_with(':')).then_some(address)
        }
        None => Some(host.split_once(':').map_or(host, |(name, _)| name)),
    }
}

#[cfg(test)]
mod tests;
