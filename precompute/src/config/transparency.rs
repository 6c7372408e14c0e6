//! `[transparency]`: where a replica keeps what it said, so that it can be proven. No file is opened here.

use std::{path::PathBuf, time::Duration};

use super::Section;

/// What the section says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transparency {
    /// The directory of its files.
    pub directory: PathBuf,
    /// How long heads are kept.
    pub keep: Duration,
    /// How often a head is made.
    pub head_every: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);
const KEEP: Duration = Duration::from_secs(90 * 24 * 3600);
const HEAD_EVERY: Duration = Duration::from_secs(60);

/// Reads the section. Without one nothing is kept.
pub(super) fn read(root: &mut Section<'_>) -> Option<Transparency> {
    // Known, whether the file has it or not.
    root.leave_to_others(&["transparency"]);
    if !root.has("transparency") {
        return None;
    }
    if !root.has("feed") {
        root.problem(
            "transparency",
            "needs `[feed]`: it keeps what a replica has from the feed; a service that reads its sources itself has `[journal]`",
        );
    }
    root.section("transparency", |section| {
        let directory = section.path("directory");
        if directory.is_none() && !section.has("directory") {
            section.problem("directory", "is missing; name a directory of this server's own");
        }
        let keep = section.duration("keep", HOUR..=Duration::from_secs(100 * 366 * 86_400)).unwrap_or(KEEP);
        let head_every =
            section.duration("head_every", Duration::from_secs(1)..=Duration::from_secs(240)).unwrap_or(HEAD_EVERY);
        Some(Transparency { directory: directory?, keep, head_every })
    })
}
