//! Caches before the replicas of a cluster: the writer that leads tells them, and nobody else.

use std::{net::Ipv4Addr, time::Duration};

use ostia_tests::{Ask, Cluster, ClusterPlan, Recorder, Said, Status, Varnish, free_port, http::ocsp_target, until};

use crate::{SOON, issued};

const DONE: Said = Said::This(200, "", "done");

fn told(recorder: &Recorder, lines: &str) -> String {
    format!(
        "\n[[purge]]\ndriver = \"template\"\nurl = \"http://{}/\"\nmethod = \"PURGE\"\nheaders = [\"X-Keys: {{keys}}\"]\n{lines}\n",
        recorder.address()
    )
}

fn keys(recorder: &Recorder) -> Vec<String> {
    let seen = recorder.seen();
    seen.iter().flat_map(|seen| seen.header("x-keys").unwrap().split(' ').map(str::to_owned)).collect()
}

/// The key of the issuer, which a recorder was told first.
fn whole(cluster: &Cluster, recorder: &Recorder) -> String {
    cluster.until("the issuer is purged", SOON, || keys(recorder).first().cloned())
}

fn key(whole: &str, serial: &str) -> String {
    format!("{whole}-{}", serial.trim_start_matches("0x")).to_ascii_lowercase()
}

fn is_told(recorder: &Recorder, key: &str) -> bool {
    keys(recorder).iter().any(|told| told.eq_ignore_ascii_case(key))
}

#[test]
fn varnish_before_a_replica_is_told_by_the_leader_once_the_replica_can_answer_anew() {
    let mut cluster = ClusterPlan::of(1, 1).start();
    let serials = [(); 6].map(|()| issued(&cluster));
    let front = free_port(Ipv4Addr::LOCALHOST.into());
    let varnish = Varnish::start("varnish-xkey.vcl", front, cluster.replicas[0].site().http);
    let cache = format!("\n[[purge]]\ndriver = \"varnish-xkey\"\nurl = \"http://{front}/\"\n");
    cluster.writers[0].restart_with(|text| text + &cache);
    cluster.until_led(SOON);
    let about = serials.each_ref().map(|serial| Ask::serial(&cluster.ca, serial));
    let get = |place: usize| varnish.get(&ocsp_target("/", &about[place].request()));
    let metric = |name: &str| cluster.writers[0].process().metric(name, &format!("cache=\"{front}\""));
    // The issuer, twice.
    cluster.until("the issuer is purged", SOON, || (metric("ostia_purge_keys_total") >= 2.0).then_some(()));
    (0..serials.len()).for_each(|place| drop(get(place)));
    cluster.until("all are kept", SOON, || (0..serials.len()).all(|place| get(place).1).then_some(()));
    for (place, serial) in serials.iter().enumerate().take(3) {
        about[place].read(&get(place).0.body).expect(Status::Good);
        cluster.revoke(serial);
        let acknowledged = std::time::Instant::now();
        cluster.until("it shows through the cache", SOON, || {
            (about[place].read(&get(place).0.body).status == Status::Revoked).then_some(())
        });
        eprintln!("{:?} after the acknowledgement", acknowledged.elapsed());
    }
    assert!((3..serials.len()).all(|place| get(place).1), "the others are kept");
}

#[test]
fn who_stands_by_is_silent_and_purges_the_issuer_when_it_takes_over_from_one_that_was_killed() {
    let mut cluster = ClusterPlan::of(2, 1).start();
    let recorders = [(); 2].map(|()| Recorder::start(DONE));
    let leader = cluster.until_led(SOON);
    let other = 1 - leader;
    for (number, recorder) in recorders.iter().enumerate() {
        cluster.writers[number].reload(|text| text + &told(recorder, "again_after = \"10m\""));
    }
    let whole = whole(&cluster, &recorders[leader]);
    let (first, second) = (issued(&cluster), issued(&cluster));
    cluster.revoke(&first);
    cluster.until("it is purged", SOON, || is_told(&recorders[leader], &key(&whole, &first)).then_some(()));
    assert_eq!(keys(&recorders[other]), [""; 0], "who stands by says nothing");
    // One is acknowledged, and its purge does not get through before the leader is killed.
    recorders[leader].say([], Said::This(503, "", ""));
    cluster.revoke(&second);
    cluster.until("it is tried", SOON, || is_told(&recorders[leader], &key(&whole, &second)).then_some(()));
    assert_eq!(keys(&recorders[other]), [""; 0]);
    cluster.writers[leader].kill();
    cluster.until_led_by_another(leader, SOON);
    cluster.until("all of the issuer is purged", SOON, || is_told(&recorders[other], &whole).then_some(()));
    // From then on it tells of each.
    let third = issued(&cluster);
    cluster.revoke(&third);
    cluster.until("it is purged", SOON, || is_told(&recorders[other], &key(&whole, &third)).then_some(()));
    // The one before comes back, stands by, and tells nobody of what it owed.
    let before = recorders[leader].seen().len();
    recorders[leader].say([], DONE);
    cluster.writers[leader].start();
    cluster.until("it follows", SOON, || {
        (cluster.writers[leader].epoch() == cluster.writers[other].epoch()).then_some(())
    });
    let fourth = issued(&cluster);
    cluster.revoke(&fourth);
    cluster.until("it is purged", SOON, || is_told(&recorders[other], &key(&whole, &fourth)).then_some(()));
    assert_eq!(recorders[leader].seen().len(), before);
}

/// A replica that asks for the change has it before a cache asks the replica.
#[test]
fn nothing_is_purged_while_the_feed_does_not_have_it() {
    let cluster = ClusterPlan::of(1, 1).start();
    let recorder = Recorder::start(DONE);
    cluster.writers[0].reload(|text| text + &told(&recorder, "again_after = \"10m\""));
    let whole = whole(&cluster, &recorder);
    let serial = issued(&cluster);
    cluster.until("the new one is told", SOON, || is_told(&recorder, &key(&whole, &serial)).then_some(()));
    let count = |recorder: &Recorder| keys(recorder).len();
    let before = count(&recorder);
    cluster.redis.pause();
    let pushed = cluster.push(0, "revoke", &serial);
    assert_eq!(pushed.status, 503, "{}", pushed.text);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(count(&recorder), before, "the replica still says good");
    cluster.redis.go_on();
    cluster.until_revoked_everywhere(&serial);
    until("then it is purged", SOON, || (count(&recorder) > before).then_some(()));
}

/// The writer tells of records, and knows nothing of what the file of a replica says.
#[test]
fn a_replica_tells_caches_of_what_its_own_configuration_changes_and_of_no_record() {
    let cluster = ClusterPlan::of(1, 1).replicas_with_key().start();
    let (of_replica, of_writer) = (Recorder::start(DONE), Recorder::start(DONE));
    let replica = &cluster.replicas[0];
    cluster.writers[0].reload(|text| text + &told(&of_writer, "again_after = \"10m\""));
    replica.reload(|text| text + &told(&of_replica, "again_after = \"10m\""));
    let whole = [&of_replica, &of_writer].map(|recorder| whole(&cluster, recorder));
    assert_eq!(whole[0], whole[1]);
    let serial = issued(&cluster);
    cluster.revoke(&serial);
    cluster.until("the writer tells", SOON, || is_told(&of_writer, &key(&whole[0], &serial)).then_some(()));
    cluster.until_revoked_everywhere(&serial);
    // A reload that changes nothing, and one that changes what answers are.
    replica.reload(|text| text);
    replica.reload(|text| text.replacen("[[tenant]]\n", "[[tenant]]\nmax_age = \"7m\"\n", 1));
    cluster.until("the issuer is purged", SOON, || (keys(&of_replica).len() >= 2).then_some(()));
    assert_eq!(keys(&of_replica), [&*whole[0], &*whole[0]], "nothing is told of records");
    assert_eq!(replica.process().metric("ostia_purge_failing", ""), 0.0);
}
