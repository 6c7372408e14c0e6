//! What 0.1.0 has written is read: its book, its backup, its feed and its configuration.
//!
//! The files in `fixtures/0.1.0` were made by that version, and stay as they are.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use ostia_tests::{Ended, RedisServer, Responder, Site, bash, programs, run, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A site with the files of 0.1.0, and the configuration for them.
fn site(config: &str) -> Site {
    let site = Site::new(&[]);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/0.1.0");
    bash(site.dir(), &format!("cp -r {}/. . && gzip -d state/book.redb.gz", fixtures.display()));
    for secret in ["ocsp.key", "tsa.key", "api.token"] {
        fs::set_permissions(site.dir().join(secret), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let (http, admin) = (site.http, site.admin);
    site.edit_config(|_| {
        format!(
            "version = 1\nstate_dir = \"state\"\n[http]\nlisten = [\"{http}\"]\n[admin]\nlisten = \"{admin}\"\ntoken_file = \"api.token\"\n{config}"
        )
    });
    site
}

const ISSUER: &str = "[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { certificate = \"ocsp.pem\", key = \"ocsp.key\" }\n";

/// What openssl is answered about a serial number.
fn answer(dir: &Path, http: SocketAddr, serial: &str) -> String {
    let mut ask = Command::new("openssl");
    ask.args(["ocsp", "-issuer", "ca.pem", "-CAfile", "ca.pem", "-no_nonce", "-serial", &format!("0x{serial}")]);
    run(ask.args(["-url", &format!("http://{http}/")]).current_dir(dir)).text
}

#[track_caller]
fn answers(responder: &Responder, serial: &str, words: &[&str]) {
    let mut last = String::new();
    until("the answer", PATIENCE, || {
        last = answer(responder.site.dir(), responder.http(), serial);
        words.iter().chain(&["Response verify OK"]).all(|word| last.contains(word)).then_some(())
    });
}

/// What the book of 0.1.0 has: of the index, and of pushes.
const RECORDS: [(&str, &[&str]); 6] = [
    ("1001", &["good"]),
    ("1002", &["revoked", "keyCompromise"]),
    ("1003", &["certificateHold"]),
    ("2001", &["good"]),
    ("2002", &["revoked", "superseded"]),
    ("2003", &["certificateHold"]),
];

#[track_caller]
fn has_all(shown: &Ended) {
    for (serial, words) in RECORDS {
        let line = shown.text.lines().find(|line| line.starts_with(serial));
        let line = line.unwrap_or_else(|| panic!("no {serial} in {shown:?}"));
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn the_book_of_0_1_0_is_read_without_loss_and_pushes_of_then_are_answered() {
    let site = site(ISSUER);
    let serials = RECORDS.map(|(serial, _)| serial);
    has_all(&site.precompute("show", &serials));
    let responder = site.start();
    answers(&responder, "1001", &[": good"]);
    answers(&responder, "2002", &[": revoked", "superseded"]);
    answers(&responder, "2001", &[": good"]);
    let asked = responder.site.precompute("status", &serials);
    has_all(&asked);
}

#[test]
fn a_backup_of_0_1_0_is_taken_back_into_an_empty_directory() {
    let site = site(ISSUER);
    fs::remove_dir_all(site.dir().join("state")).unwrap();
    let backup = site.dir().join("book.backup");
    let restored = site.precompute("restore", &["--from", backup.to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    has_all(&site.precompute("show", &RECORDS.map(|(serial, _)| serial)));
}

/// A replica of this version follows a stream that a writer of 0.1.0 has written, from its snapshot on.
#[test]
fn the_feed_and_the_snapshot_of_0_1_0_are_read() {
    let redis = RedisServer::start();
    let issuer = ISSUER.replace("index = \"index.txt\"\n", "");
    let feed = format!(
        "[feed]\ncluster = \"of-0-1-0\"\nredis = \"127.0.0.1:{}\"\ntrusted = [\"writer.key.pub\"]\n",
        redis.port()
    );
    let site = site(&format!("{feed}{issuer}"));
    // The fixture gets older and older.
    site.edit_config(|text| text.replacen("state_dir", "stale_after = \"3650d\"\nstate_dir", 1));
    fs::remove_file(site.dir().join("state/book.redb")).unwrap();
    fs::remove_file(site.dir().join("state/book.redb.version")).unwrap();
    bash(site.dir(), &format!("redis-cli -p {} --pipe < feed.resp", redis.port()));
    let responder = site.start();
    answers(&responder, "1001", &[": good"]);
    answers(&responder, "1002", &[": revoked", "keyCompromise"]);
    // It was told after the snapshot.
    answers(&responder, "3001", &[": revoked", "keyCompromise"]);
    assert!(responder.metric("ostia_feed_reconciliations_total", "") >= 1.0);
    assert_eq!(responder.metric("ostia_feed_entries_refused_total", ""), 0.0);
    assert_eq!(responder.metric("ostia_feed_entries_later_total", ""), 0.0);
}

#[test]
fn a_configuration_of_0_1_0_is_in_order() {
    let site = site(ISSUER);
    for program in [&programs().responder, &programs().precompute] {
        let checked = run(Command::new(program).args(["check", "all.toml"]).current_dir(site.dir()));
        assert!(checked.status.success(), "{checked:?}");
    }
}
