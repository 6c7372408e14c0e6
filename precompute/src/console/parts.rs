//! What a program has for the console beside the API.
//!
//! Purpose: programs measure different things, and name them here in the order in which they are shown. It does not know
//! how anything is measured.

use std::{fmt, sync::Arc};

use super::{
    ring::Kind,
    view::{ClockRow, SignerRow},
};
use crate::{admin::Status, answers::Answers, pki::UnixTime, presign::Progress};

/// Something that is measured, for a chart.
pub struct Meter {
    /// What it is.
    pub title: &'static str,
    /// What stands behind its values.
    pub unit: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Reads it now; what is not known is no number.
    pub read: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Meter {
    /// A counter, which is shown by the second.
    pub fn counter(title: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { title, unit: "/s", kind: Kind::Counter, read: Box::new(move || read() as f64) }
    }

    /// A level.
    pub fn level(title: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { title, unit: "", kind: Kind::Level, read: Box::new(move || read() as f64) }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({})", self.title)
    }
}

/// What every program that has the API measures: pushes, changes, and what is signed ahead.
pub fn meters(status: &Arc<Status>, answers: &Arc<Answers>, progress: &Arc<Progress>) -> Vec<Meter> {
    let sum = |read: fn(&crate::engine::HealthReport) -> u64| {
        let status = Arc::clone(status);
        move || status.tenants().issuers().map(|(_, issuer)| read(&issuer.state.health.report())).sum()
    };
    let (answers, progress) = (Arc::clone(answers), Arc::clone(progress));
    vec![
        Meter::counter("Pushes", sum(|report| report.pushes)),
        Meter::counter("Changes by sources and pushes", sum(|report| report.changed)),
        Meter::counter("Answers signed ahead", move || progress.report().signed),
        Meter::level("Answers kept ready", move || answers.len()),
    ]
}

/// Reads something at a moment.
type Read<T> = Box<dyn Fn(UnixTime) -> T + Send + Sync>;

/// What a program has.
pub struct Parts {
    /// Its name and version.
    pub program: String,
    /// Which server it is.
    pub server: String,
    /// What all programs have.
    pub status: Arc<Status>,
    /// Whether it is ready, and the remarks about it, a line each.
    pub readiness: Read<(bool, String)>,
    /// What is measured, at most [`METERS_MAX`](crate::limits::console::METERS_MAX).
    pub meters: Vec<Meter>,
    /// The clocks of time-stamps, where they are made.
    pub clocks: Option<Read<Vec<ClockRow>>>,
    /// The signers of time-stamps, there.
    pub tsa_signers: Option<Read<Vec<SignerRow>>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("program", &self.program).field("meters", &self.meters).finish_non_exhaustive()
    }
}
