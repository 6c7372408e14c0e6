//! The file of a relay: `[feed]` is the site that it fills, `[relay]` the one that it reads.
//!
//! It has no issuers, and no key: a relay answers nobody and signs nothing. No server is asked.

use std::path::PathBuf;

use super::{Admin, Feed, Section, VERSION, admin, feed};

/// What a relay needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayConfig {
    /// The directory of snapshots.
    pub state_dir: PathBuf,
    /// Health and metrics.
    pub admin: Admin,
    /// The feed that is filled.
    pub feed: Feed,
    /// The same feed where it is read.
    pub from: Feed,
}

impl RelayConfig {
    /// Reads the whole file. `None` if a problem was noted.
    pub fn read(root: &mut Section<'_>) -> Option<Self> {
        let version = root.integer("version", VERSION..=VERSION);
        if version.is_none() && !root.has("version") {
            root.problem("version", "is missing; write `version = 1`");
        }
        let state_dir = root.path("state_dir").unwrap_or_else(|| root.resolve("state"));
        let admin = admin::read(root);
        for (key, what) in [("feed", "the feed that is filled"), ("relay", "the Redis where it is read")] {
            if !root.has(key) {
                root.problem(key, format_args!("is missing; a relay needs a section with {what}"));
            }
        }
        let feed::Read { feed, .. } = feed::read(root, admin.listen);
        let feed = feed?;
        if feed.key.is_some() {
            root.problem("feed", "has a `key`, and a relay signs nothing; remove it");
        }
        let from = root.section("relay", |section| feed::read_relay(section, &feed))?;
        root.finish();
        Some(Self { state_dir, admin, feed, from })
    }
}
