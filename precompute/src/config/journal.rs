//! `[journal]`: where what happens to the service is kept, and what it answers. No file is opened here.

use std::{path::Path, time::Duration};

use super::Section;
use crate::journal::Options;

/// The file in the state directory, where none is named.
const FILE: &str = "journal.jsonl";

/// That of OCSP transactions.
const TRANSACTIONS: &str = "ocsp.jsonl";

/// The record of OCSP transactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transactions {
    /// Whether it is kept.
    pub is_on: bool,
    /// Its file.
    pub options: Options,
}

/// What the section says.
#[derive(Default)]
pub(super) struct Journals {
    /// For what happens to the service.
    pub(super) journal: Option<Options>,
    /// For what it answers.
    pub(super) transactions: Option<Transactions>,
}

/// Reads the section. Without one nothing is kept.
pub(super) fn read(root: &mut Section<'_>, state_dir: &Path) -> Journals {
    // Known, whether the file has it or not.
    root.leave_to_others(&["journal"]);
    if !root.has("journal") {
        return Journals::default();
    }
    let read = root.section("journal", |section| {
        let path = section.path("path").unwrap_or_else(|| state_dir.join(FILE));
        let default = Options::new(path);
        let octets = section.integer("rotate_size", 1 << 16..=i64::MAX);
        let age = section.duration("rotate_age", Duration::from_secs(60)..=Duration::from_secs(366 * 86_400));
        let journal = Options {
            rotate_octets: octets.map_or(default.rotate_octets, |octets| octets as u64),
            rotate_age: age.unwrap_or(default.rotate_age),
            keep: read_keep(section, "keep"),
            ..default
        };
        Some(Journals { transactions: Some(read_transactions(section, state_dir, &journal)), journal: Some(journal) })
    });
    read.unwrap_or_default()
}

/// They have a file of their own, which is rotated by the same size and age.
fn read_transactions(section: &mut Section<'_>, state_dir: &Path, journal: &Options) -> Transactions {
    let is_said = section.has("ocsp");
    let is_on = section.boolean("ocsp").unwrap_or(false);
    let (path, keep) = (section.path("ocsp_path"), read_keep(section, "ocsp_keep"));
    if !is_said && let Some(key) = ["ocsp_path", "ocsp_keep"].into_iter().find(|key| section.has(key)) {
        section.problem(key, "has no effect while OCSP transactions are not kept; add `ocsp = true`");
    }
    let path = path.unwrap_or_else(|| state_dir.join(TRANSACTIONS));
    if is_on && path == journal.path {
        let problem = format_args!("is the file of the journal, {}; give it one of its own", path.display());
        section.problem("ocsp_path", problem);
    }
    Transactions { is_on, options: Options { path, keep, ..journal.clone() } }
}

/// How many rotated files are kept; `None` for all.
fn read_keep(section: &mut Section<'_>, key: &'static str) -> Option<usize> {
    section.integer(key, 1..=1_000_000).map(|keep| keep as usize)
}
