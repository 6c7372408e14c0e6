//! The book under the feet of a running service: lost, exchanged, damaged, and under another tenant's name.

use std::{fs, process::Command, time::Duration};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, run, until};

use crate::serving;

const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn turns(responder: &Responder, ca: &Ca, leaf: &Leaf, path: &str, wanted: &Status) {
    let what = format!("{} turns {wanted:?}", leaf.serial);
    until(&what, PATIENCE, || (Ask::about(ca, leaf).at(responder.http(), path).status == *wanted).then_some(()));
}

/// The index as it was before it revoked anybody.
pub(crate) fn forget_revocations(ca: &Ca) {
    let index = fs::read_to_string(ca.index()).unwrap();
    let forgotten = index.lines().map(|line| {
        let mut fields: Vec<_> = line.split('\t').collect();
        (fields[0], fields[2]) = ("V", "");
        fields.join("\t") + "\n"
    });
    ca.replace_index(&forgotten.collect::<String>());
}

fn tenant(name: &str, ca: &Ca) -> Tenant {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
    tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines())
}

/// A full disk closed the book, its file was moved away, and the new one gave the number of one tenant's issuer to
/// another's: it answered with that one's revocations for ever, and forgot its own with the next restart.
#[test]
fn a_book_that_is_moved_away_while_the_disk_is_full_is_made_anew_whole() {
    let (a, b) = (Ca::new("CA of A"), Ca::new("CA of B"));
    let (leaf_a, leaf_b) = (a.issue(), b.issue());
    assert_eq!(leaf_a.serial, leaf_b.serial);
    a.revoke(&leaf_a, &["-crl_reason", "keyCompromise"]);
    let (tenant_a, tenant_b) = (tenant("a", &a), tenant("b", &b));
    let responder = Site::new(std::slice::from_ref(&tenant_a)).start();
    turns(&responder, &a, &leaf_a, "/a", &Status::Revoked);
    // Only the book, and who has read it, know of it from now on.
    forget_revocations(&a);
    let limit_files = |limit: &str| {
        let ended = run(Command::new("prlimit").args(["--pid", &responder.pid().to_string(), limit]));
        assert!(ended.status.success(), "{ended:?}");
    };
    limit_files(&format!("--fsize={}:unlimited", 16 << 10));
    a.issue();
    until("the book cannot be written", PATIENCE, || (responder.metric("ostia_book_faulty", "") == 1.0).then_some(()));
    let state = responder.site.dir().join("state");
    fs::rename(state.join("book.redb"), state.join("book.redb.moved")).unwrap();
    limit_files("--fsize=unlimited:unlimited");
    responder.reload(|text| {
        let at = text.find("\n[[tenant]]").unwrap();
        format!("{}{}{}", &text[..at], tenant_b.text(), &text[at..])
    });
    until("the reload", PATIENCE, || responder.log().contains("the configuration was read again").then_some(()));
    Ask::about(&b, &leaf_b).at(responder.http(), "/b").expect(Status::Good);
    Ask::about(&a, &leaf_a).at(responder.http(), "/a").expect(Status::Revoked);
    let told = || responder.log().contains("was written into the new book").then_some(());
    until("it is told", PATIENCE, told);
    until("the fault is over", PATIENCE, || (responder.metric("ostia_book_faulty", "") == 0.0).then_some(()));

    // Nothing but the new book has it, and the tenants stand in another order than in the book.
    let mut responder = responder;
    responder.end_by("KILL");
    fs::write(a.index(), "damaged\n").unwrap();
    fs::write(b.index(), "damaged\n").unwrap();
    let responder = responder.into_site().start();
    Ask::about(&a, &leaf_a).at(responder.http(), "/a").expect(Status::Revoked);
    Ask::about(&b, &leaf_b).at(responder.http(), "/b").expect(Status::Good);
}

#[test]
fn a_book_that_is_removed_or_exchanged_under_a_running_process_gets_all_that_is_known() {
    let (ca, leaf, responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &[]);
        leaf
    });
    forget_revocations(&ca);
    let book = responder.site.dir().join("state/book.redb");
    let written = |times: usize| {
        let count = || responder.log().matches("was written into the new book").count();
        until("it is written whole", PATIENCE, || (count() == times).then_some(()));
    };
    // A change of the sources is not needed for it to be seen.
    fs::remove_file(&book).unwrap();
    written(1);
    // A copy of an earlier day that knows less.
    let copy = book.with_extension("copy");
    fs::copy(&book, &copy).unwrap();
    let late = ca.issue();
    ca.revoke(&late, &[]);
    turns(&responder, &ca, &late, "/", &Status::Revoked);
    forget_revocations(&ca);
    fs::rename(&copy, &book).unwrap();
    written(2);
    let responder = responder.kill_and_start_again();
    for leaf in [&leaf, &late] {
        Ask::about(&ca, leaf).at(responder.http(), "/").expect(Status::Revoked);
    }
}

/// `check` said that everything was in order, and what only the book knew was good from then on.
#[test]
fn an_issuer_that_comes_to_another_tenant_takes_no_revocation_into_oblivion() {
    let (ca, leaf, mut responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
        leaf
    });
    turns(&responder, &ca, &leaf, "/", &Status::Revoked);
    let rename = |text: String| text.replacen("name = \"tests\"", "name = \"renamed\"", 1);
    let back = |text: String| text.replacen("name = \"renamed\"", "name = \"tests\"", 1);

    // As long as the sources tell it nothing is lost.
    let reloaded = |times: usize| {
        let told = || responder.log().matches("the configuration was read again").count();
        until("the reload", PATIENCE, || (told() == times).then_some(()));
    };
    responder.reload(rename);
    reloaded(1);
    turns(&responder, &ca, &leaf, "/", &Status::Revoked);
    responder.reload(back);
    reloaded(2);
    turns(&responder, &ca, &leaf, "/", &Status::Revoked);

    forget_revocations(&ca);
    let told = ["`tests`", "1 of its revocations", &leaf.serial, "--carry-over", "--accept-forgotten"];
    let is_told = |text: &str| told.iter().all(|told| text.contains(told));
    responder.site.edit_config(|text| text.replacen("name = \"tests\"", "name = \"another\"", 1));
    let checked = responder.site.check();
    assert!(!checked.status.success() && is_told(&checked.text), "beside the service: {checked:?}");
    responder.signal("HUP");
    until("the reload is refused", PATIENCE, || is_told(&responder.readiness().1).then_some(()));
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);

    responder.end_by("TERM");
    let site = responder.into_site();
    let checked = site.check();
    assert!(!checked.status.success() && is_told(&checked.text), "{checked:?}");
    let refused = site.refuses_to_start();
    assert!(is_told(&refused), "{refused}");
    let refused = site.precompute("sync", &[]);
    assert!(!refused.status.success() && is_told(&refused.text), "{refused:?}");

    // Two ways to mean it, each on the state as it is now.
    let state = site.dir().join("state");
    let kept = site.dir().join("kept");
    fs::copy(state.join("book.redb"), &kept).unwrap();
    for (option, found) in [("--accept-forgotten", "good"), ("--carry-over", "revoked")] {
        fs::copy(&kept, state.join("book.redb")).unwrap();
        let synced = site.precompute("sync", &[option]);
        assert!(synced.status.success(), "{synced:?}");
        assert!(site.precompute("show", &[&leaf.serial]).text.contains(found));
        assert!(site.check().status.success());
    }
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);
}

/// Of 150 flipped bits six made a revocation that only the book knew good again without a word.
#[test]
fn a_damaged_book_is_told_by_check_and_start_and_gives_up_no_revocation_that_can_be_read() {
    let (ca, leaf, mut responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
        leaf
    });
    turns(&responder, &ca, &leaf, "/", &Status::Revoked);
    responder.end_by("TERM");
    let site = responder.into_site();
    forget_revocations(&ca);
    let book = site.dir().join("state/book.redb");
    let mut bytes = fs::read(&book).unwrap();
    // The serial as it lies in a key, behind the issuer's number; then comes the record of the next one or its own value.
    let serial = u64::from_str_radix(&leaf.serial, 16).unwrap();
    let key = [&0u32.to_be_bytes()[..], &[0; 12], &serial.to_be_bytes()].concat();
    let places: Vec<_> = (0..bytes.len() - key.len()).filter(|at| bytes[*at..].starts_with(&key)).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place + key.len() - 1] ^= 0x40;
    }
    fs::write(&book, &bytes).unwrap();
    let remedy = "sync --accept-damaged";
    let checked = site.check();
    assert!(!checked.status.success() && checked.text.contains(remedy), "{checked:?}");
    let refused = site.refuses_to_start();
    assert!(refused.contains("book.redb: the book is damaged") && refused.contains(remedy), "{refused}");
    assert!(!refused.contains("panicked"), "{refused}");

    let synced = site.precompute("sync", &["--accept-damaged"]);
    assert!(synced.status.success() && synced.text.contains("book.redb.damaged; 1 revocations"), "{synced:?}");
    assert!(site.dir().join("state/book.redb.damaged").exists());
    let synced = site.precompute("sync", &["--accept-damaged"]);
    assert!(synced.status.success() && synced.text.contains("the book is in order"), "{synced:?}");
    site.start();
}

fn renamed(from: &str, to: &str) -> impl Fn(String) -> String {
    let (from, to) = (format!("name = \"{from}\""), format!("name = \"{to}\""));
    move |text: String| text.replacen(&from, &to, 1)
}

/// It was known under its old name, and so nobody asked who had been there meanwhile.
#[test]
fn a_tenant_that_gets_its_former_name_back_forgets_nothing_of_the_time_between() {
    let (ca, [first, second], mut responder) = serving(|ca| {
        let first = ca.issue();
        ca.revoke(&first, &[]);
        [first, ca.issue()]
    });
    responder.end_by("TERM");
    let site = responder.into_site();
    site.edit_config(renamed("tests", "between"));
    let responder = site.start();
    ca.revoke(&second, &[]);
    turns(&responder, &ca, &second, "/", &Status::Revoked);
    forget_revocations(&ca);
    responder.site.edit_config(renamed("between", "tests"));
    let checked = responder.site.check();
    assert!(!checked.status.success(), "{checked:?}");
    // What the first name knew by itself is not missing.
    assert!(checked.text.contains("`between`") && checked.text.contains("1 of its revocations"), "{checked:?}");
    responder.signal("HUP");
    until("the reload is refused", PATIENCE, || responder.readiness().1.contains("`between`").then_some(()));
    Ask::about(&ca, &second).at(responder.http(), "/").expect(Status::Revoked);
    let mut responder = responder;
    responder.end_by("TERM");
    let site = responder.into_site();
    let synced = site.precompute("sync", &["--carry-over"]);
    assert!(synced.status.success() && synced.text.contains("2 revoked"), "{synced:?}");
    assert!(site.check().status.success(), "nobody's place is open any more");
    let responder = site.start();
    for leaf in [&first, &second] {
        Ask::about(&ca, leaf).at(responder.http(), "/").expect(Status::Revoked);
    }
}

/// The book was gone, and with it what there was to be compared with.
#[test]
fn a_book_that_is_lost_just_before_a_tenant_is_renamed_takes_no_revocation_along() {
    let (ca, leaf, responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &[]);
        leaf
    });
    forget_revocations(&ca);
    fs::remove_file(responder.site.dir().join("state/book.redb")).unwrap();
    responder.reload(renamed("tests", "renamed"));
    until("the reload is refused", PATIENCE, || responder.readiness().1.contains("`tests`").then_some(()));
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);
}

/// Nobody could say whose place was taken, and each got what was the other's.
#[test]
fn of_two_tenants_with_one_ca_that_are_renamed_at_once_none_gets_the_others_records() {
    let ca = Ca::new("CA of both");
    let (leaf_a, leaf_b) = (ca.issue(), ca.issue());
    let index = |name: &str, revoked: &Leaf| {
        ca.revoke(revoked, &[]);
        fs::copy(ca.index(), ca.file(name)).unwrap();
        forget_revocations(&ca);
        fs::copy(ca.index(), ca.file(&format!("{name}.forgotten"))).unwrap();
    };
    index("a.txt", &leaf_a);
    index("b.txt", &leaf_b);
    let tenant = |name: &str| {
        let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
        let sources = format!("index = {:?}", ca.file(&format!("{name}.txt")));
        Tenant::new(name).set(&format!("path = \"/{name}\"")).issuer("ca", &ca, &sources, &signer.lines())
    };
    let site = Site::new(&[tenant("a"), tenant("b")]);
    assert!(site.precompute("sync", &[]).status.success());
    for name in ["a.txt", "b.txt"] {
        fs::copy(ca.file(&format!("{name}.forgotten")), ca.file(name)).unwrap();
    }
    site.edit_config(renamed("a", "c"));
    site.edit_config(renamed("b", "d"));
    for options in [&[][..], &["--carry-over"]] {
        let refused = site.precompute("sync", options);
        let told = ["`a` and `b`", "2 of its revocations", "rename one tenant at a time"];
        assert!(!refused.status.success() && told.iter().all(|told| refused.text.contains(told)), "{refused:?}");
    }
    // One at a time.
    site.edit_config(renamed("d", "b"));
    let synced = site.precompute("sync", &["--carry-over"]);
    assert!(synced.status.success(), "{synced:?}");
    site.edit_config(renamed("b", "d"));
    let synced = site.precompute("sync", &["--carry-over"]);
    assert!(synced.status.success(), "{synced:?}");
    let responder = site.start();
    Ask::about(&ca, &leaf_a).at(responder.http(), "/a").expect(Status::Revoked);
    Ask::about(&ca, &leaf_b).at(responder.http(), "/a").expect(Status::Good);
    Ask::about(&ca, &leaf_b).at(responder.http(), "/b").expect(Status::Revoked);
    Ask::about(&ca, &leaf_a).at(responder.http(), "/b").expect(Status::Good);
}

/// Sources that belonged to a refused configuration had been saved and told.
#[test]
fn a_refused_reload_leaves_no_trace_of_its_sources() {
    let ca = Ca::new("CA");
    let leaf = ca.issue();
    fs::copy(ca.write_crl("ca.crl"), ca.file("first.crl")).unwrap();
    ca.revoke(&leaf, &[]);
    ca.write_crl("ca.crl");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let sources = format!("crl = {:?}", ca.file("first.crl"));
    let policy = "unlisted = \"good\"\naccept_unlisted_as_good = true";
    let site = Site::new(&[Tenant::new("tests").set(policy).issuer("ca", &ca, &sources, &signer.lines())]);
    let before = fs::read_to_string(site.config()).unwrap();
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    let missing = Tenant::new("other").set("path = \"/other\"");
    let missing = missing.issuer("ca", &ca, "index = \"/nowhere/index.txt\"", &signer.lines()).text();
    responder.reload(|text| text.replace("first.crl", "ca.crl") + &missing);
    until("the reload is refused", PATIENCE, || responder.readiness().1.contains("/nowhere").then_some(()));
    assert!(!responder.log().contains(&format!("\"serial\":\"{}\"", leaf.serial)), "{}", responder.log());
    fs::write(responder.site.config(), before).unwrap();
    let responder = responder.kill_and_start_again();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    assert_eq!(responder.readiness().1, "ready\n");
}

/// The start was refused for ever, while the check said that all was in order.
#[test]
fn what_was_to_be_forgotten_is_not_asked_about_again_however_little_is_listed() {
    let (ca, leaf, mut responder) = serving(|ca| {
        let leaf = ca.issue();
        ca.revoke(&leaf, &[]);
        leaf
    });
    responder.end_by("TERM");
    let site = responder.into_site();
    ca.replace_index("");
    site.edit_config(renamed("tests", "renamed"));
    assert!(!site.precompute("sync", &[]).status.success());
    let synced = site.precompute("sync", &["--accept-forgotten"]);
    assert!(synced.status.success(), "{synced:?}");
    assert!(site.check().status.success() && site.precompute("sync", &[]).status.success());
    assert!(site.precompute("show", &[&leaf.serial]).text.contains("not listed"));
}
