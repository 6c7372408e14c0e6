//! How the service fares, at a glance: for consoles and people.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use serde_json::{Map, Value, json};

use super::{Api, issuers, signers};
use crate::{
    admin::gate::Caller,
    pki::UnixTime,
    principals::{Action, Object, Principal},
};

/// What was counted of one issuer, one authority, or of a tenant's URL that named neither.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The tenant.
    pub tenant: String,
    /// `ocsp` or `tsa`.
    pub kind: &'static str,
    /// The name of the issuer or authority, if it was one.
    pub name: Option<String>,
    /// How many requests had each outcome since the start.
    pub results: Vec<(&'static str, u64)>,
}

/// The whole of it, as far as whoever asks may look.
pub(super) async fn get(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Response {
    super::handlers::json_of(&overview(&api, &caller.principal, UnixTime::now()))
}

fn overview(api: &Api, principal: &Principal, now: UnixTime) -> Value {
    let may_view = |tenant: &str| principal.may(Action::View, Object::Tenant(tenant));
    let (process, settings) = (api.process.get(), api.settings());
    let (ready, lines) = process.map(|process| process.status.ocsp_readiness(now, false)).unwrap_or_default();
    // They name everybody.
    let all = principal.may(Action::View, Object::Service);
    let remarks: Vec<_> = lines.lines().skip(1).filter(|_| all).collect();
    let described = issuers::shown(&api.ledgers, principal);
    let described = described.iter().map(|issuer| {
        let configured = settings.issuers.get(issuer.id());
        let mut told = issuers::description(issuer, configured.map(|configured| &configured.certificate), now);
        // Long, and in the list of issuers.
        told["certificate"].take();
        told
    });
    let counted = process.map(|process| (process.traffic)()).unwrap_or_default();
    let traffic = counted.iter().filter(|counted| may_view(&counted.tenant)).map(|counted| {
        let results: Map<_, _> =
            counted.results.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect();
        json!({ "kind": counted.kind, "tenant": counted.tenant, "name": counted.name, "results": results })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time": now.to_string(),
        "ready": ready,
        "remarks": remarks,
        "issuers": described.collect::<Vec<_>>(),
        "signers": signers::signers(api, principal, now),
        "traffic": traffic.collect::<Vec<_>>(),
    })
}
