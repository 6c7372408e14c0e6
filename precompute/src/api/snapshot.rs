//! A backup of the book, as it goes out to whoever asks for it.
//!
//! Purpose: one commit of the book through bounded memory, while pushes and sources go on. Invariant: what the client gets is
//! a whole file of [`crate::backup`], or one that does not come to its end; a client that takes nothing for long is left,
//! so that the book is not kept open for it. It does not know what is in a file.

use std::{io, sync::Arc, thread, time::Instant};

use axum::body::Body;
use hyper::body::Bytes;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tracing::{info, warn};

use super::{
    Api,
    place::Place,
    problem::{Kind, Problem},
    told::Sender,
    upload::Answer,
};
use crate::{
    admin::listener::ExtendedStay,
    backup::{NotTaken, take},
    issuer_id::IssuerId,
    journal::trail,
    limits,
    state_dir::StateError,
};

/// Begins to send a backup. `_place`: among the long requests that there may be at once. `stay`: keeps the connection.
pub(super) fn begin(api: &Arc<Api>, from: Sender, place: Place, stay: Option<ExtendedStay>) -> Result<Body, Problem> {
    let (pieces, answer) = mpsc::channel(limits::BACKUP_PIECES_WAITING);
    let (api, runtime) = (Arc::clone(api), Handle::current());
    let idle_max = api.idle_max;
    let mut send = move |piece: &[u8]| {
        let sent = pieces.send(Bytes::copy_from_slice(piece));
        match runtime.block_on(async { timeout(idle_max, sent).await }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing any more")),
        }
    };
    let work = move || {
        // Whoever serves or pushes comes first.
        let _ = rustix::process::setpriority_process(None, limits::SOURCE_PRIORITY);
        let begun = Instant::now();
        let copied = copy(&api, &mut send);
        trail::tell("backup", |event| {
            let word = if copied.is_ok() { "done" } else { "failed" };
            from.tell(event.text("outcome", word).optional("problem", copied.as_ref().err()))
        });
        let principal = from.principal();
        match copied {
            Ok((records, octets)) => {
                let seconds = begun.elapsed().as_secs_f32();
                info!(records, octets, seconds, principal, %from, "a backup of the book was given out");
            }
            Err(error) => warn!(principal, %from, "a backup of the book could not be given out: {error}"),
        }
        drop((place, stay));
    };
    let started = thread::Builder::new().name("backup".into()).spawn(work);
    started.map_err(|error| Problem::new(Kind::Internal, format!("no thread can be started: {error}")))?;
    Ok(Body::new(Answer::new(answer)))
}

fn copy(api: &Api, send: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(u64, u64), NotTaken> {
    let configured: Vec<IssuerId> = api.ledgers.all().iter().map(|ledger| ledger.id().clone()).collect();
    let reader = api.ledgers.reader().map_err(|error: StateError| NotTaken::Book(error))?;
    take(&reader, &configured, api.settings().cluster.clone(), send)
}
