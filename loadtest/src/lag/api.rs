//! The API that takes pushes.
//!
//! Invariant: a push counts as acknowledged when its outcome has been read whole; whatever else comes ends the run, with
//! what the API said. The token is in the requests and nowhere else. It does not know who serves what was pushed.

use super::client::{Client, Patience, Reply};
use crate::config::PushPlan;
use crate::hex::serial_to_hex;
use crate::http::request::RequestWriter;
use crate::limits::LAG_BULK_TIME_MAX;
use crate::outcome::Kind;
use crate::population::Population;
use crate::problem::Problem;
use crate::report::UploadReport;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Lines that are written at once.
const LINES_A_PART: usize = 1_000;
/// Of an answer that is no problem of RFC 9457, the first bytes are shown.
const SHOWN_OCTETS: usize = 200;

pub(super) struct Api<'a> {
    plan: &'a PushPlan,
    timeout: Duration,
    start: Instant,
    client: Client,
    revoke: RequestWriter,
    bulk: RequestWriter,
}

impl<'a> Api<'a> {
    pub(super) fn new(plan: &'a PushPlan, timeout: Duration, start: Instant) -> Self {
        let token = [format!("Authorization: Bearer {}", plan.token.0)];
        let writer = |what: &str, content: &str| {
            let mut url = plan.url.clone();
            url.path = format!("{}/v1/issuers/{}/{what}", plan.url.path.trim_end_matches('/'), plan.issuer);
            RequestWriter::new(&url, content, "*/*", false, &token)
        };
        let patience = Patience { idle: timeout, whole: timeout };
        Self {
            plan,
            timeout,
            start,
            client: Client::new(plan.address, patience, start),
            revoke: writer("revoke", "application/json"),
            bulk: writer("bulk", "application/x-ndjson"),
        }
    }

    /// Revokes one certificate; gives when that was acknowledged, in nanoseconds since the start.
    pub(super) fn revoke(&mut self, serial_hex: &str) -> Result<u64, Problem> {
        let body = format!("{{\"serial\":\"{serial_hex}\",\"reason\":\"superseded\"}}");
        let mut request = Vec::new();
        self.revoke.post_head(body.len(), &mut request);
        request.extend_from_slice(body.as_bytes());
        let kept = self.client.is_kept();
        let mut outcomes = &["done"][..];
        let reply = match self.client.ask([&request]) {
            // The peer may have closed the kept connection, before or after it took the push.
            Err(_) if kept => {
                outcomes = &["done", "unchanged"];
                self.client.ask([&request])
            }
            other => other,
        };
        let what = format!("the revocation of {serial_hex}");
        let reply = reply.map_err(|kind| self.unanswered(&what, kind))?;
        let said = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
        match said["outcome"].as_str() {
            Some(outcome) if reply.status == 200 && outcomes.contains(&outcome) => Ok(reply.at_ns),
            _ => Err(self.refused(&what, &reply)),
        }
    }

    /// Uploads a list that does the same, `add` or `revoke`, to all certificates.
    pub(super) fn upload(&self, what: &'static str, certificates: &Population) -> Result<UploadReport, Problem> {
        let line =
            |i: usize| format!("{{\"do\":\"{what}\",\"serial\":\"{}\"}}\n", serial_to_hex(certificates.serial(i)));
        let count = certificates.len();
        let mut head = Vec::new();
        // All serials made up here have the same length.
        self.bulk.post_head(line(0).len() * count, &mut head);
        let parts = (0..count).step_by(LINES_A_PART).map(|from| {
            let lines: String = (from..count.min(from + LINES_A_PART)).map(line).collect();
            lines.into_bytes()
        });
        let patience = Patience { idle: self.timeout, whole: LAG_BULK_TIME_MAX };
        let begun = Instant::now();
        let reply = Client::new(self.plan.address, patience, self.start).ask(std::iter::once(head).chain(parts));
        let elapsed_s = begun.elapsed().as_secs_f64();
        let name = format!("the list of {count} records to {what}");
        let reply = reply.map_err(|kind| self.unanswered(&name, kind))?;
        let last = reply.body.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let total = serde_json::from_slice::<Value>(last).unwrap_or_default();
        let whole = total["total"]["done"].as_u64() == Some(count as u64) && total["problem"].is_null();
        if reply.status != 200 || !whole {
            return Err(self.refused(&name, &reply));
        }
        Ok(UploadReport { what, records: count as u64, elapsed_s, records_per_s: count as f64 / elapsed_s })
    }

    fn unanswered(&self, what: &str, kind: Kind) -> Problem {
        let (url, kind, timeout) = (&self.plan.url.text, kind.name(), self.timeout);
        Problem::new(format!(
            "--push {url}: {what} was not answered ({kind}); is this the admin listener? --timeout is {timeout:?}"
        ))
    }

    fn refused(&self, what: &str, reply: &Reply) -> Problem {
        // The last line of a list says most.
        let last = reply.body.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let said = match serde_json::from_slice::<Value>(last) {
            Ok(problem) if problem["detail"].is_string() => problem["detail"].as_str().unwrap_or_default().to_owned(),
            _ => String::from_utf8_lossy(&last[..last.len().min(SHOWN_OCTETS)]).escape_debug().to_string(),
        };
        Problem::new(format!("--push {}: {what}: HTTP status {}: {said}", self.plan.url.text, reply.status))
    }
}
