//! The list of servers: who takes part in a cluster, who is gone, and what is wrong with whom.

use std::{fs, process::Command, time::Duration};

use ostia_tests::{Cluster, ClusterPlan, Delegate, Ended, KeyKind, Member, programs, run};
use serde_json::Value;

use crate::{SOON, issued, until_logged};

/// A command about the servers, with the configuration of this member.
fn server(member: &Member, arguments: &[&str]) -> Ended {
    let mut command = Command::new(&programs().precompute);
    command.arg("server").args(arguments).arg("--config").arg(member.site().config());
    run(&mut command)
}

/// All servers, as anybody of the cluster lists them.
#[track_caller]
fn list(member: &Member) -> Vec<Value> {
    let ended = server(member, &["list", "--json"]);
    assert!(ended.status.success(), "{}", ended.text);
    let list: Value = serde_json::from_str(&ended.text).unwrap_or_else(|error| panic!("{error}: {}", ended.text));
    list["servers"].as_array().unwrap().clone()
}

/// `name state`, in order.
fn states(servers: &[Value]) -> Vec<String> {
    let text = |server: &Value, name: &str| server[name].as_str().unwrap().to_owned();
    let mut states: Vec<_> =
        servers.iter().map(|server| format!("{} {}", text(server, "name"), text(server, "state"))).collect();
    states.sort();
    states
}

/// Waits until the list has exactly these.
#[track_caller]
fn until_listed(cluster: &Cluster, by: &Member, wanted: &[&str]) {
    cluster.until(&format!("{wanted:?} are listed"), SOON, || (states(&list(by)) == wanted).then_some(()));
}

/// Waits until the list shows what a server does now: less long than until its next sign of life.
#[track_caller]
fn until_turned(cluster: &Cluster, shows: impl Fn(&str) -> bool) {
    const TURNED: Duration = Duration::from_secs(30);
    let by = &cluster.writers[0];
    cluster.until("the list shows what a server does now", TURNED, || shows(&server(by, &["list"]).text).then_some(()));
}

/// Waits until a member's readiness has a line with all of that.
#[track_caller]
fn until_remarked(cluster: &Cluster, member: &Member, wanted: &[&str]) {
    cluster.until(&format!("readiness says {wanted:?}"), SOON, || {
        let (_, lines) = member.readiness_text("")?;
        lines.lines().any(|line| wanted.iter().all(|part| line.contains(part))).then_some(())
    });
}

/// Waits until nothing like that is said any more.
#[track_caller]
fn until_not_remarked(cluster: &Cluster, member: &Member, what: &str) {
    cluster.until(&format!("readiness no longer says {what}"), SOON, || {
        (!member.readiness_text("")?.1.contains(what)).then_some(())
    });
}

/// Each member with a name of its own.
fn named(cluster: &Cluster) {
    let name = |member: &Member, name: &str| {
        member.site().edit_config(|text| text.replacen("[feed]\n", &format!("[feed]\nname = \"{name}\"\n"), 1));
    };
    cluster.writers.iter().zip(["w0", "w1", "w2"]).for_each(|(writer, called)| name(writer, called));
    cluster.replicas.iter().zip(["r0", "r1", "r2"]).for_each(|(replica, called)| name(replica, called));
}

fn start(cluster: &mut Cluster) {
    cluster.writers.iter_mut().for_each(Member::start);
    cluster.until_led(SOON);
    cluster.replicas.iter_mut().for_each(Member::start);
    (0..cluster.replicas.len()).for_each(|replica| cluster.until_filled(replica));
}

#[test]
fn servers_are_listed_and_one_that_was_decommissioned_is_told_when_it_comes_back() {
    let mut cluster = ClusterPlan::of(1, 2).set_up();
    named(&cluster);
    cluster.writers[0].site().edit_config(|text| text.replacen("[admin]\n", "[journal]\n[admin]\n", 1));
    start(&mut cluster);
    until_listed(&cluster, &cluster.writers[0], &["r0 live", "r1 live", "w0 live"]);
    // Told as it turns: at its first word each was stale, since nothing had come yet.
    until_turned(&cluster, |list| list.matches(", fresh").count() == 2);
    let drain = |more: &[&str]| {
        let mut command = Command::new(&programs().responder);
        let ended = run(command.args(["drain", "--config"]).arg(cluster.replicas[1].site().config()).args(more));
        assert!(ended.status.success(), "{}", ended.text);
    };
    drain(&[]);
    until_turned(&cluster, |list| list.matches("live, draining").count() == 1);
    drain(&["--end"]);
    until_turned(&cluster, |list| !list.contains("draining"));
    let leads = |servers: &[Value]| servers.iter().any(|server| server["role"] == "leads");
    let servers =
        cluster.until("it is listed who leads", SOON, || Some(list(&cluster.replicas[1])).filter(|all| leads(all)));
    let of = |name: &str| servers.iter().find(|server| server["name"] == name).unwrap().clone();
    let (writer, replica) = (of("w0"), of("r1"));
    assert_eq!((writer["role"].as_str(), replica["role"].as_str()), (Some("leads"), Some("replica")));
    let site = cluster.replicas[1].site();
    assert_eq!(replica["addresses"]["http"][0], site.http.to_string());
    assert_eq!(replica["addresses"]["admin"][0], site.admin.to_string());
    let identity = fs::read_to_string(site.dir().join("state/server_id")).unwrap();
    let id = replica["id"].as_str().unwrap().to_owned();
    assert!(identity.contains(&id), "{identity} {id}");
    let keys = |server: &Value| server["keys"]["ocsp"]["tests/ca"].clone();
    assert!(keys(&writer).is_array() && keys(&writer) == keys(&replica), "{servers:?}");
    assert!(replica["configuration"]["digest"].as_str().is_some_and(|digest| digest.len() == 64));
    // As people see it.
    let table = server(&cluster.writers[0], &["list"]).text;
    assert!(table.lines().count() == 4 && table.contains("leads") && table.contains(&id[..8]), "{table}");

    // Two were there: from now on one is too few.
    assert_eq!(cluster.writers[0].feed_metric("ostia_feed_replicas_live", ""), Some(2.0));
    until_not_remarked(&cluster, &cluster.writers[0], "replicas live");
    let living = server(&cluster.writers[0], &["decommission", &id[..8]]);
    assert!(!living.status.success() && living.text.contains("stop it first"), "{}", living.text);
    cluster.replicas[1].end_by("TERM");
    until_listed(&cluster, &cluster.writers[0], &["r0 live", "r1 stopped", "w0 live"]);
    until_remarked(&cluster, &cluster.writers[0], &["warning: feed: 1 replicas live, and 2 are wanted"]);
    until_logged(&cluster, "1 replicas live, and 2 are wanted", || cluster.writers[0].log());
    assert_eq!(cluster.writers[0].feed_metric("ostia_feed_replicas_live", ""), Some(1.0));
    assert_eq!(cluster.writers[0].feed_metric("ostia_feed_replicas_wanted", ""), Some(2.0));

    // Over the API and without it the way on is told as it is gone here.
    let lives = |by: &Member, name: &str| {
        let refused = server(by, &["decommission", name]);
        assert!(!refused.status.success() && !refused.text.contains("even_if_alive"), "{}", refused.text);
        assert!(refused.text.contains("stop it first, or say `--even-if-alive`"), "{}", refused.text);
    };
    lives(&cluster.writers[0], "r0");
    let gone = server(&cluster.writers[0], &["decommission", &id[..8]]);
    assert!(gone.status.success() && gone.text.contains("`r1`"), "{}", gone.text);
    until_listed(&cluster, &cluster.writers[0], &["r0 live", "w0 live"]);
    let unknown = server(&cluster.writers[0], &["decommission", &id[..8]]);
    assert!(!unknown.status.success() && unknown.text.contains("no server of the list"), "{}", unknown.text);
    // Redis loses that; the writer does not.
    cluster.redis.cli(["FLUSHALL"]);
    cluster.until_fresh(SOON);
    cluster.replicas[1].start();
    until_remarked(&cluster, &cluster.replicas[1], &["degraded: feed: this server was decommissioned"]);
    until_remarked(&cluster, &cluster.writers[0], &["warning: feed: the replica `r1`", "runs again"]);
    until_remarked(&cluster, &cluster.writers[0], &["1 replicas live, and 2 are wanted"]);
    // It serves all the same.
    cluster.until_filled(1);
    let journal = fs::read_to_string(cluster.writers[0].site().dir().join("state/journal.jsonl")).unwrap();
    let told = journal.lines().find(|line| line.contains("\"type\":\"decommission\"") && line.contains(&id));
    assert!(told.is_some_and(|line| line.contains("\"outcome\":\"done\"")), "{journal}");

    // Every writer is dead: the list is there, and so is the way off it.
    cluster.writers[0].kill();
    cluster.replicas[0].end_by("TERM");
    let by = &cluster.writers[0];
    until_listed(&cluster, by, &["r0 stopped", "r1 decommissioned", "w0 live"]);
    lives(by, "w0");
    let gone = server(by, &["decommission", "w0", "--even-if-alive"]);
    assert!(gone.status.success(), "{}", gone.text);
    until_listed(&cluster, by, &["r0 stopped", "r1 decommissioned"]);
    let by_replica = server(&cluster.replicas[0], &["decommission", "r0"]);
    assert!(!by_replica.status.success() && by_replica.text.contains("of a writer"), "{}", by_replica.text);
}

#[test]
fn where_one_replica_is_meant_nobody_warns_and_the_last_one_is_missed() {
    let mut cluster = ClusterPlan::of(1, 1).set_of_writers("replicas_wanted = 1").set_up();
    start(&mut cluster);
    cluster.until("it is counted", SOON, || {
        (cluster.writers[0].feed_metric("ostia_feed_replicas_live", "")? == 1.0).then_some(())
    });
    assert!(!cluster.writers[0].readiness_text("").unwrap().1.contains("replicas live"));
    cluster.replicas[0].end_by("TERM");
    until_remarked(&cluster, &cluster.writers[0], &["0 replicas live, and 1 are wanted"]);
    cluster.replicas[0].start();
    until_not_remarked(&cluster, &cluster.writers[0], "replicas live");
    until_logged(&cluster, "enough replicas live again", || cluster.writers[0].log());
}

#[test]
fn a_replica_with_another_key_than_its_peers_is_told_on_both_ends() {
    let mut cluster = ClusterPlan::of(1, 2).set_up();
    named(&cluster);
    let mine = cluster.ca.delegate(Delegate::Proper, KeyKind::P256);
    let odd = &cluster.replicas[1];
    odd.site().edit_config(|text| {
        let begin = text.find("signer").and_then(|at| Some(at + text[at..].find("certificate")?)).expect("a signer");
        let end = begin + text[begin..].find(".pem\"").expect("a file") + ".pem\"".len();
        format!("{}certificate = {:?}{}", &text[..begin], mine.certificate, &text[end..])
    });
    start(&mut cluster);
    let what = "its key for the signer `tests/ca` is";
    until_remarked(&cluster, &cluster.writers[0], &["warning: feed: the replica `r1`", what, "`w0`"]);
    until_remarked(&cluster, &cluster.replicas[1], &["degraded: feed: of this server the others say", what, "`w0`"]);
    until_logged(&cluster, what, || cluster.writers[0].log());
    until_logged(&cluster, what, || cluster.replicas[1].log());
    assert!(!cluster.replicas[0].readiness_text("").unwrap().1.contains(what));
    let complaints =
        |name: &str| cluster.writers[0].feed_metric("ostia_feed_server_complaints", &format!("name=\"{name}\""));
    assert_eq!((complaints("r0"), complaints("r1")), (Some(0.0), Some(1.0)));
    assert_eq!(cluster.replicas[1].feed_metric("ostia_feed_server_faults", ""), Some(1.0));
    let table = server(&cluster.replicas[0], &["list"]).text;
    assert!(table.contains(what), "{table}");
}

#[test]
fn whose_user_may_not_register_serves_all_the_same_and_says_what_to_add() {
    let mut cluster = ClusterPlan::of(1, 1).users().set_up();
    named(&cluster);
    start(&mut cluster);
    // With the shipped list of users everybody is there.
    until_listed(&cluster, &cluster.replicas[0], &["r0 live", "w0 live"]);
    let remedy = "ACL SETUSER ostia-replica %RW~ostia:*:s:*";
    assert!(!cluster.replicas[0].site().check().text.contains(remedy));
    let former = ["resetkeys", "%R~ostia:*", "%W~ostia:*:a:*"];
    let [reset, read, write] = former;
    cluster.redis.cli(["ACL", "SETUSER", "ostia-replica", reset, read, write]);
    cluster.replicas[0].end_by("TERM");
    cluster.replicas[0].start();
    cluster.until_filled(0);
    until_remarked(&cluster, &cluster.replicas[0], &["warning: feed: this server is not in the list", remedy]);
    until_logged(&cluster, remedy, || cluster.replicas[0].log());
    let checked = cluster.replicas[0].site().check().text;
    assert!(checked.contains("feed.user: ") && checked.contains(remedy), "{checked}");
    issued(&cluster);
    // The remedy is one.
    cluster.redis.cli(["ACL", "SETUSER", "ostia-replica", "%RW~ostia:*:s:*", "+get", "+getrange", "+set"]);
    until_not_remarked(&cluster, &cluster.replicas[0], remedy);
    until_listed(&cluster, &cluster.replicas[0], &["r0 live", "w0 live"]);
}

#[test]
fn whatever_somebody_puts_into_the_places_of_servers_is_passed_over() {
    let mut cluster = ClusterPlan::of(1, 1).set_up();
    named(&cluster);
    start(&mut cluster);
    until_listed(&cluster, &cluster.writers[0], &["r0 live", "w0 live"]);
    let redis = &cluster.redis;
    let key = |number: usize| format!("ostia:tests:s:{number}");
    let taken: Vec<usize> = (0..256).filter(|number| redis.cli(["EXISTS", &key(*number)]).trim() == "1").collect();
    assert_eq!(taken.len(), 2);
    // A word of a server that another has changed, one at a second place, a long one, a list, and nothing but noise.
    let [first, other] = [taken[0], taken[1]];
    let free: Vec<usize> = (0..256).filter(|number| !taken.contains(number)).collect();
    redis.cli(["COPY", &key(first), &key(free[0])]);
    redis.cli(["SETRANGE", &key(other), "200", "x"]);
    redis.cli(["SETRANGE", &key(free[1]), "90000000", "x"]);
    redis.cli(["LPUSH", &key(free[2]), "x"]);
    free[3..].iter().for_each(|number| drop(redis.cli(["SET", &key(*number), "noise"])));
    redis.cli(["SET", "ostia:tests:gone", "noise"]);
    until_listed(&cluster, &cluster.writers[0], &["r0 live", "w0 live"]);
    let told = server(&cluster.writers[0], &["list"]).text;
    assert!(told.contains("places hold something that no server of this cluster has signed"), "{told}");
    issued(&cluster);
    cluster.until_fresh(SOON);
}
