//! How a replica's own file and a version of the published configuration become one.
//!
//! Invariant: the file says what is of this machine, and nothing of tenants; the version says nothing else. A version counts as in
//! use once a reload has taken it.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    following::Looking,
    kept::{Kept, KeptVersions},
};
use crate::{
    assemble::AssembledFeed,
    config::{Config, ConfigError, Document, Feed},
    feed::servers::RefusedConfiguration,
    limits::configuration as limits,
    pki::hex,
};

/// What a replica has taken. Copies are of the same.
#[derive(Clone, Debug)]
pub struct Taken {
    kept: KeptVersions,
    /// Where files are unpacked, if nothing is to be left behind.
    scratch: Option<Arc<Scratch>>,
    with_keys: bool,
    is_edge: bool,
    state: Arc<Mutex<State>>,
    /// Told when there is another version to be taken.
    asked: Arc<Notify>,
}

/// A directory that goes with it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let mut random = [0; 8];
        let _ = aws_lc_rs::rand::fill(&mut random);
        Self(std::env::temp_dir().join(format!("ostia-check-{}-{}", std::process::id(), hex::text(&random))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Default, Debug)]
struct State {
    in_use: Option<Kept>,
    next: Option<Kept>,
    refused: Option<RefusedConfiguration>,
}

impl Taken {
    /// What a replica's file says that it takes; `None` where it has tenants of its own. The first version is waited for.
    /// `is_trial`: nothing is left behind.
    pub fn of(document: &Document, is_trial: bool) -> Result<Option<Self>, ConfigError> {
        let tables = document.tables();
        let of_feed = tables.get("feed").and_then(|feed| feed.as_table());
        let word = |key: &str| of_feed.and_then(|feed| feed.get(key));
        if word("configuration").and_then(|value| value.as_str()) != Some("published") {
            return Ok(None);
        }
        if let Some(key) = ["tenant", "issuer", "tsa"].into_iter().find(|key| tables.contains_key(*key)) {
            return Err(document.fault(format_args!(
                "[[{key}]] stands beside `configuration = \"published\"` of [feed], by which all tenants come from the writer: remove one of the two"
            )));
        }
        let state_dir = document.read(|root| Some(Config::state_dir_in(root)))?;
        let with_keys = word("signer_keys").and_then(|value| value.as_bool()).unwrap_or(false);
        let scratch = is_trial.then(|| Arc::new(Scratch::new()));
        let kept = KeptVersions::of(&state_dir);
        let is_edge = tables.contains_key("edge");
        if of_feed.is_some_and(|feed| !feed.contains_key("redis") && !feed.contains_key("sentinels")) {
            return Err(document.fault("`configuration = \"published\"` of [feed] needs Redis, from which it comes: name `redis` or `sentinels`, or give this file tenants of its own"));
        }
        let taken = Self { kept, scratch, with_keys, is_edge, state: Arc::default(), asked: Arc::default() };
        let marked = taken.kept.in_use().and_then(|number| taken.kept.get(number));
        taken.state().in_use = marked.or_else(|| taken.kept.get(taken.kept.newest()));
        if taken.state().in_use.is_none() {
            let first = taken.first(document)?;
            taken.state().in_use = Some(first);
        }
        Ok(Some(taken))
    }

    /// The version that is in Redis now; a start without any has nothing to serve.
    fn first(&self, document: &Document) -> Result<Kept, ConfigError> {
        let reading = document.reading(Config::feed_in).with(|feed, problems| {
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
            // A writer on the same machine may have the same file.
            AssembledFeed::open(&Feed { key: None, ..feed.clone() }, problems, credentials.as_deref())
        });
        let Some(feed) = reading.finish()?.1 else {
            return Err(document.fault("`configuration = \"published\"` needs the rest of [feed]"));
        };
        let mut looking = Looking::new(&feed, self.kept.clone());
        let begun = Instant::now();
        loop {
            match looking.look(self.scratch.is_none()) {
                Ok(Some(kept)) => return Ok(kept),
                // Who only tries asks once.
                outcome if self.scratch.is_some() || begun.elapsed() > limits::FIRST_WITHIN => {
                    let why = match outcome {
                        Err(fault) => fault,
                        Ok(_) => "nobody has published one: `ostia-precompute config publish` with the configuration of the writer that leads".to_owned(),
                    };
                    return Err(document
                        .fault(format_args!("no version of the configuration is on this disk, and none came: {why}"))
                        .that_may_pass());
                }
                _ => std::thread::sleep(std::time::Duration::from_millis(200)),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file with the version in use.
    pub fn with_present(&self, document: &Document) -> Result<Document, ConfigError> {
        let kept = self.state().in_use.clone();
        kept.map_or_else(
            || Err(document.fault("no version of the configuration is here")),
            |kept| self.join(document, &kept),
        )
    }

    /// The file with the next version; `None` if there is none.
    pub fn with_next(&self, document: &Document) -> Option<Result<Document, ConfigError>> {
        let kept = self.state().next.clone()?;
        Some(self.join(document, &kept))
    }

    fn join(&self, document: &Document, kept: &Kept) -> Result<Document, ConfigError> {
        let scratch = self.scratch.as_ref().map(|scratch| scratch.0.join(kept.number.to_string()));
        let dir = scratch.unwrap_or_else(|| self.kept.files_of(kept.number));
        kept.published.unpack(&dir).map_err(|error| {
            document.fault(format_args!(
                "the certificates of version {} of the configuration cannot be written into {}: {error}",
                kept.number,
                dir.display()
            ))
        })?;
        Ok(document.followed_by(&kept.published.tenants(&dir, self.with_keys, self.is_edge)))
    }

    /// What was read at the start is in use.
    pub fn begun(&self) {
        let number = self.state().in_use.as_ref().map(|kept| kept.number);
        number.into_iter().for_each(|number| self.mark(number));
    }

    fn mark(&self, number: u64) {
        if self.kept.in_use() != Some(number)
            && let Err(problem) = self.kept.mark(number)
        {
            warn!(version = number, "a restart begins with another version of the configuration: {problem}");
        }
    }

    /// There is another version.
    pub(super) fn offer(&self, kept: Kept) {
        self.state().next = Some(kept);
        self.asked.notify_one();
    }

    /// The highest number that was in use, offered or refused.
    pub(super) fn highest(&self) -> u64 {
        let state = self.state();
        let kept = state.in_use.iter().chain(&state.next).map(|kept| kept.number);
        kept.chain(state.refused.as_ref().and_then(|refused| refused.version)).max().unwrap_or(0)
    }

    /// The next version was taken. Gives its number.
    pub fn taken(&self) -> Option<u64> {
        let mut state = self.state();
        let next = state.next.take()?;
        let number = next.number;
        (state.in_use, state.refused) = (Some(next), None);
        drop(state);
        self.mark(number);
        Some(number)
    }

    /// The next version was refused: a line for readiness.
    pub fn refuse(&self, document_lines: usize, reason: &str) -> Option<String> {
        let mut state = self.state();
        let number = state.next.take()?.number;
        let former = state.in_use.as_ref().map_or(0, |kept| kept.number);
        let reason = format!(
            "{reason} (lines past {document_lines} are those of the version: `ostia-precompute config show {number}`)"
        );
        state.refused = Some(RefusedConfiguration { version: Some(number), reason: reason.clone() });
        Some(format!("version {number} of the published configuration, and version {former} is used on: {reason}"))
    }

    /// This replica's own file was read again: what it refused may be taken now.
    pub fn try_again(&self) {
        let mut state = self.state();
        let number = state.refused.as_ref().and_then(|refused| refused.version);
        let Some(kept) = number.and_then(|number| self.kept.get(number)) else { return };
        info!(version = kept.number, "the version of the configuration that was refused is tried again");
        state.next = Some(kept);
        drop(state);
        self.asked.notify_one();
    }

    /// Told when there is another version to be taken.
    pub fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// The number in use, and what was refused since.
    pub fn at(&self) -> (Option<u64>, Option<RefusedConfiguration>) {
        let state = self.state();
        (state.in_use.as_ref().map(|kept| kept.number), state.refused.clone())
    }

    /// Looks for another version from now on.
    pub fn follow(&self, feed: &AssembledFeed) -> std::io::Result<()> {
        let taken = self.clone();
        Looking::new(feed, self.kept.clone()).follow(move |kept| {
            if kept.number > taken.highest() {
                taken.offer(kept);
            }
        })
    }
}
