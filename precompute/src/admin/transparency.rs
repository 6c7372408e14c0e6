//! Metrics of what a replica keeps of what it says, and its newest head.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    Part, Status,
    encode::{Labels, counters, gauge},
};
use crate::transparency::proof::head_json;

/// How it fares; nothing where it is not kept.
pub fn transparency(status: &Arc<Status>) -> Part {
    let status = Arc::clone(status);
    Box::new(move |encoder| {
        let Some((kept, since)) = status.transparency.get() else { return Ok(()) };
        let report = kept.report();
        for (name, help, value) in [
            ("transparency_heads", "Heads of what was said that were made", report.heads),
            ("transparency_failures", "How often what was said could not be kept, or read", report.failures),
        ] {
            counters(encoder, name, help, vec![(Labels::new(), value)])?;
        }
        let leaves = report.head.as_ref().map_or(0, |head| head.head.leaves);
        let age = report.made.unwrap_or(*since).elapsed().as_secs();
        for (name, help, value) in [
            ("transparency_certificates", "Certificates of which the newest head vouches for something", leaves),
            ("transparency_head_age_seconds", "Seconds since the last head of what was said", age),
            ("transparency_waiting", "Statements that wait for the next head", report.waiting),
            ("transparency_gap", "Whether statements may be missing in the next head", u64::from(report.gap.is_some())),
        ] {
            gauge(encoder, name, help, value)?;
        }
        Ok(())
    })
}

/// Where the newest head is handed out.
pub fn heads(status: &Arc<Status>) -> Router {
    Router::new().route("/transparency/head", get(head)).with_state(Arc::clone(status))
}

async fn head(State(status): State<Arc<Status>>) -> Response {
    match status.transparency.get().map(|(kept, _)| kept.report().head) {
        None => (StatusCode::NOT_FOUND, "no heads are made here: `[transparency]` is not configured\n").into_response(),
        Some(None) => (StatusCode::SERVICE_UNAVAILABLE, "there is no head yet; `/readyz` says why\n").into_response(),
        Some(Some(head)) => ([(CONTENT_TYPE, "application/json")], head_json(&head) + "\n").into_response(),
    }
}
