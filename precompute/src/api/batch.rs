//! A batch of lines: read, pushed, and told about.
//!
//! Purpose: the pure middle of an upload: from lines to one push of the ledger, and from its outcomes to what is told.
//! Invariant: a line is told or counted once it is decided, and a batch that is not durable is neither. It does not know
//! streams.

use serde::Serialize;

use super::{
    lines::Line,
    problem::{Kind, Problem},
    pushing::Pushing,
    request::{self, Verb},
    told,
};
use crate::{
    journal::trail,
    ledger::{Outcome, Push},
    limits,
    pki::{Certificate, UnixTime},
};

/// What became of the lines so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub(super) struct Totals {
    /// Lines that are dealt with, blank ones included: all up to this number.
    pub(super) lines: u64,
    /// Pushes that were done,
    pub(super) done: u64,
    /// that had been done before,
    pub(super) unchanged: u64,
    /// that ended a hold which a source has as well,
    pub(super) still_held: u64,
    /// and that were refused.
    pub(super) refused: u64,
}

/// A line that was refused.
#[derive(Serialize, Debug)]
pub(super) struct RefusedLine {
    pub(super) line: u64,
    pub(super) problem: Problem,
}

/// What is to be told of a batch.
#[derive(Default, Debug)]
pub(super) struct Pushed {
    pub(super) refused: Vec<RefusedLine>,
    /// What the log may name.
    pub(super) news: Vec<Push>,
    /// What the journal keeps, if there is one: each push with what became of it.
    pub(super) kept: Vec<(Push, Result<Outcome, String>)>,
}

/// Pushes the lines, whose numbers follow those in `totals`. `may`: whether whoever sends them has the right to. On an error,
/// nothing counts.
pub(super) fn push(
    pushing: &Pushing,
    certificate: Option<&Certificate>,
    lines: &[Line],
    may: &dyn Fn(Verb) -> Result<(), Problem>,
    now: UnixTime,
    totals: &mut Totals,
) -> Result<Pushed, Problem> {
    let (mut pushes, mut places, mut refused) = (Vec::with_capacity(lines.len()), Vec::new(), Vec::new());
    let (mut news, mut kept) = (Vec::new(), Vec::new());
    for Line { number, content } in lines {
        let read = match content {
            Some(content) if content.iter().all(u8::is_ascii_whitespace) => continue,
            Some(content) => request::read_line(content, certificate).and_then(|(verb, push)| may(verb).map(|()| push)),
            None => Err(too_long()),
        };
        match read {
            Ok(push) => {
                pushes.push(push);
                places.push(*number);
            }
            Err(problem) => refused.push(RefusedLine { line: *number, problem }),
        }
    }
    let outcomes = if pushes.is_empty() { Vec::new() } else { pushing.push(&pushes, None, now)? };
    for ((line, push), outcome) in places.into_iter().zip(&pushes).zip(outcomes) {
        news.extend(outcome.ok().filter(|outcome| told::is_news(push, *outcome)).map(|_| *push));
        if trail::is_kept() {
            kept.push((*push, outcome.map_err(|refusal| Problem::from(refusal).detail)));
        }
        match outcome {
            Ok(Outcome::Done) => totals.done += 1,
            Ok(Outcome::Unchanged) => totals.unchanged += 1,
            Ok(Outcome::StillHeld) => totals.still_held += 1,
            Err(refusal) => {
                let problem = Problem::from(refusal).with("serial", push.serial.to_string());
                refused.push(RefusedLine { line, problem });
            }
        }
    }
    refused.sort_by_key(|refused| refused.line);
    totals.refused += refused.len() as u64;
    totals.lines = lines.last().map_or(totals.lines, |line| line.number);
    Ok(Pushed { refused, news, kept })
}

fn too_long() -> Problem {
    Problem::new(Kind::TooLarge, format!("the line is longer than {} bytes", limits::API_LINE_OCTETS_MAX))
}
