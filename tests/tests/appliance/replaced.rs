//! The package is replaced by a newer one, removed, and purged.

use crate::{
    machine::package,
    site::{CONFIG, Installed, is_there},
};

const RESPONDER: &str = "ostia-responder.service";

#[test]
fn an_upgrade_keeps_what_is_there_and_a_purge_leaves_what_is_not_its_own() {
    let site = Installed::started();
    let machine = &site.machine;
    machine.sh("systemctl enable ostia-responder");
    site.edit_config(|text| text + "\n# mine\n");
    let (pid, server) = (site.main_pid(RESPONDER), machine.sh("cat /var/lib/ostia/server_id"));

    machine.put(&package("0.1.0-2"), "/root/newer.deb");
    machine.sh("dpkg --install /root/newer.deb");
    assert_ne!(site.main_pid(RESPONDER), pid, "the new program runs");
    assert_eq!(site.ask(), "good");
    assert_eq!(machine.sh("cat /var/lib/ostia/server_id"), server);
    assert!(machine.sh(&format!("tail -1 {CONFIG}")).contains("# mine"));
    assert_eq!(
        machine.property("ostia-precompute.service", "ActiveState"),
        "inactive",
        "what did not run is not started"
    );
    assert_eq!(machine.property(RESPONDER, "UnitFileState"), "enabled");

    machine.sh("dpkg --remove ostia");
    assert_eq!(machine.property(RESPONDER, "ActiveState"), "inactive");
    assert!(!is_there(machine, "/usr/bin/ostia-responder"));
    for kept in [CONFIG, "/etc/ostia/keys/ocsp.key", "/var/lib/ostia/book.redb"] {
        assert!(is_there(machine, kept), "{kept}");
    }
    // It comes back as it was.
    machine.sh("dpkg --install /root/newer.deb");
    assert_eq!(site.ask(), "good");
    assert_eq!(machine.property("ostia-precompute.service", "ActiveState"), "inactive");
    assert_eq!(machine.property(RESPONDER, "UnitFileState"), "enabled");

    let purged = machine.sh("dpkg --purge ostia");
    assert!(purged.contains("/var/lib/ostia is removed with its book"), "{purged}");
    assert!(purged.contains("/etc/ostia stays"), "{purged}");
    for gone in
        ["/usr/bin/ostia-responder", CONFIG, "/var/lib/ostia", "/usr/share/doc/ostia", "/usr/lib/sysusers.d/ostia.conf"]
    {
        assert!(!is_there(machine, gone), "{gone}");
    }
    assert!(is_there(machine, "/etc/ostia/keys/ocsp.key"), "the key is not the package's");
    assert_eq!(machine.sh("find /etc/systemd /var/lib/systemd -name '*ostia*'"), "");
    assert!(machine.sh("getent passwd ostia").contains("nologin"), "files of its may be anywhere");
    assert_eq!(machine.sh("systemctl --failed --quiet --no-legend"), "");
}

#[test]
fn an_upgrade_ends_although_the_service_does_not_come_up_and_says_so() {
    let site = Installed::started();
    let machine = &site.machine;
    site.edit_config(|text| text.replace("index = ", "indx = "));
    machine.put(&package("0.1.0-2"), "/root/newer.deb");
    let told = machine.sh("dpkg --install /root/newer.deb");
    assert!(told.contains("ostia-responder.service"), "{told}");
    assert_eq!(machine.property(RESPONDER, "ActiveState"), "failed");
    assert_eq!(machine.sh("dpkg-query --show --showformat='${Status}' ostia"), "install ok installed");
}

#[test]
fn what_ran_under_another_user_each_time_is_taken_over_with_its_state() {
    let site = Installed::configured();
    let machine = &site.machine;
    // As units from before the package had it.
    site.drop_in(
        RESPONDER,
        "[Service]\nDynamicUser=yes\nUser=ostia-former\nGroup=ostia-former\nSupplementaryGroups=ostia\n",
    );
    machine.sh("systemctl start ostia-responder");
    let server = machine.sh("cat /var/lib/ostia/server_id");
    assert!(is_there(machine, "/var/lib/private/ostia/book.redb"));
    machine.sh("systemctl stop ostia-responder && rm -r /etc/systemd/system/ostia-responder.service.d && systemctl daemon-reload");
    machine.sh("systemctl start ostia-responder");
    assert_eq!(
        machine.sh("stat -c '%F %U' /var/lib/ostia /var/lib/ostia/book.redb"),
        "directory ostia\nregular file ostia\n"
    );
    assert_eq!(machine.sh("cat /var/lib/ostia/server_id"), server);
    assert_eq!(site.ask(), "good");
}
