//! Requests that were refused for who asks, or for what they ask: told in the log and in the journal.
//!
//! Purpose: who looks in the morning sees who has tried what. Invariant: a scan fills neither; what was left out is counted, and the
//! next line says how many. Nothing of what was shown is told. It does not know why a request is refused.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::request::Parts;
use tracing::warn;

use super::{
    problem::{Kind, Problem},
    told::Sender,
};
use crate::{journal::trail, limits, pki::written::excerpt, principals::Bucket};

/// What may be told now, and how many were not.
#[derive(Debug)]
pub(super) struct Refusals {
    start: Instant,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    bucket: Bucket,
    left_out: u64,
}

impl Told {
    /// How many were left out before this one, if it may be told.
    fn next(&mut self, now: Duration) -> Option<u64> {
        if !self.bucket.lacks(1.0, now).is_zero() {
            self.left_out += 1;
            return None;
        }
        self.bucket.take(1.0, now);
        Some(std::mem::take(&mut self.left_out))
    }
}

fn told_since(now: Duration) -> Told {
    let per_second = f64::from(limits::REFUSALS_TOLD_PER_MINUTE) / 60.0;
    Told { bucket: Bucket::new(per_second, limits::REFUSALS_TOLD_AT_ONCE.into(), now), left_out: 0 }
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), told: Mutex::new(told_since(Duration::ZERO)) }
    }

    /// Tells of one.
    pub(super) fn tell(&self, from: &Sender, asked: &str, problem: &Problem) {
        // Where nobody is known, whoever asks has found nothing.
        if problem.kind == Kind::NotFound {
            return;
        }
        let next = self.told.lock().unwrap_or_else(PoisonError::into_inner).next(self.start.elapsed());
        let Some(left_out) = next else { return };
        let (principal, kind, detail) = (from.principal(), problem.kind.name(), &problem.detail);
        warn!(principal, %from, asked, kind, left_out, "a request was refused: {detail}");
        trail::tell("refused", |event| {
            let event = event.text("asked", asked).text("kind", kind).text("problem", detail);
            from.tell(event.number("left_out", left_out))
        });
    }
}

/// What a request asks for: its method and path, without a query.
pub(super) fn asked(head: &Parts) -> String {
    excerpt(&format!("{} {}", head.method, head.uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_told_of_by_its_beginning_and_by_how_much_was_left_out() {
        let mut told = told_since(Duration::ZERO);
        let begun: Vec<_> = (0..1000).filter_map(|n| told.next(Duration::from_millis(n))).collect();
        assert_eq!(begun, vec![0; limits::REFUSALS_TOLD_AT_ONCE as usize]);
        let left_out = 1000 - u64::from(limits::REFUSALS_TOLD_AT_ONCE);
        assert_eq!(told.next(Duration::from_secs(6)), Some(left_out));
        assert_eq!(told.next(Duration::from_secs(6)), None);
        assert_eq!(told.next(Duration::from_secs(12)), Some(1));
    }
}
