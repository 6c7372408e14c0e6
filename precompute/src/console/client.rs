//! The API, asked within the process.
//!
//! Invariant: each request is a principal's, and goes through the same handlers as any other client's, with its roles, its
//! limits, its lines in the log and in the journal. Nothing is known here of ledgers.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{
        Method, Request, StatusCode,
        header::{CONTENT_TYPE, HeaderName, USER_AGENT},
    },
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::view::Refused;
use crate::{
    admin::{
        gate::{Caller, Gate},
        listener::Peer,
    },
    limits::console::ANSWER_OCTETS_MAX,
};

/// The paths of the API, and what counts how much is asked for.
#[derive(Clone, Debug)]
pub(super) struct Client {
    api: Router,
    gate: Arc<Gate>,
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) caller: Caller,
    /// Where the browser is.
    pub(super) peer: Option<Peer>,
    /// What the browser calls itself.
    pub(super) agent: Option<axum::http::HeaderValue>,
}

impl Client {
    /// `api`: its paths, without a gate before them.
    pub(super) fn new(api: Router, gate: &Arc<Gate>) -> Self {
        Self { api, gate: Arc::clone(gate) }
    }

    /// Looks something up.
    pub(super) async fn get<T: DeserializeOwned>(&self, whose: &Whose, path: &str) -> Result<T, Refused> {
        self.ask(whose, Method::GET, path, Body::empty(), None).await
    }

    /// Does something, once for a key.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        whose: &Whose,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<T, Refused> {
        self.ask(whose, Method::POST, path, Body::from(body.to_string()), Some(key)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        whose: &Whose,
        method: Method,
        path: &str,
        body: Body,
        key: Option<&str>,
    ) -> Result<T, Refused> {
        let mut request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key);
        }
        if let Some(agent) = &whose.agent {
            request = request.header(USER_AGENT, agent);
        }
        let mut request = request.body(body).map_err(|_| Refused::of(StatusCode::BAD_REQUEST, "no path of the API"))?;
        request.extensions_mut().insert(whose.caller.clone());
        request.extensions_mut().insert(Arc::clone(&self.gate));
        if let Some(peer) = whose.peer {
            request.extensions_mut().insert(peer);
        }
        // It cannot fail.
        let Ok(response) = TowerToHyperService::new(self.api.clone()).call(request).await;
        let status = response.status();
        let defect = |what: &str| Refused::of(StatusCode::INTERNAL_SERVER_ERROR, what);
        let octets = to_bytes(response.into_body(), ANSWER_OCTETS_MAX).await;
        let octets = octets.map_err(|_| defect("the answer of the API is longer than the console takes"))?;
        if status.is_success() {
            return serde_json::from_slice(&octets).map_err(|_| defect("the answer of the API was not understood"));
        }
        let refused = serde_json::from_slice(&octets).unwrap_or_else(|_| Refused::of(status, ""));
        Err(Refused { status: status.as_u16(), ..refused })
    }
}

impl Refused {
    /// A refusal with this status.
    pub(super) fn of(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused").to_owned();
        Self { title, detail: detail.to_owned(), status: status.as_u16(), ..Self::default() }
    }

    /// As a status code.
    pub(super) fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
