//! Wrong OCSP answers, each caught and counted under its kind by a whole run.

use crate::der::{Reader, only, tag};
use crate::hash::Hash;
use crate::ocsp::judge::{Accepted, Expectation, Question, Rules, Unlisted, judge};
use crate::ocsp::proof::OcspProver;
use crate::ocsp::request::IssuerId;
use crate::outcome::Kind;
use crate::run::ending;
use crate::testing::forge::{Answer, Identity, Profile, good, now, ocsp_error, revoked, unknown};
use crate::testing::server::{Reply, Request, Server};
use crate::testing::{kinds, report_of};
use program::Exit;
use std::path::PathBuf;
use std::sync::Arc;

const SERIAL: &[u8] = &[0x2a];
const REVOKED_AT: i64 = 1_704_164_645;

struct Scene {
    directory: tempfile::TempDir,
    issuer: Identity,
    stranger: Identity,
    delegate: Identity,
    pem: PathBuf,
    /// Lists 2A as good.
    good_index: PathBuf,
    /// Lists 2A as revoked for keyCompromise.
    revoked_index: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issuer = Identity::root("issuer");
        let pem = issuer.pem(directory.path(), "ca.pem");
        let good_index = directory.path().join("good.txt");
        std::fs::write(&good_index, "V\t350101000000Z\t\t2A\tunknown\t/CN=x\n").unwrap();
        let revoked_index = directory.path().join("revoked.txt");
        std::fs::write(&revoked_index, "R\t350101000000Z\t240102030405Z,keyCompromise\t2A\tunknown\t/CN=x\n").unwrap();
        let delegate = Identity::issued_by(&issuer, &Profile::ocsp("delegate"));
        let stranger = Identity::root("stranger");
        Self { directory, issuer, stranger, delegate, pem, good_index, revoked_index }
    }

    fn answer(&self) -> Answer<'_> {
        Answer::new(&self.issuer, SERIAL)
    }

    /// The report's kinds, and the exit status, of 20 requests all answered with `body`.
    fn run(&self, index: &std::path::Path, body: Vec<u8>, more: &[&str]) -> (Vec<(&'static str, u64)>, Exit) {
        let server = Server::start(move |_| Reply::Body(body.clone()));
        let (url, pem) = (server.url(), self.pem.to_str().unwrap());
        let mut arguments = vec!["ocsp", "--url", &url, "--issuer", pem, "--index", index.to_str().unwrap()];
        arguments.extend(["-n", "20", "-c", "2", "--verify", "all"]);
        arguments.extend(more);
        let report = report_of(&arguments);
        assert_eq!(report.answered, 20);
        (kinds(&report), ending(&report))
    }
}

#[test]
fn counts_every_wrong_answer_under_its_kind() {
    let scene = Scene::new();
    let s = &scene;
    let expired_delegate = Identity::issued_by(&s.issuer, &Profile { not_after: now() - 10, ..Profile::ocsp("old") });
    let without_purpose = Identity::issued_by(&s.issuer, &Profile::new("no purpose"));
    let strangers_delegate = Identity::issued_by(&s.stranger, &Profile::ocsp("delegate"));
    let hold = revoked(REVOKED_AT, Some(6));
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("another serial", Answer { serial: vec![0x2b], ..s.answer() }.encode(), "cert_id_mismatch"),
        ("another hash algorithm", Answer { hash: Hash::Sha256, ..s.answer() }.encode(), "cert_id_mismatch"),
        ("another issuer's hashes", Answer { issuer: &s.stranger, ..s.answer() }.encode(), "cert_id_mismatch"),
        (
            "expired",
            Answer { this_update: now() - 7200, next_update: Some(now() - 3600), ..s.answer() }.encode(),
            "expired",
        ),
        (
            "from the future",
            Answer { this_update: now() + 3600, next_update: Some(now() + 7200), ..s.answer() }.encode(),
            "not_yet_valid",
        ),
        ("produced in the future", Answer { produced_at: now() + 3600, ..s.answer() }.encode(), "not_yet_valid"),
        ("backward times", Answer { next_update: Some(now() - 3600), ..s.answer() }.encode(), "malformed"),
        ("a bad signature", Answer { spoil_signature: true, ..s.answer() }.encode(), "bad_signature"),
        (
            "a delegate's bad signature",
            Answer { spoil_signature: true, ..s.answer().by(&s.delegate) }.encode(),
            "bad_signature",
        ),
        ("a stranger's signature", s.answer().by(&s.stranger).encode(), "untrusted_signer"),
        ("a stranger's delegate", s.answer().by(&strangers_delegate).encode(), "untrusted_signer"),
        ("an expired delegate", s.answer().by(&expired_delegate).encode(), "untrusted_signer"),
        ("a delegate without the purpose", s.answer().by(&without_purpose).encode(), "untrusted_signer"),
        (
            "a delegate left out",
            Answer { certificates: vec![], ..s.answer().by(&s.delegate) }.encode(),
            "untrusted_signer",
        ),
        (
            "revoked instead of good",
            Answer { status: revoked(now() - 60, None), ..s.answer() }.encode(),
            "wrong_status",
        ),
        ("unknown instead of good", Answer { status: unknown(), ..s.answer() }.encode(), "wrong_status"),
        (
            "a reason that does not exist",
            Answer { status: revoked(now(), Some(7)), ..s.answer() }.encode(),
            "malformed",
        ),
        ("cut short", s.answer().encode()[..100].to_vec(), "malformed"),
        ("trailing bytes", [s.answer().encode(), vec![0]].concat(), "malformed"),
        ("nothing", Vec::new(), "malformed"),
        ("a status that does not exist", ocsp_error(4), "malformed"),
        ("malformedRequest", ocsp_error(1), "ocsp_malformed_request"),
        ("internalError", ocsp_error(2), "ocsp_internal_error"),
        ("tryLater", ocsp_error(3), "ocsp_try_later"),
        ("sigRequired", ocsp_error(5), "ocsp_sig_required"),
        ("unauthorized", ocsp_error(6), "ocsp_unauthorized"),
    ];
    for (name, body, kind) in table {
        let (counted, end) = s.run(&s.good_index, body, &[]);
        assert_eq!(counted, [(kind, 20)], "{name}");
        let wrong = !kind.starts_with("ocsp_");
        assert_eq!(end, if wrong { Exit::NotInOrder } else { Exit::Done }, "{name}");
    }

    // Against an index that says revoked.
    let table = [
        ("good instead of revoked", good(), 1),
        ("another reason", revoked(REVOKED_AT, Some(4)), 1),
        ("no reason", revoked(REVOKED_AT, None), 1),
        ("another time", revoked(REVOKED_AT + 1, Some(1)), 1),
        ("hold", hold, 1),
        ("the truth", revoked(REVOKED_AT, Some(1)), 0),
    ];
    for (name, status, wrong) in table {
        let (counted, _) = s.run(&s.revoked_index, Answer { status, ..s.answer() }.encode(), &["--status-may-change"]);
        assert_eq!(counted.contains(&("wrong_status", 20)), wrong == 1, "{name}: {counted:?}");
    }
}

#[test]
fn accepts_every_right_answer() {
    let scene = Scene::new();
    let s = &scene;
    let nothing: &[(&str, u64)] = &[];
    for (name, body) in [
        ("by the issuer", s.answer().encode()),
        ("by a delegate", s.answer().by(&s.delegate).encode()),
        ("without nextUpdate", Answer { next_update: None, ..s.answer() }.encode()),
        ("with a nonce that nobody asked for", Answer { nonce: Some(vec![1; 16]), ..s.answer() }.encode()),
    ] {
        assert_eq!(s.run(&s.good_index, body, &[]), (nothing.to_vec(), Exit::Done), "{name}");
    }
    let sha512 = Answer { hash: Hash::Sha512, ..s.answer() }.encode();
    assert_eq!(s.run(&s.good_index, sha512, &["--hash", "sha512"]), (nothing.to_vec(), Exit::Done));
    let newly_revoked = Answer { status: revoked(now(), Some(1)), ..s.answer() }.encode();
    assert_eq!(s.run(&s.good_index, newly_revoked, &["--status-may-change"]).1, Exit::Done);
    let old = Answer { this_update: now() - 7200, produced_at: now() - 7200, ..s.answer() }.encode();
    assert_eq!(s.run(&s.good_index, old.clone(), &[]).1, Exit::Done);
    assert_eq!(s.run(&s.good_index, old, &["--max-age", "1h"]).0, [("expired", 20)]);
}

#[test]
fn requires_the_nonce_back_unless_told_otherwise() {
    let scene = Scene::new();
    let s = &scene;
    let without = s.answer().encode();
    assert_eq!(s.run(&s.good_index, without.clone(), &["--nonce", "16"]).0, [("nonce_mismatch", 20)]);
    assert_eq!(s.run(&s.good_index, without, &["--nonce", "16", "--nonce-optional"]).0, []);
    let other = Answer { nonce: Some(vec![9; 16]), ..s.answer() }.encode();
    assert_eq!(s.run(&s.good_index, other, &["--nonce", "16", "--nonce-optional"]).0, [("nonce_mismatch", 20)]);

    // An honest server, which needs to sign each answer anew.
    let (issuer, nonce_of) = (Identity::root("issuer"), nonce_of);
    let pem = issuer.pem(s.directory.path(), "nonce-ca.pem");
    let server = Server::start(move |r| {
        Reply::Body(Answer { nonce: Some(nonce_of(r)), ..Answer::new(&issuer, SERIAL) }.encode())
    });
    let (url, index) = (server.url(), s.good_index.to_str().unwrap());
    let pem = pem.to_str().unwrap();
    let report = report_of(&[
        "ocsp", "--url", &url, "--issuer", pem, "--index", index, "-n", "40", "--nonce", "32", "--verify", "all",
    ]);
    assert_eq!((kinds(&report), report.right, report.verification.checked), (vec![], 40, 40));
}

fn nonce_of(request: &Request) -> Vec<u8> {
    let mut tbs =
        Reader::new(only(&request.der, tag::SEQUENCE, "r").unwrap().content).nested(tag::SEQUENCE, "t").unwrap();
    tbs.any("requestList").unwrap();
    let mut list = tbs.nested(tag::context(2), "e").unwrap().nested(tag::SEQUENCE, "l").unwrap();
    let extension = crate::certificate::Extension::read(&mut list).unwrap();
    only(extension.value, tag::OCTET_STRING, "nonce").unwrap().content.to_vec()
}

#[test]
fn judges_serials_that_were_never_issued_by_the_policy_named() {
    let scene = Scene::new();
    let s = &scene;
    // The one serial of this seed is learnt from the request.
    let table = [
        ("unauthorized", "not-good", true),
        ("unauthorized", "unknown", false),
        ("unauthorized", "any", true),
        ("unknown", "not-good", true),
        ("unknown", "unauthorized", false),
        ("revoked", "not-good", true),
        ("revoked", "revoked", true),
        ("revoked", "unknown", false),
        ("good", "not-good", false),
        ("good", "good", true),
    ];
    for (says, policy, right) in table {
        let issuer = Identity::root("issuer");
        let pem = issuer.pem(s.directory.path(), "random-ca.pem");
        let server = Server::start(move |request| {
            let answer = Answer::new(&issuer, &serial_of(request));
            Reply::Body(match says {
                "unauthorized" => ocsp_error(6),
                "unknown" => Answer { status: unknown(), ..answer }.encode(),
                "revoked" => Answer { status: revoked(0, Some(6)), ..answer }.encode(),
                _ => answer.encode(),
            })
        });
        let (url, pem) = (server.url(), pem.to_str().unwrap());
        let report =
            report_of(&["ocsp", "--url", &url, "--issuer", pem, "--random", "3", "-n", "12", "--unlisted", policy]);
        assert_eq!(report.right == 12, right, "{says} under {policy}: {:?}", report.kinds);
        assert_eq!(report.said.contains_key(says), right, "{says} under {policy}");
    }
}

fn serial_of(request: &Request) -> Vec<u8> {
    let mut tbs =
        Reader::new(only(&request.der, tag::SEQUENCE, "r").unwrap().content).nested(tag::SEQUENCE, "t").unwrap();
    let list = tbs.nested(tag::SEQUENCE, "l").and_then(|mut l| l.nested(tag::SEQUENCE, "R"));
    let mut cert_id = list.and_then(|mut r| r.nested(tag::SEQUENCE, "c")).unwrap();
    for field in ["hashAlgorithm", "issuerNameHash", "issuerKeyHash"] {
        cert_id.any(field).unwrap();
    }
    cert_id.content(tag::INTEGER, "serialNumber").unwrap().to_vec()
}

#[test]
fn catches_the_one_bad_answer_among_many_good_ones() {
    let scene = Scene::new();
    let right = scene.answer().encode();
    let bad = Answer { spoil_signature: true, ..scene.answer() }.encode();
    let server = Server::start(move |r| Reply::Body(if r.number == 57 { bad.clone() } else { right.clone() }));
    let (url, pem, index) = (server.url(), scene.pem.to_str().unwrap(), scene.good_index.to_str().unwrap());
    let report = report_of(&[
        "ocsp", "--url", &url, "--issuer", pem, "--index", index, "-n", "100", "-c", "1", "--verify", "all",
    ]);
    assert_eq!((kinds(&report), report.right), (vec![("bad_signature", 1)], 99));
    assert_eq!(report.examples[0].subject, "2A");
    // Once each for the good body, the bad one, and the good one that took its place again.
    assert_eq!((report.verification.checked, report.verification.repeats_of_checked), (3, 97));
}

#[test]
fn never_panics_and_never_verifies_at_any_cut_or_changed_octet() {
    let issuer = Identity::root("issuer");
    let delegate = Identity::issued_by(&issuer, &Profile::ocsp("delegate"));
    let answer = Answer { nonce: Some(vec![5; 16]), status: revoked(now(), Some(1)), ..Answer::new(&issuer, SERIAL) };
    let whole = answer.by(&delegate).encode();
    let certificate = Arc::new(crate::certificate::Certificate::from_der(&issuer.certificate).unwrap());
    let rules = Rules {
        issuer: IssuerId::new(&certificate, Hash::Sha1),
        unlisted: Unlisted::NotGood,
        status_may_change: false,
        nonce_may_be_missing: false,
        skew_s: 1,
        max_age_s: None,
    };
    let question = Question { serial: SERIAL, nonce: &[5; 16], expectation: Expectation::Any };
    let accepts = |body: &[u8]| -> Result<(), Kind> {
        // A prover of its own for each, so that nothing is remembered.
        let proof = OcspProver::new(Arc::clone(&certificate)).prove(body, now());
        match judge(&rules, &question, body, now())? {
            Accepted::Signed(_) => proof,
            Accepted::Unsigned => Ok(()),
        }
    };
    assert_eq!(accepts(&whole), Ok(()));
    for cut in 0..whole.len() {
        assert_eq!(accepts(&whole[..cut]), Err(Kind::Malformed), "cut at {cut}");
    }
    // tbsResponseData is signed; it is found by its own bytes.
    let signed = match crate::ocsp::response::OcspResponse::read(&whole) {
        Ok(crate::ocsp::response::OcspResponse::Basic(basic)) => basic.signed.to_vec(),
        other => panic!("{other:?}"),
    };
    let start = whole.windows(signed.len()).position(|w| w == signed).unwrap();
    for place in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[place] ^= flip;
            let verdict = accepts(&changed);
            let within = (start..start + signed.len()).contains(&place);
            assert!(!within || verdict.is_err(), "byte {place} of the signed part");
        }
    }
}
