//! What both programs take from the command line and the environment, and how they end.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
};

use ostia_tests::{Ended, programs, run};

use crate::{ca_and_site, readme::page};

fn of(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env_remove("OSTIA_CONFIG").env_remove("OSTIA_LOG").env_remove("OSTIA_LOG_FORMAT");
    command
}

#[track_caller]
fn ends(ended: &Ended, code: i32, told: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    for told in told {
        assert!(ended.text.contains(told), "no `{told}` in {}", ended.text);
    }
}

#[test]
fn a_configuration_is_named_by_option_by_place_or_by_the_environment() {
    let (_ca, site) = ca_and_site();
    // Which a start makes.
    fs::create_dir(site.dir().join("state")).unwrap();
    let file = site.config();
    let file = file.to_str().unwrap();
    let programs = programs();
    for (program, commands) in [
        (&programs.responder, &[&["check"][..], &["drain"]][..]),
        (&programs.precompute, &[&["check"], &["sync"], &["presign"], &["keys", "check"], &["server", "show"]]),
    ] {
        for command in commands {
            for (words, variable) in [(&["--config", file][..], "/wrong.toml"), (&[file], "/wrong.toml"), (&[], file)] {
                let words = [command, words].concat();
                let ended = run(of(program, &words).env("OSTIA_CONFIG", variable));
                ends(&ended, 0, &[]);
            }
            // Two at once are a mistake, and one that is not there is not replaced by another.
            ends(&run(&mut of(program, &[command, &["--config", file, file][..]].concat())), 2, &["cannot be used"]);
            let missing = run(of(program, &[command, &["/missing.toml"][..]].concat()).env("OSTIA_CONFIG", file));
            let ways = ["/missing.toml: does not exist", "--config FILE", "check FILE", "OSTIA_CONFIG"];
            ends(&missing, 78, &ways);
            assert!(!missing.text.contains("the configuration file is"), "{missing:?}");
            let missing = run(of(program, command).env("OSTIA_CONFIG", "/gone.toml"));
            ends(
                &missing,
                78,
                &["/gone.toml: does not exist", "the configuration file is /gone.toml, as OSTIA_CONFIG says"],
            );
        }
    }
    // What has arguments of its own takes them for these.
    for command in ["show", "status"] {
        let ended = run(of(&programs.precompute, &[command, "4711"]).env("OSTIA_CONFIG", file));
        ends(&ended, 1, &["4711: not listed"]);
    }
    let tried = run(of(&programs.precompute, &["source", "try"]).env("OSTIA_CONFIG", file));
    ends(&tried, 0, &["index.txt"]);
}

/// Whoever runs the tests may have one.
#[test]
fn without_a_name_the_usual_place_is_looked_at() {
    let ended = run(&mut of(&programs().responder, &["check"]));
    let said = "/etc/ostia/ostia.toml";
    assert!(Path::new(said).exists() || ended.text.contains("since none is named on the command line"), "{ended:?}");
    assert!(ended.text.contains(said), "{ended:?}");
}

#[test]
fn a_wrong_log_variable_is_refused_with_its_value_and_what_is_possible() {
    let (_ca, site) = ca_and_site();
    let file = site.config();
    let file = file.to_str().unwrap();
    let programs = programs();
    let levels = ["OSTIA_LOG: is `verbos`", "off, error, warn, info, debug, trace", "info,responder=debug"];
    for (program, words) in [
        (&programs.responder, &["serve", file][..]),
        (&programs.responder, &["check", file]),
        (&programs.precompute, &["run", file]),
        (&programs.precompute, &["check", file]),
        (&programs.precompute, &["sync", file]),
    ] {
        ends(&run(of(program, words).env("OSTIA_LOG", "verbos")), 78, &levels);
        let form = ["OSTIA_LOG_FORMAT: is `xml`; give text, json or journal"];
        ends(&run(of(program, words).env("OSTIA_LOG_FORMAT", "xml")), 78, &form);
    }
}

/// The table of the documents, by number.
fn documented() -> BTreeMap<i32, String> {
    let page = page("precompute/README.md");
    let (_, table) = page.split_once("| exit status | meaning |\n").expect("there is a table of exit statuses");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| "));
    let row = |line: &str| {
        let (code, meaning) = line.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        (code.parse().unwrap(), meaning.to_owned())
    };
    rows.map(row).collect()
}

/// What an operator's script tells apart, with the real programs. Each status of the table has a row here.
#[test]
fn every_exit_status_means_the_same_in_every_program_and_is_documented() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let programs = programs();
    let dir = site.dir().to_owned();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let file = site.config().to_str().unwrap().to_owned();
    let refused = at("refused.toml");
    fs::write(&refused, "version = 1\n[[issuers]]\n[admin]\nlisten = 5\n").unwrap();
    let unreadable = at("unreadable.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&unreadable, text.replace(&format!("{:?}", ca.index()), "\"gone.txt\"")).unwrap();
    let doubtful = at("doubtful.toml");
    let doubt = "[[tenant]]\nunlisted = \"good\"\naccept_unlisted_as_good = true\n";
    fs::write(&doubtful, text.replacen("[[tenant]]\n", doubt, 1)).unwrap();
    fs::write(at("serials"), format!("{}\n", leaf.serial)).unwrap();
    let (issuer, serials) = (ca.certificate().to_str().unwrap().to_owned(), at("serials"));
    let responder = site.start();
    let url = format!("http://{}/", responder.http());
    let load = ["ocsp", "--issuer", &issuer, "--serials", &serials, "-n", "20", "-d", "20s", "--url"];
    // By this index it is revoked, and the responder says what its own says.
    let other = at("other.txt");
    let entry = fs::read_to_string(ca.index()).unwrap().replacen('V', "R", 1).replacen("\t\t", "\t260101000000Z\t", 1);
    fs::write(&other, entry).unwrap();
    let wrong = ["ocsp", "--issuer", &issuer, "--index", &other, "-n", "5", "-d", "20s", "--url", &url];
    let index = ca.index().to_str().unwrap().to_owned();
    let rows: &[(&Path, &[&str], i32)] = &[
        (&programs.responder, &["check", &file], 0),
        (&programs.responder, &["check", &unreadable, "--without-sources"], 0),
        (&programs.responder, &["check", &unreadable], 1),
        (&programs.responder, &["check", "--wrong"], 2),
        (&programs.responder, &["check", &doubtful], 0),
        (&programs.responder, &["check", "--strict", &doubtful], 3),
        (&programs.responder, &["check", &refused], 78),
        (&programs.responder, &["serve", &refused], 78),
        (&programs.responder, &["drain", &refused], 78),
        (&programs.precompute, &["check", &file], 0),
        (&programs.precompute, &["check", &unreadable], 1),
        (&programs.precompute, &["check", "--strict", &doubtful], 3),
        (&programs.precompute, &["check", &refused], 78),
        (&programs.precompute, &["run", &refused], 78),
        (&programs.precompute, &["sync", &refused], 78),
        (&programs.precompute, &["presign", &refused], 78),
        (&programs.precompute, &["keys", "check", &refused], 78),
        (&programs.precompute, &["server", "show", &refused], 78),
        (&programs.precompute, &["relay", &refused], 78),
        (&programs.precompute, &["handover", &refused], 78),
        (&programs.precompute, &["source", "try", "--config", &refused], 78),
        (&programs.precompute, &["status", "--config", &refused, "0A"], 78),
        (&programs.precompute, &["show", "--config", &refused, "0A"], 78),
        (&programs.precompute, &["revoke", "--config", &refused, "0A"], 78),
        (&programs.precompute, &["snapshot", "--config", &refused, "--to", "/dev/null/x"], 78),
        (&programs.precompute, &["restore", "--config", &refused, "--from", "/dev/null"], 78),
        (&programs.precompute, &["status", "--config", &file, "no serial"], 2),
        (&programs.precompute, &["show", "--config", &file, "no serial"], 2),
        (&programs.precompute, &["revoke", "--config", &file, "0A", "0B", "--idempotency-key", "a"], 2),
        (&programs.precompute, &["show", "--config", &file, "4711"], 1),
        (&programs.precompute, &["sync", &file], 1), // the responder has its state directory
        (&programs.precompute, &["source", "try", &index], 0),
        (&programs.precompute, &["source", "try", "/gone"], 1),
        (&programs.loadtest, &[&load[..], &[&url]].concat(), 0),
        (&programs.loadtest, &[&load[..], &[&url, "--json", "/dev/full"]].concat(), 1),
        (&programs.loadtest, &["ocsp"], 2),
        (&programs.loadtest, &[&load[..], &["https://wrong/"]].concat(), 2),
        (&programs.loadtest, &wrong, 3),
        (&programs.loadtest, &[&load[..], &[&url, "--expect", "p50<1us"]].concat(), 4),
        (&programs.loadtest, &[&load[..], &["http://127.0.0.1:1/"]].concat(), 5),
    ];
    let mut failures = Vec::new();
    for (program, words, code) in rows {
        let ended = run(&mut of(program, words));
        if ended.status.code() != Some(*code) {
            failures.push(format!("{words:?}: wanted {code}, found {ended:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let documented = documented();
    for code in rows.iter().map(|(_, _, code)| code) {
        assert!(documented.contains_key(code), "{code} is not documented: {documented:?}");
    }
    let tried: Vec<_> = documented.keys().filter(|code| !rows.iter().any(|(_, _, tried)| tried == *code)).collect();
    assert!(tried.is_empty(), "documented, and no row: {tried:?}");
    // `--help` says it in the words of the same table.
    for program in [&programs.responder, &programs.precompute, &programs.loadtest] {
        let help = run(&mut of(program, &["--help"])).text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("Exit status: 0 what was asked for is done"), "{help}");
    }
}

/// What the journal of systemd gets: it knows the time, and takes the priority from the begin of the line.
#[test]
fn the_journal_gets_text_with_priorities_and_others_get_json() {
    let (ca, site) = ca_and_site();
    ca.replace_index("broken\n");
    let path = site.dir().join("journal");
    let log = |variable: Option<&str>, form: Option<&str>| {
        let file = File::create(&path).unwrap();
        let metadata = file.metadata().unwrap();
        let own = format!("{}:{}", metadata.dev(), metadata.ino());
        let mut command = of(&programs().precompute, &["sync", site.config().to_str().unwrap()]);
        command.env_remove("JOURNAL_STREAM").stderr(file).stdout(std::process::Stdio::null());
        command.envs(variable.map(|value| ("JOURNAL_STREAM", if value == "own" { own } else { value.to_owned() })));
        command.envs(form.map(|form| ("OSTIA_LOG_FORMAT", form)));
        assert_eq!(command.env("RUST_LOG", "off").status().unwrap().code(), Some(1));
        fs::read_to_string(&path).unwrap()
    };
    for journal in [log(Some("own"), None), log(None, Some("journal"))] {
        let lines: Vec<_> = journal.lines().collect();
        assert!(lines[0].starts_with("<6>RUST_LOG is set and not looked at"), "{journal}");
        assert!(lines.iter().all(|line| line.starts_with('<') && line[2..].starts_with('>')), "{journal}");
        assert!(journal.contains("\n<3>ostia-precompute: "), "{journal}");
    }
    for json in [log(None, None), log(Some("1:2"), None), log(Some("own"), Some("json"))] {
        assert!(json.starts_with("{\"timestamp\""), "{json}");
    }
    let text = log(Some("own"), Some("text"));
    assert!(text.contains(" INFO RUST_LOG is set") && !text.contains('\x1b'), "{text}");
}
