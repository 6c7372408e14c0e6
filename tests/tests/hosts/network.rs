//! The network itself, on which the other tests rest: what is lost, late or slow, and that nothing of it stays.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{Host, Hosts, RedisServer, Seat, run, until};

use crate::SOON;

/// A server on each host, so that each can be asked.
struct Asked {
    host: Host,
    name: &'static str,
    server: RedisServer,
}

impl Asked {
    fn new(name: &'static str, host: Host) -> Self {
        Self { server: RedisServer::at(Seat::on(host.clone()), ""), host, name }
    }

    /// Whether an answer comes from another one, which it asks by name, within three seconds; and how soon.
    fn hears(&self, other: &Self, command: &[&str]) -> Option<Duration> {
        let begun = Instant::now();
        let mut ask = self.host.command("timeout");
        ask.args(["3", "redis-cli", "-h", other.name, "-p", &other.server.port().to_string()]);
        run(ask.args(command)).status.success().then(|| begun.elapsed())
    }
}

#[test]
fn what_is_to_be_lost_is_lost_and_nothing_else_and_what_is_to_be_late_is_late() {
    let network = Hosts::new();
    let [one, other, third] = ["one", "other", "third"].map(|name| Asked::new(name, network.host(name)));
    let far = Asked::new("far", network.distant("far", Duration::from_millis(50)));
    let all = [&one, &other, &third, &far];
    let hears = |one: &Asked, other: &Asked| one.hears(other, &["PING"]).is_some();
    let all_hear = || all.iter().all(|one| all.iter().all(|other| hears(one, other)));
    assert!(all_hear());
    // A connection takes two ways there and back: to be made, and for the answer.
    assert!(one.hears(&far, &["PING"]).unwrap() >= Duration::from_millis(200));
    // In one direction: no answer comes either way, as both directions are needed, and the test sees all the same.
    network.lose(&[&one.host], &[&other.host]);
    assert_eq!(other.server.cli(["PING"]), "PONG");
    assert!(!hears(&one, &other) && !hears(&other, &one) && hears(&one, &third) && hears(&third, &other));
    network.heal();
    assert!(all_hear());
    network.cut_off(&[&one.host, &other.host]);
    assert!(hears(&one, &other) && hears(&third, &far) && !hears(&one, &third) && !hears(&far, &other));
    network.heal();
    network.part(&[&one.host], &[&far.host]);
    assert!(!hears(&one, &far) && !hears(&far, &one) && hears(&other, &far));
    network.heal();
    // 300 kB at 1 Mbit/s take more than two seconds.
    third.server.cli(["SETRANGE", "long", "299999", "x"]);
    third.host.limit_rate("1mbit");
    assert!(one.hears(&third, &["GET", "long"]).unwrap() >= Duration::from_secs(2));
}

#[test]
fn nothing_stays_of_a_network_and_what_a_killed_run_left_is_removed() {
    let names = |of: &str| {
        let entries = ["/run/netns", "/etc/netns"].into_iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() == of)).count()
    };
    // No process has this number: it is above the greatest that Linux gives.
    let left = format!("ostia-test-{}-1-0", (1 << 22) + 1 + std::process::id());
    let kept = Hosts::keep_what_was_left();
    assert!(run(Command::new("ip").args(["netns", "add", &left])).status.success());
    let mut sleeper = Command::new("ip").args(["netns", "exec", &left, "sleep", "300"]).spawn().unwrap();
    until("it sleeps there", SOON, || {
        let pids = run(Command::new("ip").args(["netns", "pids", &left])).text;
        pids.lines().any(|pid| pid == sleeper.id().to_string()).then_some(())
    });
    drop(kept);
    let network = Hosts::new();
    assert!(!Path::new("/run/netns").join(&left).exists());
    assert!(!sleeper.wait().unwrap().success(), "it was killed");
    let host = network.host("host");
    let name = host.prefix().last().unwrap().clone();
    assert_eq!(names(&name), 2);
    let panicked = std::thread::spawn(move || {
        let _host = host;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert_eq!(names(&name), 0);
}
