//! Backups of the book: made while it is written, taken back after it was lost, and everything that may go wrong then.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ostia_tests::{Ca, Delegate, Ended, KeyKind, Responder, Site, Status, Tenant, programs, run, until};
use serde_json::json;

use crate::{
    ca_and_site,
    pushes::{ask, done, is, issuer, refused, started, with_api},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn file(site: &Site, name: &str) -> PathBuf {
    site.dir().join(name)
}

fn snapshot(site: &Site, to: &Path) -> Ended {
    site.precompute("snapshot", &["--to", to.to_str().unwrap()])
}

fn restore(site: &Site, from: &Path) -> Ended {
    site.precompute("restore", &["--from", from.to_str().unwrap()])
}

/// Ends the service as a power cut does, and loses its disk.
fn lose_disk(mut responder: Responder) -> Site {
    responder.end_by("KILL");
    let site = responder.into_site();
    fs::remove_dir_all(file(&site, "state")).unwrap();
    site
}

/// A list of so many serial numbers, pushed as good.
fn add_many(site: &Site, count: u32) {
    let list = file(site, "list");
    fs::write(&list, (1..=count).map(|number| format!("{:X}\n", 0xC00_0000 + number)).collect::<String>()).unwrap();
    done(&site.precompute("add", &["--file", list.to_str().unwrap()]), "0 refused");
}

/// How many records a backup that was just made says to have.
#[track_caller]
fn records(ended: &Ended) -> u64 {
    assert!(ended.status.success(), "{ended:?}");
    let count = ended.text.lines().find_map(|line| line.split_once(" records of ")?.0.rsplit(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("no number of records: {ended:?}"))
}

#[test]
fn a_backup_beside_pushes_has_all_that_was_acknowledged_before_it_and_outlives_the_disk() {
    let (ca, responder) = started();
    let id = issuer(&responder);
    add_many(&responder.site, 3000);
    let (acknowledged, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let to = file(&responder.site, "backup");
    let before = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                let serial = format!("{:X}", 0xD00_0000 + number);
                let body = json!({ "serial": serial, "reason": "keyCompromise", "even_unlisted": true }).to_string();
                let (status, told) = ask(&responder, "POST", &format!("/v1/issuers/{id}/revoke"), &body);
                assert_eq!(status, 200, "{told}");
                acknowledged.lock().unwrap().push(serial);
                if stop.load(Relaxed) {
                    return;
                }
            }
        });
        let count = || acknowledged.lock().unwrap().len();
        until("pushes are taken", PATIENCE, || (count() >= 20).then_some(()));
        let before = acknowledged.lock().unwrap().clone();
        let ended = snapshot(&responder.site, &to);
        let meanwhile = count();
        stop.store(true, Relaxed);
        // 3000 were added, and the index has the signer.
        assert!(records(&ended) >= 3001 + before.len() as u64, "{ended:?}");
        assert!(ended.text.contains("verified, in "), "{ended:?}");
        assert!(meanwhile > before.len(), "pushes go on");
        before
    });
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!file(&responder.site, "backup.part").exists());
    let site = lose_disk(responder);
    let ended = restore(&site, &to);
    done(&ended, "are NOT in the backup: push those again");
    done(&ended, "tests/ca: the backup has ");
    let responder = site.start();
    for serial in &before {
        is(&responder, &ca, serial, Status::Revoked);
    }
    is(&responder, &ca, "C000BB8", Status::Good);
    // Its own identity, and the book goes on.
    done(&responder.site.precompute("revoke", &["C000BB8"]), "revoked");
    is(&responder, &ca, "C000BB8", Status::Revoked);
}

#[test]
fn an_old_backup_over_a_newer_book_takes_nothing_back_and_what_was_released_is_listed() {
    let (ca, responder) = started();
    let (listed, later) = (ca.issue(), ca.issue());
    let push = |verb: &str, arguments: &[&str]| done(&responder.site.precompute(verb, arguments), "");
    until("the index is read", PATIENCE, || {
        responder.site.precompute("status", &[&later.serial]).status.success().then_some(())
    });
    push("add", &["A1", "A2", "A3", "A4"]);
    push("revoke", &["--reason", "certificateHold", "A2", "A3"]);
    push("revoke", &["--reason", "keyCompromise", "A4"]);
    let to = file(&responder.site, "backup");
    done(&snapshot(&responder.site, &to), "2 on hold and 1 revoked");
    push("release", &["A2"]);
    push("revoke", &["--reason", "superseded", "A1", "A3"]);
    ca.revoke(&listed, &[]);
    push("add", &["A5"]);
    until("the index is read", PATIENCE, || {
        responder.site.precompute("status", &[&listed.serial]).text.contains("revoked").then_some(())
    });
    let mut responder = responder;
    responder.end_by("TERM");
    let site = responder.into_site();
    let book = fs::read(file(&site, "state/book.redb")).unwrap();
    let dry = site.precompute("restore", &["--dry-run", "--from", to.to_str().unwrap()]);
    done(&dry, "tests/ca: 1 that were good are on hold\nnothing was changed");
    assert_eq!(fs::read(file(&site, "state/book.redb")).unwrap(), book);
    let ended = restore(&site, &to);
    done(&ended, "tests/ca: 1 that were good are on hold");
    done(&ended, "book.redb.before-restore; remove it when all is well");
    assert_eq!(fs::read(file(&site, "state/book.redb.before-restore")).unwrap(), book);
    let list = ended.text.lines().find_map(|line| line.split_once("the book had not: ")?.1.split_once(" lists"));
    let list = list.unwrap_or_else(|| panic!("{ended:?}")).0.to_owned();
    assert_eq!(fs::read_to_string(&list).unwrap(), "serial\nA2\n");
    done(&restore(&site, &to), "the book has all of it, and stays as it is");
    let responder = site.start();
    let says = |serial: &str, status| is(&responder, &ca, serial, status);
    for serial in ["A1", "A2", "A3", "A4", &listed.serial] {
        says(serial, Status::Revoked);
    }
    says("A5", Status::Good);
    says(&later.serial, Status::Good);
    done(&responder.site.precompute("release", &["--file", &list]), "1 done");
    says("A2", Status::Good);
}

#[test]
fn a_hold_of_a_source_in_an_old_backup_ends_when_the_source_is_read() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    ca.revoke(&leaf, &["-crl_reason", "certificateHold"]);
    let mut responder = with_api(site).start();
    is(&responder, &ca, &leaf.serial, Status::Revoked);
    let to = file(&responder.site, "backup");
    until("the book has it", PATIENCE, || snapshot(&responder.site, &to).text.contains("1 on hold").then_some(()));
    responder.end_by("TERM");
    let site = responder.into_site();
    crate::book::forget_revocations(&ca);
    done(&restore(&site, &to), "the book has all of it");
    fs::remove_dir_all(file(&site, "state")).unwrap();
    done(&restore(&site, &to), "1 on hold");
    let responder = site.start();
    is(&responder, &ca, &leaf.serial, Status::Good);
}

#[test]
fn a_restore_while_somebody_has_the_book_is_refused_by_its_name_and_a_backup_needs_the_token_then() {
    let (_ca, responder) = started();
    let to = file(&responder.site, "backup");
    done(&snapshot(&responder.site, &to), "verified");
    for arguments in [&["--from"][..], &["--dry-run", "--from"]] {
        let arguments: Vec<&str> = arguments.iter().copied().chain([to.to_str().unwrap()]).collect();
        let ended = responder.site.precompute("restore", &arguments);
        refused(&ended, "belongs to `ostia-responder serve`, process ");
        refused(&ended, "stop it first");
    }
    let mut responder = responder;
    let token = "token_file = \"api.token\"\n";
    responder.site.edit_config(|text| text.replacen(token, "", 1));
    refused(&snapshot(&responder.site, &to), "admin.token_file: is missing");
    // The former one is still there, and with the service stopped nobody is asked.
    assert!(fs::metadata(&to).unwrap().len() > 200);
    responder.end_by("TERM");
    let site = responder.into_site();
    done(&snapshot(&site, &to), "verified");
    done(&restore(&site, &to), "the book has all of it");
}

#[test]
fn what_is_no_backup_of_this_service_is_refused_and_nothing_is_made() {
    let (_ca, mut responder) = started();
    done(&responder.site.precompute("add", &["A1"]), "added");
    let to = file(&responder.site, "backup");
    done(&snapshot(&responder.site, &to), "verified");
    responder.end_by("KILL");
    let site = responder.into_site();
    let whole = fs::read(&to).unwrap();
    let (flipped, later) = (flipped(&whole), with_version(&whole, 2));
    let book = fs::read(file(&site, "state/book.redb")).unwrap();
    fs::remove_dir_all(file(&site, "state")).unwrap();
    let bad = file(&site, "bad");
    let mut cases: Vec<(&[u8], &str)> = vec![
        (b"", "is no backup of a book: it is empty"),
        (&whole[..whole.len() - 1], "bytes, and is not whole; take another backup"),
        (&whole[..whole.len() / 2], "bytes, and is not whole; take another backup"),
        (&flipped, "is damaged behind byte "),
        (&later, "is a backup of version 2, and this program reads version 1; use the program version that wrote it"),
        (&book, "it is the file of a book itself (`book.redb`)"),
    ];
    let gz = run(Command::new("gzip").arg("--keep").arg(&to));
    assert!(gz.status.success(), "{gz:?}");
    let gz = fs::read(file(&site, "backup.gz")).unwrap();
    cases.push((&gz, "compressed with gzip, and has to be unpacked first"));
    for (bytes, wanted) in cases {
        fs::write(&bad, bytes).unwrap();
        let ended = restore(&site, &bad);
        refused(&ended, wanted);
        refused(&ended, bad.to_str().unwrap());
        assert!(!file(&site, "state").exists(), "{wanted}");
    }
    refused(&restore(&site, &file(&site, "absent")), "absent: cannot be read: No such file");
    // Another CA's, and one of which only a part is here.
    let other = Ca::new("Another CA");
    let signer = other.delegate(Delegate::Proper, KeyKind::P256);
    let elsewhere = Site::new(&[Tenant::of(&other, &signer)]);
    refused(&restore(&elsewhere, &to), "none of its issuers is in ");
    assert!(!file(&elsewhere, "state").exists());
    let more = Tenant::new("more").set("path = \"/more\"").issuer("ca", &other, "pushes = true", &signer.lines());
    site.edit_config(|text| text + &more.text());
    done(&restore(&site, &to), "more/ca: NOT in the backup");
}

fn flipped(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[whole.len() / 2] ^= 0x10;
    bytes
}

fn with_version(whole: &[u8], version: u32) -> Vec<u8> {
    [&whole[..8], &version.to_be_bytes(), &whole[12..]].concat()
}

fn command(site: &Site, command: &str, option: &str, file: &Path) -> Command {
    let mut with = Command::new(&programs().precompute);
    with.args([command, "--config"]).arg(site.config()).arg(option).arg(file);
    with
}

/// Runs it, and kills it after a while unless it has ended before. True if it was killed.
fn killed_after(mut command: Command, while_: Duration) -> bool {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(while_);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn killed_at_any_moment_a_backup_and_a_book_are_the_former_or_the_whole_new_one() {
    let (_ca, mut responder) = started();
    done(&responder.site.precompute("add", &["A1"]), "added");
    let [few, many] = ["few", "many"].map(|name| file(&responder.site, name));
    let of_few = records(&snapshot(&responder.site, &few));
    add_many(&responder.site, 30_000);
    let of_many = records(&snapshot(&responder.site, &many));
    responder.end_by("TERM");
    let site = responder.into_site();
    let is_whole = |path: &Path, wanted: &[u64]| {
        let dry = site.precompute("restore", &["--dry-run", "--from", path.to_str().unwrap()]);
        assert!(wanted.contains(&records(&dry)), "{dry:?}");
    };
    // A backup in the place of another one.
    let begun = Instant::now();
    done(&snapshot(&site, &file(&site, "to")), "verified");
    let took = begun.elapsed();
    let to = file(&site, "to");
    for tenth in (1..10).step_by(2) {
        fs::copy(&few, &to).unwrap();
        killed_after(command(&site, "snapshot", "--to", &to), took * tenth / 10);
        is_whole(&to, &[of_few, of_many]);
    }
    done(&snapshot(&site, &to), "verified");
    is_whole(&to, &[of_many]);
    assert!(!file(&site, "to.part").exists(), "what was left behind has become the next one");

    // A book in the place of another one.
    let again = |site: &Site| {
        fs::remove_dir_all(file(site, "state")).unwrap();
        done(&restore(site, &few), "restored");
    };
    again(&site);
    let begun = Instant::now();
    done(&restore(&site, &many), "restored");
    let took = begun.elapsed();
    let mut killed = 0;
    for tenth in 1..10 {
        again(&site);
        killed += u32::from(killed_after(command(&site, "restore", "--from", &many), took * tenth / 10));
        let held = records(&snapshot(&site, &to));
        assert!([of_few, of_many].contains(&held), "{held}");
    }
    assert!(killed > 0, "none was killed in the middle");
    // Whatever was left behind: once more, and the service starts with all of it.
    done(&restore(&site, &many), "");
    let responder = site.start();
    done(&responder.site.precompute("status", &["C000001", "C007530", "A1"]), "good");
}

/// Whoever restores by hand has seldom the umask of the unit.
#[test]
fn what_a_restore_makes_is_for_nobody_else_to_read() {
    let (_ca, responder) = started();
    done(&responder.site.precompute("add", &["A1"]), "added");
    let to = file(&responder.site, "to");
    records(&snapshot(&responder.site, &to));
    let site = lose_disk(responder);
    let (program, config) = (&programs().precompute, site.config());
    let line = format!("umask 0; exec {program:?} restore --config {config:?} --from {to:?}");
    done(&run(Command::new("bash").args(["-c", &line])), "restored");
    for entry in fs::read_dir(file(&site, "state")).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn on_a_full_disk_the_former_backup_and_the_former_book_stay() {
    let (_ca, mut responder) = started();
    done(&responder.site.precompute("add", &["A1"]), "added");
    let [few, many] = ["few", "many"].map(|name| file(&responder.site, name));
    records(&snapshot(&responder.site, &few));
    add_many(&responder.site, 20_000);
    let of_many = records(&snapshot(&responder.site, &many));
    // Of the command alone, beside a service that has room.
    let limited = |site: &Site, words: &str| {
        let (program, config) = (&programs().precompute, site.config());
        let line = format!("ulimit -f 200; exec {program:?} {words} --config {config:?}");
        run(Command::new("bash").args(["-c", &line]).current_dir(site.dir()))
    };
    let before = fs::read(&few).unwrap();
    for is_running in [true, false] {
        let ended = limited(&responder.site, "snapshot --to few");
        refused(&ended, "few.part: cannot be written: ");
        refused(&ended, "make room, or name a file on another disk");
        assert_eq!(fs::read(&few).unwrap(), before, "running: {is_running}");
        assert!(!file(&responder.site, "few.part").exists());
        if is_running {
            responder.end_by("TERM");
        }
    }
    let site = responder.into_site();
    fs::remove_dir_all(file(&site, "state")).unwrap();
    done(&restore(&site, &few), "restored");
    let book = fs::read(file(&site, "state/book.redb")).unwrap();
    let ended = limited(&site, "restore --from many");
    refused(&ended, "make room");
    assert_eq!(fs::read(file(&site, "state/book.redb")).unwrap(), book);
    assert!(!file(&site, "state/restoring").exists());
    done(&restore(&site, &many), "restored");
    assert_eq!(records(&snapshot(&site, &many)), of_many);
}

/// Whoever fetches a backup and reads nothing more holds nobody up, and is left.
#[test]
fn while_somebody_fetches_a_backup_and_reads_nothing_pushes_and_others_go_on() {
    use std::io::{Read as _, Write as _};
    let (_ca, responder) = started();
    add_many(&responder.site, 60_000);
    let admin = responder.site.admin;
    let request = format!(
        "GET /v1/snapshot HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        crate::pushes::TOKEN
    );
    // All the places that one principal may have.
    let mut silent: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(admin).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut begin = [0; 15];
            stream.read_exact(&mut begin).unwrap();
            assert_eq!(&begin, b"HTTP/1.1 200 OK", "{}", responder.log());
            stream
        })
        .collect();
    let to = file(&responder.site, "backup");
    refused(&snapshot(&responder.site, &to), "has 8 lists and backups under way, as many as it may");
    done(&responder.site.precompute("revoke", &["C000001"]), "revoked");
    // One that goes away makes room.
    drop(silent.pop());
    until("there is a place", PATIENCE, || snapshot(&responder.site, &to).status.success().then_some(()));
}
