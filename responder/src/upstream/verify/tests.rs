//! Real answers of `openssl ocsp`, right ones and all kinds of wrong ones.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use precompute::pki::{Reason, certificates};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::ocsp::request::Request;

const EXTENSIONS: &str = "
[ocsp]
extendedKeyUsage = OCSPSigning
keyUsage = digitalSignature
[server]
extendedKeyUsage = serverAuth
keyUsage = digitalSignature
[silent]
extendedKeyUsage = OCSPSigning
keyUsage = keyEncipherment
";

/// Serial number 0x1000 is good, 0x1001 is revoked, and others are not known.
const INDEX: &str =
    "V\t351231235959Z\t\t1000\tunknown\t/CN=a\nR\t351231235959Z\t250101000000Z,keyCompromise\t1001\tunknown\t/CN=b\n";

/// A CA with delegates, a stranger with some as well, and what is asked.
pub(in crate::upstream) struct World(TempDir);

impl World {
    pub(in crate::upstream) fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::write(world.path("extensions"), EXTENSIONS).unwrap();
        fs::write(world.path("index"), INDEX).unwrap();
        for (name, subject) in [("ca", "/CN=CA"), ("stranger", "/CN=CA")] {
            let [key, pem] = ["key", "pem"].map(|suffix| format!("{name}.{suffix}"));
            world.openssl(&[
                "req",
                "-x509",
                "-nodes",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                subject,
                "-days",
                "3650",
                "-keyout",
                &key,
                "-out",
                &pem,
            ]);
        }
        for (name, ca, section, days) in [
            ("delegate", "ca", "ocsp", "30"),
            ("server", "ca", "server", "30"),
            ("silent", "ca", "silent", "30"),
            ("short", "ca", "ocsp", "1"),
            ("foreign", "stranger", "ocsp", "30"),
        ] {
            let [key, csr, pem] = ["key", "csr", "pem"].map(|suffix| format!("{name}.{suffix}"));
            let [ca, ca_key] = ["pem", "key"].map(|suffix| format!("{ca}.{suffix}"));
            let subject = format!("/CN={name}");
            world.openssl(&[
                "req",
                "-new",
                "-nodes",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                &subject,
                "-keyout",
                &key,
                "-out",
                &csr,
            ]);
            world.openssl(&[
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAcreateserial",
                "-days",
                days,
                "-extfile",
                "extensions",
                "-extensions",
                section,
                "-out",
                &pem,
            ]);
        }
        world
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(in crate::upstream) fn certificate(&self, name: &str) -> Certificate {
        certificates(&self.path(&format!("{name}.pem"))).unwrap().remove(0)
    }

    /// A question of `openssl ocsp` about certificates of the CA.
    pub(in crate::upstream) fn question(&self, serials: &[&str], more: &[&str]) -> Question {
        let serials: Vec<_> = serials.iter().flat_map(|serial| ["-serial", serial]).collect();
        self.openssl(&[&["ocsp", "-issuer", "ca.pem"], &serials[..], more, &["-reqout", "request"]].concat());
        let der = fs::read(self.path("request")).unwrap();
        let request = Request::decode(&der).unwrap();
        let nonce = request.nonce().unwrap().map(Into::into);
        Question { ids: request.cert_ids().map(|id| Asked::from(&id)).collect(), nonce }
    }

    /// The answer of `openssl ocsp` to that, signed by `signer`.
    pub(in crate::upstream) fn answer(&self, question: &Question, signer: &str, more: &[&str]) -> Vec<u8> {
        fs::write(self.path("question"), question.der()).unwrap();
        let [pem, key] = ["pem", "key"].map(|suffix| format!("{signer}.{suffix}"));
        let respond = ["ocsp", "-index", "index", "-CA", "ca.pem", "-reqin", "question", "-respout", "answer"];
        self.openssl(&[&respond[..], &["-rsigner", &pem, "-rkey", &key], more].concat());
        fs::read(self.path("answer")).unwrap()
    }

    fn judged(&self, der: &[u8], question: &Question, now: UnixTime) -> Result<Verified, String> {
        self.judged_by(
            der,
            &Rules { question, issuers: &[&self.certificate("ca")], signer: None, carried: &[], may_lack_nonce: false },
            now,
        )
    }

    fn judged_by(&self, der: &[u8], rules: &Rules<'_>, now: UnixTime) -> Result<Verified, String> {
        match verify(der, rules, now) {
            Ok(Ok(verified)) => Ok(verified),
            Ok(Err(error)) => Err(error.name().to_owned()),
            Err(objection) => Err(objection.to_string()),
        }
    }
}

pub(in crate::upstream) const NO_NONCE: &[&str] = &["-no_nonce"];
const A_DAY: &[&str] = &["-ndays", "1"];
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn what_the_ca_or_its_delegate_answers_may_leave() {
    let (world, now) = (World::new(), UnixTime::now());
    for (signer, more) in
        [("delegate", &[][..]), ("delegate", &["-resp_key_id"]), ("ca", &[]), ("ca", &["-resp_key_id"])]
    {
        for (serial, status) in [
            ("0x1000", CertStatus::Good),
            ("0x1001", CertStatus::Revoked { time: UnixTime(1_735_689_600), reason: Reason::KeyCompromise }),
            ("0x1002", CertStatus::Unknown),
        ] {
            let question = world.question(&[serial], NO_NONCE);
            let der = world.answer(&question, signer, &[A_DAY, more].concat());
            let verified = world.judged(&der, &question, UnixTime::now()).unwrap();
            assert_eq!(verified.statuses, [status], "{signer} {more:?} {serial}");
            assert!(verified.next_update.unwrap() > now.after(DAY / 2));
            assert_eq!(verified.delegate.is_some(), signer == "delegate");
            assert_eq!(verified.body, der);
        }
    }
    let question = world.question(&["0x1000", "0x1001", "0x1000"], &[]);
    let der = world.answer(&question, "delegate", A_DAY);
    let verified = world.judged(&der, &question, UnixTime::now()).unwrap();
    assert!(matches!(verified.statuses[..], [CertStatus::Good, CertStatus::Revoked { .. }, CertStatus::Good]));
}

#[test]
fn nobody_but_the_ca_and_whom_it_has_authorised_may_answer() {
    let world = World::new();
    let question = world.question(&["0x1000"], NO_NONCE);
    for (signer, more, why) in [
        ("foreign", &[][..], "is no delegate of this CA"),
        ("foreign", &["-resp_key_id"], "is no delegate of this CA"),
        ("stranger", &[], "without the extended key usage OCSPSigning"),
        ("stranger", &["-resp_no_certs"], "its signature does not verify"),
        ("server", &[], "without the extended key usage OCSPSigning"),
        ("silent", &[], "lacks digitalSignature"),
        ("delegate", &["-resp_no_certs"], "neither the CA nor one of its delegates"),
    ] {
        let der = world.answer(&question, signer, &[A_DAY, more].concat());
        let problem = world.judged(&der, &question, UnixTime::now()).unwrap_err();
        assert!(problem.contains(why), "{signer} {more:?}: {problem}");
    }
    // A delegate that has expired meanwhile, whose answer would still count.
    let der = world.answer(&question, "short", &["-ndays", "9"]);
    let verified = world.judged(&der, &question, UnixTime::now()).unwrap();
    assert_eq!(verified.verifiable_until, world.certificate("short").not_after());
    assert!(verified.verifiable_until < verified.next_update.unwrap());
    let problem = world.judged(&der, &question, UnixTime::now().after(2 * DAY)).unwrap_err();
    assert!(problem.contains("has a certificate that is valid from"), "{problem}");
}

#[test]
fn a_signer_that_the_configuration_names_needs_nothing_else() {
    let world = World::new();
    let (ca, foreign) = (world.certificate("ca"), world.certificate("foreign"));
    let question = world.question(&["0x1000"], NO_NONCE);
    let der = world.answer(&question, "foreign", &[A_DAY, &["-resp_no_certs"]].concat());
    let rules = Rules {
        question: &question,
        issuers: &[&ca],
        signer: Some(foreign.der()),
        carried: &[],
        may_lack_nonce: false,
    };
    assert!(world.judged_by(&der, &rules, UnixTime::now()).unwrap().is_by_signer);
    assert!(world.judged_by(&der, &Rules { signer: None, ..rules }, UnixTime::now()).is_err());
}

#[test]
fn an_answer_counts_only_within_its_times() {
    let world = World::new();
    let question = world.question(&["0x1000"], NO_NONCE);
    // By the CA itself, whose certificate's beginning is nobody's business.
    let der = world.answer(&question, "ca", A_DAY);
    let now = UnixTime::now();
    for (at, why) in [
        (now.before(Duration::from_secs(50)), None),
        (now.before(Duration::from_secs(90)), Some("is in the future")),
        (now.after(DAY - Duration::from_secs(90)), None),
        (now.after(DAY), Some("is past")),
    ] {
        let judged = world.judged(&der, &question, at);
        assert_eq!(
            judged.as_ref().err().map(|problem| problem.contains(why.unwrap_or("?"))),
            why.map(|_| true),
            "{judged:?}"
        );
    }
    let without_end = world.answer(&question, "delegate", &[]);
    let verified = world.judged(&without_end, &question, now).unwrap();
    assert_eq!(verified.next_update, None);
    let problem = world.judged(&without_end, &question, now.after(Duration::from_secs(400))).unwrap_err();
    assert!(problem.contains("no nextUpdate"), "{problem}");
}

#[test]
fn another_certificate_and_another_nonce_are_no_answer() {
    let (world, now) = (World::new(), UnixTime::now());
    let ca = world.certificate("ca");
    let with_nonce = world.question(&["0x1000"], &[]);
    let without = Question { nonce: None, ..with_nonce.clone() };
    let other_nonce = Question { nonce: Some([7; 16].into()), ..with_nonce.clone() };
    let other = world.question(&["0x1002"], NO_NONCE);
    let other_hash = world.question(&["0x1000"], &["-no_nonce"]);
    let of_sha256 = {
        world.openssl(&[
            "ocsp",
            "-sha256",
            "-issuer",
            "ca.pem",
            "-serial",
            "0x1000",
            "-no_nonce",
            "-reqout",
            "request",
        ]);
        let der = fs::read(world.path("request")).unwrap();
        Question { ids: Request::decode(&der).unwrap().cert_ids().map(|id| Asked::from(&id)).collect(), nonce: None }
    };
    assert_ne!(of_sha256, other_hash);
    let answers = |question: &Question| world.answer(question, "delegate", A_DAY);
    for (answered, asked, why) in [
        (&with_nonce, &with_nonce, None),
        (&with_nonce, &without, Some("another nonce")),
        (&without, &with_nonce, Some("another nonce")),
        (&other_nonce, &with_nonce, Some("another nonce")),
        (&other, &without, Some("does not speak of the certificate")),
        (&of_sha256, &without, Some("does not speak of the certificate")),
    ] {
        let judged = world.judged(&answers(answered), asked, now.after(Duration::from_secs(5)));
        assert_eq!(
            judged.as_ref().err().map(|problem| problem.contains(why.unwrap_or("?"))),
            why.map(|_| true),
            "{judged:?}"
        );
    }
    let rules = Rules { question: &with_nonce, issuers: &[&ca], signer: None, carried: &[], may_lack_nonce: true };
    assert!(world.judged_by(&answers(&without), &rules, now.after(Duration::from_secs(5))).is_ok());
    assert!(world.judged_by(&answers(&other_nonce), &rules, now.after(Duration::from_secs(5))).is_err());
}

#[test]
fn an_answer_that_is_cut_or_changed_anywhere_never_passes() {
    let world = World::new();
    let question = world.question(&["0x1001"], NO_NONCE);
    let der = world.answer(&question, "delegate", A_DAY);
    let now = UnixTime::now();
    assert!(world.judged(&der, &question, now).is_ok());
    let ca = world.certificate("ca");
    let rules = Rules { question: &question, issuers: &[&ca], signer: None, carried: &[], may_lack_nonce: false };
    for length in 0..der.len() {
        assert!(verify(&der[..length], &rules, now).is_err(), "cut at {length}");
    }
    assert!(verify(&[&der[..], &[0]].concat(), &rules, now).is_err(), "with one byte more");
    // Whatever bit is changed, what leaves is what was signed, with the certificate that was verified.
    let delegate = world.certificate("delegate");
    let carried = carrying(&[delegate.der()]);
    let known = Rules { signer: Some(delegate.der()), carried: &carried, ..rules };
    let mut passed = 0;
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1 << (at % 8);
        for rules in [&rules, &known] {
            if let Ok(Ok(verified)) = verify(&changed, rules, now) {
                assert!(verified.body == der, "changed at {at}: {:02x?}", &der[at..]);
                passed += 1;
            }
        }
    }
    assert!(passed > delegate.der().len() / 2, "the certificate of a signer that is known is put in its place");
}

#[test]
fn an_answer_leaves_with_the_certificates_alone_that_were_verified() {
    let world = World::new();
    let question = world.question(&["0x1000"], NO_NONCE);
    let [ca, delegate, server] = ["ca", "delegate", "server"].map(|name| world.certificate(name));
    let mut altered = delegate.der().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let (der, der_of_ca) =
        (world.answer(&question, "delegate", A_DAY), world.answer(&question, "ca", &["-resp_no_certs", "-ndays", "1"]));
    let with = |der: &[u8], certificates: &[&[u8]]| {
        let Response::Basic(basic) = Response::read(der).unwrap() else { panic!("it is an error") };
        basic.with(&carrying(certificates))
    };
    let body = |der: Vec<u8>| world.judged(&der, &question, UnixTime::now()).map(|verified| verified.body);
    // What real responders send beside it makes no right answer a wrong one.
    for others in [&[&altered[..], delegate.der()][..], &[delegate.der(), server.der(), &altered], &[delegate.der()]] {
        assert_eq!(body(with(&der, others)).as_ref(), Ok(&der));
    }
    let both = with(&der, &[delegate.der(), ca.der()]);
    assert_eq!(body(both.clone()), Ok(both), "the CA's own is known here");
    assert_eq!(body(with(&der_of_ca, &[server.der()])), Ok(der_of_ca));
    assert!(body(with(&der, &[&altered])).is_err());
}

#[test]
fn errors_of_an_upstream_are_read_as_what_they_are() {
    let world = World::new();
    let question = world.question(&["0x1000"], NO_NONCE);
    for error in [
        OcspError::MalformedRequest,
        OcspError::InternalError,
        OcspError::TryLater,
        OcspError::SigRequired,
        OcspError::Unauthorized,
    ] {
        let der = precompute::ocsp::error_response(error);
        assert_eq!(world.judged(&der, &question, UnixTime::now()), Err(error.name().to_owned()));
    }
    for wrong in [&[0x30, 3, 0x0a, 1, 0][..], &[0x30, 3, 0x0a, 1, 4], &[0x30, 3, 0x0a, 1, 7], &[0x30, 0], &[]] {
        assert!(world.judged(wrong, &question, UnixTime::now()).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fall(der in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Response::read(&der);
    }
}
