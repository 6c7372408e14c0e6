//! The paths under which snapshots are given out.
//!
//! - What is given is the manifest or a chunk as it was kept, and only under its own path, escaped or not.
//! - Everything else is unknown, and no cache may keep that.

use std::{convert::Infallible, sync::Arc, sync::LazyLock};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use precompute::{
    feed::{
        Chain, Manifest, Position,
        shelf::{Directory, SnapshotId, router},
        snapshot::SnapshotWriter,
    },
    state_dir::ServerId,
};
use tokio::runtime::{Builder, Runtime};

use super::{CLUSTER, TRUSTED, key};

/// A shelf with one snapshot of one chunk.
struct Shelf {
    runtime: Runtime,
    router: TowerToHyperService<Router>,
    /// Each path with what is there.
    parts: [(String, Vec<u8>); 2],
    _directory: tempfile::TempDir,
}

static SHELF: LazyLock<Shelf> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("a directory");
    let directory = Directory::open(place.path(), CLUSTER.clone(), Arc::new(TRUSTED.clone())).expect("a directory");
    let mut chunks = Vec::new();
    let Ok(written) = SnapshotWriter::default().finish(&mut |chunk| -> Result<(), Infallible> {
        chunks.push(chunk.to_vec());
        Ok(())
    });
    let manifest = Manifest {
        position: Position { epoch: 1_800_000_000_000_000, sequence: 7 },
        chain: Chain([9; 32]),
        author: ServerId::from_bytes([5; 16]),
        made: 1_800_000_001_000_000,
        records: written.records,
        octets: written.octets,
        chunk_octets: written.chunk_octets,
        record_chunks: written.record_chunks,
        chunks: written.hashes.into(),
    };
    let sealed = manifest.seal(&CLUSTER, key());
    let mut draft = directory.draft().expect("a draft");
    chunks.iter().for_each(|chunk| draft.put(chunk).expect("is written"));
    draft.finish(&sealed).expect("is finished");
    let base = format!("/snapshot/{}", SnapshotId::of(&manifest));
    let parts = [(format!("{base}/manifest"), sealed), (format!("{base}/0"), chunks.remove(0))];
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    Shelf { runtime, router: TowerToHyperService::new(router(directory)), parts, _directory: place }
});

/// Reads the input as the path of a GET; `ID` in it stands for the name of the snapshot that is there.
pub fn shelf(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let base = SHELF.parts[0].0.trim_end_matches("/manifest");
    let path = text.replacen("ID", base.trim_start_matches("/snapshot/"), 1);
    let Ok(request) = Request::get(&path).body(Body::empty()) else { return false };
    let asked = unescaped(request.uri().path());
    let answered = SHELF.runtime.block_on(async {
        let response = SHELF.router.call(request).await.expect("it cannot fail");
        let (head, body) = response.into_parts();
        (head, to_bytes(body, 16 << 20).await.expect("a body"))
    });
    let (head, body) = answered;
    let kept = SHELF.parts.iter().find(|(path, _)| path.as_bytes() == asked);
    let cache_control = head.headers.get(header::CACHE_CONTROL).map(|value| value.to_str().expect("text"));
    match (head.status, kept) {
        (StatusCode::OK, Some((_, content))) => assert!(body == *content, "{path}"),
        (StatusCode::OK, None) => panic!("{path}: there is nothing with that name"),
        // What is no path of this kind is refused before it comes to names.
        (StatusCode::NOT_FOUND, _) => assert!(matches!(cache_control, None | Some("no-store")), "{path}"),
        (status, _) => assert_eq!(status, StatusCode::BAD_REQUEST, "{path}"),
    }
    head.status == StatusCode::OK
}

/// The path without its escapes.
fn unescaped(path: &str) -> Vec<u8> {
    let mut rest = path.as_bytes();
    let mut plain = Vec::new();
    while let Some((octet, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *octet == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &behind[2..];
            }
            None => {
                plain.push(*octet);
                rest = behind;
            }
        }
    }
    plain
}
