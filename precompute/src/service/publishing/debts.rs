//! Debts of a standby go to the writer that leads.
//!
//! Purpose: a final revocation that only this writer knows is pushed to the one that leads (rule 17), and told by it.
//! Invariant: a debt ends when the feed shows it, and in no other way: a push that was taken and lost is pushed again. It
//! does not know how debts come to be.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::json;
use tracing::{info, warn};

use crate::{
    assemble::read_token,
    ledger::Ledgers,
    limits::feed as limits,
    pki::{Serial, Status, hex},
    records::Change,
};

/// Submits debts.
#[derive(Debug)]
pub(super) struct Debts {
    /// The file with the token that the API of every writer takes.
    token: Option<PathBuf>,
    at: Duration,
    thread: Option<JoinHandle<()>>,
    is_told: Arc<AtomicBool>,
}

impl Debts {
    pub(super) fn new(token: Option<PathBuf>) -> Self {
        Self { token, at: Duration::ZERO, thread: None, is_told: Arc::default() }
    }

    /// Submits what there is, now and then. `leader`: where the one that leads takes pushes.
    pub(super) fn look(&mut self, now: Duration, ledgers: &Ledgers, leader: Option<String>) {
        let is_busy = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if is_busy || now.saturating_sub(self.at) < limits::DEBTS_INTERVAL {
            return;
        }
        self.at = now;
        let debts = match ledgers.debts(None, limits::DEBTS_AT_ONCE) {
            Ok(debts) if debts.is_empty() => {
                self.is_told.store(false, Relaxed);
                return;
            }
            Ok(debts) => debts,
            Err(_) => return,
        };
        let (Some(leader), Some(token)) = (leader, self.token.clone()) else {
            if !self.is_told.swap(true, Relaxed) {
                warn!(
                    debts = debts.len(),
                    "final revocations that the writer at work does not know wait here: its `feed.api_url` and this writer's `admin.token_file` are needed to push them to it"
                );
            }
            return;
        };
        let is_told = Arc::clone(&self.is_told);
        let submit = move || {
            let count = debts.len();
            match submit(&leader, &token, &debts) {
                Ok(()) => info!(
                    count,
                    leader, "final revocations that only this writer knew were pushed to the one that leads"
                ),
                Err(problem) if !is_told.swap(true, Relaxed) => {
                    warn!(
                        count,
                        leader,
                        "final revocations that only this writer knows cannot be pushed to the one that leads: {problem}; this is tried again"
                    );
                }
                Err(_) => {}
            }
        };
        self.thread = std::thread::Builder::new().name("debts".into()).spawn(submit).ok();
    }
}

/// Pushes them, by issuer.
fn submit(leader: &str, token: &Path, debts: &[([u8; 32], Change)]) -> Result<(), String> {
    let token = read_token(token).map_err(|error| error.to_string())?;
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(limits::DEBTS_WITHIN)).build().into();
    for of_one in debts.chunk_by(|(issuer, _), (other, _)| issuer == other) {
        let id = hex::text(&of_one[0].0);
        let mut lines = Vec::new();
        of_one.iter().filter_map(|(_, change)| line(change)).for_each(|line| _ = writeln!(lines, "{line}"));
        let url = format!("{}/v1/issuers/{id}/bulk", leader.trim_end_matches('/'));
        let request = agent
            .post(&url)
            .header("Authorization", &format!("Bearer {}", *token))
            .header("Content-Type", "application/x-ndjson");
        let mut answer = request.send(&lines[..]).map_err(|error| format!("{url}: {error}"))?;
        let text =
            answer.body_mut().with_config().limit(1 << 20).read_to_string().map_err(|error| error.to_string())?;
        let last = text.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if let Some(problem) = last.as_ref().and_then(|last| last.get("problem")) {
            return Err(format!("{url}: {}", problem["detail"].as_str().unwrap_or("it was refused")));
        }
    }
    Ok(())
}

/// A line of a list of pushes.
fn line(change: &Change) -> Option<String> {
    let Status::Revoked { time, reason } = change.record?.status else { return None };
    let serial: &Serial = &change.serial;
    let line = json!({
        "do": "revoke",
        "serial": serial.to_string(),
        "time": time.to_string(),
        "reason": reason.name(),
        "even_unlisted": true,
    });
    Some(line.to_string())
}
