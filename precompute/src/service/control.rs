//! The signals that reload and end the service, and the runtime that receives them. It does not know what they cause.

use std::{error::Error, io, sync::Arc};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{
    ServiceState, notify,
    reload_socket::{Askers, Verdict},
};
use crate::{ending::take_signals, limits};

/// Receives SIGHUP from the moment it is made.
#[derive(Debug)]
pub struct Control {
    runtime: Runtime,
    hangup: Signal,
}

/// The signals of a running service.
#[derive(Debug)]
pub struct Signals {
    /// Asks for a reload.
    pub hangup: Signal,
    /// Ask for the end.
    pub end: EndSignals,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Returns when one of them has arrived.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reloads when SIGHUP or somebody at the socket asks for it, and tells systemd; and when a renewed certificate is to be
/// taken.
#[derive(Debug)]
pub struct Reloads {
    stop: watch::Sender<bool>,
}

/// What a reload opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opens {
    /// The file as it is now: somebody has asked for it.
    TheFile,
    /// What is in use, with certificates that were renewed.
    WhatIsInUse,
    /// What is in use of the file, with the next version of the published configuration.
    NextVersion,
}

impl Reloads {
    /// Starts a task that has `reload` run for each SIGHUP, for all who have `asked`, and each time that something was
    /// `renewed`, or another version of the configuration was `published`.
    pub fn start<F>(
        mut hangup: Signal,
        mut asked: Askers,
        renewed: Arc<Notify>,
        published: Arc<Notify>,
        tasks: &mut JoinSet<()>,
        reload: impl Fn(Opens) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Verdict> + Send,
    {
        let (stop, mut stopping) = watch::channel(false);
        tasks.spawn(async move {
            loop {
                let (opens, askers) = tokio::select! {
                    asked = hangup.recv() => if asked.is_some() { (Opens::TheFile, Vec::new()) } else { break },
                    Some(askers) = asked.recv() => (Opens::TheFile, askers),
                    () = renewed.notified() => (Opens::WhatIsInUse, Vec::new()),
                    () = published.notified() => (Opens::NextVersion, Vec::new()),
                    _ = stopping.wait_for(|stopping| *stopping) => break,
                };
                // systemd waits for a reload that it has asked for.
                let is_told = opens == Opens::TheFile;
                if is_told {
                    notify(ServiceState::Reloading);
                }
                let verdict = reload(opens).await;
                for asker in askers {
                    // One that has gone waits for nothing.
                    let _ = asker.send(verdict.clone());
                }
                if *stopping.borrow() {
                    break;
                }
                if is_told {
                    notify(ServiceState::Ready);
                }
            }
        });
        Self { stop }
    }

    /// No other reload is begun. One that is under way goes on: the engine may have left the sources that the present
    /// records are from, and the next are not there yet.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Control {
    /// By default SIGHUP ends a process. From now on, one that comes during a long start waits until there is something
    /// to reload. SIGTERM and SIGINT end a start at once; for the book that is like a power cut.
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hangup = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, hangup })
    }

    /// Runs a started service on this thread, and receives all signals from then on.
    pub fn run(self, service: impl AsyncFnOnce(Signals) -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
        let Self { runtime, hangup } = self;
        let outcome = runtime.block_on(async {
            let terminate = signal(SignalKind::terminate())?;
            let interrupt = signal(SignalKind::interrupt())?;
            take_signals();
            service(Signals { hangup, end: EndSignals { terminate, interrupt } }).await
        });
        // A task may be reading a configuration or a TLS certificate from a file system that hangs.
        runtime.shutdown_timeout(limits::READING_END_MAX);
        outcome
    }
}
