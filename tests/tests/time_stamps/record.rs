//! The record of tokens: a line for each, in the file that the configuration names, also across a rename and an end.
//!
//! What becomes of it where its file cannot be written is in `faults`, how files are begun anew in `rotation`.

mod faults;
mod rotation;

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

use ostia_tests::{
    Ca, KeyKind, Query, Responder, Site, Stamped, Tenant, Tsa, TsaCertificate, bash, http::Connection, programs, run,
    until,
};
use serde_json::Value;

use crate::PATIENCE;

/// The files of the record: first those that were renamed, in the order of their names, last the one that is written to.
fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_record = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("tokens.jsonl");
    let mut files: Vec<_> = paths.filter(is_record).collect();
    files.sort_by_key(|path| (path.ends_with("tokens.jsonl"), path.clone()));
    files
}

/// The lines of a file, each whole: an object of JSON.
#[track_caller]
fn objects(file: &Path) -> Vec<Value> {
    // One that is being rotated has another name now.
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(parse).collect()
}

/// The text of a field.
fn field<'v>(object: &'v Value, name: &str) -> &'v str {
    object[name].as_str().unwrap_or_default()
}

/// The lines about tokens, in all files of the record.
#[track_caller]
fn tokens(dir: &Path) -> Vec<Value> {
    let objects = files(dir).into_iter().flat_map(|file| objects(&file));
    objects.filter(|object| field(object, "type") == "token").collect()
}

/// Their serial numbers.
#[track_caller]
fn serials(dir: &Path) -> Vec<String> {
    tokens(dir).iter().map(|token| field(token, "serial").to_owned()).collect()
}

/// A site with one authority, a record, and further lines of `[time_stamping]`.
fn recording(lines: &str) -> (Ca, Site) {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let site = Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &signer))]);
    site.edit_config(|text| {
        text.replace("[time_stamping]\n", &format!("[time_stamping]\nrecord = \"tokens.jsonl\"\n{lines}\n"))
    });
    (ca, site)
}

/// Gets a token on this connection; its serial number.
#[track_caller]
fn serial_of(connection: &mut Connection, number: u32) -> String {
    connection.send(&Query::new(number).request("/tsa", "")).unwrap();
    let reply = connection.receive(false).unwrap().expect("the connection stays");
    hex(&Stamped::read(&reply).granted().info.serial)
}

/// The same, on a connection of its own.
#[track_caller]
fn serial(responder: &Responder, number: u32) -> String {
    serial_of(&mut Connection::open(responder.http()).unwrap(), number)
}

/// A counter or gauge of the record.
#[track_caller]
fn metric(responder: &Responder, name: &str) -> u64 {
    responder.metric(&format!("ostia_tsa_record_{name}"), "") as u64
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn every_token_that_a_client_got_stands_in_the_record() {
    let (_ca, site) = recording("");
    let mut responder = site.start();
    let dir = responder.site.dir().to_owned();
    let ask = |responder: &Responder, number: u32| {
        let query = Query::new(number);
        let stamped = query.at(responder.http(), "/tsa");
        (hex(&stamped.granted().info.serial), hex(&query.imprint()))
    };
    let mut given: Vec<_> = (0..20).map(|number| ask(&responder, number)).collect();
    Query::new(99).policy("1.2.3").at(responder.http(), "/tsa").expect_rejection("unacceptedPolicy");
    until("they are written", PATIENCE, || (tokens(&dir).len() == given.len()).then_some(()));
    // As logrotate does: renamed, and the service told. In its place is what cannot be opened, for a while.
    fs::rename(dir.join("tokens.jsonl"), dir.join("tokens.jsonl.1")).unwrap();
    bash(&dir, "mkfifo tokens.jsonl");
    responder.signal("HUP");
    until("it is told", PATIENCE, || responder.log().contains("lines go to the file").then_some(()));
    assert!(responder.log().contains("cannot be begun anew: a FIFO is there"), "{}", responder.log());
    assert_eq!(responder.metric("ostia_tsa_record_faulty", ""), 1.0);
    until("it is read again", PATIENCE, || responder.log().contains("was read again").then_some(()));
    fs::remove_file(dir.join("tokens.jsonl")).unwrap();
    until("the file is there again", PATIENCE, || dir.join("tokens.jsonl").exists().then_some(()));
    given.extend((20..40).map(|number| ask(&responder, number)));
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    let tokens = tokens(&dir);
    assert_eq!(tokens.len(), given.len(), "a rejection is no token: {tokens:#?}");
    for (serial, imprint) in given {
        let token = tokens.iter().find(|token| field(token, "serial") == serial);
        let token = token.unwrap_or_else(|| panic!("no {serial} in {tokens:#?}"));
        assert_eq!((field(token, "tenant"), field(token, "policy")), ("tests", ostia_tests::tsa::POLICY));
        assert!(token["offset_ns"].is_null() && field(token, "time").ends_with('Z'), "{token}");
        // The digest is the end of the imprint's element.
        let digest = field(token, "imprint").strip_prefix("sha256:").unwrap();
        assert!(imprint.ends_with(digest) && digest.len() == 64, "{imprint}: {token}");
    }
    assert_eq!(files(&dir).len(), 2);
}

#[test]
fn a_record_that_could_not_be_written_is_found_by_a_check_and_refuses_the_start() {
    let (_ca, site) = recording("");
    let config = site.config();
    let is_refused = |record: &str, wanted: &str| {
        site.edit_config(|text| {
            let (before, rest) = text.split_once("\nrecord = ").unwrap();
            format!("{before}\nrecord = {record:?}\n{}", rest.split_once('\n').unwrap().1)
        });
        site.is_refused(&[config.to_str().unwrap(), "time_stamping.record: ", record, wanted]);
    };
    let dir = site.dir();
    bash(dir, "mkfifo fifo && ln -s fifo link && ln -s none lost && mkdir directory");
    let _socket = UnixListener::bind(dir.join("socket")).unwrap();
    for (record, wanted) in [
        ("nowhere/tokens.jsonl", "it needs a directory that exists"),
        ("lost", "a symbolic link to none is there"),
        ("fifo", "a FIFO is there, and it must be a regular file; name another"),
        ("link", "a FIFO is there"),
        ("directory", "a directory is there"),
        ("socket", "a socket is there"),
        ("/dev/null", "a device is there"),
    ] {
        is_refused(record, wanted);
    }
    // A directory in which no other file could be begun; without the right of root to write there all the same.
    bash(dir, "mkdir closed && touch closed/tokens.jsonl && chmod 555 closed");
    is_refused_by_check_alone(&site, "closed/tokens.jsonl");
    site.edit_config(|text| text.replace("record = \"closed/tokens.jsonl\"", "record_keep = 3"));
    site.is_refused(&["time_stamping.record_keep", "add `record ="]);
}

/// By a user who may write the file, and not its directory.
fn is_refused_by_check_alone(site: &Site, record: &str) {
    site.edit_config(|text| text.replace("record = \"/dev/null\"", &format!("record = {record:?}")));
    let mut check = Command::new("setpriv");
    check.args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]);
    check.arg(&programs().responder).args(["check", "--config"]).arg(site.config());
    let ended = run(&mut check);
    let wanted = ["time_stamping.record: ", record, "Permission denied", "this process may write"];
    assert!(!ended.status.success() && wanted.iter().all(|wanted| ended.text.contains(wanted)), "{ended:?}");
}

#[test]
fn a_check_leaves_the_record_as_it_is_also_while_it_is_written() {
    let (_ca, site) = recording("");
    let record = site.dir().join("tokens.jsonl");
    let checked = |site: &Site| {
        let ended = site.check();
        assert!(ended.status.success(), "{ended:?}");
    };
    checked(&site);
    assert!(!record.exists(), "none was made");
    fs::write(&record, "{\"type\":\"torn").unwrap();
    checked(&site);
    assert_eq!(fs::read_to_string(&record).unwrap(), "{\"type\":\"torn");
    let responder = site.start();
    Query::new(1).at(responder.http(), "/tsa").granted();
    let written = || responder.metric("ostia_tsa_record_lines_total", "");
    until("it is written", PATIENCE, || (written() == 1.0).then_some(()));
    let before = fs::read(&record).unwrap();
    checked(&responder.site);
    assert_eq!(fs::read(&record).unwrap(), before);
    Query::new(2).at(responder.http(), "/tsa").granted();
    until("it is written", PATIENCE, || (written() == 2.0).then_some(()));
    assert_eq!(responder.metric("ostia_tsa_record_faulty", ""), 0.0);
}
