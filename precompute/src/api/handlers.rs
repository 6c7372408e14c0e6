//! The paths of the API, one handler each. They decide nothing.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
        request::Parts,
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{
    Api, access, audit, configurations, description, issuers, overview,
    place::Place,
    problem::{Kind, Problem},
    pushing::Pushing,
    refusals,
    request::{self, Verb},
    servers, signers, snapshot,
    told::{self, Sender},
    upload::{Upload, frame},
    usage,
};
use crate::{
    admin::{
        gate::{CHALLENGE, Caller, Gate},
        listener::Stay,
    },
    config::Sources,
    journal::trail,
    ledger::{Ledger, Push},
    limits,
    pki::{
        Serial, UnixTime,
        written::{self, Radix},
    },
    principals::{Action, Object},
    records::Found,
    service::Asked,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What there is, for people: method, path, and what for.
pub(super) const PATHS: [(&str, &str, &str); 22] = [
    ("GET", "/v1/openapi.json", "all of this, as OpenAPI describes it"),
    ("GET", "/v1/status", "how the service fares, at a glance"),
    ("GET", "/v1/issuers", "the issuers, and the condition of their sources"),
    ("GET", "/v1/issuers/ID/certificates/SERIAL", "what is known of a certificate"),
    ("GET", "/v1/certificates/SERIAL", "the same of every issuer that has it"),
    ("POST", "/v1/issuers/ID/add", "a certificate was issued"),
    ("POST", "/v1/issuers/ID/revoke", "it is revoked, or put on hold"),
    ("POST", "/v1/issuers/ID/release", "its hold ends"),
    ("POST", "/v1/issuers/ID/bulk", "a list of these, a line each"),
    ("POST", "/v1/feed/handover", "another writer of the feed is to lead"),
    ("POST", "/v1/feed/promote", "this writer is to lead, whoever does now"),
    ("GET", "/v1/servers", "the servers of the feed, and how each fares"),
    ("POST", "/v1/servers/ID/decommission", "a server is gone for good"),
    ("GET", "/v1/configurations", "the versions of the configuration that were published"),
    ("POST", "/v1/configurations", "what this writer runs with is published"),
    ("GET", "/v1/configurations/N", "a version: its tenants, in TOML"),
    (
        "GET",
        "/v1/configurations/N/difference/M",
        "what differs between two versions; `own` is what this writer runs with",
    ),
    ("POST", "/v1/configurations/N/rollback", "what a version says is published again"),
    ("GET", "/v1/usage", "what clients of time-stamping have had in a month"),
    ("GET", "/v1/signers", "who signs, until when, and whether it works"),
    ("GET", "/v1/audit", "the journal, the latest lines first"),
    ("GET", "/v1/snapshot", "a backup of the book, as `ostia-precompute snapshot` writes it into a file"),
];

pub(super) fn router(api: Arc<Api>) -> Router {
    let mut paths = Router::new()
        .route("/", get(index))
        .route("/openapi.json", get(async || json_of(&description::OPENAPI)))
        .route("/status", get(overview::get))
        .route("/signers", get(signers::list))
        .route("/audit", get(audit::page))
        .route("/issuers", get(list))
        .route("/issuers/{id}/certificates/{serial}", get(look_up))
        .route("/certificates/{serial}", get(look_up_everywhere))
        .route("/configurations", get(configurations::list).post(configurations::publish))
        .route("/configurations/{number}", get(configurations::show))
        .route("/configurations/{number}/difference/{other}", get(configurations::difference))
        .route("/configurations/{number}/rollback", post(configurations::roll_back))
        .route("/servers", get(servers::list))
        .route("/servers/{id}/decommission", post(servers::decommission))
        .route("/usage", get(usage::of_month))
        .route("/snapshot", get(back_up))
        .route("/issuers/{id}/bulk", post(bulk));
    for asked in [Asked::HandOver, Asked::Promote] {
        paths =
            paths.route(&format!("/feed/{asked}"), post(async move |api, request| operate(asked, api, request).await));
    }
    for verb in Verb::ALL {
        let path = format!("/issuers/{{id}}/{}", verb.name());
        paths =
            paths.route(&path, post(async move |api, caller, id, request| push(verb, api, caller, id, request).await));
    }
    let admitted = middleware::from_fn_with_state(Arc::clone(&api), admit);
    let paths =
        paths.fallback(nothing_here).method_not_allowed_fallback(other_method).layer(admitted.clone()).with_state(api);
    // Nested paths do not have the one that ends in the slash.
    let slash = Router::new().route("/v1/", get(index)).method_not_allowed_fallback(other_method).layer(admitted);
    Router::new().nest("/v1", paths).merge(slash)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, written_as(PROBLEM, &self)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, limits::API_RETRY_AFTER.as_secs().into());
        }
        if self.kind == Kind::Forbidden {
            response.extensions_mut().insert(Forbidden(self));
        }
        response
    }
}

/// A value as the body of a response.
fn written_as(media_type: HeaderValue, value: &impl Serialize) -> ([(HeaderName, HeaderValue); 2], Vec<u8>) {
    // Plain values, in memory.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, HeaderValue::from_static("no-store"))], text)
}

pub(super) fn json_of(value: &Value) -> Response {
    written_as(JSON, value).into_response()
}

/// What `%` stands for in a path has to be UTF-8: axum would refuse it in its own words.
fn check_path(path: &str) -> Result<(), Problem> {
    let digit = |octet: Option<&u8>| char::from(*octet?).to_digit(16).map(|digit| digit as u8);
    let (mut octets, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (digit(behind.first()), digit(behind.get(1))) {
            (Some(high), Some(low)) if *first == b'%' => {
                octets.push(high << 4 | low);
                rest = &behind[2..];
            }
            _ => octets.push(*first),
        }
    }
    match std::str::from_utf8(&octets) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(Problem::new(Kind::BadRequest, "the path is no UTF-8 behind its `%`; names are written in UTF-8"))
        }
    }
}

/// What a principal may not do. The response has it as an extension, for whoever tells of it.
#[derive(Clone)]
struct Forbidden(Problem);

/// Stands before every path.
async fn admit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match access::admit(request.headers(), request.extensions()) {
        Ok(()) => {
            let (head, body) = request.into_parts();
            if let Err(problem) = check_path(head.uri.path()) {
                return unread(&head.headers, body, problem).await.into_response();
            }
            let (from, asked) = (Sender::of(&head), refusals::asked(&head));
            let response = next.run(Request::from_parts(head, body)).await;
            if let Some(Forbidden(problem)) = response.extensions().get() {
                api.refusals.tell(&from, &asked, problem);
            }
            response
        }
        Err(problem) => {
            let (head, body) = request.into_parts();
            api.refusals.tell(&Sender::of(&head), &refusals::asked(&head), &problem);
            unread(&head.headers, body, problem).await.into_response()
        }
    }
}

async fn index() -> Response {
    let paths = PATHS.map(|(method, path, what)| json!({ "method": method, "path": path, "what": what }));
    json_of(&json!({ "paths": paths }))
}

async fn nothing_here(request: Request) -> Problem {
    let ends_in_slash = if request.uri().path().ends_with('/') { "a path does not end in a slash; " } else { "" };
    let paths = PATHS.map(|(_, path, _)| path).join(", ");
    let (head, body) = request.into_parts();
    unread(&head.headers, body, Problem::new(Kind::NotFound, format!("{ends_in_slash}the paths are {paths}"))).await
}

async fn other_method(request: Request) -> Problem {
    let (head, body) = request.into_parts();
    let detail = format!(
        "{} is not a method of this path; use GET to look up, POST to push",
        written::excerpt(head.method.as_str())
    );
    unread(&head.headers, body, Problem::new(Kind::MethodNotAllowed, detail)).await
}

async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Response {
    let (settings, now) = (api.settings(), UnixTime::now());
    let ledgers = issuers::shown(&api.ledgers, &caller.principal);
    let described = ledgers.iter().map(|issuer| {
        let configured = settings.issuers.get(issuer.id());
        issuers::description(issuer, configured.map(|configured| &configured.certificate), now)
    });
    json_of(&json!({ "issuers": described.collect::<Vec<_>>() }))
}

async fn look_up(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((id, serial)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let serial = read_serial(&serial, &uri)?;
    let issuer = issuers::find(&issuers::visible(&api.ledgers, &caller.principal), &id)?;
    access::allow(&caller.principal, Action::View, Object::Tenant(issuer.id().tenant()))?;
    let Some(found) = issuer.look_up(&serial) else {
        let detail = format!("no source and no push has listed {serial} of {}", issuer.name());
        let problem = Problem::new(Kind::NotListed, detail).with("serial", serial.to_string());
        let answered = issuers::answered_otherwise([&issuer], &api.tenants(), &serial, UnixTime::now());
        return Err(problem.with("issuer", issuers::reference(&issuer)).with("answered", answered));
    };
    Ok(json_of(&known(&api, &issuer, &serial, &found)))
}

async fn look_up_everywhere(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let serial = read_serial(&serial, &uri)?;
    let ledgers = issuers::shown(&api.ledgers, &caller.principal);
    let tenants = api.tenants();
    let found = ledgers.iter().filter_map(|issuer| Some(known(&api, issuer, &serial, &issuer.look_up(&serial)?)));
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        let detail = format!("no source and no push has listed {serial} of any issuer");
        let answered = issuers::answered_otherwise(ledgers.iter(), &tenants, &serial, UnixTime::now());
        let problem = Problem::new(Kind::NotListed, detail).with("serial", serial.to_string());
        return Err(problem.with("answered", answered));
    }
    Ok(json_of(&json!({ "serial": serial.to_string(), "certificates": found })))
}

/// What is known of a certificate, and which answers about it are kept.
fn known(api: &Api, issuer: &Ledger, serial: &Serial, found: &Found) -> Value {
    let tenants = api.tenants();
    let mut record = issuers::record(issuer, &tenants, serial, found);
    if let Some(process) = api.process.get() {
        record["answers"] = issuers::kept(issuer, &tenants, &process.answers, serial, UnixTime::now()).into();
    }
    record
}

/// The serial number of a path; `?decimal=1` says that it is in decimal.
fn read_serial(text: &str, uri: &Uri) -> Result<Serial, Problem> {
    let mut radix = Radix::default();
    for parameter in uri.query().unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        radix = match parameter {
            "decimal=1" | "decimal=true" | "decimal" => Radix::Decimal,
            "decimal=0" | "decimal=false" => Radix::Hexadecimal,
            other => {
                let detail =
                    format!("{} is no parameter of this path; the only one is `decimal=1`", written::excerpt(other));
                return Err(Problem::new(Kind::BadRequest, detail));
            }
        };
    }
    written::serial(text, radix).map_err(|what| Problem::of_member("serial", format_args!("is {what}")))
}

async fn push(
    verb: Verb,
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let from = Sender::of(&head);
    let meant = || {
        check_type(&head.headers, &["application/json"])?;
        let key = idempotency_key(&head.headers)?;
        let issuer = issuers::find(&issuers::visible(&api.ledgers, &caller.principal), &id)?;
        from.may(verb.action(), Object::Tenant(issuer.id().tenant()))?;
        Ok((key, issuer))
    };
    let (key, issuer) = match meant() {
        Ok(meant) => meant,
        Err(problem) => return Err(unread(&head.headers, body, problem).await),
    };
    let body = whole(&head.headers, body).await?;
    if let Some(gate) = head.extensions.get::<Arc<Gate>>() {
        gate.count_pushes(from.principal(), issuer.id().tenant(), 1, false).map_err(|wait| {
            let what = "more is pushed than `pushes_per_second` of the principal or of the tenant allows";
            Problem::too_often(what, wait)
        })?;
    }
    let configured = api.settings().issuers.get(issuer.id()).cloned();
    let pushing = Pushing::new(issuer, api.telling.clone());
    let job = spawn_blocking(move || {
        let push = request::read(verb, &body, configured.as_ref().map(|configured| &configured.certificate))?;
        push_one(&pushing, configured.as_ref().map(|configured| &configured.sources), &from, verb, push, key.as_deref())
    });
    let answer = job.await.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string())))?;
    Ok(json_of(&answer))
}

/// Blocks until the push is durable, and told where there is a feed.
fn push_one(
    pushing: &Pushing,
    sources: Option<&Sources>,
    from: &Sender,
    verb: Verb,
    push: Push,
    key: Option<&str>,
) -> Result<Value, Problem> {
    let issuer = pushing.ledger();
    let told = |problem: Problem| {
        let problem = problem.with("serial", push.serial.to_string()).with("issuer", issuers::reference(issuer));
        let (tenant, name, serial, detail) = (issuer.id().tenant(), issuer.name(), push.serial, &problem.detail);
        let principal = from.principal();
        warn!(tenant, issuer = name, %serial, by = "push", principal, %from, "{} was refused: {detail}", verb.name());
        told::keep(issuer, from, &push, "refused", Some(detail));
        problem
    };
    let outcomes = pushing.push(&[push], key, UnixTime::now()).map_err(told)?;
    let Some(outcome) = outcomes.into_iter().next() else {
        return Err(told(Problem::new(Kind::Internal, "the ledger gave no outcome")));
    };
    let outcome = outcome.map_err(|refusal| told(refusal.into()))?;
    told::taken(issuer, sources, from, &push, outcome, key);
    told::keep(issuer, from, &push, told::name(outcome), None);
    let (outcome, serial) = (told::name(outcome), push.serial.to_string());
    let mut answer = json!({ "outcome": outcome, "serial": serial, "issuer": issuers::reference(issuer) });
    if let Some(note) = told::note(&push) {
        answer["note"] = note.into();
    }
    Ok(answer)
}

/// Who leads the feed changes.
async fn operate(asked: Asked, State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let from = Sender::of(&head);
    if let Err(problem) = from.may(Action::Operate, Object::Service) {
        return Err(unread(&head.headers, body, problem).await);
    }
    let Some(operator) = api.operator.clone() else {
        let detail = "there is no `[feed]` in the configuration: this program works alone";
        return Err(unread(&head.headers, body, Problem::new(Kind::NotFound, detail)).await);
    };
    whole(&head.headers, body).await?;
    let outcome = spawn_blocking(move || operator.ask(asked)).await;
    let outcome = outcome.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    trail::tell("operator", |event| {
        let word = if outcome.is_ok() { "done" } else { "refused" };
        from.tell(event.text("asked", asked).text("outcome", word).optional("problem", outcome.as_ref().err()))
    });
    let principal = from.principal();
    match outcome {
        Ok(done) => {
            info!(principal, %from, "`{asked}`: {done}");
            Ok(json_of(&json!({ "outcome": "done", "note": done })))
        }
        Err(refused) => {
            warn!(principal, %from, "`{asked}` was refused: {refused}");
            Err(Problem::new(Kind::NotDone, refused))
        }
    }
}

async fn bulk(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let from = Sender::of(&head);
    let meant = || {
        check_type(&head.headers, &["application/x-ndjson", "application/ndjson", "application/jsonl"])?;
        let ledger = issuers::find(&issuers::visible(&api.ledgers, &caller.principal), &id)?;
        // Each line says what it is; who has no right to any has none to send a list.
        let may = |verb: Verb| from.may(verb.action(), Object::Tenant(ledger.id().tenant()));
        if Verb::ALL.into_iter().all(|verb| may(verb).is_err()) {
            may(Verb::Revoke)?;
        }
        api.telling.as_ref().map_or(Ok(()), |telling| telling.takes_pushes())?;
        Ok((ledger, place(&api, &head, &from)?))
    };
    let (ledger, place) = match meant() {
        Ok(meant) => meant,
        Err(problem) => return Err(unread(&head.headers, body, problem).await),
    };
    let configured = api.settings().issuers.get(ledger.id()).cloned();
    let stay = head.extensions.get::<Stay>().map(Stay::extend);
    let pushing = Pushing::new(ledger, api.telling.clone());
    let gate = head.extensions.get::<Arc<Gate>>().cloned();
    let upload = Upload { pushing, configured, from, gate, place, stay, idle_max: api.idle_max };
    let answer = upload.take(body, head.headers.contains_key(EXPECT)).await;
    Ok(([(CONTENT_TYPE, NDJSON)], answer).into_response())
}

/// A place among the lists and backups that may be under way. Where there are several principals none has them all, so that
/// one with many lists, or with slow ones, keeps nobody else away.
pub(super) fn place(api: &Arc<Api>, head: &Parts, from: &Sender) -> Result<Place, Problem> {
    let several = head.extensions.get::<Arc<Gate>>().is_some_and(|gate| gate.settings().known.count() > 1);
    let most = if several { api.uploads_max.div_ceil(2) } else { api.uploads_max };
    Place::take(api, from.principal(), most)
}

async fn back_up(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let from = Sender::of(&head);
    from.may(Action::BackUp, Object::Service)?;
    let (place, stay) = (place(&api, &head, &from)?, head.extensions.get::<Stay>().map(Stay::extend));
    let backup = snapshot::begin(&api, from, place, stay)?;
    Ok(([(CONTENT_TYPE, OCTETS), (CACHE_CONTROL, HeaderValue::from_static("no-store"))], backup).into_response())
}

/// The media type, and that the body is not compressed.
fn check_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Problem> {
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "the body has a Content-Encoding; send it as it is, uncompressed";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let given = headers.get(CONTENT_TYPE).map(|given| given.to_str().unwrap_or_default());
    let essence = given.map(|given| given.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|essence| expected.iter().any(|expected| expected.eq_ignore_ascii_case(essence))) {
        return Ok(());
    }
    let given = essence.map_or("is missing".into(), |essence| format!("is {}", written::excerpt(essence)));
    Err(Problem::new(Kind::UnsupportedMediaType, format!("the Content-Type {given}; send `{}`", expected[0])))
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = given.next() else { return Ok(None) };
    // A string of a structured field (RFC 8941) has quotation marks, and many clients send none.
    let key = first.to_str().unwrap_or_default().trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let is_key = (1..=limits::IDEMPOTENCY_KEY_OCTETS_MAX).contains(&key.len())
        && key.bytes().all(|octet| octet.is_ascii_graphic());
    if !is_key || given.next().is_some() {
        let detail = format!(
            "`Idempotency-Key` has to be there once, with 1 to {} visible ASCII characters, such as a UUID",
            limits::IDEMPOTENCY_KEY_OCTETS_MAX
        );
        return Err(Problem::new(Kind::BadRequest, detail).with("member", "Idempotency-Key"));
    }
    Ok(Some(key.to_owned()))
}

pub(super) async fn whole(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Problem> {
    let most = limits::API_BODY_OCTETS_MAX;
    let mut content = Vec::new();
    while let Some(octets) = frame(&mut body).await {
        let octets =
            octets.map_err(|error| Problem::new(Kind::BadRequest, format!("the body was cut short: {error}")))?;
        content.extend_from_slice(&octets);
        if content.len() > most {
            let detail = format!("the body is longer than {most} bytes; send lists to .../bulk");
            return Err(unread(headers, body, Problem::new(Kind::TooLarge, detail)).await);
        }
    }
    Ok(content)
}

/// Reads what is left of a refused request's body, up to a bound and while it comes: a client that is still sending when
/// the connection is closed may be told of the reset, and not of the problem. One that waits to be asked is not.
pub(super) async fn unread(headers: &HeaderMap, mut body: Body, problem: Problem) -> Problem {
    if headers.contains_key(EXPECT) {
        return problem;
    }
    let mut left = limits::API_UNREAD_OCTETS_MAX;
    while let Ok(Some(Ok(octets))) = timeout(limits::API_UNREAD_IDLE_MAX, frame(&mut body)).await {
        match left.checked_sub(octets.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    problem
}
