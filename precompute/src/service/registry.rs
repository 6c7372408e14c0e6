//! This server in the registry of its cluster, and what it sees of the others there.
//!
//! Purpose: one thread tells who this server is ([`Notice`]) at the start, each minute, when something of it has changed (what it
//! does is looked at each second) and at the end, and looks at what the others have told. Operators see that by remarks, metrics, the API and the log.
//!
//! Invariants: nothing waits for it, and nothing that is served, followed or led depends on it; Redis away, or a user of Redis
//! that may not write here, is told once and costs nothing else. A server that ends says so within
//! [`limits::LAST_WORD_WITHIN`], or leaves it. It does not know what is answered, or how a feed is followed.
//!
//! `voice` is what this server says of itself, `remarks` what is told of all of them, `list` the file with those that were
//! decommissioned.

mod list;
mod remarks;
mod thread;
mod voice;

pub use self::{
    remarks::View,
    voice::{Facts, Own, State, keys_of},
};

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use self::{list::List, thread::Work};
use super::rim;
use crate::{
    assemble::AssembledFeed,
    feed::{
        Cluster, Moment, Trusted, WriterKey,
        redis::{Server, Stream},
        servers::{self, Gone, Roster, Seen, Watch},
    },
    journal::Identity,
    limits::servers as limits,
    pki::UnixTime,
    state_dir::ServerId,
};

/// Of which cluster, and as whom.
#[derive(Clone, Debug)]
pub struct Membership {
    redis: Server,
    cluster: Cluster,
    trusted: Trusted,
    /// Of a writer.
    key: Option<WriterKey>,
    name: String,
    replicas_wanted: usize,
    state_dir: PathBuf,
}

impl Membership {
    /// As the configuration says.
    pub fn of(feed: &AssembledFeed, state_dir: &Path) -> Self {
        Self {
            redis: feed.redis.clone(),
            cluster: feed.cluster.clone(),
            trusted: feed.trusted.clone(),
            key: feed.key.clone(),
            name: feed.name.clone().unwrap_or_else(crate::state_dir::host),
            replicas_wanted: feed.replicas_wanted as usize,
            state_dir: state_dir.to_owned(),
        }
    }

    fn stream(&self) -> Stream {
        Stream::new(self.redis.clone(), &self.cluster)
    }

    /// Looks at all servers once, without being one. The error is for the user.
    pub fn look(&self) -> Result<Roster, String> {
        let mut stream = self.stream();
        let (places, refused) = thread::opened(&mut stream, &self.cluster).map_err(|fault| fault.to_string())?;
        let gone = self.gone(&mut stream)?;
        let mut watch = Watch::default();
        let now = Moment { monotonic: Duration::ZERO, wall: rim::wall() };
        watch.look(&places, now);
        Ok(Roster { refused, ..watch.roster(&gone, now) })
    }

    fn gone(&self, stream: &mut Stream) -> Result<Gone, String> {
        let list = stream.gone().map_err(|fault| fault.to_string())?;
        Ok(Gone::open(&list, &self.cluster, &self.trusted).unwrap_or_default())
    }

    /// Takes a server off the list for good: `written` is its identity, the beginning of that, or its name; `even_alive`: also if
    /// it was heard of late. Nothing is asked of it. Gives its name and identity.
    pub fn decommission(&self, written: &str, even_alive: bool) -> Result<(ServerId, String), NotDecommissioned> {
        let Some(key) = &self.key else {
            let what = "servers are decommissioned by a writer, and this configuration has no `feed.key`: run it with the configuration of a writer";
            return Err(NotDecommissioned::Refused(what.into()));
        };
        let roster = self.look()?;
        let seen = servers::find(written, &roster.servers)?;
        if seen.lives() && !even_alive {
            return Err(NotDecommissioned::Lives(format!(
                "{} was heard {} s ago, and nothing was changed; stop it first",
                seen.called(),
                seen.silence.as_secs()
            )));
        }
        let mut stream = self.stream();
        let mut gone = self.gone(&mut stream)?;
        let list = List::of(&self.state_dir, self.cluster.clone());
        gone.merge(&list.read(&self.trusted));
        gone.add(seen.notice.server, UnixTime::now());
        let sealed = gone.seal(&self.cluster, key);
        list.write(&sealed)?;
        stream.set_gone(&sealed).map_err(|fault| fault.to_string())?;
        self.clear(&mut stream, seen)?;
        Ok((seen.notice.server, seen.called()))
    }

    /// Whoever has only just said something keeps its place.
    fn clear(&self, stream: &mut Stream, seen: &Seen) -> Result<(), String> {
        let places = thread::opened(stream, &self.cluster).map_err(|fault| fault.to_string())?.0;
        let of_it = places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.as_ref().is_some_and(|signed| signed.notice.server == seen.notice.server));
        for (number, _) in of_it {
            stream.clear_place(number).map_err(|fault| fault.to_string())?;
        }
        Ok(())
    }
}

/// Why a server was not taken off the list, for the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotDecommissioned {
    /// It was heard of late, which may be said not to matter.
    Lives(String),
    /// Anything else.
    Refused(String),
}

impl From<String> for NotDecommissioned {
    fn from(problem: String) -> Self {
        Self::Refused(problem)
    }
}

impl fmt::Display for NotDecommissioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Lives(problem) | Self::Refused(problem)) = self;
        f.write_str(problem)
    }
}

/// The thread. Copies are of the same.
#[derive(Clone, Debug)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    membership: Membership,
    view: Mutex<View>,
    /// What it is to do next.
    asked: Mutex<Todo>,
    bell: Condvar,
    ended: Mutex<Option<Receiver<()>>>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Todo {
    ends: bool,
    looks: bool,
}

impl Registry {
    /// Starts the thread. `own`: what this server is at the moment.
    pub fn start(membership: Membership, identity: &Identity, own: Own) -> io::Result<Self> {
        let (over, ended) = channel();
        let view = View::new(identity.server, membership.key.is_some(), membership.replicas_wanted);
        let shared = Arc::new(Shared {
            membership,
            view: Mutex::new(view),
            asked: Mutex::default(),
            bell: Condvar::new(),
            ended: Mutex::new(Some(ended)),
        });
        let work = Work::new(Arc::clone(&shared), identity.clone(), own);
        std::thread::Builder::new().name("registry".into()).spawn(move || {
            work.run();
            drop(over);
        })?;
        Ok(Self { shared })
    }

    /// What is seen at the moment.
    pub fn view(&self) -> View {
        self.shared.view().clone()
    }

    /// Something of this server has changed: it says so at once.
    pub fn changed(&self) {
        self.shared.ask(|todo| todo.looks = true);
    }

    /// As [`Membership::decommission`].
    pub fn decommission(&self, written: &str, even_alive: bool) -> Result<(ServerId, String), NotDecommissioned> {
        let done = self.shared.membership.decommission(written, even_alive);
        self.changed();
        done
    }

    /// Says that this server ends, if that goes quickly.
    pub fn end(&self) {
        self.shared.ask(|todo| todo.ends = true);
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What hangs is left.
        let _: Option<Result<(), RecvTimeoutError>> = ended.map(|ended| ended.recv_timeout(limits::LAST_WORD_WITHIN));
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: impl FnOnce(&mut Todo)) {
        ask(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_all();
    }

    /// Waits until something is to be done, so long at most.
    fn wait(&self, most: Duration) -> Todo {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + most;
        let nothing = |todo: &mut Todo| !todo.ends && !todo.looks;
        let waited = self.bell.wait_timeout_while(asked, until.saturating_duration_since(Instant::now()), nothing);
        let mut asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        let todo = *asked;
        asked.looks = false;
        todo
    }
}
