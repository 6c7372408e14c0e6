//! The feed: what the file says of it, and what it names.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{
    Outcome::{Passes, Refused},
    Row,
};
use ostia_tests::{Site, openssl};

/// Puts `[feed]` before everything else, with what has to be in it and these lines; and makes a writer's pair of keys.
fn with_feed(site: &Site, lines: &str) {
    openssl(site.dir(), ["genpkey", "-algorithm", "ed25519", "-out", "w.key"]);
    openssl(site.dir(), ["pkey", "-in", "w.key", "-pubout", "-out", "w.pub"]);
    let given = |key: &str| lines.lines().any(|line| line.starts_with(&format!("{key} = ")));
    let needed = [("cluster", "\"a\""), ("redis", "\"127.0.0.1:1\""), ("trusted", "\"w.pub\""), ("key", "\"w.key\"")];
    let rest = needed.iter().filter(|(key, _)| !given(key)).map(|(key, value)| format!("{key} = {value}\n"));
    let rest: String = rest.collect();
    site.edit_config(|text| text.replacen("[http]", &format!("[feed]\n{rest}{lines}\n[http]"), 1));
}

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "Redis that is not there",
        spoil: |_, site| with_feed(site, ""),
        outcome: Passes,
        told: &["ostia.toml: feed.redis: Redis at 127.0.0.1:1 cannot be reached", "a start goes on and tries again"],
        never: &["snapshot_from", "no writer is at work"],
    },
    Row {
        what: "a password in the URL of Redis",
        spoil: |_, site| with_feed(site, "redis = \"redis://:hunter2@127.0.0.1:1\""),
        outcome: Refused,
        told: &["ostia.toml:8: feed.redis: may hold a password, and is not shown", "`password_file`"],
        never: &["hunter2"],
    },
    Row {
        what: "a password in place of its file",
        spoil: |_, site| with_feed(site, "password_file = \"hunter2\""),
        outcome: Refused,
        told: &["feed.password_file: names no file beside the configuration", "is not shown"],
        never: &["hunter2"],
    },
    Row {
        what: "a password that others may read",
        spoil: |_, site| {
            with_feed(site, "password_file = \"redis.password\"");
            let path = site.dir().join("redis.password");
            fs::write(&path, "hunter2").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened to all");
        },
        outcome: Refused,
        told: &["feed.password_file: ", "mode 0644, which lets others use it; run: chmod 600 "],
        never: &["hunter2"],
    },
    Row {
        what: "a private key to be trusted",
        spoil: |_, site| with_feed(site, "trusted = [\"w.key\"]"),
        outcome: Refused,
        told: &["feed.trusted: ", "w.key: holds a private key", "openssl pkey -in ", " -pubout -out "],
        never: &["PRIVATE KEY", "feed.key:"],
    },
    Row {
        what: "a key of another kind to be trusted",
        spoil: |ca, site| {
            let key = ca.key().display().to_string();
            openssl(site.dir(), ["pkey", "-in", &key, "-pubout", "-out", "ca.pub"]);
            with_feed(site, "trusted = [\"w.pub\", \"ca.pub\"]");
        },
        outcome: Refused,
        told: &["feed.trusted: ", "ca.pub: holds a public key that is not Ed25519", "`ostia-precompute keys feed`"],
        never: &[],
    },
    Row {
        what: "a public key that everybody may write",
        spoil: |_, site| {
            with_feed(site, "");
            fs::set_permissions(site.dir().join("w.pub"), fs::Permissions::from_mode(0o666)).expect("opened to all");
        },
        outcome: Passes,
        told: &["feed.trusted: is ", "mode 0666", "chmod o-w"],
        never: &[],
    },
    Row {
        what: "snapshots over something else than HTTP",
        spoil: |_, site| with_feed(site, "snapshot_from = [\"ftp://writer.example:8081\"]"),
        outcome: Refused,
        told: &["feed.snapshot_from: ", "does not begin with `http://` or `https://`"],
        never: &[],
    },
    Row {
        what: "snapshots on the port for relying parties",
        spoil: |_, site| with_feed(site, &format!("snapshot_listen = \"{}\"", site.http)),
        outcome: Refused,
        told: &["feed: listens on ", "of `http`; give it a port of its own"],
        never: &[],
    },
    Row {
        what: "snapshots on the port for operators",
        spoil: |_, site| with_feed(site, &format!("snapshot_listen = \"{}\"", site.admin)),
        outcome: Refused,
        told: &["feed.snapshot_listen: is ", "of `admin.listen`; give it a port of its own"],
        never: &["feed: listens on"],
    },
];
