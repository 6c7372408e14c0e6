//! Looks for another version in Redis, and keeps it.
//!
//! Invariant: a version is read whole only if its number is higher than that of any that is kept; what nobody trusted has signed
//! is told once an hour, and is as nothing. It does not know what becomes of a version.

use std::{io, time::Instant};

use tracing::{error, info, warn};

use super::kept::{Kept, KeptVersions};
use crate::{
    assemble::AssembledFeed,
    feed::{Cluster, Trusted, configuration::Version, redis::Stream},
    limits::configuration as limits,
    log::remarks::Repeated,
};

pub(super) struct Looking {
    stream: Stream,
    cluster: Cluster,
    trusted: Trusted,
    kept: KeptVersions,
    begun: Instant,
    refused: Repeated,
}

impl Looking {
    pub(super) fn new(feed: &AssembledFeed, kept: KeptVersions) -> Self {
        Self {
            stream: Stream::new(feed.redis.clone(), &feed.cluster),
            cluster: feed.cluster.clone(),
            trusted: feed.trusted.clone(),
            kept,
            begun: Instant::now(),
            refused: Repeated::default(),
        }
    }

    /// The version in Redis, if it is a newer one than all that are kept; it is kept then if it is `to_be_kept`. The error is for
    /// people.
    pub(super) fn look(&mut self, to_be_kept: bool) -> Result<Option<Kept>, String> {
        let head = self.stream.configuration(limits::HEAD_OCTETS).map_err(|fault| fault.to_string())?;
        let number = Version::number_in(&head, &self.cluster);
        if head.is_empty() || number.is_some_and(|number| number <= self.kept.newest()) {
            return Ok(None);
        }
        let bytes = self.stream.configuration(limits::VERSION_OCTETS_MAX + 1).map_err(|fault| fault.to_string())?;
        if bytes.len() > limits::VERSION_OCTETS_MAX {
            return Err(self.strange("it is too long"));
        }
        let version = match Version::open(&bytes, &self.cluster, &self.trusted) {
            Ok(version) => version,
            Err(refusal) => return Err(self.strange(&refusal.to_string())),
        };
        if version.number <= self.kept.newest() {
            return Ok(None);
        }
        let kept = match Kept::of(&version) {
            Ok(kept) => kept,
            Err(problem) => return Err(self.strange(&problem)),
        };
        if !to_be_kept {
            return Ok(Some(kept));
        }
        self.kept.keep(&version)?;
        info!(version = kept.number, digest = kept.digest, "a version of the configuration was published");
        Ok(Some(kept))
    }

    fn strange(&mut self, what: &str) -> String {
        let text = format!("what stands in Redis as the configuration of `{}` is passed over: {what}", self.cluster);
        if self.refused.news(self.begun.elapsed()).is_some() {
            error!("{text}");
        }
        text
    }

    /// Looks again and again, on a thread of its own.
    pub(super) fn follow(mut self, take: impl Fn(Kept) + Send + 'static) -> io::Result<()> {
        let mut unkept = Repeated::default();
        let look = move || loop {
            match self.look(true) {
                Ok(Some(kept)) => take(kept),
                Ok(None) => {}
                // Redis away is told by the feed.
                Err(problem) if problem.contains("cannot be written") => {
                    if unkept.news(self.begun.elapsed()).is_some() {
                        warn!("a version of the configuration cannot be kept: {problem}");
                    }
                }
                Err(_) => {}
            }
            std::thread::sleep(limits::LOOK_INTERVAL);
        };
        // It ends with the process: nothing waits for it.
        std::thread::Builder::new().name("configuration".into()).spawn(look).map(drop)
    }
}
