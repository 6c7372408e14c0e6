//! `[time_stamping]`: what all time-stamping authorities of the process share. No clock is asked here.

use std::time::Duration;

use precompute::config::{Config as Common, Place, Section};

use crate::{
    limits,
    tsa::{clock::ClockSource, clocks::Clocks, record},
};

/// `[time_stamping]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeStamping {
    /// Its place in the file.
    pub place: Place,
    /// What knows how wrong the clock may be.
    pub clock: ClockSource,
    /// How long a reading of it counts.
    pub lease: Duration,
    /// Where tokens are recorded; `None` for no record.
    pub record: Option<record::Options>,
}

impl Default for TimeStamping {
    fn default() -> Self {
        Self { place: Place::default(), clock: ClockSource::default(), lease: limits::CLOCK_LEASE, record: None }
    }
}

/// Reads the section; absent values have their defaults.
pub(super) fn read(section: &mut Section<'_>) -> Option<TimeStamping> {
    let default = TimeStamping::default();
    let clock = section.string("clock").map(|text| {
        text.parse().unwrap_or_else(|problem: String| {
            section.problem("clock", problem);
            default.clock
        })
    });
    let lease = section.duration("lease", limits::CLOCK_LEASE_RANGE);
    let record = section.path("record").map(record::Options::new);
    let record = read_record(section, record);
    Some(TimeStamping {
        place: section.place(),
        clock: clock.unwrap_or(default.clock),
        lease: lease.unwrap_or(default.lease),
        record,
    })
}

/// When another file is begun, and how many are kept.
fn read_record(section: &mut Section<'_>, options: Option<record::Options>) -> Option<record::Options> {
    const KEYS: [&str; 3] = ["record_rotate_octets", "record_rotate_age", "record_keep"];
    let octets = section.integer(KEYS[0], 1 << 16..=i64::MAX);
    let age = section.duration(KEYS[1], Duration::from_secs(60)..=Duration::from_secs(366 * 86_400));
    let keep = section.integer(KEYS[2], 1..=1_000_000);
    if let (None, Some(key)) = (&options, KEYS.into_iter().find(|key| section.has(key))) {
        section.problem(key, "has no effect without a file; add `record = \"/var/lib/ostia/tokens.jsonl\"`");
    }
    let options = options?;
    Some(record::Options {
        rotate_octets: octets.map_or(options.rotate_octets, |octets| octets as u64),
        rotate_age: age.unwrap_or(options.rotate_age),
        keep: keep.map(|keep| keep as usize),
        ..options
    })
}

/// Checks that the record has a file of its own, and that a clock can keep the promise of each authority.
pub(super) fn check(root: &Section<'_>, own: &TimeStamping, common: &Common) {
    let journals = [("path", common.journal.as_ref()), ("ocsp_path", common.kept_transactions())];
    for (key, journal) in journals {
        if let (Some(record), Some(journal)) = (&own.record, journal)
            && record.path == journal.path
        {
            let path = journal.path.display();
            root.problem(
                "journal",
                format_args!("has the file of `time_stamping.record`, {path}, as its `{key}`; give it one of its own"),
            );
        }
    }
    for (tenant, tsa) in common.tsas() {
        if let Err(problem) = Clocks::promise(own.lease, &tsa.policy).check() {
            root.problem("time_stamping", format_args!("of `{}/{}`: {problem}", tenant.name, tsa.name));
        }
    }
}
