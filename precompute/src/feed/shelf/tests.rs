//! Snapshots for the tests of the shelf: chunks of random bytes, with a manifest that is signed.

mod directory;
mod faulty;
mod fetching;
mod giving;
mod nginx;

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use super::*;
use crate::{
    admin::listener::{Bounds, serve},
    feed::{Chain, Cluster, Manifest, Position, Trusted, WriterKey, sha256, store::Snapshots as _},
    state_dir::ServerId,
};

const PATIENCE: Duration = Duration::from_secs(40);

fn cluster() -> Cluster {
    Cluster::new("example").unwrap()
}

fn key() -> WriterKey {
    WriterKey::from_seed(&[7; 32])
}

fn open(path: &Path) -> Result<Directory, ShelfError> {
    Directory::open(path, cluster(), Arc::new(Trusted::of(&[key().public()]).unwrap()))
}

/// A snapshot as its writer knows it.
struct Snapshot {
    chunks: Vec<Vec<u8>>,
    manifest: Manifest,
    sealed: Vec<u8>,
}

impl Snapshot {
    /// `count` chunks of `octets` bytes each, the last one shorter, at this position.
    fn new(sequence: u64, count: usize, octets: usize) -> Self {
        let byte = |chunk: usize, at: usize| (sequence as usize * 89 + chunk * 31 + at * 7 + at / 251) as u8;
        let length = |chunk: usize| if chunk + 1 == count { octets / 2 + 1 } else { octets };
        let chunks: Vec<Vec<u8>> =
            (0..count).map(|chunk| (0..length(chunk)).map(|at| byte(chunk, at)).collect()).collect();
        let manifest = Manifest {
            position: Position { epoch: 5, sequence },
            chain: Chain([sequence as u8; 32]),
            author: ServerId::from_bytes([1; 16]),
            made: 9,
            records: 1,
            octets: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            chunk_octets: octets as u32,
            record_chunks: count.div_ceil(2) as u32,
            chunks: chunks.iter().map(|chunk| sha256(chunk)).collect(),
        };
        let sealed = manifest.seal(&cluster(), &key());
        Self { chunks, manifest, sealed }
    }

    fn id(&self) -> SnapshotId {
        SnapshotId::of(&self.manifest)
    }

    /// Written into the directory, as its writer does.
    fn write(&self, directory: &Directory) -> Result<Arc<Kept>, ShelfError> {
        let mut draft = directory.draft()?;
        self.chunks.iter().try_for_each(|chunk| draft.put(chunk))?;
        draft.finish(&self.sealed)
    }

    fn whole(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Takes everything from a fetcher, in order, and looks that it is right.
    fn take_from(&self, fetcher: &mut Fetcher) {
        let count = self.chunks.len();
        until("all is at hand", || fetcher.here(&self.manifest) == Some(count));
        for (number, chunk) in self.chunks.iter().enumerate() {
            assert!(fetcher.chunk(&self.manifest, number).as_ref() == Some(chunk), "chunk {number}");
        }
    }
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "it never was so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Gives out what is in the directory, on a thread that ends with the test's process.
fn give_out(directory: Directory) -> BaseUrl {
    url(give_out_within(directory, Bounds::SNAPSHOTS))
}

fn give_out_within(directory: Directory, bounds: Bounds) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || runtime.block_on(serve(listener, router(directory), bounds)));
    address
}

fn url(address: SocketAddr) -> BaseUrl {
    format!("http://{address}").parse().unwrap()
}

/// The names in a directory, in order, without the lock.
fn names(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "lock").collect();
    names.sort();
    names
}
