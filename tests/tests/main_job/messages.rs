//! What `check` says of wrong and doubtful input: one table for all kinds.
//!
//! Each row spoils a proper site in one way and holds the words that have to be told: the file, the line or the key, the
//! value, the cause and the remedy. `never` has what would mislead. The rows lie with their kinds.

mod certificates;
mod configuration;
mod feed;
mod keys;
mod listeners;
mod sources;

use ostia_tests::{Ca, Site};

use crate::ca_and_site;

/// One way to be wrong, and what is said of it.
struct Row {
    /// What is wrong, for whoever reads a failure.
    what: &'static str,
    /// Spoils a site that passes the check.
    spoil: fn(&Ca, &Site),
    outcome: Outcome,
    /// What has to be told.
    told: &'static [&'static str],
    /// What must not be told.
    never: &'static [&'static str],
}

/// How the check ends.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    /// It is refused.
    Refused,
    /// It passes; what is told is a warning, or nothing has to be.
    Passes,
}

#[test]
fn every_refusal_names_the_place_the_cause_and_the_remedy() {
    let kinds = [certificates::ROWS, configuration::ROWS, feed::ROWS, keys::ROWS, listeners::ROWS, sources::ROWS];
    let mut failures = Vec::new();
    for row in kinds.into_iter().flatten() {
        let (ca, site) = ca_and_site();
        (row.spoil)(&ca, &site);
        let ended = site.check();
        let missing: Vec<_> = row.told.iter().filter(|told| !ended.text.contains(**told)).collect();
        let misleading: Vec<_> = row.never.iter().filter(|never| ended.text.contains(**never)).collect();
        if ended.status.success() != (row.outcome == Outcome::Passes) || !missing.is_empty() || !misleading.is_empty() {
            let (what, outcome, text) = (row.what, row.outcome, &ended.text);
            failures
                .push(format!("{what}: wanted {outcome:?} with {missing:?} and without {misleading:?}, found\n{text}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
