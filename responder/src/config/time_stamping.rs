//! `[time_stamping]`: what all time-stamping authorities of the process share.

use std::time::Duration;

use precompute::config::{Config as Common, Section};

use crate::{
    limits,
    tsa::{clock::ClockSource, clocks::Clocks},
};

/// `[time_stamping]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeStamping {
    /// Who knows how wrong the clock may be.
    pub clock: ClockSource,
    /// How long a reading of it counts.
    pub lease: Duration,
}

impl Default for TimeStamping {
    fn default() -> Self {
        Self { clock: ClockSource::default(), lease: limits::CLOCK_LEASE }
    }
}

/// Reads the section; what is absent is as by default.
pub(super) fn read(section: &mut Section<'_>) -> Option<TimeStamping> {
    let default = TimeStamping::default();
    let clock = section.string("clock").map(|text| {
        text.parse().unwrap_or_else(|problem: String| {
            section.problem("clock", problem);
            default.clock
        })
    });
    let lease = section.duration("lease", limits::CLOCK_LEASE_RANGE);
    Some(TimeStamping { clock: clock.unwrap_or(default.clock), lease: lease.unwrap_or(default.lease) })
}

/// What each authority promises must be one that a clock can keep.
pub(super) fn check(root: &Section<'_>, own: &TimeStamping, common: &Common) {
    for (tenant, tsa) in common.tenants.iter().flat_map(|tenant| tenant.tsas.iter().map(move |tsa| (tenant, tsa))) {
        if let Err(problem) = Clocks::promise(own.lease, &tsa.policy).check() {
            root.problem("time_stamping", format_args!("of «{}/{}»: {problem}", tenant.name, tsa.name));
        }
    }
}
