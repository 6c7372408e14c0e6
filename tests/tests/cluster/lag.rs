//! How soon revocations come to every replica, and that they stay, while the leader is killed.

use std::{fs, thread, time::Duration};

use ostia_tests::ClusterPlan;
use serde_json::Value;

use crate::SOON;

#[test]
fn pushes_reach_three_replicas_and_none_goes_back_while_the_leader_is_killed() {
    let cluster = ClusterPlan::of(2, 3).start();
    let leader = cluster.until_led(SOON);
    let report = cluster.ca.dir().join("lag.json");
    let report = report.to_str().unwrap();
    let quiet = ["--pushes", "100", "--expect", "p99<5s,wrong=0", "--json", report];
    let ended = cluster.lag(&quiet);
    assert!(ended.status.success(), "{}\n{}", ended.text, cluster.logs());
    eprintln!("{}", ended.text);
    let ended = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let through = ["--pushes", "60", "--pause", "100ms", "--timeout", "20s", "--keep-asking", "2s"];
            cluster.lag(&[&through[..], &["--json", report]].concat())
        });
        thread::sleep(Duration::from_secs(2));
        cluster.writers[leader].process().signal("KILL");
        asking.join().unwrap()
    });
    assert!(ended.status.success(), "{}\n{}", ended.text, cluster.logs());
    let told: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    for replica in told["replicas"].as_array().unwrap() {
        assert_eq!((&replica["revocations"], &replica["missed"]), (&60.into(), &0.into()), "{told}");
        assert_eq!(replica["went_back"], 0, "{told}");
    }
    assert!(told["pushes"]["acknowledged_us"]["max"].as_f64().unwrap() > 1e6, "one waited for the take-over: {told}");
}
