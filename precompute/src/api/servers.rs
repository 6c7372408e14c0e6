//! The servers of a feed: who they are, and one that is gone for good. It does not know how they are found.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    response::Response,
};
use serde_json::json;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{
    Api, access,
    handlers::{json_of, whole},
    members::Members,
    problem::{Kind, Problem},
    told::Sender,
};
use crate::{
    admin::gate::Caller,
    journal::trail,
    principals::{Action, Object},
    service::registry::{NotDecommissioned, Registry},
};

fn registry(api: &Api) -> Result<Registry, Problem> {
    api.registry.get().cloned().ok_or_else(|| {
        Problem::new(Kind::NotFound, "there is no `[feed]` in the configuration: this program works alone")
    })
}

/// All servers, as this one sees them.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    access::allow(&caller.principal, Action::View, Object::Service)?;
    let view = registry(&api)?.view();
    let mut list = view.roster().json();
    list["replicas_live"] = view.live_replicas().into();
    list["replicas_wanted"] = view.replicas_wanted().into();
    list["problem"] = view.unread().into();
    Ok(json_of(&list))
}

/// A server is gone for good.
pub(super) async fn decommission(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let from = Sender::of(&head);
    from.may(Action::Operate, Object::Service)?;
    let body = whole(&head.headers, body).await?;
    let even_alive = even_alive(&body)?;
    let registry = registry(&api)?;
    let asked = id.clone();
    let done = spawn_blocking(move || registry.decommission(&asked, even_alive)).await;
    let done = done.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    trail::tell("decommission", |event| {
        let word = if done.is_ok() { "done" } else { "refused" };
        let event = event.text("asked", &id).optional("decommissioned", done.as_ref().ok().map(|(server, _)| server));
        let event = event.text("outcome", word).optional("problem", done.as_ref().err());
        from.tell(event)
    });
    match done {
        Ok((server, called)) => {
            info!(principal = from.principal(), %from, "the server {called} was decommissioned");
            Ok(json_of(&json!({ "outcome": "done", "id": server.to_string(), "called": called })))
        }
        Err(refused) => {
            warn!(principal = from.principal(), %from, "the server {id} was not decommissioned: {refused}");
            let problem = Problem::new(Kind::NotDone, refused.to_string());
            Err(match refused {
                NotDecommissioned::Lives(_) => problem.with("member", EVEN_IF_ALIVE),
                NotDecommissioned::Refused(_) => problem,
            })
        }
    }
}

/// The one member that there may be; a problem names it where it would have helped.
pub(crate) const EVEN_IF_ALIVE: &str = "even_if_alive";

fn even_alive(body: &[u8]) -> Result<bool, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(false);
    }
    let mut members = Members::read(body, "body", "{}")?;
    let given = members.take(EVEN_IF_ALIVE);
    members.finish(&[EVEN_IF_ALIVE], "decommission")?;
    match given {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| Problem::of_member(EVEN_IF_ALIVE, "is neither true nor false")),
    }
}
