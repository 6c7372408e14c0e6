//! The threads: they call holders and `done`s, and carry out what [`PoolState`] decides.
//!
//! Invariant: no thread holds the pool's lock while it is in a holder's call or in a `done`. A panic in either does not
//! end the thread. They do not know what is signed.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{
    Shared,
    state::{Notice, Outbox, PoolState, Report, Sitter, Step},
};
use crate::journal::trail;
use crate::{
    limits,
    sign::{Fault, FaultClass, KeyPurpose, Session},
};

/// The message of test signatures.
const TEST_MESSAGE: &[u8] = b"Ostia signer self-test";

/// A session, and how often it was used.
struct Open {
    session: Box<dyn Session>,
    epoch: u64,
    signed: u64,
    /// Whether every signature is verified, or only a sample.
    verify_every: bool,
}

/// Starts a thread for `sitter`.
pub(super) fn start(shared: &Arc<Shared>, sitter: Sitter) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(format!("sign-{}-{}", sitter.member, sitter.seat));
    thread.spawn(move || work(&shared, sitter)).map(drop)
}

/// Starts the thread that watches for calls that do not return.
pub(super) fn start_watch(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("sign-watch".to_owned()).spawn(move || watch(&shared)).map(drop)
}

fn work(shared: &Arc<Shared>, mut sitter: Sitter) {
    shared.lock().ids.insert(std::thread::current().id());
    let mut thread = Thread { shared, open: None, message: Vec::new(), outbox: Vec::new() };
    let mut report = Report::Nothing;
    loop {
        match thread.turn(sitter, report) {
            Step::End => {
                thread.deliver();
                thread.open = None;
                match shared.leave(sitter) {
                    Some(other) => (sitter, report) = (other, Report::Nothing),
                    None => return,
                }
            }
            step => report = thread.perform(sitter, step),
        }
    }
}

struct Thread<'a> {
    shared: &'a Shared,
    open: Option<Open>,
    message: Vec<u8>,
    /// Tasks whose `done` was not called yet. Never kept during a call to the holder: it may not return.
    outbox: Outbox,
}

impl Thread<'_> {
    /// Reports the last step and waits for the next. Ended tasks are delivered first.
    fn turn(&mut self, sitter: Sitter, report: Report) -> Step {
        let mut now = Instant::now();
        let mut state = self.shared.lock();
        let Some(notices) = state.pool.report(sitter, report, &mut self.outbox, now) else { return Step::End };
        if !notices.is_empty() {
            drop(state);
            self.shared.tell(notices);
            state = self.shared.lock();
        }
        loop {
            let epoch = self.open.as_ref().map(|open| open.epoch);
            let step = state.pool.next(sitter, epoch, &mut self.message, &mut self.outbox, now);
            let Step::Wait(until) = step else { return step };
            if !self.outbox.is_empty() {
                drop(state);
                self.deliver();
                now = Instant::now();
                state = self.shared.lock();
                continue;
            }
            state = wait(state, sitter, epoch.is_some(), until.map(|until| until.saturating_duration_since(now)));
            now = Instant::now();
        }
    }

    fn perform(&mut self, sitter: Sitter, step: Step) -> Report {
        match step {
            Step::Sign => {
                self.deliver();
                let message = std::mem::take(&mut self.message);
                let signed = self.sign(&message);
                self.message = message;
                match signed {
                    Ok((signature, took)) => Report::Signed(signature, took),
                    Err(fault) => Report::Failed(fault),
                }
            }
            Step::Test => self.test(),
            Step::Close => {
                self.deliver();
                self.open = None;
                Report::Closed
            }
            Step::Open => self.open(sitter).map_or_else(Report::Failed, |()| Report::Opened),
            Step::Probe => match self.open(sitter) {
                Ok(()) => self.test(),
                Err(fault) => Report::Failed(fault),
            },
            Step::Wait(_) | Step::End => Report::Nothing,
        }
    }

    fn open(&mut self, sitter: Sitter) -> Result<(), Fault> {
        self.deliver();
        self.open = None;
        let (holder, epoch) = self.shared.holder(sitter);
        let session = guarded(|| holder.open())?;
        let verify_every = self.shared.verify.every(self.shared.algorithm, holder.is_apart());
        self.open = Some(Open { session, epoch, signed: 0, verify_every });
        Ok(())
    }

    fn test(&mut self) -> Report {
        self.deliver();
        // The next signatures are verified, beginning with this one.
        self.open.iter_mut().for_each(|open| open.signed = 0);
        match self.sign(TEST_MESSAGE) {
            Ok((_, took)) => Report::Well(took),
            Err(fault) => Report::Failed(fault),
        }
    }

    /// Signs and verifies the result: every time, or while the session is young and now and then afterwards. Also
    /// returns how long the holder took.
    fn sign(&mut self, message: &[u8]) -> Result<(Vec<u8>, Duration), Fault> {
        let lost = || Fault::new(FaultClass::Session, "no session is open");
        let open = self.open.as_mut().ok_or_else(lost)?;
        let begin = Instant::now();
        let signed = guarded(|| open.session.sign(message)).and_then(|signature| {
            let took = begin.elapsed();
            open.signed += 1;
            let is_young = open.signed <= limits::VERIFIED_FIRST;
            if open.verify_every || is_young || open.signed.is_multiple_of(limits::VERIFIED_ONE_OF) {
                self.shared.verify(message, &signature).inspect_err(|fault| {
                    if !(open.verify_every || is_young) {
                        tell_unverified(self.shared, fault);
                    }
                })?;
            }
            Ok((signature, took))
        });
        if matches!(&signed, Err(fault) if fault.class != FaultClass::Throttle) {
            self.open = None;
        }
        signed
    }

    fn deliver(&mut self) {
        deliver(&mut self.outbox);
    }
}

/// Logs that a sampled signature is wrong: earlier ones may be wrong too.
fn tell_unverified(shared: &Shared, fault: &Fault) {
    let unverified = limits::VERIFIED_ONE_OF - 1;
    error!(
        signer = shared.name,
        %fault,
        unverified,
        "a sampled signature is wrong; up to this many before it in the same session were not verified and {}",
        shared.purpose.after_wrong_ones()
    );
}

/// Calls each task's `done`.
pub(super) fn deliver(outbox: &mut Outbox) {
    for (task, outcome) in outbox.drain(..) {
        let told = catch_unwind(AssertUnwindSafe(|| task.job.finish(outcome)));
        if told.is_err() {
            error!("the receiver of a signature panicked; the signing thread continues");
        }
    }
}

/// A call to a holder. If it panics, the holder counts as gone.
fn guarded<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Fault::new(FaultClass::Device, "the call into it panicked")))
}

fn wait<'a>(
    mut state: MutexGuard<'a, super::Inner>,
    sitter: Sitter,
    has_session: bool,
    limit: Option<Duration>,
) -> MutexGuard<'a, super::Inner> {
    let member = &state.pool.members[sitter.member];
    let condvar = Arc::clone(if has_session { &member.work } else { &member.change });
    if has_session {
        state.pool.waits(sitter, true);
    }
    let mut state = match limit {
        None => condvar.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(limit) => condvar.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0,
    };
    if has_session {
        state.pool.waits(sitter, false);
    }
    state
}

fn watch(shared: &Arc<Shared>) {
    let mut outbox = Outbox::new();
    let mut state = shared.lock();
    while !state.pool.closed {
        let (newcomers, notices) = state.pool.overdue(&mut outbox, Instant::now());
        if !(newcomers.is_empty() && notices.is_empty() && outbox.is_empty()) {
            drop(state);
            deliver(&mut outbox);
            for sitter in newcomers {
                if let Err(error) = start(shared, sitter) {
                    error!(%error, "no signing thread can be started to replace one that hangs");
                    shared.leave(sitter);
                }
            }
            shared.tell(notices);
            state = shared.lock();
        }
        let waited = shared.ended.wait_timeout(state, limits::WATCH_INTERVAL);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

impl Shared {
    fn leave(&self, sitter: Sitter) -> Option<Sitter> {
        let mut state = self.lock();
        let other = state.pool.leave(sitter);
        if other.is_none() {
            state.ids.remove(&std::thread::current().id());
            self.ended.notify_all();
        }
        other
    }

    /// Logs notices, with the names of the signer and its holders.
    fn tell(&self, notices: Vec<Notice>) {
        let state = self.lock();
        let name = |member: usize| state.pool.members[member].holder.name().to_owned();
        let signer = self.name.as_str();
        let told: Vec<_> = notices
            .into_iter()
            .map(|notice| match notice {
                Notice::Away { member, why, locked } => {
                    (notice_away(&state.pool, self.purpose, locked), name(member), why)
                }
                Notice::Back { member, after } => {
                    (LogLine::Info("is at work again"), name(member), format!("away for {:.1} s", after.as_secs_f32()))
                }
                Notice::Defect { member, why } => {
                    (LogLine::Error("cannot sign what it is asked to".into()), name(member), why)
                }
                Notice::Fewer { member, sessions } => (
                    LogLine::Warn("the token allows fewer sessions than `threads`".into()),
                    name(member),
                    format!("it gave {sessions}; lower `threads`, or raise the token's limit"),
                ),
                Notice::Slow { member, slow } => (
                    LogLine::Warn("the token gets slower the more it has to sign at once".into()),
                    name(member),
                    format!(
                        "it took {:.1} s; it now gets {} at once, lower `threads` to that",
                        slow.took.as_secs_f32(),
                        slow.at_once
                    ),
                ),
                Notice::Hung { member, replaced: true } => {
                    (LogLine::Warn("has a thread hanging".into()), name(member), "the thread is replaced".to_owned())
                }
                Notice::Hung { member, replaced: false } => (
                    LogLine::Error("has too many threads hanging".into()),
                    name(member),
                    "no more are started before one of its calls returns; restart the service once it answers"
                        .to_owned(),
                ),
            })
            .collect();
        drop(state);
        for (told, token, why) in told {
            let what: &str = match &told {
                LogLine::Info(text) => text,
                LogLine::Warn(text) | LogLine::Error(text) => text,
            };
            trail::tell("signer", |event| {
                event.text("signer", signer).text("token", &token).text("what", what).text("why", &why)
            });
            match told {
                LogLine::Info(text) => info!(signer, token, why, "{text}"),
                LogLine::Warn(text) => warn!(signer, token, why, "{text}"),
                LogLine::Error(text) => error!(signer, token, why, "{text}"),
            }
        }
    }
}

enum LogLine {
    Info(&'static str),
    Warn(Cow<'static, str>),
    Error(Cow<'static, str>),
}

/// What it means that a holder is away or locked: for the clients, and for the people who can fix it.
fn notice_away(pool: &PoolState, purpose: KeyPurpose, locked: bool) -> LogLine {
    let refused = purpose.while_nobody_signs();
    let is_only = pool.members.len() == 1;
    match (locked, pool.is_down()) {
        (false, false) => LogLine::Warn("does not sign; others do, and it is tried again from time to time".into()),
        (false, true) if is_only => LogLine::Error(format!("does not sign; until it is back {refused}").into()),
        (false, true) => {
            LogLine::Error(format!("does not sign, and neither does any other; until one is back {refused}").into())
        }
        (true, false) => LogLine::Error(
            "refuses the service and is not tried again before a reload or a restart; others sign".into(),
        ),
        (true, true) => {
            let others = if is_only { "" } else { ", and no other signs" };
            let text = "refuses the service and is not tried again before a reload or a restart";
            LogLine::Error(format!("{text}{others}; until then {refused}").into())
        }
    }
}
