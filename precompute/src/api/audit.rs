//! The lines of the journal, the latest first.
//!
//! Invariant: whoever may audit some tenants gets the lines that name those and nothing of others, not even how many there are.
//! A request reads a bounded part of the journal, and says where the next one goes on. It does not know what lines say beyond
//! the members that it looks for.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{
    Api, JournalFile, access,
    handlers::{json_of, place},
    problem::{Kind, Problem},
    told::Sender,
};
use crate::{
    admin::gate::Caller,
    audit::{self, Key, Report},
    limits,
    pki::{
        UnixTime,
        written::{self, Radix},
    },
    principals::{Action, Object, Principal},
};

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Query {
    tenant: Option<String>,
    kind: Option<String>,
    serial: Option<String>,
    /// From this time on.
    since: Option<UnixTime>,
    /// Up to and without this.
    until: Option<UnixTime>,
    /// Lines with lower numbers only.
    before: Option<u64>,
    limit: usize,
    /// Whether the signatures of the journal over itself are told among the others.
    heads: bool,
    verify: bool,
}

const PARAMETERS: &str = "`tenant`, `type`, `serial`, `since`, `until`, `before`, `limit`, `heads`, `verify`";

/// The type of the signatures of a journal over itself, of which there is one for each second.
const HEAD: &str = "head";

/// A page of lines.
pub(super) async fn page(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let query = read(head.uri.query().unwrap_or_default())?;
    let principal = Arc::clone(&caller.principal);
    let all = may_audit(&api, &principal, query.tenant.as_deref())?;
    let journal = api.process.get().and_then(|process| process.journal.clone());
    let Some(JournalFile { path, key }) = journal else {
        let detail = "no journal is kept: add a section `[journal]` to the configuration, and restart the service";
        return Err(Problem::new(Kind::NotFound, detail));
    };
    let place = place(&api, &head, &Sender::of(&head))?;
    let job = spawn_blocking(move || {
        let _place = place;
        let answer = told(&path, key, &query, &principal, all);
        answer.map_err(|error| Problem::new(Kind::Internal, format!("the journal cannot be read: {error}")))
    });
    job.await.unwrap_or_else(|error| Err(Problem::new(Kind::Internal, error.to_string()))).map(|value| json_of(&value))
}

/// Whether it may see every line; an error if it may see none of those that are asked for.
pub(super) fn may_audit(api: &Api, principal: &Principal, tenant: Option<&str>) -> Result<bool, Problem> {
    if let Some(tenant) = tenant {
        if !principal.sees(tenant) {
            return Err(Problem::new(Kind::NotFound, format!("there is no tenant {}", written::excerpt(tenant))));
        }
        access::allow(principal, Action::Audit, Object::Tenant(tenant))?;
    }
    let all = principal.may(Action::Audit, Object::Service);
    let of_some = || {
        api.ledgers.all().iter().any(|ledger| may(principal, ledger.id().tenant()))
            || api.settings().tsas.iter().any(|tsa| may(principal, &tsa.tenant))
    };
    if !all && !of_some() {
        access::allow(principal, Action::Audit, Object::Service)?;
    }
    Ok(all)
}

fn may(principal: &Principal, tenant: &str) -> bool {
    principal.may(Action::Audit, Object::Tenant(tenant))
}

fn read(text: &str) -> Result<Query, Problem> {
    let mut query = Query {
        tenant: None,
        kind: None,
        serial: None,
        since: None,
        until: None,
        before: None,
        limit: limits::audit::PAGE_LINES,
        heads: true,
        verify: false,
    };
    let wrong = |member: &'static str, what: String| Problem::of_member(member, format_args!("is {what}"));
    let truth = |member: &'static str, value: &str| match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(wrong(member, format!("{}; expected true or false", written::excerpt(other)))),
    };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let time = |member| written::time(&value).map(Some).map_err(|what| wrong(member, what));
        match &*name {
            "tenant" | "type" if value.is_empty() => {
                return Err(Problem::new(Kind::BadRequest, format!("`{name}` is empty; leave it out for all")));
            }
            "tenant" => query.tenant = Some(value.into_owned()),
            "type" => query.kind = Some(value.into_owned()),
            "serial" => {
                let serial = written::serial(&value, Radix::Hexadecimal).map_err(|what| wrong("serial", what))?;
                query.serial = Some(serial.to_string());
            }
            "since" => query.since = time("since")?,
            "until" => query.until = time("until")?,
            "before" => {
                let before = value.parse().ok().filter(|before| (1..=i64::MAX as u64).contains(before));
                let expected = || wrong("before", format!("{}; expected a line's `seq`", written::excerpt(&value)));
                query.before = Some(before.ok_or_else(expected)?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=limits::audit::PAGE_LINES_MAX).contains(limit));
                let most = limits::audit::PAGE_LINES_MAX;
                let expected = || wrong("limit", format!("{}; expected 1 to {most}", written::excerpt(&value)));
                query.limit = limit.ok_or_else(expected)?;
            }
            "heads" => query.heads = truth("heads", &value)?,
            "verify" => query.verify = truth("verify", &value)?,
            other => {
                let other = written::excerpt(other);
                let detail = format!("{other} is no parameter of this path; there are {PARAMETERS}");
                return Err(Problem::new(Kind::BadRequest, detail));
            }
        }
    }
    Ok(query)
}

fn told(path: &Path, key: Key, query: &Query, principal: &Principal, all: bool) -> std::io::Result<Value> {
    let files = audit::files_of(path)?;
    let verified = match query.verify {
        true => Some(audit::verify(&files, Some(key))?),
        false => None,
    };
    let (mut lines, mut last) = (Vec::new(), None);
    let more = audit::latest(&files, query.before, limits::audit::PAGE_OCTETS_MAX, |line| {
        let Ok(line) = serde_json::from_slice::<Value>(line) else { return ControlFlow::Continue(()) };
        last = line["seq"].as_u64().or(last);
        let is_seen = all || line["tenant"].as_str().is_some_and(|tenant| may(principal, tenant));
        if is_seen && query.takes(&line) {
            lines.push(line);
        }
        if lines.len() < query.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let before = last.filter(|seq| more && *seq > 1);
    Ok(json!({ "lines": lines, "before": before, "verified": verified.map(|report| outcome(&report, all)) }))
}

impl Query {
    fn takes(&self, line: &Value) -> bool {
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| line[name].as_str() == Some(wanted))
        };
        let has_serial = |serial: &String| {
            let several = line["serials"].as_array();
            line["serial"] == **serial || several.is_some_and(|all| all.iter().any(|one| one == serial))
        };
        // In microseconds there, and in UTC here and there.
        let second = |time: UnixTime| time.to_string().trim_end_matches('Z').to_owned();
        let at = line["at"].as_str().unwrap_or_default();
        is(&self.tenant, "tenant")
            && is(&self.kind, "type")
            && (self.heads || self.kind.is_some() || line["type"] != HEAD)
            && self.serial.as_ref().is_none_or(has_serial)
            && self.since.is_none_or(|since| at >= second(since).as_str())
            && self.until.is_none_or(|until| at < second(until).as_str())
    }
}

/// What came of verifying the whole journal. Who may not see all of it learns no more than whether it is in order.
fn outcome(report: &Report, all: bool) -> Value {
    let mut told = json!({ "in_order": report.is_in_order(), "last_head": report.last_head });
    if all {
        told["lines"] = report.lines.into();
        told["heads"] = report.heads.into();
        told["behind_head"] = report.behind_head.into();
        told["faults"] = report.faults.iter().map(ToString::to_string).collect();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_takes_the_lines_that_it_names_and_refuses_what_it_does_not_know() {
        let line = json!({ "at": "2026-11-30T17:40:27.123456Z", "type": "push", "tenant": "a b", "serial": "0A" });
        let head = json!({ "at": "2026-11-30T17:40:27.123456Z", "type": "head", "signature": "00" });
        for (text, of_head, of_line) in [
            ("", true, true),
            ("heads=false", false, true),
            ("heads=0&type=head", true, false),
            ("heads=1", true, true),
        ] {
            let query = read(text).unwrap();
            assert_eq!((query.takes(&head), query.takes(&line)), (of_head, of_line), "{text}");
        }
        let many = json!({ "at": "2026-11-30T17:40:27.123456Z", "type": "revoked", "serials": ["0A", "0B"] });
        for (text, of_line, of_many) in [
            ("", true, true),
            ("tenant=a%20b", true, false),
            ("tenant=a+b&type=push", true, false),
            ("type=revoked", false, true),
            ("serial=0x0a", true, true),
            ("serial=0B", false, true),
            ("since=2026-11-30T17:40:27Z", true, true),
            ("since=2026-11-30T17%3A40%3A28Z", false, false),
            ("until=2026-11-30T17:40:27Z", false, false),
            ("until=2026-11-30T17:40:28Z", true, true),
        ] {
            let query = read(text).unwrap();
            assert_eq!((query.takes(&line), query.takes(&many)), (of_line, of_many), "{text}");
        }
        for (text, words) in [
            ("tenants=a", "`tenants` is no parameter of this path"),
            ("serial=x", "`serial` is"),
            ("since=yesterday", "`since` is"),
            ("before=0", "expected a line's `seq`"),
            ("tenant=", "`tenant` is empty"),
            ("limit=1001", "expected 1 to 1000"),
            ("verify=yes", "expected true or false"),
            ("heads=", "`heads` is"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.kind == Kind::BadRequest && problem.detail.contains(words), "{text}: {}", problem.detail);
        }
    }
}
