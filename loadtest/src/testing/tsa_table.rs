//! Wrong time-stamps, each caught and counted under its kind by a whole run.

use crate::certificate::Certificate;
use crate::der::{Reader, only, tag};
use crate::hash::Hash;
use crate::oid;
use crate::outcome::Kind;
use crate::run::ending;
use crate::testing::forge::{Identity, Profile, Stamp, now, tsp_refusal};
use crate::testing::server::{Reply, Request, Server};
use crate::testing::{kinds, report_of};
use crate::time::UnixNanos;
use crate::tsa::judge::{Question, judge};
use crate::tsa::proof::TsaProver;
use program::Exit;
use std::sync::Arc;

struct Keys {
    root: Identity,
    signer: Identity,
    stranger: Identity,
    strangers_signer: Identity,
    expired: Identity,
    not_critical: Identity,
    two_purposes: Identity,
}

impl Keys {
    fn new() -> Arc<Self> {
        let (root, stranger) = (Identity::root("root"), Identity::root("stranger"));
        let expired = Profile { not_after: now() - 10, ..Profile::tsa("old") };
        let not_critical = Profile { purposes_critical: false, ..Profile::tsa("lax") };
        let two = Profile { purposes: &[oid::KP_TIME_STAMPING, oid::KP_OCSP_SIGNING], ..Profile::tsa("two") };
        Arc::new(Self {
            signer: Identity::issued_by(&root, &Profile::tsa("tsa")),
            strangers_signer: Identity::issued_by(&stranger, &Profile::tsa("tsa")),
            expired: Identity::issued_by(&root, &expired),
            not_critical: Identity::issued_by(&root, &not_critical),
            two_purposes: Identity::issued_by(&root, &two),
            root,
            stranger,
        })
    }
}

/// Imprint and nonce of a request.
fn asked(request: &Request) -> (Vec<u8>, Vec<u8>) {
    let mut fields = Reader::new(only(&request.der, tag::SEQUENCE, "r").unwrap().content);
    fields.any("version").unwrap();
    let mut imprint = fields.nested(tag::SEQUENCE, "i").unwrap();
    imprint.any("alg").unwrap();
    let digest = imprint.content(tag::OCTET_STRING, "d").unwrap().to_vec();
    fields.optional(tag::OID, "policy").unwrap();
    (digest, fields.integer("nonce").unwrap().to_vec())
}

/// Kinds and exit status of 12 requests.
fn run(
    keys: &Arc<Keys>,
    more: &[&str],
    make: impl Fn(&Keys, Stamp<'_>, usize) -> Vec<u8> + Send + Sync + 'static,
) -> (Vec<(&'static str, u64)>, Exit) {
    let directory = tempfile::tempdir().unwrap();
    let pem = keys.root.pem(directory.path(), "root.pem");
    let keys = Arc::clone(keys);
    let server = Server::start(move |request| {
        let (imprint, nonce) = asked(request);
        let serial = [0x40, request.number as u8];
        let stamp = Stamp::new(&keys.root, &keys.signer, &imprint, &nonce, &serial);
        // The forger signs for whoever it likes, so the stamp is lent with the keys.
        Reply::Body(make(&keys, stamp, request.number))
    });
    let (url, pem) = (server.url(), pem.to_str().unwrap());
    let mut arguments = vec!["tsa", "--url", &url, "--ca", pem, "-n", "12", "-c", "3"];
    arguments.extend(if more.contains(&"--verify") { &[][..] } else { &["--verify", "all"] });
    arguments.extend(more);
    let report = report_of(&arguments);
    assert_eq!(report.answered, 12);
    (kinds(&report), ending(&report))
}

#[test]
fn accepts_true_tokens_and_counts_every_wrong_one_under_its_kind() {
    let keys = Keys::new();
    assert_eq!(run(&keys, &[], |_, s, _| s.encode()), (vec![], Exit::Done));
    type Make = fn(&Keys, Stamp<'_>) -> Vec<u8>;
    let table: Vec<(&str, Make, &str)> = vec![
        ("another nonce", |_, s| Stamp { nonce: Some(vec![0x41; 8]), ..s }.encode(), "nonce_mismatch"),
        ("no nonce", |_, s| Stamp { nonce: None, ..s }.encode(), "nonce_mismatch"),
        ("another imprint", |_, s| Stamp { imprint: vec![1; 32], ..s }.encode(), "imprint_mismatch"),
        ("another hash", |_, s| Stamp { hash: Hash::Sha384, ..s }.encode(), "imprint_mismatch"),
        ("from an hour ago", |_, s| Stamp { gen_time: now() - 3600, ..s }.encode(), "gen_time"),
        ("from the future", |_, s| Stamp { gen_time: now() + 3600, ..s }.encode(), "gen_time"),
        ("a bad signature", |_, s| Stamp { spoil_signature: true, ..s }.encode(), "bad_signature"),
        ("another content", |_, s| Stamp { spoil_message_digest: true, ..s }.encode(), "signed_attributes"),
        ("another content type", |_, s| Stamp { spoil_content_type: true, ..s }.encode(), "signed_attributes"),
        ("bound to no certificate", |_, s| Stamp { bound_to: None, ..s }.encode(), "signed_attributes"),
        (
            "bound to another",
            |k, s| Stamp { bound_to: Some(k.root.certificate.clone()), ..s }.encode(),
            "signed_attributes",
        ),
        ("without its certificate", |_, s| Stamp { certificates: vec![], ..s }.encode(), "untrusted_signer"),
        ("a stranger's", |k, s| by(&k.stranger, &k.strangers_signer, s), "untrusted_signer"),
        ("an expired signer's", |k, s| by(&k.root, &k.expired, s), "untrusted_signer"),
        ("with a purpose that is not critical", |k, s| by(&k.root, &k.not_critical, s), "untrusted_signer"),
        ("with two purposes", |k, s| by(&k.root, &k.two_purposes, s), "untrusted_signer"),
        ("a serial of 161 bits", |_, s| Stamp { serial: [&[1][..], &[0; 20]].concat(), ..s }.encode(), "malformed"),
        ("a negative serial", |_, s| Stamp { serial: vec![0x80], ..s }.encode(), "malformed"),
        ("cut short", |_, s| s.encode()[..200].to_vec(), "malformed"),
        ("nothing", |_, _| Vec::new(), "malformed"),
        ("badAlg", |_, _| tsp_refusal(0), "tsp_bad_alg"),
        ("badRequest", |_, _| tsp_refusal(2), "tsp_bad_request"),
        ("badDataFormat", |_, _| tsp_refusal(5), "tsp_bad_data_format"),
        ("timeNotAvailable", |_, _| tsp_refusal(14), "tsp_time_not_available"),
        ("unacceptedPolicy", |_, _| tsp_refusal(15), "tsp_unaccepted_policy"),
        ("unacceptedExtension", |_, _| tsp_refusal(16), "tsp_unaccepted_extension"),
        ("addInfoNotAvailable", |_, _| tsp_refusal(17), "tsp_add_info_not_available"),
        ("systemFailure", |_, _| tsp_refusal(25), "tsp_system_failure"),
        ("an unknown failure", |_, _| tsp_refusal(9), "tsp_not_granted"),
    ];
    for (name, make, kind) in table {
        let (counted, end) = run(&keys, &[], move |keys, stamp, _| make(keys, stamp));
        assert_eq!(counted, [(kind, 12)], "{name}");
        let wrong = !kind.starts_with("tsp_");
        assert_eq!(end, if wrong { Exit::NotInOrder } else { Exit::Done }, "{name}");
    }
}

fn by(issuer: &Identity, signer: &Identity, stamp: Stamp<'_>) -> Vec<u8> {
    let certificates = vec![signer.certificate.clone()];
    let bound_to = Some(signer.certificate.clone());
    let Stamp { policy, hash, imprint, nonce, serial, gen_time, .. } = stamp;
    let (issuer_name, spoil) = (issuer.name.clone(), false);
    Stamp {
        signer,
        issuer_name,
        policy,
        hash,
        imprint,
        nonce,
        serial,
        gen_time,
        certificates,
        spoil_signature: spoil,
        spoil_message_digest: spoil,
        spoil_content_type: spoil,
        bound_to,
    }
    .encode()
}

#[test]
fn one_wrong_token_among_right_ones_is_told_and_only_signatures_wait_for_being_verified() {
    let keys = Keys::new();
    type Make = fn(Stamp<'_>) -> Stamp<'_>;
    let table: [(Make, &str); 5] = [
        (|s| Stamp { imprint: vec![1; 32], ..s }, "imprint_mismatch"),
        (|s| Stamp { nonce: Some(vec![0x41; 8]), ..s }, "nonce_mismatch"),
        (|s| Stamp { gen_time: now() - 10, ..s }, "gen_time"),
        (|s| Stamp { serial: vec![0x40, 0], ..s }, "repeated_serial"),
        (|s| Stamp { spoil_signature: true, ..s }, "bad_signature"),
    ];
    for (make, kind) in table {
        for verify in ["all", "none"] {
            let told = run(&keys, &["--verify", verify], move |_, stamp, number| {
                if number == 7 { make(stamp) } else { stamp }.encode()
            });
            let unseen = verify == "none" && kind == "bad_signature";
            let expected = if unseen { (vec![], Exit::Done) } else { (vec![(kind, 1)], Exit::NotInOrder) };
            assert_eq!(told, expected, "{kind}, {verify} verified");
        }
    }
}

#[test]
fn a_gen_time_counts_up_to_skew_and_accuracy_and_not_a_nanosecond_further() {
    let keys = Keys::new();
    let gen_time = now();
    let stamp = Stamp::new(&keys.root, &keys.signer, &[3; 32], &[0x41; 8], &[0x40]);
    let body = Stamp { gen_time, ..stamp }.encode();
    let told = UnixNanos(gen_time * 1_000_000_000);
    // The forger's accuracy is a second.
    for (skew_s, tolerance) in [(0, 1_000_000_000), (60, 61_000_000_000)] {
        let judged = |asked: i64, now: i64| {
            let (asked, now) = (UnixNanos(told.0 + asked), UnixNanos(told.0 + now));
            let (imprint, nonce) = (&[3; 32][..], &[0x41; 8][..]);
            let question = Question { hash: Hash::Sha256, imprint, nonce, policy: None, asked, skew_s };
            judge(&question, &body, now).map(|_| ())
        };
        assert_eq!(judged(tolerance, tolerance), Ok(()), "early");
        assert_eq!(judged(tolerance + 1, tolerance + 1), Err(Kind::GenTime), "too early");
        assert_eq!(judged(-tolerance, -tolerance), Ok(()), "late");
        assert_eq!(judged(-tolerance - 1, -tolerance - 1), Err(Kind::GenTime), "too late");
        assert_eq!(judged(-3_600_000_000_000, 3_600_000_000_000), Ok(()), "in between, however long that took");
    }
}

#[test]
fn requires_the_policy_that_was_asked_for() {
    let keys = Keys::new();
    assert_eq!(
        run(&keys, &["--policy", "1.2.3"], |_, s, _| Stamp { policy: vec![0x2a, 0x03], ..s }.encode()).1,
        Exit::Done
    );
    assert_eq!(run(&keys, &["--policy", "1.2.4"], |_, s, _| s.encode()).0, [("policy_mismatch", 12)]);
}

#[test]
fn counts_serial_numbers_that_repeat_across_connections_and_targets() {
    let keys = Keys::new();
    let (counted, end) = run(&keys, &[], |_, s, number| Stamp { serial: vec![0x40, (number / 2) as u8], ..s }.encode());
    assert_eq!((counted, end), (vec![("repeated_serial", 6)], Exit::NotInOrder));

    // Two authorities that count from the same number.
    let directory = tempfile::tempdir().unwrap();
    let pem = keys.root.pem(directory.path(), "root.pem");
    let serve = |keys: Arc<Keys>| {
        Server::start(move |request| {
            let (imprint, nonce) = asked(request);
            let serial = [0x40, request.number as u8];
            Reply::Body(Stamp::new(&keys.root, &keys.signer, &imprint, &nonce, &serial).encode())
        })
    };
    let (a, b) = (serve(Arc::clone(&keys)), serve(Arc::clone(&keys)));
    let (a, b) = (a.url(), b.url());
    // The one connection to each server is closed after its tenth request by nobody: 20 requests, ten to each.
    let report =
        report_of(&["tsa", "--url", &a, "--url", &b, "--ca", pem.to_str().unwrap(), "-n", "20", "-c", "2", "-t", "2"]);
    let serials = report.serials.as_ref().unwrap();
    assert_eq!((serials.collected, serials.repeated), (20, 10));
    assert_eq!(serials.examples[0], ("4000".to_owned(), vec![a, b]));
    assert_eq!(ending(&report), Exit::NotInOrder);
}

#[test]
fn finds_the_signer_among_the_trusted_when_it_is_not_sent() {
    let keys = Keys::new();
    let directory = tempfile::tempdir().unwrap();
    let chain = directory.path().join("chain.pem");
    let both = [&keys.root, &keys.signer].map(|k| std::fs::read(k.pem(directory.path(), "one.pem")).unwrap()).concat();
    std::fs::write(&chain, both).unwrap();
    let server = Server::start(move |request| {
        let (imprint, nonce) = asked(request);
        let stamp = Stamp::new(&keys.root, &keys.signer, &imprint, &nonce, &[0x40, request.number as u8]);
        Reply::Body(Stamp { certificates: vec![], ..stamp }.encode())
    });
    let (url, ca) = (server.url(), chain.to_str().unwrap());
    let report = report_of(&["tsa", "--url", &url, "--ca", ca, "-n", "9", "--no-cert-req", "--verify", "all"]);
    assert_eq!((kinds(&report), report.right, report.verification.checked), (vec![], 9, 9));
}

#[test]
fn never_panics_and_never_verifies_at_any_cut_or_changed_octet() {
    let keys = Keys::new();
    let whole = Stamp::new(&keys.root, &keys.signer, &[3; 32], &[0x41; 8], &[0x40]).encode();
    let anchors = Arc::new(vec![Certificate::from_der(&keys.root.certificate).unwrap()]);
    let accepts = |body: &[u8]| -> Result<(), Kind> {
        let asked = UnixNanos::now();
        let question =
            Question { hash: Hash::Sha256, imprint: &[3; 32], nonce: &[0x41; 8], policy: None, asked, skew_s: 60 };
        let proof = TsaProver::new(Arc::clone(&anchors)).prove(body, now());
        judge(&question, body, asked).and(proof)
    };
    assert_eq!(accepts(&whole), Ok(()));
    for cut in 0..whole.len() {
        assert_eq!(accepts(&whole[..cut]), Err(Kind::Malformed), "cut at {cut}");
    }
    // Content and signed attributes; the content is found by its own bytes.
    let content = match crate::tsa::response::TimeStampResponse::read(&whole) {
        Ok(crate::tsa::response::TimeStampResponse::Granted(token)) => token.content.to_vec(),
        other => panic!("{other:?}"),
    };
    let start = whole.windows(content.len()).position(|w| w == content).unwrap();
    for place in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[place] ^= flip;
            let verdict = accepts(&changed);
            let within = (start..start + content.len()).contains(&place);
            assert!(!within || verdict.is_err(), "byte {place} of the content");
        }
    }
}
