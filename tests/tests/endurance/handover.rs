//! For how long no push is taken while one writer takes over from another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Cluster, ClusterPlan};

use crate::{SOON, pushes::Pushes};

/// A push waits for who takes over in order: a fence, the sources, a begin. On a busy machine much longer than it takes.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn a_writer_that_is_stopped_hands_over_long_before_a_dead_one_is_missed() {
    let mut cluster = ClusterPlan::of(2, 1).listed(20_000).takeover_after("20s").start();
    let pushes = Pushes::of(&cluster).without_pause();
    let stop = Arc::new(AtomicBool::new(false));
    let pushing = thread::spawn({
        let (pushes, stop) = (pushes.clone(), Arc::clone(&stop));
        move || pushes.run(&stop)
    });
    let planned: Vec<Duration> = (0..3).map(|_| gap(&mut cluster, &pushes, "TERM")).collect();
    let dead = gap(&mut cluster, &pushes, "KILL");
    stop.store(true, Relaxed);
    let told = pushing.join().unwrap();
    eprintln!("{} pushes taken; without one for {planned:?} at SIGTERM, for {dead:?} at SIGKILL", told.at.len());
    assert_eq!(told.wrong, [""; 0]);
    // Silence counts from the last sign of life, which comes each second.
    assert!(
        planned.iter().all(|gap| *gap < HANDED_OVER_WITHIN) && dead > Duration::from_secs(18),
        "{planned:?} {dead:?}"
    );
    for serial in [0, told.at.len() - 1] {
        cluster.until_revoked_everywhere(&cluster.listed[serial]);
    }
}

/// Ends the writer that leads, and starts it again when the other one takes pushes.
fn gap(cluster: &mut Cluster, pushes: &Pushes, signal: &str) -> Duration {
    let leader = cluster.until_led(SOON);
    cluster.until("the other one follows", SOON, || {
        (cluster.writers[0].epoch() == cluster.writers[1].epoch()).then_some(())
    });
    thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    cluster.writers[leader].end_by(signal);
    cluster.until_led_by_another(leader, SOON);
    let count = pushes.acknowledged();
    cluster.until("pushes are taken again", SOON, || (pushes.acknowledged() > count + 2).then_some(()));
    let ended = Instant::now();
    cluster.writers[leader].start();
    pushes.longest_gap(begun, ended)
}
