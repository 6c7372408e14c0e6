//! How soon a revocation is at three replicas that are hosts of their own, near and far.
//!
//! `benches/hosts [PUSHES]` (default 1,000), as root: each process is in a network namespace,
//! and a bridge joins them. Then the same with 50 ms each way between the replicas and all others. The load generator is on
//! none of the hosts: it reaches each by a door, whatever the distance, so that the figures are those of the feed.

#![allow(missing_docs, clippy::print_stdout)]

use std::{env, time::Duration};

use ostia_tests::ClusterPlan;

const FAR: Duration = Duration::from_millis(50);
/// For connections to be made and answers to be signed.
const SETTLE: Duration = Duration::from_secs(3);

fn measure(what: &str, plan: ClusterPlan, pushes: &str) {
    let cluster = plan.start();
    std::thread::sleep(SETTLE);
    let ended = cluster.lag(&["--pushes", pushes, "--pause", "5ms"]);
    assert!(ended.status.success(), "{}\n{}", ended.text, cluster.logs());
    println!("{what}:");
    let shown = ["p50", "acknowledged", "all replicas", "the last", "WRONG"];
    ended.text.lines().filter(|line| shown.iter().any(|word| line.contains(word))).for_each(|line| println!("{line}"));
}

fn main() {
    let pushes = env::args().nth(1).unwrap_or_else(|| "1000".to_owned());
    measure("near", ClusterPlan::of(1, 3).hosts(), &pushes);
    measure("50 ms each way", ClusterPlan::of(1, 3).distant_replicas(FAR), &pushes);
}
