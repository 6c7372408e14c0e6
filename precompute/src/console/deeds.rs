//! Adding, revoking, holding and releasing: asked, confirmed, done.
//!
//! Invariant: nothing is done before somebody has seen what will happen and has said so again; and it is done by the API.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Map, Value};

use super::{
    forms::Form,
    handlers::{It, not_found},
    look_ups::{BACK, Named, named},
    pages::{Asked, Confirmation, Deed, DeedPage, path_of},
    session::Secret,
    view::{Done, HOLD, IssuerName, Refused},
    visit::{Visit, go_to, html, trouble},
};
use crate::principals::Object;

type Names = Path<(String, String, String)>;

/// The page that asks.
pub(super) async fn ask(State(console): It, Path(names): Names, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    let deed = deed_of(&visit, &names.2)?;
    let named = named(&console, &visit, &names.0, &names.1).await?;
    allow(&visit, deed, &named.issuer)?;
    Ok(html(StatusCode::OK, page(deed, &named, &Asked::default()).ask(&visit.reader, None)))
}

/// The page that shows what will happen.
pub(super) async fn confirm(State(console): It, Path(names): Names, request: Request) -> Result<Response, Response> {
    let (visit, form) = console.form(request).await?;
    let deed = deed_of(&visit, &names.2)?;
    let named = named(&console, &visit, &names.0, &names.1).await?;
    allow(&visit, deed, &named.issuer)?;
    let asked = asked(deed, &form);
    for (title, time) in [("The time", &asked.time), ("The end", &asked.not_after)] {
        if let (false, Err(what)) = (time.is_empty(), crate::pki::written::time(time)) {
            let page = page(deed, &named, &asked).ask(&visit.reader, Some(&format!("{title} is {what}.")));
            return Ok(html(StatusCode::BAD_REQUEST, page));
        }
    }
    let key = Secret::new().map_err(|_| {
        let refused = Refused::of(StatusCode::INTERNAL_SERVER_ERROR, "No random number could be had.");
        trouble(Some(&visit.reader), &refused, BACK)
    })?;
    let confirmation = Confirmation { page: page(deed, &named, &asked), key: key.text() };
    Ok(html(StatusCode::OK, confirmation.page(&visit.reader)))
}

/// Does it.
pub(super) async fn act(State(console): It, Path(names): Names, request: Request) -> Result<Response, Response> {
    let (visit, form) = console.form(request).await?;
    let deed = deed_of(&visit, &names.2)?;
    let Named { issuer, serial, .. } = named(&console, &visit, &names.0, &names.1).await?;
    let path = format!("/v1/issuers/{}/{}", issuer.id, deed.verb().name());
    let body = body(&serial, deed, &asked(deed, &form));
    let done: Result<Done, Refused> = console.client.post(&visit.whose, &path, &body, &form.text("key")).await;
    let certificate = path_of(&issuer, &serial);
    match done {
        Ok(Done { outcome, note, .. }) => {
            let noted = if note.is_some() { ".noted" } else { "" };
            Ok(go_to(&format!("{certificate}?done={}.{outcome}{noted}", deed.name())))
        }
        Err(refused) => Ok(trouble(Some(&visit.reader), &refused, (&certificate, "Back to the certificate"))),
    }
}

fn deed_of(visit: &Visit, name: &str) -> Result<Deed, Response> {
    Deed::of_name(name).ok_or_else(|| not_found(visit))
}

/// Nobody fills in what would be refused at the end.
fn allow(visit: &Visit, deed: Deed, issuer: &IssuerName) -> Result<(), Response> {
    if visit.principal().may(deed.action(), Object::Tenant(&issuer.tenant)) {
        return Ok(());
    }
    let detail = format!(
        "{} has no right to {} in the tenant {}. Whoever keeps the configuration can give it.",
        visit.reader.name,
        deed.action().name(),
        issuer.tenant
    );
    let refused = Refused::of(StatusCode::FORBIDDEN, &detail);
    Err(trouble(Some(&visit.reader), &refused, BACK))
}

fn page<'p>(deed: Deed, named: &'p Named, asked: &'p Asked) -> DeedPage<'p> {
    DeedPage { deed, issuer: &named.issuer, serial: &named.serial, known: &named.known, asked }
}

/// What was filled in, as far as it belongs to this.
fn asked(deed: Deed, form: &Form) -> Asked {
    let of = |deeds: &[Deed], name: &str| if deeds.contains(&deed) { form.text(name) } else { String::new() };
    Asked {
        reason: of(&[Deed::Revoke], "reason"),
        time: of(&[Deed::Revoke, Deed::Hold], "time"),
        not_after: of(&[Deed::Add], "not_after"),
        even_unlisted: deed == Deed::Revoke && form.is_set("even_unlisted"),
    }
}

/// The request to the API.
fn body(serial: &str, deed: Deed, asked: &Asked) -> Value {
    let mut body = Map::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            body.insert(name.to_owned(), value.into());
        }
    };
    add("serial", serial);
    add("reason", if deed == Deed::Hold { HOLD } else { &asked.reason });
    add("time", &asked.time);
    add("not_after", &asked.not_after);
    if asked.even_unlisted {
        body.insert("even_unlisted".to_owned(), true.into());
    }
    Value::Object(body)
}

/// What was done, by what the path says.
pub(super) fn done(code: &str) -> Option<&'static str> {
    Some(match code {
        "add.done" => "It was added.",
        "add.done.noted" => {
            "It was added. Its end is later than can be kept, and counts as unknown: it never counts as expired."
        }
        "revoke.done" => "It was revoked.",
        "hold.done" => "It was put on hold.",
        "release.done" => "It was released from hold.",
        "release.still-held" => "Its hold by push has ended, and a source has it on hold still.",
        _ if code.ends_with(".unchanged") || code.ends_with(".unchanged.noted") => {
            "It was so before. Nothing has changed."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_asked_for_what_was_filled_in_and_for_nothing_else() {
        let asked =
            |reason: &str| Asked { reason: reason.into(), time: "2026-11-29T08:30:00Z".into(), ..Asked::default() };
        let text = |deed, asked| body("0A", deed, &asked).to_string();
        let revoke = Asked { even_unlisted: true, ..asked("superseded") };
        assert_eq!(
            text(Deed::Revoke, revoke),
            r#"{"even_unlisted":true,"reason":"superseded","serial":"0A","time":"2026-11-29T08:30:00Z"}"#
        );
        assert_eq!(text(Deed::Hold, Asked::default()), r#"{"reason":"certificateHold","serial":"0A"}"#);
        assert_eq!(text(Deed::Release, Asked::default()), r#"{"serial":"0A"}"#);
        let form = Form::of_query(Some("reason=certificateHold&time=1&not_after=2&even_unlisted=1"));
        for (deed, expected) in [
            (Deed::Add, Asked { not_after: "2".into(), ..Asked::default() }),
            (Deed::Hold, Asked { time: "1".into(), ..Asked::default() }),
            (Deed::Release, Asked::default()),
        ] {
            assert_eq!(super::asked(deed, &form), expected, "{deed:?}");
        }
    }

    #[test]
    fn every_outcome_is_told_and_nothing_that_a_link_says() {
        for code in ["add.done", "revoke.done", "hold.done", "release.done", "release.still-held", "revoke.unchanged"] {
            assert!(done(code).is_some(), "{code}");
        }
        assert!(done("").is_none() && done("<script>").is_none());
    }
}
