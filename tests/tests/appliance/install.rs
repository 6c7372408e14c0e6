//! A stranger installs the package, edits two lines, and asks with openssl.

use serde_json::Value;

use crate::site::{CONFIG, Installed, is_there};

const RESPONDER: &str = "ostia-responder.service";

/// The entries of the journal of a unit.
fn entries(site: &Installed, unit: &str) -> Vec<Value> {
    let text = site.machine.sh(&format!("journalctl --sync; journalctl --no-pager --quiet --output=json -u {unit}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The priority and text of those that the programs themselves have written.
fn said(site: &Installed, unit: &str) -> Vec<(String, String)> {
    let of = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = entries(site, unit).into_iter().filter(|entry| of(entry, "SYSLOG_IDENTIFIER").starts_with("ostia"));
    entries.map(|entry| (of(&entry, "PRIORITY"), of(&entry, "MESSAGE"))).collect()
}

#[test]
fn on_a_bare_debian_it_answers_after_two_lines() {
    let site = Installed::bare();
    let machine = &site.machine;
    // Nothing runs, nothing has failed, and nothing would come up by itself.
    assert_eq!(machine.sh("systemctl --failed --quiet --no-legend"), "");
    for unit in
        ["ostia-responder.service", "ostia-precompute.service", "ostia-responder.socket", "ostia-snapshot.timer"]
    {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(machine.property(unit, "UnitFileState"), "disabled", "{unit}");
        assert_eq!(machine.property(unit, "UnitFilePreset"), "disabled", "{unit}");
    }
    assert_eq!(machine.sh("stat -c '%A %U:%G' /etc/ostia/keys").trim(), "drwxr-s--- root:ostia");
    let user = machine.sh("getent passwd ostia");
    assert!(user.contains("/usr/sbin/nologin"), "{user}");

    // Started too early it says which lines are missing, once.
    assert!(!machine.try_sh("systemctl start ostia-responder").status.success());
    assert_eq!(machine.property(RESPONDER, "ExecMainStatus"), "78");
    assert_eq!(machine.property(RESPONDER, "NRestarts"), "0");
    let errors = said(&site, RESPONDER);
    for wanted in ["certificate", "index"] {
        let is_told =
            |(priority, text): &(String, String)| priority == "3" && text.contains(CONFIG) && text.contains(wanted);
        assert!(errors.iter().any(is_told), "{wanted}: {errors:?}");
    }
    machine.sh("systemctl reset-failed");

    site.configure();
    let checked = machine.sh(&format!("runuser -u ostia -- ostia-responder check --strict --config {CONFIG}"));
    assert!(checked.contains("everything is in order"), "{checked}");
    // It is READY when this returns.
    machine.sh("systemctl enable --now ostia-responder");
    assert_eq!(site.ask(), "good");
    site.ca.revoke(&site.leaf, &["-crl_reason", "superseded"]);
    site.publish_index();
    site.until_said("revoked");
    assert!(is_there(machine, "/var/lib/ostia/book.redb"));

    // Or the user is put into the group that may read what the CA keeps, which counts although it sees that group as nobody.
    machine.sh("groupadd ca && chgrp -R ca /srv/ca && usermod -aG ca ostia && systemctl restart ostia-responder");
    assert_eq!(site.ask(), "revoked");

    // What it says is text, without times of its own, and each level is the journal's.
    let lines = said(&site, RESPONDER);
    let ready = lines.iter().find(|(_, text)| text.starts_with("ready (")).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(ready.0, "6");
    assert!(lines.iter().all(|(_, text)| !text.starts_with(['{', '<', '\u{1b}'])), "{lines:?}");

    let exposure = machine.sh("systemd-analyze security --no-pager ostia-responder.service | tail -1");
    let points: f64 = exposure.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(points <= 1.5, "{exposure}");
}

#[test]
fn a_credential_is_the_same_key_for_the_service_and_by_hand() {
    let site = Installed::configured();
    let machine = &site.machine;
    // Nobody but root may read it, so that the service has it as a credential alone.
    machine.sh("chmod 600 /etc/ostia/keys/ocsp.key && chown root:root /etc/ostia/keys/ocsp.key");
    assert!(!machine.try_sh("systemctl start ostia-responder").status.success());
    let lines = said(&site, RESPONDER);
    let remedy = |(_, text): &(String, String)| text.contains("/etc/ostia/keys/ocsp.key") && text.contains("chmod 640");
    assert!(lines.iter().any(remedy), "{lines:?}");

    let credentials = "[Service]\nLoadCredential=ocsp.key:/etc/ostia/keys/ocsp.key\n";
    site.drop_in(RESPONDER, credentials);
    machine.sh("systemctl start ostia-responder");
    assert_eq!(site.ask(), "good");
    machine.sh(&format!("ostia-responder check --strict --config {CONFIG}"));
    machine.sh("systemctl reload ostia-responder");

    // And the other service, which takes over state and all.
    machine.sh("systemctl stop ostia-responder");
    site.drop_in("ostia-precompute.service", credentials);
    machine.sh("systemctl start ostia-precompute && systemctl reload ostia-precompute");
    machine.sh(&format!("ostia-precompute check --strict --config {CONFIG}"));
}

#[test]
fn a_backup_is_made_each_night_once_somebody_wants_it() {
    let site = Installed::configured();
    let machine = &site.machine;
    machine.sh("(umask 027; openssl rand -hex 32 > /etc/ostia/keys/api.token)");
    site.edit_config(|text| text.replace("# token_file", "token_file"));
    machine.sh("systemctl start ostia-responder && systemctl enable --now ostia-snapshot.timer");
    for state in ["running", "stopped"] {
        machine.sh("rm -f /var/backups/ostia/ostia.backup && systemctl start ostia-snapshot.service");
        let restored = machine.sh(&format!(
            "systemctl stop ostia-responder && runuser -u ostia -- ostia-precompute restore --dry-run --config {CONFIG} \
             --from /var/backups/ostia/ostia.backup"
        ));
        assert!(!restored.is_empty(), "{state}");
    }
}
