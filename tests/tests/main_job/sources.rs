//! Where answers come from: a CA's database and CRLs, changed while the responder runs.

use std::{
    fs,
    time::{Duration, Instant},
};

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, http, openssl, until};

use crate::serving;

/// The promise: a change of a source is in the answers within a second.
const PROMISE: Duration = Duration::from_secs(1);
/// How long a test waits for what is promised within a second, on a machine that may be busy: less than the minute
/// after which files that look unchanged are read again.
const PATIENCE: Duration = Duration::from_secs(20);

fn status(responder: &Responder, ca: &Ca, leaf: &Leaf) -> Status {
    Ask::about(ca, leaf).at(responder.http(), "/").status
}

/// The same for what is no longer listed: that waits until the index has been still for two seconds.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn turns(responder: &Responder, ca: &Ca, leaf: &Leaf, wanted: &Status) -> Duration {
    let begin = Instant::now();
    let what = format!("{} turns {wanted:?}", leaf.serial);
    let patience = if *wanted == Status::error("unauthorized") { REMOVAL_PATIENCE } else { PATIENCE };
    until(&what, patience, || (status(responder, ca, leaf) == *wanted).then_some(()));
    begin.elapsed()
}

#[test]
fn revoking_with_openssl_ca_turns_the_cached_answer_within_a_second() {
    let (ca, leaf, responder) = serving(Ca::issue);
    let ask = Ask::about(&ca, &leaf);
    let target = http::ocsp_target("/", &ask.request());
    // Asked in every way, so that a good answer lies wherever one is kept.
    let good = http::get(responder.http(), &target);
    ask.at(responder.http(), "/").expect(Status::Good);
    ask.clone().hash("sha256").at(responder.http(), "/").expect(Status::Good);

    ca.revoke(&leaf, &["-crl_reason", "superseded"]);
    let took = turns(&responder, &ca, &leaf, &Status::Revoked);
    // On a machine that is busy with other tests one of several has to be that quick.
    let again = || {
        let leaf = ca.issue();
        turns(&responder, &ca, &leaf, &Status::Good);
        ca.revoke(&leaf, &[]);
        turns(&responder, &ca, &leaf, &Status::Revoked)
    };
    let is_kept = |took: Duration| took < PROMISE + Duration::from_millis(500);
    assert!(is_kept(took) || (0..5).any(|_| is_kept(again())), "{took:?}");
    let answer = ask.at(responder.http(), "/").expect(Status::Revoked);
    assert_eq!(answer.reason.as_deref().map(|reason| reason.starts_with("superseded")), Some(true), "{}", answer.text);
    ask.clone().hash("sha256").at(responder.http(), "/").expect(Status::Revoked);
    let revoked = http::get(responder.http(), &target);
    assert_ne!(good.expect("etag"), revoked.expect("etag"));
    ask.read(&revoked.body).expect(Status::Revoked);
    // A cache that still has the good answer is not told to keep it.
    let condition = format!("If-None-Match: {}\r\n", good.expect("etag"));
    let reply = http::exchange(responder.http(), &http::request("GET", &target, &condition)).unwrap();
    assert_eq!(reply.status, 200);
}

#[test]
fn a_certificate_issued_a_moment_ago_is_answered_although_it_was_asked_for_before() {
    let (ca, _, responder) = serving(Ca::issue);
    let next = Leaf {
        path: ca.file("none"),
        serial: format!("{:X}", 1 + u32::from_str_radix(&last_serial(&ca), 16).unwrap()),
    };
    Ask::about(&ca, &next).at(responder.http(), "/").expect(Status::error("unauthorized"));
    let leaf = ca.issue();
    assert_eq!(leaf.serial, next.serial, "the one that was asked for");
    turns(&responder, &ca, &leaf, &Status::Good);
}

fn last_serial(ca: &Ca) -> String {
    let index = fs::read_to_string(ca.index()).unwrap();
    index.lines().last().unwrap().split('\t').nth(3).unwrap().to_owned()
}

#[test]
fn a_hold_can_be_released_and_a_revocation_cannot() {
    let (ca, (held, revoked), responder) = serving(|ca| (ca.issue(), ca.issue()));
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    turns(&responder, &ca, &held, &Status::Revoked);
    turns(&responder, &ca, &revoked, &Status::Revoked);

    ca.release(&held);
    turns(&responder, &ca, &held, &Status::Good);
    // Revoked again, for good this time.
    ca.revoke(&held, &["-crl_reason", "cessationOfOperation"]);
    turns(&responder, &ca, &held, &Status::Revoked);

    // Somebody edits a final revocation away. It stays; the log tells of it.
    let index = fs::read_to_string(ca.index()).unwrap();
    let fields = ca.index_fields(&revoked);
    let line = fields.join("\t");
    let forged = ["V", &fields[1], "", &fields[3], &fields[4], &fields[5]].join("\t");
    ca.replace_index(&index.replace(&line, &forged));
    // The next issue is seen after the edit was.
    let next = ca.issue();
    turns(&responder, &ca, &next, &Status::Good);
    assert_eq!(status(&responder, &ca, &revoked), Status::Revoked);
    until("the log tells of it", PATIENCE, || {
        let log = responder.log();
        (log.contains(&revoked.serial) && log.contains("WARN")).then_some(())
    });
}

/// A responder with a CRL (and a delta CRL) as its only sources.
fn serving_crl(ca: &Ca, policy: &str, sources: &str) -> Responder {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    Site::new(&[Tenant::new("crl").set(policy).issuer("ca", ca, sources, &signer.lines())]).start()
}

#[test]
fn a_crl_in_pem_or_der_is_a_source() {
    let ca = Ca::new("CA");
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    ca.write_crl("ca.crl");
    openssl(ca.dir(), ["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der.crl"]);
    for file in ["ca.crl", "ca.der.crl"] {
        let responder = serving_crl(&ca, "unlisted = \"unauthorized\"", &format!("crl = {:?}", ca.file(file)));
        let answer = Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
        assert_eq!(
            answer.reason.as_deref().map(|reason| reason.starts_with("superseded")),
            Some(true),
            "{}",
            answer.text
        );
        // A CRL does not list good certificates, so they are not vouched for.
        Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::error("unauthorized"));
    }
    let policy = "unlisted = \"good\"\naccept_unlisted_as_good = true";
    let responder = serving_crl(&ca, policy, &format!("crl = {:?}", ca.file("ca.crl")));
    Ask::about(&ca, &good).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
}

#[test]
fn a_new_crl_and_a_delta_crl_are_followed_while_it_runs() {
    let ca = Ca::new("CA");
    let [first, second, third, held] = [ca.issue(), ca.issue(), ca.issue(), ca.issue()];
    ca.revoke(&first, &["-crl_reason", "keyCompromise"]);
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    ca.write_crl("ca.crl"); // number 1
    ca.write_delta_crl(1, "", "delta.crl");
    let policy = "unlisted = \"good\"\naccept_unlisted_as_good = true";
    let sources = format!("crl = {:?}\ndelta_crl = {:?}", ca.file("ca.crl"), ca.file("delta.crl"));
    let responder = serving_crl(&ca, policy, &sources);
    for (leaf, wanted) in [(&first, Status::Revoked), (&held, Status::Revoked), (&second, Status::Good)] {
        assert_eq!(status(&responder, &ca, leaf), wanted, "{}", leaf.serial);
    }

    // By delta: one more is revoked, and the hold is released.
    ca.revoke(&second, &["-crl_reason", "superseded"]);
    let mut lines = ca.index_fields(&second).join("\t") + "\n";
    lines += &(ca.index_fields(&held).join("\t").replace("certificateHold", "removeFromCRL") + "\n");
    ca.write_delta_crl(1, &lines, "delta.crl");
    turns(&responder, &ca, &second, &Status::Revoked);
    turns(&responder, &ca, &held, &Status::Good);
    assert_eq!(status(&responder, &ca, &first), Status::Revoked);

    // By a new complete CRL. The delta still lying there is older and says nothing more: it must not
    // keep the new one from being taken.
    ca.release(&held);
    ca.revoke(&third, &[]);
    ca.write_crl("ca.crl");
    turns(&responder, &ca, &third, &Status::Revoked);
    for leaf in [&first, &second] {
        assert_eq!(status(&responder, &ca, leaf), Status::Revoked, "{}", leaf.serial);
    }
    assert_eq!(status(&responder, &ca, &held), Status::Good);
}

#[test]
fn shards_are_followed_and_each_refuses_its_own_older_one_while_it_runs() {
    let ca = Ca::new("CA");
    let [first, second, held] = [ca.issue(), ca.issue(), ca.issue()];
    ca.revoke(&first, &["-crl_reason", "keyCompromise"]);
    ca.revoke(&second, &["-crl_reason", "superseded"]);
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    let line = |leaf: &Leaf| ca.index_fields(leaf).join("\t") + "\n";
    let point = |shard: &str| format!("fullname = URI:http://ca.example/{shard}.crl\nonlyuser = TRUE");
    ca.write_part_crl(&point("a"), &line(&held), "a.crl");
    ca.write_part_crl(&point("b"), "", "b.crl");
    let sources = format!("crl = [{:?}, {:?}]\nunlisted = \"unknown\"", ca.file("a.crl"), ca.file("b.crl"));
    let responder = serving_crl(&ca, "", &sources);
    assert_eq!([&first, &held].map(|leaf| status(&responder, &ca, leaf)), [Status::Unknown, Status::Revoked]);

    let before = fs::read(ca.file("a.crl")).unwrap();
    ca.write_part_crl(&point("a"), &line(&first), "a.crl");
    turns(&responder, &ca, &first, &Status::Revoked);
    assert_eq!(status(&responder, &ca, &held), Status::Unknown, "released by its own shard");
    ca.write_part_crl(&point("b"), &line(&second), "b.crl");
    turns(&responder, &ca, &second, &Status::Revoked);

    fs::write(ca.file("next.crl"), before).unwrap();
    fs::rename(ca.file("next.crl"), ca.file("a.crl")).unwrap();
    let told = "a.crl: is older than the CRL taken before";
    until("the older one is refused", PATIENCE, || responder.log().contains(told).then_some(()));
    assert_eq!([&first, &held].map(|leaf| status(&responder, &ca, leaf)), [Status::Revoked, Status::Unknown]);
}

#[test]
fn a_crl_of_another_ca_is_refused_at_start_and_while_running() {
    let (ca, other) = (Ca::new("CA"), Ca::new("Another CA"));
    let revoked = ca.issue();
    ca.revoke(&revoked, &[]);
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    ca.write_crl("ca.crl");
    other.write_crl("other.crl");
    let tenant = |crl: std::path::PathBuf| {
        Tenant::new("crl").issuer("ca", &ca, &format!("crl = {crl:?}\nunlisted = \"unauthorized\""), &signer.lines())
    };
    let said = Site::new(&[tenant(other.file("other.crl"))]).refuses_to_start();
    assert!(said.contains("other.crl"), "{said}");

    let responder = Site::new(&[tenant(ca.file("ca.crl"))]).start();
    fs::copy(other.file("other.crl"), ca.file("next.crl")).unwrap();
    fs::rename(ca.file("next.crl"), ca.file("ca.crl")).unwrap();
    until("the foreign CRL is told of", PATIENCE, || responder.log().contains("last good state").then_some(()));
    assert_eq!(status(&responder, &ca, &revoked), Status::Revoked);
    ca.write_crl("ca.crl");
    let next = ca.issue();
    ca.revoke(&next, &[]);
    ca.write_crl("ca.crl");
    turns(&responder, &ca, &next, &Status::Revoked);
}

#[test]
fn a_broken_index_keeps_the_last_good_state_until_it_is_repaired() {
    let (ca, (good, revoked), responder) = serving(|ca| {
        let revoked = ca.issue();
        ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
        (ca.issue(), revoked)
    });
    let whole = fs::read_to_string(ca.index()).unwrap();
    let lines = whole.lines().count();
    let line_of_revoked = 1 + whole.lines().position(|line| line.starts_with("R\t")).unwrap();
    let last_good = |what: &str| {
        assert_eq!(status(&responder, &ca, &good), Status::Good, "{what}");
        assert_eq!(status(&responder, &ca, &revoked), Status::Revoked, "{what}");
        let ready = http::get(responder.site.admin, "/readyz/ocsp");
        assert_eq!(ready.status, 200, "{what}: it still answers, so it is ready: {}", ready.text());
    };
    let broken = [
        // As a program leaves it that was stopped while writing in place.
        ("cut in the middle of a line", whole[..whole.len() - 20].to_owned(), lines),
        ("a line that is none", format!("{whole}this is no line of openssl ca\n"), lines + 1),
        (
            "a serial number that is none",
            format!("{whole}{}", whole.lines().next().unwrap().replace("\t10", "\tXY") + "\n"),
            lines + 1,
        ),
        ("a type that is none", whole.replacen("R\t", "Q\t", 1), line_of_revoked),
    ];
    for (what, content, line) in broken {
        let before = responder.metric("ostia_source_faults_total", "");
        fs::write(ca.index(), content).unwrap();
        until(what, PATIENCE, || (responder.metric("ostia_source_faults_total", "") > before).then_some(()));
        let place = format!("{}:{line}:", ca.index().display());
        until(&format!("{what}: {place} in the log"), PATIENCE, || responder.log().contains(&place).then_some(()));
        last_good(what);
        fs::write(ca.index(), &whole).unwrap();
        let leaf = ca.issue();
        turns(&responder, &ca, &leaf, &Status::Good);
        ca.replace_index(&whole);
        turns(&responder, &ca, &leaf, &Status::error("unauthorized"));
    }

    fs::remove_file(ca.index()).unwrap();
    let told = || responder.log().lines().any(|line| line.contains("index.txt") && line.contains("cannot be read"));
    until("a missing index is told of", PATIENCE, || told().then_some(()));
    last_good("removed");
    fs::write(ca.index(), &whole).unwrap();
    let leaf = ca.issue();
    turns(&responder, &ca, &leaf, &Status::Good);
}

#[test]
fn an_index_that_lost_most_of_its_lines_is_refused_until_someone_says_that_it_is_meant() {
    let (ca, leaf, mut responder) = serving(|ca| {
        let leaf = ca.issue();
        let fields = ca.index_fields(&leaf);
        let more = |number: u32| {
            let serial = format!("{:X}", 0x50_0000 + number);
            ["V", &fields[1], "", &serial, "unknown", "/CN=more"].join("\t") + "\n"
        };
        let index = fs::read_to_string(ca.index()).unwrap();
        ca.replace_index(&(index + &(0..200).map(more).collect::<String>()));
        leaf
    });
    let whole = fs::read_to_string(ca.index()).unwrap();
    let few: String = whole.lines().take(2).map(|line| format!("{line}\n")).collect();
    assert!(few.contains(&format!("\t{}\t", leaf.serial)));
    let more = Leaf { path: ca.file("none"), serial: "500001".into() };
    assert_eq!(status(&responder, &ca, &more), Status::Good);
    ca.replace_index(&few);
    until("the loss is told of", REMOVAL_PATIENCE, || responder.log().contains("--accept-shrink").then_some(()));
    assert_eq!(status(&responder, &ca, &more), Status::Good, "the last good state stays");

    responder.end_by("TERM");
    let site = responder.into_site();
    let said = site.precompute("sync", &[]);
    assert!(!said.status.success() && said.text.contains("--accept-shrink"), "{said:?}");
    let shown = site.precompute("show", &["500001"]);
    assert!(shown.status.success() && shown.text.contains("good"), "{shown:?}");
    let said = site.precompute("sync", &["--accept-shrink"]);
    assert!(said.status.success(), "{said:?}");
    let responder = site.start();
    assert_eq!(status(&responder, &ca, &more), Status::error("unauthorized"));
    assert_eq!(status(&responder, &ca, &leaf), Status::Good);
}
