//! What a start would find, without keeping anything.

use std::{collections::BTreeSet, thread};

use tracing::warn;

use super::{
    EngineError, Faults, compare,
    predecessor::{Forgotten, Predecessor},
    subject::Subject,
};
use crate::{
    book::Book,
    config::Config,
    limits,
    pki::{Serial, UnixTime},
    records::Records,
    source::CrlMarks,
    state_dir::StateError,
};

/// Reads the sources of every issuer, and the book as far as it holds something of it, also while a service runs: tenant,
/// issuer, and how many certificates are listed or why a start is refused.
pub fn survey(config: &Config) -> Vec<(String, String, Result<u64, EngineError>)> {
    let survey = |(tenant, issuer)| {
        let subject = Subject::new(tenant, issuer);
        let outcome = predecessors(config, &subject)
            .map_err(EngineError::Book)
            .and_then(|predecessors| survey_one(&subject, &predecessors));
        (subject.tenant, subject.name, outcome)
    };
    config.issuers().map(survey).collect()
}

fn survey_one(subject: &Subject, predecessors: &[Predecessor]) -> Result<u64, EngineError> {
    let question = compare::Question {
        records: &Records::default(),
        sources: &subject.sources,
        issuer: &subject.certificate,
        unlisted_good: subject.unlisted_good,
        crl_marks: CrlMarks::default(),
        now: UnixTime::now(),
        still: true,
        accept_shrink: false,
        shrink_remedy: "",
        accept_older: false,
        older_remedy: "",
    };
    let mut reads = 0;
    let comparison = loop {
        let comparison = compare::compare(&question);
        reads += 1;
        if !comparison.faults.iter().any(|fault| fault.unsteady) || reads >= limits::UNSTEADY_READS_MAX {
            break comparison;
        }
        thread::sleep(limits::SOURCE_POLL_INTERVAL);
    };
    for warning in &comparison.warnings {
        warn!(tenant = subject.tenant, issuer = subject.name, "{warning}");
    }
    if !comparison.faults.is_empty() {
        return Err(Faults(comparison.faults).into());
    }
    let name = || format!("{}/{}", subject.tenant, subject.name);
    if let Some(end) = comparison.crl_next_update.filter(|end| *end <= question.now) {
        let files: Vec<_> = subject.sources.crls().map(|path| path.display().to_string()).collect();
        return Err(EngineError::OutOfDate(name(), files.join(", "), end));
    }
    let revoked: BTreeSet<Serial> = comparison.finally_revoked().collect();
    match Forgotten::of(predecessors, |serial| revoked.contains(serial)) {
        Some(forgotten) => Err(EngineError::Forgotten(name(), forgotten)),
        None => Ok(comparison.listed),
    }
}

/// Looks into the book: that what it holds of an issuer is whole, and who had the issuer before where it holds nothing.
fn predecessors(config: &Config, subject: &Subject) -> Result<Vec<Predecessor>, StateError> {
    let look = || -> Result<Vec<Predecessor>, StateError> {
        let Some(mut book) = Book::look(&config.state_dir)? else { return Ok(Vec::new()) };
        let id = subject.id();
        if book.load(&id, |_, _| ())?.known { Ok(Vec::new()) } else { Predecessor::all(&mut book, &id, config) }
    };
    // Beside a service that writes, a look may find the half of it.
    for _ in 1..limits::BOOK_LOOKS_MAX {
        match look() {
            Err(error) if error.is_damage() => thread::sleep(limits::BOOK_LOOK_PAUSE),
            other => return other,
        }
    }
    look()
}
