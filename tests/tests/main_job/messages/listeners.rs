//! Addresses and sockets.

use ostia_tests::Site;

use super::{
    Outcome::{Passes, Refused},
    Row,
};

/// Listens on something else.
fn listen(site: &Site, text: &str) {
    let http = format!("\"{}\"", site.http);
    site.edit_config(|config| config.replacen(&http, text, 1));
}

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "a host name for an address",
        spoil: |_, site| listen(site, "\"ocsp.example:8080\""),
        outcome: Refused,
        told: &["ostia.toml:", "http.listen", "`ocsp.example:8080`", "host name: those are not looked up", "`[::]:80`"],
        never: &["no port"],
    },
    Row {
        what: "no port",
        spoil: |_, site| listen(site, "\"127.0.0.1\""),
        outcome: Refused,
        told: &["ostia.toml:", "http.listen", "`127.0.0.1`, which has no port", "`127.0.0.1:8080`"],
        never: &["host name"],
    },
    Row {
        what: "IPv6 without brackets",
        spoil: |_, site| listen(site, "\"::1:8080\""),
        outcome: Refused,
        told: &["http.listen", "`::1:8080`", "no brackets around the address", "`[::]:80`"],
        never: &["host name"],
    },
    Row {
        what: "a port alone, as in a socket unit",
        spoil: |_, site| listen(site, "\":8080\""),
        outcome: Refused,
        told: &["http.listen", "`:8080`, which has no address", "`[::]:80`"],
        never: &["host name"],
    },
    Row {
        what: "a URL",
        spoil: |_, site| listen(site, "\"http://127.0.0.1:8080\""),
        outcome: Refused,
        told: &["http.listen", "`http://127.0.0.1:8080`, which is a URL", "`127.0.0.1:8080`"],
        never: &["host name"],
    },
    Row {
        what: "an address twice",
        spoil: |_, site| {
            let http = site.http;
            listen(site, &format!("\"{http}\", \"0.0.0.0:{}\"", http.port()));
        },
        outcome: Refused,
        told: &["ostia.toml:", "http", "listens on 0.0.0.0:", "is taken by 127.", "give it a port of its own"],
        never: &[],
    },
    Row {
        what: "an address of another machine",
        spoil: |_, site| listen(site, "\"192.0.2.1:8080\""),
        outcome: Passes,
        told: &[
            "WARN",
            "ostia.toml: http.listen: cannot listen on 192.0.2.1:8080",
            "no interface of this machine",
            "ip addr",
        ],
        never: &[],
    },
    Row {
        what: "sockets of systemd, which a check cannot see",
        spoil: |_, site| listen(site, "\"systemd\""),
        outcome: Passes,
        told: &["WARN", "ostia.toml: http.listen: says `systemd`", "systemctl enable --now ostia-responder.socket"],
        never: &["ERROR"],
    },
];
