//! The configuration that is everybody's: published once, taken by every replica as a whole or not at all, rolled back, and there
//! when everything else is not.

use std::{fs, process::Command};

use ostia_tests::{Cluster, ClusterPlan, Ended, Member, Status, programs, run};

use crate::{SOON, issued, until_logged};

/// The key of the newest version in Redis.
const CONFIGURATION: &str = "ostia:tests:configuration";

/// A command about configurations at this writer.
fn config(writer: &Member, arguments: &[&str]) -> Ended {
    let mut command = Command::new(&programs().precompute);
    command.arg("config").args(arguments).arg("--config").arg(writer.site().config());
    run(&mut command)
}

/// What somebody without tenants of its own has in its file; `lines` are more of `[feed]`.
fn without_tenants(text: &str, lines: &str) -> String {
    let tenants = text.find("[[tenant]]").expect("tenants at the end");
    text[..tenants].replacen("[feed]\n", &format!("[feed]\nconfiguration = \"published\"\n{lines}"), 1)
}

/// Such a cluster, whose writers run and have published the first version. Gives who leads.
fn published(plan: ClusterPlan, lines: impl Fn(usize) -> &'static str) -> (Cluster, usize) {
    let mut cluster = plan.set_up();
    for (number, replica) in cluster.replicas.iter().enumerate() {
        let lines = format!("name = \"r{number}\"\n{}", lines(number));
        replica.site().edit_config(|text| without_tenants(&text, &lines));
    }
    for writer in &cluster.writers {
        writer.site().edit_config(|text| text.replacen("[admin]\n", "[journal]\n[admin]\n", 1));
    }
    cluster.writers.iter_mut().for_each(Member::start);
    let leader = cluster.until_led(SOON);
    let told = config(&cluster.writers[leader], &["publish"]);
    assert!(told.status.success() && told.text.contains("version 1 is published"), "{}", told.text);
    cluster.replicas.iter_mut().for_each(Member::start);
    (0..cluster.replicas.len()).for_each(|replica| cluster.until_filled(replica));
    (cluster, leader)
}

/// Which version a replica says that it uses.
fn version(cluster: &Cluster, replica: usize) -> Option<u64> {
    let mut command = Command::new(&programs().precompute);
    command.args(["server", "list", "--json", "--config"]).arg(cluster.writers[0].site().config());
    let list: serde_json::Value = serde_json::from_str(&run(&mut command).text).ok()?;
    let servers = list["servers"].as_array()?.clone();
    let mine = servers.iter().find(|server| server["name"] == format!("r{replica}"))?;
    mine["configuration"]["version"].as_u64()
}

#[track_caller]
fn until_taken(cluster: &Cluster, replica: usize, wanted: u64) {
    let told = format!("a version of the published configuration was taken\",\"version\":{wanted}");
    until_logged(cluster, &told, || cluster.replicas[replica].log());
}

#[test]
fn a_configuration_is_published_once_taken_as_a_whole_or_refused_with_the_reason_and_rolled_back() {
    let with_keys = |replica: usize| if replica == 2 { "signer_keys = true\n" } else { "" };
    let (cluster, leader) = published(ClusterPlan::of(1, 3), with_keys);
    let writer = &cluster.writers[leader];
    issued(&cluster);
    for replica in 0..3 {
        cluster.until("each says which version it has", SOON, || (version(&cluster, replica)? == 1).then_some(()));
        assert!(cluster.replicas[replica].site().check().status.success());
    }
    // An issuer more, in one file: first the writer takes it, then it is published.
    let second = Cluster::another_issuer("Second");
    let valid = second.ca.issue();
    let before = fs::read_to_string(writer.site().config()).unwrap();
    writer.site().edit_config(|text| text + &second.of_writer);
    let refused = config(writer, &["publish"]);
    assert!(!refused.status.success() && refused.text.contains("is not in use here yet"), "{}", refused.text);
    assert!(writer.reload(|text| text).contains("was read again"));
    let told = config(writer, &["publish"]).text;
    assert!(told.contains("version 2 is published") && told.contains("changed: tenant.tests.issuer.Second"), "{told}");
    let says = |replica: usize| second.says(&cluster.replicas[replica], &valid.serial);
    for replica in 0..3 {
        until_taken(&cluster, replica, 2);
        cluster.until("it answers for the issuer", SOON, || (says(replica) == Status::Good).then_some(()));
    }

    // A key that only the writer has where the version says: who needs it refuses all of it, and serves on.
    let key = second.of_writer.split("key = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    fs::copy(&key, writer.site().dir().join("own.key")).unwrap();
    assert!(writer.reload(|text| text.replace(&key, "own.key")).contains("was read again"));
    assert!(config(writer, &["publish"]).text.contains("version 3 is published"));
    [0, 1].into_iter().for_each(|replica| until_taken(&cluster, replica, 3));
    let odd = &cluster.replicas[2];
    cluster.until("it says why it refuses", SOON, || {
        let lines = odd.readiness_text("")?.1;
        let said = lines.lines().find(|line| line.starts_with("degraded: the configuration was refused: version 3"))?;
        (said.contains("own.key") && said.contains("version 2 is used on")).then_some(())
    });
    assert_eq!(says(2), Status::Good);
    cluster.until("the writer says so of it", SOON, || {
        let lines = writer.readiness_text("")?.1;
        let mut lines = lines.lines();
        lines.find(|line| {
            line.contains("the replica `r2`") && line.contains("it refused version 3") && line.contains("own.key")
        })?;
        Some(())
    });
    assert_eq!(version(&cluster, 2), Some(2));
    // Once it can, it takes it, when it is asked to read its file again.
    fs::copy(&key, odd.site().dir().join("own.key")).unwrap();
    assert!(odd.reload(|text| text).contains("was read again"));
    until_taken(&cluster, 2, 3);
    cluster.until("nothing is refused any more", SOON, || {
        (!odd.readiness_text("")?.1.contains("was refused")).then_some(())
    });

    // Back in one command.
    let told = config(writer, &["rollback", "1"]).text;
    assert!(told.contains("version 4 is published") && told.contains("changed: tenant.tests.issuer.Second"), "{told}");
    assert!(told.contains("the writer itself runs with something else"), "{told}");
    for replica in 0..3 {
        until_taken(&cluster, replica, 4);
        cluster.until("it no longer answers", SOON, || (says(replica) == Status::error("unauthorized")).then_some(()));
    }
    issued(&cluster);
    assert!(writer.reload(|_| before).contains("was read again"));
    let list = config(writer, &["list"]).text;
    assert!(list.lines().count() == 4 && list.starts_with("4  "), "{list}");
    assert!(config(writer, &["diff", "1", "4"]).text.contains("nothing differs"));
    assert!(config(writer, &["diff", "4"]).text.contains("nothing differs"));
    assert_eq!(config(writer, &["diff", "1", "2"]).text.trim(), "tenant.tests.issuer.Second");
    let shown = config(writer, &["show", "2"]).text;
    assert!(shown.contains("[[tenant]]") && !shown.contains("index.txt") && !shown.contains("PRIVATE"), "{shown}");
    let none = config(writer, &["rollback", "9"]);
    assert!(!none.status.success() && none.text.contains("no version 9"), "{}", none.text);
    let journal = fs::read_to_string(writer.site().dir().join("state/journal.jsonl")).unwrap();
    let told: Vec<_> = journal.lines().filter(|line| line.contains("\"type\":\"configuration\"")).collect();
    assert!(
        told.iter().any(|line| line.contains("\"asked\":\"rollback\"") && line.contains("\"version\":4")),
        "{told:?}"
    );
    assert!(told.iter().any(|line| line.contains("\"outcome\":\"refused\"")), "{told:?}");
}

#[test]
fn who_takes_over_publishes_on_and_a_replica_starts_from_its_disk_whatever_stands_in_redis() {
    // With keys: what a replica signs itself does not depend on which answers a snapshot has.
    let (mut cluster, leader) = published(ClusterPlan::of(2, 2), |_| "signer_keys = true\n");
    let good = issued(&cluster);
    cluster.redis.cli(["COPY", CONFIGURATION, "former"]);
    cluster.until("the standby keeps what was published", SOON, || {
        cluster.writers[1 - leader].log().contains("a version of the configuration was published").then_some(())
    });
    let refused = config(&cluster.writers[1 - leader], &["publish"]);
    assert!(!refused.status.success() && refused.text.contains("stands by"), "{}", refused.text);
    // Without records it would take over much later.
    cluster.until_level(1 - leader, SOON);
    cluster.writers[leader].kill();
    let next = cluster.until_led_by_another(leader, SOON);
    assert!(config(&cluster.writers[next], &["publish"]).text.contains("version 2 is published"));
    [0, 1].into_iter().for_each(|replica| until_taken(&cluster, replica, 2));
    // Redis loses it, and gets it again.
    cluster.redis.cli(["DEL", CONFIGURATION]);
    cluster.until("it is there again", SOON, || {
        (cluster.redis.cli(["EXISTS", CONFIGURATION]).trim() == "1").then_some(())
    });

    // No writer is left: an older one, a forged one and one that is too long change nothing.
    cluster.writers[next].kill();
    let redis = &cluster.redis;
    let passed_over = || cluster.replicas[0].log().matches("is passed over").count();
    redis.cli(["COPY", "former", CONFIGURATION, "REPLACE"]);
    // The number, which is behind the version, the cluster's name and the key.
    redis.cli(["SETRANGE", CONFIGURATION, "22", "z"]);
    cluster.until("what was forged is told", SOON, || (passed_over() > 0).then_some(()));
    redis.cli(["SETRANGE", CONFIGURATION, "17000000", "x"]);
    redis.cli(["COPY", "former", CONFIGURATION, "REPLACE"]);
    assert_eq!(cluster.says(0, &good), Some(Status::Good));

    // Nothing else is there at all.
    cluster.replicas[0].end_by("TERM");
    cluster.redis.kill();
    cluster.replicas[0].start();
    cluster.until_said(0, &good, &Status::Good, SOON);
    assert!(!cluster.replicas[0].log().contains("taken\",\"version\":1"), "{}", cluster.replicas[0].log());
    let in_use = fs::read_to_string(cluster.replicas[0].site().dir().join("state/configuration/in_use")).unwrap();
    assert_eq!(in_use.trim(), "2");
}

#[test]
fn a_replica_without_a_version_waits_and_says_what_is_missing_and_contradictions_are_refused() {
    let mut cluster = ClusterPlan::of(1, 1).set_up();
    cluster.writers[0].start();
    cluster.until_led(SOON);
    let site = cluster.replicas[0].site();
    let own = fs::read_to_string(site.config()).unwrap();
    site.edit_config(|text| text.replacen("[feed]\n", "[feed]\nconfiguration = \"published\"\n", 1));
    let told = site.refuses_to_start();
    assert!(told.contains("[[tenant]] stands beside `configuration = \"published\"`"), "{told}");
    site.edit_config(|_| without_tenants(&own, ""));
    let checked = site.check();
    assert!(!checked.status.success() && checked.text.contains("ostia-precompute config publish"), "{}", checked.text);
    assert!(!site.dir().join("state").exists(), "a check leaves nothing behind");
    let mut command = site.serve();
    let starting = std::thread::spawn(move || run(&mut command));
    let ended = starting.join().unwrap();
    // So that it is started again, by whoever does that.
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    assert!(ended.text.contains("nobody has published one"), "{}", ended.text);
    assert!(config(&cluster.writers[0], &["publish"]).status.success());
    cluster.replicas[0].start();
    cluster.until_filled(0);
    issued(&cluster);
}
