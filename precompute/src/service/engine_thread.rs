//! The engine, which reads every source before the first answer, and its thread, which then changes what is followed. Each
//! issuer's sources have a thread of their own. It does not know requests.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::{info, warn};

use super::{LastWords, change::Order};
use crate::{
    assemble::Assembly,
    engine::{Engine, EngineError, Pass},
    limits,
};

/// Opens the book and reads every source.
pub(super) fn read(assembly: &Assembly) -> Result<Engine, EngineError> {
    let mut engine = Engine::open(assembly)?;
    engine.read_all(tell)?;
    Ok(engine)
}

/// Opens the book, and reads nothing until it is told to lead.
pub(super) fn stand_by(assembly: &Assembly) -> Result<Engine, EngineError> {
    let mut engine = Engine::open(assembly)?;
    engine.join()?;
    Ok(engine)
}

/// Tells of a first read.
pub(super) fn tell(tenant: &str, issuer: &str, pass: &Pass) {
    info!(
        tenant,
        issuer,
        listed = pass.listed,
        changed = pass.changed,
        good = pass.counts.good,
        revoked = pass.counts.revoked,
        seconds = pass.took.as_secs_f32(),
        "the source was read"
    );
}

/// The thread that changes which issuers are followed, and notices the loss of a thread that follows one.
#[derive(Debug)]
pub(super) struct EngineThread {
    thread: JoinHandle<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl EngineThread {
    /// Returns the sender of its orders; it ends when all senders are gone. Without this thread the service would go on
    /// with what it last read: `last` reports its end.
    pub(super) fn start(engine: Engine, last: LastWords) -> io::Result<(Sender<Order>, Self)> {
        let (orders, ordered) = channel::<Order>();
        let (running, ended) = channel();
        let thread = thread::Builder::new().name("engine".into()).spawn(move || {
            let (_last, _running) = (last, running);
            engine.run(&ordered);
        })?;
        Ok((orders, Self { thread, ended }))
    }

    /// After all senders are gone: waits until the engine's present task, mostly a commit, has ended. It does not wait for a source on a file
    /// system that hangs. Returns whether it has ended.
    pub(super) fn end(self) -> bool {
        if ends_within(&self.ended, limits::ENGINE_END_MAX) {
            let _ = self.thread.join();
            true
        } else {
            warn!(
                waited_seconds = limits::ENGINE_END_MAX.as_secs(),
                "not waiting for the engine, which is still reading a source or writing the book; what it has not written is read from the sources at the next start"
            );
            false
        }
    }
}

/// Whether the thread at the other end drops its end in time.
fn ends_within(thread: &Receiver<()>, limit: Duration) -> bool {
    thread.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
}
