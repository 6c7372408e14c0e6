//! What came of a run: a table for people, and what has to hold.

use std::time::Duration;

use crate::{load::Loaded, pushes::Acknowledged, resources::Resources, stamps::Stamped, watch::Watched};

/// What a process may grow by after its first half minute: caches fill, and queues while somebody hangs.
const GROWTH_KIB: u64 = 48 << 10;
const MORE_DESCRIPTORS: u64 = 256;
/// Looks before a process counts as having settled.
const SETTLED_AFTER: usize = 30;

/// One fault, or one step of an upgrade.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) what: String,
    /// Until a replica got no more requests.
    pub(crate) out: Option<Duration>,
    /// Until it, or who takes its place, was at work again.
    pub(crate) back: Option<Duration>,
    /// The longest time in which no push was acknowledged.
    pub(crate) gap: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) rate: u32,
    pub(crate) load: Loaded,
    pub(crate) stamps: Stamped,
    pub(crate) pushes: Acknowledged,
    pub(crate) watched: Watched,
    pub(crate) resources: Resources,
    pub(crate) events: Vec<Event>,
}

impl Figures {
    /// Prints all of it, and fails if something failed. So many time-stamps may have been broken off.
    #[track_caller]
    pub(crate) fn expect(&self, broken_off: u64) {
        self.print();
        let Self { load, stamps, pushes, watched, .. } = self;
        assert_eq!((load.errors, load.wrong), (0, 0), "{:?} {:?}", load.kinds, load.examples);
        assert!(load.asked > 0 && load.answered == load.asked);
        assert_eq!((&watched.went_back[..], &watched.failed[..]), (&[][..], &[][..]));
        assert!(watched.asked_again > 0);
        assert_eq!(pushes.wrong, [""; 0]);
        assert_eq!(stamps.repeated, 0, "a serial number came twice");
        assert!(stamps.verified > 0);
        let failed = stamps.failed.len() as u64;
        assert!(failed <= broken_off + stamps.asked / 10_000, "of {} time-stamps: {:?}", stamps.asked, stamps.failed);
        self.expect_flat();
    }

    /// Who has settled needs no more and more. Redis has the stream, which grows until it is trimmed.
    #[track_caller]
    fn expect_flat(&self) {
        for ((name, _), looks) in &self.resources.lives {
            let Some(settled) = looks.get(SETTLED_AFTER) else { continue };
            let last = looks[looks.len() - 1];
            let is_flat = name.starts_with("redis") || last.resident_kib <= settled.resident_kib + GROWTH_KIB;
            assert!(
                is_flat && last.descriptors <= settled.descriptors + MORE_DESCRIPTORS,
                "{name}: {settled:?} {last:?}"
            );
        }
    }

    fn print(&self) {
        let Self { load, stamps, pushes, watched, .. } = self;
        let mut p50: Vec<f64> = load.latencies.iter().map(|[p50, ..]| *p50).collect();
        p50.sort_by(f64::total_cmp);
        let most = |number: usize| load.latencies.iter().map(|slice| slice[number]).fold(0.0, f64::max) / 1e3;
        let calmest = load.latencies.iter().map(|slice| slice[1]).fold(f64::INFINITY, f64::min) / 1e3;
        eprintln!("\n| what | figure |\n|---|---|");
        eprintln!("| OCSP requests | {} in {:.0} s, {} a second wanted |", load.asked, load.seconds, self.rate);
        let Loaded { answered, errors, wrong, unsent, .. } = load;
        eprintln!("| answered; failed; wrong; not sent | {answered}; {errors}; {wrong}; {unsent} |");
        let median = p50.get(p50.len() / 2).copied().unwrap_or_default();
        eprintln!("| latency: median of the slices' p50 | {median:.0} µs |");
        eprintln!(
            "| p99 of the calmest and the worst slice, longest | {calmest:.1}, {:.0}, {:.0} ms |",
            most(1),
            most(2)
        );
        eprintln!(
            "| time-stamps asked; granted; failed; serial twice | {}; {}; {}; {} |",
            stamps.asked,
            stamps.granted,
            stamps.failed.len(),
            stamps.repeated
        );
        stamps.failed.iter().for_each(|why| eprintln!("| a time-stamp that failed | {why} |"));
        eprintln!("| pushes acknowledged; attempts that were not | {}; {} |", pushes.at.len(), pushes.again);
        let Watched { shown, asked_again, went_back, waited, .. } = watched;
        let went_back = went_back.len();
        eprintln!("| shown everywhere; asked about again; went back | {shown}; {asked_again}; {went_back} |");
        eprintln!("| answered late by a replica that had been frozen, from before | {waited} |");
        self.print_events();
        self.print_resources();
    }

    fn print_events(&self) {
        let seconds = |time: Option<Duration>| time.map_or(String::new(), |time| format!("{:.2}", time.as_secs_f64()));
        eprintln!(
            "\n| event | out of rotation, s | back, s | longest time without an acknowledged push, s |\n|---|---|---|---|"
        );
        for event in &self.events {
            let Event { what, out, back, gap } = event;
            eprintln!("| {what} | {} | {} | {} |", seconds(*out), seconds(*back), seconds(Some(*gap)));
        }
    }

    fn print_resources(&self) {
        eprintln!(
            "\n| process | for, s | MiB: first, settled, last, most | descriptors: first, last, most |\n|---|---|---|---|"
        );
        for ((name, _), looks) in &self.resources.lives {
            let (first, last) = (looks[0], looks[looks.len() - 1]);
            let settled =
                looks.get(SETTLED_AFTER).map_or(String::new(), |looked| (looked.resident_kib >> 10).to_string());
            let most = looks.iter().map(|looked| looked.resident_kib).max().unwrap_or_default() >> 10;
            let descriptors = looks.iter().map(|looked| looked.descriptors).max().unwrap_or_default();
            eprintln!(
                "| {name} | {} | {}, {settled}, {}, {most} | {}, {}, {descriptors} |",
                looks.len(),
                first.resident_kib >> 10,
                last.resident_kib >> 10,
                first.descriptors,
                last.descriptors
            );
        }
    }
}
