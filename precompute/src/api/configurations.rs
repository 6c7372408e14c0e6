//! Versions of the configuration that is everybody's. It does not know how they are told.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    http::request::Parts,
    response::Response,
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{
    Api, access,
    handlers::{json_of, unread, whole},
    problem::{Kind, Problem},
    told::Sender,
};
use crate::{
    admin::gate::Caller,
    assemble::Published,
    pki::written,
    principals::{Action, Object},
    service::configurations::{Announcer, By, Kept},
};

fn announcer(api: &Api) -> Result<Announcer, Problem> {
    api.announcer.get().cloned().ok_or_else(|| {
        Problem::new(Kind::NotFound, "there is no `[feed]` in the configuration: this program works alone")
    })
}

/// To whoever may configure.
fn shown_to(api: &Api, caller: &Caller) -> Result<Announcer, Problem> {
    access::allow(&caller.principal, Action::Configure, Object::Service)?;
    announcer(api)
}

fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("{} is no number of a version", written::excerpt(text));
        Problem::new(Kind::BadRequest, detail).with("member", "number")
    })
}

/// Versions lie on a disk, and what is tried opens keys.
async fn apart<T: Send + 'static>(job: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    spawn_blocking(job).await.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string())))
}

fn version(announcer: &Announcer, text: &str) -> Result<Kept, Problem> {
    announcer.version(number(text)?).map_err(|detail| Problem::new(Kind::NotFound, detail))
}

fn told(kept: &Kept) -> Value {
    json!({ "version": kept.number, "published": kept.made.to_string(), "digest": kept.digest })
}

/// Those that are kept here, the newest first, and what this writer runs with beside the newest.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let announcer = shown_to(&api, &caller)?;
    let listed = apart(move || {
        let versions = announcer.kept().list().into_iter().rev().map(
            |(number, made, digest)| json!({ "version": number, "published": made.to_string(), "digest": digest }),
        );
        let versions: Vec<Value> = versions.collect();
        let unpublished = match announcer.unpublished() {
            Some(Ok(changed)) => json!(changed),
            Some(Err(problem)) => json!([problem]),
            None => Value::Null,
        };
        Ok(json!({ "versions": versions, "unpublished": unpublished }))
    });
    Ok(json_of(&listed.await?))
}

/// One of them.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(asked): Path<String>,
) -> Result<Response, Problem> {
    let announcer = shown_to(&api, &caller)?;
    let shown = apart(move || {
        let kept = version(&announcer, &asked)?;
        let mut shown = told(&kept);
        shown["files"] = kept.published.files().into();
        shown["tenants"] = kept.published.text().into();
        Ok(shown)
    });
    Ok(json_of(&shown.await?))
}

/// What differs between two of them; `own` is what this writer runs with.
pub(super) async fn difference(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((one, other)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let announcer = shown_to(&api, &caller)?;
    let changed = apart(move || {
        let of = |text: &str| -> Result<Arc<Published>, Problem> {
            if text == "own" {
                let own = announcer.own().map_err(|problem| Problem::new(Kind::NotDone, problem));
                return own.map(Arc::new);
            }
            Ok(version(&announcer, text)?.published)
        };
        Ok(json!({ "changed": of(&one)?.differences(&*of(&other)?) }))
    });
    Ok(json_of(&changed.await?))
}

/// What this writer runs with is published.
pub(super) async fn publish(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    make(&api, head, body, Announcer::publish).await
}

/// What a version says is published again.
pub(super) async fn roll_back(
    State(api): State<Arc<Api>>,
    Path(asked): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let number = number(&asked);
    let roll_back = move |announcer: &Announcer, by: &By| match number {
        Ok(number) => announcer.roll_back(number, by),
        Err(problem) => Err(problem.detail),
    };
    make(&api, head, body, roll_back).await
}

async fn make(
    api: &Api,
    head: Parts,
    body: Body,
    make: impl FnOnce(&Announcer, &By) -> Result<(Kept, Vec<String>), String> + Send + 'static,
) -> Result<Response, Problem> {
    let from = Sender::of(&head);
    let allowed = from.may(Action::Configure, Object::Service).and_then(|()| announcer(api));
    let announcer = match allowed {
        Ok(announcer) => announcer,
        Err(problem) => return Err(unread(&head.headers, body, problem).await),
    };
    whole(&head.headers, body).await?;
    let made = apart(move || {
        let by: Box<By> = Box::new(move |event| from.tell(event));
        let (kept, changed) = make(&announcer, &*by).map_err(|problem| Problem::new(Kind::NotDone, problem))?;
        let mut made = told(&kept);
        made["changed"] = json!(changed);
        let unpublished = announcer.unpublished().and_then(Result::ok);
        made["unpublished"] = unpublished.map_or(Value::Null, |changed| json!(changed));
        Ok(made)
    });
    Ok(json_of(&made.await?))
}
