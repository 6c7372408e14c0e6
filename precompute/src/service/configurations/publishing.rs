//! What a writer does with versions: publishes, keeps those of others, and puts the newest one back where Redis has lost it.
//!
//! Invariants: only who leads publishes; a version is on its disk before it is told; what `check` would refuse is refused before
//! anything is told, and so is a file that this writer itself does not run with. It does not know how a file is read.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{info, warn};

use super::{
    following::Looking,
    kept::{Kept, KeptVersions},
};
use crate::{
    assemble::{AssembledFeed, Published},
    feed::{Cluster, WriterKey, configuration::Version, redis::Stream, writer::Role},
    journal::trail::{self, Event},
    limits::configuration as limits,
    pki::UnixTime,
    service::{Publishing, registry::Registry},
};

/// What the writer's own file would publish now, tried as `check` does if that is asked for; the error says why it cannot.
pub type Candidate = Box<dyn Fn(Tried) -> Result<Published, String> + Send + Sync>;

/// Adds to the journal's line who asks.
pub type By = dyn Fn(Event) -> Event + Send;

/// How a file is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// With every key that it names.
    Whole,
    /// As a text.
    Not,
}

/// See the module. Copies are of the same.
#[derive(Clone)]
pub struct Announcer {
    shared: Arc<Shared>,
}

struct Shared {
    kept: KeptVersions,
    cluster: Cluster,
    key: WriterKey,
    stream: Mutex<Stream>,
    publishing: Publishing,
    registry: Registry,
    candidate: Candidate,
    /// One is published at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("kept", &self.shared.kept).finish_non_exhaustive()
    }
}

impl Announcer {
    /// Starts to keep what others publish. `None` for a feed that is only read.
    pub fn start(
        feed: &AssembledFeed,
        kept: KeptVersions,
        publishing: Publishing,
        registry: Registry,
        candidate: Candidate,
    ) -> std::io::Result<Option<Self>> {
        let Some(key) = feed.key.clone() else { return Ok(None) };
        let shared = Shared {
            kept: kept.clone(),
            cluster: feed.cluster.clone(),
            key,
            stream: Mutex::new(Stream::new(feed.redis.clone(), &feed.cluster)),
            publishing,
            registry,
            candidate,
            turn: Mutex::new(()),
        };
        let announcer = Self { shared: Arc::new(shared) };
        let again = announcer.clone();
        Looking::new(feed, kept).follow(|_| ())?;
        let assert = move || loop {
            again.assert();
            std::thread::sleep(limits::LOOK_INTERVAL);
        };
        std::thread::Builder::new().name("configuration asserted".into()).spawn(assert)?;
        Ok(Some(announcer))
    }

    /// Those that are kept here.
    pub fn kept(&self) -> &KeptVersions {
        &self.shared.kept
    }

    fn leads(&self) -> bool {
        self.shared.publishing.report().role == Role::Leading
    }

    /// The number in Redis; 0 if there is nothing of the kind.
    fn told(&self, stream: &mut Stream) -> Result<u64, String> {
        let head = stream.configuration(limits::HEAD_OCTETS).map_err(|fault| fault.to_string())?;
        Ok(Version::number_in(&head, &self.shared.cluster).filter(|number| *number < u64::MAX).unwrap_or(0))
    }

    fn put(&self, stream: &mut Stream, kept: &Kept) -> Result<(), String> {
        let sealed = kept.version().seal(&self.shared.cluster, &self.shared.key);
        stream.set_configuration(&sealed).map_err(|fault| fault.to_string())
    }

    /// Puts the newest version back where Redis has another one, as after a loss.
    fn assert(&self) {
        let _turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(newest) = self.leads().then(|| self.shared.kept.newest()).filter(|newest| *newest > 0) else { return };
        let mut stream = self.shared.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut put = || -> Result<(), String> {
            if self.told(&mut stream)? == newest {
                return Ok(());
            }
            let Some(kept) = self.shared.kept.get(newest) else { return Ok(()) };
            self.put(&mut stream, &kept)?;
            info!(version = newest, "the newest version of the configuration was put into Redis again");
            Ok(())
        };
        // Redis away is told by the feed.
        let _ = put();
    }

    /// Publishes what this writer runs with. Gives the version and what differs from the one before.
    pub fn publish(&self, by: &By) -> Result<(Kept, Vec<String>), String> {
        self.journaled("publish", None, by, || self.tell(&(self.shared.candidate)(Tried::Whole)?))
    }

    /// Publishes once more what the version of this number says.
    pub fn roll_back(&self, number: u64, by: &By) -> Result<(Kept, Vec<String>), String> {
        self.journaled("rollback", Some(number), by, || self.tell(&self.version(number)?.published))
    }

    /// The version of this number; the error is for the user.
    pub fn version(&self, number: u64) -> Result<Kept, String> {
        self.shared.kept.get(number).ok_or_else(|| {
            format!("there is no version {number} here; `ostia-precompute config list` shows those that are kept")
        })
    }

    /// What differs between what this writer runs with and the newest version; `None` if nothing was published.
    pub fn unpublished(&self) -> Option<Result<Vec<String>, String>> {
        let newest = self.shared.kept.get(self.shared.kept.newest())?;
        Some((self.shared.candidate)(Tried::Not).map(|candidate| newest.published.differences(&candidate)))
    }

    /// What this writer runs with, as it would be published.
    pub fn own(&self) -> Result<Published, String> {
        (self.shared.candidate)(Tried::Not)
    }

    fn tell(&self, published: &Published) -> Result<(Kept, Vec<String>), String> {
        let _turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.leads() {
            return Err("this writer stands by, and the one that leads publishes; `/readyz/ocsp` says who does what, and `ostia-precompute server list` where".into());
        }
        let mut stream = self.shared.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, view) = (&self.shared.kept, self.shared.registry.view());
        let used = view.roster().servers.iter().flat_map(|seen| {
            let configuration = &seen.notice.configuration;
            configuration.version.into_iter().chain(configuration.refused.as_ref().and_then(|refused| refused.version))
        });
        // One that is absurd would leave no number for the next.
        let used = used.filter(|number| *number < u64::MAX / 2).max().unwrap_or(0);
        let number = kept.newest().max(self.told(&mut stream)?).max(used) + 1;
        let former = kept.get(kept.newest());
        let version = Version { number, made: UnixTime::now(), content: published.written().into() };
        kept.keep(&version)?;
        let made = Kept::of(&version)?;
        self.put(&mut stream, &made)?;
        let changed = former.map(|former| former.published.differences(published)).unwrap_or_default();
        Ok((made, changed))
    }

    fn journaled(
        &self,
        what: &str,
        of: Option<u64>,
        by: &By,
        publish: impl FnOnce() -> Result<(Kept, Vec<String>), String>,
    ) -> Result<(Kept, Vec<String>), String> {
        let outcome = publish();
        trail::tell("configuration", |event| {
            let event = by(event.text("asked", what).optional("of", of));
            match &outcome {
                Ok((kept, changed)) => {
                    let event = event.text("outcome", "done").number("version", kept.number);
                    event.text("digest", &kept.digest).list("changed", changed)
                }
                Err(problem) => event.text("outcome", "refused").text("problem", problem),
            }
        });
        match &outcome {
            Ok((kept, _)) => info!(version = kept.number, digest = kept.digest, "a configuration was published"),
            Err(problem) => warn!("no configuration was published: {problem}"),
        }
        outcome
    }
}
