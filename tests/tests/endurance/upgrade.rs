//! Everything is restarted and replaced in order, under load.

use std::{process::Command, time::Instant};

use ostia_tests::{programs, run};

use crate::{
    SOON,
    figures::Event,
    installation::{Installation, Wanted},
};

/// As an operator does it: writers and replicas from a copy of their program that is replaced before each restart, replicas
/// drained before; servers of Redis one after the other, the master after a fail-over by hand; HAProxy by a reload.
#[test]
fn everything_is_upgraded_in_turn_under_load_and_no_request_fails() {
    let mut installation = Installation::start(&Wanted::from_environment());
    let mut events = Vec::new();
    let mut step = |installation: &mut Installation, what: &str, work: &mut dyn FnMut(&mut Installation)| {
        let begun = Instant::now();
        work(installation);
        let ended = Instant::now();
        installation.note_processes();
        installation.settle();
        let gap = installation.pushes.longest_gap(begun, ended);
        events.push(Event { what: what.to_owned(), out: None, back: Some(ended - begun), gap });
    };
    for build in 1..=2 {
        for replica in 0..3 {
            step(&mut installation, &format!("replica {replica} drained, build {build}"), &mut |installation| {
                installation.upgrade_replica(replica, build);
            });
        }
        // Who stands by first, so that who leads hands over to the new one.
        step(&mut installation, &format!("standby, build {build}"), &mut |installation| {
            let standby = 1 - installation.behind.cluster.until_led(SOON);
            installation.upgrade_writer(standby, build);
        });
        step(&mut installation, &format!("leader, build {build}"), &mut |installation| {
            let leader = installation.behind.cluster.until_led(SOON);
            installation.upgrade_writer(leader, build);
        });
    }
    step(&mut installation, "followers of Redis, one after the other", &mut |installation| {
        let (master, _) = installation.master();
        [1, 2].iter().for_each(|next| installation.restart_server((master + next) % 3));
    });
    step(&mut installation, "the master of Redis", &mut |installation| {
        let (master, port) = installation.master();
        let sentinels = installation.behind.cluster.sentinels.as_ref().expect("Sentinels");
        assert_eq!(sentinels.all[0].cli(["SENTINEL", "FAILOVER", "feed"]), "OK");
        let named = || (sentinels.named() != port).then_some(());
        installation.behind.cluster.until("another master is named", SOON, named);
        installation.until_follows(master);
        installation.restart_server(master);
    });
    step(&mut installation, "Sentinels, one after the other", &mut |installation| {
        let sentinels = installation.behind.cluster.sentinels.as_mut().expect("Sentinels");
        for sentinel in &mut sentinels.all {
            sentinel.end();
            sentinel.restart();
        }
    });
    step(&mut installation, "HAProxy reloaded", &mut |installation| installation.behind.as_haproxy().reload());
    let (_behind, mut figures) = installation.end();
    figures.events = events;
    figures.expect(0);
}

impl Installation {
    fn upgrade_replica(&mut self, number: usize, build: u32) {
        self.watch.excuse(number);
        self.drain(number, &[]);
        self.behind.until_in_rotation(number, false, SOON);
        let replica = &mut self.behind.cluster.replicas[number];
        replica.install(build);
        replica.restart_with(|text| text);
        self.behind.cluster.until("it has everything again", SOON, || {
            let (_, told) = self.behind.cluster.replicas[number].readiness_text("?fresh=1")?;
            told.starts_with("not ready: drained").then_some(())
        });
        self.drain(number, &["--end"]);
        self.behind.until_in_rotation(number, true, SOON);
    }

    fn drain(&self, number: usize, arguments: &[&str]) {
        let mut command = Command::new(&programs().responder);
        command.args(["drain", "--config"]).arg(self.behind.cluster.replicas[number].site().config()).args(arguments);
        let ended = run(&mut command);
        assert!(ended.status.success(), "{}", ended.text);
    }

    fn upgrade_writer(&mut self, number: usize, build: u32) {
        let writer = &mut self.behind.cluster.writers[number];
        writer.install(build);
        writer.restart_with(|text| text);
        // Whichever of them is there first leads.
        let leader = self.behind.cluster.until_led(SOON);
        self.until_stands_by(1 - leader);
    }

    fn restart_server(&mut self, number: usize) {
        self.server(number).end();
        self.server(number).restart();
        self.until_follows(number);
    }
}
