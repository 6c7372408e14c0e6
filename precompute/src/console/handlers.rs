//! The paths of the console, one handler each. They decide nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};

use super::{
    Console,
    assets::Asset,
    deeds,
    forms::Form,
    gather, guard, look_ups,
    page::{Place, Trouble},
    pages::{ChartsPage, RANGES, clocks, overview},
    view::{Refused, Servers},
    visit::{Visit, go_to, html, trouble},
};
use crate::{
    admin::gate::By,
    limits::console::POINTS_MAX,
    pki::UnixTime,
    principals::{Action, Object},
};

pub(super) type It = State<Arc<Console>>;

pub(super) fn router(console: Arc<Console>) -> Router {
    let by = |by: By| post(async move |State(console): It, request: Request| console.sign_in(by, request).await);
    Router::new()
        .route("/", get(root))
        .route("/console", get(async || go_to("/console/")))
        .route("/console/", get(show_overview))
        .route("/console/sign-in", by(By::Token).get(show_sign_in))
        .route("/console/sign-in/certificate", by(By::Certificate))
        .route("/console/sign-out", post(async |State(it): It, request| it.sign_out(request).await))
        .route("/console/look-up", get(look_ups::show).post(look_ups::look_up))
        .route("/console/certificates/{issuer}/{serial}", get(look_ups::certificate))
        .route("/console/certificates/{issuer}/{serial}/{deed}", get(deeds::ask).post(deeds::act))
        .route("/console/certificates/{issuer}/{serial}/{deed}/confirm", post(deeds::confirm))
        .route("/console/charts", get(show_charts))
        .route("/console/clocks", get(show_clocks))
        .route("/console/audit", get(super::audit::show))
        .route("/console/assets/{name}", get(asset))
        .route("/console/{*rest}", any(nothing_here))
        .method_not_allowed_fallback(other_method)
        .with_state(console)
}

/// Browsers are sent to the console; others asked for nothing that there is.
async fn root(headers: HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        return go_to("/console/");
    }
    (StatusCode::NOT_FOUND, crate::admin::NOTHING).into_response()
}

async fn nothing_here(State(console): It, request: Request) -> Response {
    match console.visit(&request) {
        Ok(visit) => not_found(&visit),
        Err(refused) => refused,
    }
}

/// The page of a path at which there is nothing for this reader.
pub(super) fn not_found(visit: &Visit) -> Response {
    let refused = Refused::of(StatusCode::NOT_FOUND, "There is nothing at this address that you may see.");
    trouble(Some(&visit.reader), &refused, ("/console/", "To the overview"))
}

async fn other_method() -> Response {
    let detail = "This page is not asked for in this way. Open it from the navigation.";
    let page = Trouble { title: "Not done", detail, way_on: Some(("/console/", "To the overview")) };
    html(StatusCode::METHOD_NOT_ALLOWED, page.page(None))
}

async fn show_sign_in(State(console): It, request: Request) -> Response {
    console.sign_in_page(&request)
}

async fn show_overview(State(console): It, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    let view = gather::overview(&console.parts, &console.ring(), visit.principal(), UnixTime::now());
    let servers = servers(&console, &visit).await;
    Ok(html(StatusCode::OK, overview(&visit.reader, &view, servers.as_ref())))
}

/// The servers of the feed, for who may look at all of the service; where there is a feed.
async fn servers(console: &Console, visit: &Visit) -> Option<Servers> {
    if !visit.principal().may(Action::View, Object::Service) {
        return None;
    }
    match console.client.get(&visit.whose, "/v1/servers").await {
        Ok(servers) => Some(servers),
        Err(refused) if refused.code() == StatusCode::NOT_FOUND => None,
        Err(refused) => Some(Servers { problem: Some(refused.detail), ..Servers::default() }),
    }
}

async fn show_charts(State(console): It, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    if !visit.reader.places.contains(&Place::Charts) {
        let detail = "The charts are of the whole service: they take the right to view all tenants.";
        let refused = Refused::of(StatusCode::FORBIDDEN, detail);
        return Ok(trouble(Some(&visit.reader), &refused, ("/console/", "To the overview")));
    }
    let asked = Form::of_query(request.uri().query()).text("range");
    let (range, span): (&str, Duration) = RANGES.into_iter().find(|(name, _)| *name == asked).unwrap_or(RANGES[0]);
    let now = UnixTime::now();
    let curves = console.curves(span, POINTS_MAX, now);
    let page = ChartsPage { range, time: &now.to_string(), curves: &curves };
    Ok(html(StatusCode::OK, page.page(&visit.reader)))
}

async fn show_clocks(State(console): It, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    let Some(read) = &console.parts.clocks else { return Ok(not_found(&visit)) };
    let now = UnixTime::now();
    let mut rows = read(now);
    rows.retain(|row| visit.principal().may(Action::View, Object::Tenant(&row.tenant)));
    Ok(html(StatusCode::OK, clocks(&visit.reader, &now.to_string(), &rows)))
}

/// A file of the pages; it is nobody's secret.
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = Asset::named(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let etag = asset.etag();
    let is_kept = headers.get(IF_NONE_MATCH).is_some_and(|kept| kept.as_bytes() == etag.as_bytes());
    let mut response = if is_kept {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static(asset.media_type))], asset.content).into_response()
    };
    response.headers_mut().extend(guard::HEADERS.map(|(name, value)| (name, value)));
    // Its path has its hash.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}
