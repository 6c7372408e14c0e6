//! The API that takes pushes.
//!
//! Invariant: a push counts as acknowledged when its outcome has been read whole; whatever else comes ends the run, with
//! what the API said, unless another instance may take it. The token is in the requests and nowhere else. It does not know who serves what was pushed.

use super::client::{Client, Patience, Reply};
use crate::config::PushPlan;
use crate::hex::serial_to_hex;
use crate::http::request::RequestWriter;
use crate::http::url::Url;
use crate::limits::{LAG_BULK_TIME_MAX, LAG_TRY_TIMEOUT};
use crate::outcome::{Kind, Kinds};
use crate::population::Population;
use crate::problem::Problem;
use crate::report::UploadReport;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Lines that are written at once.
const LINES_A_PART: usize = 1_000;
/// Of an answer that is no problem of RFC 9457, the first bytes are shown.
const SHOWN_OCTETS: usize = 200;
/// Pause after all instances have refused a push or a list.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Api<'a> {
    plan: &'a PushPlan,
    timeout: Duration,
    start: Instant,
    instances: Vec<Instance>,
    /// Who is asked first: the last that took a push.
    current: usize,
    failures: Kinds,
}

/// One of `--push`.
struct Instance {
    url: String,
    address: SocketAddr,
    client: Client,
    revoke: RequestWriter,
    bulk: RequestWriter,
}

/// Why a push is not acknowledged.
enum Unacknowledged {
    /// It may be taken by another instance, or later.
    NotNow(Kind, Problem),
    Refused(Problem),
}

impl<'a> Api<'a> {
    pub(super) fn new(plan: &'a PushPlan, timeout: Duration, start: Instant) -> Self {
        let token = [format!("Authorization: Bearer {}", plan.token.0)];
        let idle = if plan.replicas { timeout.min(LAG_TRY_TIMEOUT) } else { timeout };
        let instance = |(url, address): (&Url, &SocketAddr)| {
            let writer = |what: &str, content: &str| {
                let mut to = url.clone();
                to.path = format!("{}/v1/issuers/{}/{what}", url.path.trim_end_matches('/'), plan.issuer);
                RequestWriter::new(&to, content, "*/*", false, &token)
            };
            Instance {
                url: url.text.clone(),
                address: *address,
                client: Client::new(*address, Patience { idle, whole: idle }, start),
                revoke: writer("revoke", "application/json"),
                bulk: writer("bulk", "application/x-ndjson"),
            }
        };
        let instances = plan.apis.urls.iter().zip(&plan.apis.addresses).map(instance).collect();
        Self { plan, timeout, start, instances, current: 0, failures: Kinds::default() }
    }

    /// Revokes one certificate; gives when that was acknowledged, in nanoseconds since the start. For the sake of
    /// replicas it is tried until the time-out, with all instances in turn.
    pub(super) fn revoke(&mut self, serial_hex: &str) -> Result<u64, Problem> {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            match self.instances[self.current].revoke(serial_hex, tries > 0) {
                Ok(at_ns) => return Ok(at_ns),
                Err(Unacknowledged::NotNow(kind, _)) if self.plan.replicas && begun.elapsed() < self.timeout => {
                    self.failed(kind);
                }
                Err(Unacknowledged::NotNow(_, problem) | Unacknowledged::Refused(problem)) => return Err(problem),
            }
            tries += 1;
            if tries % self.instances.len() == 0 {
                std::thread::sleep(ROUND_PAUSE);
            }
        }
    }

    /// The failures since the last call.
    pub(super) fn take_failures(&mut self) -> Kinds {
        std::mem::take(&mut self.failures)
    }

    fn failed(&mut self, kind: Kind) {
        self.failures.add(kind, 1);
        self.current = (self.current + 1) % self.instances.len();
    }

    /// Uploads a list that does the same, `add` or `revoke`, to all certificates.
    pub(super) fn upload(&mut self, what: &'static str, certificates: &Population) -> Result<UploadReport, Problem> {
        let begun = Instant::now();
        loop {
            match self.instances[self.current].upload(what, certificates, self.timeout, self.start) {
                Ok(report) => return Ok(report),
                Err(Unacknowledged::NotNow(kind, _)) if self.plan.replicas && begun.elapsed() < self.timeout => {
                    self.failed(kind);
                    std::thread::sleep(ROUND_PAUSE);
                }
                Err(Unacknowledged::NotNow(_, problem) | Unacknowledged::Refused(problem)) => return Err(problem),
            }
        }
    }
}

impl Instance {
    /// `again`: an earlier try may have been taken.
    fn revoke(&mut self, serial_hex: &str, again: bool) -> Result<u64, Unacknowledged> {
        let body = format!("{{\"serial\":\"{serial_hex}\",\"reason\":\"superseded\"}}");
        let mut request = Vec::new();
        self.revoke.post_head(body.len(), &mut request);
        request.extend_from_slice(body.as_bytes());
        let kept = self.client.is_kept();
        let mut outcomes = if again { &["done", "unchanged"][..] } else { &["done"] };
        let reply = match self.client.ask([&request]) {
            // The peer may have closed the kept connection, before or after it took the push.
            Err(Kind::Reset) if kept => {
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

    fn upload(
        &self,
        what: &'static str,
        certificates: &Population,
        idle: Duration,
        start: Instant,
    ) -> Result<UploadReport, Unacknowledged> {
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
        let patience = Patience { idle, whole: LAG_BULK_TIME_MAX };
        let begun = Instant::now();
        let reply = Client::new(self.address, patience, start).ask(std::iter::once(head).chain(parts));
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

    fn unanswered(&self, what: &str, kind: Kind) -> Unacknowledged {
        let (url, said) = (&self.url, kind.name());
        let problem =
            Problem::new(format!("--push {url}: {what} was not answered ({said}); is this the admin listener?"));
        Unacknowledged::NotNow(kind, problem)
    }

    fn refused(&self, what: &str, reply: &Reply) -> Unacknowledged {
        // The last line of a list says most.
        let last = reply.body.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let said = match serde_json::from_slice::<Value>(last) {
            Ok(problem) if problem["detail"].is_string() => problem["detail"].as_str().unwrap_or_default().to_owned(),
            _ => String::from_utf8_lossy(&last[..last.len().min(SHOWN_OCTETS)]).escape_debug().to_string(),
        };
        let problem = Problem::new(format!("--push {}: {what}: HTTP status {}: {said}", self.url, reply.status));
        // Elsewhere (RFC 9110 section 15.4), misdirected, or not at the moment.
        if matches!(reply.status, 300..400 | 421 | 429 | 500..) {
            Unacknowledged::NotNow(Kind::HttpStatus, problem)
        } else {
            Unacknowledged::Refused(problem)
        }
    }
}
