//! The configuration file.

use std::fs;

use super::{
    Outcome::{Passes, Refused},
    Row,
};
use ostia_tests::Site;

/// Puts a line into the first tenant.
fn of_tenant(site: &Site, line: &str) {
    site.edit_config(|text| text.replacen("[[tenant]]", &format!("[[tenant]]\n{line}"), 1));
}

/// Puts a line into the first issuer.
fn of_issuer(site: &Site, line: &str) {
    site.edit_config(|text| text.replacen("[[tenant.issuer]]", &format!("[[tenant.issuer]]\n{line}"), 1));
}

/// The line with the issuer's index becomes another.
fn instead_of_index(site: &Site, line: &str) {
    site.edit_config(|text| {
        let begin = text.find("index = ").expect("an index");
        let end = begin + text[begin..].find('\n').expect("a line");
        format!("{}{line}{}", &text[..begin], &text[end..])
    });
}

/// A principal of the admin listener, with these lines.
fn with_principal(site: &Site, lines: &str) {
    let hash = "0".repeat(64);
    site.edit_config(|text| format!("{text}\n[[admin.principal]]\ntoken_sha256 = \"{hash}\"\n{lines}\n"));
}

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "a role that there is not",
        spoil: |_, site| with_principal(site, "name = \"ann\"\nallow = [\"boss:tests\"]"),
        outcome: Refused,
        told: &[
            "ostia.toml:",
            "admin.principal",
            "allow: ",
            "the role `boss`; expected `viewer`, `auditor`, `operator`",
        ],
        never: &["0000"],
    },
    Row {
        what: "a right in a tenant that is not there",
        spoil: |_, site| with_principal(site, "name = \"ann\"\nallow = [\"viewer:test\"]"),
        outcome: Passes,
        told: &["ostia.toml:", "allow: names the tenant `test`, which is not in this file; did you mean `tests`?"],
        never: &["0000"],
    },
    Row {
        what: "the token of a principal in the place of its name",
        spoil: |_, site| {
            with_principal(site, &format!("name = \"{}\"\nallow = [\"viewer:*\"]", "5eC7e7".repeat(10)));
        },
        outcome: Refused,
        told: &[
            "ostia.toml:",
            "admin.principal",
            "name: may be a token itself, and is not shown",
            "such as \"deploy\"",
        ],
        never: &["5eC7e7", "0000"],
    },
    Row {
        what: "a validity that is too short",
        spoil: |_, site| of_tenant(site, "validity = \"1m\""),
        outcome: Refused,
        told: &["ostia.toml:", "tenant.validity", "`1m`", "from 2m to 30d", "such as `30m`, `12h` or `4d`"],
        never: &["`90s`"],
    },
    Row {
        what: "a length of time in words",
        spoil: |_, site| of_tenant(site, "validity = \"4 days\""),
        outcome: Refused,
        told: &["tenant.validity", "`4 days`", "write `validity = \"4d\"`"],
        never: &[],
    },
    Row {
        what: "a length of time without a unit",
        spoil: |_, site| of_tenant(site, "validity = 4"),
        outcome: Refused,
        told: &["tenant.validity", "is 4", "give it a unit, such as `validity = \"30m\"`"],
        never: &[],
    },
    Row {
        what: "a length of time without quotes",
        spoil: |_, site| of_tenant(site, "validity = 4d"),
        outcome: Refused,
        told: &["ostia.toml:11:", "`validity = \"4d\"`"],
        never: &[],
    },
    Row {
        what: "a path without quotes",
        spoil: |_, site| instead_of_index(site, "index = index.txt"),
        outcome: Refused,
        told: &["ostia.toml:17:", "text has to be in quotes: `index = \"index.txt\"`"],
        never: &["issuer.index: is missing"],
    },
    Row {
        what: "a size with a unit",
        spoil: |_, site| site.edit_config(|text| text.replacen("[http]", "[cache]\noctets = \"4GB\"\n[http]", 1)),
        outcome: Refused,
        told: &["cache.octets", "`4GB`", "write it without quotes and unit: `octets = 4000000000`"],
        never: &[],
    },
    Row {
        what: "a size with a unit and without quotes",
        spoil: |_, site| site.edit_config(|text| text.replacen("[http]", "[cache]\noctets = 4GiB\n[http]", 1)),
        outcome: Refused,
        told: &["ostia.toml:5:", "`octets = \"4GiB\"`"],
        never: &[],
    },
    Row {
        what: "a boolean as a string",
        spoil: |_, site| of_tenant(site, "surrogate_keys = \"true\""),
        outcome: Refused,
        told: &["tenant.surrogate_keys", "is `true`", "write it without quotes: `surrogate_keys = true`"],
        never: &[],
    },
    Row {
        what: "a boolean as others write it",
        spoil: |_, site| of_tenant(site, "surrogate_keys = True"),
        outcome: Refused,
        told: &["ostia.toml:11:", "write `surrogate_keys = true`"],
        never: &[],
    },
    Row {
        what: "a number as a string",
        spoil: |_, site| site.set_http("workers = \"2\""),
        outcome: Refused,
        told: &["http.workers", "is `2`", "write it without quotes and unit: `workers = 2`"],
        never: &[],
    },
    Row {
        what: "a string as a number",
        spoil: |_, site| of_tenant(site, "path = 5"),
        outcome: Refused,
        told: &["tenant.path", "is 5", "write it in quotes: `path = \"…\"`"],
        never: &[],
    },
    Row {
        what: "a key that is misspelt",
        spoil: |_, site| of_tenant(site, "validty = \"4d\""),
        outcome: Refused,
        told: &["ostia.toml:11:", "tenant.validty: is not a known key; did you mean `validity`?"],
        never: &[],
    },
    Row {
        what: "a tenant's key in another table",
        spoil: |_, site| site.set_http("validity = \"4d\""),
        outcome: Refused,
        told: &["http.validity: is not a known key here; it belongs under [[tenant]]", "move it there"],
        never: &[],
    },
    Row {
        what: "a key of the file behind a table",
        spoil: |_, site| {
            site.edit_config(|text| {
                text.replacen("state_dir = \"state\"\n", "", 1).replacen(
                    "[[tenant.issuer]]",
                    "[[tenant.issuer]]\nstate_dir = \"state\"",
                    1,
                )
            })
        },
        outcome: Refused,
        told: &[
            "tenant.issuer.state_dir: is not a known key here",
            "to the top of the file, before the first [table]: move it up",
        ],
        never: &[],
    },
    Row {
        what: "a CRL that is a table",
        spoil: |_, site| instead_of_index(site, "crl = { file = \"a.crl\" }"),
        outcome: Refused,
        told: &["tenant.issuer.crl", "is a table; expected a path, or a list of paths"],
        never: &["index: is missing"],
    },
    Row {
        what: "a number for an index",
        spoil: |_, site| instead_of_index(site, "index = 7"),
        outcome: Refused,
        told: &["tenant.issuer.index", "is 7; expected a path"],
        never: &["is missing"],
    },
    Row {
        what: "a key twice",
        spoil: |_, site| of_tenant(site, "validity = \"4d\"\nvalidity = \"5d\""),
        outcome: Refused,
        told: &["ostia.toml:12:", "`validity` stands in line 11 already; remove one of the two"],
        never: &[],
    },
    Row {
        what: "a table twice",
        spoil: |_, site| site.edit_config(|text| text + "\n[http]\nworkers = 1\n"),
        outcome: Refused,
        told: &["ostia.toml:23:", "the table `http` stands in line 4 already; put all its keys there"],
        never: &[],
    },
    Row {
        what: "one file for two journals",
        spoil: |_, site| {
            let both = "[journal]\npath = \"j\"\n[time_stamping]\nrecord = \"j\"\n[http]\n";
            site.edit_config(|text| text.replacen("[http]\n", both, 1));
        },
        outcome: Refused,
        told: &["journal: has the file of `time_stamping.record`", "give it one of its own"],
        never: &[],
    },
    Row {
        what: "one bracket for two",
        spoil: |_, site| site.edit_config(|text| text.replacen("[[tenant.issuer]]", "[tenant.issuer]", 1)),
        outcome: Refused,
        told: &["tenant.issuer: is a table", "write `[[tenant.issuer]]`"],
        never: &[],
    },
    Row {
        what: "two brackets for one",
        spoil: |_, site| site.edit_config(|text| text.replacen("[http]", "[[http]]", 1)),
        outcome: Refused,
        told: &["http: is an array", "write `[http]`"],
        never: &[],
    },
    Row {
        what: "a list that is not closed",
        spoil: |_, site| site.set_http("trusted_networks = [\"10.0.0.0/8\""),
        outcome: Refused,
        told: &["is not TOML", "the list that begins in line 6 lacks a comma", "the bracket at its end"],
        never: &["ostia.toml:9:"],
    },
    Row {
        what: "typographic quotes",
        spoil: |_, site| of_tenant(site, "path = “/a”"),
        outcome: Refused,
        told: &["ostia.toml:11:", "write straight ones: `path = \"…\"`"],
        never: &[],
    },
    Row {
        what: "a colon for an equals sign",
        spoil: |_, site| of_tenant(site, "validity: \"4d\""),
        outcome: Refused,
        told: &["ostia.toml:11:", "not by a colon: `validity = …`"],
        never: &[],
    },
    Row {
        what: "a backslash in double quotes",
        spoil: |_, site| of_tenant(site, "path = \"\\acme\""),
        outcome: Refused,
        told: &["ostia.toml:11:", "write `path = '…'` with single quotes"],
        never: &[],
    },
    Row {
        what: "a secret without quotes under a key that nobody knows",
        spoil: |_, site| of_issuer(site, "pin = hunter2"),
        outcome: Refused,
        told: &["ostia.toml:15:", "text has to be in quotes: `pin = \"…\"`"],
        never: &["hunter2"],
    },
    Row {
        what: "a key pasted into the file",
        spoil: |ca, site| {
            let key = fs::read_to_string(ca.key()).expect("a key");
            site.edit_config(|text| text.replacen("key = ", &format!("key = \"\"\"{key}\"\"\"\n#"), 1));
        },
        outcome: Refused,
        told: &["tenant.issuer.signer.key"],
        never: &["PRIVATE KEY", "MIGH"],
    },
    Row {
        what: "tabs, a byte order mark and the line ends of DOS",
        spoil: |_, site| {
            site.edit_config(|text| format!("\u{feff}{}", text.replace(" = ", "\t=\t").replace('\n', "\r\n")))
        },
        outcome: Passes,
        told: &["everything is in order"],
        never: &[],
    },
    Row {
        what: "UTF-16",
        spoil: |_, site| {
            let text = fs::read_to_string(site.config()).expect("a file");
            let octets: Vec<u8> =
                "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
            fs::write(site.config(), octets).expect("written");
        },
        outcome: Refused,
        told: &["ostia.toml: is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 "],
        never: &[],
    },
    Row {
        what: "Latin-1",
        spoil: |_, site| {
            let text = fs::read(site.config()).expect("a file");
            fs::write(site.config(), [b"# caf\xe9\n", &text[..]].concat()).expect("written");
        },
        outcome: Refused,
        told: &["ostia.toml: is not UTF-8 text: line 1 has the byte 0xe9; save it as UTF-8"],
        never: &[],
    },
    Row {
        what: "a file that is missing",
        spoil: |_, site| fs::remove_file(site.config()).expect("removed"),
        outcome: Refused,
        told: &["ostia.toml: does not exist; name the configuration file by `--config FILE`"],
        never: &[],
    },
    Row {
        what: "a directory for a file",
        spoil: |_, site| {
            fs::remove_file(site.config()).expect("removed");
            fs::create_dir(site.config()).expect("made");
        },
        outcome: Refused,
        told: &["ostia.toml: is a directory; name the file in it"],
        never: &[],
    },
    Row {
        what: "an empty file",
        spoil: |_, site| fs::write(site.config(), "\n").expect("written"),
        outcome: Refused,
        told: &["ostia.toml: is empty", "`version = 1`", "[[issuer]]"],
        never: &[],
    },
    Row {
        what: "a CRL alone of which nobody says what the others are told",
        spoil: |ca, site| {
            let crl = ca.write_crl("ca.crl");
            instead_of_index(site, &format!("crl = {crl:?}"));
        },
        outcome: Refused,
        told: &[
            "ostia.toml:",
            "Name a list of what the CA has issued (`issued`, or its database as `index`)",
            "tenant.issuer.crl: lists revoked certificates only",
            "each of them, valid or not, is answered `unauthorized`",
            "`unlisted = \"unauthorized\"`",
            "`unlisted = \"unknown\"`",
            "`unlisted = \"revoked\"`",
            "`accept_unlisted_as_good = true`",
            "BR 4.9.10",
        ],
        never: &[],
    },
    Row {
        what: "good for what an issuer does not list, without meaning it",
        spoil: |_, site| of_issuer(site, "unlisted = \"good\""),
        outcome: Refused,
        told: &["tenant.issuer.unlisted: is `good`", "add `accept_unlisted_as_good = true` beside it"],
        never: &[],
    },
];
