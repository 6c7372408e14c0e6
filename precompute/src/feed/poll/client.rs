//! A reader's way to the feed over HTTP.
//!
//! Invariants: no call takes longer than the patience of the reader and [`limits::ANSWER_WITHIN`]; an answer is no longer than
//! [`limits::POLL_OCTETS_MAX`], and has no other entries than were asked for, in order; whenever the giver is another one, or has
//! lost its connection, the number of the connection is another one too, so that the reader compares where it is. Whoever fails, or
//! says that its connection is another one, is left for the next. It writes nothing: whatever would is [`Gone`].

use std::{
    fmt,
    io::Read as _,
    sync::Arc,
    time::{Duration, Instant},
};

use ureq::Agent;

use super::{
    super::{
        Cluster, KeyId, Position, Sealed,
        https::{Https, is_over_tls, remedy},
        redis::{Cause, Fault},
        shelf::BaseUrl,
        transport::{Appended, Gone, Info, Raw, Transport, UnderKey},
    },
    Answer,
};
use crate::limits::feed as limits;

/// See the module.
pub struct Polled {
    cluster: Cluster,
    bases: Vec<BaseUrl>,
    https: Https,
    /// Which of them is asked.
    at: usize,
    agent: Option<(Agent, Instant)>,
    /// The connection of who gives, as far as there is one.
    theirs: Option<u64>,
    connections: u64,
    failures: u64,
    patience: Duration,
    fault: Option<Fault>,
}

/// The key with the URLs.
const NAMES: &str = "`feed.snapshot_from`";

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").field("bases", &self.bases).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Polled {
    /// Nobody is asked yet. `bases`: at least one.
    pub fn new(cluster: &Cluster, bases: &[BaseUrl], https: &Https) -> Self {
        Self {
            cluster: cluster.clone(),
            bases: bases.to_vec(),
            https: https.clone(),
            at: 0,
            agent: None,
            theirs: None,
            connections: 0,
            failures: 0,
            patience: Duration::ZERO,
            fault: None,
        }
    }

    /// One more to the same places, whose reads wait for nothing.
    pub fn another(&self) -> Self {
        Self { at: self.at, ..Self::new(&self.cluster, &self.bases, &self.https) }
    }

    /// From now on reads wait so long.
    pub fn wait(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Why the last call was not done, unless one was since.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Whether somebody has answered.
    pub fn is_connected(&self) -> bool {
        self.theirs.is_some()
    }

    /// Begins anew, with the next of those who give.
    pub fn disconnect(&mut self) {
        (self.theirs, self.agent) = (None, None);
        self.at = (self.at + 1) % self.bases.len().max(1);
    }

    /// Whom it asks.
    pub fn place(&self) -> String {
        self.bases.get(self.at).map(ToString::to_string).unwrap_or_default()
    }

    /// Whom it may ask.
    pub fn places(&self) -> String {
        self.bases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// How many calls were not done.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn entries(&mut self, after: Position, most: usize, wait: Duration) -> Result<Answer, Gone> {
        let path = format!("entries?after={after}&most={most}&wait={}", wait.as_millis());
        let asked = self.ask(&path, wait);
        let read = asked.and_then(|bytes| {
            let answer = bytes.as_deref().and_then(Answer::read);
            let answer = answer.ok_or_else(|| {
                format!(
                    "it gives something else than a feed; {NAMES} has to say `snapshot_listen` of a writer or replica"
                )
            })?;
            if is_asked_for(&answer, after, most) {
                Ok(answer)
            } else {
                Err("it gives other entries than were asked for".to_owned())
            }
        });
        match read {
            Ok(answer) if self.theirs.is_none_or(|theirs| theirs == answer.connection) => {
                if self.theirs.is_none() {
                    self.connections += 1;
                }
                (self.theirs, self.fault) = (Some(answer.connection), None);
                Ok(answer)
            }
            // The reader has to see that it is another connection, before it sees what is behind it. Who says so again and again
            // would never be left for its silence.
            Ok(_) => {
                self.disconnect();
                Err(Gone)
            }
            Err(problem) => Err(self.gone(&problem)),
        }
    }

    fn gone(&mut self, problem: &str) -> Gone {
        let place = self.place();
        self.failures += 1;
        let message = format!("the feed at {place} cannot be had: {problem}");
        self.disconnect();
        self.fault = Some(Fault { cause: Cause::Unreachable, message });
        Gone
    }

    /// The body; `None` for none.
    fn ask(&mut self, path: &str, wait: Duration) -> Result<Option<Vec<u8>>, String> {
        let url = format!("{}/feed/{}/{path}", self.place().trim_end_matches('/'), self.cluster);
        let agent = self.agent();
        let request = agent.get(&url).config().timeout_global(Some(wait + limits::ANSWER_WITHIN)).build();
        let told = |error: ureq::Error| {
            let text = error.to_string();
            format!("{text}{}", remedy(&text, NAMES, "`feed.https_ca`"))
        };
        let response = request.call().map_err(told)?;
        match response.status().as_u16() {
            204 => return Ok(None),
            200 => {}
            status => return Err(format!("HTTP status {status}{}", hint(status))),
        }
        let mut body = Vec::new();
        let most = limits::POLL_OCTETS_MAX as u64;
        let read = response.into_body().into_reader().take(most + 1).read_to_end(&mut body);
        read.map_err(|error| error.to_string())?;
        if body.len() as u64 > most { Err("it sends too much".to_owned()) } else { Ok(Some(body)) }
    }

    /// A connection is left before who gives ends it.
    fn agent(&mut self) -> Agent {
        if let Some((agent, since)) = &self.agent
            && since.elapsed() < limits::POLL_CONNECTION_KEPT
        {
            return agent.clone();
        }
        let config = self.https.client(is_over_tls(&self.place()));
        let agent = config.timeout_connect(Some(limits::ANSWER_WITHIN)).build().new_agent();
        self.agent = Some((agent.clone(), Instant::now()));
        agent
    }
}

/// Whether an answer has at most so many entries, each behind the one before.
fn is_asked_for(answer: &Answer, after: Position, most: usize) -> bool {
    let positions = std::iter::once(after).chain(answer.entries.iter().map(|entry| entry.position));
    answer.entries.len() <= most && positions.is_sorted_by(|one, next| one < next)
}

/// What to do about an HTTP status.
fn hint(status: u16) -> String {
    match status {
        300..=399 => format!(": it leads elsewhere, which is not followed; let {NAMES} say that place"),
        404 => format!(
            ": it does not give this feed; compare `feed.cluster`, and let {NAMES} say `snapshot_listen` of a writer or replica with Redis"
        ),
        503 => ": it does not reach Redis".to_owned(),
        _ => String::new(),
    }
}

impl Transport for Polled {
    fn connection(&mut self) -> Option<u64> {
        if self.theirs.is_none() {
            self.entries(Position::START, 0, Duration::ZERO).ok()?;
        }
        Some(self.connections)
    }

    fn append(&mut self, _: &Sealed, _: bool) -> Appended {
        Appended::Gone
    }

    fn read_after(&mut self, after: Position, most: usize) -> Result<Vec<Raw>, Gone> {
        self.entries(after, most, self.patience).map(|answer| answer.entries)
    }

    fn info(&mut self) -> Result<Option<Info>, Gone> {
        self.entries(Position::START, 0, Duration::ZERO).map(|answer| answer.info)
    }

    fn head(&mut self) -> Result<Option<Arc<[u8]>>, Gone> {
        match self.ask("head", Duration::ZERO) {
            Ok(head) => Ok(head.map(Arc::from)),
            Err(problem) => Err(self.gone(&problem)),
        }
    }

    fn set_head(&mut self, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn acknowledge(&mut self, _: KeyId, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn acknowledgements(&mut self, _: &[KeyId]) -> Result<Vec<UnderKey>, Gone> {
        Err(Gone)
    }

    fn trim(&mut self, _: Position) -> Result<(), Gone> {
        Err(Gone)
    }

    fn unlink(&mut self) -> Result<(), Gone> {
        Err(Gone)
    }
}
