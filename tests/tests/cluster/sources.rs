//! Sources of snapshots that give something else than a snapshot.

use std::{
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use ostia_tests::{Cluster, ClusterPlan, FaultySource, Way, free_port};

use crate::{SOON, revoked, until_logged, until_told};

/// What is wrong with a source, and what is said of it: by who fetches, in its log and readiness; and by `check`.
const ROWS: [(Way, &str, &str); 8] = [
    (Way::Html, "answers with 36 bytes of text/html in place of ", "gives something else: it makes no sense: another"),
    (
        Way::Redirect,
        "answers 302 and names `http://login.example/`, which is not followed; name that place",
        "answers 302",
    ),
    (Way::CutShort, "the connection was lost, or it stopped", "the connection was lost, or it stopped"),
    (Way::Another, "gives other bytes than the signed manifest says", "gives something else"),
    (Way::Dripping, "took too long; ", "took too long; "),
    (Way::Error, "answers 500 (text/html); is this the address that `snapshot_listen`", "answers 500 (text/html)"),
    (Way::Unknown, "answers 404: it does not have this snapshot", "names nobody who has the newest snapshot now"),
    (Way::Silent, "took too long; 0 bytes came", "took too long; 0 bytes came"),
];

/// A replica, not started, that fetches from these addresses.
pub(crate) fn replica_with(cluster: &mut Cluster, sources: &[std::net::SocketAddr]) -> usize {
    let number = cluster.add_replica();
    let from: Vec<String> = sources.iter().map(|address| format!("http://{address}")).collect();
    cluster.replicas[number].site().edit_config(|text| {
        let line = text.lines().find(|line| line.starts_with("snapshot_from = ")).unwrap().to_owned();
        text.replacen(&line, &format!("snapshot_from = {from:?}"), 1)
    });
    number
}

#[test]
fn with_one_good_source_behind_any_bad_one_a_replica_is_filled_soon() {
    let mut cluster = ClusterPlan::of(1, 0).start();
    let good = cluster.writers[0].snapshots().unwrap();
    let sources: Vec<_> = ROWS.iter().map(|(way, ..)| FaultySource::start(good, *way)).collect();
    // And one where nobody listens, and a writer of another cluster.
    let elsewhere = ClusterPlan::of(1, 0).start();
    let nobody = free_port([127, 0, 0, 1].into());
    let mut bad: Vec<_> = sources.iter().map(FaultySource::address).collect();
    bad.extend([nobody, elsewhere.writers[0].snapshots().unwrap()]);
    let begun = Instant::now();
    for bad in bad {
        let number = replica_with(&mut cluster, &[bad, good]);
        cluster.replicas[number].start();
    }
    for number in 0..cluster.replicas.len() {
        // One that drips has a minute, alone.
        cluster.until("it is filled", Duration::from_secs(45), || {
            (cluster.replicas[number].readiness("")? == 200).then_some(())
        });
    }
    eprintln!("all are filled after {:?}", begun.elapsed());
    let gone = revoked(&cluster);
    cluster.are_revoked_now(&[&gone]);
}

#[test]
fn with_bad_sources_alone_each_says_what_came_and_goes_on_when_that_is_mended() {
    let mut cluster = ClusterPlan::of(1, 0).start();
    let good = cluster.writers[0].snapshots().unwrap();
    let sources: Vec<_> = ROWS.iter().map(|(way, ..)| FaultySource::start(good, *way)).collect();
    for source in &sources {
        let number = replica_with(&mut cluster, &[source.address()]);
        cluster.replicas[number].start();
    }
    for (number, (way, told, checked)) in ROWS.iter().enumerate() {
        let url = format!("http://{}/snapshot/", sources[number].address());
        let replica = &cluster.replicas[number];
        // One that drips has a minute.
        if *way != Way::Dripping {
            let lines = until_told(&cluster, replica, told);
            assert!(lines.contains(&url) && lines.starts_with("not ready: "), "{way:?}: {lines}");
            until_logged(&cluster, &format!("a source of snapshots fails: {url}"), || replica.log());
        }
        let said = replica.site().check().text;
        assert!(said.contains(checked), "{way:?}: no `{checked}` in {said}");
        assert!(said.contains(if *way == Way::Unknown { "WARNING" } else { &url }), "{way:?}: {said}");
    }
    // Whatever it was, it is over.
    sources.iter().for_each(|source| source.set(Way::Right));
    for (number, (way, ..)) in ROWS.iter().enumerate() {
        let what = format!("{way:?} is over and it is filled");
        cluster
            .until(&what, Duration::from_secs(90), || (cluster.replicas[number].readiness("")? == 200).then_some(()));
    }
    let gone = revoked(&cluster);
    cluster.are_revoked_now(&[&gone]);
    cluster.until_fresh(SOON);
}

#[test]
fn a_source_where_nobody_listens_or_of_another_cluster_is_named_with_what_is_to_be_done() {
    let mut cluster = ClusterPlan::of(1, 0).start();
    let elsewhere = ClusterPlan::of(1, 0).start();
    let nobody = free_port([127, 0, 0, 1].into());
    let alone = [nobody, elsewhere.writers[0].snapshots().unwrap()].map(|bad| replica_with(&mut cluster, &[bad]));
    alone.iter().for_each(|number| cluster.replicas[*number].start());
    let lines = until_told(&cluster, &cluster.replicas[alone[0]], &format!("http://{nobody}/snapshot/"));
    assert!(lines.contains("gives no answer: ") && lines.contains("is this the address that"), "{lines}");
    until_told(&cluster, &cluster.replicas[alone[1]], "answers 404: it does not have this snapshot, or not whole yet");
    let checked = cluster.replicas[alone[1]].site().check().text;
    assert!(checked.contains("is the writer's `snapshot_listen` among them?"), "{checked}");
    // Somebody listens there by now: a tunnel to the writer.
    let good = cluster.writers[0].snapshots().unwrap();
    let tunnel = TcpListener::bind(nobody).unwrap();
    std::thread::spawn(move || {
        for client in tunnel.incoming().flatten() {
            let Ok(server) = std::net::TcpStream::connect(good) else { continue };
            let (mut to, mut from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut server, mut client) = (server, client);
            let _ = std::io::copy(&mut server, &mut client);
        }
    });
    cluster.until("it is filled through the tunnel", Duration::from_secs(60), || {
        (cluster.replicas[alone[0]].readiness("")? == 200).then_some(())
    });
}

/// A standby without `snapshot_from` stood by for months with an empty book, and said nothing.
#[test]
fn a_standby_that_cannot_be_filled_says_so_until_it_is() {
    let mut cluster = ClusterPlan::of(2, 0).set_up();
    cluster.writers[0].start();
    cluster.until_led(SOON);
    let source = |text: &str| text.lines().find(|line| line.starts_with("snapshot_from = ")).unwrap().to_owned() + "\n";
    let line = source(&fs::read_to_string(cluster.writers[1].site().config()).unwrap());
    cluster.writers[1].site().edit_config(|text| text.replacen(&line, "", 1));
    cluster.writers[1].start();
    let lacks = "this writer has no records of the feed yet, and takes over 10 times later than one that has them";
    let lines = until_told(&cluster, &cluster.writers[1], lacks);
    assert!(lines.contains(" chunks are here; `snapshot_from` is empty: name the `snapshot_listen`"), "{lines}");
    until_logged(&cluster, lacks, || cluster.writers[1].log());
    cluster.writers[1].restart_with(|text| text.replacen("takeover_after", &format!("{line}takeover_after"), 1));
    cluster.until("it is filled, and lacks nothing", SOON, || {
        let (_, lines) = cluster.writers[1].readiness_text("")?;
        (lines.contains("this writer stands by, at ") && !lines.contains("degraded")).then_some(())
    });
}

/// A leader whose newest snapshot had been changed on disk filled nobody until the next one was due, hours later.
#[test]
fn a_leader_whose_newest_snapshot_is_damaged_says_so_and_makes_another_one() {
    let mut cluster = ClusterPlan::of(1, 0).start();
    let snapshots = cluster.writers[0].site().dir().join("state/snapshots");
    let snapshot = cluster.until("there is a snapshot", SOON, || {
        let mut files = fs::read_dir(&snapshots).ok()?.map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|ending| ending == "snapshot"))
    });
    let length = fs::metadata(&snapshot).unwrap().len();
    fs::write(&snapshot, vec![0; usize::try_from(length).unwrap()]).unwrap();
    let newcomer = cluster.add_replica();
    cluster.replicas[newcomer].start();
    until_logged(&cluster, "a snapshot is no longer given out", || cluster.writers[0].log());
    // The one that is there is half a minute old before there is another.
    cluster.until("it is filled", Duration::from_secs(75), || {
        (cluster.replicas[newcomer].readiness("")? == 200).then_some(())
    });
    let log = cluster.writers[0].log();
    assert!(log.contains("was changed on disk and is not given out any more; another one is made"), "{log}");
    let (status, text) = cluster.writers[0].readiness_text("").unwrap();
    assert!(status == 200 && !text.contains("snapshot"), "{status} {text}");
    let gone = revoked(&cluster);
    cluster.are_revoked_now(&[&gone]);
}
