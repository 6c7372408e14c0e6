//! Snapshots in a directory.
//!
//! Invariants: a file has the name of a snapshot only if it was whole and on disk before it got it; a chunk leaves only
//! if it has the hash that the manifest says, whatever became of the file; and no file of another name is touched. It
//! does not know who asks for a chunk, or where one can be had.
//!
//! The files: `<id>.snapshot` has the chunks one after the other, `<id>.manifest` beside it the manifest as it was
//! signed; `<id>.partial` is half fetched; `changes` is a replica's [`Journal`](super::Journal); `draft-<n>` is being written by this process; `lock` is held by it.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use rustix::fs::OFlags;
use tracing::warn;

use super::{
    super::{Cluster, Manifest, Refusal, Trusted},
    fault::{Cause, ShelfError},
    id::SnapshotId,
};
use crate::{
    limits::{feed::MANIFEST_OCTETS_MAX, shelf as limits},
    state_dir::lock_patiently,
};

const LOCK: &str = "lock";
const DRAFT: &str = "draft-";
const NEW: &str = ".new";

/// What a file of a snapshot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Whole,
    Partial,
    Manifest,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Whole, Self::Partial, Self::Manifest];

    const fn ending(self) -> &'static str {
        match self {
            Self::Whole => ".snapshot",
            Self::Partial => ".partial",
            Self::Manifest => ".manifest",
        }
    }

    /// What a file is by its name.
    fn of(name: &str) -> Option<(SnapshotId, Self)> {
        let of = |kind: Self| Some((name.strip_suffix(kind.ending())?.parse().ok()?, kind));
        Self::ALL.into_iter().find_map(of)
    }
}

/// A directory of snapshots, which this process alone has. Clones are of the same one.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    path: PathBuf,
    cluster: Cluster,
    trusted: Arc<Trusted>,
    /// Those that are whole, in the order in which they became so.
    whole: Mutex<Vec<Arc<Kept>>>,
    /// Held while a manifest stands alone, before its snapshot has its name: one is made while another is fetched.
    naming: Mutex<()>,
    drafts: AtomicU64,
    lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // To close the file is not enough: a process that is just being started may have it open until its program runs.
        let _ = self.lock.unlock();
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.0.path).finish()
    }
}

/// A snapshot that is whole. Whoever has it can read it, also when it has been removed.
#[derive(Debug)]
pub struct Kept {
    id: SnapshotId,
    manifest: Manifest,
    sealed: Arc<[u8]>,
    path: PathBuf,
    file: File,
}

impl Kept {
    /// Its name.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// What it consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The same as it was signed.
    pub fn sealed(&self) -> &Arc<[u8]> {
        &self.sealed
    }

    /// Reads and verifies a chunk.
    pub fn chunk(&self, number: usize) -> Result<Vec<u8>, ShelfError> {
        read_chunk(&self.file, &self.path, &self.manifest, number)
    }
}

impl Directory {
    /// Makes the directory if it is missing, and takes it. What is whole in it is known from its manifest, and is
    /// verified as it is read; what is of another name is left alone.
    pub fn open(path: &Path, cluster: Cluster, trusted: Arc<Trusted>) -> Result<Self, ShelfError> {
        let made = DirBuilder::new().recursive(true).mode(0o750).create(path);
        made.map_err(|error| ShelfError::io(path, "the directory of snapshots cannot be made", &error))?;
        let lock = take(&path.join(LOCK))?;
        let inner = Inner {
            path: path.to_owned(),
            cluster,
            trusted,
            whole: Mutex::default(),
            naming: Mutex::default(),
            drafts: AtomicU64::new(0),
            lock,
        };
        let directory = Self(Arc::new(inner));
        let names = directory.names()?;
        names.iter().filter(|name| is_left_over(name)).for_each(|name| remove(&path.join(name)));
        let mut found = Vec::new();
        for id in names.iter().filter_map(|name| Kind::of(name).filter(|(_, kind)| *kind == Kind::Whole)) {
            match directory.find(id.0) {
                Ok(one) => found.push(one),
                Err(fault) => warn!("a snapshot is not used: {fault}"),
            }
        }
        found.sort_by_key(|(kept, modified)| (*modified, kept.id));
        *directory.whole_ones() = found.into_iter().map(|(kept, _)| Arc::new(kept)).collect();
        directory.remove_old();
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The newest one that is whole.
    pub fn newest(&self) -> Option<Arc<Kept>> {
        self.whole_ones().last().map(Arc::clone)
    }

    /// The one of this name, if it is whole.
    pub fn whole(&self, id: SnapshotId) -> Option<Arc<Kept>> {
        self.whole_ones().iter().find(|kept| kept.id == id).map(Arc::clone)
    }

    /// Begins to write one.
    pub fn draft(&self) -> Result<Draft, ShelfError> {
        let path = self.0.path.join(format!("{DRAFT}{}", self.0.drafts.fetch_add(1, Relaxed)));
        let file = options().truncate(true).open(&path);
        let file = file.map_err(|error| ShelfError::io(&path, "a snapshot cannot be begun", &error))?;
        Ok(Draft { directory: self.clone(), path, file: Some(file), octets: 0, chunks: 0 })
    }

    /// A whole one has a wrong chunk: from now on it counts as half fetched.
    pub(super) fn demote(&self, kept: &Arc<Kept>) {
        let mut whole = self.whole_ones();
        let count = whole.len();
        whole.retain(|one| !Arc::ptr_eq(one, kept));
        if whole.len() < count {
            // If it cannot be renamed, it is found to be wrong again after a restart.
            let _ = fs::rename(&kept.path, self.file(kept.id, Kind::Partial));
        }
    }

    /// Begins to fetch one, or goes on. What is half fetched of another is removed.
    pub(super) fn partial(&self, manifest: &Manifest, id: SnapshotId) -> Result<Partial, ShelfError> {
        for name in self.names()? {
            if let Some((other, Kind::Partial)) = Kind::of(&name)
                && other != id
            {
                remove(&self.0.path.join(&name));
            }
        }
        self.remove_manifests(Some(id));
        let path = self.file(id, Kind::Partial);
        let file = options().open(&path).and_then(regular);
        let file = file.map_err(|error| ShelfError::io(&path, "fetching cannot begin", &error))?;
        Ok(Partial { directory: self.clone(), id, manifest: manifest.clone(), path, file })
    }

    /// The manifest of the one with this name, as it was signed: what somebody gave, if that is it.
    pub(super) fn accept(&self, id: SnapshotId, sealed: &[u8]) -> Result<(), Refusal> {
        let manifest = Manifest::open(sealed, &self.0.cluster, &self.0.trusted)?;
        let is_it = SnapshotId::of(&manifest) == id;
        if is_it { Ok(()) } else { Err(Refusal::Absurd("it is the manifest of another snapshot")) }
    }

    /// What one consists of by the manifest in the directory.
    fn read_manifest(&self, id: SnapshotId) -> Result<(Manifest, Vec<u8>), ShelfError> {
        let path = self.file(id, Kind::Manifest);
        let mut sealed = Vec::new();
        let read = open_there(&path, false)
            .and_then(|file| file.take(MANIFEST_OCTETS_MAX as u64 + 1).read_to_end(&mut sealed));
        read.map_err(|error| ShelfError::io(&path, "the manifest cannot be read", &error))?;
        let manifest = Manifest::open(&sealed, &self.0.cluster, &self.0.trusted);
        let snapshot = self.file(id, Kind::Whole);
        let manifest = manifest.map_err(|refusal| ShelfError::refused(&path, &snapshot, &refusal))?;
        if SnapshotId::of(&manifest) != id {
            return Err(ShelfError::new(&path, Cause::Damaged, "it is the manifest of another snapshot"));
        }
        Ok((manifest, sealed))
    }

    /// A whole one in the directory, and when it was written. One of another length becomes half fetched.
    pub(super) fn find(&self, id: SnapshotId) -> Result<(Kept, SystemTime), ShelfError> {
        let (manifest, sealed) = self.read_manifest(id)?;
        let path = self.file(id, Kind::Whole);
        let cannot = |error: io::Error| ShelfError::io(&path, "the snapshot cannot be read", &error);
        let file = open_there(&path, true).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.len() != manifest.octets {
            let _ = fs::rename(&path, self.file(id, Kind::Partial));
            let problem = format!("it has {} bytes and not {}", metadata.len(), manifest.octets);
            return Err(ShelfError::new(&path, Cause::Damaged, problem));
        }
        let modified = metadata.modified().map_err(cannot)?;
        Ok((Kept { id, manifest, sealed: sealed.into(), path, file }, modified))
    }

    /// Gives a file that has everything its name. It is on disk with its manifest before that.
    fn adopt(&self, from: &Path, file: File, manifest: Manifest, sealed: &[u8]) -> Result<Arc<Kept>, ShelfError> {
        let id = SnapshotId::of(&manifest);
        if let Some(kept) = self.whole(id) {
            remove(from);
            return Ok(kept);
        }
        file.sync_all().map_err(|error| ShelfError::io(from, "cannot be flushed to disk", &error))?;
        let naming = self.naming();
        let beside = self.file(id, Kind::Manifest);
        let cannot = |error: io::Error| ShelfError::io(&beside, "the manifest cannot be written", &error);
        replace(&beside, sealed).map_err(cannot)?;
        let path = self.file(id, Kind::Whole);
        let renamed = fs::rename(from, &path).and_then(|()| File::open(&self.0.path)?.sync_all());
        renamed.map_err(|error| ShelfError::io(&path, "cannot get its name", &error))?;
        let kept = Arc::new(Kept { id, manifest, sealed: sealed.into(), path, file });
        self.whole_ones().push(Arc::clone(&kept));
        drop(naming);
        self.remove_old();
        Ok(kept)
    }

    /// Removes whole ones but the two newest, and manifests that belong to nothing.
    fn remove_old(&self) {
        let mut whole = self.whole_ones();
        let old = whole.len().saturating_sub(limits::KEPT);
        let old: Vec<_> = whole.drain(..old).collect();
        // To remove a large file takes long.
        drop(whole);
        old.iter().for_each(|kept| remove(&kept.path));
        self.remove_manifests(None);
    }

    /// Removes manifests without a snapshot, but for this one's.
    fn remove_manifests(&self, except: Option<SnapshotId>) {
        let _naming = self.naming();
        for name in self.names().unwrap_or_default() {
            if let Some((id, Kind::Manifest)) = Kind::of(&name)
                && Some(id) != except
                && ![Kind::Whole, Kind::Partial].iter().any(|kind| self.file(id, *kind).exists())
            {
                remove(&self.0.path.join(&name));
            }
        }
    }

    fn file(&self, id: SnapshotId, kind: Kind) -> PathBuf {
        self.0.path.join(format!("{id}{}", kind.ending()))
    }

    /// The names in it that are text, in order: ours are.
    fn names(&self) -> Result<Vec<String>, ShelfError> {
        let read = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(&self.0.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
            let mut names = names.filter_map(Result::transpose).collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        };
        read().map_err(|error| ShelfError::io(&self.0.path, "the directory of snapshots cannot be read", &error))
    }

    fn naming(&self) -> MutexGuard<'_, ()> {
        self.0.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole_ones(&self) -> MutexGuard<'_, Vec<Arc<Kept>>> {
        self.0.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that this process writes. Dropped, it is gone.
#[derive(Debug)]
pub struct Draft {
    directory: Directory,
    path: PathBuf,
    /// `None` when it is finished.
    file: Option<File>,
    octets: u64,
    chunks: usize,
}

impl Draft {
    /// Writes the next chunk.
    pub fn put(&mut self, chunk: &[u8]) -> Result<(), ShelfError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(chunk).map_err(|error| ShelfError::io(&self.path, "a chunk cannot be written", &error))?;
        self.octets += chunk.len() as u64;
        self.chunks += 1;
        flush_now_and_then(file, &self.path, self.chunks)
    }

    /// Ends it: it is on disk, and is given out. `sealed`: its manifest, signed.
    pub fn finish(mut self, sealed: &[u8]) -> Result<Arc<Kept>, ShelfError> {
        let Inner { cluster, trusted, .. } = &*self.directory.0;
        let manifest = Manifest::open(sealed, cluster, trusted);
        let refused = |refusal| {
            ShelfError::new(
                &self.path,
                Cause::Untrusted,
                format_args!("the manifest of what was made is refused: {refusal}"),
            )
        };
        let manifest = manifest.map_err(refused)?;
        if (manifest.octets, manifest.chunks.len()) != (self.octets, self.chunks) {
            return Err(ShelfError::new(&self.path, Cause::Other, "the manifest is not of what was written"));
        }
        let Some(file) = &self.file else {
            return Err(ShelfError::new(&self.path, Cause::Other, "it is finished"));
        };
        let file = file.try_clone().map_err(|error| ShelfError::io(&self.path, "cannot be finished", &error))?;
        let kept = self.directory.adopt(&self.path, file, manifest, sealed)?;
        self.file = None;
        Ok(kept)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some() {
            remove(&self.path);
        }
    }
}

/// A snapshot that is being fetched.
#[derive(Debug)]
pub(super) struct Partial {
    directory: Directory,
    id: SnapshotId,
    manifest: Manifest,
    path: PathBuf,
    file: File,
}

impl Partial {
    /// Reads and verifies a chunk.
    pub(super) fn chunk(&self, number: usize) -> Result<Vec<u8>, ShelfError> {
        read_chunk(&self.file, &self.path, &self.manifest, number)
    }

    /// Writes a chunk that was verified.
    pub(super) fn put(&self, number: usize, chunk: &[u8]) -> Result<(), ShelfError> {
        let Some((start, _)) = self.manifest.place(number) else { return Ok(()) };
        let written = self.file.write_all_at(chunk, start);
        written.map_err(|error| ShelfError::io(&self.path, "a chunk cannot be written", &error))?;
        flush_now_and_then(&self.file, &self.path, number + 1)
    }

    /// The manifest, if it came before.
    pub(super) fn sealed(&self) -> Option<Vec<u8>> {
        self.directory.read_manifest(self.id).ok().map(|(_, sealed)| sealed)
    }

    /// Ends it. Every chunk has been verified.
    pub(super) fn finish(&self, sealed: &[u8]) -> Result<Arc<Kept>, ShelfError> {
        let file = self.file.try_clone().and_then(|file| {
            // What stood there before may have been longer.
            file.set_len(self.manifest.octets)?;
            Ok(file)
        });
        let file = file.map_err(|error| ShelfError::io(&self.path, "cannot be finished", &error))?;
        self.directory.adopt(&self.path, file, self.manifest.clone(), sealed)
    }
}

/// Reads a chunk and verifies it.
fn read_chunk(file: &File, path: &Path, manifest: &Manifest, number: usize) -> Result<Vec<u8>, ShelfError> {
    let Some((start, length)) = manifest.place(number) else {
        return Err(ShelfError::new(path, Cause::Other, format_args!("it has no chunk {number}")));
    };
    let mut chunk = vec![0; length];
    let read = file.read_exact_at(&mut chunk, start);
    read.map_err(|error| ShelfError::io(path, &format!("chunk {number} cannot be read"), &error))?;
    let damaged = |_| {
        ShelfError::new(
            path,
            Cause::Damaged,
            format_args!("chunk {number} (bytes {start} to {}) is not as it was written", start + length as u64 - 1),
        )
    };
    manifest.check(number, &chunk).map_err(damaged)?;
    Ok(chunk)
}

/// Flushes what was written now and then, so that no other flush on the same disk waits for all of it.
fn flush_now_and_then(file: &File, path: &Path, chunks: usize) -> Result<(), ShelfError> {
    if !chunks.is_multiple_of(limits::FLUSH_CHUNKS) {
        return Ok(());
    }
    file.sync_data().map_err(|error| ShelfError::io(path, "cannot be flushed to disk", &error))
}

/// How files are made. No link is followed, and no pipe waited for.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    options
}

/// Opens a file that is there.
fn open_there(path: &Path, to_write: bool) -> io::Result<File> {
    options().create(false).write(to_write).open(path).and_then(regular)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

fn take(path: &Path) -> Result<File, ShelfError> {
    let file = options().open(path).and_then(regular);
    let file = file.map_err(|error| ShelfError::io(path, "the directory of snapshots cannot be taken", &error))?;
    match lock_patiently(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(ShelfError::new(path, Cause::InUse, "another process has this directory of snapshots"))
        }
        Err(TryLockError::Error(error)) => {
            Err(ShelfError::io(path, "the directory of snapshots cannot be taken", &error))
        }
    }
}

/// Whether it is of a process that has ended in the middle.
fn is_left_over(name: &str) -> bool {
    let is_draft = name.strip_prefix(DRAFT).is_some_and(|number| number.parse::<u64>().is_ok());
    let is_manifest = || name.strip_suffix(NEW).and_then(Kind::of).is_some_and(|(_, kind)| kind == Kind::Manifest);
    is_draft || is_manifest()
}

/// Puts a file in place as a whole, on disk.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let new = PathBuf::from(new);
    let written = || {
        let mut file = options().truncate(true).open(&new).and_then(regular)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().inspect_err(|_| remove(&new))
}

/// Removes a file; that it could not be is told, since room may run out.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!("{}", ShelfError::io(path, "cannot be removed", &error)),
    }
}
