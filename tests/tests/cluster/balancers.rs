//! The shipped configurations of HAProxy and nginx before replicas of which one after the other fails.

use std::{process::Command, thread, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ostia_tests::{Behind, Client, Cluster, ClusterPlan, Questions, Status, http, programs, run};

use crate::SOON;

#[test]
fn no_request_fails_while_one_replica_after_the_other_is_killed_hangs_and_is_started_anew() {
    nothing_fails(Behind::haproxy(ClusterPlan::of(1, 3)));
}

#[test]
fn nor_behind_nginx() {
    nothing_fails(Behind::nginx(ClusterPlan::of(1, 3)));
}

fn nothing_fails(mut behind: Behind) {
    let (good, gone) = (behind.cluster.ca.issue().serial, behind.cluster.ca.issue().serial);
    behind.until_said(&good, &Status::Good);
    behind.until_said(&gone, &Status::Good);
    behind.cluster.revoke(&gone);
    behind.until_said(&gone, &Status::Revoked);
    let everywhere = |cluster: &Cluster| {
        let revoked = |number: usize| {
            cluster.replicas[number].feed_metric("ostia_records", "tenant=\"tests\",issuer=\"ca\",status=\"revoked\"")
        };
        (0..3).all(|number| revoked(number) == Some(1.0)).then_some(())
    };
    behind.cluster.until("every replica has it", SOON, || everywhere(&behind.cluster));
    let client = Client::of(&behind.cluster, &[&good, &gone]);
    let clients = client.ask(&[behind.front], 6);
    for number in 0..3 {
        thread::sleep(Duration::from_secs(1));
        match number {
            0 => {
                behind.cluster.replicas[number].kill();
                thread::sleep(Duration::from_secs(2));
                behind.cluster.replicas[number].start();
            }
            1 => {
                behind.cluster.replicas[number].pause();
                thread::sleep(Duration::from_secs(6));
                behind.cluster.replicas[number].go_on();
            }
            // In order, as for an upgrade.
            _ => behind.cluster.replicas[number].restart_with(|text| text),
        }
        behind.cluster.until_filled(number);
    }
    thread::sleep(Duration::from_secs(2));
    clients.end_with_only(&[Status::Good, Status::Revoked]);
}

#[test]
fn replicas_that_hear_the_writer_go_first_and_where_none_does_any_answers() {
    // With keys: one that starts without Redis has no answers since its snapshot.
    let mut behind = Behind::haproxy(ClusterPlan::of(1, 3).replicas_with_key());
    let serial = behind.cluster.ca.issue().serial;
    behind.until_said(&serial, &Status::Good);
    let asked = |cluster: &Cluster, number: usize| {
        cluster.replicas[number].process().metric("ostia_requests_total", "method=\"GET\"")
    };
    // One whose Redis is away hears nobody.
    behind.cluster.replicas[0].restart_with(|text| text.replacen("redis = \"127.0.0.1:", "redis = \"127.0.0.2:", 1));
    behind.cluster.until("it serves from its disk, and hears nobody", SOON, || {
        let told = [behind.cluster.replicas[0].readiness(""), behind.cluster.replicas[0].readiness("?fresh=1")];
        (told == [Some(200), Some(503)]).then_some(())
    });
    thread::sleep(Duration::from_secs(3));
    let before = asked(&behind.cluster, 0);
    (0..20).for_each(|_| assert_eq!(behind.says(&serial), Some(Status::Good)));
    assert_eq!(asked(&behind.cluster, 0), before, "the others were asked");
    // Nobody hears anybody.
    behind.cluster.redis.pause();
    let is_stale = |number: usize| behind.cluster.replicas[number].readiness("?fresh=1") == Some(503);
    behind.cluster.until("nobody is fresh", SOON, || (0..3).all(is_stale).then_some(()));
    thread::sleep(Duration::from_secs(3));
    (0..20).for_each(|_| assert_eq!(behind.says(&serial), Some(Status::Good)));
    assert!(asked(&behind.cluster, 0) > before, "that one is as good as the others now");
}

/// Base64 has `/` and `+`, and nobody may merge `//`.
#[test]
fn the_path_of_a_get_comes_through_as_it_is() {
    for behind in [Behind::haproxy(ClusterPlan::of(1, 3)), Behind::nginx(ClusterPlan::of(1, 3))] {
        paths_come_through(&behind);
    }
}

fn paths_come_through(behind: &Behind) {
    let (mut slashes, mut pluses) = (0, 0);
    for number in 1..=400_u32 {
        let serial = format!("{:08X}", number.wrapping_mul(2_654_435_761));
        let ask = behind.cluster.ask(&serial);
        let raw = BASE64_STANDARD.encode(ask.request());
        if !raw.contains("//") && !raw.contains('+') {
            continue;
        }
        (slashes, pluses) = (slashes + u32::from(raw.contains("//")), pluses + u32::from(raw.contains('+')));
        for target in [format!("/{raw}"), http::ocsp_target("/", &ask.request())] {
            let reply = http::get(behind.front, &target);
            assert_eq!((reply.status, ask.read(&reply.body).status), (200, Status::error("unauthorized")), "{target}");
        }
    }
    assert!(slashes > 0 && pluses > 0, "{slashes} {pluses}");
}

/// Who works on a machine takes it out of rotation first, and decides when requests come again, restarts included.
#[test]
fn a_replica_that_is_drained_gets_no_request_until_that_is_ended_and_answers_what_comes() {
    let mut behind = Behind::haproxy(ClusterPlan::of(1, 3));
    let serial = behind.cluster.ca.issue().serial;
    behind.until_said(&serial, &Status::Good);
    let asked = |cluster: &Cluster| cluster.replicas[0].process().metric("ostia_requests_total", "method=\"POST\"");
    let drain = |cluster: &Cluster, more: &[&str]| {
        let mut command = Command::new(&programs().responder);
        command.args(["drain", "--config"]).arg(cluster.replicas[0].site().config()).args(more);
        let ended = run(&mut command);
        assert!(ended.status.success(), "{}", ended.text);
        ended.text
    };
    let client = Client::of(&behind.cluster, &[&serial]);
    assert!(drain(&behind.cluster, &[]).starts_with("drained: ") && drain(&behind.cluster, &[]).contains("before"));
    let told = behind.cluster.replicas[0].readiness_text("").unwrap();
    assert!(told.0 == 503 && told.1.starts_with("not ready: drained; "), "{told:?}");
    thread::sleep(Duration::from_secs(3));
    let before = asked(&behind.cluster);
    let clients = client.ask(&[behind.front], 4);
    behind.cluster.replicas[0].restart_with(|text| text);
    thread::sleep(Duration::from_secs(3));
    assert_eq!((asked(&behind.cluster), behind.cluster.replicas[0].readiness("")), (0.0, Some(503)), "{before}");
    assert!(drain(&behind.cluster, &["--end"]).starts_with("no longer drained"));
    behind.cluster.until("it is asked again", SOON, || (asked(&behind.cluster) > 0.0).then_some(()));
    clients.end_with_only(&[Status::Good]);
}

/// What is sent to back ends that try again would be stamped twice: whatever the path, a query goes to those that do not. No
/// replica here stamps, so there it gets 503 of the balancer's own.
#[test]
fn a_query_for_a_time_stamp_never_goes_where_requests_are_tried_again() {
    let behind = Behind::haproxy(ClusterPlan::of(1, 3));
    for (path, media_type, status) in [
        ("/", "application/ocsp-request", 200),
        ("/", "application/timestamp-query", 503),
        ("/a/tsa", "Application/Timestamp-Query", 503),
        ("/tsa", "application/ocsp-request", 503),
    ] {
        let body = behind.cluster.ask("01").request();
        let head = format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n", body.len());
        let request = [&http::request("POST", path, &head)[..], &body].concat();
        // HAProxy takes replicas for well until it has asked them.
        behind.cluster.until(&format!("{path} {media_type} gets {status}"), SOON, || {
            (http::exchange(behind.front, &request).ok()?.status == status).then_some(())
        });
    }
}

/// No client is bound to a replica, and none can tell which one has answered: what the writer has signed ahead is the same
/// everywhere, headers for caches included.
#[test]
fn whichever_replica_the_balancer_takes_the_answer_is_the_same_byte_by_byte() {
    let behind = Behind::haproxy(ClusterPlan::of(1, 3).listed(20));
    let questions = Questions::of(&behind.cluster.ca);
    let asked =
        |number: usize| behind.cluster.replicas[number].process().metric("ostia_requests_total", "method=\"POST\"");
    let before = [0, 1, 2].map(asked);
    behind.cluster.revoke(&behind.cluster.listed[0]);
    for (number, serial) in behind.cluster.listed.iter().enumerate() {
        let status = if number == 0 { Status::Revoked } else { Status::Good };
        // Until everybody has the answer that is signed ahead.
        behind.cluster.until("all replicas answer alike", SOON, || {
            let replies = [(); 6].map(|()| http::exchange(behind.front, &questions.post(serial)).unwrap());
            let of = |reply: &http::Reply| {
                let validators = ["etag", "last-modified", "expires"].map(|name| reply.header(name).map(str::to_owned));
                (reply.status, reply.body.clone(), validators)
            };
            let is_right = replies.iter().all(|reply| Questions::read(serial, reply).as_ref() == Some(&status));
            (is_right && replies.iter().all(|reply| of(reply) == of(&replies[0]))).then_some(())
        });
    }
    for (number, before) in before.into_iter().enumerate() {
        assert!(asked(number) - before >= 40.0, "each replica was asked, by turns");
    }
}
