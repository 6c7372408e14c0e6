//! What tokens say, RFC 3161 section 2.4.2, and that verifiers which are not ours accept them.

use std::{collections::HashSet, fs, path::Path, process::Command, time::SystemTime};

use ostia_tests::{
    Ca, KeyKind, Query, Responder, Signer, Site, SoftHsm, Stamped, Tenant, Tsa, TsaCertificate,
    der::{elements, oid, only},
    openssl, run,
    tsa::POLICY,
};

use crate::stamping;

const SIGNING_CERTIFICATE: &str = "1.2.840.113549.1.9.16.2.12";
const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";
const ALGORITHM_PROTECTION: &str = "1.2.840.113549.1.9.52";

/// Who can judge a signature: `openssl ts` of 3.0 knows neither PSS nor Ed25519, and its `cms` no Ed25519.
#[derive(Clone, Copy)]
enum Judge {
    Ts,
    Cms,
    Pkeyutl,
}

/// The kinds of keys, a line of the signer, and who verifies.
const KINDS: [(&str, KeyKind, &str, Judge); 5] = [
    ("p256", KeyKind::P256, "", Judge::Ts),
    ("p384", KeyKind::P384, "", Judge::Ts),
    ("rsa", KeyKind::Rsa2048, "", Judge::Ts),
    ("pss", KeyKind::Rsa2048, "algorithm = \"rsa-pss\"", Judge::Cms),
    ("ed25519", KeyKind::Ed25519, "", Judge::Pkeyutl),
];

/// That the signature is one of the key, and the digest that of what is stamped.
#[track_caller]
fn verify(judge: Judge, query: &Query, stamped: &Stamped, ca: &Ca, signer: &Signer) {
    let token = stamped.granted();
    match judge {
        Judge::Ts => {
            stamped.expect_verified(&query.der(), &ca.certificate(), None);
            let said = token.openssl_cms_verifies(&ca.certificate());
            assert!(said.status.success() && said.text.contains("CAdES Verification successful"), "{}", said.text);
        }
        Judge::Cms => {
            let said = token.openssl_cms_verifies(&ca.certificate());
            assert!(said.status.success() && said.text.contains("CAdES Verification successful"), "{}", said.text);
        }
        Judge::Pkeyutl => {
            let scratch = tempfile::tempdir().unwrap();
            let dir = scratch.path();
            for (file, octets) in
                [("signed", &token.signed), ("signature", &token.signature), ("content", &token.content)]
            {
                fs::write(dir.join(file), octets).unwrap();
            }
            let mut pkeyutl = Command::new("openssl");
            pkeyutl.args(["pkeyutl", "-verify", "-rawin", "-certin", "-inkey"]).arg(&signer.certificate);
            let said = run(pkeyutl.args(["-in", "signed", "-sigfile", "signature"]).current_dir(dir));
            assert!(said.status.success() && said.text.contains("Verified Successfully"), "{}", said.text);
            // RFC 8419 section 3: SHA-512.
            openssl(dir, ["dgst", "-sha512", "-binary", "-out", "digest", "content"]);
            let digest = only(0x04, token.attribute(MESSAGE_DIGEST).unwrap()).content;
            assert_eq!(digest, fs::read(dir.join("digest")).unwrap());
        }
    }
}

#[test]
fn openssl_verifies_tokens_by_every_kind_of_key_in_a_file_and_on_a_token() {
    let (ca, hsm) = (Ca::new("Time-stamping CA"), SoftHsm::new(&["stamps"]));
    let mut tenant = Tenant::new("tests");
    let signers = KINDS.map(|(name, kind, line, _)| {
        let signer = ca.tsa(TsaCertificate::Proper, kind);
        hsm.import("stamps", &signer.key, name, &format!("{:02x}", name.len()));
        let on_token = format!("certificate = {:?}\nkey = {:?}", signer.certificate, hsm.uri("stamps", name));
        for (place, lines) in [("file", signer.lines()), ("token", on_token)] {
            let tsa = Tsa::by(&format!("{name}-{place}"), &lines).set(&format!("path = \"/{name}/{place}\""));
            tenant = tenant.clone().tsa(&tsa.set_signer(line));
        }
        signer
    });
    let responder = Site::new(&[tenant]).environment("SOFTHSM2_CONF", hsm.config()).start();
    for ((name, _, _, judge), signer) in KINDS.iter().zip(&signers) {
        for place in ["file", "token"] {
            let query = Query::new(1).nonce(&[0x42; 8]);
            let stamped = query.at(responder.http(), &format!("/{name}/{place}"));
            verify(*judge, &query, &stamped, &ca, signer);
        }
    }
}

#[test]
fn a_nonce_comes_back_octet_by_octet() {
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa);
    let of = |first: &[u8], length: usize| [first, &vec![0x37; length - first.len()]].concat();
    for nonce in [
        vec![0],
        vec![1],
        vec![0x7f],
        vec![0x00, 0x80],
        vec![0xff],
        vec![0x80],
        vec![0xff, 0x7f],
        of(&[0x12], 8),
        of(&[0x00, 0xff], 9),
        of(&[0x7f], 20),
        of(&[0x80], 20),
        of(&[0x00, 0x80], 21),
        of(&[0xff, 0x00], 21),
        // As NuGet, dotnet sign and EU DSS send it.
        of(&[0x12], 32),
        of(&[0x00, 0x80], 33),
        of(&[0x7f], 128),
        of(&[0x00, 0x80], 129),
    ] {
        let query = Query::new(1).nonce(&nonce);
        let stamped = query.at(responder.http(), "/tsa");
        assert_eq!(stamped.granted().info.nonce.as_ref(), Some(&nonce));
        stamped.expect_verified(&query.der(), &ca.certificate(), None);
    }
    assert_eq!(Query::new(1).at(responder.http(), "/tsa").granted().info.nonce, None);
}

#[test]
fn certificates_come_with_those_who_ask_for_them() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa_behind_an_intermediate();
    let tsa = |name: &str| Tsa::of(name, &signer).set(&format!("path = \"/{name}\"\ncertificates = \"{name}\""));
    let responder = Site::new(&[Tenant::new("tests").tsa(&tsa("signer")).tsa(&tsa("chain"))]).start();
    let der = |file: &Path, nth: usize| {
        let pem = fs::read_to_string(file).unwrap();
        let at = pem.match_indices("-----BEGIN").nth(nth).unwrap().0;
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("pem"), &pem[at..]).unwrap();
        openssl(scratch.path(), ["x509", "-in", "pem", "-outform", "DER", "-out", "der"]);
        fs::read(scratch.path().join("der")).unwrap()
    };
    let (own, between) = (der(&signer.certificate, 0), der(&signer.certificate, 1));
    let mut both = vec![own.clone(), between];
    both.sort();
    let root = ca.certificate();
    for (path, expected) in [("/signer", vec![own]), ("/chain", both)] {
        let query = Query::new(1);
        let stamped = query.at(responder.http(), path);
        assert_eq!(stamped.granted().certificates.as_ref(), Some(&expected), "{path}: in the order of DER");
        stamped.expect_verified(&query.der(), &root, Some(&signer.certificate));
        if path == "/chain" {
            // Which makes the token complete.
            stamped.expect_verified(&query.der(), &root, None);
        }
        for value in [Some(false), None] {
            let query = Query::new(1).cert_req(value);
            let stamped = query.at(responder.http(), path);
            assert_eq!(stamped.granted().certificates, None, "{path}: the field is absent");
            stamped.expect_verified(&query.der(), &root, Some(&signer.certificate));
        }
    }
}

#[test]
fn the_policy_that_is_asked_for_stands_in_the_token() {
    const UUID: &str = "2.25.302985531202926416461829406168061446391";
    const OTHER: &str = "1.3.6.1.4.1.99999.4294967295.2";
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa.policies(&[POLICY, OTHER, UUID]));
    let stamped_under = |query: &Query| {
        let stamped = query.at(responder.http(), "/tsa");
        stamped.expect_verified(&query.der(), &ca.certificate(), None);
        stamped.granted().info.policy.clone()
    };
    assert_eq!(stamped_under(&Query::new(1)), oid(POLICY)[2..], "the first is meant by those who do not say");
    for policy in [OTHER, POLICY, UUID] {
        assert_eq!(stamped_under(&Query::new(1).policy(policy)), oid(policy)[2..]);
    }
    Query::new(1).policy("1.3.6.1.4.1.99999").at(responder.http(), "/tsa").expect_rejection("unacceptedPolicy");
}

#[test]
fn imprints_come_back_as_they_were_asked_for() {
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa);
    for hash in ["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"] {
        for query in [Query::new(9).hash(hash), Query::new(9).hash(hash).parameters(&[0x05, 0x00])] {
            let stamped = query.at(responder.http(), "/tsa");
            assert_eq!(stamped.granted().info.imprint, query.imprint(), "{hash}, parameters included");
            stamped.expect_verified(&query.der(), &ca.certificate(), None);
        }
    }
    // What else is taken is the policy's choice.
    let (ca, responder) = stamping(KeyKind::P256, |tsa| tsa.set("hashes = [\"sha1\", \"sha512\"]"));
    let query = Query::new(9).hash("sha1");
    query.at(responder.http(), "/tsa").expect_verified(&query.der(), &ca.certificate(), None);
    Query::new(9).at(responder.http(), "/tsa").expect_rejection("badAlg");
}

#[test]
fn what_a_policy_says_stands_in_the_token() {
    let ca = Ca::new("Time-stamping CA");
    let plain = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let named = ca.tsa(TsaCertificate::Named, KeyKind::Rsa2048);
    let all = "path = \"/all\"\naccuracy = \"100ms\"\nsigning_time = true\nqc_statements = true\nalgorithm_protection = true\ntsa_name = \"subject-alt-name\"";
    let legacy = "path = \"/legacy\"\ness_cert_id = \"v1\"\ntsa_name = \"none\"\naccuracy = \"61234us\"\nprecision = \"microseconds\"";
    let (all, legacy) = (Tsa::of("all", &named).set(all), Tsa::of("legacy", &plain).set(legacy));
    let tenant = Tenant::new("tests").tsa(&Tsa::of("plain", &plain)).tsa(&all).tsa(&legacy);
    let responder = Site::new(&[tenant]).start();
    let stamped = |path: &str| {
        let query = Query::new(1);
        let stamped = query.at(responder.http(), path);
        stamped.expect_verified(&query.der(), &ca.certificate(), None);
        stamped
    };
    let text = |stamped: &Stamped| {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("response"), &stamped.der).unwrap();
        openssl(scratch.path(), ["ts", "-reply", "-in", "response", "-text"])
    };
    let has = |stamped: &Stamped| {
        [SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2, SIGNING_TIME, ALGORITHM_PROTECTION]
            .map(|attribute| stamped.granted().attribute(attribute).is_some())
    };

    // By default: accuracy, the certificate's subject, and nothing that nobody wanted.
    let default = stamped("/tsa");
    let info = &default.granted().info;
    assert_eq!(info.accuracy.as_deref(), Some(&[0x30, 3, 2, 1, 1][..]), "1 s");
    assert_eq!((info.ordering, &info.extensions), (false, &None));
    let subject = openssl(
        ca.dir(),
        ["x509", "-noout", "-subject", "-nameopt", "oneline", "-in", plain.certificate.to_str().unwrap()],
    );
    let said = text(&default);
    let tsa = said.lines().find_map(|line| line.strip_prefix("TSA: DirName:")).expect("a name").trim().to_owned();
    let normal = |name: &str| name.replace(" = ", "=").replace('/', "").replace(", ", "");
    assert_eq!(normal(&tsa), normal(subject.trim().trim_start_matches("subject=")));
    assert!(said.contains("Ordering: no"), "{said}");
    assert_eq!(has(&default), [false, true, false, false]);
    // RFC 5816: the hash function is the default and left out, and it names one certificate.
    let v2 = default.granted().attribute(SIGNING_CERTIFICATE_V2).unwrap();
    let certs = elements(elements(only(0x30, v2).content)[0].content);
    assert_eq!((certs.len(), elements(certs[0].content)[0].tag), (1, 0x04));

    let all = stamped("/all");
    let (info, said) = (&all.granted().info, text(&all));
    assert_eq!(info.accuracy.as_deref(), Some(&[0x30, 3, 0x80, 1, 100][..]), "100 ms, seconds left out");
    assert!(said.contains("TSA: URI:https://tsa.ostia.test/"), "{said}");
    assert_eq!(has(&all), [false, true, true, true]);
    let extensions = only(0xa1, info.extensions.as_ref().unwrap()).content;
    let statement = oid("0.4.0.19422.1.1");
    assert!(extensions.windows(statement.len()).any(|window| window == statement), "{extensions:02x?}");
    let time = all.granted().attribute(SIGNING_TIME).unwrap();
    assert_eq!(std::str::from_utf8(only(0x17, time).content).unwrap(), &(info.gen_time[2..14].to_owned() + "Z"));

    let legacy = stamped("/legacy");
    let info = &legacy.granted().info;
    assert_eq!(info.accuracy.as_deref(), Some(&[0x30, 7, 0x80, 1, 61, 0x81, 2, 0, 234][..]), "61 ms and 234 µs");
    assert_eq!((&info.tsa, has(&legacy)), (&None, [true, false, false, false]));
}

/// Microseconds since 1970.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

#[test]
fn the_time_is_that_between_question_and_answer_cut_off_by_policy() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    // Microseconds of the unit, and as how many characters it is told.
    let units = [("seconds", 1_000_000, 15), ("milliseconds", 1000, 19), ("microseconds", 1, 22)];
    let tenant = units.iter().fold(Tenant::new("tests"), |tenant, (unit, ..)| {
        let tsa = Tsa::of(unit, &signer).set(&format!("path = \"/{unit}\"\nprecision = \"{unit}\"\naccuracy = \"2s\""));
        tenant.tsa(&tsa)
    });
    let responder = Site::new(&[tenant]).start();
    for (unit, micros, length) in units {
        let mut last = 0;
        let mut finest = HashSet::new();
        for number in 0..50 {
            let before = now_micros();
            let stamped = Query::new(number).at(responder.http(), &format!("/{unit}"));
            let info = &stamped.granted().info;
            let (time, after) = (info.micros(), now_micros());
            // Where the last digit would be 0 the time one unit before is told.
            let cut_off = before - before % micros;
            let earliest = if length > 15 && cut_off.is_multiple_of(10 * micros) { cut_off - micros } else { cut_off };
            assert!(earliest <= time && time <= after, "{unit}: {before} {time} {after}");
            assert!(time % micros == 0 && time >= last, "{unit}: {time} behind {last}");
            assert_eq!(info.gen_time.len(), length, "{unit}: all digits are there, {}", info.gen_time);
            last = time;
            finest.insert(time % 1000);
        }
        assert_eq!(finest.len() > 1, unit == "microseconds", "{unit}");
    }
}

/// @sigstore/core takes three digits of a fraction or none, and so refused one token in nine of those whose zeros at the
/// end were left out.
#[test]
fn a_hundred_tokens_in_a_row_have_one_length_and_three_digits_behind_the_second() {
    let (_ca, responder) = stamping(KeyKind::Ed25519, |tsa| tsa);
    let mut lengths = HashSet::new();
    for number in 0..100 {
        let stamped = Query::new(number).at(responder.http(), "/tsa");
        let text = &stamped.granted().info.gen_time;
        let (second, fraction) = text.split_once('.').expect("a fraction");
        assert!(second.len() == 14 && fraction.len() == 4 && !fraction.ends_with("0Z"), "{text}");
        lengths.insert(stamped.der.len());
    }
    assert_eq!(lengths.len(), 1, "{lengths:?}");
}

#[test]
fn no_serial_comes_twice_not_even_after_kill_9_or_from_a_replica() {
    let ca = Ca::new("Time-stamping CA");
    let signer = ca.tsa(TsaCertificate::Proper, KeyKind::P256);
    let start = || Site::new(&[Tenant::new("tests").tsa(&Tsa::of("stamps", &signer))]).start();
    let mut seen = HashSet::new();
    let mut draw = |responder: &Responder| {
        for number in 0..150 {
            let serial = Query::new(number).at(responder.http(), "/tsa").granted().info.serial.clone();
            assert!(serial.len() == 20 && (0x40..0x80).contains(&serial[0]), "{serial:02x?}");
            assert!(seen.insert(serial.clone()), "twice: {serial:02x?}");
        }
    };
    let (mut responder, replica) = (start(), start());
    for _ in 0..3 {
        draw(&responder);
        draw(&replica);
        responder = responder.kill_and_start_again();
    }
    draw(&responder);
    assert_eq!(seen.len(), 7 * 150);
}
