//! How many time-stamps clients have had in a month, as far as the caller may know. It does not know how they are counted.

use std::sync::Arc;

use axum::{Extension, extract::State, http::Uri, response::Response};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    Api, audit,
    handlers::json_of,
    problem::{Kind, Problem},
};
use crate::{
    admin::gate::Caller,
    pki::{UnixTime, written},
    principals::{Action, Object},
    usage,
};

/// `?month=2026-11&tenant=acme`: the present month and every tenant by default.
pub(super) async fn of_month(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (month, tenant) = parameters(&uri)?;
    let principal = caller.principal;
    audit::may_audit(&api, &principal, tenant.as_deref())?;
    let month = month.unwrap_or_else(|| usage::month_of(UnixTime::now()));
    let (directory, asked) = (api.state_dir.get().cloned().unwrap_or_default(), month.clone());
    let read = spawn_blocking(move || usage::month(&directory, &asked)).await;
    let read = read.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let counted = read.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let server = counted.as_ref().map(|counted| counted.server.clone());
    let mut used = counted.map(|counted| counted.used).unwrap_or_default();
    used.retain(|used| {
        let of = &used.account.tenant;
        tenant.as_ref().is_none_or(|tenant| tenant == of) && principal.may(Action::Audit, Object::Tenant(of))
    });
    Ok(json_of(&json!({ "format": 1, "month": month, "server": server, "usage": used })))
}

type Parameters = (Option<String>, Option<String>);

fn parameters(uri: &Uri) -> Result<Parameters, Problem> {
    let (mut month, mut tenant) = (None, None);
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "month" if usage::is_month(&value) => month = Some(value.into_owned()),
            "tenant" if !value.is_empty() => tenant = Some(value.into_owned()),
            _ => {
                let excerpt = written::excerpt(&format!("{name}={value}"));
                let detail =
                    format!("{excerpt} is no parameter of this path; expected `month=2026-11` or `tenant=NAME`");
                return Err(Problem::new(Kind::BadRequest, detail));
            }
        }
    }
    Ok((month, tenant))
}
