//! The first session with each token of a signer, when the signer is assembled.
//!
//! Invariant: a wrong configuration or PIN is a problem of the file. A token that is out of reach is not: it only
//! delays its own signer, and comes back by itself. Neither is one without a free session, because the running
//! configuration may have them all. A token that hangs delays the start only briefly, and once, not once for each
//! signer with a key there. It does not know certificates.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Instant,
};

use tracing::{error, warn};

use super::key::Wanted;
use crate::{
    config::At,
    limits,
    sign::{Fault, FaultClass, Holder, Session},
};

/// What is known about the tokens of this process. One that hangs is waited for once, not by each signer, and not again
/// when the configuration is next read. Clones share it.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Mutex<HashMap<String, OpeningHistory>>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Every token that was asked, by its place.
    fn asked(&self) -> MutexGuard<'_, HashMap<String, OpeningHistory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token with the key of a signer.
pub(super) struct Token {
    /// The same text for all signers with keys on the same token.
    pub(super) place: String,
    pub(super) holder: Arc<dyn Holder>,
}

type Opened = Result<Box<dyn Session>, Fault>;

/// The tokens, each with its first session, or with its fault. `None` after a problem.
pub(super) fn opened(
    known: &Tokens,
    at: &At<'_>,
    Wanted { name: signer, purpose, .. }: &Wanted<'_>,
    tokens: &[Token],
    threads: usize,
) -> Option<Vec<Arc<dyn Holder>>> {
    let tried: Vec<_> = tokens.iter().map(|token| &token.holder).zip(try_all(known, tokens)).collect();
    let is_there = |opened: &Opened| opened.as_ref().err().is_none_or(|fault| fault.class == FaultClass::Throttle);
    let some_signs = tried.iter().any(|(_, opened)| is_there(opened));
    let mut usable = true;
    let mut out_of_reach = Vec::new();
    for (holder, fault) in tried.iter().filter_map(|(holder, opened)| Some((holder, opened.as_ref().err()?))) {
        match fault.class {
            FaultClass::Locked if some_signs => {
                error!(signer, token = holder.name(), %fault, "a token refuses its PIN and is not used; the signer's other tokens sign");
            }
            FaultClass::Locked | FaultClass::Defect => {
                at.problem("key", fault);
                usable = false;
            }
            FaultClass::Throttle => {
                warn!(signer, token = holder.name(), %fault, "a token offers no session now; it is asked until it does, for example one that the running configuration uses");
            }
            _ if some_signs => {
                warn!(signer, token = holder.name(), %fault, "a token cannot be used now; the signer's other tokens sign meanwhile");
            }
            _ if at.problem_that_may_pass("key", fault) => usable = false,
            _ => out_of_reach.push(fault.to_string()),
        }
    }
    if usable && !out_of_reach.is_empty() {
        error!(
            signer,
            why = out_of_reach.join("; "),
            "no token of this signer can be reached; until one is back {}",
            purpose.while_nobody_signs()
        );
    }
    // What a token allows is known after it was asked.
    for holder in tokens.iter().map(|token| &token.holder).filter(|holder| holder.sessions_max() < threads) {
        warn!(
            signer,
            token = holder.name(),
            sessions = holder.sessions_max(),
            threads,
            "the token allows fewer sessions than `threads`; lower `threads`, or raise the token's limit"
        );
    }
    let with_outcome = |(holder, opened): (&Arc<dyn Holder>, Opened)| {
        let (session, fault) = match opened {
            Ok(session) => (Some(session), None),
            Err(fault) => (None, Some(fault)),
        };
        Arc::new(Tried { holder: Arc::clone(holder), session: Mutex::new(session), fault }) as Arc<dyn Holder>
    };
    usable.then(|| tried.into_iter().map(with_outcome).collect())
}

/// Tries all at once, and waits for each no longer than its limit.
fn try_all(known: &Tokens, tokens: &[Token]) -> Vec<Opened> {
    let (send, ended) = mpsc::channel();
    let mut outcomes: Vec<Option<Opened>> = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let refusal = known.asked().entry(token.place.clone()).or_default().refusal(Instant::now());
        let failed = refusal.or_else(|| {
            let message = |error| format!("no thread can be started to open a session: {error}");
            start(known, number, token, send.clone()).err().map(|error| Fault::new(FaultClass::Device, message(error)))
        });
        outcomes.push(failed.map(|fault| Err(named(token, fault))));
    }
    drop(send);
    let until = Instant::now() + limits::FIRST_OPEN_LIMIT;
    while outcomes.iter().any(Option::is_none) {
        let Ok((number, opened)) = ended.recv_timeout(until.saturating_duration_since(Instant::now())) else { break };
        outcomes[number] = Some(opened);
    }
    let silent = |token: &Token| {
        let message = format!("opening a session has not returned for {} s", limits::FIRST_OPEN_LIMIT.as_secs());
        Err(named(token, Fault::new(FaultClass::Device, message)))
    };
    outcomes.into_iter().zip(tokens).map(|(outcome, token)| outcome.unwrap_or_else(|| silent(token))).collect()
}

/// Names the token in faults that it did not report itself.
fn named(token: &Token, fault: Fault) -> Fault {
    let name = format!("the token `{}`", token.holder.name());
    if fault.message.contains(&name) {
        return fault;
    }
    Fault { message: format!("{name}: {}", fault.message), ..fault }
}

fn start(known: &Tokens, number: usize, token: &Token, send: mpsc::Sender<(usize, Opened)>) -> io::Result<()> {
    let (known_there, place, holder) = (known.clone(), token.place.clone(), Arc::clone(&token.holder));
    // Taken here and not on the thread, which may begin late: the caller knows how long it has waited.
    let began = Instant::now();
    known.asked().entry(place.clone()).or_default().begin(began);
    let open = move || {
        let opened = holder.open();
        let fault = opened.as_ref().err();
        known_there.asked().entry(place).or_default().end(began, Instant::now(), fault);
        // If the caller no longer waits, the session is closed.
        let _ = send.send((number, opened));
    };
    let started = thread::Builder::new().name("open".into()).spawn(open).map(drop);
    if started.is_err() {
        known.asked().entry(token.place.clone()).or_default().end(began, began, None);
    }
    started
}

/// What is known about one token that was asked.
#[derive(Default)]
struct OpeningHistory {
    /// How many openings are running, and since when there have been any.
    running: usize,
    since: Option<Instant>,
    /// The last slow failure: when, and why.
    failed: Option<(Instant, Fault)>,
}

impl OpeningHistory {
    /// Why it must not be asked again now.
    fn refusal(&self, now: Instant) -> Option<Fault> {
        if let Some(since) = self.since {
            let waited = now.saturating_duration_since(since);
            let message = || format!("opening a session has not returned for {} s", waited.as_secs());
            return (waited >= limits::FIRST_OPEN_LIMIT).then(|| Fault::new(FaultClass::Device, message()));
        }
        let (at, fault) = self.failed.as_ref()?;
        (now.saturating_duration_since(*at) < limits::FIRST_OPEN_AGAIN).then(|| fault.clone())
    }

    fn begin(&mut self, now: Instant) {
        self.running += 1;
        self.since.get_or_insert(now);
    }

    /// An opening that began at `began` has returned.
    fn end(&mut self, began: Instant, now: Instant, fault: Option<&Fault>) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.since = None;
        }
        let passes = |fault: &&Fault| !matches!(fault.class, FaultClass::Locked | FaultClass::Defect);
        let is_slow = now.saturating_duration_since(began) >= limits::FIRST_OPEN_SLOW;
        self.failed = fault.filter(|_| is_slow).filter(passes).map(|fault| (now, fault.clone()));
    }
}

/// A holder with its first session, which it hands to its first caller, or with its fault.
struct Tried {
    holder: Arc<dyn Holder>,
    session: Mutex<Option<Box<dyn Session>>>,
    fault: Option<Fault>,
}

impl Holder for Tried {
    fn name(&self) -> &str {
        self.holder.name()
    }

    fn sessions_max(&self) -> usize {
        self.holder.sessions_max()
    }

    fn is_apart(&self) -> bool {
        self.holder.is_apart()
    }

    fn fault_at_first(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn open(&self) -> Opened {
        let first = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map_or_else(|| self.holder.open(), Ok)
    }
}

impl fmt::Debug for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.holder.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_that_hangs_or_fails_slowly_is_asked_once_for_all_signers() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let device = Fault::new(FaultClass::Device, "gone");
        let mut asked = OpeningHistory::default();
        assert_eq!(asked.refusal(begin), None);
        asked.begin(begin);
        assert_eq!(asked.refusal(at(7)), None, "it may answer yet");
        assert!(asked.refusal(at(9)).is_some_and(|fault| fault.message.contains("for 9 s")));
        asked.begin(at(7));
        asked.end(begin, at(10), Some(&device));
        assert!(asked.refusal(at(10)).is_some(), "the other one hangs");
        asked.end(at(7), at(11), Some(&device));
        assert_eq!(asked.refusal(at(40)), Some(device.clone()));
        assert_eq!(asked.refusal(at(41)), None, "it may be back");
        for (class, seconds) in [(FaultClass::Device, 0), (FaultClass::Defect, 5), (FaultClass::Locked, 5)] {
            asked.begin(at(50));
            asked.end(at(50), at(50 + seconds), Some(&Fault::new(class, "no")));
            assert_eq!(asked.refusal(at(56)), None, "{class:?}");
        }
        asked.begin(at(60));
        asked.end(at(60), at(65), None);
        assert_eq!(asked.refusal(at(65)), None, "slow and well");
    }
}
