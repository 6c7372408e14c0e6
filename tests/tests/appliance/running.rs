//! What goes wrong while it runs under systemd: refused files, processes that are killed or hang, restarts.

use crate::site::Installed;

const RESPONDER: &str = "ostia-responder.service";
const BOTH: [&str; 2] = ["ostia-precompute", "ostia-responder"];

#[test]
fn a_refused_file_fails_the_reload_says_why_and_changes_nothing() {
    let site = Installed::configured();
    let machine = &site.machine;
    for unit in BOTH {
        machine.sh(&format!("systemctl stop 'ostia-*' && systemctl start {unit}"));
        let pid = site.main_pid(unit);
        let good = std::fs::read_to_string(machine.file("/etc/ostia/ostia.toml")).unwrap();
        for (wrong, why) in [
            (good.replace("index = \"/srv/ca/index.txt\"", "indx = \"/srv/ca/index.txt\""), "indx"),
            (good.replace("key = \"ocsp.key\"", "key = \"another.key\""), "another.key"),
            // Not even its state directory can be read from it.
            (format!("{good}\n[http"), "ostia.toml"),
        ] {
            site.edit_config(|_| wrong);
            let since = machine.sh("date +%s.%N");
            let reload = machine.try_sh(&format!("systemctl reload {unit}"));
            assert!(!reload.status.success(), "{unit} {why}: {}", machine.journal());
            let told = machine.sh(&format!("journalctl --no-pager --output=cat --since=@{} -u {unit}", since.trim()));
            assert!(told.contains(why), "{unit} {why}: {told}");
            assert_eq!(machine.property(unit, "ActiveState"), "active");
            assert!(unit == "ostia-precompute" || site.ask() == "good");
            let ready = machine.sh("exec 3<>/dev/tcp/127.0.0.1/9090; printf 'GET /readyz/ocsp HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; cat <&3");
            assert!(ready.contains(why), "{unit} {why}: {ready}");
        }
        site.edit_config(|_| good);
        machine.sh(&format!("systemctl reload {unit}"));
        assert_eq!(site.main_pid(unit), pid, "it is the same process all the time");
    }
    // By hand it is the same, for the user of the service and root alone.
    machine.sh("ostia-responder reload --config /etc/ostia/ostia.toml");
    machine.sh("runuser -u ostia -- ostia-responder reload --config /etc/ostia/ostia.toml");
    machine.sh("systemctl stop ostia-responder");
    let nobody = machine.try_sh("ostia-responder reload --config /etc/ostia/ostia.toml");
    assert!(!nobody.status.success() && nobody.text.contains("no service is there"), "{nobody:?}");
}

#[test]
fn a_process_that_hangs_or_is_killed_is_started_again_and_one_that_ends_takes_its_time() {
    let site = Installed::configured();
    let machine = &site.machine;
    for unit in BOTH {
        machine.sh("systemctl stop 'ostia-*'");
        machine.sh(&format!("systemctl cat {unit} | grep -qx WatchdogSec=30s"));
        // Long enough for a busy machine, and short enough for this test.
        site.drop_in(&format!("{unit}.service"), "[Service]\nWatchdogSec=6s\nRestartSec=100ms\n");
        machine.sh(&format!("systemctl start {unit}"));
        for (number, signal) in ["STOP", "KILL"].iter().enumerate() {
            machine.sh(&format!("kill -{signal} {}", site.main_pid(unit)));
            machine.until(&format!("test $(systemctl show -P NRestarts {unit}) = {}", number + 1));
            machine.until(&format!("systemctl is-active --quiet {unit}"));
        }
        let told = machine.sh(&format!("journalctl --no-pager --output=cat -u {unit}"));
        assert!(told.contains("Watchdog timeout"), "{told}");
    }
    site.until_said("good");
    // A process that began without a watchdog is not killed for one that its unit gets.
    site.drop_in(RESPONDER, "[Service]\nWatchdogSec=0\n");
    machine.sh("systemctl restart ostia-responder");
    let pid = site.main_pid(RESPONDER);
    site.drop_in(RESPONDER, "[Service]\nWatchdogSec=6s\n");
    machine.sh("sleep 8");
    assert_eq!(site.main_pid(RESPONDER), pid, "{}", machine.journal());
    // Left in peace it is not killed, and not while it lets connections end for longer than that.
    site.edit_config(|text| text.replace("[http]\n", "[http]\ndrain_delay = \"14s\"\n"));
    machine.sh("systemctl restart ostia-responder");
    let pid = site.main_pid(RESPONDER);
    machine.sh("sleep 14");
    assert_eq!(site.main_pid(RESPONDER), pid);
    machine.sh("systemctl stop ostia-responder");
    assert_eq!(machine.property(RESPONDER, "Result"), "success");
}

#[test]
fn with_sockets_of_systemd_no_connection_is_refused_while_it_restarts() {
    let site = Installed::configured();
    let machine = &site.machine;
    site.edit_config(|text| text.replace("\"0.0.0.0:8080\"", "\"systemd\""));
    machine.sh("systemctl enable --now ostia-responder.socket");
    assert_eq!(machine.property(RESPONDER, "ActiveState"), "inactive");
    // The first connection starts it.
    assert_eq!(site.ask_at("127.0.0.1:80"), "good");
    assert_eq!(site.ask_at("[::1]:80"), "good");
    let pid = site.main_pid(RESPONDER);
    let ask = "openssl ocsp -issuer /etc/ostia/ca.pem -CAfile /etc/ostia/ca.pem -cert /root/leaf.pem -no_nonce \
               -url http://127.0.0.1:80/ 2>&1";
    let asked = machine.sh(&format!(
        "(for n in 1 2 3; do systemctl restart ostia-responder; done; touch /tmp/done) & n=0; \
         until test -e /tmp/done; do said=$({ask}); n=$((n + 1)); grep -q '/root/leaf.pem: good' <<<$said || echo \"$said\"; done; \
         wait; echo $n"
    ));
    let questions: u32 = asked.trim().parse().unwrap_or_else(|_| panic!("{asked}"));
    assert!(questions >= 3 && site.main_pid(RESPONDER) != pid, "{questions}");
    // What is killed takes along what it has accepted, and nobody who comes later is refused.
    machine.sh("kill -KILL $(systemctl show -P MainPID ostia-responder)");
    assert_eq!(site.ask_at("127.0.0.1:80"), "good");

    // Such a port without them takes what the documents say.
    machine.sh("systemctl disable --now ostia-responder.socket && systemctl stop ostia-responder");
    site.edit_config(|text| text.replace("\"systemd\"", "\"0.0.0.0:80\""));
    assert!(!machine.try_sh("systemctl start ostia-responder").status.success());
    machine.sh("systemctl stop ostia-responder");
    let capability = "CAP_NET_BIND_SERVICE";
    site.drop_in(
        RESPONDER,
        &format!("[Service]\nPrivateUsers=no\nAmbientCapabilities={capability}\nCapabilityBoundingSet={capability}\n"),
    );
    machine.sh("systemctl start ostia-responder");
    assert_eq!(site.ask_at("127.0.0.1:80"), "good");
}
