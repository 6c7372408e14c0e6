//! Gives out whole snapshots over HTTP, to replicas and to whatever stands in between.
//!
//! Invariants: nothing but the manifest and the chunks of a snapshot whose name the client knows; a chunk is verified
//! before its first byte is sent; at most [`limits::CHUNKS_AT_ONCE`] chunks are in memory; `admin::listener` bounds connections in number
//! and time.
//!
//! - `GET /snapshot/<id>/manifest`: as it was signed.
//! - `GET /snapshot/<id>/<n>`: chunk n, from 0.
//!
//! A chunk has a URL of its own rather than a range, since a plain cache keeps whole answers: nginx with `proxy_cache`, or
//! a CDN, takes the load of a thousand replicas as it is. An answer for a name never changes, so it may be kept for good;
//! that a name is unknown may change and must not be kept.
//!
//! What it reveals: every serial number that is known, with its status, its times and where that came from, and the
//! answers, for all issuers of the cluster. No key, no password, and nothing of the relying parties. A list of serial
//! numbers is more than an OCSP responder tells strangers, though, so who must not have it must not reach the port.
//! There is neither a password nor TLS here: content cannot be forged, because its hash is signed; if it has to be secret,
//! the operator lets it travel on a private network, or through TLS of a proxy or a tunnel in front.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};
use tracing::warn;

use super::{directory::Directory, id::Part};
use crate::limits::shelf as limits;

/// Answers for what is in the directory.
pub fn router(directory: Directory) -> Router {
    let turns = Arc::new(Semaphore::new(limits::CHUNKS_AT_ONCE));
    Router::new().route("/snapshot/{id}/{part}", get(give)).with_state((directory, turns))
}

type Given = (Directory, Arc<Semaphore>);

/// A chunk in memory; whoever is next has a turn when it is sent.
struct Chunk(Vec<u8>, #[allow(dead_code)] OwnedSemaphorePermit);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

async fn give(State((directory, turns)): State<Given>, Path((id, part)): Path<(String, String)>) -> Response {
    let asked = id.parse().ok().zip(part.parse().ok());
    let Some((kept, part)) = asked.and_then(|(id, part)| Some((directory.whole(id)?, part))) else {
        return unknown();
    };
    let number = match part {
        Part::Manifest => return found(Body::from(Bytes::from_owner(Arc::clone(kept.sealed())))),
        Part::Chunk(number) if number >= kept.manifest().chunks.len() => return unknown(),
        Part::Chunk(number) => number,
    };
    let Ok(turn) = turns.acquire_owned().await else { return unknown() };
    let reading = Arc::clone(&kept);
    match spawn_blocking(move || reading.chunk(number)).await {
        Ok(Ok(chunk)) => found(Body::from(Bytes::from_owner(Chunk(chunk, turn)))),
        Ok(Err(fault)) => {
            warn!(snapshot = %kept.id(), "a snapshot is no longer given out: {fault}");
            directory.demote(&kept);
            unknown()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn found(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, body).into_response()
}

fn unknown() -> Response {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::NOT_FOUND, headers, "no such snapshot here, or no such part of it\n").into_response()
}
