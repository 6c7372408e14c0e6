//! Name servers that are silent.
//!
//! The system waits for half a minute here before it gives a name up, so that whoever waits for that is noticed.

use std::{
    fs,
    time::{Duration, Instant},
};

use ostia_tests::{Cluster, ClusterPlan, Host, Member, Status, programs, run};

use crate::{SOON, issued, revoked, until_logged, until_told};

/// Far less than the system waits for a name, and enough for everything else.
const WITHOUT_WAITING: Duration = Duration::from_secs(20);

const LATE: &str = "its name could not be resolved within 2s; look after this machine's name servers";

/// Starts it anew with another text in its configuration, on a host that asks for names.
#[track_caller]
fn restart(member: &mut Member, names: &Host, from: &str, to: &str) {
    member.kill();
    member.host().ask_for_names(names);
    member.site().edit_config(|text| {
        assert!(text.contains(from), "{from}: {text}");
        text.replace(from, to)
    });
    member.start();
}

/// It does this soon.
#[track_caller]
fn soon(cluster: &Cluster, what: &str, act: impl FnOnce()) {
    let begun = Instant::now();
    act();
    let took = begun.elapsed();
    eprintln!("{what}: {took:?}");
    assert!(took < WITHOUT_WAITING, "{what}: {took:?}\n{}", cluster.logs());
}

/// The thread that follows waited for the name, and with it a reload and the end of the process.
#[test]
fn a_name_server_that_is_silent_holds_up_no_answer_no_reload_and_no_end() {
    let mut cluster = ClusterPlan::of(2, 2).replicas_with_key().hosts().start();
    let (gone, good) = (revoked(&cluster), issued(&cluster));
    let names = cluster.network().host("name-server");
    cluster.network().cut_off(&[&names]);
    let (redis, port) = (cluster.redis.address().to_string(), cluster.redis.port());
    let named = format!("redis.example:{port}");
    restart(&mut cluster.replicas[0], &names, &redis, &named);
    restart(&mut cluster.writers[0], &names, &redis, &named);
    let sentinels = "sentinels = [\"sentinel.example:26379\"]\nmaster = \"feed\"";
    restart(&mut cluster.writers[1], &names, &format!("redis = \"{redis}\""), sentinels);
    // This one reaches Redis, has nothing, and fetches the snapshot by names.
    cluster.replicas[1].kill();
    fs::remove_dir_all(cluster.replicas[1].site().dir().join("state")).unwrap();
    cluster.replicas[1].start();
    restart(&mut cluster.replicas[1], &names, "http://writer-", "http://writer.example-");
    // What is on its disk is served.
    cluster.until_filled(0);
    for (serial, status) in [(&gone, Status::Revoked), (&good, Status::Good)] {
        cluster.until_said(0, serial, &status, SOON);
    }
    let of_redis = format!("Redis at {named} cannot be reached: {LATE}");
    let of_sentinel = format!("the Sentinel at sentinel.example:26379 is not reached: {LATE}");
    until_told(&cluster, &cluster.replicas[0], &of_redis);
    until_told(&cluster, &cluster.writers[0], &of_redis);
    until_told(&cluster, &cluster.writers[1], &of_sentinel);
    until_told(
        &cluster,
        &cluster.replicas[1],
        "gives no answer: timeout: resolve; look after this machine's name servers",
    );
    until_logged(&cluster, &of_redis, || cluster.replicas[0].log());
    until_logged(&cluster, &of_redis, || cluster.writers[0].log());
    until_logged(&cluster, &of_sentinel, || cluster.writers[1].log());
    soon(&cluster, "`check` tells", || {
        let replica = &cluster.replicas[0];
        let mut check = replica.host().command(&programs().responder);
        let ended = run(check.args(["check", "--config"]).arg(replica.site().config()));
        assert!(ended.text.contains(&of_redis), "{ended:?}");
    });
    let members = || cluster.writers.iter().chain(&cluster.replicas);
    for (number, member) in members().enumerate() {
        soon(&cluster, &format!("process {number} reads its configuration"), || {
            let said = member.reload(|text| text);
            assert!(said.contains("was read again"), "{said}");
        });
    }
    let begun = Instant::now();
    cluster.writers.iter_mut().chain(&mut cluster.replicas).for_each(|member| member.end_by("TERM"));
    let took = begun.elapsed();
    eprintln!("all end: {took:?}");
    assert!(took < WITHOUT_WAITING, "{took:?}\n{}", cluster.logs());
    // Somebody says it at last, and everybody goes on by himself.
    cluster.writers[0].start();
    (0..2).for_each(|replica| cluster.replicas[replica].start());
    until_told(&cluster, &cluster.writers[0], &of_redis);
    cluster.network().call("redis.example", cluster.redis.host());
    cluster.network().call("writer.example-0", cluster.writers[0].host());
    cluster.until_led(2 * SOON);
    cluster.until_fresh(2 * SOON);
    let next = revoked(&cluster);
    cluster.are_revoked_now(&[&gone, &next]);
}
