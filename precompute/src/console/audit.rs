//! The page of the journal, which asks the API for its lines as the one who has signed in.
//!
//! It does not know where the journal is, who may read what of it, or how it is verified.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    forms::Form,
    handlers::{It, not_found},
    journal::Lines,
    page::Place,
    pages::{AuditPage, Filter},
    view::Refused,
    visit::html,
};
use crate::limits::console::JOURNAL_LINES;

pub(super) async fn show(State(console): It, request: Request) -> Result<Response, Response> {
    let visit = console.visit(&request)?;
    if !visit.reader.places.contains(&Place::Audit) {
        return Ok(not_found(&visit));
    }
    let form = Form::of_query(request.uri().query());
    let filter = Filter { what: form.text("type"), tenant: form.text("tenant"), serial: form.text("serial") };
    let asked: Result<Lines, Refused> = console.client.get(&visit.whose, &path(&filter, &form)).await;
    let none = AuditPage { filter: &filter, verified: None, lines: &[], older: None, trouble: None };
    Ok(match asked {
        Ok(found) => {
            let verified = found.verified.as_ref().map(|verified| (verified.in_order, verified.words()));
            let verified = verified.as_ref().map(|(in_order, words)| (*in_order, &**words));
            let (lines, older) = (found.shown(), found.before.map(|before| query(&filter, before)));
            let page = AuditPage { verified, lines: &lines, older: older.as_deref(), ..none };
            html(StatusCode::OK, page.page(&visit.reader))
        }
        Err(refused) => {
            let page = AuditPage { trouble: Some(&refused.detail), ..none };
            html(refused.code(), page.page(&visit.reader))
        }
    })
}

/// What the API is asked for.
fn path(filter: &Filter, form: &Form) -> String {
    let mut query = filter.query();
    query.append_pair("limit", &JOURNAL_LINES.to_string());
    // One each second: they are shown only where somebody asks for them.
    query.append_pair("heads", "false");
    let before = form.text("before");
    if !before.is_empty() {
        query.append_pair("before", &before);
    }
    if form.is_set("verify") {
        query.append_pair("verify", "true");
    }
    format!("/v1/audit?{}", query.finish())
}

/// The query of older lines.
fn query(filter: &Filter, before: u64) -> String {
    filter.query().append_pair("before", &before.to_string()).finish()
}

impl Filter {
    fn query(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("type", &self.what), ("tenant", &self.tenant), ("serial", &self.serial)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_asked_for_what_the_page_was_asked_for() {
        let filter = Filter { tenant: "a&b<c".into(), ..Filter::default() };
        assert_eq!(query(&filter, 7), "tenant=a%26b%3Cc&before=7");
        let asked = |query: &str| path(&filter, &Form::of_query(Some(query)));
        assert_eq!(asked("x=1"), "/v1/audit?tenant=a%26b%3Cc&limit=50&heads=false");
        assert_eq!(asked("before=7&verify=1"), "/v1/audit?tenant=a%26b%3Cc&limit=50&heads=false&before=7&verify=true");
    }
}
