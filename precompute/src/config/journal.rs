//! `[journal]`: where what happens to the service is kept. No file is opened here.

use std::{path::Path, time::Duration};

use super::Section;
use crate::journal::Options;

/// The file in the state directory, where none is named.
const FILE: &str = "journal.jsonl";

/// Reads the section; `None` without one: nothing is kept.
pub(super) fn read(root: &mut Section<'_>, state_dir: &Path) -> Option<Options> {
    // Known, whether the file has it or not.
    root.leave_to_others(&["journal"]);
    if !root.has("journal") {
        return None;
    }
    root.section("journal", |section| {
        let path = section.path("path").unwrap_or_else(|| state_dir.join(FILE));
        let default = Options::new(path);
        let octets = section.integer("rotate_size", 1 << 16..=i64::MAX);
        let age = section.duration("rotate_age", Duration::from_secs(60)..=Duration::from_secs(366 * 86_400));
        let keep = section.integer("keep", 1..=1_000_000);
        Some(Options {
            rotate_octets: octets.map_or(default.rotate_octets, |octets| octets as u64),
            rotate_age: age.unwrap_or(default.rotate_age),
            keep: keep.map(|keep| keep as usize),
            ..default
        })
    })
}
