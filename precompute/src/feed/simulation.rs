//! Writers, replicas and two Redis servers, in whatever order a seed draws, under a virtual clock (rule 30).
//!
//! The machines, the entries and the snapshots are the real ones, as bytes; only the signature is a hash. Redis, the
//! disks, the CA and time are models: `redis` loses tails, splits, is emptied or comes back from a backup, answers
//! doubtfully and carries forgeries; `disk` survives crashes, or is lost or rolled back; `world` draws what happens, and
//! `oracle` knows what must never be seen.
//!
//! Checked while it runs: no replica shows as good what it has shown as revoked; an equal chain means equal records; a
//! hold ends by a release only; nobody who follows a replayed stream is fresh; no snapshot is taken where a `begin`
//! suffices. Checked at the end, when all is quiet: in bounded time there is one leader, every live replica and standby
//! has what it has, and every acknowledged revocation is among it unless each disk that confirmed it was lost; and nobody
//! lacks the hash of a certificate that may be good.
//!
//! `OSTIA_SEED=7` runs one seed and prints what it does; `OSTIA_SEEDS=100000` runs so many. `left_out` shows that each rule earns its place.

pub(super) mod disk;
mod left_out;
mod oracle;
mod redis;
mod shelf;
mod world;

use std::collections::BTreeMap;

use self::world::World;
use super::rule::Rules;
use crate::rng::Rng;

const SEEDS: u64 = 1000;

/// How often something happened.
type Stats = BTreeMap<&'static str, u64>;

/// What a seed came to.
struct Outcome {
    problem: Option<String>,
    trace: Vec<String>,
    stats: Stats,
}

fn run(seed: u64, rules: Rules) -> Outcome {
    let mut world = World::new(seed, rules);
    let problem = world.run().err();
    Outcome { problem, trace: world.trace, stats: world.stats }
}

#[test]
fn whatever_becomes_of_redis_writers_and_disks_nothing_final_is_lost_and_all_agree_in_the_end() {
    if let Ok(seed) = std::env::var("OSTIA_SEED") {
        let outcome = run(seed.parse().expect("OSTIA_SEED is a number"), Rules::default());
        eprintln!("{}\n{:?}", outcome.trace.join("\n"), outcome.stats);
        assert_eq!(outcome.problem, None);
        return;
    }
    let seeds = std::env::var("OSTIA_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("OSTIA_SEEDS is a number"));
    let halves: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                let (mut failed, mut stats) = (Vec::new(), Stats::new());
                for seed in (half..seeds).step_by(2) {
                    let outcome = run(seed, Rules::default());
                    outcome.stats.iter().for_each(|(what, count)| *stats.entry(what).or_default() += count);
                    failed.extend(outcome.problem.map(|problem| (seed, problem)));
                }
                (failed, stats)
            })
        })
        .collect();
    let (mut failed, mut stats) = (Vec::new(), Stats::new());
    for half in halves {
        let (some, counts) = half.join().expect("a seed does not panic");
        failed.extend(some);
        counts.iter().for_each(|(what, count)| *stats.entry(what).or_default() += count);
    }
    eprintln!("{stats:?}");
    failed.sort();
    let told: Vec<_> = failed.iter().take(20).map(|(seed, problem)| format!("OSTIA_SEED={seed}: {problem}")).collect();
    assert!(failed.is_empty(), "{} of {seeds} seeds failed\n{}", failed.len(), told.join("\n"));
    // What never happens is not tested.
    for what in
        ["took over", "deposed", "reconciled", "acknowledged", "submitted", "absorbed", "contradiction", "poison"]
    {
        assert!(stats.get(what).is_some_and(|count| *count > 0), "{what}: {stats:?}");
    }
}
