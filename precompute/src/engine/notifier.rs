//! Events of the file system (inotify) that wake the readers of sources.
//!
//! Purpose: a change of a file is read within milliseconds and not at the next poll. Invariant: an event never decides
//! that something has changed: it only wakes the reader, which looks at the files itself, and does so at intervals
//! without any event. So one that is lost, late, too many or never comes ([`file_events`]) costs time, and nothing else.
//!
//! The directories of the files are watched, because a file that is replaced is another file; on the way to a file
//! through symbolic links, so are the directories of all of them (Kubernetes swaps a link to a directory). One thread
//! and one descriptor serve the process. That thread never touches a file system: each reader finds its own directories
//! ([`Watching::renew`]), in its own thread, because a file system may hang.
//!
//! It does not know what a file is for.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::OsString,
    fmt, fs,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{self, Reader, WatchFlags},
    io::Errno,
};
use tracing::warn;

use crate::{
    file_events::{self, ReadFlags, Told},
    limits,
};

/// What may change a file, and the fate of the directory itself.
const EVENTS: WatchFlags = file_events::CHANGES.union(WatchFlags::DELETE_SELF).union(WatchFlags::MOVE_SELF);

/// Bytes of events read at a time: some hundred, of file names of usual length.
const READ_OCTETS: usize = 16 << 10;

/// Events that are taken before those who wait for them are woken.
const BATCH_EVENTS: usize = 1024;

type WakeUp = Arc<dyn Fn() + Send + Sync>;

/// The thread that hears of changes. It ends when the last copy is dropped.
#[derive(Clone, Debug)]
pub(super) struct Notifier {
    shared: Arc<Shared>,
    _end: Arc<End>,
}

struct Shared {
    /// `None` where there are no events.
    inotify: Option<OwnedFd>,
    /// Whether the thread still hears of them.
    hears: AtomicBool,
    state: Mutex<State>,
    has_told_of_limit: AtomicBool,
}

/// Tells the thread to end.
#[derive(Debug)]
struct End(Option<Arc<OwnedFd>>);

#[derive(Default)]
struct State {
    next: u64,
    users: HashMap<u64, User>,
    /// For each watch of the kernel: whom which name in that directory concerns.
    watches: HashMap<i32, Vec<(u64, OsString)>>,
    /// How many readers are adding watches now. Meanwhile none is removed, because theirs may be the same,
    adding: usize,
    /// and these have ended before they were known.
    ended: HashSet<i32>,
}

struct User {
    wake: WakeUp,
    /// Its directories are to be found again.
    is_stale: Arc<AtomicBool>,
}

/// Files whose events wake somebody, until it is dropped.
pub(super) struct Watching {
    shared: Arc<Shared>,
    id: u64,
    paths: Vec<PathBuf>,
    /// What is watched.
    places: Vec<Place>,
    is_stale: Arc<AtomicBool>,
    /// When the places were last found.
    found: Option<Instant>,
    has_told: bool,
}

/// A name in a directory on the way to a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    directory: PathBuf,
    /// Device and inode of the directory: another one may have its path later.
    identity: Option<(u64, u64)>,
    name: OsString,
}

impl Notifier {
    /// Starts the thread. Where there are no events, the log says so and nobody is ever woken.
    pub(super) fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| {
            let remedy = match error {
                Errno::MFILE => "; raise the sysctl `fs.inotify.max_user_instances`, or the limit of open files",
                _ => "",
            };
            warn!("changes of sources are found at intervals alone: inotify is not to be had: {error}{remedy}");
            Self { shared: Arc::new(Shared::new(None)), _end: Arc::new(End(None)) }
        })
    }

    fn try_start() -> Result<Self, Errno> {
        let inotify = file_events::open()?;
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shared = Arc::new(Shared::new(Some(inotify)));
        let run = {
            let (shared, end) = (Arc::clone(&shared), Arc::clone(&end));
            move || {
                if let Err(error) = shared.run(&end) {
                    shared.hears.store(false, Relaxed);
                    warn!("changes of sources are found at intervals alone from now on: inotify failed: {error}");
                }
            }
        };
        let started = thread::Builder::new().name("notifier".into()).spawn(run);
        started.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Self { shared, _end: Arc::new(End(Some(end))) })
    }

    /// Calls `wake` after each event that may concern one of the files, from another thread; it must not block. No
    /// directory is watched yet: [`Watching::renew`] does that.
    pub(super) fn watch(&self, paths: Vec<PathBuf>, wake: impl Fn() + Send + Sync + 'static) -> Watching {
        let is_stale = Arc::new(AtomicBool::new(true));
        let user = User { wake: Arc::new(wake), is_stale: Arc::clone(&is_stale) };
        let mut state = self.shared.lock();
        let id = state.next;
        state.next += 1;
        state.users.insert(id, user);
        drop(state);
        Watching {
            shared: Arc::clone(&self.shared),
            id,
            paths,
            places: Vec::new(),
            is_stale,
            found: None,
            has_told: false,
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(end) = &self.0 {
            // A counter that is full has been read by nobody, and is readable.
            let _ = rustix::io::write(end, &1_u64.to_ne_bytes());
        }
    }
}

impl Watching {
    /// The same as [`Watching::renew`] where an event has told that it is needed, and else now and then: only a directory
    /// above the watched ones may have been moved, and finding that out takes several times as long as a look.
    pub(super) fn renew_where_due(&mut self, now: Instant) {
        let is_due = |found: Instant| now.saturating_duration_since(found) >= limits::TOLD_POLL_INTERVAL;
        if self.is_stale.load(Relaxed) || self.places.is_empty() || self.found.is_none_or(is_due) {
            self.renew();
        }
    }

    /// How many are woken by the same thread.
    pub(super) fn among(&self) -> usize {
        self.shared.lock().users.len()
    }

    /// Watches the directories that lead to the files now, if they are others than before. To be called before each look
    /// at the files, by the thread that reads them: it may hang where they do. A look after it sees what happened before
    /// the watch.
    pub(super) fn renew(&mut self) {
        let Some(inotify) = &self.shared.inotify else { return };
        self.found = Some(Instant::now());
        let is_stale = self.is_stale.swap(false, Relaxed);
        let places: Vec<Place> = self.paths.iter().flat_map(|path| places(path)).collect();
        if !is_stale && places == self.places {
            return;
        }
        self.shared.lock().adding += 1;
        let (mut added, mut failed) = (Vec::new(), None);
        for place in &places {
            match inotify::add_watch(inotify, &place.directory, EVENTS) {
                Ok(watch) => added.push((watch, place.name.clone())),
                // It went away, which the next look sees.
                Err(Errno::NOENT | Errno::NOTDIR) => self.is_stale.store(true, Relaxed),
                Err(error) => failed = Some((place.directory.clone(), error)),
            }
        }
        if !self.shared.lock().added(inotify, self.id, added) {
            self.is_stale.store(true, Relaxed);
        }
        self.places = places;
        if let Some((directory, error)) = failed {
            self.tell(&directory, error);
            // The next look tries it again.
            self.places.clear();
        }
    }

    /// Whether each change that this machine makes of the files wakes who looks at them, as of the last
    /// [`Watching::renew`].
    pub(super) fn is_complete(&self) -> bool {
        self.shared.hears.load(Relaxed) && !self.places.is_empty() && !self.is_stale.load(Relaxed)
    }

    fn tell(&mut self, directory: &Path, error: Errno) {
        let is_limit = error == Errno::NOSPC;
        let has_told = if is_limit {
            self.shared.has_told_of_limit.swap(true, Relaxed)
        } else {
            std::mem::replace(&mut self.has_told, true)
        };
        if has_told {
            return;
        }
        let remedy = if is_limit { "; raise the sysctl `fs.inotify.max_user_watches`" } else { "" };
        warn!(
            "{}: changes in this directory are found at intervals alone: it cannot be watched: {error}{remedy}",
            directory.display()
        );
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.users.remove(&self.id);
        state.forget(self.id);
        if let Some(inotify) = &self.shared.inotify {
            state.remove_unused(inotify);
        }
    }
}

/// The names on the way to a file that may come to lead elsewhere: symbolic links, the file itself, or the first that is
/// missing. A directory that is no link is watched itself, or is above one that is.
fn places(path: &Path) -> Vec<Place> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    let mut rest: VecDeque<OsString> = names(&path).collect();
    let (mut places, mut at, mut links) = (Vec::new(), PathBuf::from("/"), 0);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let here = at.join(&name);
        let metadata = fs::symlink_metadata(&here);
        if !rest.is_empty() && metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
            at = here;
            continue;
        }
        let identity = fs::metadata(&at).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        places.push(Place { directory: at.clone(), identity, name });
        links += 1;
        match fs::read_link(&here) {
            Ok(target) if metadata.is_ok_and(|metadata| metadata.is_symlink()) && links <= limits::SYMLINKS_MAX => {
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                names(&target).rev().for_each(|name| rest.push_front(name));
            }
            _ => break,
        }
    }
    places
}

/// The names in a path, with `..`.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

impl Shared {
    fn new(inotify: Option<OwnedFd>) -> Self {
        let hears = AtomicBool::new(inotify.is_some());
        Self { inotify, hears, state: Mutex::default(), has_told_of_limit: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes users until `end` is readable.
    fn run(&self, end: &OwnedFd) -> Result<(), Errno> {
        let Some(inotify) = &self.inotify else { return Ok(()) };
        let mut buffer = [MaybeUninit::uninit(); READ_OCTETS];
        let mut reader = Reader::new(inotify, &mut buffer);
        loop {
            let mut ready = [PollFd::new(inotify, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                outcome => outcome?,
            };
            if !ready[1].revents().is_empty() {
                return Ok(());
            }
            let mut woken = HashSet::new();
            file_events::take(&mut reader, BATCH_EVENTS, |told| self.lock().note(told, &mut woken))?;
            let wakes: Vec<WakeUp> = {
                let state = self.lock();
                woken.iter().filter_map(|id| state.users.get(id)).map(|user| Arc::clone(&user.wake)).collect()
            };
            wakes.iter().for_each(|wake| wake());
            // Others may be writing in the same directories all the time.
            thread::sleep(limits::NOTIFIER_REST);
        }
    }
}

impl State {
    /// Adds those whom an event concerns to `woken`.
    fn note(&mut self, Told { watch, what, name }: Told<'_>, woken: &mut HashSet<u64>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Anything may have happened to anybody.
            self.users.values().for_each(|user| user.is_stale.store(true, Relaxed));
            woken.extend(self.users.keys());
            return;
        }
        let is_ended = what.contains(ReadFlags::IGNORED);
        let Some(concerned) = self.watches.get(&watch) else {
            if is_ended && self.adding > 0 {
                self.ended.insert(watch);
            }
            return;
        };
        for (id, _) in concerned.iter().filter(|(_, of)| name.is_none_or(|name| name == of)) {
            woken.insert(*id);
            // It is about the directory itself.
            if let Some(user) = self.users.get(id).filter(|_| name.is_none()) {
                user.is_stale.store(true, Relaxed);
            }
        }
        if is_ended {
            self.watches.remove(&watch);
        }
    }

    /// What a user watches from now on; false if one of the watches has ended already.
    fn added(&mut self, inotify: &OwnedFd, id: u64, added: Vec<(i32, OsString)>) -> bool {
        self.adding -= 1;
        self.forget(id);
        let mut all = true;
        for (watch, name) in added {
            if self.ended.contains(&watch) {
                all = false;
            } else {
                self.watches.entry(watch).or_default().push((id, name));
            }
        }
        self.remove_unused(inotify);
        all
    }

    fn forget(&mut self, id: u64) {
        self.watches.values_mut().for_each(|concerned| concerned.retain(|(other, _)| *other != id));
    }

    fn remove_unused(&mut self, inotify: &OwnedFd) {
        if self.adding > 0 {
            return;
        }
        self.ended.clear();
        self.watches.retain(|watch, concerned| {
            if concerned.is_empty() {
                // It may have ended by itself.
                let _ = inotify::remove_watch(inotify, *watch);
            }
            !concerned.is_empty()
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("inotify", &self.inotify).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").field("places", &self.places).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
