//! Fetches the snapshot that is wanted, on a thread of its own.
//!
//! Invariants: what is at hand has the manifest's hash, whichever source it is from; chunks come in order, and what is on
//! disk is not fetched again unless it is wrong; a disk that cannot be written costs the cache and not the snapshot, which
//! then comes through memory. It does not know what is in a chunk, or who wants it.
//!
//! Who asks ([`Snapshots`]) never waits for the network or for a disk that is written, with one exception: without a disk
//! nobody holds the whole of a snapshot, so [`Snapshots::here`] promises what is still to come once a source has given the
//! first few chunks, and [`Snapshots::chunk`] waits for each at most [`limits::TAKEN_WITHIN`].

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{info, warn};
use ureq::Agent;

use super::{
    super::{Manifest, https::Https, store::Snapshots},
    directory::{Directory, Kept, Partial},
    fault::ShelfError,
    id::{Part, SnapshotId},
    source::{self, Answer, BaseUrl, SourceFault, Wish},
    sources::{Next, Sources},
    window::Window,
};
use crate::limits::{feed::MANIFEST_OCTETS_MAX, shelf as limits};

/// Fetches snapshots, one at a time: the one that was asked for last. Dropped, it ends at once.
#[derive(Debug)]
pub struct Fetcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The chunks of the snapshot that is wanted, for another thread than the one that wants it: which one that is does not
/// change here.
#[derive(Clone, Debug)]
pub struct Chunks(Arc<Shared>);

/// How far the snapshot is that is wanted, for operators.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name, how many of its chunks are at hand, and how many it has. `None` before the first one.
    pub wanted: Option<(SnapshotId, usize, usize)>,
    /// Each source, and why it gave nothing the last time.
    pub sources: Vec<(BaseUrl, Option<SourceFault>)>,
    /// Why it is not kept on disk.
    pub disk: Option<ShelfError>,
}

impl Report {
    /// How far it is, and why it is no further, for people; `None` where none is wanted, or all of it is at hand.
    pub fn progress(&self) -> Option<String> {
        let (id, here, all) = self.wanted.filter(|(_, here, all)| here < all)?;
        let mut line = format!("the snapshot {id} is fetched: {here} of {all} chunks are here");
        for fault in self.sources.iter().filter_map(|(_, fault)| fault.as_ref()) {
            let _ = write!(line, "; {fault}");
        }
        if self.sources.is_empty() {
            line.push_str("; `snapshot_from` is empty: name the `snapshot_listen` of writers and other replicas there");
        }
        Some(line)
    }

    /// Whether something is wanted that is not all at hand, and every source has failed, or there is none.
    pub fn is_given_by_nobody(&self) -> bool {
        let is_wanted = self.wanted.is_some_and(|(_, here, all)| here < all);
        is_wanted && self.sources.iter().all(|(_, fault)| fault.is_some())
    }

    /// Whether a source has failed, or there is none, while something is wanted.
    pub fn is_in_trouble(&self) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|(_, fault)| fault.is_some())
    }
}

#[derive(Debug)]
struct Shared {
    directory: Option<Directory>,
    began: Instant,
    state: Mutex<State>,
    /// The state has changed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    is_ending: bool,
    wanted: Option<Wanted>,
    sources: Sources,
    disk: Option<ShelfError>,
    https: Https,
    /// For the snapshot that is wanted: shut down, it lets go of what is under way.
    agent: Agent,
    /// Whether the agent can ask over TLS, as a source so far has wanted it.
    over_tls: bool,
}

#[derive(Debug)]
struct Wanted {
    id: SnapshotId,
    manifest: Manifest,
    held: Held,
    /// How many chunks from the first one on are on disk and were verified.
    verified: usize,
    /// All are, and what it takes to keep it was tried.
    is_done: bool,
    /// Chunks in memory.
    window: Window,
    /// Since when no source has it.
    nobody_since: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Held {
    /// Nobody has looked yet.
    Unknown,
    Whole(Arc<Kept>),
    Partial(Arc<Partial>),
    Memory,
}

/// What is to be done next.
enum Job {
    Open,
    Chunk(Arc<Partial>, usize),
    Finish(Arc<Partial>),
    Memory(usize),
}

impl Wanted {
    fn at_hand(&self) -> usize {
        match &self.held {
            Held::Unknown => 0,
            Held::Whole(_) => self.manifest.chunks.len(),
            Held::Partial(_) => self.verified,
            Held::Memory => self.window.here(),
        }
    }

    fn job(&self) -> Option<Job> {
        match &self.held {
            Held::Unknown => Some(Job::Open),
            Held::Whole(_) => None,
            Held::Partial(partial) if self.verified < self.manifest.chunks.len() => {
                Some(Job::Chunk(Arc::clone(partial), self.verified))
            }
            Held::Partial(partial) => (!self.is_done).then(|| Job::Finish(Arc::clone(partial))),
            Held::Memory => self.window.next().map(Job::Memory),
        }
    }
}

impl State {
    /// What is wanted, if it is still this.
    fn still(&mut self, id: SnapshotId) -> Result<&mut Wanted, Changed> {
        if self.is_ending {
            return Err(Changed);
        }
        self.wanted.as_mut().filter(|wanted| wanted.id == id).ok_or(Changed)
    }

    fn want(&mut self, manifest: &Manifest, held: impl FnOnce(SnapshotId) -> Held) {
        let id = SnapshotId::of(manifest);
        let window = Window::new(manifest.chunks.len());
        let (held, manifest) = (held(id), manifest.clone());
        self.wanted = Some(Wanted { id, manifest, held, verified: 0, is_done: false, window, nobody_since: None });
        self.sources.begin_again();
        // What is under way for another one ends.
        std::mem::replace(&mut self.agent, source::agent(&self.https, self.over_tls)).shutdown();
    }

    /// The agent that can ask there. Where nobody is asked over TLS, nobody's certificates are read.
    fn agent_for(&mut self, url: &BaseUrl) -> Agent {
        if url.is_over_tls() && !self.over_tls {
            (self.over_tls, self.agent) = (true, source::agent(&self.https, true));
        }
        self.agent.clone()
    }
}

/// Something else is wanted, or nothing any more.
struct Changed;

impl Fetcher {
    /// `directory`: where snapshots are kept; without one, each chunk is in memory until it is taken. `sources`: in the
    /// order of preference; `https`: whom to trust there.
    pub fn start(directory: Option<Directory>, sources: &[BaseUrl], https: &Https) -> io::Result<Self> {
        let (mut list, agent, https) = (Sources::default(), source::agent(https, false), https.clone());
        list.set(sources);
        let state = State { is_ending: false, wanted: None, sources: list, disk: None, https, agent, over_tls: false };
        let shared = Shared { directory, began: Instant::now(), state: Mutex::new(state), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("snapshots".to_owned()).spawn(move || own.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Replaces the list of sources.
    pub fn set_sources(&self, sources: &[BaseUrl]) {
        self.shared.state().sources.set(sources);
        self.shared.changed.notify_all();
    }

    /// The chunks, for another thread.
    pub fn chunks(&self) -> Chunks {
        Chunks(Arc::clone(&self.shared))
    }

    /// How far it is.
    pub fn report(&self) -> Report {
        self.shared.report()
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told where it happened.
            let _ = thread.join();
        }
    }
}

impl Snapshots for Fetcher {
    fn here(&mut self, manifest: &Manifest) -> Option<usize> {
        let Shared { directory, changed, .. } = &*self.shared;
        let mut state = self.shared.state();
        if state.wanted.as_ref().is_none_or(|wanted| wanted.manifest != *manifest) {
            let whole = |id| directory.as_ref().and_then(|directory| directory.whole(id));
            state.want(manifest, |id| whole(id).map_or(Held::Unknown, Held::Whole));
            changed.notify_all();
        }
        let wanted = state.wanted.as_ref()?;
        let at_hand = wanted.at_hand();
        let will_come = wanted.nobody_since.is_none() || at_hand >= manifest.record_chunks as usize && at_hand > 0;
        will_come.then_some(at_hand)
    }

    fn chunk(&mut self, manifest: &Manifest, number: usize) -> Option<Vec<u8>> {
        self.shared.chunk(manifest, number, || true)
    }
}

impl Chunks {
    /// As [`Fetcher::report`].
    pub fn report(&self) -> Report {
        self.0.report()
    }

    /// How many chunks from the first one on are at hand; `None` if another snapshot is wanted by now.
    pub fn at_hand(&self, manifest: &Manifest) -> Option<usize> {
        let state = self.0.state();
        state.wanted.as_ref().filter(|wanted| wanted.manifest == *manifest).map(Wanted::at_hand)
    }

    /// One that is at hand, as [`Snapshots::chunk`], as long as it `is_wanted`. Of a snapshot in memory there are a few
    /// chunks, which are given up for one that is not among them. Whether it is wanted is asked before that, and while
    /// it is waited for, so a thread that is to end takes nothing from another one that begins anew.
    pub fn chunk(&self, manifest: &Manifest, number: usize, is_wanted: impl Fn() -> bool) -> Option<Vec<u8>> {
        self.0.chunk(manifest, number, is_wanted)
    }

    /// Ends what the [`Fetcher`] does, as when it is dropped: whoever waits for a chunk gets none.
    pub fn end(&self) {
        self.0.end();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut state = self.state();
        state.is_ending = true;
        state.agent.clone().shutdown();
        drop(state);
        self.changed.notify_all();
    }

    fn report(&self) -> Report {
        let state = self.state();
        let wanted = state.wanted.as_ref();
        let wanted = wanted.map(|wanted| (wanted.id, wanted.at_hand(), wanted.manifest.chunks.len()));
        Report { wanted, sources: state.sources.list(), disk: state.disk.clone() }
    }

    fn chunk(&self, manifest: &Manifest, number: usize, is_wanted: impl Fn() -> bool) -> Option<Vec<u8>> {
        let mut state = self.state();
        let wanted = state.wanted.as_mut().filter(|wanted| wanted.manifest == *manifest)?;
        let (id, held) = (wanted.id, wanted.held.clone());
        let read = match held {
            Held::Unknown => return None,
            Held::Partial(_) if number >= wanted.verified => return None,
            Held::Memory => return self.take(state, id, number, is_wanted),
            Held::Whole(_) if number >= manifest.chunks.len() => return None,
            Held::Whole(kept) => {
                drop(state);
                kept.chunk(number).inspect_err(|_| {
                    if let Some(directory) = &self.directory {
                        directory.demote(&kept);
                    }
                })
            }
            Held::Partial(partial) => {
                drop(state);
                partial.chunk(number)
            }
        };
        read.inspect_err(|fault| self.begin_at(id, number, fault)).ok()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait<'s>(&'s self, state: MutexGuard<'s, State>, most: Option<Duration>) -> MutexGuard<'s, State> {
        match most {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(most) => self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Changes what is wanted, if it is still this.
    fn change(&self, id: SnapshotId, change: impl FnOnce(&mut Wanted)) {
        if let Ok(wanted) = self.state().still(id) {
            change(wanted);
        }
        self.changed.notify_all();
    }

    /// A chunk that was at hand is wrong: it is fetched again, and those behind it are verified again.
    fn begin_at(&self, id: SnapshotId, number: usize, fault: &ShelfError) {
        warn!(snapshot = %id, "a chunk is fetched again: {fault}");
        self.change(id, |wanted| {
            if let Held::Whole(_) = wanted.held {
                (wanted.held, wanted.verified) = (Held::Unknown, 0);
            }
            wanted.verified = wanted.verified.min(number);
            wanted.is_done = false;
        });
    }

    /// Waits for a chunk that comes through memory, while it is wanted.
    fn take<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        id: SnapshotId,
        number: usize,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Vec<u8>> {
        let until = self.now() + limits::TAKEN_WITHIN;
        loop {
            if !is_wanted() {
                return None;
            }
            let wanted = state.still(id).ok()?;
            if number >= wanted.manifest.chunks.len() {
                return None;
            }
            let taken = wanted.window.take(number);
            // There is room for another one, or it is to be fetched from there.
            self.changed.notify_all();
            let now = self.now();
            let is_over = wanted.nobody_since.is_some_and(|since| now > since + limits::SILENCE_MAX);
            if taken.is_some() || is_over || now >= until {
                return taken;
            }
            // A fault that lasts is no change by itself.
            state = self.wait(state, Some(limits::RETRY_MIN));
        }
    }

    /// The thread.
    fn run(&self) {
        while let Some((id, manifest, job)) = self.next_job() {
            // Whatever is wanted in its place is the next job.
            let _: Result<(), Changed> = match job {
                Job::Open => {
                    let held = self.open(id, &manifest);
                    self.change(id, |wanted| wanted.held = held);
                    Ok(())
                }
                Job::Chunk(partial, number) => self.bring(id, &manifest, &partial, number),
                Job::Finish(partial) => self.finish(id, &manifest, &partial),
                Job::Memory(number) => self.fetch(id, &manifest, Part::Chunk(number)).map(|chunk| {
                    self.change(id, |wanted| wanted.window.put(number, chunk));
                }),
            };
        }
    }

    /// Waits until there is something to do; `None` at the end.
    fn next_job(&self) -> Option<(SnapshotId, Manifest, Job)> {
        let mut state = self.state();
        loop {
            if state.is_ending {
                return None;
            }
            if let Some(wanted) = &state.wanted
                && let Some(job) = wanted.job()
            {
                return Some((wanted.id, wanted.manifest.clone(), job));
            }
            state = self.wait(state, None);
        }
    }

    fn open(&self, id: SnapshotId, manifest: &Manifest) -> Held {
        let Some(directory) = &self.directory else { return Held::Memory };
        if let Some(kept) = directory.whole(id) {
            return Held::Whole(kept);
        }
        match directory.partial(manifest, id) {
            Ok(partial) => {
                self.state().disk = None;
                Held::Partial(Arc::new(partial))
            }
            Err(fault) => {
                self.not_kept(id, fault);
                Held::Memory
            }
        }
    }

    /// Notes why a snapshot is not kept.
    fn not_kept(&self, id: SnapshotId, fault: ShelfError) {
        warn!(snapshot = %id, "a snapshot is not kept on disk, and is fetched anew after a restart: {fault}");
        self.state().disk = Some(fault);
    }

    /// Sees to it that a chunk is on disk.
    fn bring(&self, id: SnapshotId, manifest: &Manifest, partial: &Arc<Partial>, number: usize) -> Result<(), Changed> {
        if partial.chunk(number).is_err() {
            let chunk = self.fetch(id, manifest, Part::Chunk(number))?;
            if let Err(fault) = partial.put(number, &chunk) {
                self.not_kept(id, fault);
                self.change(id, |wanted| wanted.held = Held::Memory);
                return Ok(());
            }
        }
        // Somebody may have found an earlier one to be wrong.
        self.change(id, |wanted| {
            if wanted.verified == number {
                wanted.verified = number + 1;
            }
        });
        Ok(())
    }

    /// Makes a whole one of what has every chunk.
    fn finish(&self, id: SnapshotId, manifest: &Manifest, partial: &Arc<Partial>) -> Result<(), Changed> {
        let sealed = match partial.sealed() {
            Some(sealed) => sealed,
            None => self.fetch(id, manifest, Part::Manifest)?,
        };
        match partial.finish(&sealed) {
            Ok(kept) => {
                info!(snapshot = %id, octets = manifest.octets, "a snapshot is whole");
                self.change(id, |wanted| wanted.held = Held::Whole(kept));
            }
            Err(fault) => {
                self.not_kept(id, fault);
                self.change(id, |wanted| wanted.is_done = true);
            }
        }
        Ok(())
    }

    /// Asks one source after the other until one gives it as it has to be.
    fn fetch(&self, id: SnapshotId, manifest: &Manifest, part: Part) -> Result<Vec<u8>, Changed> {
        let (octets, is_exact) = match part {
            Part::Manifest => (MANIFEST_OCTETS_MAX, false),
            Part::Chunk(number) => (manifest.place(number).map_or(0, |(_, octets)| octets), true),
        };
        loop {
            let (base, agent, is_hurried) = self.next_source(id)?;
            let wish = Wish { id, part, octets, is_exact, is_hurried };
            let outcome = source::get(&agent, &base, &wish).and_then(|bytes| {
                let verified = match part {
                    Part::Manifest => self.directory.as_ref().map_or(Ok(()), |directory| directory.accept(id, &bytes)),
                    Part::Chunk(number) => manifest.check(number, &bytes),
                };
                let wrong = |refusal| SourceFault { url: wish.url(&base), answer: Answer::Wrong(refusal) };
                verified.map(|()| bytes).map_err(wrong)
            });
            let now = self.now();
            let mut state = self.state();
            // What was cut off because something else is wanted is no fault.
            state.still(id)?;
            match outcome {
                Ok(bytes) => {
                    state.sources.worked(&base);
                    state.still(id)?.nobody_since = None;
                    return Ok(bytes);
                }
                Err(fault) => {
                    let told = fault.to_string();
                    if state.sources.failed(&base, fault, now) {
                        warn!(snapshot = %id, "a source of snapshots fails: {told}");
                    }
                    if state.sources.have_all_failed() {
                        state.still(id)?.nobody_since.get_or_insert(now);
                        self.changed.notify_all();
                    }
                }
            }
        }
    }

    /// Waits until a source may be asked, and whether it is to be quick.
    fn next_source(&self, id: SnapshotId) -> Result<(BaseUrl, Agent, bool), Changed> {
        let mut state = self.state();
        loop {
            state.still(id)?;
            let now = self.now();
            let most = match state.sources.next(now) {
                Next::Ask(url) => {
                    let is_hurried = state.sources.has_another(&url);
                    let agent = state.agent_for(&url);
                    return Ok((url, agent, is_hurried));
                }
                Next::Wait(until) => Some(until.saturating_sub(now)),
                Next::Nobody => {
                    state.still(id)?.nobody_since.get_or_insert(now);
                    self.changed.notify_all();
                    None
                }
            };
            state = self.wait(state, most);
        }
    }
}
