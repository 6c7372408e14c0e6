//! Periodic tasks of the running service, which end with it. It does not know requests.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use precompute::{
    admin::listener::{Bounds, serve},
    pki::FileError,
};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::warn;

use crate::{limits, net::tls::Certificates, tsa::clocks::Clocks};

/// Starts them beside a role's own `tasks`; dropping those ends all.
pub(super) fn start(
    clocks: &Arc<Clocks>,
    certificates: Option<&Arc<Certificates>>,
    (admin, router): (TcpListener, Router),
    tasks: &mut JoinSet<()>,
) -> std::io::Result<()> {
    tasks.spawn(serve(into_tokio(admin)?, router, Bounds::default()));
    tasks.spawn(keep_notes(clocks));
    if let Some(certificates) = certificates {
        tasks.spawn(follow_certificates(Arc::clone(certificates)));
    }
    Ok(())
}

/// A listener for the runtime of this thread.
pub(super) fn into_tokio(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Checks the files of the TLS certificate.
async fn follow_certificates(certificates: Arc<Certificates>) {
    loop {
        tokio::time::sleep(limits::TLS_LOOK).await;
        let certificates = Arc::clone(&certificates);
        let _ = spawn_blocking(move || certificates.follow()).await;
    }
}

/// Notes what the next process has to know about promises and the clock.
fn keep_notes(clocks: &Arc<Clocks>) -> impl Future<Output = ()> + use<> {
    let [promises, clock] = [(); 2].map(|()| Arc::clone(clocks));
    let promises = note_every(limits::PROMISES_LOOK, move || promises.promised().settle(Instant::now()));
    let clock = note_every(limits::CLOCK_NOTE_LOOK, move || clock.remember());
    async move { _ = tokio::join!(promises, clock) }
}

/// Notes repeatedly. If that fails, the next start waits longer than necessary; this is logged once until it works
/// again.
async fn note_every(interval: Duration, note: impl Fn() -> Result<(), FileError> + Clone + Send + 'static) {
    let mut told = false;
    loop {
        tokio::time::sleep(interval).await;
        match spawn_blocking(note.clone()).await {
            Ok(Ok(())) => told = false,
            Ok(Err(problem)) if !std::mem::replace(&mut told, true) => warn!("{problem}"),
            _ => {}
        }
    }
}
