//! Periodic tasks of the running service, which end with it. It does not know requests.

use std::{
    collections::HashSet,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use precompute::{
    limits::{SIGNER_LOOK, USAGE_SAVED_EVERY},
    pki::{FileError, UnixTime},
    tls::{self, Certificates},
};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use tracing::{info, warn};

use super::time_stamps::TimeStamps;
use crate::{limits, site::Site, tsa::clocks::Clocks};

/// Starts them beside a role's own `tasks`; dropping those ends all.
pub(super) fn start(
    time_stamps: &TimeStamps,
    sites: watch::Receiver<Arc<Site>>,
    certificates: Option<&Arc<Certificates>>,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(keep_notes(&time_stamps.clocks));
    let usage = Arc::clone(&time_stamps.usage);
    tasks.spawn(note_every(USAGE_SAVED_EVERY, move || usage.save(UnixTime::now())));
    tasks.spawn(watch_time_stamps(sites));
    if let Some(certificates) = certificates {
        tasks.spawn(tls::follow(Arc::clone(certificates)));
    }
}

/// A listener for the runtime of this thread.
pub(super) fn into_tokio(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Logs when an authority makes no more tokens because of its certificate, and when it does again: health shows it, but
/// nobody looks there in the log of a night.
async fn watch_time_stamps(sites: watch::Receiver<Arc<Site>>) {
    let mut told = HashSet::new();
    loop {
        let (site, now) = (Arc::clone(&sites.borrow()), UnixTime::now());
        let mut found = HashSet::new();
        for (tenant, authority) in site.authorities() {
            let named = (tenant.to_owned(), authority.name.clone());
            match authority.fault_of_signer(now) {
                Some(fault) => {
                    if !told.contains(&named) {
                        warn!(tenant, tsa = authority.name, "no time-stamps: {fault}");
                    }
                    found.insert(named);
                }
                None if told.contains(&named) => {
                    info!(tenant, tsa = authority.name, "time-stamps are made again, with another certificate");
                }
                None => {}
            }
        }
        told = found;
        // What was replaced is dropped with its sessions, which the next may be waiting for.
        drop(site);
        tokio::time::sleep(SIGNER_LOOK).await;
    }
}

/// Notes what the next process has to know about promises and the clock.
fn keep_notes(clocks: &Arc<Clocks>) -> impl Future<Output = ()> + use<> {
    let [promises, clock] = [(); 2].map(|()| Arc::clone(clocks));
    let promises = note_every(limits::PROMISES_LOOK, move || promises.promised().settle(Instant::now()));
    let clock = note_every(limits::CLOCK_NOTE_LOOK, move || clock.remember());
    async move { _ = tokio::join!(promises, clock) }
}

/// Notes repeatedly. If that fails, it is logged once until it works again.
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
